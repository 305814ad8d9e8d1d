"""Tokenization (`accompany tokenize`): pairs in, a tokens folder out. It can be killed at any moment and run again.

Pairs are encoded batch by batch; each batch becomes a file in work/ at once when it is done, and the files of a group
become a shard. What is there, in either, is not made again, and which pairs make a batch or a shard depends on the
pairs alone: so a run that was stopped, wherever, ends with the files that an undisturbed one has. A pair that cannot
be used is skipped with its reason and tried again in the next run.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from accompany.common.checks import check_number
from accompany.common.files import require_writable
from accompany.common.processes import folder_lock
from accompany.data.jobs import run_stages
from accompany.data.stage import WorkStage
from accompany.data.storage import Store
from accompany.data.tokens.encode import EncodeConfig, PairSounds, encode, read_pair
from accompany.data.tokens.index import finish
from accompany.data.tokens.pair_sources import Bleeds, PairSource, find_sources, splits_of
from accompany.data.tokens.parts import InputFormat, TokenParts, tokens_per_frame
from accompany.data.tokens.shards import SUFFIX, Shard, ShardWriter, rows_of
from accompany.data.tokens.store import SCHEMA, SHARDS, WORK, Manifest, planned, read_content, write_manifest
from accompany.encoders.melody import Melody
from accompany.errors import InputError

_log = logging.getLogger(__name__)

SHARD_PAIRS = 64

PartsSource = TokenParts | str | os.PathLike[str] | None


@dataclass(frozen=True)
class _EncodeJob:
    """Pairs to encode together, each with the band that bleeds into its vocal and its copies: plain data."""

    pairs: tuple[tuple[PairSource, PairSource | None, tuple[int, ...]], ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(source.id for source, _, _ in self.pairs)


@dataclass(frozen=True)
class _JobAudio:
    """The sounds of a job's pairs, and the pairs that cannot be used."""

    job: _EncodeJob
    pairs: tuple[PairSounds, ...]
    skipped: dict[str, str]


@dataclass(frozen=True)
class _Done:
    """A job whose file is written."""

    hours: float
    skipped: dict[str, str]


@dataclass
class _Folder:
    """A version's folder and what earlier runs left in it.

    Attributes:
        shards: ids that stand in a shard.
        skipped: pairs left out of a shard, with the reason.
        batches: for ids in work/ the file that has them.
    """

    store: Store
    manifest: Manifest
    shards: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)
    batches: dict[str, str] = field(default_factory=dict)


def tokenize(
    pairs_dir: str | os.PathLike[str],
    tokens_dir: str | os.PathLike[str],
    parts: PartsSource,
    *,
    config: EncodeConfig | None = None,
    val_share: float = 0.05,
    batch: int = 4,
    shard_pairs: int = SHARD_PAIRS,
    workers: int = 0,
    device: str = "cpu",
    ray: str | None = None,
    progress: bool = True,
    **settings: Any,
) -> Manifest:
    """Encode every pair under `pairs_dir`.

    Args:
        pairs_dir: below this folder or URL, folders with vocals.flac, mostly accompaniment.flac, and song.json.
        tokens_dir: a folder or URL, made if it is not there; a run that was stopped goes on.
        parts: the frozen parts, or the bundle (name or folder) that has them; None for the melody features alone,
            which need no model and suffice to train the listener.
        config: what is made of each pair.
        val_share: share of the songs (of the artists, where known) kept for validation, drawn by a hash.
        batch: pairs that go through the parts together.
        shard_pairs: pairs in a shard.
        workers: processes beside this one; 0 or 1 works in this one. More need `parts` as a name or folder.
        device: of the parts, such as "cuda"; there the workers read and augment, and this process encodes. With `ray`
            also "auto": what each node has.
        ray: address of a Ray cluster, or "auto", to work on it; `parts` must be a name or folder that its nodes have.
        progress: show a bar on stderr.
        settings: fields of `EncodeConfig` that are to be other than in `config`, such as `variants=2`.

    Raises:
        InputError: nothing to encode, no place to write, or no share of the songs.
    """
    _check_places(pairs_dir, tokens_dir)
    check_number("val_share", val_share, 0, math.nextafter(1, 0))
    config = replace(config or EncodeConfig(), **settings)
    store = Store.at(tokens_dir) if ray is None else Store.at(tokens_dir).absolute()
    if store.local is not None:
        require_writable(store.local)
    sources = find_sources(pairs_dir if ray is None else Store.at(pairs_dir).absolute().url)
    if ray is None and not isinstance(parts, TokenParts):
        parts = _loaded(parts, device) if workers <= 1 or device != "cpu" else parts
    if isinstance(parts, TokenParts) and (ray is not None or (workers > 1 and device == "cpu")):
        raise ValueError("workers need the parts as a bundle's name or folder: each loads its own")
    loaded = _loaded(parts, "cpu")
    manifest = plan(loaded, config, val_share)
    with ExitStack() as stack:
        folder = _open_folder(store, manifest, stack)
        groups = _groups(sources, folder, config, shard_pairs, batch)
        done_before = len({source.id for source in sources} & (folder.shards | set(folder.batches)))
        _log.info("%d pairs, %d of them done before.", len(sources), done_before)
        stages = [
            WorkStage(_reader, (loaded.input_format(), config)),
            WorkStage(_encoder, (parts, device, folder.store.below(WORK), manifest), heavy=True, here=device != "cpu"),
        ]
        options: dict[str, Any] = {"unit": "pair", "size": lambda job: len(job.pairs), "hours": lambda done: done.hours}
        jobs = [job for group in groups for job in group.jobs]
        results = run_stages(jobs, stages, workers=workers, ray=ray, name="tokenize", progress=progress, **options)
        with closing(results):  # its workers end before the folder is free
            skipped = _collect(groups, results, folder)
        return finish(store, folder.store, manifest, skipped)


def _check_places(pairs_dir: str | os.PathLike[str], tokens_dir: str | os.PathLike[str]) -> None:
    pairs, tokens = Store.at(pairs_dir), Store.at(tokens_dir)
    same = pairs.url == tokens.url
    if pairs.local is not None and tokens.local is not None:
        same = pairs.local.resolve() == tokens.local.resolve()
    if same:
        raise InputError(f"{tokens_dir} holds the pairs themselves; choose another folder for the tokens.")


def load_parts(model: str | os.PathLike[str], device: str = "cpu") -> TokenParts:
    """The frozen parts of a bundle (name, folder or hub id), as far as it has them; stages may be missing."""
    from accompany.models.single_parts import load_frozen_parts

    return TokenParts(**load_frozen_parts(model, device))


def _loaded(parts: PartsSource, device: str) -> TokenParts:
    if isinstance(parts, TokenParts):
        return parts
    return TokenParts(Melody().to(device)) if parts is None else load_parts(parts, device)


def plan(parts: TokenParts, config: EncodeConfig, val_share: float) -> Manifest:
    """The manifest of what these parts and settings make, without pairs; InputError where the parts' grids differ."""
    codec_rate = parts.codec.frame_rate if parts.codec is not None else 0.0
    if parts.codec is not None:
        tokens_per_frame(codec_rate, parts.melody.frame_rate)
    return Manifest(
        parts=parts.fingerprints(),
        settings={**asdict(config), "val_share": val_share},
        sizes=parts.sizes(),
        frame_rate=float(parts.melody.frame_rate),
        codec_frame_rate=float(codec_rate),
        code_sizes=tuple(parts.semantic_codes.sizes) if parts.semantic_codes is not None else (),
    )


def _open_folder(store: Store, manifest: Manifest, stack: ExitStack) -> _Folder:
    """Make the version's folder, held by this run alone, and see what is in it."""
    content = read_content(store)
    if content is not None and content.get("schema", SCHEMA) != SCHEMA:
        raise InputError(f"{store.url} holds tokens of another schema; choose a new folder, so that they stay.")
    version = store.below(manifest.version)
    folder = _Folder(version, manifest)
    if store.local is not None:  # before `make` deletes what is half written there
        stack.enter_context(folder_lock(store.local, "accompany tokenize"))
    for place in (store, version, version.below(SHARDS), version.below(WORK)):
        place.make()
    write_manifest(version, planned(manifest))
    for name in version.below(SHARDS).names(SUFFIX):
        shard = Shard(version.below(SHARDS), name, manifest)
        folder.shards |= {pair_id for pair_id, _, _ in rows_of(shard)}
        folder.skipped |= shard.skipped
    for name in version.below(WORK).names(SUFFIX):
        batch = Shard(version.below(WORK), name, manifest)
        if _is_settled(batch, folder):
            version.below(WORK).delete(name)  # The run was killed between the shard's making and this.
        else:
            folder.batches |= dict.fromkeys([*(pair_id for pair_id, _, _ in rows_of(batch)), *batch.skipped], name)
    folder.skipped = {name: why for name, why in folder.skipped.items() if name not in folder.shards}
    return folder


def _is_settled(batch: Shard, folder: _Folder) -> bool:
    """Whether shards have all that a batch has."""
    encoded = {pair_id for pair_id, _, _ in rows_of(batch)}
    return encoded <= folder.shards and batch.skipped.keys() <= folder.shards | folder.skipped.keys()


@dataclass
class _Group:
    """Pairs that make a shard, and the jobs that are left of them; `retried` were skipped before."""

    ids: tuple[str, ...]
    jobs: list[_EncodeJob]
    retried: bool
    left: int = 0


def _groups(
    sources: Sequence[PairSource], folder: _Folder, config: EncodeConfig, shard_pairs: int, batch: int
) -> list[_Group]:
    splits = splits_of(((source.song, source.artist) for source in sources), folder.manifest.settings["val_share"])
    bleeds = Bleeds(sources, splits, config.seed)
    groups = []
    for retried in (False, True):
        wanted = [
            source for source in sources if source.id not in folder.shards and (source.id in folder.skipped) == retried
        ]
        for some in _chunks(wanted, shard_pairs):
            left = [source for source in some if source.id not in folder.batches]
            jobs = []
            for pairs in _chunks(left, batch):
                # Augmented copies are for training only; validation takes pairs as they are.
                copies = [range(1 + config.moves if splits[source.song] == "train" else 1) for source in pairs]
                jobs.append(_EncodeJob(tuple((s, bleeds.of(s), tuple(c)) for s, c in zip(pairs, copies, strict=True))))
            groups.append(_Group(tuple(source.id for source in some), jobs, retried, len(jobs)))
    return groups


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _reader(wanted: InputFormat, config: EncodeConfig) -> Callable[[_EncodeJob], _JobAudio]:
    def work(job: _EncodeJob) -> _JobAudio:
        """Read and augment a job's pairs."""
        pairs: list[PairSounds] = []
        skipped: dict[str, str] = {}
        for source, bleed, copies in job.pairs:
            try:
                pairs += [read_pair(source, wanted, config, copy=copy, bleed_from=bleed) for copy in copies]
            except InputError as error:
                skipped[source.id] = str(error)
        return _JobAudio(job, tuple(pairs), skipped)

    return work


def _encoder(parts: PartsSource, device: str, store: Store, manifest: Manifest) -> Callable[[_JobAudio], _Done]:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = _loaded(parts, device)

    def work(sounds: _JobAudio) -> _Done:
        """Encode a job's pairs and write their file."""
        writer = ShardWriter(manifest, sounds.skipped)
        for pair in encode(sounds.pairs, loaded):
            writer.add(pair)
        store.write(_file_name(sounds.job.ids), writer.finish())
        seconds = sum(pair.seconds for pair in sounds.pairs if pair.copy == 0)
        return _Done(seconds / 3600, sounds.skipped)

    return work


def _file_name(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()[:16] + SUFFIX


def _collect(groups: Sequence[_Group], results: Iterator[tuple[_EncodeJob, _Done]], folder: _Folder) -> dict[str, str]:
    """Make a shard of each group when its last job is done; returns the skipped pairs with their reasons."""
    owner = {pair_id: group for group in groups for pair_id in group.ids}
    for group in groups:
        if not group.jobs:
            _make_shard(group, folder)
    for job, done in results:
        for pair_id, reason in done.skipped.items():
            _log.warning("Left out %s: %s", pair_id, reason)
        folder.batches |= dict.fromkeys(job.ids, _file_name(job.ids))
        group = owner[job.ids[0]]
        group.left -= 1
        if group.left == 0:
            _make_shard(group, folder)
    return {pair_id: reason for pair_id, reason in folder.skipped.items() if pair_id not in folder.shards}


def _make_shard(group: _Group, folder: _Folder) -> None:
    """Join a group's batches, in order."""
    work, shards = folder.store.below(WORK), folder.store.below(SHARDS)
    names = list(dict.fromkeys(folder.batches[pair_id] for pair_id in group.ids))
    batches = {name: Shard(work, name, folder.manifest) for name in names}
    reasons = {pair_id: why for batch in batches.values() for pair_id, why in batch.skipped.items()}
    reasons = {pair_id: why for pair_id, why in reasons.items() if pair_id in group.ids}
    places: dict[str, list[tuple[Shard, int]]] = {}
    for batch in batches.values():
        for pair_id, _, row in rows_of(batch):
            places.setdefault(pair_id, []).append((batch, row))
    if places or not group.retried:
        writer = ShardWriter(folder.manifest, reasons)
        for pair_id in group.ids:
            for batch, row in places.get(pair_id, ()):
                writer.copy(batch, row)
        shards.write(_file_name(group.ids), writer.finish())
    folder.shards |= set(group.ids) & places.keys()
    folder.skipped |= reasons
    for name, batch in batches.items():
        if _is_settled(batch, folder):  # Another group may need it too, if pairs came in since it was made.
            work.delete(name)
