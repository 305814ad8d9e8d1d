"""Chord labels as people write them: lines of bars, and transposition."""

from __future__ import annotations

import re

from accompany.errors import InputError
from accompany.music.harmony import NATURALS, PITCH_CLASSES, bad_chord, chord_pitch_classes, pitch_class


def read_chords(text: str) -> list[list[str]]:
    """Bars of chord labels.

    Args:
        text: `C G Am F` has one chord a bar; with bar lines, `C | Dm G | Am`, the chords of a bar share it evenly. `%`
            repeats the bar or chord before.

    Raises:
        InputError: nothing there, or a label that is no chord.
    """
    bars = [bar.split() for bar in text.split("|") if bar.strip()] if "|" in text else [[word] for word in text.split()]
    if not bars:
        raise InputError("The chords are empty; write them as in 'C G Am F', one a bar.")
    last: str | None = None
    for bar in bars:
        for place, label in enumerate(bar):
            if label == "%" and last is not None:
                bar[place] = last
            chord_pitch_classes(bar[place])
            last = bar[place]
    return bars


def transpose_label(label: str, semitones: int) -> str:
    """Transpose a chord or key label; the quality is kept as written, a named bass is transposed too."""
    if label.strip() in ("N", "X"):
        return label.strip()
    head, slash, bass = label.strip().partition("/")
    root = _transpose_note(head, semitones)
    if slash and bass[:1] in NATURALS:
        bass = _transpose_note(bass, semitones)
    return root + slash + bass


def _transpose_note(text: str, semitones: int) -> str:
    match = re.match(r"[A-G][#b]*", text)
    if match is None:
        raise InputError(bad_chord(text))
    return PITCH_CLASSES[(pitch_class(match[0]) + semitones) % 12] + text[match.end() :]
