"""Vocals that are given as arrays: checked, and as mono at the sample rate of a model."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.channels import ChannelStatistics, Correction
from accompany.common.decoding import MOST_CHANNELS, check_rate
from accompany.errors import InputError

NAME = "The vocal"
"""Of an array, in messages."""

_log = logging.getLogger(__name__)


def read_array(vocals: Any, sample_rate: int) -> tuple[np.ndarray, int, np.ndarray]:
    """Samples float32 [C, T], their rate in Hz, and mono [1, T'] at `sample_rate`, of (samples, rate).

    Raises:
        InputError: of a type, shape or rate that is none of a recording, or with samples that are not numbers.
    """
    samples, from_rate = _recording(vocals)
    right, correction = corrected(samples)
    if correction.words:
        _log.warning("%s %s.", NAME, correction.words)
    return samples, from_rate, np.ascontiguousarray(audio.resample(audio.to_mono(right), from_rate, sample_rate))


def corrected(samples: np.ndarray) -> tuple[np.ndarray, Correction]:
    """A recording in memory [C, T] put right, and how."""
    statistics = ChannelStatistics(len(samples))
    block = 1 << 18
    for start in range(0, samples.shape[-1], block):
        statistics.add(samples[:, start : start + block].T)
    correction = statistics.correction()
    return (samples, correction) if correction.changes_nothing else (correction.apply(samples.T).T, correction)


def _recording(vocals: Any) -> tuple[np.ndarray, int]:
    """An array with its rate as float32 [C, T] and Hz, checked."""
    if not isinstance(vocals, tuple) or len(vocals) != 2:
        raise InputError(f"A vocal is a file name or (samples, sample_rate), not {type(vocals).__name__}.")
    given, rate = vocals
    if np.ndim(rate) and not np.ndim(given):
        raise InputError("The vocal is given as (sample_rate, samples); give (samples, sample_rate).")
    samples = _as_float(_as_array(given))
    return samples, _checked_rate(rate)


def _as_array(given: Any) -> np.ndarray:
    """Samples [T] or [C, T] as an array [C, T]."""
    if hasattr(given, "detach"):  # a tensor of torch, on whatever device
        given = given.detach().cpu()
    try:
        values = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"The vocal cannot be read as an array ({error}); give samples as [T] or [C, T].") from error
    if values.ndim not in (1, 2):
        raise InputError(f"The vocal has shape {list(values.shape)}; give samples as [T] or [channels, T].")
    values = np.atleast_2d(values)
    if not 1 <= len(values) <= MOST_CHANNELS:
        hint = "; transpose [T, channels] with .T" if 1 <= values.shape[1] <= MOST_CHANNELS else ""
        raise InputError(f"The vocal has shape {list(values.shape)}; give samples as [T] or [channels, T]{hint}.")
    return values


def _as_float(values: np.ndarray) -> np.ndarray:
    """Samples as float32 with full scale at 1: integers by the range of their type, as files have it."""
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    if kind == "u" and bits == 8:
        return (values.astype(np.float32) - 128) / 128
    if kind == "i" and bits <= 32:
        return values.astype(np.float32) / np.float32(2 ** (bits - 1))
    if kind != "f":
        raise InputError(f"The vocal's samples are {values.dtype}; give floats from -1 to 1, or int16, int32 or uint8.")
    with np.errstate(invalid="ignore"):
        peak = float(np.abs(values).max(initial=0.0))
    audio.check_peak(peak, NAME)
    return np.array(values, np.float32, order="C")


def _checked_rate(rate: Any) -> int:
    try:
        whole = int(rate)
        is_rate = whole == rate and not isinstance(rate, (bool, str, bytes))
    except (TypeError, ValueError, OverflowError):
        is_rate = False
    if not is_rate:
        raise InputError(f"The vocal's sample rate {rate!r} must be a whole number of Hz.")
    check_rate(whole, NAME)
    return whole
