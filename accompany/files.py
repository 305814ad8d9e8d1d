"""Files that appear under their names only when complete, and sums that tell one file from another."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from accompany.errors import InputError

PART = ".part"
"""How the name of a file ends that is still being written; it begins with a dot."""


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, renamed to it when the block ends well and deleted when it does not.

    It has the permissions of any new file. OSError where it cannot be made or written.
    """
    with _becoming(path, _beside(path)) as temporary:
        yield temporary


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `complete`, for a path that a user named.

    Raises:
        InputError: the folder is missing or not writable, or `path` is a folder.
    """
    if path.is_dir():
        raise InputError(f"Cannot write {path}: it is a folder; name a file.")
    try:
        temporary = _beside(path)
    except OSError as error:
        raise InputError(
            f"Cannot write {path} ({error.strerror}); choose a folder that exists and is writable."
        ) from error
    with _becoming(path, temporary):
        yield temporary


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder in which nothing can be written, before the work whose result goes there.

    Where it is missing, the nearest folder above it that is there counts.

    Raises:
        InputError: it cannot be written in (rights, a full or read-only disk), or something above it is a file.
    """
    there = Path(folder)
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        tempfile.TemporaryFile(dir=there).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot write into {folder} ({reason}); choose a folder that is writable.") from error


def remove_half_files(folder: Path) -> None:
    """Delete what a killed run left half written, below too; only for the process that holds the folder."""
    for leftover in folder.rglob(f".*{PART}"):
        with suppress(OSError):
            leftover.unlink()


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an array as `numpy.load` reads it; no half file is ever seen under the name."""
    with complete(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, values)


def sha256(path: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal. OSError where it cannot be read."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _beside(path: Path) -> Path:
    """A new file whose name is short, however long that of `path` is."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{PART}")
    temporary.touch(exist_ok=False)
    return temporary


@contextmanager
def _becoming(path: Path, temporary: Path) -> Iterator[Path]:
    mode = temporary.stat().st_mode  # some writers put a file for the owner alone in its place
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
