"""Chord and key labels in Harte's notation (Harte et al., ISMIR 2005): parsing, numbering and transposition.

Pitch classes are 0..11 from C. A majmin chord or a key is 0..11 for major on C..B and 12..23 for minor;
`NO_CHORD` (24) is silence or anything without a chord.
"""

from __future__ import annotations

import re
from functools import lru_cache

from accompany.common.checks import did_you_mean
from accompany.errors import InputError

PITCH_CLASSES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
NO_CHORD = 24
N_CHORDS = 25
N_KEYS = 24

NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_DEGREES = (0, 2, 4, 5, 7, 9, 11)
_QUALITIES: dict[str, tuple[int, ...]] = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "1": (0,),
    "5": (0, 7),
    "maj6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "7": (0, 4, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "aug7": (0, 4, 8, 10),
    "7sus4": (0, 5, 7, 10),
    "maj9": (0, 4, 7, 11, 2),
    "min9": (0, 3, 7, 10, 2),
    "9": (0, 4, 7, 10, 2),
    "maj11": (0, 4, 7, 11, 2, 5),
    "min11": (0, 3, 7, 10, 2, 5),
    "11": (0, 4, 7, 10, 2, 5),
    "maj13": (0, 4, 7, 11, 2, 5, 9),
    "min13": (0, 3, 7, 10, 2, 5, 9),
    "13": (0, 4, 7, 10, 2, 5, 9),
}
_SHORT = {"": "maj", "m": "min", "M7": "maj7", "m7": "min7", "6": "maj6", "m6": "min6", "sus": "sus4", "m7b5": "hdim7",
          "m9": "min9", "M9": "maj9", "add9": "maj(9)", "+": "aug", "o": "dim", "o7": "dim7"}  # fmt: skip
_MINOR_MODES = ("min", "minor", "m", "aeolian", "dorian", "phrygian", "locrian", "aeo", "dor", "phr", "loc")
_MAJOR_MODES = ("", "maj", "major", "ionian", "lydian", "mixolydian", "ion", "lyd", "mix")
_CHORD = re.compile(
    r"(?P<root>[A-G][#b]*)(?P<quality>:?[^(/:]*)(?:\((?P<extra>[^)]*)\))?(?:/(?P<bass>[#b]*\d+|[A-G][#b]*))?"
)
_KEY = re.compile(r"(?P<root>[A-Ga-g][#b]*)[ :]?(?P<mode>[A-Za-z]*)")


@lru_cache(maxsize=4096)
def chord_pitch_classes(label: str) -> tuple[int | None, frozenset[int], int | None]:
    """Parse a chord such as `A:min7/b3`, `F#:sus4(b7)`, `C`, `Am7`, `G7/B` or `N`.

    Returns:
        Root, pitch classes and bass, each 0..11; (None, empty, None) for `N` and `X`.

    Raises:
        InputError: the label is no chord.
    """
    label = label.strip()
    if label in ("N", "X"):
        return None, frozenset(), None
    match = _CHORD.fullmatch(label)
    if match is None:
        raise InputError(bad_chord(label))
    root = pitch_class(match["root"])
    intervals = _intervals(label, match["quality"], match["extra"])
    bass = root
    if match["bass"]:
        named = match["bass"][0] in NATURALS
        bass = pitch_class(match["bass"]) if named else (root + _degree(label, match["bass"])) % 12
    return root, frozenset((root + interval) % 12 for interval in intervals) | {bass}, bass


def majmin(label: str) -> int:
    """The nearest majmin chord 0..24: minor if the chord has a minor third and no major one, else major."""
    root, tones, _ = chord_pitch_classes(label)
    if root is None:
        return NO_CHORD
    minor = (root + 3) % 12 in tones and (root + 4) % 12 not in tones
    return root + 12 * minor


def label_of(index: int) -> str:
    """The Harte label of a majmin chord 0..24."""
    if not 0 <= index < N_CHORDS:
        raise ValueError(f"majmin chord {index} must be 0..{NO_CHORD}")
    if index == NO_CHORD:
        return "N"
    return f"{PITCH_CLASSES[index % 12]}:{'min' if index >= 12 else 'maj'}"


def key_index(label: str) -> int:
    """A key such as `A:min`, `C`, `F# minor`, `D:dorian` as 0..23 (modes by their third); InputError if it is none."""
    match = _KEY.fullmatch(label.strip())
    mode = match["mode"] if match else None
    if match is None or mode is None or mode.lower() not in _MINOR_MODES + _MAJOR_MODES:
        raise InputError(f"'{label}' is no key; write a tonic and maj or min, for example C:maj, F#:min or Bb minor.")
    return pitch_class(match["root"].capitalize()) + 12 * (mode.lower() in _MINOR_MODES and mode != "M")


def key_label(index: int) -> str:
    """The label of a key 0..23, such as `Eb:min`."""
    if not 0 <= index < N_KEYS:
        raise ValueError(f"key {index} must be 0..{N_KEYS - 1}")
    return label_of(index)


def pitch_class(name: str) -> int:
    """0..11 of a note name with any number of sharps or flats (`Bb`, `C##`)."""
    return (NATURALS[name[0]] + name.count("#") - name.count("b")) % 12


def _intervals(label: str, quality: str, extra: str | None) -> set[int]:
    harte = quality.startswith(":")
    quality = quality.removeprefix(":")
    if quality in _SHORT and not (harte and extra and not quality):
        quality = _SHORT[quality]
    if quality == "maj(9)":
        quality, extra = "maj", "9"
    if harte and extra and not quality:
        intervals = {0}
    elif quality in _QUALITIES:
        intervals = set(_QUALITIES[quality])
    else:
        raise InputError(bad_chord(label, quality))
    for degree in filter(None, (extra or "").replace(" ", "").split(",")):
        interval = _degree(label, degree.lstrip("*"))
        intervals = intervals - {interval} if degree.startswith("*") else intervals | {interval}
    return intervals


def _degree(label: str, degree: str) -> int:
    number = degree.lstrip("#b")
    if not number.isdigit() or int(number) < 1:
        raise InputError(bad_chord(label))
    return (_DEGREES[(int(number) - 1) % 7] + degree.count("#") - degree.count("b")) % 12


def bad_chord(label: str, quality: str | None = None) -> str:
    """The sentence for a label that is no chord, perhaps by its quality."""
    hint = did_you_mean(quality, _QUALITIES) if quality else ""
    return f"'{label}' is no chord{hint or ';'} write Harte labels such as C:maj, A:min7, G:7/3 or N."
