"""Syllable bank: spoken syllables analysed into spectral envelope, noisiness and level.

Speaking and analysing costs about 15 ms, so each (voice, syllable) is done once per process and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from accompany.data.songs.analysis import noisiness, pitch_period, spectral_envelope, voicing
from accompany.data.songs.espeak import Spoken, speak

FRAME_S = 0.005
"""Seconds between frames of the bank."""
BIN_HZ = 25.0
"""Spacing of the bank's frequency grid."""
PAD_S = 0.01
"""Silence put before a syllable for its first analysis window."""
_FLOOR_DB = -60.0


@dataclass(frozen=True)
class Syllable:
    """A syllable on a grid of `FRAME_S` by `BIN_HZ`.

    log_envelope: [frames, bins] float32, log amplitude, each frame of unit mean power.
    noisiness: [frames, bins] float32 in 0..1, the share of amplitude that is noise.
    level_db: [frames] float32 relative to the vowel, at least -60.
    vowel: (first, last) frame of the vowel.
    held: (from, to) share of the vowel that is stretched when it is held; a diphthong is held before its glide.
    """

    log_envelope: np.ndarray
    noisiness: np.ndarray
    level_db: np.ndarray
    vowel: tuple[int, int]
    held: tuple[float, float] = (0.3, 0.75)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.level_db)


@dataclass(frozen=True)
class SungSyllable:
    """A syllable in a song: equal keys, equal sounds; joined: the next one goes on without a pause, as in speech."""

    key: str
    sound: Syllable
    joined: bool = False


@lru_cache(maxsize=4096)
def syllable(text: str, voice: str) -> Syllable:
    """The analysed syllable, from memory after the first call.

    Raises:
        InputError: espeak-ng is missing, or the voice is unknown.
    """
    return analyse(speak(text, voice))


def analyse(spoken: Spoken) -> Syllable:
    """Take a spoken syllable apart; leading and trailing silence is cut."""
    rate = spoken.sample_rate
    samples = np.pad(spoken.samples.astype(np.float64), (int(PAD_S * rate), int(2 * PAD_S * rate)))
    samples += 1e-5 * np.random.default_rng(0).standard_normal(len(samples))
    centres = np.arange(0.0, len(samples), FRAME_S * rate).astype(int)
    period = pitch_period(samples, rate)
    grid = np.arange(0.0, rate / 2, BIN_HZ)
    power = on_grid(spectral_envelope(samples, centres, period), grid, rate)
    level = power.mean(axis=1)
    vowel = _vowel_frames(spoken, level)
    place = np.arange(len(level))
    noise = noisiness(voicing(samples, rate, centres, period), (place >= vowel[0]) & (place <= vowel[1]), grid)
    return _trim(power, noise, level, vowel)


def on_grid(frames: np.ndarray, grid: np.ndarray, rate: int) -> np.ndarray:
    """Spectra [frames, bins up to rate / 2] at the frequencies of `grid`, [frames, len(grid)]."""
    position = grid * (2 * (frames.shape[1] - 1)) / rate
    low = np.minimum(position.astype(int), frames.shape[1] - 2)
    share = position - low
    return frames[:, low] * (1 - share) + frames[:, low + 1] * share


def _vowel_frames(spoken: Spoken, level: np.ndarray) -> tuple[int, int]:
    """The vowel by espeak's marks, narrowed to frames within 20 dB of its loudest."""
    first = int((spoken.vowel_start_s + PAD_S) / FRAME_S)
    last = int((spoken.vowel_end_s + PAD_S) / FRAME_S)
    first = min(first, len(level) - 2)
    last = min(max(last, first + 2), len(level))
    loud = np.flatnonzero(level[first:last] > 0.01 * level[first:last].max())
    return first + int(loud[0]), first + int(loud[-1])


def relative_level_db(level: np.ndarray, vowel: tuple[int, int]) -> np.ndarray:
    """Power [frames] in dB over the vowel's median, at least -60."""
    reference = np.median(level[vowel[0] : vowel[1] + 1])
    relative: np.ndarray = np.maximum(10 * np.log10(level / reference + 1e-12), _FLOOR_DB)
    return relative


def _trim(power: np.ndarray, noise: np.ndarray, level: np.ndarray, vowel: tuple[int, int]) -> Syllable:
    level_db = relative_level_db(level, vowel)
    audible = np.flatnonzero(level_db > -45.0)
    first, last = min(int(audible[0]), vowel[0]), max(int(audible[-1]), vowel[1])
    kept = slice(first, last + 1)
    envelope = 0.5 * np.log(power[kept] / level[kept, None] + 1e-8)
    return Syllable(
        envelope.astype(np.float32),
        np.clip(noise[kept], 0.0, 1.0).astype(np.float32),
        level_db[kept].astype(np.float32),
        (vowel[0] - first, vowel[1] - first),
    )
