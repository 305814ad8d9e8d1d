"""Analysis of a spoken line with moving pitch into envelope, voicing and level, and its syllables as they are sung."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompany.common.files import complete
from accompany.data.songs.analysis import noisiness, spectral_envelope, voicing
from accompany.data.songs.syllables import BIN_HZ, FRAME_S, Syllable, on_grid, relative_level_db
from accompany.data.speech.alignment import refined, spoken_syllables
from accompany.data.speech.speakers import Speech
from accompany.data.speech.speaking import reading

RATE = 22_050
"""Lines are analysed at the rate of espeak's syllables, so that both fill the same grid."""
_STORED_BINS = 2
_PERIOD_STEP = 1 / 24
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 500.0
_LOW_CUT_HZ = 50.0
_VOICED, _LEAST_VOICED = 0.5, 0.85
_AUDIBLE_DB, _LONGEST_EDGE_S = -32.0, 0.18
_EDGE = round(_LONGEST_EDGE_S / FRAME_S)
_GLIDE_HELD, _VOWEL_HELD = (0.2, 0.45), (0.3, 0.7)

Tracker = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(times in seconds, Hz) of voiced frames, of samples [T] and their rate."""


@dataclass(frozen=True)
class SpokenLine:
    """An analysed line on frames of `FRAME_S`.

    log_envelope: [frames, every second bin of `BIN_HZ`] float16, log amplitude; voiced: [frames] float16 in 0..1;
    level: [frames] float32, mean power;
    syllables: [n, 4] first frame, first and last of the vowel, last frame;
    joined, gliding, stress: [n] bool, as in `alignment.SpokenSyllable`.
    """

    log_envelope: np.ndarray
    voiced: np.ndarray
    level: np.ndarray
    syllables: np.ndarray
    joined: np.ndarray
    gliding: np.ndarray
    stress: np.ndarray

    def __len__(self) -> int:
        return len(self.syllables)

    def syllable(self, index: int) -> Syllable:
        """One syllable as `voice.sing` takes it."""
        first, vowel_first, vowel_last, last = self.syllables[index].tolist()
        kept, vowel = slice(first, last + 1), (vowel_first - first, vowel_last - first)
        stored = self.log_envelope[kept].astype(np.float32)
        n_bins = _STORED_BINS * stored.shape[1] - 1
        envelope = np.empty((len(stored), n_bins), np.float32)
        envelope[:, ::2] = stored
        envelope[:, 1::2] = 0.5 * (stored[:, 1:] + stored[:, :-1])
        envelope[:, : round(_LOW_CUT_HZ / BIN_HZ)] -= np.log(10.0)  # Else pulses of a high voice add up to an offset.
        place = np.arange(len(stored))
        in_vowel = (place >= vowel[0]) & (place <= vowel[1])
        # Speakers whisper and creak in vowels that a singer would hold.
        voiced = np.maximum(self.voiced[kept].astype(np.float64), _LEAST_VOICED * in_vowel)
        noisy = noisiness(voiced, in_vowel, np.arange(n_bins) * BIN_HZ)
        return Syllable(
            envelope, np.clip(noisy, 0.0, 1.0).astype(np.float32),
            relative_level_db(self.level[kept].astype(np.float64), vowel).astype(np.float32), vowel,
            _GLIDE_HELD if self.gliding[index] else _VOWEL_HELD,
        )  # fmt: skip


def analyse_line(speech: Speech, track_pitch: Tracker) -> SpokenLine:
    """Take a spoken line apart."""
    import soxr

    samples = soxr.resample(speech.samples.astype(np.float64), speech.sample_rate, RATE)
    samples += 1e-5 * np.random.default_rng(0).standard_normal(len(samples))
    centres = np.arange(0.0, len(samples), FRAME_S * RATE).astype(int)
    steps = _period_steps(*track_pitch(speech.samples, speech.sample_rate), len(centres))
    grid = np.arange(0.0, RATE / 2, BIN_HZ * _STORED_BINS)
    power, voiced = np.empty((len(centres), len(grid))), np.empty(len(centres))
    for step in np.unique(steps):
        mine = np.flatnonzero(steps == step)
        period = RATE / 2.0 ** (step * _PERIOD_STEP)
        power[mine] = on_grid(spectral_envelope(samples, centres[mine], period), grid, RATE)
        voiced[mine] = voicing(samples, RATE, centres[mine], period)
    level = power.mean(axis=1)
    envelope = 0.5 * np.log(power / level[:, None] + 1e-8)
    spoken = spoken_syllables(speech.symbols, speech.starts_s)
    found = refined(spoken, 10 * np.log10(level / level.max() + 1e-9), voiced > _VOICED, FRAME_S)
    times = np.array([(each.start_s, each.vowel_s, each.vowel_end_s, each.end_s) for each in found])
    # The last frame of a syllable is the first of the next one, so that the voice can walk on from one to the other.
    places = np.clip(np.round(times / FRAME_S).astype(np.int32), 0, len(centres) - 1)
    places = np.array([_audible(place, level) for place in places]).reshape(-1, 4)
    flags = (np.array([getattr(each, name) for each in found]) for name in ("joined", "gliding", "stress"))
    return SpokenLine(envelope.astype(np.float16), voiced.astype(np.float16), level.astype(np.float32), places, *flags)


def _audible(place: np.ndarray, level: np.ndarray) -> np.ndarray:
    """A syllable's four frames without the silence around it, and without what a model draws out before a pause."""
    first, vowel_first, vowel_last, last = place.tolist()
    first, last = max(first, vowel_first - _EDGE), min(last, vowel_last + _EDGE)
    loud = np.flatnonzero(
        relative_level_db(level[first : last + 1], (vowel_first - first, vowel_last - first)) > _AUDIBLE_DB
    )
    if not len(loud):
        return place
    return np.array([min(first + loud[0], vowel_first), vowel_first, vowel_last, max(first + loud[-1], vowel_last)])


def _period_steps(times_s: np.ndarray, hertz: np.ndarray, n_frames: int) -> np.ndarray:
    """The pitch of every frame as a whole number of steps of a 24th of an octave, through unvoiced stretches too."""
    if not len(times_s):
        times_s, hertz = np.zeros(1), np.full(1, 150.0)
    octaves = np.log2(np.clip(hertz, _LOWEST_HZ, _HIGHEST_HZ))
    steps: np.ndarray = np.round(np.interp(np.arange(n_frames) * FRAME_S, times_s, octaves) / _PERIOD_STEP).astype(int)
    return steps


def write_line(path: Path, line: SpokenLine) -> None:
    """Write an analysed line, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(line))


def read_line(path: Path) -> SpokenLine:
    """Read an analysed line; InputError for a damaged file."""
    with reading(path), np.load(path, allow_pickle=False) as stored:
        return SpokenLine(**stored)
