"""The tokens folder: what `accompany tokenize` writes and training reads.

    TOKENS/manifest.json           schema, model hashes, rates, and every song with its split
    TOKENS/<id>.safetensors        arrays of one song; its labels as JSON in the metadata

Arrays of a song: `vocal.<v>` [F, Dv] float16 (0 is the recording itself, the others augmented), `text`
[n_captions, Dt] float16; with an accompaniment also `codes` [K, F] int16, `tokens` [Kc, A] int16,
`tokens.<v>` for v from 1 (the same sound moved by less than a codec frame, perhaps with its polarity flipped) and
`audio_clap` [n_windows, Dt] float16. F is the semantic grid, A the codec grid, a whole multiple of F.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accompany.config import read_json, write_json
from accompany.errors import InputError

SCHEMA = 1
MANIFEST = "manifest.json"
SUFFIX = ".safetensors"
_LABELS = "labels"


@dataclass(frozen=True)
class Labels:
    """What is known about a song beside its sound; every field may be empty (a song from the wild).

    Attributes:
        beats, downbeats: times in seconds.
        chords: (start_s, end_s, Harte label) in order.
        key: "A:min", or None.
        tempo_bpm: beats a minute, or None.
        captions: wordings of the style prompt.
        instruments, absent: plain English names of what plays and of what is said not to play.
    """

    beats: tuple[float, ...] = ()
    downbeats: tuple[float, ...] = ()
    chords: tuple[tuple[float, float, str], ...] = ()
    key: str | None = None
    tempo_bpm: float | None = None
    captions: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    style: str | None = None

    @classmethod
    def from_song(cls, song: Mapping[str, Any]) -> Labels:
        """The labels in the content of a `song.json`; unknown keys are left alone."""
        return cls(
            beats=tuple(float(t) for t in song.get("beats") or ()),
            downbeats=tuple(float(t) for t in song.get("downbeats") or ()),
            chords=tuple((float(a), float(b), str(label)) for a, b, label in song.get("chords") or ()),
            key=song.get("key"),
            tempo_bpm=song.get("tempo_bpm"),
            captions=tuple(song.get("captions") or ()),
            instruments=tuple(song.get("instruments") or ()),
            absent=tuple(song.get("absent") or ()),
            style=song.get("style"),
        )

    @property
    def beats_per_bar(self) -> int | None:
        """Beats in a bar, counted between the downbeats; None where they are unknown."""
        if len(self.downbeats) < 2:
            return None
        inside = [
            sum(first - 1e-3 <= beat < second - 1e-3 for beat in self.beats)
            for first, second in zip(self.downbeats, self.downbeats[1:], strict=False)
        ]
        return round(statistics.median(inside)) or None


@dataclass(frozen=True)
class SongEntry:
    """A song's line in the manifest: `split` "train" or "val", length, and whether it has an accompaniment."""

    split: str
    seconds: float
    n_frames: int
    has_accompaniment: bool


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        parts: for each frozen part its `hash` and rates; a change of any makes the tokens another set.
        settings: how the tokens were made (variants, seed, ...).
        sizes: `vocal_dim`, `melody_dim`, `text_dim`, `tokens` (Kc), `token_size`.
        code_sizes: the vocabulary of each stream of semantic codes.
        frame_rate: of the semantic grid, in Hz.
        codec_frame_rate: in Hz; 0 without a codec.
        songs: by id.
        set_aside: id to the reason why a song was left out.
    """

    parts: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    sizes: dict[str, int]
    frame_rate: float
    codec_frame_rate: float
    code_sizes: tuple[int, ...] = ()
    songs: dict[str, SongEntry] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def tokens_per_frame(self) -> int:
        """Codec frames in a frame of the semantic grid."""
        return round(self.codec_frame_rate / self.frame_rate)

    def ids(self, split: str, *, with_accompaniment: bool) -> list[str]:
        """Sorted ids of a split; only songs with an accompaniment where the task needs one."""
        return sorted(
            song_id
            for song_id, entry in self.songs.items()
            if entry.split == split and (entry.has_accompaniment or not with_accompaniment)
        )

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two runs to write into the same folder."""
        return {"schema": self.schema, "parts": self.parts, "settings": self.settings, "sizes": self.sizes}


def read_manifest(tokens_dir: str | os.PathLike[str]) -> Manifest:
    """Read TOKENS/manifest.json.

    Raises:
        InputError: no tokens folder, a broken manifest, or one of another schema.
    """
    path = Path(tokens_dir) / MANIFEST
    if not path.is_file():
        raise InputError(f"{tokens_dir} is not a tokens folder (no {MANIFEST}); make one with accompany tokenize.")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"{path} is not of schema {SCHEMA}; make the tokens again with accompany tokenize.")
    try:
        songs = {song_id: SongEntry(**entry) for song_id, entry in content.pop("songs").items()}
        return Manifest(songs=songs, code_sizes=tuple(content.pop("code_sizes")), **content)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is broken ({error}); make the tokens again with accompany tokenize.") from error


def write_manifest(tokens_dir: Path, manifest: Manifest) -> None:
    """Write TOKENS/manifest.json, atomically."""
    write_json(tokens_dir / MANIFEST, asdict(manifest))


def song_path(tokens_dir: str | os.PathLike[str], song_id: str) -> Path:
    """The file of a song; ids with folders in them are flattened."""
    return Path(tokens_dir) / f"{song_id.replace('/', '__')}{SUFFIX}"


def write_song(path: Path, arrays: Mapping[str, np.ndarray], labels: Labels, entry: Mapping[str, Any]) -> None:
    """Write a song's arrays, labels and manifest line; the file appears under its name only when complete."""
    from safetensors.numpy import save

    content = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    # One key: safetensors writes several in random order, and the same song should give the same bytes.
    metadata = {_LABELS: json.dumps({**asdict(labels), "entry": dict(entry)})}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(save(content, metadata))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


class SongFile:
    """One song's file, memory-mapped: crops are read without the rest.

    Raises:
        InputError: missing or not a safetensors file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            self._file = safe_open(str(path), framework="numpy")
        except (OSError, SafetensorError) as error:
            raise InputError(f"Cannot read the tokens {path} ({error}); run accompany tokenize again.") from error
        self._metadata: dict[str, str] = self._file.metadata() or {}
        self.names = frozenset(self._file.keys())

    @property
    def labels(self) -> Labels:
        """The song's labels."""
        return Labels.from_song(json.loads(self._metadata[_LABELS]))

    @property
    def entry(self) -> dict[str, Any]:
        """The song's line of the manifest, without its split."""
        return dict(json.loads(self._metadata[_LABELS])["entry"])

    @property
    def n_variants(self) -> int:
        """How many `vocal.<v>` there are."""
        return sum(name.startswith("vocal.") for name in self.names)

    @property
    def n_token_variants(self) -> int:
        """How many arrays of tokens there are: `tokens` and each `tokens.<v>`."""
        return sum(name.split(".")[0] == "tokens" for name in self.names)

    def read(self, name: str) -> np.ndarray:
        """A whole array."""
        value: np.ndarray = self._file.get_tensor(name)
        return value

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of an array."""
        value: np.ndarray = self._file.get_slice(name)[start:stop]
        return value

    def columns(self, name: str, start: int, stop: int) -> np.ndarray:
        """Columns [start, stop) of a two-dimensional array."""
        value: np.ndarray = self._file.get_slice(name)[:, start:stop]
        return value


def tidy(tokens_dir: Path) -> None:
    """Delete what a killed run left half written."""
    leftovers: Iterable[Path] = tokens_dir.glob(".*.part")
    for path in leftovers:
        with suppress(OSError):
            path.unlink()
