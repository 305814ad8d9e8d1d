"""Files that appear under their names only when complete, and checksums of files."""

from __future__ import annotations

import hashlib
import os
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

    A symbolic link stays, and what it points to is written.

    Raises:
        InputError: the folder is missing or not writable, the name too long, or `path` is a folder or a device.
    """
    target = checked_target(path)
    try:
        temporary = _beside(target)
    except OSError as error:
        raise InputError(
            f"Cannot write {path} ({error.strerror}); choose a folder that exists and is writable."
        ) from error
    with _becoming(target, temporary):
        yield temporary


def checked_target(path: Path) -> Path:
    """The file that is written under a name: where links lead. InputError for a folder, a device or a long name."""
    if os.path.isdir(path):
        raise InputError(f"Cannot write {path}: it is a folder; name a file.")
    target = real_path(path)
    check_name(target)
    if target.exists() and not target.is_file():
        raise InputError(f"Cannot write {path}: it is no ordinary file; give another name.")
    return target


def real_path(path: Path) -> Path:
    """The path, or where it leads as a symbolic link, whether or not anything is there. InputError for a circle."""
    check_name(path)
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"Cannot write {path} ({error}); give another name.") from error


def check_name(path: Path) -> None:
    """InputError for a name that is longer than its folder, or the nearest one that is there, takes."""
    folder = path.parent
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        longest = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # other systems say so when the file is made
        return
    if len(os.fsencode(path.name)) > longest:
        raise InputError(
            f"The name {path.name} is longer than the {longest} bytes that the disk takes; give a shorter one."
        )


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
