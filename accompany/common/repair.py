"""Audio container repair: headers with wrong lengths, and recordings concatenated into one file.

libsndfile believes headers and stops after the first of several joined streams. A recorder that crashed or wrote to a
pipe leaves a placeholder as the length, and `cat a.ogg b.ogg` is a legal Ogg file; both are read as a list of pieces,
each with a header that is right.
"""

from __future__ import annotations

import itertools
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from accompany.common.containers import Layout, Piece, cut_short, riff_chunks

_PLACEHOLDER = 0x7FFF0000
"""No recorder knows lengths of 2 GB and more beforehand: such a number stands for "not known yet"."""
_LARGE_PLACEHOLDER = 1 << 60
_RIFF_LARGEST = (1 << 32) - (1 << 16)
_STRAY_S = 0.5
"""Bytes behind the samples count as more of them from so many seconds on; fewer are strays of some program."""
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_(][\x20-\x7e]{3}")
_TAIL_CHUNKS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"_PMX", b"afsp", b"PEAK", b"NAME")
_TAIL = 1 << 16
_MOST_CHUNKS = 10_000
_W64_RIFF, _W64_FORMAT, _W64_DATA = (
    name + bytes.fromhex(rest)
    for name, rest in (
        (b"riff", "2E91CF11A5D628DB04C10000"),
        (b"fmt ", "F3ACD3118CD100C04F8EDB8A"),
        (b"data", "F3ACD3118CD100C04F8EDB8A"),
    )
)
_W64_HEAD = 24
_EXTENSIBLE = b"\xfe\xff"
_STREAMINFO = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")


def find_layout(path: Path) -> Layout:
    """The pieces of a file, none where it can be read as it is.

    Raises:
        InputError: the file ends before the length that its header promises.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[:12]
        if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
            return _waves(data, path)
        if data[:16] == _W64_RIFF:
            return _wave64(data, path)
        if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            return _aiff(data, path)
        if head[:4] == b".snd":
            return _au(data)
        if head[:4] == b"OggS":
            from accompany.common.ogg import stream_starts

            return _joined(data, stream_starts(data))
        if head[:4] == b"fLaC":
            return _joined(data, [match.start() for match in _STREAMINFO.finditer(data)])
        if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 > 0xE0):
            from accompany.common.mpeg import mpeg_pieces

            return mpeg_pieces(data)
    return Layout()


@dataclass(frozen=True)
class _SampleChunk:
    """The chunk of samples: where it begins, its length as declared and as the whole file's size field allows."""

    at: int
    declared: int
    outer_end: int
    bytes_per_s: int
    large: bool
    little: bool


def _waves(data: mmap.mmap, path: Path) -> Layout:
    """The pieces of a WAV file, none where it can be read as it is. InputError for one that is cut short."""
    pieces: list[Piece] = []
    start, note = 0, ""
    while data[start : start + 4] in (b"RIFF", b"RF64", b"BW64") and data[start + 8 : start + 12] == b"WAVE":
        found = _wave_samples(data, start)
        if found is None:
            break
        end = _true_end(data, found, path)
        if end is not None:
            note = _lying(end - found.at)
            pieces.append(Piece(found.at, end, _wave_header(data, start, found, end - found.at)))
            break
        stop = found.outer_end + found.outer_end % 2
        stop = stop if found.at + found.declared <= stop < len(data) else len(data)
        pieces.append(Piece(start, stop))
        start = stop
    return Layout(tuple(pieces), note) if len(pieces) > 1 or note else Layout()


def _wave_samples(data: mmap.mmap, start: int) -> _SampleChunk | None:
    large = data[start : start + 4] != b"RIFF"
    outer = int.from_bytes(data[start + 4 : start + 8], "little")
    rate = 0
    for name, at, length in riff_chunks(data, start):
        if name == b"ds64":
            outer = int.from_bytes(data[at : at + 8], "little")
        if name == b"fmt ":
            rate = int.from_bytes(data[at + 8 : at + 12], "little")
        if name == b"data":
            return _SampleChunk(at, length, start + 8 + outer, rate, large, little=True)
    return None


def _wave_header(data: mmap.mmap, start: int, found: _SampleChunk, length: int) -> bytes:
    """The header up to the samples, with the right lengths; in the 64-bit form where it has to be."""
    chunks = b"".join(
        data[at - 8 : at + size + size % 2]
        for name, at, size in itertools.takewhile(lambda chunk: chunk[1] < found.at, riff_chunks(data, start))
        if name in (b"fmt ", b"fact")
    )
    return _riff_header(chunks, length)


def _riff_header(chunks: bytes, length: int) -> bytes:
    """A WAV header of some chunks, up to samples of so many bytes."""
    if length < _RIFF_LARGEST:
        body = b"WAVE" + chunks + b"data" + struct.pack("<I", length)
        return b"RIFF" + struct.pack("<I", len(body) + length) + body
    large = struct.pack("<4sIQQQI", b"ds64", 28, length + 100, length, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + large + chunks + b"data\xff\xff\xff\xff"


def _true_end(data: mmap.mmap, found: _SampleChunk, path: Path) -> int | None:
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


def _is_more(data: mmap.mmap, end: int, found: _SampleChunk) -> bool:
    """Whether what follows the declared samples is more of them: no chunk, no other file, no padding, no stray byte."""
    left = len(data) - end
    if left < (_STRAY_S * found.bytes_per_s if found.declared else 4):
        return False
    for at in (end, end + end % 2):
        name = data[at : at + 4]
        length = int.from_bytes(data[at + 4 : at + 8], "little" if found.little else "big")
        if name in (b"RIFF", b"RF64", b"FORM") or (_CHUNK_NAME.fullmatch(name) and at + 8 + length <= len(data) + 1):
            return False
    return any(data[end : end + (1 << 16)])


def _tail_chunks(data: mmap.mmap, found: _SampleChunk, stop: int) -> int:
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


def _lying(n_bytes: int) -> str:
    """What is said of a file whose header is wrong; nothing where it has no samples."""
    return "has a header with a wrong length; read as far as its samples go" if n_bytes > 0 else ""


def _wave64(data: mmap.mmap, path: Path) -> Layout:
    """A Wave64 file as WAV where libsndfile would misread it: with an extensible format, whose floats it takes for
    integers, or with a wrong length."""
    at, form = 40, b""
    for _ in range(_MOST_CHUNKS):
        if at + _W64_HEAD > len(data):
            break
        name, size = data[at : at + 16], int.from_bytes(data[at + 16 : at + _W64_HEAD], "little")
        if name == _W64_FORMAT:
            form = data[at + _W64_HEAD : at + min(size, 1 << 12)]
        if name == _W64_DATA:
            rate, outer = int.from_bytes(form[8:12], "little"), int.from_bytes(data[16:24], "little")
            begin, declared = at + _W64_HEAD, max(size - _W64_HEAD, 0)
            end = _true_end(data, _SampleChunk(begin, declared, outer, rate, large=True, little=True), path)
            if end is None and form[:2] != _EXTENSIBLE:
                return Layout()
            length = (begin + declared if end is None else end) - begin
            header = _riff_header(b"fmt " + struct.pack("<I", len(form)) + form, length)
            return Layout((Piece(begin, begin + length, header),), "" if end is None else _lying(length))
        if size < _W64_HEAD:
            break
        at += size + -size % 8
    return Layout()


def _aiff(data: mmap.mmap, path: Path) -> Layout:
    at, rate = 12, 0
    outer_end = 8 + int.from_bytes(data[4:8], "big")
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if name == b"COMM":
            rate = 2 * int.from_bytes(data[at + 8 : at + 10], "big") * 8000
        if name == b"SSND":
            found = _SampleChunk(at + 8, length, outer_end, rate, large=False, little=False)
            end = _true_end(data, found, path)
            if end is None:
                return Layout()
            header = data[: at + 4] + struct.pack(">I", min(end - found.at, 0xFFFFFFFF))
            return Layout((Piece(found.at, end, header),), _lying(end - found.at))
        at += 8 + length + length % 2
    return Layout()


def _au(data: mmap.mmap) -> Layout:
    offset, declared, encoding, rate, channels = struct.unpack(">5I", data[4:24].ljust(20, b"\0"))
    available = len(data) - offset
    if offset < 24 or available <= 0 or declared == 0xFFFFFFFF or declared == available:
        return Layout()
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8}.get(encoding, 1)
    if declared < available and declared and available - declared < _STRAY_S * rate * channels * width:
        return Layout()
    header = data[:8] + b"\xff\xff\xff\xff" + data[12:offset]
    return Layout((Piece(offset, len(data), header),), _lying(available))


def _joined(data: mmap.mmap, starts: list[int]) -> Layout:
    if len(starts) < 2:
        return Layout()
    edges = [0, *starts[1:], len(data)]
    return Layout(tuple(Piece(a, b) for a, b in itertools.pairwise(edges)))
