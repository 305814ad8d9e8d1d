"""The voice that comes in: files and arrays, checked, as mono at the rate of a model."""

from __future__ import annotations

import os
from typing import Any, Union

import numpy as np

from accompany import audio
from accompany.errors import InputError
from accompany.generation.take import Source

Vocals = Union[str, "os.PathLike[str]", "tuple[np.ndarray, int]"]

_MIN_SECONDS = 0.5
_SILENT_PEAK = 1e-4
_MAX_CHANNELS = 64


def read_vocal(vocals: Vocals, sample_rate: int) -> np.ndarray:
    """A vocal as mono float32 [1, round(N * sample_rate / its rate)], checked.

    Raises:
        InputError: unreadable, shorter than half a second, silent, or with samples that are not numbers.
    """
    if isinstance(vocals, tuple):
        mono, seconds, name = *_from_array(*vocals, sample_rate), "The vocal"
    else:
        read, source = audio.read_mono(vocals, sample_rate)
        mono, seconds, name = read.samples, source.seconds, str(vocals)
    if seconds < _MIN_SECONDS:
        raise InputError(f"{name} lasts {seconds:.3f} s; sing for at least {_MIN_SECONDS:g} s.")
    if np.abs(mono).max() < _SILENT_PEAK:
        raise InputError(f"{name} is silent; record it again with more gain, or choose another track.")
    return mono


def source_of(vocals: Vocals) -> Source:
    """Where a take of this vocal has its voice from."""
    if isinstance(vocals, tuple):
        values = np.atleast_2d(np.asarray(vocals[0], dtype=np.float32))
        return Source(values.shape[-1], int(vocals[1]), samples=values)
    found = audio.info(vocals)
    return Source(found.n_samples, found.sample_rate, found.path)


def _from_array(samples: Any, from_rate: int, to_rate: int) -> tuple[np.ndarray, float]:
    values = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    if values.ndim != 2 or len(values) > _MAX_CHANNELS:
        raise InputError(f"The vocal has shape {list(values.shape)}; give samples as [T] or [channels, T].")
    if not np.isfinite(values).all():
        raise InputError("The vocal has samples that are not numbers (NaN or infinite); repair them first.")
    if from_rate < 1:
        raise InputError(f"The vocal's sample rate {from_rate} must be a whole number of Hz above 0.")
    mono = audio.resample(audio.to_mono(values), from_rate, to_rate)
    return np.ascontiguousarray(mono), values.shape[-1] / from_rate
