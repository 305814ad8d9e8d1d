"""Atomic writes to a pairs folder, local or at an fsspec URL: a song's pairs appear complete or not at all.

Locally a song's folder is made beside its place and renamed. Object stores rename nothing: there its files go up first
and its record last, and a song without a record is made again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from accompany.common.files import PART
from accompany.data.prepare.pair_making import PrepareConfig, cannot_write
from accompany.data.prepare.pairs import DUPLICATES, RECORD, SETTINGS
from accompany.data.storage import Store
from accompany.data.tokens.pair_sources import SONG
from accompany.errors import InputError

_READERS = 16
_AT_ONCE = 1000
"""Records that are asked for before they are taken: what is in memory at once."""


@dataclass(frozen=True)
class PairsStore:
    """Songs' folders by name below a store. Plain data, so that it crosses to other machines."""

    store: Store

    @property
    def local(self) -> Path | None:
        """The folder, where it is one."""
        return self.store.local

    def make(self) -> None:
        """Make the folder; InputError where that cannot be."""
        if self.local is None:
            return
        try:
            self.local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Cannot write to {self.store.url} ({error.strerror}); choose a folder that is writable."
            ) from error

    def tidy(self) -> None:
        """Delete what a process that was killed left half made; for the one run that holds the folder.

        Raises:
            InputError: it cannot be deleted.
        """
        if self.local is None:
            return
        try:
            with os.scandir(self.local) as entries:
                names = [entry.name for entry in entries if entry.name.startswith(".") and entry.name.endswith(PART)]
            for leftover in (self.local / name for name in names):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.local, error) from error

    def open(self, config: PrepareConfig) -> int:
        """The number of this run; InputError when the folder has songs that were made with other settings."""
        if not self.store.has(SETTINGS) or not self.complete():  # those of a run that made nothing bind nobody
            self.set_run(config, 0)
            return 0
        content = self.read(SETTINGS)
        try:
            before, now, run = dict(content["settings"]), asdict(config), int(content["run"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.store.url}/{SETTINGS} lacks or garbles {error}; choose a new folder for the pairs."
            ) from error
        changed = sorted(name for name in now if before.get(name) != now[name])
        if changed:
            raise InputError(
                f"{self.store.url} was made with other {' and '.join(changed)}; choose a new folder, so that two kinds "
                "of pairs never mix."
            )
        return run

    def set_run(self, config: PrepareConfig, run: int) -> None:
        """Write the settings down, and the number that the next run will have."""
        self.store.write(SETTINGS, as_json({"settings": asdict(config), "run": run}))

    def forget(self) -> None:
        """Delete the settings of a run that made nothing: what they name may not be there."""
        if not self.complete():
            self.store.delete(SETTINGS)

    def read(self, name: str) -> Any:
        """The content of a JSON file; InputError where it cannot be read."""
        try:
            return json.loads(self.store.read(name))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"Cannot read {self.store.url}/{name} ({error}); check that the file is complete."
            ) from error

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A folder to write a song's pairs into, which do not exist yet; published as `name` when the block ends well.

        Raises:
            StopError: no room, or not writable.
        """
        base = self.local or Path(tempfile.gettempdir())
        # A folder of this process alone: a survivor of a killed run may still work on the same song.
        temporary = base / f".{name}.{uuid4().hex[:12]}{PART}"
        try:
            yield temporary
            if self.local is not None:
                if (self.local / name).is_dir():
                    shutil.rmtree(self.local / name)
                temporary.replace(self.local / name)
            else:
                self._send(temporary, name)
        except OSError as error:
            raise cannot_write(base / name if self.local else temporary, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _send(self, folder: Path, name: str) -> None:
        """Put a song's files below `name`: sounds, song.json, and last the record: all is there."""
        self.store.delete_all(name)
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        for file in sorted(files, key=lambda file: (file == RECORD, file.endswith(SONG))):
            self.store.write(f"{name}/{file}", (folder / file).read_bytes())

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The names of the songs' folders that are complete, sorted, with their records."""
        names = self.complete()
        if self.local is not None:
            yield from ((name, self.read(f"{name}/{RECORD}")) for name in names)
            return
        with ThreadPoolExecutor(_READERS) as pool:  # Each is a round trip.
            for some in (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)):
                yield from zip(some, pool.map(lambda name: self.read(f"{name}/{RECORD}"), some), strict=True)

    def complete(self) -> list[str]:
        """The names of the songs' folders that have a record, sorted."""
        if self.local is not None:
            with os.scandir(self.local) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
            return [name for name in names if (self.local / name / RECORD).is_file()]
        found = [name.split("/") for name in self.store.remote_names() if name.endswith(f"/{RECORD}")]
        return [parts[0] for parts in found if len(parts) == 2]

    def take_out(self, repeated: dict[str, Any]) -> None:
        """Write down which pairs (`song/start`) repeat another, then delete them."""
        self.store.write(DUPLICATES, as_json(repeated))
        for name in repeated:
            try:
                self.store.delete_all(name)
            except OSError as error:
                raise cannot_write(Path(self.store.url), error) from error


def as_json(content: Any) -> bytes:
    """Content as the bytes of a JSON file."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
