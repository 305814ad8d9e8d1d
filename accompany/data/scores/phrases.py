"""Phrase and section segmentation of a melody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accompany.data.scores.lead_sheet import Bar, Phrase, SheetNote

_PREFERRED = {2: 0.1, 3: -0.6, 4: 0.8, 5: -0.6, 6: -0.2, 7: -0.8, 8: 0.4}
_EARLY = 0.75
_LATE_Q = 0.3
_ALIKE = 0.5
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVW"


def find_phrases(bars: Sequence[Bar], notes: Sequence[SheetNote]) -> tuple[Phrase, ...]:
    """Phrases of two to eight bars: cut where the melody rests around a bar line, best after four bars.

    Two bars or more without a note are phrases that nobody sings. Phrases with half of their notes in common share a
    letter.
    """
    if not notes:
        return ()
    starts = np.array([note.start_q for note in notes])
    ends = np.array([note.end_q for note in notes])
    sung = [bool(((starts < b.start_q + b.length_q - 0.1) & (ends > b.start_q + 0.1)).any()) for b in bars]
    spans: list[tuple[int, int, bool]] = []
    at = 0
    while at < len(bars):
        until = at
        while until < len(bars) and not sung[until]:
            until += 1
        if until - at >= 2 or (until > at and (at == 0 or until == len(bars))):
            spans.append((at, until - at, False))
            at = until
            continue
        length = _best_length(bars, at, sung, starts, ends)
        spans.append((at, length, True))
        at += length
    return _lettered(spans, bars, notes)


def _best_length(bars: Sequence[Bar], at: int, sung: list[bool], starts: np.ndarray, ends: np.ndarray) -> int:
    """Bars from `at` to the best end of a phrase."""
    most = min(8, len(bars) - at)
    for length in range(1, most):
        if not any(sung[at + length : at + length + 2]):
            return length  # A long rest ends it in any case.
    if most <= 4:
        return most

    def worth(length: int) -> float:
        bar = bars[at + length] if at + length < len(bars) else None
        rest = 2.0 if bar is None else _breath_q(bar, starts, ends)
        return min(rest, 4.0) + _PREFERRED[length]

    return max(range(2, most + 1), key=worth)


def _breath_q(bar: Bar, starts: np.ndarray, ends: np.ndarray) -> float:
    """The longest rest before a note that begins at a bar line, shortly after or as its upbeat; and half of the length
    of the note before it, since phrases end on long notes."""
    lines = np.flatnonzero((starts > bar.start_q - _EARLY * bar.length_q) & (starts <= bar.start_q + _LATE_Q))
    lines = lines[lines > 0]
    if not len(lines):
        return 0.0
    worth = starts[lines] - ends[lines - 1] + 0.5 * (ends[lines - 1] - starts[lines - 1])
    return float(worth.max())


def _lettered(
    spans: list[tuple[int, int, bool]], bars: Sequence[Bar], notes: Sequence[SheetNote]
) -> tuple[Phrase, ...]:
    kinds: list[tuple[str, frozenset[tuple[int, int]]]] = []
    last_sung = max((i for i, span in enumerate(spans) if span[2]), default=-1)
    first_sung = next((i for i, span in enumerate(spans) if span[2]), len(spans))
    phrases = []
    for index, (first, length, is_sung) in enumerate(spans):
        if not is_sung:
            letter = "i" if index < first_sung else "o" if index > last_sung else "b"
            phrases.append(Phrase(first, length, letter))
            continue
        content = _content(bars, first, length, notes)
        letter = next((letter for letter, known in kinds if _likeness(known, content) >= _ALIKE), "")
        if not letter:
            letter = _LETTERS[min(len(kinds), len(_LETTERS) - 1)]
            kinds.append((letter, content))
        phrases.append(Phrase(first, length, letter))
    return tuple(phrases)


def _content(bars: Sequence[Bar], first: int, length: int, notes: Sequence[SheetNote]) -> frozenset[tuple[int, int]]:
    """(half quarters from the first bar line, pitch) of the notes of a phrase."""
    start, end = bars[first].start_q, bars[first + length - 1].start_q + bars[first + length - 1].length_q
    return frozenset((round(2 * (n.start_q - start)), n.pitch) for n in notes if start <= n.start_q < end)


def _likeness(one: frozenset[tuple[int, int]], other: frozenset[tuple[int, int]]) -> float:
    return len(one & other) / max(len(one | other), 1)


def section_names(phrases: Sequence[Phrase], mean_pitch: dict[str, float]) -> dict[str, str]:
    """Section name of each letter: "intro", "outro", "break", "verse", "prechorus", "chorus" or "bridge".

    The chorus is the highest sung kind that comes back and is not the first; "X" and what comes once is a bridge.

    Args:
        phrases: of one song.
        mean_pitch: of each sung letter.
    """
    names = {p.letter: {"i": "intro", "o": "outro"}.get(p.letter, "break") for p in phrases if not p.sung}
    letters = [phrase.letter for phrase in phrases if phrase.sung]
    order = list(dict.fromkeys(letters))
    back = [letter for letter in order[1:] if letters.count(letter) > 1 and letter != "X"]
    chorus = max(back, key=lambda letter: mean_pitch.get(letter, 0.0), default="")
    for index, letter in enumerate(order):
        if letter == chorus:
            names[letter] = "chorus"
        elif letter == "X" or (index and letters.count(letter) == 1):
            names[letter] = "bridge"
        elif index and order.index(chorus) == index + 1 if chorus else False:
            names[letter] = "prechorus"
        else:
            names[letter] = "verse"
    return names
