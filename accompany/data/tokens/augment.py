"""Vocal augmentation: microphones, rooms, phones and separator artefacts on dry singing.

SingSong (arXiv 2301.12662) halved its mismatch between training and use by adding noise to the vocals; the
other effects widen the same idea. Every effect keeps the voice where it is: no delay, no stretching, the
same number of samples, so that labels stay true. The bleed comes from ANOTHER song: the song's own
accompaniment in its vocal would hand the model the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

Samples = npt.NDArray[np.float32]

_TINY = 1e-9
_OCTAVE_CENTRES_HZ = (100.0, 250.0, 600.0, 1500.0, 3500.0, 8000.0)
_ENVELOPE_WINDOW_S = 0.01
# Noise repeats after this long, without a seam; whole cycles of 50 and 60 Hz fit.
_NOISE_PERIOD_S = 4


@dataclass(frozen=True)
class AugmentConfig:
    """Probability of each effect (0 to 1) and range of its strength (low, high)."""

    reverb_rate: float = 0.6
    rt60_s: tuple[float, float] = (0.1, 1.0)
    direct_to_reverb_db: tuple[float, float] = (-2.0, 18.0)
    eq_rate: float = 0.7
    tilt_db_per_octave: tuple[float, float] = (-2.0, 2.0)
    band_db: tuple[float, float] = (-7.0, 7.0)
    band_limit_rate: float = 0.35
    compress_rate: float = 0.35
    clip_rate: float = 0.15
    bleed_rate: float = 0.35
    bleed_db: tuple[float, float] = (-42.0, -18.0)
    noise_rate: float = 0.7
    snr_db: tuple[float, float] = (15.0, 45.0)
    gain_db: tuple[float, float] = (-18.0, 3.0)

    def __post_init__(self) -> None:
        for name in ("reverb", "eq", "band_limit", "compress", "clip", "bleed", "noise"):
            if not 0.0 <= getattr(self, f"{name}_rate") <= 1.0:
                raise ValueError(f"{name}_rate must lie in 0 to 1, not {getattr(self, f'{name}_rate')}")


def augment_vocal(
    samples: Samples,
    sample_rate: int,
    rng: np.random.Generator,
    *,
    bleed: Samples | None = None,
    config: AugmentConfig | None = None,
) -> Samples:
    """Draw a chain of effects and apply it to a dry vocal.

    Args:
        samples: mono float32 [T] in [-1, 1].
        sample_rate: in Hz.
        rng: fixes every draw; the same state gives the same samples.
        bleed: mono accompaniment of another song at the same rate, any length; None for no bleed.
        config: rates and ranges of the effects.

    Returns:
        float32 [T] in [-1, 1], aligned with `samples` to the sample; silence stays silent but for noise.
    """
    config = config or AugmentConfig()
    if samples.size == 0:
        return samples
    level = _voiced_rms(samples)
    out = samples.astype(np.float32)
    if rng.random() < config.compress_rate:
        out = compress(out, sample_rate, rng.uniform(-30.0, -12.0), rng.uniform(1.5, 4.0))
    if rng.random() < config.reverb_rate:
        out = reverberate(out, sample_rate, rng.uniform(*config.rt60_s), rng.uniform(*config.direct_to_reverb_db), rng)
    if bleed is not None and rng.random() < config.bleed_rate:
        out = out + _at_level(_loop(bleed, out.size), level, rng.uniform(*config.bleed_db))
    if rng.random() < config.noise_rate:
        out = out + _at_level(noise(out.size, sample_rate, rng), level, -rng.uniform(*config.snr_db))
    out = _filter(out, sample_rate, rng, config)
    if rng.random() < config.clip_rate:
        out = clip_peaks(out, rng.uniform(0.3, 0.9), hard=bool(rng.random() < 0.5))
    return _with_gain(out, samples, rng.uniform(*config.gain_db))


def reverberate(
    samples: Samples, sample_rate: int, rt60_s: float, direct_to_reverb_db: float, rng: np.random.Generator
) -> Samples:
    """Add the tail of a small room: noise that decays by 60 dB in `rt60_s`, faster at the top; the direct sound stays.

    Args:
        samples: float32 [T].
        direct_to_reverb_db: energy of the direct sound over that of the tail.
    """
    from scipy import signal  # takes long to load, and most who load this module add no reverb

    n_tail = max(int(rt60_s * sample_rate), 2)
    time_s = np.arange(n_tail, dtype=np.float32) / sample_rate
    tail = rng.standard_normal(n_tail, dtype=np.float32) * np.exp(-6.9 * time_s / rt60_s).astype(np.float32)
    # Air and walls absorb the treble: a one-pole low-pass somewhere between dark and bright.
    pole = np.float32(rng.uniform(0.1, 0.75))
    tail = signal.lfilter([1.0 - pole], [1.0, -pole], tail).astype(np.float32)
    tail[: int(rng.uniform(0.001, 0.01) * sample_rate)] = 0.0
    tail *= 10.0 ** (-direct_to_reverb_db / 20.0) / (float(np.sqrt(np.sum(tail**2))) + _TINY)
    tail[0] = 1.0
    return signal.oaconvolve(samples, tail)[: samples.size].astype(np.float32)


def noise(n_samples: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Noise of random colour (white, pink, brown-like room rumble, with mains hum at times); float32 [n_samples]."""
    n_fft = _NOISE_PERIOD_S * sample_rate
    frequency_hz = fft.rfftfreq(n_fft, 1.0 / sample_rate).astype(np.float32)
    spectrum = rng.standard_normal((2, frequency_hz.size), dtype=np.float32)
    colour = float(rng.choice([0.0, 0.5, 1.0]))
    shape = (1.0 + frequency_hz / 30.0) ** -colour
    out = fft.irfft((spectrum[0] + 1j * spectrum[1]) * shape, n_fft).astype(np.float32)
    if rng.random() < 0.2:
        out += _hum(n_fft, sample_rate, rng) * float(np.std(out)) * np.float32(rng.uniform(0.3, 1.5))
    return np.resize(out, n_samples)


def compress(samples: Samples, sample_rate: int, threshold_db: float, ratio: float) -> Samples:
    """Turn down what is louder than `threshold_db` (re the loudest 10 ms) by `ratio`; float32 [T]."""
    window = max(int(_ENVELOPE_WINDOW_S * sample_rate), 1)
    n_frames = -(-samples.size // window)
    padded = np.pad(samples, (0, n_frames * window - samples.size)).reshape(n_frames, window)
    rms = np.sqrt(np.mean(padded**2, axis=1))
    level_db = 20.0 * np.log10(rms / (rms.max() + _TINY) + _TINY)
    gain_db = np.minimum(threshold_db - level_db, 0.0) * (1.0 - 1.0 / ratio)
    centres = (np.arange(n_frames) + 0.5) * window
    gain = np.interp(np.arange(samples.size), centres, 10.0 ** (gain_db / 20.0))
    return (samples * gain).astype(np.float32)


def clip_peaks(samples: Samples, fraction: float, *, hard: bool) -> Samples:
    """Distort peaks above `fraction` of the maximum, flat (hard) or rounded (soft); float32 [T]."""
    limit = np.float32(fraction * np.max(np.abs(samples), initial=0.0) + _TINY)
    if hard:
        return np.clip(samples, -limit, limit)
    return (np.tanh(samples / limit) * limit).astype(np.float32)


def _filter(samples: Samples, sample_rate: int, rng: np.random.Generator, config: AugmentConfig) -> Samples:
    """Tone control and band limits as one zero-phase gain curve: one transform for both."""
    n_fft = fft.next_fast_len(max(samples.size + sample_rate // 20, 16), real=True)
    frequency_hz = fft.rfftfreq(n_fft, 1.0 / sample_rate).astype(np.float32)
    gain_db = np.zeros_like(frequency_hz)
    if rng.random() < config.eq_rate:
        gain_db += _tone_curve_db(frequency_hz, rng, config)
    if rng.random() < config.band_limit_rate:
        gain_db += _band_limit_db(frequency_hz, rng)
    if not gain_db.any():
        return samples
    spectrum = fft.rfft(samples, n_fft) * (10.0 ** (gain_db / 20.0)).astype(np.float32)
    return fft.irfft(spectrum, n_fft)[: samples.size].astype(np.float32)


def _tone_curve_db(frequency_hz: Samples, rng: np.random.Generator, config: AugmentConfig) -> Samples:
    octave = np.log2(np.maximum(frequency_hz, 20.0) / 1000.0)
    curve = rng.uniform(*config.tilt_db_per_octave) * np.clip(octave, -4.0, 4.0)
    bands = rng.uniform(*config.band_db, size=len(_OCTAVE_CENTRES_HZ))
    return (curve + np.interp(octave, np.log2(np.array(_OCTAVE_CENTRES_HZ) / 1000.0), bands)).astype(np.float32)


def _band_limit_db(frequency_hz: Samples, rng: np.random.Generator) -> Samples:
    """A telephone, a small speaker or a lossy codec's low-pass."""
    low_hz, high_hz = [(300.0, 3400.0), (150.0, 6000.0), (40.0, 8000.0), (20.0, 11000.0)][rng.integers(4)]
    high_octaves = np.log2(np.maximum(frequency_hz, 1.0) / high_hz)
    low_octaves = np.log2(low_hz / np.maximum(frequency_hz, 1.0))
    # Lossy codecs have a steep low-pass; a telephone's high-pass is gentler.
    return (-np.clip(high_octaves * 60.0, 0.0, 60.0) - np.clip(low_octaves * 18.0, 0.0, 40.0)).astype(np.float32)


def _hum(n_samples: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    mains_hz = float(rng.choice([50.0, 60.0]))
    time_s = np.arange(n_samples) / sample_rate
    partials = [np.sin(2 * np.pi * mains_hz * k * time_s + rng.uniform(0, 6.3)) / k for k in (1, 2, 3)]
    return np.sum(partials, axis=0).astype(np.float32)


def _voiced_rms(samples: Samples) -> float:
    """RMS of the loud part, so that rests in the singing do not count."""
    loud = np.abs(samples) > 0.02 * np.max(np.abs(samples), initial=0.0)
    return float(np.sqrt(np.mean(samples[loud] ** 2))) if loud.any() else 0.0


def _at_level(samples: Samples, reference_rms: float, level_db: float) -> Samples:
    rms = float(np.sqrt(np.mean(samples**2))) if samples.size else 0.0
    return (samples * (reference_rms * 10.0 ** (level_db / 20.0) / (rms + _TINY))).astype(np.float32)


def _loop(samples: Samples, n_samples: int) -> Samples:
    return np.resize(samples, n_samples) if samples.size else np.zeros(n_samples, np.float32)


def _with_gain(samples: Samples, original: Samples, gain_db: float) -> Samples:
    """Bring the peak to the original's, changed by `gain_db`, and never above full scale."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    wanted = float(np.max(np.abs(original), initial=0.0)) * 10.0 ** (gain_db / 20.0)
    return (samples * (min(wanted, 1.0) / (peak + _TINY))).astype(np.float32)
