"""Drum parts from recorded performances: chosen by metre and tempo, looped by bars, with fills at phrase ends."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from accompany.data.scores.corpora import Drums
from accompany.data.scores.groove_midi import Listed, read_performance
from accompany.data.scores.lead_sheet import Bar, LeadSheet, Unreadable
from accompany.data.songs.form import Form
from accompany.data.songs.groove import Event
from accompany.data.songs.rng import Rng

_TEMPO = 1.18
"""A performance is played up to so many times faster or slower."""
_FILL = 0.75
_TRIES = 4
_SOFT_LEVEL = 0.75
# Words of the arranger's styles that a performance's style goes with; other styles take any.
_KIN = {
    "pop": ("pop", "rock", "soul", "dance"), "rock": ("rock", "punk"), "metal": ("rock", "punk"),
    "soul": ("soul", "gospel", "funk", "neworleans"), "gospel": ("gospel", "soul"), "blues": ("blues", "soul", "rock"),
    "funk": ("funk", "soul", "afrobeat"), "hip hop": ("hiphop", "funk"), "reggae": ("reggae",),
    "electronic": ("dance", "hiphop"), "latin": ("latin", "afrocuban"), "bossa": ("latin",), "jazz": ("jazz",),
    "country": ("country", "rock"), "folk": ("country", "rock"),
}  # fmt: skip


class Drummer:
    """Plays the performances of one split of a Groove MIDI folder."""

    def __init__(self, drums: Drums, split: str) -> None:
        held_out = split == "held-out"
        self._folder = drums.folder
        self._listed = tuple(each for each in drums.listed if each.held_out == held_out)

    def play(self, form: Form, soft: bool, rng: Rng) -> list[Event] | None:
        """The drum part of a song; None where no performance has its metre and about its tempo.

        Args:
            form: the song's plan.
            soft: played quietly, as by brushes.
            rng: random draws.
        """
        groove = self._draw(form, rng, fill=False)
        if groove is None:
            return None
        fill = self._draw(form, rng, fill=True) if rng.chance(0.8) else None
        level = _SOFT_LEVEL if soft else 1.0
        bars, fills = _bars(groove), _bars(fill) if fill is not None else []
        at = rng.integer(0, len(bars) - 1)
        ends = {section.start_bar + section.bars - 1 for section in form.sections}
        quiet_intro = rng.chance(0.4) and form.sections[0].name == "intro"
        events: list[Event] = []
        for bar in range(form.sections[0].bars if quiet_intro else 0, form.n_bars):
            filled = bool(fills) and (bar in ends and rng.chance(_FILL))
            hits = rng.pick(fills) if filled else bars[(at + bar) % len(bars)]
            origin = float(bar * form.metre.beats)
            events += [Event(origin + beat, 0.2, pitch, level * velocity) for beat, pitch, velocity in hits]
        return _unswung(sorted(event for event in events if event.start >= 0), form)

    def _draw(self, form: Form, rng: Rng, *, fill: bool) -> LeadSheet | None:
        """A performance in the song's metre and near its tempo, mostly of a style like the song's."""
        fitting = [each for each in self._listed if each.is_fill == fill and _suits(each, form)]
        kin = [each for each in fitting if each.style.split("/")[0] in _KIN.get(form.style.name, ())]
        pool = kin if kin and rng.chance(0.8) else fitting
        for _ in range(_TRIES if pool else 0):
            try:
                return read_performance(self._folder, rng.pick(pool))
            except Unreadable:
                continue
        return None


def _suits(listed: Listed, form: Form) -> bool:
    metre = _grid(listed.metre)
    if metre is None or metre[0] != form.metre.label:
        return False
    bpm = listed.bpm / metre[1]
    return form.tempo_bpm / _TEMPO <= bpm <= form.tempo_bpm * _TEMPO


def _grid(written: str) -> tuple[str, float] | None:
    """The arranger's metre of a metre as written, and its beat in quarter notes."""
    beats, _, unit = written.partition("/")
    if not (beats.isdecimal() and unit.isdecimal() and int(unit)):
        return None
    grid = Bar(0.0, 4 * int(beats) / int(unit), written).grid
    return (grid[0].label, grid[1]) if grid else None


def _bars(sheet: LeadSheet) -> list[list[tuple[float, int, float]]]:
    """(beat in the bar, drum key, velocity) of each bar; what is played just before a bar line belongs behind it."""
    metre, beat_q = sheet.bars[0].grid or (None, 1.0)
    assert metre is not None
    starts = [bar.start_q - 0.15 * beat_q for bar in sheet.bars]
    bars: list[list[tuple[float, int, float]]] = [[] for _ in starts]
    for note in sheet.drums:
        index = bisect_left(starts, note.start_q + 1e-9) - 1
        if index >= 0 and note.start_q < sheet.bars[-1].start_q + sheet.bars[-1].length_q - 0.15 * beat_q:
            beat = (note.start_q - sheet.bars[index].start_q) / beat_q
            bars[index].append((beat, note.pitch, float(note.velocity)))
    return [bar for bar in bars if bar] or [[]]


def _unswung(events: list[Event], form: Form) -> list[Event]:
    """The events with a shift that undoes the song's swing, since a performance has its own."""
    if not events:
        return events
    beats = np.array([event.start for event in events])
    lag = form.time.seconds(beats, swing=0.5) - form.time.seconds(beats)
    return [event._replace(lag_s=float(shift)) for event, shift in zip(events, lag, strict=True)]
