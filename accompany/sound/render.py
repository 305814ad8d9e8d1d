"""Rendering of a take's files: effects on the band, balance, rate, loudness, peaks. All [C, T]."""

from __future__ import annotations

import numpy as np

from accompany import audio
from accompany.sound.effects import compress, equalise, reverberate
from accompany.sound.loudness import limit, normalise, true_peak_db
from accompany.sound.options import Sound, bands


def band_of(samples: np.ndarray, sample_rate: int, n_samples: int, out_rate: int, sound: Sound) -> np.ndarray:
    """The band [C, T] with its effects as [C, n_samples] at `out_rate`, before loudness and peaks are seen to."""
    worked = equalise(samples, sample_rate, bands(sound.eq))
    worked = compress(worked, sample_rate, sound.compression)
    worked = reverberate(worked, sample_rate, sound.reverb)
    return audio.fit_length(audio.resample(worked, sample_rate, out_rate), n_samples)


def mix_of(voice: np.ndarray, band: np.ndarray, sound: Sound) -> np.ndarray:
    """Voice [C, T] and band [C', T] together, the voice louder or softer by the balance; mono goes to all channels."""
    channels = max(len(voice), len(band))
    louder = np.float32(10 ** (sound.balance_db / 20))
    return np.asarray(audio.to_channels(voice, channels) * louder + audio.to_channels(band, channels), np.float32)


def finish(samples: np.ndarray, sample_rate: int, sound: Sound) -> np.ndarray:
    """Loudness where one is asked for, and true peaks below the ceiling."""
    if sound.loudness_lufs is not None:
        return normalise(samples, sample_rate, sound.loudness_lufs, sound.peak_dbtp)
    return limit(samples, sample_rate, sound.peak_dbtp) if true_peak_db(samples) > sound.peak_dbtp else samples
