"""Analysis of monotone spoken syllables, after WORLD (Morise, Yokomori and Ozawa, 2016).

The pitch of a syllable is known to be steady, so the envelope of CheapTrick (Morise, 2015) and the voicing come
out of a few array operations, faster than WORLD itself and with nothing to install.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy.signal import fftconvolve

_N_FFT = 1024
_LIFTER = (1.18, -0.09)
_VOICING_TOP_HZ = 1000.0


def pitch_period(samples: np.ndarray, rate: int, low_hz: float = 65.0, high_hz: float = 330.0) -> float:
    """The steady period of `samples` [T], in samples, by the autocorrelation of its loud part."""
    smooth = fftconvolve(samples**2, np.hanning(int(0.04 * rate)), mode="same")
    voiced = samples * np.sqrt(smooth / smooth.max())
    spectrum = np.abs(np.fft.rfft(voiced, 2 * len(voiced))) ** 2
    correlation = np.fft.irfft(spectrum)
    first, last = int(rate / high_hz), min(int(rate / low_hz), len(voiced) - 1)
    lags = correlation[first:last]
    # The shortest of the nearly best lags, against octave errors.
    peak = int(np.flatnonzero(lags > 0.9 * lags.max())[0])
    peak += int(np.argmax(lags[peak : peak + 10]))
    return float(first + peak)


def spectral_envelope(samples: np.ndarray, centres: np.ndarray, period: float) -> np.ndarray:
    """CheapTrick: the power spectrum without its harmonics, [frames, bins].

    Args:
        samples: [T]; centres: [frames] sample index of each frame's middle; period: in samples.
    """
    power = _power(samples, centres, int(1.5 * period))
    smoothed = _box_smooth(power, 2.0 / 3.0 * _N_FFT / period)
    return _lift(smoothed, period)


def _power(samples: np.ndarray, centres: np.ndarray, half: int) -> np.ndarray:
    """Power spectra of Hann-windowed frames of 2 * half + 1 samples without their mean, [frames, bins]."""
    window = _hann(half)
    frames = np.pad(samples, half)[centres[:, None] + np.arange(2 * half + 1)] * window
    frames -= window * (frames.sum(axis=1, keepdims=True) / window.sum())
    spectrum = scipy.fft.rfft(frames.astype(np.float32), _N_FFT)
    power: np.ndarray = spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2 + 1e-12
    return power


def _hann(half: int) -> np.ndarray:
    window = np.hanning(2 * half + 3)[1:-1]
    unit: np.ndarray = window / np.sqrt((window**2).sum())
    return unit


def _box_smooth(power: np.ndarray, width: float) -> np.ndarray:
    """Mean over `width` bins (a fraction is allowed), mirrored at both ends, [frames, bins]."""
    margin = int(width) + 2
    mirrored = np.pad(power, ((0, 0), (margin, margin)), mode="reflect")
    total = np.pad(np.cumsum(mirrored, axis=1), ((0, 0), (1, 0)))
    centre = np.arange(power.shape[1]) + margin + 0.5
    return (_take(total, centre + width / 2) - _take(total, centre - width / 2)) / width


def _take(table: np.ndarray, position: np.ndarray) -> np.ndarray:
    low = position.astype(int)
    share = position - low
    return table[:, low] * (1 - share) + table[:, low + 1] * share


def _lift(power: np.ndarray, period: float) -> np.ndarray:
    cepstrum = scipy.fft.irfft(np.log(power))
    quefrency = np.minimum(np.arange(_N_FFT), _N_FFT - np.arange(_N_FFT)) / period
    lifter = np.sinc(quefrency) * (_LIFTER[0] + 2 * _LIFTER[1] * np.cos(2 * np.pi * quefrency))
    lifted: np.ndarray = np.exp(scipy.fft.rfft(cepstrum * lifter).real)
    return lifted


def voicing(samples: np.ndarray, rate: int, centres: np.ndarray, period: float) -> np.ndarray:
    """Confidence of voicing, [frames] in 0..1.

    It is the likeness of the signal below 1 kHz to itself one period later, by the cosine transform of its power
    spectrum at lags about the period.
    """
    half = int(1.5 * period)
    power = _power(samples, centres, half)
    n_low = int(_VOICING_TOP_HZ * _N_FFT / rate)
    window = _hann(half)
    lags = period * np.linspace(0.93, 1.07, 15)
    whole = np.correlate(window, window, mode="full")[len(window) - 1 :]
    repeats = np.cos(2 * np.pi * np.outer(np.arange(n_low), lags) / _N_FFT)
    repeats /= np.interp(lags, np.arange(len(whole)), whole)
    likeness = (power[:, 1:n_low] @ repeats[1:]).max(axis=1) / power[:, 1:n_low].sum(axis=1)
    # Low-frequency noise hardly counts in a fricative: weight by the share of power below 1 kHz.
    low_share = power[:, 1:n_low].sum(axis=1) / power.sum(axis=1)
    sure = np.clip((likeness - 0.45) / 0.4, 0.0, 1.0) * np.clip(low_share / 0.05, 0.0, 1.0)
    return sure


def noisiness(voiced: np.ndarray, in_vowel: np.ndarray, grid_hz: np.ndarray) -> np.ndarray:
    """The share of amplitude that is noise, [frames, bins of `grid_hz`] in 0..1.

    Args:
        voiced: [frames] in 0..1; in_vowel: [frames] bool. Voiced consonants (v, z) are noisy above 3 kHz.
    """
    vowel = np.interp(grid_hz, (0, 1500, 4000, 8000), (0.02, 0.06, 0.25, 0.6))
    consonant = np.interp(grid_hz, (0, 1500, 3500, 8000), (0.03, 0.15, 0.8, 1.0))
    profile = np.where(in_vowel[:, None], vowel, consonant)
    return 1.0 - voiced[:, None] * (1.0 - profile)
