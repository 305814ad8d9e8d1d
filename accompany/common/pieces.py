"""Byte ranges of a file as files of their own, with a new header where one is needed."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
