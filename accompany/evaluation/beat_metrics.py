"""Beat metrics: downbeats, tempo and drift of estimated beats against a known grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from accompany.evaluation.metrics import CHROMA_HOP, CHROMA_RATE, Matrix

Times = NDArray[np.float64]

TEMPO_TOLERANCE = 0.04
_LEVELS = (1.0, 2.0, 3.0, 1 / 2, 1 / 3)
_FEWEST_BEATS = 4


def tempo_bpm(beats_s: Times) -> float | None:
    """Beats a minute of rising beat times by their median distance; None of fewer than two."""
    return float(60.0 / np.median(np.diff(beats_s))) if len(beats_s) > 1 else None


def tempo_metrics(found_s: Times, truth_s: Times) -> dict[str, float]:
    """`tempo_acc1`, `tempo_acc2` (Gouyon et al. 2006) and `tempo_error`, the distance of the tempi in octaves.

    Without beats both accuracies are 0 and there is no error to name; empty where the true tempo is unknown.
    """
    true, found = tempo_bpm(truth_s), tempo_bpm(found_s)
    if true is None:
        return {}
    if found is None:
        return {"tempo_acc1": 0.0, "tempo_acc2": 0.0}
    ratio = found / true
    right = [abs(ratio / level - 1) <= TEMPO_TOLERANCE for level in _LEVELS]
    return {"tempo_acc1": float(right[0]), "tempo_acc2": float(any(right)), "tempo_error": abs(float(np.log2(ratio)))}


def drift_ms(found_s: Times, truth_s: Times, seconds: float) -> float | None:
    """Drift of the estimated beats against the true grid over the clip, in ms, not negative.

    Every step from beat to beat is compared with the nearest whole number of steps at the grid's speed or twice, three
    times, half, a third of it, whichever is nearest to the tempo found; a line is laid through the sum of what is left
    over. None of fewer than four beats on either side.
    """
    if min(len(found_s), len(truth_s)) < _FEWEST_BEATS:
        return None
    period_s = float(np.median(np.diff(truth_s)))
    index = np.arange(len(truth_s))
    position = np.interp(found_s, truth_s, index)
    before, after = found_s < truth_s[0], found_s > truth_s[-1]
    position[before] = (found_s[before] - truth_s[0]) / period_s
    position[after] = index[-1] + (found_s[after] - truth_s[-1]) / period_s
    steps = np.diff(position)
    level = min(_LEVELS, key=lambda level: abs(float(np.log(np.median(steps) / level))))
    left_over = np.concatenate([[0.0], np.cumsum(steps - level * np.maximum(np.round(steps / level), 1))])
    slope = np.polyfit(found_s, left_over, 1)[0]
    return abs(float(slope)) * seconds * period_s * 1000


def estimate_downbeats(beats_s: Times, chroma: Matrix, onsets: Matrix, onset_rate: float, beats_per_bar: int) -> Times:
    """Of the beats found, every `beats_per_bar`-th, in the phase where chords change and attacks are strong.

    The rule that harmony changes on the first beat of a bar (Goto, JNMR 2001): for each beat the chroma of the time
    until the next is compared with that of the time since the last; the attack at the beat counts half as much.

    Args:
        beats_s: found beats.
        chroma: `[12, frames]` at 43 frames a second.
        onsets: onset envelope `[frames]` at `onset_rate`.
        beats_per_bar: is given, not found.
    """
    if len(beats_s) < beats_per_bar:
        return beats_s[:1]
    borders = np.r_[0.0, beats_s, chroma.shape[1] * CHROMA_HOP / CHROMA_RATE]
    spans = [_mean_chroma(chroma, start, end) for start, end in pairwise(borders)]
    change = np.array([1.0 - float(a @ b) for a, b in pairwise(spans)])
    frames = np.clip(np.round(beats_s * onset_rate).astype(int), 0, len(onsets) - 1)
    attack = onsets[frames]
    salience = _standard(change) + 0.5 * _standard(attack)
    phase = int(np.argmax([salience[first::beats_per_bar].mean() for first in range(beats_per_bar)]))
    return np.asarray(beats_s[phase::beats_per_bar])


def bar_length(beats_s: Sequence[float], downbeats_s: Sequence[float]) -> int | None:
    """Beats in most bars of a known grid; None where fewer than two downbeats are known."""
    if len(downbeats_s) < 2:
        return None
    counts = [
        int(np.sum((np.asarray(beats_s) >= start - 1e-3) & (np.asarray(beats_s) < end - 1e-3)))
        for start, end in pairwise(downbeats_s)
    ]
    length = int(np.median(counts))
    return length if length > 1 else None


def _mean_chroma(chroma: Matrix, start_s: float, end_s: float) -> Matrix:
    """Mean-removed mean of a stretch, of norm 1 (0 of silence)."""
    rate = CHROMA_RATE / CHROMA_HOP
    first = min(int(start_s * rate), chroma.shape[1] - 1)
    mean = chroma[:, first : max(int(end_s * rate), first + 1)].mean(1)
    mean = mean - mean.mean()
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9))


def _standard(values: Matrix) -> Matrix:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))
