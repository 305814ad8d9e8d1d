"""Beat-synchronous melody features: pitch classes, onsets and voicing of each beat. Numpy only.

Beats and not seconds are what chords go by, and pitch classes on a grid are much the same whether they come from a
synthetic voice, a real one or symbolic notes. So the harmoniser reads nothing else, and can learn from songs that were
never sung.
"""

from __future__ import annotations

import itertools

import numpy as np

HALVES = 2
"""Parts that a beat is read in."""

_PITCH_CLASSES = 12
_PART = _PITCH_CLASSES + 2
BEAT_DIM = HALVES * _PART + 3
"""Columns: for each half of a beat 12 shares of pitch classes, the strongest onset, the share that is voiced; then
whether it is a downbeat, whether downbeats are known, and octaves of its length above half a second."""

DOWNBEAT, KNOWN_DOWNBEATS = HALVES * _PART, HALVES * _PART + 1

_LATEST_ONSET_S = 0.03
"""Onsets this much before a boundary belong to what follows it: singers and grids are that inexact."""


def beats_of_features(
    melody: np.ndarray, frame_rate: float, beats_s: np.ndarray, downbeats_s: np.ndarray
) -> np.ndarray:
    """Melody features (`encoders.melody`) along a grid.

    Args:
        melody: [F, 54].
        frame_rate: of them.
        beats_s: [T] at least two, rising.
        downbeats_s: those of them that begin a bar; none when bars are not known.

    Returns:
        [T, BEAT_DIM] float32.
    """
    melody = melody.astype(np.float32)
    salience, voicing, onsets = melody[:, :36], np.clip(2.0 * melody[:, 36], 0.0, 1.0), melody[:, 37:53]
    pitch_classes = salience.reshape(-1, _PITCH_CLASSES, 3).sum(axis=-1)
    pitch_classes = pitch_classes / np.maximum(pitch_classes.sum(axis=1, keepdims=True), 1e-3) * voicing[:, None]
    steps = onsets.reshape(len(melody), 4, 4).mean(axis=1)  # mean of the bands, four steps a frame
    return beats_of_tracks(
        np.repeat(pitch_classes, 4, axis=0),
        np.clip(2.0 * steps.ravel(), 0.0, 1.0),
        np.repeat(voicing, 4),
        4 * frame_rate,
        beats_s,
        downbeats_s,
    )


def beats_of_tracks(
    pitch_classes: np.ndarray,
    onsets: np.ndarray,
    voiced: np.ndarray,
    rate: float,
    beats_s: np.ndarray,
    downbeats_s: np.ndarray,
) -> np.ndarray:
    """Tracks along a grid.

    Args:
        pitch_classes: [N, 12] from C, 0 to 1; silence is zeros.
        onsets: [N] strength, 0 to 1.
        voiced: [N] 0 to 1.
        rate: of the tracks, in Hz.
        beats_s, downbeats_s: as above.

    Returns:
        [T, BEAT_DIM] float32.
    """
    edges = np.clip(np.round(half_beats(beats_s) * rate), 0, len(voiced)).astype(int)
    tracks = np.concatenate([pitch_classes, voiced[:, None]], axis=1)
    sums = np.concatenate([np.zeros((1, _PART - 1)), np.cumsum(tracks, axis=0)])
    means = np.diff(sums[edges], axis=0) / np.maximum(np.diff(edges), 1)[:, None]
    early = round(_LATEST_ONSET_S * rate)
    strongest = [onsets[max(a - early, 0) : max(b - early, 0)].max(initial=0.0) for a, b in itertools.pairwise(edges)]
    halves = np.concatenate(
        [means[:, :_PITCH_CLASSES], np.array(strongest)[:, None], means[:, _PITCH_CLASSES:]], axis=1
    )
    period_s = float(np.median(np.diff(beats_s)))
    grid = np.stack(
        [
            np.isin(beats_s, downbeats_s),
            np.full(len(beats_s), len(downbeats_s) > 0),
            np.full(len(beats_s), np.log2(period_s / 0.5)),
        ],
        axis=1,
    )
    return np.concatenate([halves.reshape(len(beats_s), -1), grid], axis=1).astype(np.float32)


def half_beats(beats_s: np.ndarray) -> np.ndarray:
    """Starts of half beats, [2T + 1] seconds; the last beat has the median length."""
    last = beats_s[-1] + float(np.median(np.diff(beats_s)))
    edges = np.append(beats_s, last)
    return np.interp(np.arange(HALVES * len(beats_s) + 1) / HALVES, np.arange(len(edges)), edges)


def turned(beats: np.ndarray, semitones: int) -> np.ndarray:
    """The same melody [..., BEAT_DIM] that many semitones higher."""
    made = beats.copy()
    for half in range(HALVES):
        part = slice(half * _PART, half * _PART + _PITCH_CLASSES)
        made[..., part] = np.roll(beats[..., part], semitones, axis=-1)
    return made
