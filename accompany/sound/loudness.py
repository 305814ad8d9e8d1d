"""Loudness by ITU-R BS.1770 and true peaks that stay below a ceiling. Samples are float [C, T]."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from accompany.common.extras import require

_log = logging.getLogger(__name__)

_OVERSAMPLING = 4
_BLOCK = 1 << 18
_MARGIN = 256
_LOOKAHEAD_S = 0.005
_SHORTEST_S = 0.41
_CLOSE_LU = 0.05
_MISSED_LU = 0.5
_ROUNDS = 4


def integrated_lufs(samples: np.ndarray, sample_rate: int) -> float:
    """Gated loudness of [C, T] in LUFS (BS.1770-4, through pyloudnorm); -inf for silence.

    What is shorter than a measuring block of 0.4 s is repeated to fill one.
    """
    require("sound", "pyloudnorm", what="Loudness")
    import pyloudnorm

    shortest = int(np.ceil(_SHORTEST_S * sample_rate))
    if 0 < samples.shape[-1] < shortest:
        samples = np.tile(samples, -(-shortest // samples.shape[-1]))
    return float(pyloudnorm.Meter(sample_rate).integrated_loudness(np.ascontiguousarray(samples.T)))


def true_peak_db(samples: np.ndarray) -> float:
    """Largest peak of [C, T] between the samples too, in dB of full scale, by oversampling four times (BS.1770-4,
    annex 2)."""
    peak = max((float(block.max(initial=0.0)) for _, block in _peaks(samples)), default=0.0)
    return float(20 * np.log10(max(peak, 1e-9)))


def limit(samples: np.ndarray, sample_rate: int, ceiling_db: float) -> np.ndarray:
    """Turn [C, T] down around peaks, so that its true peaks stay below `ceiling_db`; a new array, float32.

    A look-ahead limiter: the gain that each sample needs, the least of it within 5 ms around it, smoothed over as
    long, so that it is there before the peak is. All channels get the same gain.
    """
    require("sound", "scipy", what="A limit of peaks")
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    ceiling = 10 ** (ceiling_db / 20)
    needed = np.ones(samples.shape[-1], np.float32)
    for start, block in _peaks(samples):
        needed[start : start + len(block)] = np.minimum(1.0, ceiling / np.maximum(block, 1e-9))
    reach = max(int(_LOOKAHEAD_S * sample_rate), 1)
    least = minimum_filter1d(needed, 2 * reach + 1, mode="nearest")
    gain = uniform_filter1d(least, 2 * reach + 1, mode="nearest")
    limited = np.asarray(samples * gain, np.float32)
    # A changing gain shifts the peaks between the samples slightly.
    over = 10 ** (true_peak_db(limited) / 20) / ceiling
    return limited / np.float32(over) if over > 1 else limited


def normalise(samples: np.ndarray, sample_rate: int, loudness_lufs: float, ceiling_db: float) -> np.ndarray:
    """Bring [C, T] to a loudness with its true peaks below a ceiling; what the limiter takes is given back in turns."""
    measured = integrated_lufs(samples, sample_rate)
    if not np.isfinite(measured):
        return samples
    gain_db, made = loudness_lufs - measured, samples
    for _ in range(_ROUNDS):
        made = limit(samples * np.float32(10 ** (gain_db / 20)), sample_rate, ceiling_db)
        missing = loudness_lufs - integrated_lufs(made, sample_rate)
        if abs(missing) < _CLOSE_LU:
            break
        gain_db += missing
    if abs(missing) > _MISSED_LU:
        _log.warning(
            "The loudness came to %.1f LUFS; peaks below %.1f dB leave no room for more.",
            loudness_lufs - missing,
            ceiling_db,
        )
    return made


def _peaks(samples: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of the peak level [t] around each sample of [C, T], between the samples too, and where they begin."""
    require("sound", "scipy", what="A measurement of peaks")
    from scipy.signal import resample_poly

    n_samples = samples.shape[-1]
    for start in range(0, n_samples, _BLOCK):
        stop = min(start + _BLOCK, n_samples)
        first, last = max(start - _MARGIN, 0), min(stop + _MARGIN, n_samples)
        fine = np.abs(resample_poly(samples[:, first:last], _OVERSAMPLING, 1, axis=-1)).max(axis=0)
        each = fine.reshape(-1, _OVERSAMPLING).max(axis=1)
        each = np.maximum(each, np.abs(samples[:, first:last]).max(axis=0))
        # A peak between two samples counts for both.
        each[1:] = np.maximum(each[1:], each[:-1])
        yield start, each[start - first : stop - first]
