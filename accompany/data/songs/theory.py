"""Chords, scales and voicings.

Chords are written as roman numerals against the major scale of the tonic ("ii7", "bVII", "V7sus4", "I/3"): capitals
are major, small letters minor. Labels follow Harte et al. 2005 ("A:min7", "C:maj/3").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

PITCH_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "blues": (0, 2, 3, 4, 5, 7, 9, 10),
}
MAJOR_LIKE = frozenset({"major", "mixolydian", "lydian", "blues"})

# Harte shorthand -> semitones above the root, extensions an octave up as they are played, in the order in which
# voicings take them. `accompany.music.harmony` has a table of its own, of pitch classes: it reads what people write,
# which is more (maj13, aug7), and there a 13 has all its thirds, while a band leaves out the eleventh.
QUALITIES: dict[str, tuple[int, ...]] = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "5": (0, 7),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "maj6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "9": (0, 4, 7, 10, 14),
    "maj9": (0, 4, 7, 11, 14),
    "min9": (0, 3, 7, 10, 14),
    "13": (0, 4, 7, 10, 14, 21),
    "maj(9)": (0, 4, 7, 14),
    "min(9)": (0, 3, 7, 14),
    "sus4(b7)": (0, 5, 7, 10),
    "sus4(b7,9)": (0, 5, 7, 10, 14),
    "7(b9)": (0, 4, 7, 10, 13),
    "7(#9)": (0, 4, 7, 10, 15),
    "min11": (0, 3, 7, 10, 14, 17),
    "aug7": (0, 4, 8, 10),
}

_SUFFIXES: dict[str, tuple[str, str]] = {  # suffix -> quality after capitals, after small letters
    "": ("maj", "min"),
    "7": ("7", "min7"),
    "maj7": ("maj7", "minmaj7"),
    "6": ("maj6", "min6"),
    "9": ("9", "min9"),
    "maj9": ("maj9", "min9"),
    "add9": ("maj(9)", "min(9)"),
    "13": ("13", "min11"),
    "11": ("sus4(b7,9)", "min11"),
    "sus4": ("sus4", "sus4"),
    "sus2": ("sus2", "sus2"),
    "7sus4": ("sus4(b7)", "sus4(b7)"),
    "9sus4": ("sus4(b7,9)", "sus4(b7,9)"),
    "7b9": ("7(b9)", "7(b9)"),
    "7#9": ("7(#9)", "7(#9)"),
    "dim": ("dim", "dim"),
    "dim7": ("dim7", "dim7"),
    "hd7": ("hdim7", "hdim7"),
    "aug": ("aug", "aug"),
    "5": ("5", "5"),
}
_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_ROMAN = re.compile(r"^([b#]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)([^/]*)(?:/([b#]?\d))?$")
_DEGREE_SEMITONES = {"1": 0, "2": 2, "3": 4, "4": 5, "5": 7, "6": 9, "7": 11}


@dataclass(frozen=True)
class Chord:
    """A chord in a key: root pitch class, Harte quality, and the bass as semitones above the root."""

    root: int
    quality: str
    bass_interval: int = 0
    bass_degree: str = ""

    @property
    def intervals(self) -> tuple[int, ...]:
        """Semitones above the root."""
        return QUALITIES[self.quality]

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Pitch classes in the order of the intervals."""
        return tuple((self.root + step) % 12 for step in self.intervals)

    @property
    def bass(self) -> int:
        """Pitch class of the lowest note."""
        return (self.root + self.bass_interval) % 12

    @property
    def fifth(self) -> int:
        """Pitch class of the fifth (or what stands for it)."""
        steps = [step for step in self.intervals if step in (6, 7, 8)]
        return (self.root + (steps[0] if steps else 7)) % 12

    @property
    def label(self) -> str:
        """Harte label, for example "A:min7" or "C:maj/3"."""
        slash = f"/{self.bass_degree}" if self.bass_degree else ""
        return f"{PITCH_NAMES[self.root]}:{self.quality}{slash}"


@lru_cache(maxsize=8192)
def roman_chord(numeral: str, tonic: int) -> Chord:
    """The chord that a roman numeral names over a tonic pitch class; ValueError for what is no numeral."""
    match = _ROMAN.match(numeral)
    if match is None or match.group(3) not in _SUFFIXES:
        raise ValueError(f"'{numeral}' is not a roman numeral chord")
    accidental, degree, suffix, slash = match.groups()
    root = (tonic + _NUMERALS[degree.lower()] + {"b": -1, "#": 1, "": 0}[accidental]) % 12
    quality = _SUFFIXES[suffix][degree.islower()]
    if not slash:
        return Chord(root, quality)
    interval = _slash_interval(slash, QUALITIES[quality])
    return Chord(root, quality, interval % 12, harte_degree(interval % 12))


def _slash_interval(slash: str, intervals: tuple[int, ...]) -> int:
    """Semitones of a slash degree: "/3" is the chord's own third, minor or major, "/2" or "/b2" are plain degrees."""
    own = {"3": (3, 4), "5": (6, 7, 8), "7": (9, 10, 11)}.get(slash, ())
    for interval in intervals:
        if interval in own:
            return interval
    shift = {"b": -1, "#": 1}.get(slash[0], 0)
    return _DEGREE_SEMITONES[slash[-1]] + shift


def harte_degree(interval: int) -> str:
    """The degree 1 to b7 that lies `interval` semitones, 0 to 11, above the root."""
    names = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7")
    return names[interval]


def scale_pitch_classes(tonic: int, mode: str) -> frozenset[int]:
    """Pitch classes of a mode over a tonic."""
    return frozenset((tonic + step) % 12 for step in SCALES[mode])


def key_label(tonic: int, mode: str) -> str:
    """ "C:maj" or "A:min": modes count as their major or minor relation."""
    return f"{PITCH_NAMES[tonic]}:{'maj' if mode in MAJOR_LIKE else 'min'}"


def nearest_pitch(pitch_class: int, near: float, low: int, high: int) -> int:
    """The MIDI pitch of a pitch class nearest to `near` within [low, high] (the range spans at least an octave)."""
    pitch = round((near - pitch_class) / 12) * 12 + pitch_class
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def voicing(
    chord: Chord, previous: tuple[int, ...] | None, centre: float, size: int, low: int, high: int
) -> tuple[int, ...]:
    """A close voicing near `centre` with small voice-leading distance from the previous one.

    Args:
        chord: what to voice; upper extensions are kept before the fifth and, in big chords, the root.
        previous: the voicing before, or None.
        centre: MIDI pitch around which the voicing lies.
        size: number of notes wanted, 2 to 6.
        low: lowest pitch allowed.
        high: highest pitch allowed.
    """
    classes = _essential_classes(chord, size)
    target = centre if previous is None else 0.65 * sum(previous) / len(previous) + 0.35 * centre
    return _best_inversion(classes, round(target * 2) / 2, low, high)


@lru_cache(maxsize=65536)
def _best_inversion(classes: tuple[int, ...], target: float, low: int, high: int) -> tuple[int, ...]:
    """The rotation of the pitch classes, stacked closely, whose mean lies nearest to the target."""
    best: tuple[int, ...] = ()
    best_cost = 1e9
    for start in range(low, min(low + 24, high)):
        if start % 12 not in classes:
            continue
        stack = _stack(classes, start)
        cost = abs(sum(stack) / len(stack) - target) + 5.0 * sum(p > high for p in stack)
        cost += 0.8 * sum(b - a == 1 for a, b in pairwise(stack))
        if cost < best_cost:
            best, best_cost = stack, cost
    return best


def _stack(classes: tuple[int, ...], start: int) -> tuple[int, ...]:
    return tuple(sorted(start + (pitch_class - start) % 12 for pitch_class in classes))


def _essential_classes(chord: Chord, size: int) -> tuple[int, ...]:
    """At most `size` pitch classes, by importance: third or fourth, seventh, root, extensions, fifth."""
    order = sorted(chord.intervals, key=lambda step: _IMPORTANCE.get(step, 5))
    if size <= 3 and len(chord.intervals) > 3:
        order = [step for step in order if step != 0]
    return tuple(dict.fromkeys((chord.root + step) % 12 for step in order[:size]))


_IMPORTANCE = {
    3: 0,
    4: 0,
    5: 0,
    2: 0,
    10: 1,
    11: 1,
    9: 1,
    0: 2,
    14: 3,
    13: 3,
    15: 3,
    21: 4,
    17: 4,
    6: 2.5,
    8: 2.5,
    7: 4.5,
}


def guitar_voicing(chord: Chord, low: int = 40, spread: int = 24, size: int = 5) -> tuple[int, ...]:
    """An open guitar-like voicing: bass note, fifth or root, then chord notes upwards without gaps over a sixth."""
    bass = nearest_pitch(chord.bass, low + 5, low, low + 11)
    notes = [bass]
    classes = set(_essential_classes(chord, 4)) | {chord.root}
    step = bass + 4
    while len(notes) < size and step <= low + spread:
        if step % 12 in classes and step - notes[-1] >= 3:
            notes.append(step)
        step += 1
    return tuple(notes)
