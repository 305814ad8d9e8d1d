"""Bar grids: bars of a plan in seconds, grids of whole songs, and plans extended before and after their song."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from accompany.errors import InputError
from accompany.music.plan import Plan, beat_positions


def bars_as_seconds(plan: Plan, first_bar: float, last_bar: float) -> tuple[float, float]:
    """The start of bar `first_bar` and the end of bar `last_bar`, counted from 1 at the first downbeat.

    Raises:
        InputError: the plan has no bars, or these are none of its.
    """
    downbeats = np.asarray(plan.downbeats_s)
    if len(downbeats) < 2:
        raise InputError("This song has no bars to count; give seconds.")
    count = len(downbeats)
    if not 1 <= first_bar <= last_bar <= count:
        raise InputError(
            f"The bars {first_bar:g} to {last_bar:g} must lie in 1 to {count}, the first not behind the last."
        )
    starts = np.append(downbeats, 2 * downbeats[-1] - downbeats[-2])
    first, last = np.interp([first_bar - 1, last_bar], np.arange(count + 1), starts)
    return float(first), float(last)


class BeatGrid:
    """The beats of a song from its first sample to its end; what lies before the first beat is whole beats too.

    Attributes:
        beats_s: times of the beats in seconds, the first 0.
        pickup: beats before the first downbeat, in the bar that it cuts short; 0 where the song begins with a bar.
    """

    def __init__(self, plan: Plan, seconds: float) -> None:
        """Cover `seconds` with the beats of a plan, which has some; those before the song do not count."""
        inside = tuple(beat for beat in plan.beats_s if beat >= 0)
        plan = dataclasses.replace(plan, beats_s=inside or (0.0,))
        last = int(np.ceil(beat_positions(plan, np.array([seconds]))[0])) + 1
        first_s = plan.beats_s[0]
        steps = np.arange(max(last, 1))
        beats = np.concatenate([np.asarray(plan.beats_s), _beyond(plan, steps[len(plan.beats_s) :])])
        interval = beats[1] - first_s if len(beats) > 1 else 60 / (plan.tempo_bpm or 120)
        lead = max(round(first_s / interval), 1) if first_s > 1e-6 else 0
        self.beats_s = np.concatenate([np.arange(lead) * (first_s / max(lead, 1)), beats])
        downbeats = [time for time in plan.downbeats_s if time >= 0]
        first = int(np.abs(self.beats_s - downbeats[0]).argmin()) if downbeats else 0
        self.pickup = first % plan.beats_per_bar
        self._beats_per_bar = plan.beats_per_bar

    @property
    def metres(self) -> list[tuple[int, int]]:
        """(beat, beats of a bar from there on): a short first bar, then the metre of the plan."""
        return [(0, self.pickup)] * bool(self.pickup) + [(self.pickup, self._beats_per_bar)]

    def position(self, time_s: float) -> float:
        """The time in beats since the first sample."""
        return float(np.interp(time_s, self.beats_s, np.arange(len(self.beats_s))))


def _beyond(plan: Plan, steps: np.ndarray) -> np.ndarray:
    """Times of beats behind the last one of the plan, steadily on."""
    beats = plan.beats_s
    interval = (beats[-1] - beats[max(len(beats) - 5, 0)]) / max(min(len(beats) - 1, 4), 1)
    if interval <= 0:
        interval = 60 / (plan.tempo_bpm or 120)
    return beats[-1] + interval * (steps - len(beats) + 1)


def longer_plan(plan: Plan, seconds: float, before_s: float, after_s: float) -> Plan:
    """A plan that goes on before and after the song: steady beats and bars, the chords of the first and last bars."""
    total = before_s + seconds + after_s
    shifted = plan.shifted(before_s)
    if not plan.beats_s:
        return shifted
    first, last = beat_positions(shifted, np.array([0.0, total]))
    steps = np.arange(int(np.ceil(first - 1e-6)), int(np.floor(last - 1e-6)) + 1)
    inside = np.asarray(shifted.beats_s)
    interval_first, interval_last = _intervals(inside)
    early = [inside[0] + interval_first * step for step in steps if step < 0]
    late = [inside[-1] + interval_last * (step - len(inside) + 1) for step in steps if step > len(inside) - 1]
    beats = np.array([*early, *inside, *late])
    downbeats = _longer_bars(beats, shifted)
    return dataclasses.replace(
        shifted,
        beats_s=tuple(beats.tolist()),
        downbeats_s=tuple(downbeats),
        chords=_longer_chords(shifted, before_s, before_s + seconds, total),
    )


def _intervals(beats: np.ndarray) -> tuple[float, float]:
    if len(beats) < 2:
        return 0.5, 0.5
    edge = min(4, len(beats) - 1)
    return float(beats[edge] - beats[0]) / edge, float(beats[-1] - beats[-1 - edge]) / edge


def _longer_bars(beats: np.ndarray, plan: Plan) -> list[float]:
    if not plan.downbeats_s:
        return []
    metre = plan.beats_per_bar
    first = int(np.abs(beats - plan.downbeats_s[0]).argmin())
    last = int(np.abs(beats - plan.downbeats_s[-1]).argmin())
    early, late = beats[first % metre : first : metre], beats[last + metre :: metre]
    return [*early.tolist(), *plan.downbeats_s, *late.tolist()]


def _longer_chords(plan: Plan, begin: float, end: float, total: float) -> tuple[tuple[float, float, str], ...]:
    """The chords with copies of the first `begin` seconds before and of the last ones after, cut at the ends."""
    if not plan.chords:
        return ()
    song, tail = end - begin, total - end
    before = [
        (start - begin, stop - begin, label) for start, stop, label in _cut(plan.chords, begin, min(2 * begin, end))
    ]
    if before and begin > song:
        before = [(start + begin - song, stop + begin - song, label) for start, stop, label in before]
    behind = _cut(plan.chords, max(end - tail, begin), end)
    after = [(start + min(tail, song), stop + min(tail, song), label) for start, stop, label in behind]
    return (*_cut(before, 0.0, begin), *_cut(plan.chords, begin, end), *_cut(after, end, total))


def _cut(chords: Iterable[tuple[float, float, str]], begin: float, end: float) -> list[tuple[float, float, str]]:
    parts = [(max(start, begin), min(stop, end), label) for start, stop, label in chords]
    return [part for part in parts if part[1] - part[0] > 1e-6]
