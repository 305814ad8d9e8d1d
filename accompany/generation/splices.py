"""Splices of what a band played and what it plays anew, track by track. C channels, T samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from accompany.generation.stems import Sounds, add_up
from accompany.generation.take import Made

_FADE_IN_S, FADE_OUT_S = 0.02, 0.06


def edited(
    old: Made, change: Callable[..., np.ndarray], *parts: Sounds | None
) -> tuple[np.ndarray, dict[str, np.ndarray] | None]:
    """Samples and stems of an accompaniment once `change` was done to each track, with what is new of it.

    Args:
        old: with stems, or without where the band is one track, or its stems are not known.
        change: called with a track [C, T] and its sound in each of `parts`; silence where it does not play.
        parts: new sounds; None is passed on.
    """
    if old.stems is None:
        return change(old.samples, *(part and add_up(part) for part in parts)), None
    made = {}
    for name, track in old.stems.items():
        made[name] = change(track, *(part and part.get(name, np.zeros_like(add_up(part))) for part in parts))
    return add_up(made), made


def between(track: np.ndarray, lead_in: np.ndarray | None, lead_out: np.ndarray | None, fade: int) -> np.ndarray:
    """A track with sound before and after it, each going over into the other during `fade` samples."""
    rising, parts = np.linspace(0, 1, fade, dtype=np.float32), [track]
    if lead_in is not None:
        joined = rising * track[:, :fade] + rising[::-1] * lead_in[:, -fade:]
        parts = [lead_in[:, :-fade], joined, track[:, fade:]]
    if lead_out is not None:
        joined = rising[::-1] * track[:, -fade:] + rising * lead_out[:, :fade]
        parts = [*parts[:-1], parts[-1][:, :-fade], joined, lead_out[:, fade:]]
    return np.concatenate(parts, axis=1)


def faded(old: np.ndarray, new: np.ndarray, rate: int, fade_in: bool, fade_out: bool) -> np.ndarray:
    """A region [C, n] of `new` that begins and ends as `old`.

    At the left the new sound goes on from the old one, so the two are alike and their weights sum to 1; at the right
    they are strangers, and the squares of the weights do.
    """
    made = new.copy()
    if fade_in:
        n = min(round(_FADE_IN_S * rate), new.shape[-1] // 4)
        rising = np.linspace(0, 1, n, dtype=np.float32)
        made[:, :n] = rising * new[:, :n] + (1 - rising) * old[:, :n]
    if fade_out:
        n = min(round(FADE_OUT_S * rate), new.shape[-1] // 4)
        angle = np.linspace(0, np.pi / 2, n, dtype=np.float32)
        made[:, -n:] = np.cos(angle) * new[:, -n:] + np.sin(angle) * old[:, -n:]
    return made
