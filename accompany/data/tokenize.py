"""`accompany tokenize`: song folders in, a tokens folder out. It can be killed at any moment and run again.

Each song becomes one file, written under a temporary name and renamed; what is there is not made again. A
song that cannot be used is set aside with its reason and the run goes on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from accompany.data.encode import (
    ACCOMPANIMENT,
    VOCALS,
    EncodeConfig,
    TokenParts,
    encode_song,
    tokens_per_frame,
)
from accompany.data.jobs import run_jobs
from accompany.data.tokens import (
    MANIFEST,
    Manifest,
    SongEntry,
    SongFile,
    read_manifest,
    song_path,
    tidy,
    write_manifest,
    write_song,
)
from accompany.encoders.melody import Melody
from accompany.errors import InputError

_log = logging.getLogger(__name__)

SongResult = dict[str, Any] | str


@dataclass(frozen=True)
class _Job:
    """One song to encode: plain data, so that it crosses to a worker process."""

    song_id: str
    folder: Path
    target: Path
    bleed_from: Path | None
    config: EncodeConfig


def tokenize(
    pairs_dir: str | os.PathLike[str],
    tokens_dir: str | os.PathLike[str],
    parts: TokenParts | str | os.PathLike[str] | None,
    *,
    variants: int = 3,
    token_variants: int = 1,
    seed: int = 0,
    val_share: float = 0.05,
    workers: int = 0,
    progress: bool = True,
) -> Manifest:
    """Encode every song folder under `pairs_dir`.

    Args:
        pairs_dir: folders with vocals.flac, mostly accompaniment.flac, and song.json.
        tokens_dir: made if it is not there; a run that was stopped goes on.
        parts: the frozen parts, or the bundle (name or folder) that has them; None for the melody features alone,
            which need no model and are all that a listener needs.
        variants: vocals stored per song: the dry one and `variants - 1` augmented ones.
        token_variants: codec tokens stored per accompaniment: of the sound as it is and `token_variants - 1` times
            moved by less than a codec frame, with random polarity.
        seed: of the augmentation and of these moves.
        val_share: share of the songs kept for validation, drawn by a hash of the song's id.
        workers: processes beside this one; 0 or 1 works in this one. More need `parts` as a name or folder.
        progress: show a bar on stderr.

    Raises:
        InputError: nothing to encode, a tokens folder made with other models or settings, or no place to write.
    """
    folders = find_songs(Path(pairs_dir))
    tokens_dir = Path(tokens_dir)
    loaded = _loaded(parts)
    config = EncodeConfig(variants=variants, token_variants=token_variants, seed=seed)
    manifest = _open_folder(tokens_dir, _plan(loaded, config, val_share))
    jobs = _jobs(folders, tokens_dir, config)
    missing = [job for job in jobs if not job.target.is_file()]
    _log.info("%d songs, %d of them done before.", len(jobs), len(jobs) - len(missing))
    if workers > 1 and isinstance(parts, TokenParts):
        raise ValueError("workers need the parts as a bundle's name or folder: each loads its own")
    source = loaded if workers <= 1 else parts
    set_aside = {}
    results = run_jobs(missing, _make_worker, (source,), workers=workers, name="tokenize", progress=progress)
    for job, result in results:
        if isinstance(result, str):
            set_aside[job.song_id] = result
            _log.warning("Left out %s: %s", job.song_id, result)
    return _finish(manifest, jobs, tokens_dir, set_aside, val_share)


def find_songs(pairs_dir: Path) -> dict[str, Path]:
    """Song folders by id (their path below `pairs_dir`), sorted; InputError when there are none."""
    if not pairs_dir.is_dir():
        raise InputError(f"There is no folder {pairs_dir}; make one with accompany synth or accompany prepare.")
    found = sorted(path.parent for path in pairs_dir.rglob(VOCALS))
    if not found:
        raise InputError(f"{pairs_dir} holds no {VOCALS}; give the folder that synth or prepare wrote.")
    return {folder.relative_to(pairs_dir).as_posix(): folder for folder in found}


def load_parts(model: str | os.PathLike[str]) -> TokenParts:
    """The frozen parts of a bundle (name, folder or hub id), as far as it has them; stages may be missing."""
    from accompany.pretrained import load_frozen_parts

    return TokenParts(**load_frozen_parts(model))


def split_of(song_id: str, val_share: float) -> str:
    """ "train" or "val", by a hash of the id: the same on every machine, whatever else is in the folder."""
    return "val" if _hash_share(song_id) < val_share else "train"


def _hash_share(song_id: str) -> float:
    return int(hashlib.sha256(song_id.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def _plan(parts: TokenParts, config: EncodeConfig, val_share: float) -> Manifest:
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


def _open_folder(tokens_dir: Path, planned: Manifest) -> Manifest:
    """Make the folder, or check that what is in it was made in the same way."""
    try:
        tokens_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {tokens_dir} ({error.strerror}); choose another.") from error
    if (tokens_dir / MANIFEST).is_file():
        before, now = read_manifest(tokens_dir).fingerprint(), planned.fingerprint()
        # A folder made before a setting was there had its default.
        before["settings"] = {**asdict(EncodeConfig()), **before["settings"]}
        changed = sorted(key for key in now if before[key] != now[key])
        if changed:
            raise InputError(
                f"{tokens_dir} was made with other {' and '.join(changed)}; choose a new folder "
                "so that two kinds of tokens never mix."
            )
    tidy(tokens_dir)
    write_manifest(tokens_dir, planned)
    return planned


def _jobs(folders: dict[str, Path], tokens_dir: Path, config: EncodeConfig) -> list[_Job]:
    bands = [(song_id, folder) for song_id, folder in folders.items() if (folder / ACCOMPANIMENT).is_file()]
    return [
        _Job(song_id, folder, song_path(tokens_dir, song_id), _other_band(song_id, bands, config.seed), config)
        for song_id, folder in folders.items()
    ]


def _other_band(song_id: str, bands: list[tuple[str, Path]], seed: int) -> Path | None:
    """The accompaniment that bleeds into a song's vocal: any but its own."""
    if not bands or (len(bands) == 1 and bands[0][0] == song_id):
        return None
    drawn = int(np.random.default_rng([seed, zlib.crc32(song_id.encode()), 1]).integers(len(bands)))
    other_id, folder = bands[drawn]
    if other_id == song_id:
        folder = bands[(drawn + 1) % len(bands)][1]
    return folder / ACCOMPANIMENT


def _encode_job(job: _Job, parts: TokenParts) -> SongResult:
    """Encode and write one song; returns its entry, or the reason why it was set aside."""
    try:
        arrays, labels, entry = encode_song(job.folder, parts, job.config, bleed_from=job.bleed_from)
    except InputError as error:
        return str(error)
    try:
        write_song(job.target, arrays, labels, entry)
    except OSError as error:
        raise InputError(
            f"Cannot write {job.target} ({error.strerror}); make room or choose another folder, then run again."
        ) from error
    return entry


def _make_worker(parts: TokenParts | str | os.PathLike[str] | None) -> Callable[[_Job], SongResult]:
    loaded = _loaded(parts)
    return lambda job: _encode_job(job, loaded)


def _loaded(parts: TokenParts | str | os.PathLike[str] | None) -> TokenParts:
    if isinstance(parts, TokenParts):
        return parts
    return TokenParts(Melody()) if parts is None else load_parts(parts)


def _finish(
    planned: Manifest, jobs: list[_Job], tokens_dir: Path, set_aside: dict[str, str], val_share: float
) -> Manifest:
    """Write the manifest from the files that are really there."""
    entries = {}
    for job in jobs:
        if job.song_id not in set_aside:
            entry = SongFile(job.target).entry
            entries[job.song_id] = SongEntry(split=split_of(job.song_id, val_share), **entry)
    if not entries:
        reason = next(iter(set_aside.values()))
        raise InputError(f"No song could be used; the first reason: {reason}")
    manifest = replace(planned, songs=_both_splits(entries, val_share), set_aside=set_aside)
    write_manifest(tokens_dir, manifest)
    return manifest


def _both_splits(entries: dict[str, SongEntry], val_share: float) -> dict[str, SongEntry]:
    """In a folder of few songs the hash may leave a side empty: the song nearest to the border changes over."""
    if len(entries) < 2 or not 0.0 < val_share < 1.0 or len({entry.split for entry in entries.values()}) == 2:
        return entries
    all_train = next(iter(entries.values())).split == "train"
    moved = (min if all_train else max)(entries, key=_hash_share)
    return {**entries, moved: replace(entries[moved], split="val" if all_train else "train")}
