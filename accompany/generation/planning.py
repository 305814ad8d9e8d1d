"""The plan of a song from predictions and given controls: tempo, tapped beats, key, chords, parts of another plan."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from accompany.generation.settings import Settings
from accompany.music.chord_decoding import Chord, overlay
from accompany.music.harmony import N_KEYS, diatonic_chords, key_label, majmin, read_chords
from accompany.music.plan import Plan
from accompany.stages.listener import Listener, ListenerOutput

_BEATS_PER_BAR = 4
_TONIC_BONUS = 0.1


@dataclass(frozen=True)
class Known:
    """Parts of a plan that are kept; what is left open is predicted.

    Attributes:
        bpm: tempo.
        beats_s, downbeats_s: the whole grid, in place of the tempo.
        beats_per_bar: of that grid.
        key: such as `A:min`.
        chords: stretches that are kept; between them chords are predicted.
    """

    bpm: float | None = None
    beats_s: tuple[float, ...] = ()
    downbeats_s: tuple[float, ...] = ()
    beats_per_bar: int = _BEATS_PER_BAR
    key: str | None = None
    chords: tuple[Chord, ...] = ()


def make_plan(listener: Listener, features: Tensor, settings: Settings) -> Plan:
    """The plan that settings ask for, from the features [1, F, Dv] of a vocal; one that is given is taken as it is."""
    if settings.plan is not None:
        return settings.plan
    seconds = features.shape[1] / listener.config.frame_rate
    known = Known(settings.bpm, key=settings.key)
    if settings.taps is not None:
        beats, downbeats = tapped_grid(settings.taps, seconds)
        known = dataclasses.replace(known, bpm=None, beats_s=beats, downbeats_s=downbeats)
    plan = predict_plan(listener, features, known)
    if settings.chords is None:
        return plan
    chords = lay_chords(settings.chords, plan, seconds)
    return dataclasses.replace(
        plan, chords=chords, chord_confidence=None, key=settings.key or _key_of_bars(settings.chords)
    )


def predict_plan(listener: Listener, features: Tensor, known: Known) -> Plan:
    """The plan predicted from features [1, F, Dv], around what is known."""
    output = listener.analyze(features)
    if not known.beats_s:
        return listener.plan(output, bpm=known.bpm, key=known.key, chords=known.chords or None)
    return _on_grid(listener, output, known)


def tapped_grid(taps: Sequence[float], seconds: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Beats and downbeats of a whole song from tapped beats, steadily on at both ends; bars of four from the first."""
    times = np.asarray(taps)
    interval = (times[-1] - times[0]) / (len(times) - 1)
    before = int(times[0] / interval)
    after = int(max(seconds - times[-1], 0) / interval)
    lead = times[0] - interval * np.arange(before, 0, -1)
    tail = times[-1] + interval * np.arange(1, after + 1)
    beats = np.concatenate([lead, times, tail])
    return tuple(beats.tolist()), tuple(beats[before % _BEATS_PER_BAR :: _BEATS_PER_BAR].tolist())


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


def _key_of_bars(text: str) -> str:
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


def _on_grid(listener: Listener, output: ListenerOutput, known: Known) -> Plan:
    """As `Listener.plan`, on beats that are known."""
    beats = np.asarray(known.beats_s)
    tonic, chords, confidence = listener.harmony(output, beats, np.asarray(known.downbeats_s), key=known.key)
    return Plan(
        beats_s=known.beats_s,
        downbeats_s=known.downbeats_s,
        chords=overlay(chords, known.chords) if known.chords else chords,
        key=key_label(tonic),
        tempo_bpm=60.0 / float(np.median(np.diff(beats))),
        beats_per_bar=known.beats_per_bar,
        chord_confidence=confidence,
    )
