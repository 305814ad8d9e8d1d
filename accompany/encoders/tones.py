"""Known notes as sound: plain tones with the spectrum of an open vowel, for the features that a voice would have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accompany.music.sung_notes import SungNote

_HARMONICS, _DECAY = 12, 0.8
_RISE_S, _FALL_S = 0.015, 0.03
_BREATH = 0.3
_BREATH_S = 0.03
_LEVEL = 0.1


def render_notes(notes: Sequence[SungNote], n_samples: int, sample_rate: int) -> np.ndarray:
    """Notes as tones, each with a consonant's breath of noise at its start.

    Args:
        notes: one at a time.
        n_samples: T.
        sample_rate: Hz.

    Returns:
        [1, T] float32, silent between notes; equal notes give equal samples.
    """
    sound = np.zeros(n_samples, np.float32)
    for note in notes:
        first, last = round(note.start_s * sample_rate), min(round(note.end_s * sample_rate), n_samples)
        if first < last:
            sound[first:last] += _tone(note.pitch, last - first, sample_rate)
    return sound[None]


def _tone(pitch: float, n_samples: int, sample_rate: int) -> np.ndarray:
    """A tone [n] that rises and falls quickly."""
    f0 = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    numbers = [number for number in range(1, _HARMONICS + 1) if number * f0 < 0.45 * sample_rate]
    time_s = np.arange(n_samples) / sample_rate
    tone = sum((_DECAY**number * np.sin(2 * np.pi * number * f0 * time_s) for number in numbers), np.zeros(n_samples))
    noise = np.random.default_rng(0).standard_normal(n_samples) * _BREATH * np.exp(-time_s / _BREATH_S)
    edges = np.minimum(time_s / _RISE_S, time_s[::-1] / _FALL_S).clip(0.0, 1.0)
    return (_LEVEL * (tone + noise) * edges).astype(np.float32)
