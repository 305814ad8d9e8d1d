"""Chords along beats by the Viterbi algorithm, from frame-wise likelihoods alone. Numpy only.

A prior on the key and on the metric position of changes takes the place of a harmoniser.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from accompany.music.chord_decoding import Chord, ChordDecodingConfig, merged, segment_scores
from accompany.music.harmony import N_CHORDS, NO_CHORD


def decode_chords(
    log_posteriors: np.ndarray,
    frame_rate: float,
    beats_s: np.ndarray,
    downbeats_s: np.ndarray,
    key: int,
    config: ChordDecodingConfig | None = None,
) -> tuple[tuple[Chord, ...], float]:
    """Decode majmin chords that change on beats.

    Args:
        log_posteriors: [F, 25].
        frame_rate: frames a second.
        beats_s, downbeats_s: the grid.
        key: 0..23, makes its own chords likelier.
        config: what is believed beforehand.

    Returns:
        (start_s, end_s, label) that cover the clip, and the mean posterior of what was chosen.
    """
    config = config or ChordDecodingConfig()
    duration_s = len(log_posteriors) / frame_rate
    edges_s = np.concatenate([[0.0], beats_s[(beats_s > 0.5 / frame_rate) & (beats_s < duration_s)], [duration_s]])
    unary, posterior = segment_scores(log_posteriors, edges_s * frame_rate)
    unary = unary * config.evidence / frame_rate
    unary[:, NO_CHORD] -= config.silence_cost
    path = _chord_path(unary, _change_costs(edges_s[:-1], downbeats_s, config), _transition_costs(key, config))
    confidence = float(np.mean(posterior[np.arange(len(path)), path]))
    return merged(edges_s, path), confidence


def _change_costs(starts_s: np.ndarray, downbeats_s: np.ndarray, config: ChordDecodingConfig) -> np.ndarray:
    at_downbeat = np.isin(starts_s, downbeats_s)
    since = np.zeros(len(starts_s), int)
    for segment in range(1, len(starts_s)):
        since[segment] = 0 if at_downbeat[segment] else since[segment - 1] + 1
    first, middle, other = config.change_cost
    return np.where(at_downbeat, first, np.where(since == 2, middle, other))


def _transition_costs(key: int, config: ChordDecodingConfig) -> np.ndarray:
    """[25, 25] cost of going from chord to chord, 0 for staying."""
    index = np.arange(N_CHORDS - 1)
    relative_major = np.where(index < 12, index, index + 3) % 12
    on_circle = relative_major * 7 % 12
    apart = np.abs(on_circle[:, None] - on_circle)
    cost = np.zeros((N_CHORDS, N_CHORDS))
    cost[:NO_CHORD, :NO_CHORD] = config.fifth_cost * np.minimum(apart, 12 - apart)
    chromatic = [chord for chord in index if chord not in diatonic_chords(key)]
    cost[:, chromatic] += config.chromatic_cost
    np.fill_diagonal(cost, 0.0)
    return cost


def _chord_path(unary: np.ndarray, change_costs: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    change = 1.0 - np.eye(N_CHORDS)
    score, came = unary[0].copy(), np.zeros(unary.shape, int)
    for segment in range(1, len(unary)):
        ways = score[:, None] - transitions - change_costs[segment] * change
        came[segment] = ways.argmax(axis=0)
        score = ways.max(axis=0) + unary[segment]
    path = np.zeros(len(unary), int)
    path[-1] = score.argmax()
    for segment in range(len(unary) - 1, 0, -1):
        path[segment - 1] = came[segment, path[segment]]
    return path


def diatonic_chords(key: int) -> frozenset[int]:
    """Majmin chords built on a key's scale (with the major dominant in minor)."""
    tonic, minor = key % 12, key >= 12
    degrees: Iterable[tuple[int, int]] = ((0, 0), (2, 12), (4, 12), (5, 0), (7, 0), (9, 12))
    if minor:
        degrees = ((0, 12), (3, 0), (5, 12), (7, 12), (7, 0), (8, 0), (10, 0))
    return frozenset((tonic + degree) % 12 + quality for degree, quality in degrees)


def overlay(chords: Sequence[Chord], given: Sequence[Chord]) -> tuple[Chord, ...]:
    """`chords` with the stretches of `given` in their place; both in order of time."""
    kept: list[Chord] = list(given)
    for start_s, end_s, label in chords:
        for given_start_s, given_end_s, _ in given:
            if given_start_s < end_s and given_end_s > start_s:
                if start_s < given_start_s:
                    kept.append((start_s, given_start_s, label))
                start_s = given_end_s
        if start_s < end_s:
            kept.append((start_s, end_s, label))
    return tuple(sorted(kept))
