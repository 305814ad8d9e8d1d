"""Singing styles: note density, syncopation, pull to the chord and repetition of a melody."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SingingStyle:
    """Parameters of a sung melody.

    Attributes:
        rate: notes a second inside phrases, lowest and highest.
        syncopation: chance that a note on a beat comes early.
        sixteenths: weight of rhythms on the finest grid against those on eighths.
        chord_pull: 0 ignores the chord, 1 puts only chord notes on strong beats.
        leap: factor on intervals over a second.
        repeat: chance that a bar of a phrase repeats the rhythm of the one before.
        pickup, late: chance that a phrase starts before or after its first beat.
        gap: rest at the end of a phrase in beats, lowest and highest.
        melisma: chance that a long note turns into a run on one syllable.
        scale: weights of "mode", "pentatonic", "blues".
        span: semitones from the lowest to the highest note, lowest and highest.
        phrase_bars: weights of phrase lengths.
        chromatic: chance of a chromatic neighbour on a weak note.
        recite: extra weight of repeated notes.
    """

    rate: tuple[float, float]
    syncopation: float
    sixteenths: float
    chord_pull: float
    leap: float
    repeat: float
    pickup: float
    late: float
    gap: tuple[float, float]
    melisma: float
    scale: dict[str, float]
    span: tuple[int, int]
    phrase_bars: dict[int, float]
    chromatic: float = 0.0
    recite: float = 1.0


_PHRASES = {2: 3.0, 4: 2.0, 1: 0.4}

SINGING_STYLES: dict[str, SingingStyle] = {
    "song": SingingStyle(
        (1.8, 3.2), 0.25, 0.25, 0.85, 1.0, 0.5, 0.35, 0.3, (0.5, 2.0), 0.08,
        {"mode": 0.75, "pentatonic": 0.25}, (10, 16), _PHRASES,
    ),
    "syncopated": SingingStyle(
        (2.4, 4.2), 0.6, 0.6, 0.75, 0.9, 0.55, 0.3, 0.45, (0.5, 2.0), 0.06,
        {"mode": 0.55, "pentatonic": 0.45}, (9, 15), _PHRASES,
    ),
    "dense": SingingStyle(
        (4.2, 6.5), 0.45, 2.0, 0.6, 0.7, 0.6, 0.4, 0.4, (0.5, 1.5), 0.02,
        {"mode": 0.5, "pentatonic": 0.5}, (6, 12), {2: 3, 1: 1, 4: 0.6}, recite=1.8,
    ),
    "rap": SingingStyle(
        (4.5, 7.0), 0.35, 2.5, 0.15, 0.8, 0.45, 0.5, 0.3, (0.3, 1.5), 0.0,
        {"mode": 0.6, "pentatonic": 0.4}, (3, 6), {2: 2, 1: 1, 4: 1.5}, recite=1.8,
    ),
    "sparse": SingingStyle(
        (1.0, 1.9), 0.2, 0.1, 0.85, 1.2, 0.5, 0.3, 0.35, (0.5, 2.5), 0.1,
        {"mode": 0.8, "pentatonic": 0.2}, (10, 18), {2: 3, 4: 2},
    ),
    "few notes": SingingStyle(
        (1.4, 3.4), 0.4, 0.4, 0.55, 0.9, 0.75, 0.25, 0.4, (0.5, 3.0), 0.02,
        {"mode": 0.4, "pentatonic": 0.6}, (4, 8), {2: 3, 1: 1}, recite=1.6,
    ),
    "folk": SingingStyle(
        (1.6, 3.0), 0.06, 0.15, 0.88, 1.1, 0.65, 0.5, 0.08, (0.3, 1.2), 0.04,
        {"mode": 0.65, "pentatonic": 0.35}, (10, 15), {2: 2, 4: 2},
    ),
    "nursery": SingingStyle(
        (1.5, 2.6), 0.0, 0.03, 0.93, 1.1, 0.75, 0.2, 0.03, (0.2, 1.0), 0.0,
        {"mode": 0.8, "pentatonic": 0.2}, (7, 12), {2: 3, 4: 1}, recite=1.3,
    ),
    "jazz": SingingStyle(
        (1.6, 3.4), 0.45, 0.12, 0.7, 1.3, 0.45, 0.4, 0.45, (0.8, 2.5), 0.06,
        {"mode": 1.0}, (11, 17), {2: 2, 4: 2}, chromatic=0.1,
    ),
    "soul": SingingStyle(
        (2.0, 4.2), 0.5, 0.8, 0.7, 1.1, 0.45, 0.35, 0.45, (0.6, 2.2), 0.3,
        {"mode": 0.4, "pentatonic": 0.45, "blues": 0.15}, (11, 18), _PHRASES, chromatic=0.04,
    ),
    "blues": SingingStyle(
        (1.6, 3.2), 0.35, 0.2, 0.5, 1.1, 0.6, 0.45, 0.3, (1.0, 3.5), 0.18,
        {"pentatonic": 0.3, "blues": 0.7}, (9, 15), {2: 3, 4: 1}, chromatic=0.03,
    ),
}  # fmt: skip
