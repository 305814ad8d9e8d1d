"""Stems of a band (drums, bass, other), separated by Demucs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from accompany.audio import fit_length, resample, to_channels
from accompany.errors import InputError
from accompany.music.instrumentation import STEMS

if TYPE_CHECKING:
    from accompany.sound.separation import SongSeparator


@dataclass(frozen=True)
class Stems:
    """Stems by name, each float32 [C, T] as long as the band, which is their sum; `sample_rate` in Hz."""

    sounds: dict[str, np.ndarray]
    sample_rate: int


def load_splitter(model: str | None, device: str = "cpu") -> SongSeparator:
    """A Demucs model that separates drums and bass. InputError for none, or one that has no drums or bass."""
    from accompany.sound.separation import SongSeparator

    if not model:
        raise InputError(
            "This model plays the band as one; name a Demucs model that splits it, such as htdemucs (--separator), or "
            "use a model with stems."
        )
    return SongSeparator(model, device, needed=STEMS[:2])


def split_stems(samples: np.ndarray, sample_rate: int, model: str | SongSeparator | None) -> Stems:
    """Split a band [C, T] into drums, bass and other; what the model takes for singing counts as other.

    Other is what the two leave of the band, so that the three sum to it.

    Args:
        samples: the band.
        sample_rate: Hz.
        model: a Demucs model, loaded or as in `accompany.sound.separation.SongSeparator`.

    Raises:
        InputError: no such model, or one that has no drums or bass.
    """
    separator = load_splitter(model) if model is None or isinstance(model, str) else model
    found = separator.stems(samples, sample_rate)
    sounds = {}
    for name in STEMS[:2]:
        back = resample(found[name], separator.sample_rate, sample_rate)
        sounds[name] = to_channels(fit_length(back, samples.shape[-1]), len(samples))
    sounds["other"] = samples - sounds["drums"] - sounds["bass"]
    return Stems(sounds, sample_rate)
