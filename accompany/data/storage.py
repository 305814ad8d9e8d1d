"""Storage of pairs and tokens: a local folder, or any URL of fsspec (`s3://bucket/tokens`, `memory://tokens`).

A file appears under its name only when complete: locally it is written under another name and renamed, elsewhere it
is put as one object, which such stores do all at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accompany.common.files import PART, complete
from accompany.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SERVICES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_CLIENTS = frozenset(("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure"))
"""Packages whose own errors mean that a store cannot be reached: no route, no credentials."""


@dataclass(frozen=True)
class Store:
    """Files by name below `url`; names may have folders in them. Plain data, so that it crosses to other machines."""

    url: str

    @classmethod
    def at(cls, place: str | os.PathLike[str]) -> Store:
        """The store at a path or URL; `file://` is a local folder.

        Raises:
            InputError: a kind of URL that is not known here, or whose package is missing.
        """
        url = os.fspath(place)
        store = cls(url.removeprefix("file://").rstrip("/") or url)
        if store.local is None:
            store._remote()
        return store

    @property
    def local(self) -> Path | None:
        """The folder, where the store is one."""
        return None if "://" in self.url else Path(self.url)

    def absolute(self) -> Store:
        """The same place for processes with other current folders."""
        return self if self.local is None else Store(str(self.local.absolute()))

    def below(self, name: str) -> Store:
        """The store of a folder in this one."""
        return Store(f"{self.url}/{name}")

    def make(self) -> None:
        """Make the folder, and delete what a killed run left half written; InputError where that cannot be."""
        if self.local is None:
            return
        try:
            self.local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"Cannot make the folder {self.url} ({error.strerror}); choose another.") from error
        for leftover in self.local.glob(f".*{PART}"):
            with suppress(OSError):
                leftover.unlink()

    def names(self, suffix: str) -> list[str]:
        """Sorted names of the files right below that end so."""
        if self.local is not None:
            found = [entry.name for entry in self.local.iterdir()] if self.local.is_dir() else []
        else:
            with self._reaching() as (files, root):
                files.invalidate_cache(root)
                there = files.ls(root, detail=False) if files.exists(root) else []
            found = [path.rsplit("/", 1)[-1] for path in there]
        return sorted(name for name in found if name.endswith(suffix) and not name.startswith("."))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        if self.local is not None:
            return (self.local / name).is_file()
        with self._reaching() as (files, root):
            return bool(files.isfile(f"{root}/{name}"))

    def read(self, name: str) -> bytes:
        """The content of a file; FileNotFoundError where there is none."""
        if self.local is not None:
            return (self.local / name).read_bytes()
        with self._reaching() as (files, root):
            content: bytes = files.cat_file(f"{root}/{name}")
        return content

    def open(self, name: str) -> Any:
        """A file to read at random: a path, or an open file object with `seek`."""
        if self.local is not None:
            return str(self.local / name)
        with self._reaching() as (files, root):
            return files.open(f"{root}/{name}", "rb")

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, over one that is there.

        Raises:
            InputError: no room, or not writable; nothing is left half written.
        """
        try:
            if self.local is not None:
                with complete(self.local / name) as temporary:
                    temporary.write_bytes(content)
            else:
                with self._reaching() as (files, root):
                    files.pipe_file(f"{root}/{name}", content)
        except OSError as error:
            where = f"{self.url}/{name}"
            if error.errno in _FULL:
                raise InputError(
                    f"The disk is full ({where}); make room and run again: what was done before stays good."
                ) from error
            raise InputError(
                f"Cannot write {where} ({error.strerror or error}); make it writable or choose another folder, "
                "then run again: what was done before stays good."
            ) from error

    def delete(self, name: str) -> None:
        """Delete a file that may be gone already."""
        with suppress(FileNotFoundError):
            if self.local is not None:
                (self.local / name).unlink()
            else:
                with self._reaching() as (files, root):
                    files.rm_file(f"{root}/{name}")

    def remote_names(self) -> list[str]:
        """Sorted names of all files below a URL, with `/` between folders."""
        with self._reaching() as (files, root):
            files.invalidate_cache(root)
            found = files.find(root)
        return sorted(path.removeprefix(root).lstrip("/") for path in found)

    def delete_all(self, name: str) -> None:
        """Delete a folder with all that is in it; it may be gone already."""
        with suppress(FileNotFoundError):
            if self.local is not None:
                # Out of sight first, so that nobody finds half of it.
                hidden = self.local / f".{name.replace('/', '.')}{PART}"
                (self.local / name).replace(hidden)
                shutil.rmtree(hidden)
            else:
                with self._reaching() as (files, root):
                    files.invalidate_cache(f"{root}/{name}")
                    files.rm(f"{root}/{name}", recursive=True)

    @contextmanager
    def local_copies(self, names: Sequence[str]) -> Iterator[Path]:
        """A local folder with these files in it, as far as they are there: this one, or a copy for so long."""
        if self.local is not None:
            yield self.local
            return
        with tempfile.TemporaryDirectory(prefix="accompany-") as folder:
            for name in names:
                with suppress(FileNotFoundError):
                    (Path(folder) / name).write_bytes(self.read(name))
            yield Path(folder)

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, str]]:
        """`_remote`, and one sentence where its service cannot be reached."""
        found = self._remote()
        try:
            yield found
        except OSError:
            raise
        except Exception as error:
            if type(error).__module__.split(".")[0] not in _CLIENTS:
                raise
            raise InputError(
                f"Cannot reach {self.url} ({str(error).strip().rstrip('.')}); check address and credentials, then run "
                "again: what was done before stays good."
            ) from error

    def _remote(self) -> tuple[Any, str]:
        """The file system and the path in it. fsspec keeps one of each kind for a process."""
        import fsspec

        scheme = self.url.split("://")[0]
        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            package = _SERVICES.get(scheme, scheme)
            raise InputError(f"{self.url} needs the package {package}: pip install {package}.") from error
        except ValueError as error:
            raise InputError(
                f"{self.url} is no place to write ({error}); give a folder, or s3://bucket/name."
            ) from error
        return files, root.rstrip("/")
