"""Song discovery below a folder: mixes to separate, or stems as in MUSDB18-HQ, MoisesDB and `accompany synth`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accompany.common.config import read_json
from accompany.data.prepare.pairs import folder_name
from accompany.errors import InputError

SUFFIXES = frozenset(
    ".wav .rf64 .w64 .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .m4a .aac .mp4 .mov .mka .wma .webm".split()
)
VOCALS = "vocals"

_MIXES = frozenset(("mix", "mixture", "master"))
_MOISES = "data.json"


@dataclass(frozen=True)
class SongFiles:
    """Files of one song: plain data, so that it crosses to other processes and machines.

    Attributes:
        song_id: its path below the songs' folder.
        folder: name of its folder of pairs, not shared with another song.
        mix: the file to separate; None for stems.
        vocals, others: files that sum up to the two stems.
        loose: stems may end at different times (the rest is silence), as in MoisesDB.
        sidecars: files that may know more: first JSON, then text.
        known: what the layout itself says, such as the artist.
    """

    song_id: str
    folder: str
    mix: Path | None = None
    vocals: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    loose: bool = False
    sidecars: tuple[Path, ...] = ()
    known: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """The file of the song, or the folder of its stems."""
        return self.mix if self.mix is not None else self.sidecars[0].parent

    @property
    def files(self) -> tuple[Path, ...]:
        """All sound files that it is made of."""
        return (*(() if self.mix is None else (self.mix,)), *self.vocals, *self.others)


@dataclass(frozen=True)
class Found:
    """The songs of a folder, sorted, and the folders below it that could not be read, with the reason."""

    songs: list[SongFiles]
    unreadable: dict[str, str]


def find_songs(songs_dir: Path, *, stems: bool, leave_out: Path | None = None) -> Found:
    """The songs below a folder.

    Args:
        songs_dir: any tree. Links to folders are not followed, so that there are no loops; hidden files count not.
        stems: find folders of stems in place of single files.
        leave_out: a folder below that holds no songs, such as the one that pairs go to.

    Raises:
        InputError: no such folder, or no songs in it.
    """
    if not songs_dir.is_dir():
        raise InputError(f"There is no folder {songs_dir}; give the folder that holds the songs.")
    unreadable: dict[str, str] = {}
    folders = _walk(songs_dir, leave_out, unreadable)
    songs = list(_stem_songs(songs_dir, folders) if stems else _mixes(songs_dir, folders))
    if not songs and unreadable:
        raise InputError(f"Cannot read {songs_dir}: {next(iter(unreadable.values()))}")
    if not songs:
        wanted = "folders with vocals and other stems" if stems else f"audio files ({' '.join(sorted(SUFFIXES))})"
        raise InputError(f"{songs_dir} holds no {wanted}; check the folder.")
    return Found(_with_folders(songs), unreadable)


def _walk(songs_dir: Path, leave_out: Path | None, unreadable: dict[str, str]) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder with its visible files, in a fixed order."""
    hidden = leave_out.resolve() if leave_out is not None else None

    def note(error: OSError) -> None:
        folder = Path(error.filename or songs_dir)
        unreadable[shown(folder.relative_to(songs_dir))] = f"cannot read the folder ({error.strerror})"

    for root, folders, files in os.walk(songs_dir, onerror=note):
        names = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in names if (Path(root) / name).resolve() != hidden]
        yield Path(root), [Path(root) / name for name in sorted(files) if not name.startswith(".")]


def shown(path: Path) -> str:
    """A path as text that every file and terminal takes: bytes that are no UTF-8 replaced, `/` between folders."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _mixes(songs_dir: Path, folders: Iterable[tuple[Path, list[Path]]]) -> Iterator[SongFiles]:
    for _, files in folders:
        sounds = _sounds(files)
        stems = Counter(path.stem for path in sounds)
        for path in sounds:
            song_id = shown(path.relative_to(songs_dir).with_suffix(""))
            # Two files of one name keep their suffix, so that neither hides the other.
            song_id += f"_{path.suffix[1:]}" if stems[path.stem] > 1 else ""
            sidecars = tuple(path.with_suffix(suffix) for suffix in (".json", ".txt"))
            yield SongFiles(song_id, "", mix=path, sidecars=sidecars)


def _stem_songs(songs_dir: Path, folders: Iterable[tuple[Path, list[Path]]]) -> Iterator[SongFiles]:
    for folder, files in folders:
        song_id = shown(folder.relative_to(songs_dir)) if folder != songs_dir else songs_dir.resolve().name
        moises = _moises_song(folder) if folder / _MOISES in files else None
        if moises is not None:
            yield replace(moises, song_id=song_id)
            continue
        sounds = _sounds(files)
        vocals = [path for path in sounds if path.stem.lower() == VOCALS]
        if vocals:
            rest = [path for path in sounds if path not in vocals]
            whole = [path for path in rest if path.stem.lower() == "accompaniment"]
            others = whole[:1] or [path for path in rest if path.stem.lower() not in _MIXES]
            sidecars = (folder / "song.json", folder / "song.txt")
            known = _musdb_names(folder.name) if any(path.stem == "mixture" for path in rest) else {}
            yield SongFiles(song_id, "", vocals=(vocals[0],), others=tuple(others), sidecars=sidecars, known=known)


def _sounds(files: Iterable[Path]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def _musdb_names(name: str) -> dict[str, Any]:
    """Artist and title of MUSDB18's "Artist - Title"."""
    artist, dash, title = name.partition(" - ")
    return {"artist": artist, "title": title} if dash and artist and title else {}


def _moises_song(folder: Path) -> SongFiles | None:
    """A song of MoisesDB: data.json lists stems, each of several tracks in <stem>/<id>.<extension>."""
    try:
        content = read_json(folder / _MOISES)
        tracks = [
            (stem["stemName"], folder / stem["stemName"] / f"{track['id']}.{track['extension'].lstrip('.')}")
            for stem in content["stems"]
            for track in stem["tracks"]
        ]
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    names = {"artist": "artist", "title": "song", "genre": "genre"}
    known = {key: str(content[name]) for key, name in names.items() if content.get(name)}
    return SongFiles(
        "",
        "",
        vocals=tuple(path for name, path in tracks if name == VOCALS),
        others=tuple(path for name, path in tracks if name != VOCALS),
        loose=True,
        sidecars=(folder / "song.json", folder / "song.txt"),
        known=known,
    )


def _with_folders(songs: list[SongFiles]) -> list[SongFiles]:
    """Sorted by id, each with the name of a folder that no other song has, on any file system."""
    songs = sorted(songs, key=lambda song: song.song_id)
    shared = Counter(folder_name(song.song_id).casefold() for song in songs)
    return [
        replace(song, folder=folder_name(song.song_id, taken=shared[folder_name(song.song_id).casefold()] > 1))
        for song in songs
    ]
