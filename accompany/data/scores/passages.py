"""Excerpts of a lead sheet: whole phrases that fill a song of a wanted length at a singable tempo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accompany.data.scores.lead_sheet import LeadSheet, Phrase, SheetNote, Unreadable
from accompany.data.songs.form import drift
from accompany.data.songs.grid import Metre
from accompany.data.songs.rng import Rng

STRETCH = (0.8, 1.25)
"""Range of time stretch factors for performances."""
_HUMAN_BPM = {False: (48.0, 188.0), True: (32.0, 100.0)}
"""Beats a minute, in compound metres of dotted quarters."""
_SUNG_RATE = (1.1, 2.9)
"""Sung notes per second, for scores without a tempo."""
_LEAST_SUNG, _LEAST_CHORDS = 0.25, 0.6
_FEWEST_NOTES = 4
_BREATH_BEATS = 0.5
_MOST_REPEATS = 400
_MOST_PHRASES = 100


@dataclass(frozen=True)
class Passage:
    """Phrases of a sheet, played `repeats` times, after a lead-in.

    Attributes:
        metre: of all its bars; beat_q: length of a beat in quarter notes.
        phrases: that follow each other; repeats: at least 1.
        lead_in: beats that are played before the first bar line, 0 to a bar; `has_upbeat`: the melody begins there.
        beat_times: seconds of every beat from the bar before the first phrase (without a lead-in from the first
            phrase) to a bar after the last, [n]; the song starts at 0.
        tempo_bpm: mean beats a minute.
        stretch: length against the performance, None where the score names no tempo.
    """

    sheet: LeadSheet
    metre: Metre
    beat_q: float
    phrases: tuple[Phrase, ...]
    repeats: int
    lead_in: float
    has_upbeat: bool
    beat_times: np.ndarray
    tempo_bpm: float
    stretch: float | None

    @property
    def first_beat(self) -> int:
        """The beat of the first phrase's bar line."""
        return self.metre.beats if self.lead_in else 0

    @property
    def n_bars(self) -> int:
        """Bars of the phrases, played once."""
        return sum(phrase.n_bars for phrase in self.phrases)

    @property
    def span_q(self) -> tuple[float, float]:
        """Start and end of the phrases in the sheet."""
        return _span_q(self.sheet, self.phrases)


@dataclass(frozen=True)
class _Choice:
    """A possible passage: its phrases, how often, and how much longer than performed."""

    phrases: tuple[Phrase, ...]
    repeats: int
    lead_in: float
    has_upbeat: bool
    stretch: float


def draw_passage(sheet: LeadSheet, seconds: float, rng: Rng) -> Passage:
    """Draw a passage that fills `seconds`: whole phrases, stretched or hurried within `STRETCH` so that they fit.

    A song that is too short is repeated; where no phrases fit, what follows a phrase's start is cut at the end.

    Raises:
        Unreadable: nothing in the sheet is sung over chords in a metre that the band plays.
    """
    groups = [group for group in _groups(sheet) if _usable(sheet, group)]
    if not groups:
        raise Unreadable("no sung phrases with chords in a metre that the band plays")
    pace = _pace(sheet, rng)
    upbeats = {phrase: _lead_in(sheet, phrase, rng) for group in groups for phrase in group}
    choices = list(_fitting(sheet, groups, seconds, pace, upbeats, once=True))
    long = [phrases for group in groups for phrases in _tails(sheet, group, seconds / pace)]
    if not choices and not long:
        choices = list(_fitting(sheet, groups, seconds, pace, upbeats, once=False))
    phrases = rng.pick(long) if long else tuple(max(groups, key=lambda group: _seconds(sheet, tuple(group))))
    choice = rng.pick(choices) if choices else _cut(sheet, phrases, seconds, pace, upbeats, rng)
    return _passage(sheet, choice, seconds, pace, rng)


def _tails(sheet: LeadSheet, group: list[Phrase], seconds: float) -> list[tuple[Phrase, ...]]:
    """From which phrases on a group lasts for `seconds` however it is hurried, its beginning sung."""
    tails = [tuple(group[first:]) for first in range(len(group))]
    return [tail for tail in tails if STRETCH[0] * _seconds(sheet, tail) >= seconds and _usable(sheet, tail[:1])]


def _groups(sheet: LeadSheet) -> list[list[Phrase]]:
    """Phrases that follow each other in bars of one metre."""
    groups: list[list[Phrase]] = []
    for first, last in sheet.runs():
        before = -1
        for phrase in sheet.phrases:
            end = phrase.first_bar + phrase.n_bars
            if not first <= phrase.first_bar < end <= last:
                continue
            if phrase.first_bar != before or len(groups[-1]) == _MOST_PHRASES:
                groups.append([])
            groups[-1].append(phrase)
            before = end
    return groups


def _usable(sheet: LeadSheet, phrases: list[Phrase] | tuple[Phrase, ...]) -> bool:
    """Whether enough of them is sung, over chords."""
    start, end = _span_q(sheet, phrases)
    notes, chords = sheet.sung_spans_q, sheet.chord_spans_q
    if ((notes[:, 0] >= start) & (notes[:, 0] < end)).sum() < _FEWEST_NOTES:
        return False
    length = end - start
    return (
        _overlap(notes, start, end) >= _LEAST_SUNG * length and _overlap(chords, start, end) >= _LEAST_CHORDS * length
    )


def _overlap(spans: np.ndarray, start: float, end: float) -> float:
    return float(np.maximum(np.minimum(spans[:, 1], end) - np.maximum(spans[:, 0], start), 0.0).sum())


def _span_q(sheet: LeadSheet, phrases: list[Phrase] | tuple[Phrase, ...]) -> tuple[float, float]:
    last = sheet.bars[phrases[-1].first_bar + phrases[-1].n_bars - 1]
    return sheet.bars[phrases[0].first_bar].start_q, last.start_q + last.length_q


def _pace(sheet: LeadSheet, rng: Rng) -> float:
    """Factor on the sheet's own times: 1 for a performance, else one that gives the melody a usual rate of notes."""
    rate = rng.between(*_SUNG_RATE)
    if sheet.has_tempo:
        return 1.0
    lengths = np.array([note.end_q - note.start_q for note in sheet.notes])
    seconds_q = float(sheet.seconds(np.array([1.0]))[0] - sheet.seconds(np.array([0.0]))[0])
    pace = 1 / (rate * float(lengths.mean()) * seconds_q)
    first = next(bar for bar in sheet.bars if bar.grid)
    metre, beat_q = first.grid or (None, 1.0)
    low, high = _HUMAN_BPM[bool(metre and metre.compound)]
    bpm = 60 / (beat_q * seconds_q)
    return float(np.clip(pace, bpm / high, bpm / low))


def upbeat_q(sheet: LeadSheet, bar: int) -> float:
    """Quarter notes before the line of a bar at which the notes begin that lead into it; 0 where none do.

    Notes lead in if no rest lies between them and the first note of the bar, but one does before them.
    """
    line = sheet.bars[bar].start_q
    metre_q = sheet.bars[bar].length_q
    breath = _BREATH_BEATS * (sheet.bars[bar].grid or (None, 1.0))[1]
    index = int(np.searchsorted([note.start_q for note in sheet.notes], line - 1e-3))
    if index >= len(sheet.notes) or sheet.notes[index].start_q >= line + metre_q:
        return 0.0
    while index > 0:
        note, before = sheet.notes[index], sheet.notes[index - 1]
        if before.end_q < note.start_q - breath or (note.start_q < line and _ends_phrase(before, note, breath)):
            break
        if before.start_q < line - 0.75 * metre_q:
            return 0.0
        index -= 1
    return max(line - sheet.notes[index].start_q, 0.0)


def _ends_phrase(before: SheetNote, note: SheetNote, breath: float) -> bool:
    """Whether a note is long, so that the next one begins something new."""
    length = before.end_q - before.start_q
    return length >= 3 * breath and length > 1.9 * (note.end_q - note.start_q)


def _lead_in(sheet: LeadSheet, phrase: Phrase, rng: Rng) -> tuple[float, bool]:
    """Beats played before a phrase: its upbeat and a little more, or now and then a part of a bar."""
    metre, beat_q = sheet.bars[phrase.first_bar].grid or (None, 1.0)
    beats = float(metre.beats) if metre else 4.0
    upbeat = upbeat_q(sheet, phrase.first_bar) / beat_q
    if upbeat > 0:
        return min(beats, upbeat + rng.between(0.1, 1.0)), True
    return (rng.between(0.05, beats), False) if rng.chance(0.5) else (0.0, False)


def _fitting(
    sheet: LeadSheet, groups: list[list[Phrase]], seconds: float, pace: float,
    upbeats: dict[Phrase, tuple[float, bool]], *, once: bool,
) -> Iterator[_Choice]:  # fmt: skip
    """All passages that fill the time within the limits; of repeated ones those that are repeated least."""
    found: list[_Choice] = []
    for group in groups:
        for first in range(len(group)):
            for last in range(first, len(group)):
                phrases = tuple(group[first : last + 1])
                lead, _ = upbeats[phrases[0]]
                length = pace * _seconds(sheet, phrases)
                lead_s = pace * lead * _beat_s(sheet, phrases[0])
                repeats = 1 if once else round((seconds - lead_s) / length)
                stretch = seconds / (repeats * length + lead_s) if repeats else 0.0
                fits = repeats > (0 if once else 1) and _human(sheet, phrases, pace * stretch, stretch)
                if fits and _usable(sheet, phrases):
                    found.append(_Choice(phrases, repeats, *upbeats[phrases[0]], stretch))
                if once and length > seconds / STRETCH[0]:
                    break
    fewest = min((choice.repeats for choice in found), default=0)
    yield from (choice for choice in found if choice.repeats == fewest)


def _human(sheet: LeadSheet, phrases: tuple[Phrase, ...], factor: float, stretch: float) -> bool:
    metre, _ = sheet.bars[phrases[0].first_bar].grid or (None, 1.0)
    low, high = _HUMAN_BPM[bool(metre and metre.compound)]
    bpm = 60 / (factor * _beat_s(sheet, phrases[0]))
    return STRETCH[0] <= stretch <= STRETCH[1] and low <= bpm <= high


def _seconds(sheet: LeadSheet, phrases: tuple[Phrase, ...]) -> float:
    start, end = sheet.seconds(np.array(_span_q(sheet, phrases)))
    return float(end - start)


def _beat_s(sheet: LeadSheet, phrase: Phrase) -> float:
    """Mean length of the beats of a phrase, as performed."""
    metre, _ = sheet.bars[phrase.first_bar].grid or (None, 1.0)
    return _seconds(sheet, (phrase,)) / (phrase.n_bars * (metre.beats if metre else 4))


def _cut(
    sheet: LeadSheet, phrases: tuple[Phrase, ...], seconds: float, pace: float,
    upbeats: dict[Phrase, tuple[float, bool]], rng: Rng,
) -> _Choice:  # fmt: skip
    """The phrases as far as the time goes, and again where they are over."""
    metre, _ = sheet.bars[phrases[0].first_bar].grid or (None, 1.0)
    low, high = _HUMAN_BPM[bool(metre and metre.compound)]
    beat_s = pace * _beat_s(sheet, phrases[0])
    stretch = float(np.clip(rng.between(*STRETCH), 60 / (high * beat_s), 60 / (low * beat_s)))
    length = stretch * pace * _seconds(sheet, phrases)
    return _Choice(phrases, min(int(seconds / length) + 1, _MOST_REPEATS), *upbeats[phrases[0]], stretch)


def _passage(sheet: LeadSheet, choice: _Choice, seconds: float, pace: float, rng: Rng) -> Passage:
    metre, beat_q = sheet.bars[choice.phrases[0].first_bar].grid or (None, 1.0)
    assert metre is not None
    start, end = _span_q(sheet, choice.phrases)
    edges = start + beat_q * np.arange(round((end - start) / beat_q) + 1)
    once = np.diff(sheet.seconds(edges)) * pace * choice.stretch
    lengths = np.tile(once, choice.repeats)
    if not sheet.has_tempo and rng.chance(0.5):
        lengths = lengths * (1 + drift(len(lengths), rng.between(0.004, 0.02), rng))
    if choice.lead_in:
        lengths = np.concatenate([np.full(metre.beats, lengths[0]), lengths])
    before = metre.beats - choice.lead_in if choice.lead_in else 0.0
    times = np.concatenate([[0.0], np.cumsum(lengths)])
    times -= np.interp(before, np.arange(len(times)), times)
    if abs(times[-1] / seconds - 1) < 0.05:  # Whole phrases fit but for the drift and the first bar.
        times *= seconds / times[-1]
    tail = times[-1] + (times[-1] - times[-2]) * np.arange(1, metre.beats + 1)
    return Passage(
        sheet, metre, beat_q, choice.phrases, choice.repeats, choice.lead_in, choice.has_upbeat,
        np.concatenate([times, tail]), 60 / float(np.diff(times).mean()),
        choice.stretch if sheet.has_tempo else None,
    )  # fmt: skip
