"""Checks of controls that few generations give: each returns the value as `Settings` keeps it, or raises InputError."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from accompany.common.checks import check_text, shown
from accompany.errors import InputError
from accompany.music.instrumentation import STEMS


def _chords(line: Any) -> str:
    from accompany.music.chord_text import read_chords

    check_text("line of chords", line)
    read_chords(line)
    return str(line)


def _taps(values: Any) -> tuple[float, ...]:
    taps = _numbers("taps", values)
    rising = all(later > earlier for earlier, later in itertools.pairwise(taps))
    _check(
        len(taps) >= 2 and rising and taps[0] >= 0, "The taps", "must be two or more times in seconds, rising from 0"
    )
    return taps


def _like(values: Any) -> tuple[float, ...]:
    return _numbers("like", values)


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    try:
        given = () if isinstance(values, (str, bytes)) else tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        given = ()
    _check(bool(given) and all(map(math.isfinite, given)), f"The {name} {shown(values)}", "must be finite numbers")
    return given


def _melody(rows: Any) -> tuple[tuple[float, float, float], ...]:
    from accompany.music.sung_notes import read_notes

    _check(isinstance(rows, (list, tuple)), f"The melody {shown(rows)}", "must be notes: (start_s, end_s, MIDI pitch)")
    try:
        notes = read_notes(rows)
    except InputError as error:
        raise InputError(f"The melody cannot be followed: {error}.") from error
    _check(bool(notes), "The melody", "must have a note")
    return tuple((note.start_s, note.end_s, note.pitch) for note in notes)


def _mute(names: Any) -> tuple[str, ...]:
    """Stems in their order, from names or a text of them; none for 'none'."""
    given = names.lower().replace(",", " ").split() if isinstance(names, str) else names
    if (isinstance(names, (list, tuple)) and not names) or given == ["none"]:
        return ()
    are_stems = isinstance(given, (list, tuple)) and given and all(name in STEMS for name in given)
    _check(bool(are_stems), f"The stems to mute {shown(names)}", f"must be some of {', '.join(STEMS)}, or 'none'")
    _check(set(given) < set(STEMS), f"The stems to mute {shown(names)}", "are all there are; leave one to be played")
    return tuple(stem for stem in STEMS if stem in given)


def _check(holds: bool, what: str, allowed: str) -> None:
    if not holds:
        raise InputError(f"{what} {allowed}.")


CHECKS: dict[str, Callable[[Any], Any]] = {
    "chords": _chords,
    "taps": _taps,
    "like": _like,
    "melody": _melody,
    "mute": _mute,
}
"""By the name of the control."""
