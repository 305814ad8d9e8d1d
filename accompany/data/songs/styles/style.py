"""The `Style` dataclass, and the notation of its tables of weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Style:
    """Parameters of a musical style; every mapping is a table of weights.

    Attributes:
        name: the word of `Score.style`.
        words: other wordings for captions.
        tempo: lowest, usual and highest beats a minute (in 6/8 and 12/8 of the dotted quarter, scaled on use).
        metres: weights of "4/4", "3/4", "6/8", "12/8".
        modes: weights of the modes of `theory.SCALES`.
        major, minor: pools of progressions.
        colour: chance that a plain triad grows a seventh or ninth; `sus` chance of a suspension or added ninth.
        slot_bars: weights of the length of a chord slot in bars.
        push: chance that a section anticipates chord changes by an eighth.
        swing: chance of swung eighths, and the range of the swing.
        swing_sixteenths: the swing lies on sixteenths instead of eighths.
        grooves, basses, comps: weights of patterns by name.
        drums, bass, comp, pad, lead, arp: weights of instruments by role; "" means none.
        no_drums: chance of a band without drums.
        moods: mood words.
        melody: weights of `SINGING_STYLES`.
        weight: how often the style is drawn.
    """

    name: str
    words: tuple[str, ...]
    tempo: tuple[float, float, float]
    metres: dict[str, float]
    modes: dict[str, float]
    major: tuple[str, ...]
    minor: tuple[str, ...]
    grooves: dict[str, float]
    basses: dict[str, float]
    comps: dict[str, float]
    drums: dict[str, float]
    bass: dict[str, float]
    comp: dict[str, float]
    pad: dict[str, float]
    lead: dict[str, float]
    arp: dict[str, float]
    moods: tuple[str, ...]
    melody: dict[str, float]
    colour: float = 0.1
    sus: float = 0.08
    slot_bars: dict[float, float] = field(default_factory=lambda: {0.5: 0.2, 1.0: 1.0, 2.0: 0.2})
    push: float = 0.15
    swing: tuple[float, float, float] = (0.05, 0.58, 0.66)
    swing_sixteenths: bool = False
    no_drums: float = 0.15
    weight: float = 1.0


_TABLES = frozenset({
    "metres", "modes", "grooves", "basses", "comps", "drums", "bass", "comp", "pad", "lead", "arp", "melody",
})  # fmt: skip


def style(name: str, *, words: str, moods: str, **values: Any) -> Style:
    """A style from its tables in writing: "piano 3, acoustic guitar 2, nobody 1"."""
    read: dict[str, Any] = {key: weights(value) if key in _TABLES else value for key, value in values.items()}
    return Style(name=name, words=tuple(words.split(", ")), moods=tuple(moods.split(", ")), **read)


def weights(text: str) -> dict[str, float]:
    """{"piano": 3.0, "": 1.0} of "piano 3, nobody 1": names with their weights; nobody is the empty name."""
    table: dict[str, float] = {}
    for item in text.split(", "):
        name, weight = item.rsplit(" ", 1)
        table["" if name == "nobody" else name] = float(weight)
    return table
