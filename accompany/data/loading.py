"""Batches for training: random crops of tokenised songs, each fixed by (seed, draw) alone.

An item's content depends on the seed and the number of its draw and on nothing else: not on the worker, the
machine, or what was drawn before. A run that was stopped goes on with the batch that would have come.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from accompany.data import targets
from accompany.data.stretch import stretched
from accompany.data.tokens import Labels, Manifest, SongFile, read_manifest, song_path
from accompany.errors import InputError
from accompany.stages.batch import Batch

Item = dict[str, np.ndarray]

_OPEN_SONGS = 2048
_PADDING: dict[str, float] = dict.fromkeys(("codes", "tokens", "beat_target", "downbeat_target", "chord_target"), -1)


@dataclass(frozen=True)
class LoadingConfig:
    """What a crop holds and how much it is varied; rates are probabilities, 0 to 1.

    Attributes:
        crop_s: length of a crop in seconds, rounded to whole frames; shorter songs are padded.
        batch_size: crops in a batch of all devices together.
        workers: loading processes; 0 loads in the training process.
        dry_rate: share of crops with the vocal as recorded, the rest augmented.
        audio_prompt_rate: share of crops whose style comes from the sound of the band instead of a caption.
        triad_rate: share of crops whose chord control is reduced to major and minor triads.
        stretch_rate: share of crops played faster or slower, in feature space (the listener only: codes
            cannot be stretched).
        stretch: the largest change of speed, as a factor.
        seed: fixes every draw.
    """

    crop_s: float = 10.0
    batch_size: int = 16
    workers: int = 0
    dry_rate: float = 0.4
    audio_prompt_rate: float = 0.15
    triad_rate: float = 0.4
    stretch_rate: float = 0.0
    stretch: float = 1.2
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name.endswith("_rate") and not 0.0 <= getattr(self, field.name) <= 1.0:
                raise ValueError(f"{field.name} must lie in 0 to 1, not {getattr(self, field.name)}")
        if self.crop_s <= 0 or self.batch_size < 1 or self.workers < 0 or self.stretch < 1:
            raise ValueError("crop_s, batch_size must be above 0, workers at least 0 and stretch at least 1")


class TokenDataset(Dataset[Item]):
    """Crops of one split of a tokens folder.

    Args:
        tokens_dir: what `accompany tokenize` wrote.
        split: "train" (random crops, `__getitem__` takes the number of the draw, without end) or "val"
            (fixed crops of the dry vocal).
        needs_band: leave out songs that have no accompaniment.
    """

    def __init__(
        self,
        tokens_dir: str | os.PathLike[str],
        split: str,
        config: LoadingConfig,
        *,
        needs_band: bool = True,
    ) -> None:
        self.folder = Path(tokens_dir)
        self.manifest: Manifest = read_manifest(tokens_dir)
        self.config = config
        self.split = split
        self.needs_band = needs_band
        self.crop_frames = max(round(config.crop_s * self.manifest.frame_rate), 1)
        self.songs = self.manifest.ids(split, with_accompaniment=needs_band)
        if not self.songs and split == "train":
            what = "songs with an accompaniment" if needs_band else "songs"
            raise InputError(f"{tokens_dir} has no {what} to train on; tokenise more songs.")
        # A song of n crops' length stands n times in the list, so that long songs are heard in full.
        self.entries = [
            (song_id, piece)
            for song_id in self.songs
            for piece in range(max(self.manifest.songs[song_id].n_frames // self.crop_frames, 1))
        ]

    def __len__(self) -> int:
        """Crops that cover the split once."""
        return len(self.entries)

    def __getitem__(self, draw: int) -> Item:
        """The crop of a draw: a dict of the fields of `Batch`, each without its batch axis, unpadded."""
        rng = np.random.default_rng([self.config.seed, self.split == "val", draw])
        if self.split == "val":
            song_id, piece = self.entries[draw]
            return self._crop(song_id, piece * self.crop_frames, rng)
        epoch, place = divmod(draw, len(self.entries))
        song_id, _ = self.entries[_order(self.config.seed, epoch, len(self.entries))[place]]
        last = max(self.manifest.songs[song_id].n_frames - self.crop_frames, 0)
        return self._crop(song_id, int(rng.integers(last + 1)), rng)

    def _crop(self, song_id: str, start: int, rng: np.random.Generator) -> Item:
        song = _open_song(song_path(self.folder, song_id))
        n_frames = self.manifest.songs[song_id].n_frames
        stop = min(start + self.crop_frames, n_frames)
        item = self._heard(song, start, stop, rng) | self._labelled(song, start, stop, n_frames, rng)
        if self.needs_band:
            per_frame = self.manifest.tokens_per_frame
            item["codes"] = song.file.columns("codes", start, stop).astype(np.int64)
            tokens = song.file.columns(self._tokens_of(song, rng), start * per_frame, stop * per_frame)
            item["tokens"] = tokens.astype(np.int64)
        elif self.split == "train" and rng.random() < self.config.stretch_rate:
            speed = float(np.exp(rng.uniform(-1, 1) * np.log(self.config.stretch)))
            item = stretched(item, speed)
        return item

    def _tokens_of(self, song: _Song, rng: np.random.Generator) -> str:
        """In training any variant of the tokens, as likely as the others; in validation those of the sound itself."""
        count = song.file.n_token_variants
        variant = int(rng.integers(count)) if self.split == "train" and count > 1 else 0
        return f"tokens.{variant}" if variant else "tokens"

    def _heard(self, song: _Song, start: int, stop: int, rng: np.random.Generator) -> Item:
        augmented = self.split == "train" and song.file.n_variants > 1 and rng.random() >= self.config.dry_rate
        variant = int(rng.integers(1, song.file.n_variants)) if augmented else 0
        item = {"vocal": song.file.rows(f"vocal.{variant}", start, stop)}
        item["vocal_mask"] = np.ones(stop - start, bool)
        by_sound = rng.random() < self.config.audio_prompt_rate and self.split == "train"
        if self.needs_band and by_sound and "audio_clap" in song.file.names:
            item["text"] = _any_row(song.file.read("audio_clap"), rng)
        elif "text" in song.file.names:
            item["text"] = _any_row(song.file.read("text"), rng)
        return item

    def _labelled(self, song: _Song, start: int, stop: int, n_frames: int, rng: np.random.Generator) -> Item:
        tracks = song.tracks(n_frames, self.manifest.frame_rate)
        steps = slice(targets.BEAT_STEPS * start, targets.BEAT_STEPS * stop)
        item = {
            "beat_target": tracks["beat"][steps],
            "downbeat_target": tracks["downbeat"][steps],
            "chord_target": tracks["chord"][start:stop],
            "key_target": tracks["key"],
        }
        if self.needs_band:
            triads = self.split == "train" and rng.random() < self.config.triad_rate
            control, mask = song.control(n_frames, self.manifest.frame_rate, triads)
            item |= {"control": control[start:stop], "control_mask": mask[start:stop]}
        return item


class Draws(Sampler[list[int]]):
    """Lists of draw numbers, batch by batch from `first_batch` on, without end; each rank takes its part."""

    def __init__(self, batch_size: int, first_batch: int = 0, rank: int = 0, ranks: int = 1) -> None:
        if batch_size % ranks:
            raise InputError(f"batch_size={batch_size} cannot be shared by {ranks} devices; make it a multiple.")
        self.batch_size, self.first_batch, self.rank, self.ranks = batch_size, first_batch, rank, ranks

    def __iter__(self) -> Iterator[list[int]]:
        """Batch b of all ranks together holds the draws b * batch_size onwards."""
        batch = self.first_batch
        while True:
            first = batch * self.batch_size
            yield list(range(first + self.rank, first + self.batch_size, self.ranks))
            batch += 1


def train_loader(dataset: TokenDataset, *, first_batch: int = 0, rank: int = 0, ranks: int = 1) -> DataLoader[Batch]:
    """Batches without end, beginning with batch number `first_batch`."""
    config = dataset.config
    draws = Draws(config.batch_size, first_batch, rank, ranks)
    return _loader(dataset, batch_sampler=draws)


def val_loader(dataset: TokenDataset, max_items: int) -> DataLoader[Batch]:
    """Fixed batches of at most `max_items` crops, spread over the songs."""
    count = min(max_items, len(dataset))
    picked = [round(k * len(dataset) / count) for k in range(count)] if count else []
    size = dataset.config.batch_size
    return _loader(dataset, batch_sampler=[picked[i : i + size] for i in range(0, count, size)])


def _loader(dataset: TokenDataset, batch_sampler: Sampler[list[int]] | list[list[int]]) -> DataLoader[Batch]:
    workers = dataset.config.workers
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batch_sampler,
        num_workers=workers,
        collate_fn=Collate(dataset.crop_frames, dataset.manifest.tokens_per_frame),
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


@dataclass(frozen=True)
class Collate:
    """Pad items to `n_frames` and stack them; padding is unknown: -1, or a False mask."""

    n_frames: int
    tokens_per_frame: int

    def __call__(self, items: list[Item]) -> Batch:
        """Stack the fields that every item has."""
        names = [name for name in items[0] if all(name in item for item in items)]
        return Batch(**{name: self._stack(name, [item[name] for item in items]) for name in names})

    def _stack(self, name: str, values: list[np.ndarray]) -> torch.Tensor:
        if name in ("key_target", "text"):
            return torch.from_numpy(np.stack(values))
        axis = 1 if name in ("codes", "tokens") else 0
        length = self.n_frames * self._steps(name)
        fill = _PADDING.get(name, 0)
        return torch.from_numpy(np.stack([_padded(value, axis, length, fill) for value in values]))

    def _steps(self, name: str) -> int:
        if name == "tokens":
            return self.tokens_per_frame
        return targets.BEAT_STEPS if name in ("beat_target", "downbeat_target") else 1


class _Song:
    """An open song with its label tracks, made once."""

    def __init__(self, path: Path) -> None:
        self.file = SongFile(path)
        self.labels: Labels = self.file.labels
        self._tracks: Item | None = None
        self._controls: dict[bool, tuple[np.ndarray, np.ndarray]] = {}

    def tracks(self, n_frames: int, frame_rate: float) -> Item:
        """Targets of the whole song."""
        if self._tracks is None:
            self._tracks = {
                "beat": targets.pulse_track(self.labels.beats, n_frames, frame_rate),
                "downbeat": targets.pulse_track(self.labels.downbeats, n_frames, frame_rate),
                "chord": targets.chord_track(self.labels, n_frames, frame_rate),
                "key": np.asarray(targets.key_target(self.labels), np.int64),
            }
        return self._tracks

    def control(self, n_frames: int, frame_rate: float, triads: bool) -> tuple[np.ndarray, np.ndarray]:
        """Control track and mask of the whole song."""
        if triads not in self._controls:
            self._controls[triads] = targets.control_arrays(self.labels, n_frames, frame_rate, triads=triads)
        return self._controls[triads]


@lru_cache(maxsize=_OPEN_SONGS)
def _open_song(path: Path) -> _Song:
    return _Song(path)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n_entries: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n_entries)


def _any_row(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    row: np.ndarray = values[int(rng.integers(len(values)))]
    return row


def _padded(value: np.ndarray, axis: int, length: int, fill: float) -> np.ndarray:
    missing = length - value.shape[axis]
    if missing <= 0:
        return value
    widths = [(0, missing) if a == axis else (0, 0) for a in range(value.ndim)]
    return np.pad(value, widths, constant_values=fill)
