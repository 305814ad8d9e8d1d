"""The pitch of a voice and the outline of a sound, for showing.

The pitch is YIN (de Cheveigné and Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 111,
2002), steps 1 to 5: the cumulative mean normalised difference, its first dip under a threshold, and a parabola there.
"""

from __future__ import annotations

import numpy as np

from accompany import audio

_RATE = 16_000
_WINDOW = 800
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 1300.0
_THRESHOLD = 0.2
_QUIET_DB = -45.0
_CHUNK = 512


def track_pitch(samples: np.ndarray, sample_rate: int, hop_s: float) -> np.ndarray:
    """Fundamental frequency of a voice.

    Args:
        samples: mono float [1, T].
        sample_rate: Hz.
        hop_s: seconds between frames; frame i is centred on (i + 0.5) * hop_s.

    Returns:
        [ceil(T / sample_rate / hop_s)] in Hz, 0 where nothing is sung.
    """
    mono = audio.resample(samples, sample_rate, _RATE)[0]
    longest = int(_RATE / _LOWEST_HZ) + 1
    n_frames = int(np.ceil(samples.shape[-1] / sample_rate / hop_s - 1e-6))
    reach = _WINDOW + longest
    starts = np.round((np.arange(n_frames) + 0.5) * hop_s * _RATE).astype(int)
    padded = np.pad(mono, (reach // 2, reach + round(hop_s * _RATE)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach)
    chunks = [
        _pitch_of(windows[np.minimum(starts[first : first + _CHUNK], len(windows) - 1)], longest)
        for first in range(0, n_frames, _CHUNK)
    ]
    pitch_hz, level_db = (np.concatenate(column) for column in zip(*chunks, strict=True))
    return np.where(level_db > level_db.max(initial=-100.0) + _QUIET_DB, pitch_hz, 0.0)


def outline(samples: np.ndarray, n_points: int) -> list[float]:
    """The peak of each of at most `n_points` equal stretches of [C, T], 0 to 1, to three digits."""
    loudest = np.abs(samples).max(axis=0)
    edges = np.linspace(0, len(loudest), min(n_points, len(loudest)) + 1).astype(int)
    return [round(min(float(value), 1.0), 3) for value in np.maximum.reduceat(loudest, edges[:-1])]


def _pitch_of(frames: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz (0 for none) and level in dB of frames [N, W + longest]."""
    frames = frames - frames.mean(axis=1, keepdims=True)
    dips = _normalised_difference(frames, longest)
    shortest = int(_RATE / _HIGHEST_HZ)
    middle = dips[:, 1:-1]
    low = (middle < _THRESHOLD) & (middle <= dips[:, :-2]) & (middle < dips[:, 2:])
    low[:, : shortest - 1] = False
    at = low.argmax(axis=1) + 1
    row = np.arange(len(frames))
    before, here, after = dips[row, at - 1], dips[row, at], dips[row, at + 1]
    bend = before - 2 * here + after
    shift = np.where(bend > 1e-9, 0.5 * (before - after) / np.maximum(bend, 1e-9), 0.0)
    level_db = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    return np.where(low.any(axis=1), _RATE / (at + np.clip(shift, -1, 1)), 0.0), level_db


def _normalised_difference(frames: np.ndarray, longest: int) -> np.ndarray:
    """d'(lag) of YIN's equation 8 for lags 0 to `longest`, [N, longest + 1]."""
    size = 1 << (frames.shape[1] + _WINDOW - 1).bit_length()
    spectrum = np.fft.rfft(frames, size)
    head = np.fft.rfft(frames[:, :_WINDOW], size)
    likeness = np.fft.irfft(spectrum * head.conj(), size)[:, : longest + 1]
    energy = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    moved = energy[:, _WINDOW : _WINDOW + longest + 1] - energy[:, : longest + 1]
    difference = np.maximum(moved[:, :1] + moved - 2 * likeness, 0.0)
    difference[:, 0] = 0.0
    lags = np.arange(1, longest + 1)
    mean = np.cumsum(difference[:, 1:], axis=1) / lags
    return np.concatenate([np.ones((len(frames), 1)), difference[:, 1:] / np.maximum(mean, 1e-9)], axis=1)
