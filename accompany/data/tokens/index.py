"""The index of a tokens folder: a line for each pair and copy, with the split and the place in the shards."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accompany.data.storage import Store
from accompany.data.tokens.pair_sources import SPLITS, splits_of
from accompany.data.tokens.shards import LIGHT, Shard
from accompany.data.tokens.store import SHARDS, Counts, Manifest, write_manifest
from accompany.errors import InputError

INDEX = "index.parquet"
_READERS = 16


@dataclass(frozen=True)
class Index:
    """The lines of one split, sorted by id and copy, as arrays of one length N.

    Attributes:
        ids: of the pairs, an Arrow array of strings.
        songs: likewise, the song that each pair is from.
        move: int16, number of the augmented copy; 0 for the pair as it is.
        n_frames: int32.
        has_accompaniment: bool.
        shard: int32, place in the manifest's `shards`.
        row_group: int32, of the first piece there; the others follow.
    """

    ids: Any
    songs: Any
    move: np.ndarray
    n_frames: np.ndarray
    has_accompaniment: np.ndarray
    shard: np.ndarray
    row_group: np.ndarray


def read_index(version: Store, split: str, *, with_accompaniment: bool) -> Index:
    """The pairs of "train" or "val"; only those with an accompaniment where the task needs one.

    Raises:
        InputError: the tokens are still being made, or the file is broken.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not version.has(INDEX):
        raise InputError(f"The tokens in {version.url} are not finished; run accompany tokenize to its end.")
    try:
        table = pq.read_table(io.BytesIO(version.read(INDEX)), use_threads=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"Cannot read {version.url}/{INDEX} ({error}); run accompany tokenize again.") from error
    wanted = pc.equal(table["side"], split)
    if with_accompaniment:
        wanted = pc.and_(wanted, table["has_accompaniment"])
    table = table.filter(wanted).sort_by([("id", "ascending"), ("move", "ascending")])
    names = ("move", "n_frames", "has_accompaniment", "shard", "row_group")
    arrays = {name: table[name].to_numpy(zero_copy_only=False) for name in names}
    return Index(ids=table["id"].combine_chunks(), songs=table["song"].combine_chunks(), **arrays)


def finish(
    store: Store,
    version: Store,
    manifest: Manifest,
    skipped: Mapping[str, str],
    splits: Mapping[str, str] | None = None,
) -> Manifest:
    """Write a version's index and manifest from the shards that are really there, and make it the folder's newest.

    Args:
        splits: of each song; by default as `splits_of` says.

    Raises:
        InputError: not one pair could be used.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = tuple(version.below(SHARDS).names(".parquet"))
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(pool.map(lambda number: _lines(version, shards[number], number, manifest), range(len(shards))))
    table = pa.concat_tables(tables) if tables else None
    if table is None or not table.num_rows:
        reason = next(iter(skipped.values()), "there are none")
        raise InputError(f"No pair could be used; the first reason: {reason}")
    songs = table["song"].to_pylist()
    if splits is None:
        splits = splits_of(zip(songs, table["artist"].to_pylist(), strict=True), manifest.settings["val_share"])
    of_lines = [splits[song] for song in songs]
    table = table.append_column("side", pa.array(of_lines, pa.string()))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    version.write(INDEX, buffer.getvalue())
    kept = dict(sorted(skipped.items()))
    done = replace(manifest, counts=_counts(table, of_lines), shards=shards, set_aside=kept)
    write_manifest(version, done)
    write_manifest(store, done)
    return done


def _lines(version: Store, name: str, number: int, manifest: Manifest) -> Any:
    """A shard's part of the index."""
    import pyarrow as pa

    shard = Shard(version.below(SHARDS), name, manifest)
    kept = [column for column in LIGHT if column != "piece"]
    light = shard.light()
    rows = [row for row, piece in enumerate(light["piece"]) if piece == 0]
    types = {column: shard.file.schema_arrow.field(column).type for column in kept}
    columns = {column: pa.array([light[column][row] for row in rows], types[column]) for column in kept}
    columns["shard"] = pa.array([number] * len(rows), pa.int32())
    columns["row_group"] = pa.array(rows, pa.int32())
    return pa.table(columns)


def _counts(table: Any, splits: Sequence[str]) -> dict[str, Counts]:
    counts = {}
    lines = list(
        zip(splits, table["move"].to_pylist(), table["song"].to_pylist(), table["seconds"].to_pylist(), strict=True)
    )
    for split in SPLITS:
        mine = [(song, seconds) for its, move, song, seconds in lines if its == split and move == 0]
        counts[split] = Counts(len(mine), len({song for song, _ in mine}), round(sum(s for _, s in mine) / 3600, 4))
    return counts
