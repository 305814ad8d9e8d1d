"""Audio container repair: WAV headers with wrong lengths, and recordings concatenated into one file.

libsndfile believes headers and stops after the first of several joined streams. A recorder that crashed or wrote to a
pipe leaves a placeholder as the length, and `cat a.ogg b.ogg` is a legal Ogg file; both are read as a list of pieces,
each with a header that is right. Other formats than WAV: `accompany.common.headers`.
"""

from __future__ import annotations

import io
import itertools
import mmap
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accompany.errors import InputError

_PLACEHOLDER = 0x7FFF0000
"""No recorder knows lengths of 2 GB and more beforehand: such a number stands for "not known yet"."""
_LARGE_PLACEHOLDER = 1 << 60
_RIFF_LARGEST = (1 << 32) - (1 << 16)
STRAY_S = 0.5
"""Bytes behind the samples count as more of them from so many seconds on; fewer are strays of some program."""
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_(][\x20-\x7e]{3}")
_TAIL_CHUNKS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"_PMX", b"afsp", b"PEAK", b"NAME")
_TAIL = 1 << 16
MOST_CHUNKS = 10_000


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
    for _ in range(MOST_CHUNKS):
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


@dataclass(frozen=True)
class SampleChunk:
    """The chunk of samples: where it begins, its length as declared and as the whole file's size field allows."""

    at: int
    declared: int
    outer_end: int
    bytes_per_s: int
    large: bool
    little: bool


def waves(data: mmap.mmap, path: Path) -> Layout:
    """The pieces of a WAV file, none where it can be read as it is. InputError for one that is cut short."""
    pieces: list[Piece] = []
    start, note = 0, ""
    while data[start : start + 4] in (b"RIFF", b"RF64", b"BW64") and data[start + 8 : start + 12] == b"WAVE":
        found = _wave_samples(data, start)
        if found is None:
            break
        end = true_end(data, found, path)
        if end is not None:
            note = lying(end - found.at)
            pieces.append(Piece(found.at, end, _wave_header(data, start, found, end - found.at)))
            break
        stop = found.outer_end + found.outer_end % 2
        stop = stop if found.at + found.declared <= stop < len(data) else len(data)
        pieces.append(Piece(start, stop))
        start = stop
    return Layout(tuple(pieces), note) if len(pieces) > 1 or note else Layout()


def _wave_samples(data: mmap.mmap, start: int) -> SampleChunk | None:
    large = data[start : start + 4] != b"RIFF"
    outer = int.from_bytes(data[start + 4 : start + 8], "little")
    rate = 0
    for name, at, length in riff_chunks(data, start):
        if name == b"ds64":
            outer = int.from_bytes(data[at : at + 8], "little")
        if name == b"fmt ":
            rate = int.from_bytes(data[at + 8 : at + 12], "little")
        if name == b"data":
            return SampleChunk(at, length, start + 8 + outer, rate, large, little=True)
    return None


def _wave_header(data: mmap.mmap, start: int, found: SampleChunk, length: int) -> bytes:
    """The header up to the samples, with the right lengths; in the 64-bit form where it has to be."""
    chunks = b"".join(
        data[at - 8 : at + size + size % 2]
        for name, at, size in itertools.takewhile(lambda chunk: chunk[1] < found.at, riff_chunks(data, start))
        if name in (b"fmt ", b"fact")
    )
    return riff_header(chunks, length)


def riff_header(chunks: bytes, length: int) -> bytes:
    """A WAV header of some chunks, up to samples of so many bytes."""
    if length < _RIFF_LARGEST:
        body = b"WAVE" + chunks + b"data" + struct.pack("<I", length)
        return b"RIFF" + struct.pack("<I", len(body) + length) + body
    large = struct.pack("<4sIQQQI", b"ds64", 28, length + 100, length, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + large + chunks + b"data\xff\xff\xff\xff"


def true_end(data: mmap.mmap, found: SampleChunk, path: Path) -> int | None:
    """The true end of the samples when their declared length is wrong; None when it is right."""
    available = len(data) - found.at
    placeholder = found.declared >= (_LARGE_PLACEHOLDER if found.large else _PLACEHOLDER)
    end = found.at + found.declared
    if found.declared > available:
        if not placeholder and found.outer_end >= end:
            raise cut_short(path)
    elif found.declared != 0xFFFFFFFF and not _is_more(data, end, found):
        return None
    stop = found.outer_end if end < found.outer_end <= len(data) else len(data)
    return stop - _tail_chunks(data, found, stop)


def _is_more(data: mmap.mmap, end: int, found: SampleChunk) -> bool:
    """Whether what follows the declared samples is more of them: no chunk, no other file, no padding, no stray byte."""
    left = len(data) - end
    if left < (STRAY_S * found.bytes_per_s if found.declared else 4):
        return False
    for at in (end, end + end % 2):
        name = data[at : at + 4]
        length = int.from_bytes(data[at + 4 : at + 8], "little" if found.little else "big")
        if name in (b"RIFF", b"RF64", b"FORM") or (_CHUNK_NAME.fullmatch(name) and at + 8 + length <= len(data) + 1):
            return False
    return any(data[end : end + (1 << 16)])


def _tail_chunks(data: mmap.mmap, found: SampleChunk, stop: int) -> int:
    """Bytes of the known chunks just before `stop`, so that tags are not played."""
    cut, first = 0, max(found.at, stop - _TAIL)
    for name in _TAIL_CHUNKS:
        at = data.find(name, first, stop)
        while at >= 0:
            length = int.from_bytes(data[at + 4 : at + 8], "little" if found.little else "big")
            if stop - 1 <= at + 8 + length <= stop:
                cut = max(cut, stop - at)
            at = data.find(name, at + 1, stop)
    return cut


def lying(n_bytes: int) -> str:
    """What is said of a file whose header is wrong; nothing where it has no samples."""
    return "has a header with a wrong length; read as far as its samples go" if n_bytes > 0 else ""
