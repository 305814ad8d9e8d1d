"""Sung notes: start, end and pitch of each note of a voice, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from accompany.common.checks import shown
from accompany.errors import InputError
from accompany.music.plan_files import LONGEST_S

MOST_NOTES = 200_000
_DIGITS = 4
_PITCHES = (0.0, 127.0)


@dataclass(frozen=True)
class SungNote:
    """One note of a voice.

    Attributes:
        start_s, end_s: in seconds.
        pitch: as a MIDI number with its fraction; 69 is 440 Hz.
        confidence: 0 to 1; 1 for a note that was given.
    """

    start_s: float
    end_s: float
    pitch: float
    confidence: float = 1.0

    @property
    def row(self) -> list[float]:
        """[start_s, end_s, pitch, confidence], rounded as files have it."""
        return [round(value, _DIGITS) for value in (self.start_s, self.end_s, self.pitch, self.confidence)]


def read_notes(rows: Iterable[Sequence[float]]) -> tuple[SungNote, ...]:
    """Notes from rows [start_s, end_s, pitch] or [start_s, end_s, pitch, confidence], one after the other.

    Raises:
        InputError: a row that is no note, or one that starts before the one before it ends.
    """
    made: list[SungNote] = []
    for row in rows:
        note = _read_note(row)
        if made and note.start_s < made[-1].end_s - 10**-_DIGITS:
            raise InputError(f"the note at {note.start_s:g} s must not start before the one before it ends")
        made.append(note)
        if len(made) > MOST_NOTES:
            raise InputError(f"a song has at most {MOST_NOTES} notes")
    return tuple(made)


def notes_within(notes: Iterable[SungNote], seconds: float) -> tuple[SungNote, ...]:
    """The notes as far as they lie before the end of a song."""
    return tuple(replace(note, end_s=min(note.end_s, seconds)) for note in notes if note.start_s < seconds)


def _read_note(row: Sequence[float]) -> SungNote:
    try:
        values = [] if isinstance(row, (str, bytes)) else [float(value) for value in row]
    except (TypeError, ValueError, OverflowError):
        values = []
    if len(values) not in (3, 4) or not all(map(math.isfinite, values)):
        raise InputError(f"a note must be [start_s, end_s, MIDI pitch, confidence], not {shown(row)}")
    note = SungNote(*values)
    if not 0 <= note.start_s < note.end_s <= LONGEST_S:
        raise InputError(f"the note at {note.start_s:g} s must start at 0 or later, and end after it starts")
    if not _PITCHES[0] <= note.pitch <= _PITCHES[1] or not 0 <= note.confidence <= 1:
        raise InputError(f"the note at {note.start_s:g} s must have a pitch of 0 to 127 and a confidence of 0 to 1")
    return note
