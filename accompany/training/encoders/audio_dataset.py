"""Dataset of random crops from the FLAC files of song folders, for training the codec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from accompany.errors import InputError

MIN_PEAK = 1e-2
"""Crops whose peak stays below this are silence and are drawn again."""

MAX_TRIES = 20


def song_folders(roots: Sequence[str | Path]) -> list[Path]:
    """All song folders (those that hold `accompaniment.flac`) under `roots`, sorted within each root.

    Raises:
        InputError: a root does not exist or holds no song.
    """
    songs: list[Path] = []
    for root in roots:
        # Folders with a leading dot are songs that `accompany synth` has not finished.
        found = sorted(path.parent for path in Path(root).glob("[!.]*/accompaniment.flac"))
        if not found:
            raise InputError(f"'{root}' holds no song folder with an accompaniment.flac; run `accompany synth` first.")
        songs += found
    return songs


def split_songs(songs: Sequence[Path], n_held_out: int) -> tuple[list[Path], list[Path]]:
    """`(training, held_out)`: every root gives an equal share of its last songs to the held-out set.

    The last songs are kept apart so that a root which grows while a run is paused changes only that root's
    share, and the training songs of a finished root stay the same for ever.
    """
    roots = sorted({song.parent for song in songs})
    share = max(1, n_held_out // max(1, len(roots)))
    held_out = [song for root in roots for song in [s for s in songs if s.parent == root][-share:]]
    training = [song for song in songs if song not in set(held_out)]
    if not training:
        raise InputError(f"{len(songs)} songs are too few to keep {n_held_out} apart; make more or lower held_out.")
    return training, held_out[:n_held_out]


def files_by_kind(songs: Sequence[Path]) -> dict[str, list[Path]]:
    """The audio files of `songs` as `accompaniment`, `mix`, `vocals` and `stems`; kinds without a file are left out."""
    kinds = {name: [s / f"{name}.flac" for s in songs] for name in ("accompaniment", "mix", "vocals")}
    kinds = {name: [path for path in paths if path.is_file()] for name, paths in kinds.items()}
    kinds["stems"] = [path for song in songs for path in sorted((song / "stems").glob("*.flac"))]
    return {name: paths for name, paths in kinds.items() if paths}


def read_mono(path: Path, sample_rate: int, *, start_s: float = 0.0, length_s: float | None = None) -> np.ndarray:
    """A stretch of a file as mono float32 [T] at `sample_rate`; the file's own end cuts it short."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        file.seek(min(file.frames, round(start_s * rate)))
        samples = file.read(-1 if length_s is None else round(length_s * rate), dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return mono if rate == sample_rate else np.asarray(soxr.resample(mono, rate, sample_rate), dtype=np.float32)


class RandomCrops:
    """An endless, seeded stream of batches of crops.

    Each item draws a kind of file by `weights`, a file, a start, a gain and a sign.

    Args:
        songs: song folders.
        weights: share of each kind (`accompaniment`, `mix`, `vocals`, `stems`); kinds without files are dropped.
        crop_s: length of a crop in seconds.
        gain_db: lowest and highest random gain; the result is kept within [-1, 1].
    """

    def __init__(
        self,
        songs: Sequence[Path],
        weights: Mapping[str, float],
        *,
        sample_rate: int,
        crop_s: float,
        gain_db: tuple[float, float] = (-6.0, 4.0),
    ) -> None:
        self.files = files_by_kind(songs)
        self.kinds = [kind for kind in self.files if weights.get(kind, 0.0) > 0.0]
        if not self.kinds:
            raise InputError("None of the wanted kinds of audio is in the song folders; check `weights`.")
        shares = np.array([weights[kind] for kind in self.kinds])
        self.shares = shares / shares.sum()
        self.sample_rate, self.crop_s, self.gain_db = sample_rate, crop_s, gain_db

    def batches(self, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Batches `[batch_size, T]`; the same seed gives the same stream."""
        rng = np.random.default_rng(seed)
        while True:
            yield torch.from_numpy(np.stack([self._crop(rng) for _ in range(batch_size)]))

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        n_samples = round(self.crop_s * self.sample_rate)
        for _ in range(MAX_TRIES):
            kind = self.kinds[rng.choice(len(self.kinds), p=self.shares)]
            path = self.files[kind][rng.integers(len(self.files[kind]))]
            info = soundfile.info(path)
            start_s = rng.uniform(0.0, max(0.0, info.duration - self.crop_s))
            samples = read_mono(path, self.sample_rate, start_s=start_s, length_s=self.crop_s)[:n_samples]
            samples = np.pad(samples, (0, n_samples - len(samples)))
            if np.abs(samples).max() > MIN_PEAK:
                break
        gain = 10 ** (rng.uniform(*self.gain_db) / 20) * rng.choice((-1.0, 1.0))
        return np.asarray(samples * gain / max(1.0, np.abs(samples * gain).max()), dtype=np.float32)


def held_out_clips(songs: Sequence[Path], *, sample_rate: int, clip_s: float, skip_s: float = 5.0) -> Tensor:
    """One clip of each song's accompaniment, `[N, T]`, starting `skip_s` in (or at 0 in a shorter song)."""
    n_samples = round(clip_s * sample_rate)
    clips = []
    for song in songs:
        path = song / "accompaniment.flac"
        start_s = skip_s if soundfile.info(path).duration >= skip_s + clip_s else 0.0
        samples = read_mono(path, sample_rate, start_s=start_s, length_s=clip_s)[:n_samples]
        clips.append(np.pad(samples, (0, n_samples - len(samples))))
    return torch.from_numpy(np.stack(clips))
