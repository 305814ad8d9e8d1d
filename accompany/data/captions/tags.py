"""Song metadata: sidecar files, and tags in the sound file (read with mutagen)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accompany.common.config import read_json
from accompany.data.captions.wording import Facts
from accompany.errors import InputError

_TAGS = {
    "artist": ("artist", "tpe1", "\xa9art", "author", "albumartist"),
    "title": ("title", "tit2", "\xa9nam"),
    "genre": ("genre", "tcon", "\xa9gen", "wm/genre"),
    "mood": ("mood", "tmoo", "wm/mood", "----:com.apple.itunes:mood", "txxx:mood"),
    "bpm": ("bpm", "tbpm", "tmpo", "wm/beatsperminute", "tempo"),
    "key": ("initialkey", "initial_key", "tkey", "key", "wm/initialkey", "----:com.apple.itunes:initialkey"),
    "date": ("date", "year", "tdrc", "tyer", "\xa9day", "wm/year", "originaldate"),
}
"""Each fact, and the names that ID3, MP4, Vorbis comments and ASF have for it, in lower case."""

_EMPTY_GENRES = frozenset(("", "other", "unknown", "undefined", "none", "misc", "genre"))
_MIXED_LENGTH = 60


@dataclass(frozen=True)
class SongNotes:
    """Metadata of a song.

    Attributes:
        captions: sentences of the sidecar.
        labels: the sidecar's other content (beats, chords, key, ... in seconds of the song).
        facts: genre, mood, era, tempo and key of the tags.
        artist, title: None where unknown.
    """

    captions: tuple[str, ...] = ()
    labels: dict[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    artist: str | None = None
    title: str | None = None


def read_notes(file: Path | None, sidecars: tuple[Path, ...], known: Mapping[str, Any]) -> SongNotes:
    """Read all metadata of a song.

    Args:
        file: with tags; None for stems.
        sidecars: JSON and text beside it; those that are there are read.
        known: what the layout of the folders said.

    Raises:
        InputError: a JSON sidecar that is none.
    """
    labels, captions = _sidecars(sidecars)
    tags = {**(_read_tags(file) if file is not None else {}), **{key: str(value) for key, value in known.items()}}
    artist, title = (_text(labels.get(name)) or _text(tags.get(name)) for name in ("artist", "title"))
    return SongNotes(captions, labels, _facts(tags), artist, title)


def _sidecars(paths: tuple[Path, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The JSON content without its captions, and the captions: of the JSON first, each line of a text."""
    labels: dict[str, Any] = {}
    captions: list[str] = []
    for path in paths:
        if not path.is_file():
            continue
        if path.suffix == ".json":
            content = read_json(path)
            if not isinstance(content, dict):
                raise InputError(f"{path} must hold an object with keys such as captions; correct it or delete it.")
            labels = dict(content)
            given = labels.pop("captions", None) or labels.pop("caption", None) or []
            captions += [given] if isinstance(given, str) else [str(caption) for caption in given]
        else:
            captions += path.read_text(encoding="utf-8", errors="replace").splitlines()
    labels.pop("caption", None)
    tidy = [" ".join(caption.split()) for caption in captions]
    return labels, tuple(dict.fromkeys(caption for caption in tidy if caption))


def _read_tags(path: Path) -> dict[str, str]:
    """The tags of `_TAGS` that a file has; none where it has none, or where they are broken: the sound counts."""
    import mutagen

    try:
        file = mutagen.File(path)
    except (mutagen.MutagenError, OSError, ValueError, KeyError, IndexError, TypeError):
        return {}
    if file is None or not file.tags:
        return {}
    entries: dict[str, Any] = {}
    for entry in file.tags.items() if hasattr(file.tags, "items") else file.tags:
        entries.setdefault(str(entry[0]).lower(), entry[1])
    found = {}
    for fact, names in _TAGS.items():
        text = next((text for name in names if name in entries and (text := _text(entries[name]))), "")
        if text:
            found[fact] = text
    return found


def _text(value: Any) -> str:
    """The first text of a tag's value, which libraries wrap in lists, frames and bytes."""
    for _ in range(3):
        value = getattr(value, "text", value)
        if isinstance(value, list | tuple):
            value = value[0] if value else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return " ".join(str(value).split())[:200] if value is not None else ""


def _facts(tags: Mapping[str, str]) -> Facts:
    genre = re.sub(r"\(\d+\)", "", tags.get("genre", "")).split(";")[0].split("/")[0].strip()[:_MIXED_LENGTH]
    year = re.search(r"\b(19[2-9]\d|20\d\d)\b", tags.get("date", ""))
    return Facts(
        genre="" if genre.lower() in _EMPTY_GENRES else genre,
        mood=tags.get("mood", "").split(";")[0].strip().lower()[:_MIXED_LENGTH],
        era=f"{year.group()[:3]}0s" if year else "",
        tempo_bpm=_tempo(tags.get("bpm", "")),
        key=_key(tags.get("key", "")),
    )


def _tempo(text: str) -> float | None:
    try:
        bpm = float(text.replace(",", "."))
    except ValueError:
        return None
    return bpm if 30 <= bpm <= 300 else None


def _key(text: str) -> str | None:
    """A tag's key ("Am", "F#", "C# minor", "8A" not) as `A:min`."""
    match = re.fullmatch(r"([A-Ga-g])\s*([#b♯♭]?)\s*(m|min|minor|moll|maj|major|dur)?\.?", text.strip())
    if match is None:
        return None
    tonic = match[1].upper() + match[2].replace("♯", "#").replace("♭", "b")
    return f"{tonic}:{'min' if match[3] in ('m', 'min', 'minor', 'moll') else 'maj'}"
