"""Vocal input: files and arrays, checked, as mono at the sample rate of a model."""

from __future__ import annotations

import logging
import os
from typing import Union

import numpy as np

from accompany import audio
from accompany.errors import InputError
from accompany.generation.take import Source

Vocals = Union[str, "os.PathLike[str]", "tuple[np.ndarray, int]"]

_log = logging.getLogger(__name__)

_MIN_SECONDS = 0.5
_SILENT_PEAK, _QUIET_PEAK = 1e-4, 0.01


def read_vocal(vocals: Vocals, sample_rate: int) -> np.ndarray:
    """A vocal as mono float32 [1, round(N * sample_rate / its rate)], checked; errors as in `read_with_source`."""
    return read_with_source(vocals, sample_rate)[0]


def read_with_source(vocals: Vocals, sample_rate: int) -> tuple[np.ndarray, Source]:
    """A vocal as `read_vocal` gives it, and the recording that it is, as long as it was then.

    Offsets and channels that cancel are put right, as in `accompany.audio.read_mono`.

    Raises:
        InputError: unreadable, shorter than half a second, silent, with samples that are not numbers or far above full
            scale, of a rate out of range; or an array of a type, shape or rate that is none of a recording.
    """
    if isinstance(vocals, (str, os.PathLike)):
        read, found = audio.read_mono(vocals, sample_rate)
        mono, name = read.samples, str(vocals)
        source = Source(found.n_samples, found.sample_rate, found.path)
    else:
        from accompany.generation.arrays import NAME, read_array

        samples, from_rate, mono = read_array(vocals, sample_rate)
        source, name = Source(samples.shape[-1], from_rate, samples=samples), NAME
    if (seconds := source.n_samples / source.sample_rate) < _MIN_SECONDS:
        raise InputError(f"{name} lasts {seconds:.3f} s; sing for at least {_MIN_SECONDS:g} s.")
    peak = float(np.abs(mono).max())
    if peak < _SILENT_PEAK:
        raise InputError(f"{name} is silent; record it again with more gain, or choose another track.")
    if peak < _QUIET_PEAK:
        _log.warning("%s is very quiet (%.0f dB); the band may drown it; going on.", name, 20 * np.log10(peak))
    return mono, source
