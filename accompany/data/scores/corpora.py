"""Score corpora: folder layouts, songs in order, and the held-out split."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from accompany.data.scores.groove_midi import Listed, read_index
from accompany.data.scores.lead_sheet import LeadSheet, Unreadable
from accompany.data.scores.pop909 import read_pop909
from accompany.data.scores.published import read_lied, read_openewld
from accompany.errors import InputError

SPLITS = ("train", "held-out")
_LAYOUTS = (
    "POP909 (001/001.mid with beat_midi.txt), OpenEWLD (dataset/AUTHOR/TITLE/*.mxl),"
    " OpenScore Lieder (scores/COMPOSER/SET/SONG/*.mxl) or Groove MIDI (info.csv)"
)


@dataclass(frozen=True)
class Collection:
    """Songs of one layout.

    Attributes:
        layout: "POP909", "OpenEWLD" or "OpenScore Lieder".
        folder: as given; names: paths of all songs in it, sorted, broken ones too.
        every: the first of every so many songs is held out.
    """

    layout: str
    folder: Path
    names: tuple[str, ...]
    every: int

    def of_split(self, split: str) -> tuple[str, ...]:
        """The names of "train" or "held-out"."""
        held_out = split == "held-out"
        return tuple(name for index, name in enumerate(self.names) if (index % self.every == 0) == held_out)

    def read(self, name: str) -> LeadSheet:
        """The lead sheet of a song; Unreadable where it cannot be used."""
        path = self.folder / name
        try:
            if self.layout == "POP909":
                return read_pop909(path)
            return read_openewld(path, name) if self.layout == "OpenEWLD" else read_lied(path, name)
        # Third-party files are broken in more ways than the readers catch; one of them must not stop a run.
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Unreadable(f"content that makes no sense ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class Drums:
    """The performances of a Groove MIDI folder."""

    folder: Path
    listed: tuple[Listed, ...]


@lru_cache(maxsize=16)
def open_collection(folder: Path) -> Collection | Drums:
    """The songs or drum performances of a folder in one of the published layouts.

    Raises:
        InputError: the folder is missing, empty, or has another layout.
    """
    if not folder.is_dir():
        raise InputError(f"--scores {folder} is no folder; name one with {_LAYOUTS}.")
    if (folder / "info.csv").is_file():
        try:
            listed = read_index(folder)
        except Unreadable as error:
            raise InputError(f"--scores {folder} is not readable as Groove MIDI: {error}.") from error
        return Drums(folder, listed)
    for layout, every, find in _FINDERS:
        names = find(folder)
        if names:
            return Collection(layout, folder, tuple(sorted(names, key=_order)), every)
    raise InputError(f"--scores {folder} has no songs in a layout that is known; name a folder with {_LAYOUTS}.")


def _order(name: str) -> str:
    """Names in one order on every system, whichever way it writes accents."""
    return unicodedata.normalize("NFC", name)


def _pop909(folder: Path) -> list[str]:
    roots = [root for root in (folder, folder / "POP909") if root.is_dir()]
    paths = [path.parent for root in roots for path in root.glob("[0-9]*/beat_midi.txt")]
    return [path.relative_to(folder).as_posix() for path in paths]


def _compressed(top: str) -> Callable[[Path], list[str]]:
    def find(folder: Path) -> list[str]:
        return [path.relative_to(folder).as_posix() for path in (folder / top).rglob("*.mxl")]

    return find


_FINDERS: tuple[tuple[str, int, Callable[[Path], list[str]]], ...] = (
    ("POP909", 15, _pop909),
    ("OpenEWLD", 16, _compressed("dataset")),
    ("OpenScore Lieder", 24, _compressed("scores")),
)
