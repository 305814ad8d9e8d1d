"""Folders that are written as a whole: errors of the disk, leftovers, arrays and checksums."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.common.config import write_json
from accompany.common.files import PART, complete, is_full, remove_part
from accompany.errors import InputError

if TYPE_CHECKING:
    import numpy as np

_REFUSED = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.EIO,
)


@contextmanager
def writing_into(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a disk that is full, or that refuses to be written, into one sentence.

    Raises:
        InputError: names the file, or `folder` where the system does not say which.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        where = error.filename or folder
        if is_full(error):
            raise InputError(f"The disk is full ({where}); free some space and run again.") from error
        raise InputError(f"Cannot write {where} ({error.strerror}); choose a folder that is writable.") from error


def remove_half_files(folder: Path) -> None:
    """Delete what a killed run left half written, below too; only for the process that holds the folder."""
    for leftover in folder.rglob(f".*{PART}"):
        remove_part(leftover)


def save_array(path: Path, values: np.ndarray) -> None:
    """Write an array as `numpy.load` reads it; no half file is ever seen under the name."""
    import numpy as np

    with complete(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, values)


def sha256(path: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal. OSError where it cannot be read."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def save_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON where a user asked for it. InputError when the folder is missing or not writable."""
    try:
        write_json(path, value)
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); choose a folder that is writable.") from error
