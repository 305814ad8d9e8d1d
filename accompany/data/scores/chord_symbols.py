"""Chord symbols of published scores in the arranger's vocabulary.

`harte_chord` reads Harte labels, as in POP909's annotations; `musicxml_chord` reads the kinds and degrees of MusicXML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from accompany.data.songs.theory import QUALITIES, Chord, harte_degree

_TONES = {quality: frozenset(step % 12 for step in steps) for quality, steps in QUALITIES.items()}
_BY_TONES = {tones: quality for quality, tones in reversed(_TONES.items())}
_HARTE = re.compile(r"(?P<root>[A-G][#b]*)(?::(?P<quality>[^/]+))?(?:/(?P<bass>[#b]*\d+))?")
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

_KINDS = {
    "major": "maj", "minor": "min", "augmented": "aug", "diminished": "dim", "power": "5",
    "dominant": "7", "major-seventh": "maj7", "minor-seventh": "min7", "diminished-seventh": "dim7",
    "half-diminished": "hdim7", "augmented-seventh": "aug7", "major-minor": "minmaj7",
    "minor-major": "minmaj7", "maj69": "maj6",
    "major-sixth": "maj6", "minor-sixth": "min6",
    "dominant-ninth": "9", "major-ninth": "maj9", "minor-ninth": "min9", "augmented-ninth": "aug7",
    "dominant-11th": "sus4(b7,9)", "major-11th": "maj9", "minor-11th": "min11",
    "dominant-13th": "13", "major-13th": "maj9", "minor-13th": "min11",
    "suspended-second": "sus2", "suspended-fourth": "sus4",
    "German": "7", "Italian": "7", "French": "7", "Neapolitan": "maj",
}  # fmt: skip
_MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)


def chord_of(root: int, quality: str, bass: int) -> Chord:
    """A chord of the arranger from pitch classes 0..11 of root and bass."""
    interval = (bass - root) % 12
    return Chord(root, quality, interval, harte_degree(interval) if interval else "")


def harte_chord(label: str) -> Chord | None:
    """The chord of a Harte label such as "A:min7/b3"; None for "N" and "X".

    Raises:
        ValueError: no chord label, or a quality that the arranger lacks.
    """
    if label in ("N", "X"):
        return None
    match = _HARTE.fullmatch(label)
    quality = (match["quality"] or "maj") if match else ""
    if match is None or quality not in QUALITIES:
        raise ValueError(f"unknown chord '{label}'")
    root = note_class(match["root"])
    return chord_of(root, quality, root + (_degree(match["bass"]) if match["bass"] else 0))


def note_class(name: str) -> int:
    """Pitch class 0..11 of a note name such as "Bb" or "C##"; ValueError for anything else."""
    if name[:1] not in _NATURALS or (name[1:].strip("#") and name[1:].strip("b")):
        raise ValueError(f"'{name}' is no note name")
    return (_NATURALS[name[0]] + name.count("#") - name[1:].count("b")) % 12


def _degree(name: str) -> int:
    """Semitones above the root of a degree such as "b7" or "3"."""
    number = int(name.lstrip("#b"))
    return _MAJOR_SCALE[(number - 1) % 7] + name.count("#") - name.count("b")


def musicxml_chord(
    root: str, kind: str, *, bass: str = "", inversion: int = 0, degrees: Iterable[tuple[str, int, int]] = ()
) -> Chord | None:
    """The chord of a MusicXML `harmony`; None for "none" (N.C.).

    Args:
        root, bass: note names such as "Bb"; without a bass the inversion (1: third, 2: fifth, 3: seventh) says it.
        kind: MusicXML's word, for example "half-diminished".
        inversion: 0 for the root in the bass.
        degrees: (type, value, alter): ("add", 9, -1), ("alter", 5, 1), ("subtract", 3, 0).

    Raises:
        ValueError: a kind without an equivalent, or no note name.
    """
    if kind == "none":
        return None
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of chord '{kind}'")
    root_class = note_class(root)
    quality = _altered(_KINDS[kind], degrees)
    if bass:
        return chord_of(root_class, quality, note_class(bass))
    steps = QUALITIES[quality]
    return chord_of(root_class, quality, root_class + (steps[inversion] if 0 < inversion < len(steps) else 0))


def _altered(quality: str, degrees: Iterable[tuple[str, int, int]]) -> str:
    """The quality with added, altered and left out degrees; the plain one where the vocabulary lacks the result."""
    tones = set(_TONES[quality])
    for action, value, alter in degrees:
        plain = _MAJOR_SCALE[(value - 1) % 7] - (value == 7)
        if action in ("alter", "subtract"):
            tones.discard(plain % 12)
        if action != "subtract":
            tones.add((plain + alter) % 12)
    return _BY_TONES.get(frozenset(tones), quality)
