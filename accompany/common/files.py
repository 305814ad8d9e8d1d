"""Atomic file writes."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from accompany.errors import InputError

ON_WINDOWS = os.name == "nt"
PART = ".part"
"""Suffix of unfinished files and folders, whose names begin with a dot."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def part_beside(path: Path) -> Path:
    """A hidden name beside `path` for what becomes it, short, and with the process that it belongs to.

    What dead processes left beside `path` under such names is deleted.
    """
    remove_orphans(path.parent)
    return path.with_name(f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex}{PART}")


def remove_orphans(folder: Path) -> None:
    """Delete what processes of this machine that are dead left half written in a folder."""
    start = time.monotonic()
    if start < _NEXT_SWEEP.get(folder, start):
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if entry.name.endswith(PART)]:
            from accompany.common.orphans import is_orphan

            if is_orphan(folder / name, _machine()):
                remove_part(folder / name)
    # A folder of a hundred thousand files, written one by one, is not read anew for each.
    end = time.monotonic()
    _NEXT_SWEEP[folder] = end + 100 * (end - start)


def remove_part(path: Path) -> None:
    """Delete a half-written file or folder, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


_NEXT_SWEEP: dict[Path, float] = {}


@lru_cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:8]


def is_full(error: OSError) -> bool:
    """Whether an error says that there is no room left, or not for a file of this size."""
    return error.errno in _FULL


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
    target, temporary = _named_by_user(path)
    with _becoming(target, temporary):
        yield temporary


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder in which nothing can be written, before the work whose result goes there.

    Where it is missing, the nearest folder above it that is there counts.

    Raises:
        InputError: it cannot be written in (rights, a full or read-only disk), or something above it is a file.
    """
    try:
        there = Path(folder).absolute()
        while not _is_there(there):
            there = there.parent
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
        tempfile.TemporaryFile(dir=there).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot write into {folder} ({reason}); choose another folder that is writable.") from error


def check_place(path: Path) -> None:
    """InputError where `replacing` would raise it, before the work that is to be written there."""
    _named_by_user(path)[1].unlink()


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
    """InputError for a name that is longer than its folder, or the nearest one there, takes, or none on Windows."""
    if ON_WINDOWS:
        from accompany.common.portable import check_windows_name

        check_windows_name(path.name)
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


def _is_there(path: Path) -> bool:
    """`Path.exists`, but a name that no system takes is an error."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _named_by_user(path: Path) -> tuple[Path, Path]:
    """The target of a path and a new file beside it, with a sentence for bad names from users."""
    try:
        target = checked_target(path)
        return target, _beside(target)
    except OSError as error:
        raise InputError(
            f"Cannot write {path} ({error.strerror}); choose a folder that exists and is writable."
        ) from error
    except ValueError as error:
        raise InputError(f"Cannot write {str(path)!r} ({error}); choose another name.") from error


def _beside(path: Path) -> Path:
    temporary = part_beside(path)
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
