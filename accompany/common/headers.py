"""Container repair of all formats but WAV (`accompany.common.containers`): AIFF, AU, Wave64, Ogg, FLAC and MP3."""

from __future__ import annotations

import itertools
import mmap
import re
import struct
from pathlib import Path

from accompany.common.containers import (
    MOST_CHUNKS,
    STRAY_S,
    Layout,
    Piece,
    SampleChunk,
    lying,
    riff_header,
    true_end,
)

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


def other_layout(path: Path) -> Layout:
    """The pieces of a file that is no WAV, none where it can be read as it is; errors as in `decoding`."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[:12]
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


def _wave64(data: mmap.mmap, path: Path) -> Layout:
    """A Wave64 file as WAV where libsndfile would misread it: with an extensible format, whose floats it takes for
    integers, or with a wrong length."""
    at, form = 40, b""
    for _ in range(MOST_CHUNKS):
        if at + _W64_HEAD > len(data):
            break
        name, size = data[at : at + 16], int.from_bytes(data[at + 16 : at + _W64_HEAD], "little")
        if name == _W64_FORMAT:
            form = data[at + _W64_HEAD : at + min(size, 1 << 12)]
        if name == _W64_DATA:
            rate, outer = int.from_bytes(form[8:12], "little"), int.from_bytes(data[16:24], "little")
            begin, declared = at + _W64_HEAD, max(size - _W64_HEAD, 0)
            end = true_end(data, SampleChunk(begin, declared, outer, rate, large=True, little=True), path)
            if end is None and form[:2] != _EXTENSIBLE:
                return Layout()
            length = (begin + declared if end is None else end) - begin
            header = riff_header(b"fmt " + struct.pack("<I", len(form)) + form, length)
            return Layout((Piece(begin, begin + length, header),), "" if end is None else lying(length))
        if size < _W64_HEAD:
            break
        at += size + -size % 8
    return Layout()


def _aiff(data: mmap.mmap, path: Path) -> Layout:
    at, rate = 12, 0
    outer_end = 8 + int.from_bytes(data[4:8], "big")
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if name == b"COMM":
            rate = 2 * int.from_bytes(data[at + 8 : at + 10], "big") * 8000
        if name == b"SSND":
            found = SampleChunk(at + 8, length, outer_end, rate, large=False, little=False)
            end = true_end(data, found, path)
            if end is None:
                return Layout()
            header = data[: at + 4] + struct.pack(">I", min(end - found.at, 0xFFFFFFFF))
            return Layout((Piece(found.at, end, header),), lying(end - found.at))
        at += 8 + length + length % 2
    return Layout()


def _au(data: mmap.mmap) -> Layout:
    offset, declared, encoding, rate, channels = struct.unpack(">5I", data[4:24].ljust(20, b"\0"))
    available = len(data) - offset
    if offset < 24 or available <= 0 or declared == 0xFFFFFFFF or declared == available:
        return Layout()
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8}.get(encoding, 1)
    if declared < available and declared and available - declared < STRAY_S * rate * channels * width:
        return Layout()
    header = data[:8] + b"\xff\xff\xff\xff" + data[12:offset]
    return Layout((Piece(offset, len(data), header),), lying(available))


def _joined(data: mmap.mmap, starts: list[int]) -> Layout:
    if len(starts) < 2:
        return Layout()
    edges = [0, *starts[1:], len(data)]
    return Layout(tuple(Piece(a, b) for a, b in itertools.pairwise(edges)))
