"""Vocal tract model: spectral envelopes of one spoken voice warped into those of many singers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accompany.data.songs.score import VoiceSpec
from accompany.data.songs.syllables import BIN_HZ, Syllable
from accompany.data.songs.vocoder import frame_sizes

_SCALES = {"bass": 0.95, "baritone": 0.99, "tenor": 1.04, "alto": 1.13, "soprano": 1.19, "child": 1.32}
_TOP_HZ = 10_500.0
_NEPER = np.log(10.0) / 20.0
VOICING_BIN = int(300 / BIN_HZ)


@dataclass(frozen=True)
class VocalTract:
    """Differences of a singer's spectral envelopes from the spoken ones.

    scale: formant shift (1 is espeak's grown man); low_scale: the same for the first formant;
    contrast: sharpness of the formants; tilt_db: added to the sung sound for each octave above 500 Hz;
    ring_db, ring_hz: a singer's formant; breath: least noisiness at 4 kHz; air_db: slope above 5 kHz, dB an octave;
    fill_db: least level between the high formants, where espeak leaves holes, relative to 3 kHz.
    """

    scale: float
    low_scale: float
    contrast: float
    tilt_db: float
    ring_db: float
    ring_hz: float
    breath: float
    air_db: float
    fill_db: float


def draw_vocal_tract(spec: VoiceSpec, rng: np.random.Generator) -> VocalTract:
    """A random vocal tract for the kind of voice."""
    scale = _SCALES.get(spec.kind, 1.05) * rng.normal(1.0, 0.04)
    return VocalTract(
        scale=scale,
        low_scale=scale * rng.normal(1.0, 0.06),
        contrast=rng.uniform(0.65, 1.1),
        tilt_db=5.0 * (spec.brightness - 0.5) + rng.normal(-3.8, 1.7),
        ring_db=max(0.0, rng.normal(2.0, 4.0)),
        ring_hz=scale * rng.uniform(2600, 3100),
        breath=float(np.clip(0.06 + 0.55 * spec.breath + rng.normal(0, 0.04), 0.02, 0.8)),
        air_db=rng.uniform(-8.0, 2.0),
        fill_db=rng.uniform(-26.0, -10.0),
    )


def draw_natural_tract(spec: VoiceSpec, grown: float, rng: np.random.Generator) -> VocalTract:
    """A random vocal tract for a recorded voice, which is warped less than espeak's.

    Args:
        grown: formants of the kind of voice that sings over those of the one that spoke.
    """
    scale = grown * rng.normal(1.0, 0.035)
    return VocalTract(
        scale=scale,
        low_scale=scale * rng.normal(1.0, 0.04),
        contrast=rng.uniform(0.8, 1.1),
        tilt_db=4.0 * (spec.brightness - 0.5) + rng.normal(-1.4, 1.7),
        ring_db=max(0.0, rng.normal(1.0, 4.0)),
        ring_hz=rng.uniform(2600, 3400),
        breath=float(np.clip(0.02 + 0.4 * spec.breath + rng.normal(0, 0.04), 0.0, 0.7)),
        air_db=rng.uniform(-24.0, -6.0),
        fill_db=-40.0,
    )


def breath_frames() -> Syllable:
    """An audible breath as bank frames: noise with broad resonances, opening slowly."""
    frequency = np.arange(0.0, 11_025.0, BIN_HZ)
    frames = []
    for openness in (0.9, 1.0, 1.1):
        peaks = [(1500, 500, 8), (2700, 600, 9), (4500, 1200, 7), (7000, 2000, 4)]
        shape = sum(db * np.exp(-(((frequency - openness * hz) / width) ** 2)) for hz, width, db in peaks)
        shape = shape - 14.0 * np.exp(-frequency / 500.0)
        log_amplitude = shape * _NEPER
        frames.append(log_amplitude - 0.5 * np.log(np.exp(2 * log_amplitude).mean()))
    envelope = np.stack(frames).astype(np.float32)
    return Syllable(envelope, np.ones_like(envelope), np.zeros(3, np.float32), (0, 2))


def shaped(
    log_envelope: np.ndarray, noisiness: np.ndarray, tract: VocalTract, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Envelopes and noisiness of this vocal tract on the vocoder's bins, both [frames, n_fft / 2 + 1] float32.

    Args:
        log_envelope, noisiness: [frames, bins of `BIN_HZ`].
    """
    _, n_fft = frame_sizes(sample_rate)
    frequency = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    origin = _origin(frequency, tract)
    voiced = 1 - noisiness[:, VOICING_BIN, None]
    envelope = _resample(_filled(log_envelope, tract), origin) * np.float32(tract.contrast)
    sung, always = _colour(frequency, origin, tract)
    envelope += voiced * sung + always
    power = np.exp(2 * envelope).mean(axis=1, keepdims=True)
    envelope -= 0.5 * np.log(power)
    least = tract.breath * np.clip(frequency / 4000.0, 0.05, 1.5).astype(np.float32)
    noisy = _resample(noisiness, origin)
    return envelope, np.clip(noisy + (1 - noisy) * least, 0.0, 1.0).astype(np.float32)


def _filled(log_envelope: np.ndarray, tract: VocalTract) -> np.ndarray:
    """Envelopes without the empty bands that espeak's few formants leave above 3 kHz."""
    hertz = np.arange(log_envelope.shape[1]) * BIN_HZ
    around = log_envelope[:, int(2500 / BIN_HZ) : int(3800 / BIN_HZ)].mean(axis=1, keepdims=True)
    floor_db = tract.fill_db - 6.0 * np.log2(np.maximum(hertz, 1000.0) / 3000.0) - 60.0 * (hertz < 2500)
    filled: np.ndarray = np.logaddexp(log_envelope, around + (floor_db * _NEPER).astype(np.float32))
    return filled


def _origin(frequency: np.ndarray, tract: VocalTract) -> np.ndarray:
    """The spoken frequency that each sung frequency comes from."""
    spoken = np.array([0.0, 700.0, 2200.0, 20_000.0])
    sung = np.array([0.0, 700.0 * tract.low_scale, 2200.0 * tract.scale, 20_000.0 * tract.scale])
    return np.interp(frequency, sung, spoken)


def _colour(frequency: np.ndarray, origin: np.ndarray, tract: VocalTract) -> tuple[np.ndarray, np.ndarray]:
    """Colour as log amplitude: of the sung sound alone, and of everything, [bins] float32 each."""
    sung = tract.tilt_db * octaves_above(frequency)
    sung = sung + tract.ring_db * np.exp(-(((frequency - tract.ring_hz) / 450.0) ** 2))
    always = tract.air_db * np.maximum(np.log2(np.maximum(frequency, 1.0) / 5000.0), 0.0)
    # Speech has no energy above its own band: roll off from there.
    always = always - 24.0 * np.maximum(np.log2(np.maximum(origin, 1.0) / _TOP_HZ), 0.0)
    return (sung * _NEPER).astype(np.float32), (always * _NEPER).astype(np.float32)


def octaves_above(frequency_hz: np.ndarray) -> np.ndarray:
    """Octaves above 500 Hz, between -1 and 4: the axis of spectral tilt."""
    octaves: np.ndarray = np.clip(np.log2(np.maximum(frequency_hz, 1.0) / 500.0), -1.0, 4.0)
    return octaves


def _resample(frames: np.ndarray, origin_hz: np.ndarray) -> np.ndarray:
    position = np.minimum(origin_hz, _TOP_HZ) / BIN_HZ
    low = np.minimum(position.astype(int), frames.shape[1] - 2)
    share = (position - low).astype(np.float32)
    return frames[:, low] * (1 - share) + frames[:, low + 1] * share
