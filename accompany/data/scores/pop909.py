"""POP909: pop songs as performed MIDI (voice, bridge, piano) with beats, chords, keys and phrases in text files.

NNN/NNN.mid          tracks MELODY, BRIDGE, PIANO
NNN/beat_midi.txt    time, downbeat of the simple metre (every 2 or 3 beats), downbeat of the bar (every 4 or 6)
NNN/chord_midi.txt   start, end, Harte label
NNN/key_audio.txt    start, end, key; in the time of a recording that is a little longer or shorter
NNN/phrases.txt      "i4A8B8b4o2": kinds of phrases and their bars (Dai et al.'s annotation; optional)
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from accompany.data.scores.chord_symbols import harte_chord, note_class
from accompany.data.scores.lead_sheet import (
    Bar,
    ChordSymbol,
    LeadSheet,
    Phrase,
    PlayedNote,
    SheetNote,
    Unreadable,
    extended_interp,
    one_at_a_time,
)
from accompany.data.scores.midi import read_midi
from accompany.data.scores.phrases import find_phrases

_LARGEST_TEXT = 1 << 20
_SHORTEST_BEAT_S, _LONGEST_BEAT_S = 0.12, 4.0
_FAST_BEAT_S = 0.42
"""In a metre of three, shorter beats are eighths of 6/8, longer ones quarters of 3/4."""
_AGREEMENT = 0.85


def read_pop909(folder: Path) -> LeadSheet:
    """A song of POP909 from its folder.

    Raises:
        Unreadable: a file is missing or damaged, or the song has no melody.
    """
    beats, bars = _beats(_table(folder / "beat_midi.txt", 3))
    times_q = np.arange(len(beats)) * (0.5 if bars[1].metre == "6/8" else 1.0)
    midi = read_midi(folder / f"{folder.name}.mid")

    def played(track: str) -> list[PlayedNote]:
        notes = [n for part in midi.instruments if part.name.strip().upper() == track for n in part.notes]
        at = extended_interp(np.array([(n.start, n.end) for n in notes]).reshape(-1, 2), beats, times_q)
        pairs = sorted(zip(at.tolist(), notes, strict=True), key=lambda pair: (pair[0], pair[1].pitch))
        return [PlayedNote(s, e, n.pitch, max(n.velocity, 1)) for (s, e), n in pairs if s >= 0 and e > s]

    notes = one_at_a_time([SheetNote(n.start_q, n.end_q, n.pitch) for n in played("MELODY")])
    if not notes:
        raise Unreadable("no track MELODY with notes")
    chords, n_skipped = _chords(_lines(folder / "chord_midi.txt"), beats, times_q)
    parts = {name: tuple(played(track)) for name, track in (("piano", "PIANO"), ("lead", "BRIDGE"))}
    phrases = _phrases(folder / "phrases.txt", bars, notes)
    return LeadSheet(
        title=f"POP909 {folder.name}",
        source="POP909",
        name=folder.name,
        licence="MIT (the songs are their authors')",
        bars=bars,
        time_q=times_q,
        time_s=beats,
        has_tempo=True,
        keys=_keys(folder / "key_audio.txt", bars, phrases),
        notes=notes,
        chords=chords,
        n_skipped_chords=n_skipped,
        phrases=phrases,
        parts={name: notes for name, notes in parts.items() if notes},
    )


def _lines(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise Unreadable(f"{path.name} is over {_LARGEST_TEXT >> 20} MiB")
        return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path.name} cannot be read ({error})") from error


def _table(path: Path, width: int) -> np.ndarray:
    try:
        table = np.array([[float(cell) for cell in line[:width]] for line in _lines(path)])
    except ValueError as error:
        raise Unreadable(f"{path.name} has a cell that is no number ({error})") from error
    if table.ndim != 2 or table.shape[1] != width or not np.isfinite(table).all():
        raise Unreadable(f"{path.name} is not a table of {width} columns")
    return table


def _beats(table: np.ndarray) -> tuple[np.ndarray, tuple[Bar, ...]]:
    """Beat times, [n], and bars in quarter notes."""
    times = table[:, 0]
    steps = np.diff(times)
    if len(times) < 16 or steps.min() < _SHORTEST_BEAT_S or steps.max() > _LONGEST_BEAT_S:
        raise Unreadable("beat_midi.txt has less than 16 beats, or some out of order or of no human tempo")
    threes = _usual_step(table[:, 1]) == 3
    slow = threes and float(np.median(steps)) >= _FAST_BEAT_S
    marks = np.flatnonzero(table[:, 1] if slow else table[:, 2])
    if len(marks) < 5:
        raise Unreadable("beat_midi.txt marks less than five bars")
    metre, whole, unit = ("3/4", 3, 1.0) if slow else ("6/8", 6, 0.5) if threes else ("4/4", 4, 1.0)
    # Bars of other lengths get an unsupported metre, so that songs are cut there.
    edges = sorted({0, *marks.tolist(), len(times)})
    bars = [
        Bar(first * unit, (last - first) * unit, metre if last - first == whole else "")
        for first, last in pairwise(edges)
    ]
    return times, tuple(bars)


def _usual_step(flags: np.ndarray) -> int:
    steps = np.diff(np.flatnonzero(flags))
    return int(np.bincount(steps).argmax()) if len(steps) else 0


def _chords(lines: list[list[str]], beats: np.ndarray, times_q: np.ndarray) -> tuple[tuple[ChordSymbol, ...], int]:
    """Chords with their edges on half beats, and how many labels were not understood."""
    chords: list[ChordSymbol] = []
    n_skipped = 0
    unit = times_q[1] / 2
    for line in lines:
        try:
            edges = extended_interp(np.array([float(line[0]), float(line[1])]), beats, times_q)
            chord = harte_chord(line[2])
        except (ValueError, IndexError):
            n_skipped += 1
            continue
        if not np.isfinite(edges).all():
            n_skipped += 1
            continue
        start, end = (np.round(edges / unit) * unit).tolist()
        start = max(start, chords[-1].end_q if chords else 0.0)
        if end > start:
            chords.append(ChordSymbol(start, end, chord))
    return tuple(chords), n_skipped


def _phrases(path: Path, bars: tuple[Bar, ...], notes: tuple[SheetNote, ...]) -> tuple[Phrase, ...]:
    """The annotated phrases, laid where they agree best with the bars that are sung; found ones where they do not."""
    found = find_phrases(bars, notes)
    try:
        text = "".join("".join(line) for line in _lines(path))
    except Unreadable:
        return found
    read = [(letter, int(number)) for letter, number in re.findall(r"([A-Za-z])(\d{1,3})", text)]
    if not read:
        return found
    starts = np.array([note.start_q for note in notes])
    sung = np.array([((starts >= b.start_q - 0.1) & (starts < b.start_q + b.length_q - 0.1)).any() for b in bars])
    said = np.concatenate([np.full(n, letter.isupper()) for letter, n in read])[: 2 * len(bars)]

    def agreement(shift: int) -> float:
        at = np.arange(len(said)) + shift
        inside = (at >= 0) & (at < len(bars))
        return float((sung[at[inside]] == said[inside]).mean()) if inside.any() else 0.0

    shift = max((0, 1, -1, 2, -2, 3, 4), key=agreement)
    if agreement(shift) < _AGREEMENT:
        return found
    phrases: list[Phrase] = []
    at = shift
    for letter, number in read:
        first, last = max(at, 0), min(at + number, len(bars))
        if last > first:
            phrases.append(Phrase(first, last - first, letter))
        at += number
    return tuple(phrases)


def _keys(path: Path, bars: tuple[Bar, ...], phrases: tuple[Phrase, ...]) -> tuple[tuple[float, int, str], ...]:
    """Keys, changed at the phrase nearest to where the recording's time points."""
    spans: list[tuple[float, float, int, str]] = []
    for line in _lines(path):
        try:
            name, mode = line[2].split(":")
            spans.append((float(line[0]), float(line[1]), note_class(name), "minor" if mode == "min" else "major"))
        except (ValueError, IndexError) as error:
            raise Unreadable(f"key_audio.txt has a line that is no key ({error})") from error
    if not spans or spans[-1][1] <= spans[0][0]:
        return ()
    end_q = bars[-1].start_q + bars[-1].length_q
    places = np.array([bars[p.first_bar].start_q for p in phrases] or [0.0])
    keys: list[tuple[float, int, str]] = [(0.0, *spans[0][2:])]
    for start, _, root, mode in spans[1:]:
        pointed = end_q * (start - spans[0][0]) / (spans[-1][1] - spans[0][0])
        at = float(places[np.abs(places - pointed).argmin()])
        if at > keys[-1][0]:
            keys.append((at, root, mode))
    return tuple(keys)
