"""Tempo and key estimation for a stretch of music: null where the estimate is unsure.

Tempo by autocorrelation of the onset strength with a prior for what people tap (Ellis, "Beat tracking by dynamic
programming", 2007); key by correlation of the mean chroma with the profiles of Temperley ("Music and probability",
2007), after Krumhansl and Schmuckler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from accompany.encoders import targets
from accompany.music.harmony import key_label
from accompany.music.key_profiles import key_fits

_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)
# Evaluation keeps Krumhansl's own profiles, with which its metrics were taken; _MIN_KEY is for these.
_RATE = 100.0
_TAPPED_BPM, _TAPPED_OCTAVES = 112.0, 0.7
_SLOWEST, _FASTEST = 50.0, 210.0
_MIN_PULSE, _MIN_KEY = 0.1, 0.6


@dataclass(frozen=True)
class Measured:
    """Beats a minute and key such as `A:min`; None where unsure."""

    tempo_bpm: float | None
    key: str | None


def measure_music(band: np.ndarray, sample_rate: int) -> Measured:
    """Tempo and key of an accompaniment [T]."""
    sound = torch.from_numpy(np.ascontiguousarray(band, np.float32))[None]
    onsets = targets.onset_envelope(sound, sample_rate, _RATE)[0].numpy()
    chroma = targets.chroma(sound, sample_rate, 4.0)[0].numpy()
    return Measured(_tempo(onsets), _key(np.square(chroma).mean(axis=0)))


def _tempo(onsets: np.ndarray) -> float | None:
    centred = onsets - onsets.mean()
    n, lags = len(centred), np.arange(round(60 * _RATE / _FASTEST), round(60 * _RATE / _SLOWEST) + 1)
    if n < 4 * lags[-1]:
        return None
    spectrum = np.fft.rfft(centred, 2 * n)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:n]
    correlation /= max(float(correlation[0]), 1e-9)
    # A beat recurs after two and after four beats.
    pulse = np.mean([correlation[multiple * lags] for multiple in (1, 2, 4)], axis=0)
    octaves = np.log2(60 * _RATE / lags / _TAPPED_BPM)
    best = int(np.argmax(pulse * np.exp(-0.5 * (octaves / _TAPPED_OCTAVES) ** 2)))
    if pulse[best] < _MIN_PULSE:
        return None
    return round(60 * _RATE / _refined(correlation, int(lags[best])), 1)


def _refined(correlation: np.ndarray, lag: int) -> float:
    """The lag to a fraction of a frame: the peak near its largest multiple that the sound covers well."""
    exact = float(lag)
    for multiple in (1, 2, 4, 8):
        centre, reach = round(exact * multiple), 1 + multiple // 2
        if centre + reach + 1 >= len(correlation) // 2:
            break
        near = correlation[centre - reach : centre + reach + 1]
        peak = centre - reach + int(np.argmax(near))
        left, middle, right = correlation[peak - 1 : peak + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
        exact = (peak + float(np.clip(shift, -0.5, 0.5))) / multiple
    return exact


def _key(chroma: np.ndarray) -> str | None:
    fits = key_fits(chroma, _MAJOR, _MINOR)
    return None if fits is None or fits.max() < _MIN_KEY else key_label(int(fits.argmax()))
