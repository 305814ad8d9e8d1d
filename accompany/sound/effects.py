"""Equaliser, compressor and reverb on scipy (BSD). Samples are float [C, T]; every result is as long as its input.

Written on scipy because the library that one would take for this, pedalboard, is GPL-3, which an Apache-2.0 package
must not need.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accompany.common.extras import require

_STEP_S = 0.005
_ATTACK_S, _RELEASE_S = 0.01, 0.15
_BELOW_LOUD_DB = 12.0
_MOST_RATIO = 4.0
_KNEE_DB = 6.0
_DECAY_S = 1.4
_PREDELAY_S = 0.02
_DARKEST_HZ = 4500.0


def equalise(samples: np.ndarray, sample_rate: int, bands: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Peaking filters, (Hz, dB, Q) each, as in R. Bristow-Johnson's Audio EQ Cookbook; bands above half the rate do
    nothing."""
    sections = [_peaking(hz, db, q, sample_rate) for hz, db, q in bands if db and hz < 0.49 * sample_rate]
    if not sections:
        return samples
    require("sound", "scipy", what="An equaliser")
    from scipy.signal import sosfilt

    return np.asarray(sosfilt(np.array(sections), samples, axis=-1), np.float32)


def compress(samples: np.ndarray, sample_rate: int, amount: float) -> np.ndarray:
    """Make loud and soft more alike: feed-forward, in decibels, with a soft knee (Giannoulis and others, 2012).

    The threshold lies 12 dB below the loud parts, the ratio goes from 1 (`amount` 0) to 4 (1); the level of the loud
    parts is given back. All channels get the same gain.
    """
    step = max(round(_STEP_S * sample_rate), 1)
    n_steps = -(-samples.shape[-1] // step)
    if amount == 0 or n_steps < 2:
        return samples
    edges = np.arange(0, samples.shape[-1], step)
    energy = np.add.reduceat(np.square(samples.mean(axis=0), dtype=np.float64), edges)
    level_db = 10 * np.log10(energy / step + 1e-12)
    threshold = float(np.percentile(level_db, 95)) - _BELOW_LOUD_DB
    slope = 1 - 1 / (1 + (_MOST_RATIO - 1) * amount)
    wanted = -slope * _above(level_db - threshold)
    taken = _follow(wanted, _STEP_S) + slope * _BELOW_LOUD_DB
    centres = edges + step / 2
    gain = 10 ** (np.interp(np.arange(samples.shape[-1]), centres, taken) / 20)
    return np.asarray(samples * gain, np.float32)


def reverberate(samples: np.ndarray, sample_rate: int, amount: float) -> np.ndarray:
    """Add a room: convolution with noise that decays by 60 dB in 1.4 s, treble sooner (Moorer, 1979).

    `amount` 1 makes the room as loud as the sound. Channels get rooms of their own.
    """
    if amount == 0 or not samples.any():
        return samples
    require("sound", "scipy", what="Reverb")
    from scipy.signal import oaconvolve

    wet = np.stack(
        [
            oaconvolve(channel, _room(sample_rate, index))[: samples.shape[-1]]
            for index, channel in enumerate(samples.astype(np.float32))
        ]
    )
    loudness = np.sqrt(np.mean(np.square(samples)) / max(float(np.mean(np.square(wet))), 1e-12))
    return np.asarray(samples + amount * loudness * wet, np.float32)


def _peaking(hz: float, db: float, q: float, sample_rate: int) -> list[float]:
    amplitude = 10 ** (db / 40)
    angle = 2 * np.pi * hz / sample_rate
    alpha, cosine = np.sin(angle) / (2 * q), np.cos(angle)
    a0 = 1 + alpha / amplitude
    b = (1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude)
    return [float(value / a0) for value in (*b, a0, -2 * cosine, 1 - alpha / amplitude)]


def _above(over_db: np.ndarray) -> np.ndarray:
    """Excess of levels over the threshold, with a soft knee."""
    knee = (over_db + _KNEE_DB / 2) ** 2 / (2 * _KNEE_DB)
    return np.where(over_db <= -_KNEE_DB / 2, 0.0, np.where(over_db >= _KNEE_DB / 2, over_db, knee))


def _follow(wanted_db: np.ndarray, step_s: float) -> np.ndarray:
    """The gain that falls as fast as the attack and rises as slowly as the release."""
    attack, release = (float(np.exp(-step_s / time)) for time in (_ATTACK_S, _RELEASE_S))
    made, now = np.empty_like(wanted_db), 0.0
    for index, target in enumerate(wanted_db.tolist()):
        keep = attack if target < now else release
        now = keep * now + (1 - keep) * target
        made[index] = now
    return made


def _room(sample_rate: int, channel: int) -> np.ndarray:
    from scipy.signal import butter, sosfilt

    n_samples = round(_DECAY_S * sample_rate)
    noise = np.random.default_rng(channel).standard_normal(n_samples)
    time_s = np.arange(n_samples) / sample_rate
    bright = noise * 10 ** (-3 * time_s / (0.5 * _DECAY_S))
    dark = sosfilt(butter(1, min(_DARKEST_HZ, 0.45 * sample_rate), fs=sample_rate, output="sos"), noise)
    room = bright + dark * 10 ** (-3 * time_s / _DECAY_S)
    late = np.concatenate([np.zeros(round(_PREDELAY_S * sample_rate)), room])
    return np.asarray(late / np.sqrt(np.sum(late**2)), np.float32)
