"""Shards: Parquet files with the arrays of some pairs, one row group for each piece of a pair.

Columns: `id`, `song`, `artist` (or null), `move` (0: the pair as it is; above: an augmented copy),
`piece` and `start` (the piece's number and first frame), `n_frames` and `seconds` (of the whole pair),
`has_accompaniment`, `captions`, `caption_sources`, `labels` (JSON), and the arrays as little-endian bytes, row by
row, null where a pair has none:

    vocal.<v>   float16 [f, Dv]      features of the vocal: 0 of the recording itself, the others augmented
    text        float16 [n, Dt]      embedded captions; in every piece all of them
    codes       int16   [K, f]       semantic codes of the band
    tokens      int16   [Kc, a]      codec tokens of the band as it is; tokens.<v> shifted by less than a codec frame
    stem.<name> int16   [Kc, a]      codec tokens of its drums, bass or other alone, where they were made
    audio_clap  float16 [n, Dt]      embedded sound of the band, window by window; in every piece all of them

f are the piece's frames on the semantic grid (all but the last piece have `piece_frames`), a those of the codec's.
The widths stand in the manifest. Bytes, since Parquet reads lists of half floats fifteen times slower.
The file's metadata hold `schema`, `version` and `set_aside`: pairs tried with these that cannot be used, and why.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from accompany.data.storage import Store
from accompany.data.tokens.store import Labels, Manifest
from accompany.errors import InputError

SUFFIX = ".parquet"
TOKENS = ("tokens", "stem")
CODES = ("codes", *TOKENS)
"""Kinds of arrays (before the first dot of a name) on the codec's grid, and all whose frames are columns."""
LIGHT = ("id", "song", "artist", "move", "piece", "n_frames", "seconds", "has_accompaniment")
"""Columns that say what a row is, without its arrays."""


@dataclass(frozen=True)
class Encoded:
    """A pair with its arrays, whole; `song` and `artist` decide in which split it is."""

    id: str
    song: str
    artist: str | None
    seconds: float
    n_frames: int
    has_accompaniment: bool
    labels: Labels
    arrays: Mapping[str, np.ndarray]
    move: int = 0


def width_of(name: str, manifest: Manifest) -> tuple[int, bool]:
    """Values of an array per frame (or text), and whether frames are its columns."""
    kind = name.split(".")[0]
    if kind in CODES:
        return (len(manifest.code_sizes) if kind == "codes" else manifest.sizes["tokens"]), True
    return manifest.sizes["vocal_dim" if kind == "vocal" else "text_dim"], False


def dtype_of(name: str) -> np.dtype:
    """float16 for features, int16 for codes and tokens; little-endian."""
    return np.dtype("<i2" if name.split(".")[0] in CODES else "<f2")


class ShardWriter:
    """Collects rows and gives the bytes of a shard; the same rows give the same bytes."""

    def __init__(self, manifest: Manifest, skipped: Mapping[str, str] | None = None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.manifest = manifest
        text = pa.list_(pa.string())
        known: list[Any] = [pa.string(), pa.string(), pa.string(), pa.int16(), pa.int32(), pa.int32(), pa.float64()]
        fields = [*zip(LIGHT, [*known, pa.bool_()], strict=True), ("start", pa.int32())]
        fields += [("captions", text), ("caption_sources", text), ("labels", pa.string())]
        fields += [(name, pa.large_binary()) for name in manifest.array_names()]
        said = {"schema": str(manifest.schema), "version": manifest.version}
        said["set_aside"] = json.dumps(dict(sorted((skipped or {}).items())))
        self.schema = pa.schema(fields, metadata=said)
        self._buffer = io.BytesIO()
        # Features hardly compress; codes do.
        packed = {name: "NONE" if name.split(".")[0] == "vocal" else "ZSTD" for name, _ in fields}
        options: dict[str, Any] = {"compression": packed, "use_dictionary": False, "write_statistics": False}
        # Lists are named by their items there.
        packed |= {f"{name}.list.element": packed.pop(name) for name in ("captions", "caption_sources")}
        self._writer = pq.ParquetWriter(self._buffer, self.schema, **options)

    def add(self, pair: Encoded) -> None:
        """Add a pair, cut into pieces."""
        import pyarrow as pa

        unknown = sorted(pair.arrays.keys() - set(self.schema.names))
        if unknown:
            raise ValueError(f"{pair.id} has arrays that the manifest does not know: {', '.join(unknown)}")
        size = self.manifest.piece_frames
        for piece, start in enumerate(range(0, max(pair.n_frames, 1), size)):
            stop = min(start + size, pair.n_frames)
            arrays = {name: self._cut(name, value, start, stop) for name, value in pair.arrays.items()}
            row = {name: getattr(pair, name) for name in LIGHT if name != "piece"} | {"piece": piece, "start": start}
            row |= {"captions": list(pair.labels.captions), "caption_sources": list(pair.labels.caption_sources)}
            row |= {"labels": json.dumps(asdict(pair.labels))} | arrays
            columns = {name: [row.get(name)] for name in self.schema.names}
            self._writer.write_table(pa.table(columns, schema=self.schema))

    def copy(self, shard: Shard, row_group: int) -> None:
        """Add a row of another shard as it is."""
        table = shard.file.read_row_group(row_group, use_threads=False).replace_schema_metadata(self.schema.metadata)
        self._writer.write_table(table)

    def finish(self) -> bytes:
        """The file's content."""
        self._writer.close()
        return self._buffer.getvalue()

    def _cut(self, name: str, value: np.ndarray, start: int, stop: int) -> bytes:
        _, frames_last = width_of(name, self.manifest)
        per_frame = self.manifest.tokens_per_frame if name.split(".")[0] in TOKENS else 1
        if frames_last:
            value = value[:, start * per_frame : stop * per_frame]
        elif name.startswith("vocal"):
            value = value[start:stop]
        return np.ascontiguousarray(value, dtype_of(name)).tobytes()


class Shard:
    """A shard open for reading: a row at a time, only the columns that are asked for.

    Raises:
        InputError: missing, broken, or of another version.
    """

    def __init__(self, store: Store, name: str, manifest: Manifest) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.name, self.manifest = f"{store.url}/{name}", manifest
        try:
            self.file = pq.ParquetFile(store.open(name), memory_map=store.local is not None)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"Cannot read the tokens {self.name} ({error}); run accompany tokenize again.") from error
        said = self.file.schema_arrow.metadata or {}
        if said.get(b"version", b"").decode() != manifest.version:
            raise InputError(f"{self.name} is of another version than its folder; move it away and tokenize again.")
        self.skipped: dict[str, str] = json.loads(said[b"set_aside"])

    def light(self) -> dict[str, list[Any]]:
        """The columns `LIGHT` of all rows; row i is row group i."""
        import pyarrow as pa

        table = self.file.read(list(LIGHT), use_threads=False) if self.file.num_row_groups else pa.table({})
        return {name: table[name].to_pylist() if table.num_columns else [] for name in LIGHT}

    def read(self, row_group: int, names: Sequence[str]) -> dict[str, Any]:
        """Columns of a row; arrays come in their shapes (read only), those that the pair lacks not at all."""
        table = self.file.read_row_group(row_group, columns=list(names), use_threads=False)
        arrays = frozenset(self.manifest.array_names())
        row: dict[str, Any] = {}
        for name in names:
            value = table[name][0]
            if not value.is_valid:
                continue
            row[name] = self._shaped(name, value.as_buffer()) if name in arrays else value.as_py()
        return row

    def _shaped(self, name: str, buffer: Any) -> np.ndarray:
        flat = np.frombuffer(buffer, dtype_of(name))
        width, frames_last = width_of(name, self.manifest)
        return flat.reshape(width, -1) if frames_last else flat.reshape(-1, width)


def labels_of(row: Mapping[str, Any]) -> Labels:
    """The labels in a row's column `labels`."""
    return Labels.from_song(json.loads(row["labels"]))


def whole(shard: Shard, row_groups: Iterable[int], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of a pair put together from its pieces."""
    pieces = [shard.read(number, names) for number in row_groups]
    joined = {}
    for name in pieces[0]:
        kind = name.split(".")[0]
        parts = [piece[name] for piece in pieces]
        axis = 1 if kind in CODES else 0
        joined[name] = np.concatenate(parts, axis) if kind in ("vocal", *CODES) else parts[0]
    return joined


def rows_of(shard: Shard) -> Iterator[tuple[str, int, int]]:
    """(id, move, row group) of all rows."""
    light = shard.light()
    yield from zip(light["id"], light["move"], range(len(light["id"])), strict=True)
