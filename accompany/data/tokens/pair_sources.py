"""Pairs to encode, with their songs, artists and splits."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany.data.storage import Store
from accompany.data.tokens.store import readable
from accompany.errors import InputError

VOCALS, ACCOMPANIMENT, SONG = "vocals.flac", "accompaniment.flac", "song.json"
STEMS_FOLDER = "stems"
SPLITS = ("train", "val")
_READERS = 16


@dataclass(frozen=True)
class PairSource:
    """A pair's folder.

    Attributes:
        id: its path below the pairs folder.
        folder: where it is, in a pairs folder that may be a URL.
        song: what it is cut from, so that pairs of one song stay together.
        artist: where known.
        has_band: whether there is an accompaniment.
        stems: files of its instruments, below the folder.
    """

    id: str
    folder: Path | Store
    song: str
    artist: str | None = None
    has_band: bool = True
    stems: tuple[str, ...] = ()

    @contextmanager
    def files(self, *names: str) -> Iterator[Path]:
        """A local folder with these of its files, for as long as the context is held."""
        store = self.folder if isinstance(self.folder, Store) else Store(str(self.folder))
        with store.local_copies(names) as folder:
            try:
                yield folder
            except InputError as error:  # The name of a temporary copy would not lead to the file.
                raise InputError(str(error).replace(str(folder), store.url)) from error


def find_sources(pairs_dir: str | os.PathLike[str]) -> list[PairSource]:
    """All pairs below a folder or URL, sorted by id.

    `song.json` may name the `song` that a pair is cut from and its `artist`; without, a pair is a song of its own.

    Raises:
        InputError: no such folder, or none in it.
    """
    store = Store.at(pairs_dir)
    found = _local_sources(store.local) if store.local is not None else _remote_sources(store)
    if not found:
        raise InputError(f"{pairs_dir} holds no {VOCALS}; give the folder that synth or prepare wrote.")
    return sorted(found, key=lambda source: source.id)


def _local_sources(pairs_dir: Path) -> list[PairSource]:
    if not pairs_dir.is_dir():
        raise InputError(f"There is no folder {pairs_dir}; make one with accompany synth or accompany prepare.")
    found = []
    for root, folders, files in os.walk(pairs_dir):
        # Hidden folders are pairs that prepare has not finished.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if VOCALS in files:
            name = Path(root).relative_to(pairs_dir).as_posix()
            inside = [f"{STEMS_FOLDER}/{path.name}" for path in (Path(root) / STEMS_FOLDER).glob("*.flac")]
            found.append(_source(name, Path(root), {*files, *inside}))
    return found


def _remote_sources(store: Store) -> list[PairSource]:
    """Those that have their song.json, which goes up after the sounds."""
    files: dict[str, set[str]] = {}
    for path in store.remote_names():
        folder, _, name = path.rpartition("/")
        if folder.endswith(f"/{STEMS_FOLDER}"):
            folder, name = folder.removesuffix(f"/{STEMS_FOLDER}"), f"{STEMS_FOLDER}/{name}"
        files.setdefault(folder, set()).add(name)
    complete = [folder for folder, names in files.items() if {VOCALS, SONG} <= names]
    with ThreadPoolExecutor(_READERS) as pool:  # Each is a round trip.
        return list(pool.map(lambda folder: _source(folder, store.below(folder), files[folder]), complete))


def _source(name: str, folder: Path | Store, files: set[str]) -> PairSource:
    # Names that are no UTF-8 are distinguished by their bytes.
    pair_id = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    said: Any = {}
    if SONG in files:
        try:
            said = json.loads(folder.read(SONG) if isinstance(folder, Store) else (folder / SONG).read_bytes())
        except (OSError, ValueError):
            said = {}  # The pair is skipped with its reason when its turn comes.
    said = said if isinstance(said, dict) else {}
    song, artist = (said.get(name) for name in ("song", "artist"))
    return PairSource(
        pair_id,
        folder,
        readable(song) if isinstance(song, str) and song else pair_id,
        readable(artist.strip()) if isinstance(artist, str) and artist.strip() else None,
        ACCOMPANIMENT in files,
        tuple(sorted(name for name in files if name.startswith(f"{STEMS_FOLDER}/"))),
    )


def splits_of(songs: Iterable[tuple[str, str | None]], val_share: float) -> dict[str, str]:
    """The split of each song, "train" or "val".

    By a hash of the artist where any pair of the song knows one, else of the song, so the same on every machine and
    whatever else is there. In a folder of few songs that may leave a split empty: then the one nearest to the border
    changes over.

    Args:
        songs: (song, artist or None) of each pair.
    """
    owners: dict[str, str] = {}
    for song, artist in songs:
        owner = artist.casefold() if artist else ""
        # Of several names for one song's artist the first in the alphabet counts, so that the order of pairs does not.
        owners[song] = min(filter(None, (owner, owners.get(song, ""))), default="")
    groups = {song: owner or song for song, owner in owners.items()}
    splits = {group: split_of(group, val_share) for group in groups.values()}
    if len(splits) > 1 and 0.0 < val_share < 1.0 and len(set(splits.values())) == 1:
        all_train = "train" in splits.values()
        chosen = (min if all_train else max)(splits, key=_share)
        splits[chosen] = "val" if all_train else "train"
    return {song: splits[group] for song, group in groups.items()}


def split_of(group: str, val_share: float) -> str:
    """ "train" or "val", by a hash of the name of a song or artist."""
    return "val" if _share(group) < val_share else "train"


def _share(group: str) -> float:
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


class Bleeds:
    """The band that bleeds into a vocal: from ANOTHER song of the same split, so that no answer leaks."""

    def __init__(self, sources: Sequence[PairSource], splits: Mapping[str, str], seed: int) -> None:
        self.seed, self.splits = seed, splits
        bands = [source for source in sources if source.has_band]
        self.bands = {split: [band for band in bands if splits[band.song] == split] for split in SPLITS}

    def of(self, source: PairSource) -> PairSource | None:
        """The pair with that accompaniment; None where there is no other song."""
        bands = self.bands[self.splits[source.song]]
        rng = np.random.default_rng([self.seed, zlib.crc32(source.id.encode()), 1])
        first = int(rng.integers(max(len(bands), 1)))
        for step in range(len(bands)):
            band = bands[(first + step) % len(bands)]
            if band.song != source.song:
                return band
        return None
