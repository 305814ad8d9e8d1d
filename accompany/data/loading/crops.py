"""Training batches: random crops of the shards, each determined by (seed, draw) alone.

An item's content depends on the seed and the number of its draw and on nothing else: not on the worker, the
machine, or what was drawn before. A run that was stopped goes on with the batch that would have come.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from accompany.common.config import MOST_PROCESSES, MOST_SEED, check_range
from accompany.data.loading import targets
from accompany.data.loading.order import Draws, EndlessLoader, Order
from accompany.data.loading.stretch import stretched
from accompany.data.storage import Store
from accompany.data.tokens.index import read_index
from accompany.data.tokens.shards import CODES, TOKENS, Shard, labels_of
from accompany.data.tokens.store import SHARDS, Labels, Manifest, open_version
from accompany.errors import InputError
from accompany.music import instrumentation
from accompany.stages.batch import Batch
from accompany.stages.conditions import STEM_TAGS

Item = dict[str, np.ndarray]

_KNOWN_SONGS = 512
_PLAIN = {"vocal": "vocal.0", "text": "text", "codes": "codes", "tokens": "tokens"}
_PADDING: dict[str, float] = dict.fromkeys(("codes", "tokens", "beat_target", "downbeat_target", "chord_target"), -1)


@dataclass(frozen=True)
class LoadingConfig:
    """Content and augmentation of crops; rates are probabilities, 0 to 1.

    Attributes:
        crop_s: length of a crop in seconds, rounded to whole frames; shorter songs are padded.
        batch_size: crops in a batch of all devices together.
        workers: loading processes; 0 loads in the training process.
        dry_rate: share of crops with the vocal as recorded, the rest augmented.
        audio_prompt_rate: share of crops whose style comes from the sound of the band instead of a caption.
        triad_rate: share of crops whose chord control is reduced to major and minor triads.
        stem_rate: share of crops with the tokens of one stem (drums, bass or other) in place of the whole band's, where
            the tokens have stems.
        whole_band_rate: share of crops whose instrumentation is stated completely; the others state a part of it.
        moved_rate: share of crops from copies with pitch and tempo augmentation, where there are any.
        stretch_rate: share of crops played faster or slower, in feature space (the listener only: codes
            cannot be stretched).
        stretch: the largest change of speed, as a factor.
        shuffle_shards: shards whose crops are mixed; more mix better, fewer read less at a time.
        seed: fixes every draw.
    """

    crop_s: float = 10.0
    batch_size: int = 16
    workers: int = 0
    dry_rate: float = 0.4
    audio_prompt_rate: float = 0.15
    triad_rate: float = 0.4
    stem_rate: float = 0.75
    whole_band_rate: float = 0.3
    moved_rate: float = 0.5
    stretch_rate: float = 0.0
    stretch: float = 1.2
    shuffle_shards: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        rates = (field.name for field in dataclasses.fields(self) if field.name.endswith("_rate"))
        check_range(self, " ".join(rates), least=0, most=1)
        check_range(self, "crop_s", above=0, most=3600)
        check_range(self, "batch_size shuffle_shards", least=1, most=1_000_000)
        check_range(self, "workers", least=0, most=MOST_PROCESSES)
        check_range(self, "stretch", least=1, most=4)
        check_range(self, "seed", least=0, most=MOST_SEED)


class TokenDataset(Dataset[Item]):
    """Crops of one split of a tokens folder. It reads rows of shards as they are asked for and keeps none of them.

    Args:
        tokens_dir: what `accompany tokenize` wrote: a folder or URL.
        split: "train" (random crops, `__getitem__` takes the number of the draw, without end) or "val"
            (fixed crops of the dry vocal).
        needs_band: leave out pairs that have no accompaniment.
    """

    def __init__(
        self,
        tokens_dir: str | os.PathLike[str],
        split: str,
        config: LoadingConfig,
        *,
        needs_band: bool = True,
    ) -> None:
        manifest, version = open_version(tokens_dir)
        self.manifest: Manifest = manifest
        self.config = config
        self.split = split
        self.needs_band = needs_band
        self.crop_frames = max(round(config.crop_s * manifest.frame_rate), 1)
        self.index = read_index(version, split, with_accompaniment=needs_band)
        # Lines of pairs as they are; each one's copies follow it.
        self.pairs = np.flatnonzero(self.index.move == 0)
        if not len(self.pairs) and split == "train":
            what = "songs with an accompaniment" if needs_band else "songs"
            raise InputError(f"{tokens_dir} has no {what} to train on; tokenise more songs.")
        self._copies = np.diff(np.append(self.pairs, len(self.index.move)))
        # A pair as long as n crops is listed n times, so that long pairs are covered.
        crops = np.maximum(self.index.n_frames[self.pairs] // self.crop_frames, 1)
        self._pair_of_crop = np.repeat(np.arange(len(self.pairs)), crops)
        self._piece_of_crop = np.arange(len(self._pair_of_crop)) - np.repeat(np.cumsum(crops) - crops, crops)
        self._order = Order(self.index.shard[self.pairs][self._pair_of_crop], config.seed, config.shuffle_shards)
        self._rows = _Rows(version.below(SHARDS), manifest, 2 * config.shuffle_shards)

    def __len__(self) -> int:
        """Crops that cover the split once: an epoch."""
        return len(self._pair_of_crop)

    def __getitem__(self, draw: int) -> Item:
        """The crop of a draw: a dict of the fields of `Batch`, each without its batch axis, unpadded."""
        rng = np.random.default_rng([self.config.seed, self.split == "val", draw])
        if self.split == "val":
            line = int(self.pairs[self._pair_of_crop[draw]])
            return self._crop(line, int(self._piece_of_crop[draw]) * self.crop_frames, rng)
        pair = int(self._pair_of_crop[self._order.crop_of(draw)])
        line, copies = int(self.pairs[pair]), int(self._copies[pair])
        if copies > 1 and rng.random() < self.config.moved_rate:
            line += int(rng.integers(1, copies))
        last = max(int(self.index.n_frames[line]) - self.crop_frames, 0)
        return self._crop(line, int(rng.integers(last + 1)), rng)

    def _crop(self, line: int, start: int, rng: np.random.Generator) -> Item:
        n_frames = int(self.index.n_frames[line])
        stop = min(start + self.crop_frames, n_frames)
        train, settings = self.split == "train", self.manifest.settings
        augmented = train and settings["variants"] > 1 and rng.random() >= self.config.dry_rate
        vocal = f"vocal.{int(rng.integers(1, settings['variants'])) if augmented else 0}"
        text = self._text_name(rng)
        wanted = {"vocal": vocal} | ({"text": text} if text else {})
        if self.needs_band:
            variant = int(rng.integers(settings["token_variants"])) if train and settings["token_variants"] > 1 else 0
            wanted["codes"] = "codes"
            if self.manifest.has_tokens:
                wanted["tokens"] = f"tokens.{variant}" if variant else "tokens"
        stem = self._stem(rng)
        if stem:
            wanted["tokens"] = f"stem.{STEM_TAGS[stem]}"
        place = int(self.index.shard[line]), int(self.index.row_group[line])
        arrays = self._rows.read(place, list(wanted.values()), start, stop)
        # Converted tokens may have fewer variants of some pairs.
        plain = {name: _PLAIN[name] for name, column in wanted.items() if column not in arrays}
        if plain:
            arrays |= self._rows.read(place, list(plain.values()), start, stop)
            wanted |= plain
        item = {name: arrays[column] for name, column in wanted.items()}
        if "stem.drums" in self.manifest.array_names() and self.needs_band:
            is_stem = wanted["tokens"].startswith("stem.")  # a pair without instruments gives its band instead
            item["stem"] = np.asarray(stem if is_stem else 0, np.int64)
        item["vocal_mask"] = np.ones(stop - start, bool)
        if text:
            item["text"] = item["text"][int(rng.integers(len(item["text"])))]
        item |= {name: item[name].astype(np.int64) for name in ("codes", "tokens") if name in item}
        item |= self._labelled(place, start, stop, n_frames, rng)
        if train and not self.needs_band and rng.random() < self.config.stretch_rate:
            item = stretched(item, float(np.exp(rng.uniform(-1, 1) * np.log(self.config.stretch))))
        return item

    def _stem(self, rng: np.random.Generator) -> int:
        """The `STEM_TAGS` index of a crop."""
        if not self.needs_band or "stem.drums" not in self.manifest.array_names():
            return 0
        return int(rng.integers(1, len(STEM_TAGS))) if rng.random() < self.config.stem_rate else 0

    def _text_name(self, rng: np.random.Generator) -> str | None:
        """The column of the style: in training now and then the sound of the band instead of its captions."""
        names = self.manifest.array_names()
        by_sound = rng.random() < self.config.audio_prompt_rate and self.split == "train"
        if self.needs_band and by_sound and "audio_clap" in names:
            return "audio_clap"
        return "text" if "text" in names else None

    def _instruments(self, song: _PairLabels, rng: np.random.Generator) -> np.ndarray:
        """The instrumentation [Di]: in training mostly a part of it, as prompts state it; zeros where it is unknown."""
        known = targets.instrumentation(song.labels)
        if known is None:
            return np.zeros(instrumentation.DIM, np.float32)
        whole = self.split == "val" or rng.random() < self.config.whole_band_rate
        return known if whole else targets.thinned(known, rng)

    def _labelled(self, place: tuple[int, int], start: int, stop: int, n_frames: int, rng: np.random.Generator) -> Item:
        song = self._rows.song(place)
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
            item["instruments"] = self._instruments(song, rng)
        return item


def train_loader(dataset: TokenDataset, *, first_batch: int = 0, rank: int = 0, ranks: int = 1) -> EndlessLoader:
    """Batches without end, beginning with batch number `first_batch`."""
    draws = Draws(dataset.config.batch_size, first_batch, rank, ranks)
    return EndlessLoader(dataset, draws, **_options(dataset))


def val_loader(dataset: TokenDataset, max_items: int) -> DataLoader[Batch]:
    """Fixed batches of at most `max_items` crops, spread over the songs."""
    count = min(max_items, len(dataset))
    picked = [round(k * len(dataset) / count) for k in range(count)] if count else []
    size = dataset.config.batch_size
    batches = [picked[i : i + size] for i in range(0, count, size)]
    return DataLoader(dataset, batch_sampler=batches, **_options(dataset))  # type: ignore[arg-type]


def _options(dataset: TokenDataset) -> dict[str, Any]:
    workers = dataset.config.workers
    return {
        "num_workers": workers,
        "collate_fn": Collate(dataset.crop_frames, dataset.manifest.tokens_per_frame),
        "persistent_workers": workers > 0,
        "worker_init_fn": _ignore_stops,
        "pin_memory": torch.cuda.is_available(),
    }


def _ignore_stops(worker: int) -> None:
    """Leave signals for a whole group to the process that this one loads data for: it ends this one when it has saved.

    That process may be woken by its signals; those of this one are none of them.
    """
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)


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
        if name in ("key_target", "text", "stem", "instruments"):
            return torch.from_numpy(np.stack(values))
        axis = 1 if name in ("codes", "tokens") else 0
        length = self.n_frames * self._steps(name)
        fill = _PADDING.get(name, 0)
        return torch.from_numpy(np.stack([_padded(value, axis, length, fill) for value in values]))

    def _steps(self, name: str) -> int:
        if name == "tokens":
            return self.tokens_per_frame
        return targets.BEAT_STEPS if name in ("beat_target", "downbeat_target") else 1


class _Rows:
    """Rows of shards, with the files that were read last kept open; in a forked process they are opened anew."""

    def __init__(self, store: Store, manifest: Manifest, n_open: int) -> None:
        self._store, self._manifest, self._n_open = store, manifest, n_open
        self._process = -1

    def read(self, place: tuple[int, int], names: Sequence[str], start: int, stop: int) -> Item:
        """Frames [start, stop) of arrays of the pair at (shard, row group); texts as they are."""
        shard, first = self._shard(place[0]), place[1]
        size = self._manifest.piece_frames
        # One call reads the labels too, where they are not known yet.
        columns = [*names] if place in self._songs else [*names, "labels"]
        pieces = []
        for piece in range(start // size, (max(stop, 1) - 1) // size + 1):
            row = shard.read(first + piece, columns)
            if "labels" in row:
                self._remember(place, _PairLabels(labels_of(row)))
                del row["labels"]
            low, high = max(start - piece * size, 0), min(stop - piece * size, size)
            pieces.append({name: self._cut(name, value, low, high) for name, value in row.items()})
        if len(pieces) == 1:
            return pieces[0]
        return {name: self._joined(name, [piece[name] for piece in pieces]) for name in pieces[0]}

    def song(self, place: tuple[int, int]) -> _PairLabels:
        """The labels of the pair at (shard, row group), which was read last."""
        return self._songs[place]

    def _remember(self, place: tuple[int, int], song: _PairLabels) -> None:
        self._songs[place] = song
        if len(self._songs) > _KNOWN_SONGS:
            del self._songs[next(iter(self._songs))]

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open, which cannot go to another process."""
        return {"_store": self._store, "_manifest": self._manifest, "_n_open": self._n_open, "_process": -1}

    def _shard(self, number: int) -> Shard:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._shards = lru_cache(maxsize=self._n_open)(
                lambda number: Shard(self._store, self._manifest.shards[number], self._manifest)
            )
            self._songs: dict[tuple[int, int], _PairLabels] = {}
        return self._shards(number)

    def _cut(self, name: str, value: np.ndarray, low: int, high: int) -> np.ndarray:
        kind = name.split(".")[0]
        if kind in TOKENS:
            per_frame = self._manifest.tokens_per_frame
            return value[:, low * per_frame : high * per_frame]
        if kind == "codes":
            return value[:, low:high]
        return value[low:high] if kind == "vocal" else value

    def _joined(self, name: str, pieces: Sequence[np.ndarray]) -> np.ndarray:
        kind = name.split(".")[0]
        if kind in ("vocal", *CODES):
            return np.concatenate(pieces, axis=0 if kind == "vocal" else 1)
        return pieces[0]


class _PairLabels:
    """Label tracks of a pair, made once."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
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


def _padded(value: np.ndarray, axis: int, length: int, fill: float) -> np.ndarray:
    missing = length - value.shape[axis]
    if missing <= 0:
        return value
    widths = [(0, missing) if a == axis else (0, 0) for a in range(value.ndim)]
    return np.pad(value, widths, constant_values=fill)
