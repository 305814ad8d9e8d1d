"""Instrumentation of a band: families present and absent, and density; read from a prompt, a condition of the stages.

Columns of the vector (`DIM` values):

| columns | content |
|---|---|
| 0 to n - 1 | 1 where the family of `FAMILIES` is asked for |
| n to 2n - 1 | 1 where it must not play; a family that is neither is left open |
| 2n to 2n + 2 | density, one-hot (`DENSITIES`); all 0 where it is left open |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accompany.common.checks import did_you_mean
from accompany.errors import InputError

if TYPE_CHECKING:
    import numpy as np

FAMILIES = (
    "drums", "percussion", "bass", "piano", "electric piano", "clavinet", "organ", "accordion", "guitar", "banjo",
    "ukulele", "harp", "strings", "brass", "saxophone", "woodwinds", "harmonica", "vibraphone", "mallets", "bells",
    "steel drums", "pad", "synth",
)  # fmt: skip
DENSITIES = ("sparse", "full", "busy")
DIM = 2 * len(FAMILIES) + len(DENSITIES)
STEMS = ("drums", "bass", "other")
"""Stems of a band; their sum is the mix."""
STEM_OF = {"drums": "drums", "percussion": "drums", "bass": "bass"}
"""The stem of a family; of all that are not here "other"."""

_WORDS = {
    "drums": "drums, drum, drummer, drumming, drum kit, drum set, drum machine, kit, brushes, backbeat, 808 beat, "
    "electronic beat, hi-hat, hi-hats, cymbals, kick, snare, breakbeat",
    "percussion": "percussion, congas, conga, bongos, bongo, shaker, shakers, tambourine, cajon, hand claps, timpani",
    "bass": "bass, bassline, contrabass, sub-bass",
    "piano": "piano, pianist",
    "electric piano": "electric piano, rhodes, wurlitzer, wurli, fender rhodes keys, dx7",
    "clavinet": "clavinet, clav",
    "organ": "organ, hammond, b3, harmonium",
    "accordion": "accordion, squeezebox, bandoneon, concertina",
    "guitar": "guitar, guitars, guitarist",
    "banjo": "banjo",
    "ukulele": "ukulele, uke",
    "harp": "harp",
    "strings": "strings, string section, string machine, string quartet, orchestra, violin, violins, viola, fiddle, "
    "cello, cellos, pizzicato",
    "brass": "brass, trumpet, trumpets, trombone, trombones, horn, horns, tuba, flugelhorn",
    "saxophone": "saxophone, saxophones, sax, saxes",
    "woodwinds": "woodwinds, woodwind, clarinet, flute, flutes, oboe, bassoon, piccolo, whistle, recorder",
    "harmonica": "harmonica, mouth harp, blues harp",
    "vibraphone": "vibraphone, vibes",
    "mallets": "mallets, marimba, xylophone, kalimba",
    "bells": "bells, glockenspiel, glock, celesta, celeste, music box, chimes",
    "steel drums": "steel drums, steel drum, steelpan, steel pan, steel pans",
    "pad": "pad, pads, choir",
    "synth": "synth, synths, synthesizer, synthesiser, arpeggiator, saw lead, saw chords",
}
_COMPOUNDS = {  # longer names whose last word names another family, or none
    "bass drum": "drums", "bass clarinet": "woodwinds", "bass guitar": "bass", "synth bass": "bass",
    "synth pad": "pad", "synth pads": "pad", "synth strings": "strings", "electric organ": "organ",
    "string bass": "bass", "acoustic bass": "bass", "drum and bass": None, "drum & bass": None, "vibes only": None,
    "good vibes": None, "tool kit": None,
}  # fmt: skip
_NAMES: dict[str, str | None] = {name: family for family in FAMILIES for name in _WORDS[family].split(", ")}
_NAMES.update(_COMPOUNDS)
_NAME = re.compile(
    r"(?<![\w-])(" + "|".join(re.escape(name) for name in sorted(_NAMES, key=len, reverse=True)) + r")(?![\w]|-\w)"
)
_NOT = re.compile(r"\b(no|not|without|minus|sans|never|don'?t|except|lacking|free of)\b[^,;.:]*$")
_AGAIN = re.compile(r"\b(but|with|plus|only|just|instead)\b")
_ALONE = (
    re.compile(r"\b(solo|only|just|nothing but|unaccompanied)\s+(an?\s+|the\s+|some\s+)?(\w+[\s-]){0,2}$"),
    re.compile(r"^\s*(alone|only|solo|by itself)\b"),
)
_DENSITY = {
    "sparse": r"\b(sparse|minimal|minimalist|stripped|bare|thin|skeletal)\b",
    "busy": r"\b(busy|dense|hectic|packed|wall of sound)\b",
    "full": r"\b(full|fuller)\b",
}
_WITHOUT_NAME = {"drumless": "drums", "beatless": "drums", "unplugged": "synth"}


@dataclass(frozen=True)
class Instrumentation:
    """Families of instruments that play and that must not, and the density (one of `DENSITIES`, or None for open)."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    density: str | None = None

    def __post_init__(self) -> None:
        """Raise InputError for an unknown family or density, or a family that is both present and absent."""
        for name in (*self.present, *self.absent):
            if name not in FAMILIES:
                hint = did_you_mean(name, FAMILIES) or f" (families: {', '.join(FAMILIES)})."
                raise InputError(f"There is no family of instruments '{name}'{hint}")
        if both := sorted(set(self.present) & set(self.absent)):
            raise InputError(f"'{both[0]}' cannot be both present and absent; name it once.")
        if self.density is not None and self.density not in DENSITIES:
            raise InputError(f"The density '{self.density}' must be one of {', '.join(DENSITIES)}.")

    def vector(self) -> np.ndarray:
        """The instrumentation as float32 [`DIM`]."""
        import numpy as np

        made = np.zeros(DIM, np.float32)
        made[[FAMILIES.index(name) for name in self.present]] = 1
        made[[len(FAMILIES) + FAMILIES.index(name) for name in self.absent]] = 1
        if self.density is not None:
            made[2 * len(FAMILIES) + DENSITIES.index(self.density)] = 1
        return made


def rests(vectors: np.ndarray, stem: str) -> np.ndarray:
    """Where instrumentations [F, `DIM`] leave a stem nothing to play, [F] bool: its instruments must not play.

    Without drums there may still be percussion, but not where that is left open.
    """
    import numpy as np

    held = [place for place, family in enumerate(FAMILIES) if STEM_OF.get(family, "other") == stem]
    leading = held if stem == "other" else [FAMILIES.index(stem)]
    excluded = vectors[:, [len(FAMILIES) + place for place in leading]].all(axis=1)
    return np.asarray(excluded & ~vectors[:, held].any(axis=1))


def read_instrumentation(prompt: str) -> Instrumentation:
    """What a prompt in English states of the instrumentation; what it does not name is left open.

    "no", "without" and the like exclude what follows them up to the next comma, "but" or "with"; "solo piano" or
    "guitar only" excludes every other family. A family that is named both ways counts as present.
    """
    text = " ".join(prompt.lower().replace("’", "'").split())
    present: list[str] = []
    absent = [family for word, family in _WITHOUT_NAME.items() if re.search(rf"\b{word}\b", text)]
    alone = False
    for match in _NAME.finditer(text):
        family = _NAMES[match[1]]
        if family is None:
            continue
        before = text[: match.start()]
        if _is_excluded(before):
            absent.append(family)
            continue
        present.append(family)
        alone |= bool(_ALONE[0].search(before) or _ALONE[1].search(text[match.end() :]))
    if alone:
        absent = list(FAMILIES)
    kept = tuple(dict.fromkeys(present))
    density = next((name for name, words in _DENSITY.items() if re.search(words, text)), None)
    return Instrumentation(kept, tuple(f for f in dict.fromkeys(absent) if f not in kept), density)


def _is_excluded(before: str) -> bool:
    """Whether a negation reaches from the words before an instrument to it."""
    found = _NOT.search(before)
    return found is not None and _AGAIN.search(found[0]) is None
