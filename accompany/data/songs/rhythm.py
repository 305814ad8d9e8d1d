"""Rhythms of sung phrases, built beat by beat from small cells."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from accompany.data.songs.grid import Metre
from accompany.data.songs.rng import Rng
from accompany.data.songs.singing_styles import SingingStyle

# Onsets inside one beat, in steps, with their weight in ordinary singing.
_BINARY: dict[tuple[int, ...], float] = {
    (): 1.2, (0,): 3, (0, 2): 3, (2,): 0.7, (0, 3): 0.8, (0, 1): 0.3, (3,): 0.25, (0, 2, 3): 0.9, (0, 1, 2): 0.6,
    (0, 1, 2, 3): 0.9, (1, 2, 3): 0.25, (1, 3): 0.15, (0, 1, 3): 0.2, (2, 3): 0.4, (1,): 0.15, (1, 2): 0.15,
}  # fmt: skip
_TERNARY: dict[tuple[int, ...], float] = {
    (): 1, (0,): 2.5, (0, 2): 2.5, (0, 1, 2): 2.5, (2,): 0.5, (1, 2): 0.5, (1,): 0.15, (0, 1): 0.4,
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A note without pitch: start and length in beats from the start of its phrase (a pickup starts below 0)."""

    start: float
    length: float


def phrase_rhythm(
    singing: SingingStyle, metre: Metre, rng: Rng, *, beats: float, tempo_bpm: float, density: float, straight: bool,
    detached: bool,
) -> list[Slot]:  # fmt: skip
    """Draw the rhythm of one phrase.

    Args:
        singing: how the singer sings.
        metre: the song's metre.
        rng: random draws.
        beats: length of the phrase with its closing rest, in beats.
        tempo_bpm: beats a minute, so that the density is one in notes a second.
        density: factor on the singing's rate.
        straight: sixteenths are welcome (false in swung songs).
        detached: notes are short, with air between them.
    """
    rate = rng.between(*singing.rate) * density * 60 / tempo_bpm
    bars = [_bar(singing, metre, rate, rng, straight=straight) for _ in range(2)]
    onsets = _string_bars(bars, singing, metre, beats, rate, rng, straight=straight)
    start = _entry(singing, metre, rng)
    last = _last_onset(metre, beats, rate, rng)
    kept = [onset for onset in onsets if start <= onset < last - 0.2]
    if start < 0:
        kept = _pickup(start, metre, rate, rng) + [onset for onset in kept if onset >= 0]
    early = _anticipate([*kept, last], singing, metre, rng)
    return _lengths(early, singing, beats, rate, rng, detached=detached)


def _bar(singing: SingingStyle, metre: Metre, rate: float, rng: Rng, *, straight: bool) -> list[float]:
    cells = _TERNARY if metre.compound else _BINARY
    fine = singing.sixteenths if straight else 0.08 * singing.sixteenths
    onsets: list[float] = []
    for beat in range(metre.beats):
        wanted = rate * (1.15 if beat == 0 else 1.0)
        names = list(cells)
        weights = [_cell_weight(cell, cells[cell], wanted, fine, metre.compound) for cell in names]
        cell = rng.weighted(names, weights)
        onsets += [beat + step / metre.steps for step in cell]
    return onsets or [0.0]


def _cell_weight(cell: tuple[int, ...], weight: float, wanted: float, fine: float, compound: bool) -> float:
    miss = len(cell) - wanted
    closeness: float = 2.0 ** (-1.6 * miss * miss)
    if not compound and any(step % 2 for step in cell):
        return weight * closeness * fine
    return weight * closeness


def _string_bars(
    bars: list[list[float]], singing: SingingStyle, metre: Metre, beats: float, rate: float, rng: Rng, *, straight: bool
) -> list[float]:
    onsets: list[float] = []
    bar = bars[0]
    for index in range(max(1, round(beats / metre.beats))):
        if index == 2:
            bar = bars[0]
        elif index and not rng.chance(singing.repeat):
            bar = bars[1] if index % 2 else _bar(singing, metre, rate, rng, straight=straight)
        onsets += [index * metre.beats + onset for onset in bar]
    return onsets


def _entry(singing: SingingStyle, metre: Metre, rng: Rng) -> float:
    """Start of the phrase: on its first beat, before it or after it."""
    draw = rng.unit()
    step = 1 / metre.steps if metre.compound else 0.5
    if draw < singing.pickup:
        return -step * rng.pick((1, 1, 2, 2, 3, 4))
    if draw < singing.pickup + singing.late:
        return step * rng.pick((1, 1, 2, 2, 3, 4))
    return 0.0


def _pickup(start: float, metre: Metre, rate: float, rng: Rng) -> list[float]:
    step = 1 / metre.steps if metre.compound else (0.5 if rate < 2.2 else 0.25)
    count = round(-start / step)
    kept = [start + index * step for index in range(count)]
    return [onset for index, onset in enumerate(kept) if index == 0 or rng.chance(0.75)]


def _last_onset(metre: Metre, beats: float, rate: float, rng: Rng) -> float:
    """Start of the closing note: mostly the first beat of the last bar or its middle."""
    bar = beats - metre.beats
    if beats <= metre.beats:
        return float(rng.weighted((1, 2, metre.beats - 1), (1, 2, 0.7))) if metre.beats > 2 else 1.0
    inner = rng.weighted((0.0, 1.0, 2.0, metre.beats - 1.0), (3, 1.2 + 0.5 * rate, 1.5, 0.3))
    return bar + min(inner, metre.beats - 1.0)


def _anticipate(onsets: list[float], singing: SingingStyle, metre: Metre, rng: Rng) -> list[float]:
    """Shift notes on beats to the eighth (or sixteenth) before, as pop singers do (Temperley 1999)."""
    shift = 1 / metre.steps if metre.compound else rng.pick((0.5, 0.5, 0.25) if singing.sixteenths > 0.5 else (0.5,))
    chance = singing.syncopation * (0.3 if metre.compound else 1.0)
    shifted: list[float] = []
    for onset in onsets:
        early = onset - shift
        on_beat = abs(onset - round(onset)) < 1e-6
        free = not shifted or shifted[-1] < early - 0.2
        shifted.append(early if on_beat and free and onset > 0 and rng.chance(chance) else onset)
    return shifted


def _lengths(
    onsets: list[float], singing: SingingStyle, beats: float, rate: float, rng: Rng, *, detached: bool
) -> list[Slot]:
    longest = max(1.5, min(4.0, 2.6 / max(rate, 0.3)))
    slots: list[Slot] = []
    for onset, following in pairwise(onsets):
        length = min(following - onset, longest)
        if detached and length >= 0.5:
            length *= rng.between(0.5, 0.8)
        elif length > 0.7 and rng.chance(0.18):
            length *= 0.6
        slots.append(Slot(onset, length))
    room = beats - onsets[-1] - rng.between(*singing.gap)
    slots.append(Slot(onsets[-1], min(max(room, 0.5), longest + 1.5)))
    return slots
