"""Chord decoding: frame-wise likelihoods to chords that change on beats. Numpy only.

`accompany.music.chord_path` does without a harmoniser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accompany.music.harmony import N_CHORDS, NO_CHORD, label_of

Chord = tuple[float, float, str]


@dataclass(frozen=True)
class ChordDecodingConfig:
    """Prior on chords, in nats.

    Attributes:
        evidence: weight of a second of frame-wise log posteriors (frames repeat each other).
        change_cost: for a change of chord at a downbeat, in the middle of a bar, and elsewhere.
        fifth_cost: for each step on the circle of fifths that a change takes.
        chromatic_cost: for changing to a chord outside the key.
        silence_cost: for each beat without a chord: a band plays on.
        heard: weight of the frames' log posteriors, in the mean over a beat, beside the harmoniser's.
    """

    evidence: float = 8.0
    change_cost: tuple[float, float, float] = (1.0, 2.5, 4.5)
    fifth_cost: float = 0.25
    chromatic_cost: float = 1.5
    silence_cost: float = 3.0
    heard: float = 0.5


def harmonised(
    chances: np.ndarray,
    log_posteriors: np.ndarray,
    frame_rate: float,
    beats_s: np.ndarray,
    config: ChordDecodingConfig | None = None,
) -> tuple[tuple[Chord, ...], float]:
    """The likeliest chord of each beat, from a harmoniser and frame-wise likelihoods.

    Args:
        chances: [T, 25] the harmoniser's probabilities in each beat.
        log_posteriors: [F, 25] of the frames.
        frame_rate: frames a second.
        beats_s: [T] at least two; what is before them has the first beat's chord.
        config: weights.

    Returns:
        (start_s, end_s, label) that cover the clip, and the mean probability of what was chosen.
    """
    config = config or ChordDecodingConfig()
    duration_s = len(log_posteriors) / frame_rate
    inside = (beats_s > 0.5 / frame_rate) & (beats_s < duration_s)
    edges_s = np.concatenate([[0.0], beats_s[inside], [duration_s]])
    posterior = segment_scores(log_posteriors, edges_s * frame_rate)[1]
    numbers = np.maximum(np.searchsorted(beats_s, edges_s[:-1] + 1e-9, side="right") - 1, 0)
    scores = np.log(chances[numbers] + 1e-6) + config.heard * np.log(posterior + 1e-4)
    scores[:, NO_CHORD] -= config.silence_cost
    path = scores.argmax(axis=1)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return merged(edges_s, path), float(np.mean(1.0 / shares.sum(axis=1)))


def segment_scores(log_posteriors: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the log posteriors between `edges` (in frames, fractions count), and mean posteriors, [S, 25] each."""

    def integral(values: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.zeros((1, N_CHORDS)), np.cumsum(values, axis=0)])
        low = np.minimum(edges.astype(int), len(values) - 1)
        return np.diff(total[low] + (edges - low)[:, None] * values[low], axis=0)

    lengths = np.diff(edges)[:, None]
    return integral(np.maximum(log_posteriors, -8.0)), integral(np.exp(log_posteriors)) / lengths


def merged(edges_s: np.ndarray, path: np.ndarray) -> tuple[Chord, ...]:
    """Chords of a path [S] of numbers between edges [S + 1] in seconds, equal neighbours as one."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(path)) + 1])
    ends = np.concatenate([starts[1:], [len(path)]])
    return tuple(
        (float(edges_s[start]), float(edges_s[end]), label_of(int(path[start])))
        for start, end in zip(starts, ends, strict=True)
    )
