"""Lead sheets arranged as songs: melody, words, chords, beats and form kept, with a band in a drawn style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from accompany.data.scores.drumming import Drummer
from accompany.data.scores.lead_sheet import LeadSheet, PlayedNote
from accompany.data.scores.passages import Passage, draw_passage, upbeat_q
from accompany.data.scores.phrases import section_names
from accompany.data.scores.words import sung_syllable
from accompany.data.songs.arrange import Written
from accompany.data.songs.chords import ChordSpan, Harmony
from accompany.data.songs.compose import draw_voice, perform
from accompany.data.songs.form import INTENSITY, Form
from accompany.data.songs.grid import Section, TimeMap
from accompany.data.songs.groove import Event
from accompany.data.songs.melody import Tune, TuneNote
from accompany.data.songs.rng import Rng
from accompany.data.songs.score import Score, VoiceSpec
from accompany.data.songs.styles import Style, fitting_styles
from accompany.data.songs.theory import Chord

_DRUMS = 0.7
"""Chance that a song has a drum performance where there are any."""
_PIANO_ALONE = {"OpenScore Lieder": 0.25}
_SWUNG_LOW = 0.505
_SHORTEST_BEATS = 0.06
_MOST_LAG = 0.06
"""In beats: less than half an eighth of a beat, so that a fast song keeps its rhythm."""


def arrange_sheet(
    sheet: LeadSheet, seed: int, *, seconds: float = 40.0, variant: int = 0, drummer: Drummer | None = None
) -> Score:
    """A song from a lead sheet: the same one for the same arguments.

    A passage of whole phrases is drawn, transposed into a singer's range and stretched to `seconds`; the singer sings
    its words. A band is added in a style that suits the tempo; three of four bands keep a written piano part.

    Args:
        sheet: a song with phrases, melody and chords.
        seed: non-negative.
        seconds: length of the song, more than 0.
        variant: 0, or the number of another arrangement of the same singing.
        drummer: has drum performances, for most songs.

    Raises:
        Unreadable: nothing in the sheet is sung over chords in a metre that the band plays.
    """
    rng = Rng([seed, 0x5C0E])
    passage = draw_passage(sheet, seconds, rng)
    voice = _voice(sheet, rng)
    shift = _transposition(passage, voice, rng)
    style = fitting_styles(passage.tempo_bpm, passage.metre, rng)[0]
    form = _form(passage, shift, style, seconds, rng)
    sung = _sung(passage, shift)
    tune = Tune(tuple(note for note, _ in sung), "score", *_extent(sung), most_lag=_MOST_LAG)
    words = [text for _, text in sung] if any(note.syllable for note in sheet.notes) else None
    written = Written(
        piano=_events(passage, sheet.parts.get("piano", ()), shift),
        lead=_events(passage, sheet.parts.get("lead", ()), shift),
        drums=drummer.play if drummer is not None and rng.chance(_DRUMS) else None,
        alone=_PIANO_ALONE.get(sheet.source, 0.05),
    )
    origin = _origin(passage, shift)
    return perform(form, tune, voice, seed, rng, words=words, written=written, variant=variant, origin=origin)


def _voice(sheet: LeadSheet, rng: Rng) -> VoiceSpec:
    """A singer who speaks the language of the words, where it is known."""
    voice = draw_voice(rng)
    if not sheet.language:
        return voice
    british = sheet.language == "en-us" and rng.chance(0.3)
    return replace(voice, language="en-gb" if british else sheet.language)


def _transposition(passage: Passage, voice: VoiceSpec, rng: Rng) -> int:
    """Semitones that bring the melody into the voice's range; to its middle where it is too wide."""
    pitches = [note.pitch for note, _ in _sung(passage, 0)]
    low, high = voice.range
    lowest, highest = low - min(pitches), high - max(pitches)
    return rng.integer(lowest, highest) if lowest <= highest else round((lowest + highest) / 2)


@dataclass(frozen=True)
class _Turn:
    """One time through the phrases: `q` in the sheet is beat `beat + (q - start_q) / beat_q` of the song."""

    start_q: float
    end_q: float
    beat: float


def _turns(passage: Passage) -> list[_Turn]:
    start, end = passage.span_q
    length = (end - start) / passage.beat_q
    return [_Turn(start, end, passage.first_beat + turn * length) for turn in range(passage.repeats)]


def _sung(passage: Passage, shift: int) -> list[tuple[TuneNote, str | None]]:
    """The melody in beats, transposed, with its syllables (None on tied notes); one note at a time."""
    sheet = passage.sheet
    found: list[tuple[TuneNote, str | None]] = []
    for turn in _turns(passage):
        first = turn.start_q - _upbeat(passage)
        last = turn.end_q - _upbeat_behind(passage)
        for note in sheet.notes:
            if not first - 1e-3 <= note.start_q < last - 1e-3:
                continue
            at = turn.beat + (note.start_q - turn.start_q) / passage.beat_q
            length = (min(note.end_q, turn.end_q) - note.start_q) / passage.beat_q
            text = sung_syllable(note.syllable) if note.syllable else None
            tied = note.tied and bool(found)
            found.append((TuneNote(at, length, note.pitch + shift, tied), text or (None if tied else "la")))
    if not any(note.syllable for note in sheet.notes):
        found = [(note, None) for note, _ in found]
    return _apart(sorted(found, key=lambda pair: pair[0].start))


def _apart(sung: list[tuple[TuneNote, str | None]]) -> list[tuple[TuneNote, str | None]]:
    """Each note cut where the next begins; an upbeat wins over the end of what is repeated."""
    tidy: list[tuple[TuneNote, str | None]] = []
    for note, text in sung:
        if tidy and tidy[-1][0].start + tidy[-1][0].length > note.start:
            length = note.start - tidy[-1][0].start
            tidy[-1] = (replace(tidy[-1][0], length=length), tidy[-1][1])
            if length < _SHORTEST_BEATS:
                tidy.pop()
        tidy.append((note, text))
    return tidy


def _upbeat(passage: Passage) -> float:
    return upbeat_q(passage.sheet, passage.phrases[0].first_bar) if passage.has_upbeat else 0.0


def _upbeat_behind(passage: Passage) -> float:
    """The upbeat of what follows the passage in the sheet, which is not sung."""
    last = passage.phrases[-1]
    following = last.first_bar + last.n_bars
    return upbeat_q(passage.sheet, following) if following < len(passage.sheet.bars) else 0.0


def _extent(sung: Sequence[tuple[TuneNote, str | None]]) -> tuple[int, int]:
    pitches = [note.pitch for note, _ in sung]
    return min(pitches), max(pitches)


def _form(passage: Passage, shift: int, style: Style, seconds: float, rng: Rng) -> Form:
    sections = _sections(passage, shift, rng)
    chance, low, high = style.swing
    swing = rng.between(low, high) if rng.chance(chance) else 0.5
    # A performance keeps its own swing; written eighths follow the style's swing.
    if passage.sheet.has_tempo or passage.metre.compound or swing < _SWUNG_LOW:
        swing = 0.5
    time = TimeMap(passage.beat_times, swing, 0.5 if style.swing_sixteenths else 1.0)
    first = sections[0]
    harmony = Harmony(_spans(passage, shift))
    return Form(
        style, passage.metre, passage.tempo_bpm, time, tuple(sections), harmony, first.tonic, first.mode, seconds
    )


def _sections(passage: Passage, shift: int, rng: Rng) -> list[Section]:
    """The phrases as sections: neighbours of one kind are one, the bar of the lead-in belongs to the first."""
    sheet = passage.sheet
    names = section_names(sheet.phrases, _mean_pitches(sheet))
    levels = {name: min(1.0, max(0.15, level + rng.between(-0.15, 0.15))) for name, level in INTENSITY.items()}
    bar = passage.first_beat // passage.metre.beats
    sections: list[Section] = []
    for phrase in passage.phrases * passage.repeats:
        name = names[phrase.letter]
        tonic, mode = sheet.key_at(sheet.bars[phrase.first_bar].start_q)
        tonic = (tonic + shift) % 12
        before = sections[-1] if sections else None
        if before and (before.name, before.tonic, before.mode) == (name, tonic, mode) and before.bars < 8:
            sections[-1] = replace(before, bars=before.bars + phrase.n_bars)
        else:
            sections.append(Section(name, bar, phrase.n_bars, levels[name], tonic, mode, phrase.sung))
        bar += phrase.n_bars
    first, last = sections[0], sections[-1]
    sections[0] = replace(first, start_bar=0, bars=first.bars + first.start_bar)
    sections[-1] = replace(sections[-1], bars=(sections[-1] if last is not first else sections[0]).bars + 1)
    return sections


def _mean_pitches(sheet: LeadSheet) -> dict[str, float]:
    starts = np.array([note.start_q for note in sheet.notes])
    pitches = np.array([note.pitch for note in sheet.notes])
    found: dict[str, list[int]] = {}
    for phrase in sheet.phrases:
        first, last = sheet.bars[phrase.first_bar], sheet.bars[phrase.first_bar + phrase.n_bars - 1]
        inside = (starts >= first.start_q) & (starts < last.start_q + last.length_q)
        found.setdefault(phrase.letter, []).extend(pitches[inside].tolist())
    return {letter: float(np.mean(values)) for letter, values in found.items() if values}


def _spans(passage: Passage, shift: int) -> list[ChordSpan]:
    """The chords in beats, transposed, from the first beat of the grid to its last.

    Less than a bar without a chord goes on with the one before; longer ones are silent.
    """
    known: list[tuple[float, float, Chord]] = []
    turns = _turns(passage)
    before_q = passage.first_beat * passage.beat_q
    for index, turn in enumerate(turns):
        first = turn.start_q - (before_q if index == 0 else 0.0)
        for start, end, chord in passage.sheet.chords:
            start, end = max(start, first), min(end, turn.end_q)
            if chord is None or end - start < 1e-3:
                continue
            at, until = (turn.beat + (q - turn.start_q) / passage.beat_q for q in (start, end))
            known.append((at, until, replace(chord, root=(chord.root + shift) % 12)))
    return _filled(known, float(len(passage.beat_times) - 1), float(passage.metre.beats))


def _filled(known: list[tuple[float, float, Chord]], end: float, bar: float) -> list[ChordSpan]:
    spans: list[ChordSpan] = []
    at, sounding = 0.0, known[0][2]
    for start, until, chord in [*known, (end, end, known[-1][2])]:
        if start - at > 1e-3:
            # The bar before the first chord is the lead-in, with the same chord.
            silent = start - at >= (bar - 1e-3 if spans else bar + 1e-3) and start < end - bar - 1e-3
            if not spans or silent:
                spans.append(ChordSpan(at, start, chord if not silent else sounding, silent))
            else:
                spans[-1] = replace(spans[-1], end=start)
        if until - start > 1e-3:
            same = spans and spans[-1].chord == chord and not spans[-1].silent
            if same:
                spans[-1] = replace(spans[-1], end=until)
            else:
                spans.append(ChordSpan(start, until, chord))
        at, sounding = max(at, until), chord
    return spans


def _events(passage: Passage, notes: tuple[PlayedNote, ...], shift: int) -> tuple[Event, ...]:
    """A written part in beats, transposed by the nearest way to the song's key."""
    near = (shift + 6) % 12 - 6
    found: list[Event] = []
    for index, turn in enumerate(_turns(passage)):
        first = turn.start_q - (passage.lead_in * passage.beat_q if index == 0 else 0.0)
        for note in notes:
            if first - 1e-3 <= note.start_q < turn.end_q - 1e-3:
                at = turn.beat + (note.start_q - turn.start_q) / passage.beat_q
                length = (min(note.end_q, turn.end_q) - note.start_q) / passage.beat_q
                found.append(Event(at, max(length, 0.05), min(max(note.pitch + near, 0), 127), note.velocity))
    return tuple(sorted(found))


def _origin(passage: Passage, shift: int) -> dict[str, object]:
    sheet = passage.sheet
    stretch = None if passage.stretch is None else round(passage.stretch, 4)
    score = {
        "collection": sheet.source, "name": sheet.name, "licence": sheet.licence, "language": sheet.language,
        "transposed": shift, "stretch": stretch, "repeats": passage.repeats,
        "first_bar": passage.phrases[0].first_bar, "bars": passage.n_bars, "chords_derived": sheet.chords_derived,
        "skipped_chords": sheet.n_skipped_chords,
    }  # fmt: skip
    artist = {"artist": sheet.composer} if sheet.composer else {}
    return {"song": f"{sheet.source}/{sheet.name}", "title": sheet.title, **artist, "score": score}
