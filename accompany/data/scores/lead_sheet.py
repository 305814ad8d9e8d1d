"""Lead sheets: melody, words, chords, keys and beats of a published score or an annotated performance.

Positions are quarter notes (q) from the first bar line or upbeat; `seconds` turns them into performed time. Pitches are
MIDI numbers (60 = middle C).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from accompany.data.songs.grid import METRES, Metre
from accompany.data.songs.theory import Chord

# Metre as written -> the arranger's metre, and the length of its beat in quarter notes.
_WRITTEN: dict[str, tuple[str, float]] = {
    "4/4": ("4/4", 1.0), "2/2": ("4/4", 1.0), "4/2": ("4/4", 2.0), "4/8": ("4/4", 0.5),
    "3/4": ("3/4", 1.0), "3/2": ("3/4", 2.0), "3/8": ("3/4", 0.5),
    "2/4": ("2/4", 1.0),
    "6/8": ("6/8", 1.5), "6/4": ("6/8", 3.0), "9/8": ("9/8", 1.5), "12/8": ("12/8", 1.5),
}  # fmt: skip
_CLOSE_Q = 1e-3


class Unreadable(Exception):
    """A single score that cannot be used; the message says why."""


class Bar(NamedTuple):
    """A bar: start and length in quarter notes, and its metre as written ("4/4")."""

    start_q: float
    length_q: float
    metre: str

    @property
    def grid(self) -> tuple[Metre, float] | None:
        """The arranger's metre and its beat in quarter notes; None for an upbeat or a metre that no band here plays."""
        if self.metre not in _WRITTEN:
            return None
        name, beat_q = _WRITTEN[self.metre]
        metre = METRES[name]
        return (metre, beat_q) if abs(metre.beats * beat_q - self.length_q) < _CLOSE_Q else None


class SheetNote(NamedTuple):
    """A sung note: [start_q, end_q), MIDI pitch, and its syllable as printed; `tied` goes on with the one before."""

    start_q: float
    end_q: float
    pitch: int
    syllable: str | None = None
    tied: bool = False


class PlayedNote(NamedTuple):
    """A note of an instrument: [start_q, end_q), MIDI pitch or General MIDI drum key, velocity 1 to 127."""

    start_q: float
    end_q: float
    pitch: int
    velocity: int


class ChordSymbol(NamedTuple):
    """A chord over [start_q, end_q); None where the score says that there is none (N.C.)."""

    start_q: float
    end_q: float
    chord: Chord | None


class Phrase(NamedTuple):
    """Bars that belong together: the index of the first, their number, and a letter for their kind.

    Capitals are sung, small letters are not: "i" is an intro, "o" an outro, any other a break.
    """

    first_bar: int
    n_bars: int
    letter: str

    @property
    def sung(self) -> bool:
        """Whether a voice sings here."""
        return self.letter.isupper()


@dataclass(frozen=True)
class LeadSheet:
    """A song or, where only `drums` has notes, a drum performance.

    Attributes:
        title: as published; composer: where known, else "".
        source: name of the collection; name: of the song in it; licence: of the collection.
        bars: in order, without gaps; metre changes are changes of `Bar.metre`.
        time_q, time_s: breakpoints of performed time, [n] each, increasing; `has_tempo` is false where the score
            names no tempo and the times mean nothing.
        keys: (start_q, tonic pitch class, "major" or "minor"), the first at 0; empty where unknown.
        notes: the melody, one note at a time, sorted. Without any syllable the words are unknown.
        language: espeak-ng voice of the words, "" where unknown.
        chords: sorted, without overlaps; empty where the score has none.
        chords_derived: they were estimated from the accompaniment.
        n_skipped_chords: chord symbols that were not understood.
        phrases: in order; together they need not cover all bars.
        parts: accompaniment by name, "piano" or "lead".
        drums: General MIDI drum keys; style: of the drums, as published.
    """

    title: str
    source: str
    name: str
    licence: str
    bars: tuple[Bar, ...]
    time_q: np.ndarray
    time_s: np.ndarray
    has_tempo: bool
    composer: str = ""
    keys: tuple[tuple[float, int, str], ...] = ()
    notes: tuple[SheetNote, ...] = ()
    language: str = ""
    chords: tuple[ChordSymbol, ...] = ()
    chords_derived: bool = False
    n_skipped_chords: int = 0
    phrases: tuple[Phrase, ...] = ()
    parts: dict[str, tuple[PlayedNote, ...]] = field(default_factory=dict)
    drums: tuple[PlayedNote, ...] = ()
    style: str = ""

    @cached_property
    def sung_spans_q(self) -> np.ndarray:
        """Starts and ends of the sung notes, [n, 2]."""
        return np.array([(note.start_q, note.end_q) for note in self.notes]).reshape(-1, 2)

    @cached_property
    def chord_spans_q(self) -> np.ndarray:
        """Starts and ends of the chords, without N.C., [n, 2]."""
        return np.array([(each.start_q, each.end_q) for each in self.chords if each.chord]).reshape(-1, 2)

    def seconds(self, position_q: np.ndarray) -> np.ndarray:
        """Performed times of positions, same shape; beyond the breakpoints the last tempo goes on."""
        return extended_interp(position_q, self.time_q, self.time_s)

    @property
    def beats_q(self) -> np.ndarray:
        """Positions of all beats, [n]; upbeats and bars of other metres have a beat a quarter note."""
        places = []
        for bar in self.bars:
            step = bar.grid[1] if bar.grid else 1.0
            places.append(np.arange(bar.start_q, bar.start_q + bar.length_q - _CLOSE_Q, step))
        return np.concatenate(places) if places else np.zeros(0)

    @property
    def beats_s(self) -> np.ndarray:
        """Performed times of all beats, [n]."""
        return self.seconds(self.beats_q)

    def key_at(self, position_q: float) -> tuple[int, str]:
        """Tonic pitch class and mode at a position; C major where no key is known."""
        known = [(tonic, mode) for start_q, tonic, mode in self.keys if start_q <= position_q + _CLOSE_Q]
        return known[-1] if known else self.keys[0][1:] if self.keys else (0, "major")

    def runs(self) -> list[tuple[int, int]]:
        """Runs of whole bars of one metre, as (first bar, bar after the last)."""
        runs: list[tuple[int, int]] = []
        for index, bar in enumerate(self.bars):
            if bar.grid is None:
                continue
            if runs and runs[-1][1] == index and self.bars[index - 1].grid == bar.grid:
                runs[-1] = (runs[-1][0], index + 1)
            else:
                runs.append((index, index + 1))
        return runs


def extended_interp(x: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear interpolation that goes on with the slope of the first and last piece; at least two points."""
    inside = np.interp(x, at, values)
    first = (values[1] - values[0]) / (at[1] - at[0])
    last = (values[-1] - values[-2]) / (at[-1] - at[-2])
    early, late = np.minimum(x - at[0], 0.0), np.maximum(x - at[-1], 0.0)
    return np.asarray(inside + first * early + last * late)


def one_at_a_time(notes: list[SheetNote], shortest_q: float = 0.05) -> tuple[SheetNote, ...]:
    """Sorted notes, each cut where the next begins; of notes that start together the highest stays."""
    tidy: list[SheetNote] = []
    for note in sorted(notes, key=lambda note: (round(note.start_q, 3), -note.pitch)):
        if tidy and note.start_q - tidy[-1].start_q < shortest_q:
            continue
        if tidy and tidy[-1].end_q > note.start_q:
            tidy[-1] = tidy[-1]._replace(end_q=note.start_q)
        if note.end_q - note.start_q >= shortest_q:
            tidy.append(note)
    return tuple(tidy)
