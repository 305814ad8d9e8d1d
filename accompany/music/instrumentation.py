"""Instrumentation: instrument families present and absent, and density, as a condition of the stages.

Columns of the vector (`DIM` values):

| columns | content |
|---|---|
| 0 to n - 1 | 1 where the family of `FAMILIES` is asked for |
| n to 2n - 1 | 1 where it must not play; a family that is neither is left open |
| 2n to 2n + 2 | density, one-hot (`DENSITIES`); all 0 where it is left open |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accompany.common.config import did_you_mean
from accompany.errors import InputError

FAMILIES = (
    "drums", "percussion", "bass", "piano", "electric piano", "clavinet", "organ", "accordion", "guitar", "banjo",
    "ukulele", "harp", "strings", "brass", "saxophone", "woodwinds", "harmonica", "vibraphone", "mallets", "bells",
    "steel drums", "pad", "synth",
)  # fmt: skip
DENSITIES = ("sparse", "full", "busy")
DIM = 2 * len(FAMILIES) + len(DENSITIES)


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
        made = np.zeros(DIM, np.float32)
        made[[FAMILIES.index(name) for name in self.present]] = 1
        made[[len(FAMILIES) + FAMILIES.index(name) for name in self.absent]] = 1
        if self.density is not None:
            made[2 * len(FAMILIES) + DENSITIES.index(self.density)] = 1
        return made


def thinned(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A vector [`DIM`] of which only some facts are stated, as prompts do: a share of the families drawn at random.

    Families that play are stated more often than those that do not; the density in half of the draws.
    """
    count = len(FAMILIES)
    share = rng.uniform(0, 1)
    made = vector.copy()
    made[:count] *= rng.random(count) < share**0.5
    made[count : 2 * count] *= rng.random(count) < share**2
    made[2 * count :] *= rng.random() < 0.5
    return made
