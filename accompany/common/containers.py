"""Files as pieces with headers of their own, and the chunks of WAV files. What to cut: `accompany.common.repair`."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accompany.errors import InputError

_MOST_CHUNKS = 10_000
_STRAY = 1000
"""Bytes behind the samples that are too few to be more of them."""


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `end` of a file, behind a `header` that is not in it."""

    start: int
    end: int
    header: bytes = b""


@dataclass(frozen=True)
class Layout:
    """The pieces of a file in order, none for a file as it is; and what a user should know about it."""

    pieces: tuple[Piece, ...] = ()
    note: str = ""


class PieceFile(io.RawIOBase):
    """A piece as a binary file to read and seek in. It has no name, so that nobody guesses a format from it."""

    def __init__(self, path: Path, piece: Piece | None = None) -> None:
        """Open the file; without a piece, all of it. OSError when it cannot be opened."""
        self._file = path.open("rb")
        self._piece = piece or Piece(0, os.fstat(self._file.fileno()).st_size)
        self._size = len(self._piece.header) + self._piece.end - self._piece.start
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek to a position and return it."""
        self._at = max(offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence], 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; how many bytes were left for it."""
        view, done = memoryview(buffer).cast("B"), 0
        header = self._piece.header[self._at : self._at + len(view)]
        view[: len(header)] = header
        done = len(header)
        first = self._at + done - len(self._piece.header)
        left = min(len(view) - done, self._piece.end - self._piece.start - first)
        if left > 0:
            with suppress(OSError):  # nobody could catch it inside of libsndfile, which takes it for the end
                self._file.seek(self._piece.start + first)
                done += self._file.readinto(view[done : done + left])
        self._at += done
        return done

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


def riff_chunks(data: mmap.mmap, start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and declared length of each chunk of the RIFF or RF64 file at `start`; those of `data` in 64 bits."""
    at, large = start + 12, None
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"ds64":
            large = int.from_bytes(data[at + 16 : at + 24], "little")
        if name == b"data" and large is not None and length == 0xFFFFFFFF:
            length = large
        yield name, at + 8, length
        at += 8 + length + length % 2


def cut_short(path: Path) -> InputError:
    """The error for a file that ends too soon."""
    return InputError(
        f"{path} is cut short: it ends before the length its header promises; export or download it again."
    )


def is_sound_wave(data: mmap.mmap) -> bool:
    """Whether this is a WAV file whose header is right, so that nothing has to be repaired."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE" or int.from_bytes(data[4:8], "little") + 8 != len(data):
        return False
    found = next(((at, length) for name, at, length in riff_chunks(data) if name == b"data"), (0, 0))
    return found[1] > 0 and 0 <= len(data) - sum(found) < _STRAY
