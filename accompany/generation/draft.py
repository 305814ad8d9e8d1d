"""Drafts: the codes and tokens of a song, and the accompaniment decoded from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accompany.music.plan import Plan


@dataclass(frozen=True)
class Draft:
    """Codes and tokens of one song, from which parts of it can be regenerated.

    Attributes:
        codes: semantic codes int32 [K, F].
        tokens: codec tokens int32 [Kc, A].
        gain: what the decoded sound was multiplied with.
    """

    codes: np.ndarray
    tokens: np.ndarray
    gain: float


@dataclass(frozen=True)
class Made:
    """An accompaniment: `samples` float32 [C, T] with peaks below 1, the plan that was played, and its draft."""

    samples: np.ndarray
    plan: Plan
    draft: Draft | None = None
