"""Tokens of the schema before, a safetensors file for each song, turned into shards; nothing is encoded again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from accompany.common.config import read_json
from accompany.data.storage import Store
from accompany.data.tokens.encode import EncodeConfig
from accompany.data.tokens.index import finish
from accompany.data.tokens.shards import SUFFIX, Encoded, ShardWriter
from accompany.data.tokens.store import (
    MANIFEST,
    OLD_SCHEMA,
    SHARDS,
    Labels,
    Manifest,
    planned,
    read_content,
    write_manifest,
)
from accompany.errors import InputError

_SHARD_PAIRS = 64


def is_old(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds tokens of the schema before."""
    content = read_content(Store(os.fspath(folder)))
    return content is not None and content.get("schema") == OLD_SCHEMA


def convert(old_dir: str | os.PathLike[str], tokens_dir: str | os.PathLike[str]) -> Manifest:
    """Write the tokens of `old_dir` as a new tokens folder; the old one stays as it is.

    Raises:
        InputError: the old folder is broken, or the new one is there already or cannot be written.
    """
    content = read_json(os.path.join(old_dir, MANIFEST))
    store = Store.at(tokens_dir)
    if read_content(store) is not None:
        raise InputError(f"{tokens_dir} holds tokens already; name a new folder for the converted ones.")
    sides = {song_id: entry["split"] for song_id, entry in content["songs"].items()}
    ids = sorted(sides)
    manifest = _manifest(content, _array_names(old_dir, ids))
    version = store.below(manifest.version)
    for place in (store, version, version.below(SHARDS)):
        place.make()
    write_manifest(version, planned(manifest))
    for number, start in enumerate(range(0, len(ids), _SHARD_PAIRS)):
        writer = ShardWriter(manifest)
        for song_id in ids[start : start + _SHARD_PAIRS]:
            with _opened(old_dir, song_id) as file:
                writer.add(_encoded(song_id, content["songs"][song_id], file))
        version.below(SHARDS).write(f"{number:05d}{SUFFIX}", writer.finish())
    return finish(store, version, manifest, content["set_aside"], sides)


@contextmanager
def _opened(old_dir: str | os.PathLike[str], song_id: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    path = os.path.join(old_dir, f"{song_id.replace('/', '__')}.safetensors")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise InputError(f"Cannot read the tokens {path} ({error}); make them again.") from error


def _array_names(old_dir: str | os.PathLike[str], ids: Sequence[str]) -> set[str]:
    """All that any song holds: manifests of old did not know it."""
    names: set[str] = set()
    for song_id in ids:
        with _opened(old_dir, song_id) as file:
            names |= set(file.keys())
    if not names:
        raise InputError(f"{old_dir} holds no songs; make its tokens again with accompany tokenize.")
    return names


def _manifest(content: Mapping[str, Any], names: set[str]) -> Manifest:
    settings = {**asdict(EncodeConfig()), **content["settings"]}
    settings["variants"] = sum(name.startswith("vocal.") for name in names)
    settings["token_variants"] = max(sum(name.split(".")[0] == "tokens" for name in names), 1)
    kept = {name: content[name] for name in ("parts", "sizes", "frame_rate", "codec_frame_rate")}
    return Manifest(settings=settings, code_sizes=tuple(content["code_sizes"]), **kept)


def _encoded(song_id: str, entry: Mapping[str, Any], file: Any) -> Encoded:
    labels = Labels.from_song(json.loads(file.metadata()["labels"]))
    arrays = {name: file.get_tensor(name) for name in list(file.keys())}
    known = {name: entry[name] for name in ("seconds", "n_frames", "has_accompaniment")}
    return Encoded(id=song_id, song=song_id, artist=None, labels=labels, arrays=arrays, **known)
