"""Recordings of takes, read again in full quality."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.errors import InputError

_log = logging.getLogger(__name__)

_GUESS_S = 0.1


def read_again(path: Path, n_samples: int, sample_rate: int) -> np.ndarray:
    """A recording float32 [C, T] as far as it went then, `n_samples` at `sample_rate`; InputError for another one."""
    sound = audio.read(path)
    # The length of an MP3 file is a guess until it is read.
    missing_s = (n_samples - sound.samples.shape[-1]) / sample_rate
    if -missing_s > _GUESS_S:
        _log.warning("%s has grown since it was read; what was there is used.", path)
    if sound.sample_rate != sample_rate or missing_s > _GUESS_S:
        raise InputError(f"{path} is another recording now; put back the one that the take was made from.")
    return audio.fit_length(sound.samples, n_samples)
