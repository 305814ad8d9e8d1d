"""Random stereo crops of stems and their sums, out of one array on disk: drawing a batch costs next to nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile
import soxr
import torch
from torch import Tensor

from accompany.common.files import complete
from accompany.sound.stems import STEMS

_log = logging.getLogger(__name__)

KINDS = ("mix", *STEMS)
_FULL_SCALE = 32_768
_MIN_PEAK = 1e-2
_MAX_TRIES = 30
_PEAKS = (0.15, 0.9)
_FASTEST = 2 ** (1 / 12)
_MOST_GAIN_DB = 6.0
_EQ_DB = (4.0,) * 9
"""Standard deviations of a random curve, at octaves up to half the sample rate."""
_CUT_SHARE, _HISS_SHARE, _HISS_DB = 0.25, 0.3, (-95.0, -65.0)
_STEM_OF_FAMILY = {"drums": 0, "percussion": 0, "bass": 1}
_OTHER = 2
_REPORTED = 100
"""Songs between two words on how far the packing is."""


class StemCrops:
    """Crops of packed songs.

    Each item draws a kind ("mix" is the sum of the stems), a song, a place, a peak, and which channel is left. Some of
    the mixes take their stems from different songs and levels, some of the crops are played faster or slower by up to
    a semitone, and some are equalised, cut off above or laid over hiss, lest all that is ever coded be clean, in tune
    and well mixed.

    Args:
        songs: song folders; those without `stems` count as "other" alone.
        folder: holds the packed samples, which are made if they are missing or of other songs.
        shares: how often each of `KINDS` is drawn.
        n_samples: length of a crop.
        varied: share of the mixes that cross songs, of the crops whose speed is changed, and of those equalised.
    """

    def __init__(
        self,
        songs: Sequence[Path],
        folder: Path,
        shares: dict[str, float],
        *,
        sample_rate: int,
        n_samples: int,
        varied: float = 0.0,
    ) -> None:
        self._samples, starts = pack(songs, folder, sample_rate)
        lengths = np.diff(starts)
        self._longest = math.ceil(n_samples * _FASTEST) + 1 if varied else n_samples
        usable = lengths > self._longest
        self._starts, self._lengths = starts[:-1][usable], lengths[usable]
        self._shares = np.array([shares.get(kind, 0.0) for kind in KINDS])
        if not len(self._starts) or self._shares.sum() <= 0:
            raise ValueError("no song is longer than a crop, or no kind has a share")
        self._shares /= self._shares.sum()
        self._n_samples, self._varied = n_samples, varied

    def batch(self, size: int, *seed: int) -> Tensor:
        """[size, 2, n_samples] float32: the same for the same seed."""
        rng = np.random.default_rng(seed)
        return torch.from_numpy(np.stack([self._crop(rng) for _ in range(size)]))

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        for _ in range(_MAX_TRIES):
            kind = rng.choice(len(KINDS), p=self._shares)
            if kind:
                crop = self._piece(rng)[kind - 1].astype(np.float32)
            elif rng.random() < self._varied:
                gains = 10 ** (rng.uniform(-_MOST_GAIN_DB, _MOST_GAIN_DB, len(STEMS)) / 20)
                crop = sum(gain * self._piece(rng)[index] for index, gain in enumerate(gains.astype(np.float32)))
            else:
                crop = self._piece(rng).sum(0, dtype=np.float32)
            crop = self._coloured(self._at_speed(crop, rng), rng)
            peak = float(np.abs(crop).max()) / _FULL_SCALE
            if peak > _MIN_PEAK:
                break
        crop *= rng.uniform(*_PEAKS) / (max(peak, 1e-3) * _FULL_SCALE)
        return crop[::-1] if rng.random() < 0.5 else crop

    def _piece(self, rng: np.random.Generator) -> np.ndarray:
        """The stems of a random place, int16 [3, 2, T]."""
        song = rng.integers(len(self._starts))
        begin = int(self._starts[song] + rng.integers(self._lengths[song] - self._longest))
        piece: np.ndarray = self._samples[:, :, begin : begin + self._longest]
        return piece

    def _at_speed(self, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self._varied:
            return crop[:, : self._n_samples]
        speed = _FASTEST ** rng.uniform(-1, 1)
        played = soxr.resample(crop.T, speed, 1.0, quality="LQ").T
        return np.ascontiguousarray(played[:, : self._n_samples])

    def _coloured(self, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self._varied:
            return crop
        length = scipy.fft.next_fast_len(crop.shape[1], real=True)
        octaves = np.log2(np.maximum(scipy.fft.rfftfreq(length), 1e-9) * 2) + len(_EQ_DB) - 1
        curve_db = np.interp(octaves, np.arange(len(_EQ_DB)), rng.normal(0, _EQ_DB))
        gains = 10 ** (curve_db / 20)
        if rng.random() < _CUT_SHARE:
            gains *= octaves < len(_EQ_DB) - 1 - rng.uniform(0.1, 1.2)
        made = scipy.fft.irfft(scipy.fft.rfft(crop, length) * gains.astype(np.float32), length)[:, : crop.shape[1]]
        if rng.random() < _HISS_SHARE:
            made += _FULL_SCALE * 10 ** (rng.uniform(*_HISS_DB) / 20) * rng.standard_normal(made.shape, np.float32)
        return np.asarray(made, np.float32)


def pack(songs: Sequence[Path], folder: Path, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The stems of all songs as one mapped array int16 [3, 2, T], and where each song starts [n + 1].

    The array is written once: it is made anew where the list of songs or the rate is another one. OSError where there
    is no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_from = hashlib.sha256("\n".join([str(sample_rate), *map(str, songs)]).encode()).hexdigest()
    samples, facts = folder / "stems.npy", folder / "stems.json"
    if not facts.is_file() or json.loads(facts.read_text(encoding="utf-8"))["made_from"] != made_from:
        _log.info("packing %d songs into %s", len(songs), samples)
        starts = np.cumsum([0, *(_length(song, sample_rate) for song in songs)])
        with complete(samples) as temporary:
            mapped = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.int16, shape=(len(STEMS), 2, int(starts[-1]))
            )
            _claim(temporary)
            for done, (song, begin, end) in enumerate(zip(songs, starts[:-1], starts[1:], strict=True), 1):
                stems = read_stems(song, sample_rate, int(end - begin))
                mapped[:, :, begin:end] = np.clip(stems * _FULL_SCALE, -_FULL_SCALE, _FULL_SCALE - 1)
                if done % _REPORTED == 0:
                    _log.info("%d of %d songs are packed", done, len(songs))
            mapped.flush()
        with complete(facts) as temporary:
            temporary.write_text(json.dumps({"made_from": made_from, "starts": starts.tolist()}), encoding="utf-8")
    starts = np.array(json.loads(facts.read_text(encoding="utf-8"))["starts"])
    return np.load(samples, mmap_mode="r"), starts


def _claim(path: Path) -> None:
    """Take the room of a new file, or OSError: writing to a mapped one on a full disk would kill the process."""
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        elif shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def read_stems(song: Path, sample_rate: int, n_samples: int) -> np.ndarray:
    """Drums, bass and other of a song folder, float32 [3, 2, n_samples]."""
    from accompany.data.songs.instruments import INSTRUMENTS

    stems = np.zeros((len(STEMS), 2, n_samples), np.float32)
    files = sorted((song / "stems").glob("*.flac"))
    for path in files or [song / "accompaniment.flac"]:
        known = INSTRUMENTS.get(path.stem)
        index = _OTHER if known is None else _STEM_OF_FAMILY.get(known.family, _OTHER)
        if path.stem in STEMS:
            index = STEMS.index(path.stem)
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != sample_rate:
            samples = soxr.resample(samples, rate, sample_rate)
        found = samples.T[:, :n_samples]
        stems[index, :, : found.shape[1]] += found if len(found) == 2 else found.mean(0)
    return stems


def _length(song: Path, sample_rate: int) -> int:
    info = soundfile.info(song / "accompaniment.flac")
    return int(info.frames * sample_rate / info.samplerate)
