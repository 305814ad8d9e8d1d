"""The tokens folder: what `accompany tokenize` writes and training reads.

    TOKENS/manifest.json             of the version that was finished last; `version` names its folder
    TOKENS/<version>/manifest.json   schema, hashes of the parts, settings, rates, counts, shards
    TOKENS/<version>/index.parquet   a line for each pair: song, artist, split, length, and where it stands
    TOKENS/<version>/shards/         the tokens, as Parquet (`accompany.data.tokens.shards` says what is in a row)
    TOKENS/<version>/work/           batches of a run that is under way

A version is a hash of all that decides what the tokens are. So other parts or settings make another version beside
the first and never mix with it; `TOKENS/<version>` can be named wherever a tokens folder can.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from accompany.data.storage import Store
from accompany.errors import InputError
from accompany.stages.conditions import STEMS

SCHEMA = 2
MANIFEST = "manifest.json"
SHARDS, WORK = "shards", "work"
PIECE_FRAMES = 1500
"""Frames in a row of a shard: longer pairs have several rows, so that a crop never reads an hour."""


@dataclass(frozen=True)
class Labels:
    """Annotations of a song; every field may be empty (a song from the wild).

    Attributes:
        beats, downbeats: times in seconds.
        chords: (start_s, end_s, Harte label) in order.
        key: "A:min", or None.
        tempo_bpm: beats a minute, or None.
        captions: wordings of the style prompt.
        caption_sources: where each of them comes from, such as "sidecar" or "clap"; may be shorter than captions.
        instruments, absent: plain English names of what plays and of what is said not to play.
        families, density: all families of instruments that play, and how densely (`accompany.music.instrumentation`).
    """

    beats: tuple[float, ...] = ()
    downbeats: tuple[float, ...] = ()
    chords: tuple[tuple[float, float, str], ...] = ()
    key: str | None = None
    tempo_bpm: float | None = None
    captions: tuple[str, ...] = ()
    caption_sources: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    style: str | None = None
    families: tuple[str, ...] = ()
    density: str | None = None

    @classmethod
    def from_song(cls, song: Mapping[str, Any]) -> Labels:
        """The labels in the content of a `song.json`; unknown keys are left alone."""
        return cls(
            beats=tuple(float(t) for t in song.get("beats") or ()),
            downbeats=tuple(float(t) for t in song.get("downbeats") or ()),
            chords=tuple((float(a), float(b), str(label)) for a, b, label in song.get("chords") or ()),
            key=song.get("key"),
            tempo_bpm=song.get("tempo_bpm"),
            captions=tuple(readable(str(caption)) for caption in song.get("captions") or ()),
            caption_sources=_sources(song),
            instruments=tuple(song.get("instruments") or ()),
            absent=tuple(song.get("absent") or ()),
            style=song.get("style"),
            families=tuple(_attribute(song, "families") or ()),
            density=_attribute(song, "density"),
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


def _attribute(song: Mapping[str, Any], name: str) -> Any:
    """A value from a song's `attributes`, or, in the labels of a shard, from the song itself."""
    return (song.get("attributes") or {}).get(name, song.get(name))


def readable(text: str) -> str:
    """The text without half characters, which JSON may hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _sources(song: Mapping[str, Any]) -> tuple[str, ...]:
    """One source for each caption, or one for all of them."""
    each = song.get("caption_sources")
    if each:
        return tuple(str(source) for source in each)
    return (str(song["caption_source"]),) * len(song.get("captions") or ()) if song.get("caption_source") else ()


@dataclass(frozen=True)
class Counts:
    """Size of a split: `pairs` as prepare made them, their `songs`, and `hours` of sound."""

    pairs: int = 0
    songs: int = 0
    hours: float = 0.0


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        parts: for each frozen part its `hash` and rates; a change of any makes another version.
        settings: how the tokens were made (variants, seed, share of the validation, ...); likewise.
        sizes: `vocal_dim`, `melody_dim`, `text_dim`, `tokens` (Kc), `token_size`.
        code_sizes: the vocabulary of each stream of semantic codes.
        frame_rate: of the semantic grid, in Hz.
        codec_frame_rate: in Hz; 0 without a codec.
        counts: of the "train" and the "val" split.
        shards: names of the files in shards/; the index counts from their order.
        set_aside: id to the reason why a pair was left out.
    """

    parts: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    sizes: dict[str, int]
    frame_rate: float
    codec_frame_rate: float
    code_sizes: tuple[int, ...] = ()
    counts: dict[str, Counts] = field(default_factory=dict)
    shards: tuple[str, ...] = ()
    set_aside: dict[str, str] = field(default_factory=dict)
    piece_frames: int = PIECE_FRAMES
    schema: int = SCHEMA

    @property
    def tokens_per_frame(self) -> int:
        """Codec frames in a frame of the semantic grid."""
        return round(self.codec_frame_rate / self.frame_rate)

    @property
    def pairs(self) -> int:
        """Pairs of both splits."""
        return sum(counts.pairs for counts in self.counts.values())

    def fingerprint(self) -> dict[str, Any]:
        """All that decides what the tokens of a pair are."""
        names = ("schema", "parts", "settings", "sizes", "frame_rate", "codec_frame_rate", "code_sizes", "piece_frames")
        return {name: getattr(self, name) for name in names}

    @property
    def version(self) -> str:
        """The name of this version's folder: a hash of `fingerprint`."""
        text = json.dumps(self.fingerprint(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def array_names(self) -> list[str]:
        """Arrays of a pair that has a band, as `accompany.data.tokens.shards` describes them."""
        names = [f"vocal.{v}" for v in range(self.settings["variants"])]
        names += ["text"] if "clap" in self.parts else []
        if not {"mert", "semantic_codes"} <= self.parts.keys():
            return names
        names += ["codes"]
        if self.has_tokens:
            names += ["tokens", *(f"tokens.{v}" for v in range(1, self.settings["token_variants"]))]
            names += [f"stem.{name}" for name in STEMS] if self.settings.get("stems") else []
        return names + (["audio_clap"] if "clap" in self.parts else [])

    @property
    def has_tokens(self) -> bool:
        """Whether bands have codec tokens beside their semantic codes."""
        return "token_size" in self.sizes


def open_version(tokens_dir: str | os.PathLike[str]) -> tuple[Manifest, Store]:
    """The manifest of a tokens folder (of its newest version, or of the version's folder named), and that folder.

    Raises:
        InputError: no tokens folder, a broken manifest, or one of another schema.
    """
    store = Store.at(tokens_dir)
    content = read_content(store)
    if content is None:
        raise InputError(f"{tokens_dir} is not a tokens folder (no {MANIFEST}); make one with accompany tokenize.")
    manifest = parse_manifest(content, f"{tokens_dir}/{MANIFEST}")
    below = store.below(manifest.version)
    return manifest, below if below.has(MANIFEST) else store


def read_manifest(tokens_dir: str | os.PathLike[str]) -> Manifest:
    """The manifest alone; see `open_version`."""
    return open_version(tokens_dir)[0]


def read_content(store: Store) -> dict[str, Any] | None:
    """Content of manifest.json, whatever its schema; None where there is none."""
    try:
        content = json.loads(store.read(MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {store.url}/{MANIFEST} ({error}); check that the file is complete.") from error
    return content if isinstance(content, dict) else {}


def parse_manifest(content: dict[str, Any], name: str) -> Manifest:
    """A manifest of this schema; InputError names the file and says what to do about another."""
    if content.get("schema") != SCHEMA:
        raise InputError(f"{name} is not of schema {SCHEMA}; make the tokens again with accompany tokenize.")
    try:
        values = {key: value for key, value in content.items() if key != "version"}
        counts = {split: Counts(**each) for split, each in values.pop("counts").items()}
        code_sizes, shards = tuple(values.pop("code_sizes")), tuple(values.pop("shards"))
        return Manifest(code_sizes=code_sizes, shards=shards, counts=counts, **values)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{name} is broken ({error}); make the tokens again with accompany tokenize.") from error


def write_manifest(store: Store, manifest: Manifest) -> None:
    """Write manifest.json into a folder, at once."""
    content = {"version": manifest.version, **asdict(manifest)}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    store.write(MANIFEST, text.encode("utf-8", "backslashreplace"))


def planned(manifest: Manifest) -> Manifest:
    """The manifest without what a run finds out: for a version whose tokens are still being made."""
    return replace(manifest, counts={}, shards=(), set_aside={})
