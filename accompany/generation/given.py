"""Beats and chords that a user gives, laid over a whole song."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from accompany.music.chord_decoding import Chord
from accompany.music.chord_path import diatonic_chords
from accompany.music.chord_text import read_chords
from accompany.music.harmony import N_KEYS, key_label, majmin
from accompany.music.plan import BEATS_PER_BAR, Plan

_TONIC_BONUS = 0.1


def tapped_grid(
    taps: Sequence[float], seconds: float, metre: int = BEATS_PER_BAR
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Beats and downbeats of a whole song from tapped beats, steadily on at both ends; bars from the first tap on."""
    times = np.asarray(taps)
    interval = (times[-1] - times[0]) / (len(times) - 1)
    before = int(times[0] / interval)
    after = int(max(seconds - times[-1], 0) / interval)
    lead = times[0] - interval * np.arange(before, 0, -1)
    tail = times[-1] + interval * np.arange(1, after + 1)
    beats = np.concatenate([lead, times, tail])
    return tuple(beats.tolist()), tuple(beats[before % metre :: metre].tolist())


def lay_chords(text: str, plan: Plan, seconds: float) -> tuple[Chord, ...]:
    """The chords of `read_chords` bar by bar over a plan's grid, round and round, from its first downbeat on.

    What lies before that has the last chord, as an upbeat leads to the first.
    """
    bars = read_chords(text)
    edges = _bar_edges(plan, seconds)
    made: list[Chord] = []
    upbeat = bool(plan.downbeats_s) and plan.downbeats_s[0] > edges[0] + 1e-6
    for index, (start, end) in enumerate(itertools.pairwise(edges)):
        labels = bars[(index - upbeat) % len(bars)]
        labels = labels[-1:] if upbeat and index == 0 else labels
        steps = np.linspace(start, end, len(labels) + 1).tolist()
        made += list(zip(steps, steps[1:], labels, strict=False))
    merged: list[Chord] = []
    for start_s, end_s, label in made:
        if merged and merged[-1][2] == label:
            merged[-1] = (merged[-1][0], end_s, label)
        else:
            merged.append((start_s, end_s, label))
    return tuple(merged)


def key_of(chords: Sequence[Chord]) -> str:
    """The key that most of the time of the chords belongs to; of equals the one whose tonic comes first and last."""
    numbers = [(end - start, majmin(label)) for start, end, label in chords]
    total = max(sum(length for length, _ in numbers), 1e-9)

    def fit(key: int) -> float:
        inside = sum(length for length, chord in numbers if chord in diatonic_chords(key)) / total
        return inside + _TONIC_BONUS * ((numbers[0][1] == key) + 0.5 * (numbers[-1][1] == key))

    return key_label(max(range(N_KEYS), key=fit)) if numbers else key_label(0)


def key_of_bars(text: str) -> str:
    """The key of a line of chords."""
    return key_of([(0.0, 1.0 / len(bar), label) for bar in read_chords(text) for label in bar])


def _bar_edges(plan: Plan, seconds: float) -> list[float]:
    """Starts and ends of bars, from 0 to the end of the song, the first and last ones cut."""
    if not plan.downbeats_s:
        return [0.0, seconds]
    downbeats = np.asarray(plan.downbeats_s)
    bar_s = float(np.median(np.diff(downbeats))) if len(downbeats) > 1 else _bar_length(plan)
    inside = [time for time in downbeats.tolist() if 1e-6 < time < seconds - 1e-6]
    last = downbeats[-1]
    inside += [time for time in np.arange(last + bar_s, seconds - 1e-6, bar_s).tolist() if time > 1e-6]
    return [0.0, *inside, seconds]


def _bar_length(plan: Plan) -> float:
    interval = np.diff(plan.beats_s).mean() if len(plan.beats_s) > 1 else 60 / (plan.tempo_bpm or 120)
    return float(interval * plan.beats_per_bar)
