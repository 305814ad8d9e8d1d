"""Lead sheets from MusicXML: the OpenEWLD lead sheets and the art songs of the OpenScore Lieder Corpus."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from accompany.data.scores.keys import relative_mode
from accompany.data.scores.languages import guess_language
from accompany.data.scores.lead_sheet import (
    Bar,
    ChordSymbol,
    LeadSheet,
    PlayedNote,
    SheetNote,
    Unreadable,
    one_at_a_time,
)
from accompany.data.scores.musicxml import Measure, RawNote, RawPart, RawScore, read_mxl
from accompany.data.scores.phrases import find_phrases
from accompany.data.scores.template_chords import derive_chords
from accompany.data.scores.unfold import play_order

_ACCOMPANIMENT = re.compile(r"pian|klavier|harpsi|cembalo|clavi|org(an|el|ue)|forte|harp|guitar", re.IGNORECASE)
_VELOCITY = 76
_USUAL_BPM = 100.0
_BY_LENGTH = {2.0: "2/4", 3.0: "3/4", 4.0: "4/4"}
_MOST = 0.7


@dataclass(frozen=True)
class _Placed:
    """A measure as played: its index, pass from 1, start in quarter notes, and what is in force there."""

    index: int
    passing: int
    bar: Bar
    fifths: int


def read_openewld(path: Path, name: str) -> LeadSheet:
    """A lead sheet of OpenEWLD: melody, words and chord symbols.

    Raises:
        Unreadable: damaged, without a melody, or without chord symbols.
    """
    raw = read_mxl(path)
    sheet = _sheet(raw, "OpenEWLD", name, "MIT (songs in the public domain)", with_words=False)
    if not any(symbol.chord for symbol in sheet.chords):
        raise Unreadable("no chord symbols")
    return sheet


def read_lied(path: Path, name: str) -> LeadSheet:
    """An art song of the Lieder Corpus: voice with words, piano, and chords derived from what sounds.

    Raises:
        Unreadable: damaged, or nobody sings words.
    """
    return _sheet(read_mxl(path), "OpenScore Lieder", name, "CC0-1.0", with_words=True)


def _sheet(raw: RawScore, source: str, name: str, licence: str, *, with_words: bool) -> LeadSheet:
    singing = max(raw.parts, key=_n_lyrics)
    if not _n_lyrics(singing):
        if with_words:
            raise Unreadable("no words under any part")
        singing = raw.parts[0]
    placed = _placed(raw, singing)
    notes, words = _melody(singing, placed)
    if not notes:
        raise Unreadable("no melody")
    piano = _accompaniment(raw, singing, placed)
    bars = tuple(each.bar for each in placed)
    printed = _printed_chords(raw, placed)
    # Notes too short to sing are dropped from the melody, but count for the harmony.
    chords = printed or derive_chords(bars, [*piano, *_played(notes)])
    time_q, time_s, has_tempo = _time(raw, placed)
    composer = raw.creators.get("composer", "")
    return LeadSheet(
        title=raw.title or Path(name).parent.name.replace("_", " "),
        composer=composer or _folder(name),
        source=source,
        name=name,
        licence=licence,
        bars=bars,
        time_q=time_q,
        time_s=time_s,
        has_tempo=has_tempo,
        keys=_keys(placed, [*piano, *_played(notes)], chords),
        notes=notes,
        language=guess_language(words),
        chords=chords,
        chords_derived=not printed,
        n_skipped_chords=sum(measure.n_skipped_chords for part in raw.parts for measure in part.measures),
        phrases=find_phrases(bars, notes),
        parts={"piano": tuple(piano)} if piano else {},
    )


def _folder(name: str) -> str:
    """The composer by the folder that both collections keep a composer's songs in."""
    parts = name.split("/")
    return parts[1].replace("_", " ") if len(parts) > 2 else ""


def _n_lyrics(part: RawPart) -> int:
    return sum(bool(note.lyrics) for measure in part.measures for note in measure.notes)


def _placed(raw: RawScore, singing: RawPart) -> list[_Placed]:
    """The measures in the order of playing, one after another."""
    metres, fifths = _in_force(singing.measures)
    placed: list[_Placed] = []
    at = 0.0
    for index, passing in play_order(singing.measures):
        length = max((part.measures[index].length_q for part in raw.parts if index < len(part.measures)), default=4.0)
        if not 0 < length < 100:
            raise Unreadable(f"a measure of {length:g} quarter notes")
        placed.append(_Placed(index, passing, Bar(round(at, 6), length, metres[index]), fifths[index]))
        at += length
    if len(placed) < 4:
        raise Unreadable("less than four bars")
    return _with_true_metres(placed)


def _with_true_metres(placed: list[_Placed]) -> list[_Placed]:
    """Measures of a metre that most of them contradict get the metre of their length: OpenEWLD has waltzes in "4/4"."""
    true: dict[str, str] = {}
    for metre in {each.bar.metre for each in placed}:
        bars = [each.bar for each in placed if each.bar.metre == metre]
        length, count = Counter(bar.length_q for bar in bars).most_common(1)[0]
        if count > _MOST * len(bars) and length in _BY_LENGTH and not bars[0]._replace(length_q=length).grid:
            true[metre] = _BY_LENGTH[length]
    return [replace(each, bar=each.bar._replace(metre=true.get(each.bar.metre, each.bar.metre))) for each in placed]


def _in_force(measures: list[Measure]) -> tuple[list[str], list[int]]:
    """Metre and key signature of every measure, in the order of the document."""
    metre, fifths = "4/4", 0
    metres, signatures = [], []
    for measure in measures:
        metre = measure.metre or metre
        fifths = fifths if measure.fifths is None else measure.fifths
        metres.append(metre)
        signatures.append(fifths)
    return metres, signatures


def _melody(part: RawPart, placed: list[_Placed]) -> tuple[tuple[SheetNote, ...], list[str]]:
    """The sung notes, and the words as whole words."""
    texted = Counter(note.voice for measure in part.measures for note in measure.notes if note.lyrics)
    everything = Counter(note.voice for measure in part.measures for note in measure.notes)
    if not everything:
        return (), []
    voice = (texted or everything).most_common(1)[0][0]
    notes: list[SheetNote] = []
    words = [""]
    for each in placed:
        for note in part.measures[each.index].notes:
            if note.voice != voice:
                continue
            start = each.bar.start_q + note.start_q
            if "stop" in note.ties and notes and _joins(notes[-1], note, start):
                notes[-1] = notes[-1]._replace(end_q=start + note.length_q)
                continue
            text, syllabic = _verse(note.lyrics, each.passing)
            notes.append(SheetNote(start, start + note.length_q, note.pitch, text or None, bool(texted) and not text))
            if text:
                words[-1] += text
            if text and syllabic in ("single", "end"):
                words.append("")
    return one_at_a_time(notes), words


def _joins(before: SheetNote, note: RawNote, start_q: float) -> bool:
    return before.pitch == note.pitch and abs(before.end_q - start_q) < 0.02


def _verse(lyrics: dict[str, tuple[str, str]], passing: int) -> tuple[str, str]:
    """(text, syllabic) of a pass: its own verse, else the first there is."""
    return lyrics.get(str(passing)) or next(iter(lyrics.values()), ("", ""))


def _accompaniment(raw: RawScore, singing: RawPart, placed: list[_Placed]) -> list[PlayedNote]:
    others = [part for part in raw.parts if part is not singing and not _n_lyrics(part)]
    keyed = [part for part in others if part.staves > 1 or _ACCOMPANIMENT.search(part.name)]
    if not keyed:
        return []
    held: dict[tuple[int, str], int] = {}
    notes: list[PlayedNote] = []
    for each in placed:
        measures = keyed[0].measures
        for note in measures[each.index].notes if each.index < len(measures) else ():
            start, key = each.bar.start_q + note.start_q, (note.pitch, note.voice)
            before = held.get(key)
            if "stop" in note.ties and before is not None and abs(notes[before].end_q - start) < 0.02:
                notes[before] = notes[before]._replace(end_q=start + note.length_q)
                continue
            held[key] = len(notes)
            notes.append(PlayedNote(start, start + note.length_q, note.pitch, _VELOCITY))
    return sorted(notes)


def _played(notes: tuple[SheetNote, ...]) -> list[PlayedNote]:
    return [PlayedNote(note.start_q, note.end_q, note.pitch, _VELOCITY) for note in notes]


def _printed_chords(raw: RawScore, placed: list[_Placed]) -> tuple[ChordSymbol, ...]:
    """The chord symbols of all parts, each up to the next one."""
    found = {}
    for each in placed:
        for part in raw.parts:
            for at, chord in part.measures[each.index].chords if each.index < len(part.measures) else ():
                found[round(each.bar.start_q + min(at, each.bar.length_q), 6)] = chord
    starts = sorted(found)
    end = placed[-1].bar.start_q + placed[-1].bar.length_q
    return tuple(
        ChordSymbol(start, following, found[start])
        for start, following in zip(starts, [*starts[1:], end], strict=False)
        if following > start
    )


def _time(raw: RawScore, placed: list[_Placed]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Breakpoints of the marked tempi: [n] quarter notes, [n] seconds, and whether the score marks any."""
    marks: dict[float, float] = {}
    for each in placed:
        for part in raw.parts:
            for at, bpm in part.measures[each.index].tempi if each.index < len(part.measures) else ():
                marks.setdefault(round(each.bar.start_q + at, 6), bpm)
    starts = sorted(marks)
    bpm = marks[starts[0]] if starts else _USUAL_BPM
    end = placed[-1].bar.start_q + placed[-1].bar.length_q
    time_q, time_s = [0.0], [0.0]
    for start in [*starts, end]:
        if start > time_q[-1]:
            time_s.append(time_s[-1] + (start - time_q[-1]) * 60 / bpm)
            time_q.append(start)
        bpm = marks.get(start, bpm)
    return np.array(time_q), np.array(time_s), bool(starts)


def _keys(
    placed: list[_Placed], notes: list[PlayedNote], chords: tuple[ChordSymbol, ...]
) -> tuple[tuple[float, int, str], ...]:
    """Keys by signature; major or minor is decided by what sounds, since editors of scores often leave it out."""
    keys = []
    starts = [0, *(i for i in range(1, len(placed)) if placed[i].fifths != placed[i - 1].fifths)]
    for first, last in zip(starts, [*starts[1:], len(placed)], strict=True):
        start, end = placed[first].bar.start_q, placed[last - 1].bar.start_q + placed[last - 1].bar.length_q
        weights = np.zeros(12)
        for note in notes:
            if start <= note.start_q < end:
                weights[note.pitch % 12] += note.end_q - note.start_q
        roots = [symbol.chord.root for symbol in chords if symbol.chord and start <= symbol.start_q < end]
        keys.append((start, *relative_mode(placed[first].fifths, weights, roots[-1] if roots else None)))
    return tuple(keys)
