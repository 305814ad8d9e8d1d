"""MP3 frame parsing: concatenated files, and wrong frame counts in info frames."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from accompany.common.containers import Layout, Piece

_KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBITS[2, 3] = _KBITS[2, 2]
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MOST_TRIES = 1 << 20
_HAS_COUNT, _HAS_BYTES = 1, 2


@dataclass
class _Link:
    """One of the files that were joined: its first byte, its info frame's fields and the number of its frames."""

    start: int
    info_at: int | None = None
    frames: int = 0
    bytes_: int = 0


def mpeg_pieces(data: mmap.mmap) -> Layout:
    """The files that were joined, each with the right number of frames in its first one."""
    links = _links(data)
    if not links or links[0].frames == 0:
        return Layout()
    edges = [*(link.start for link in links), len(data)]
    found = [_piece(data, link, end) for link, end in zip(links, edges[1:], strict=True)]
    wrong = any(piece.header for piece in found)
    if len(found) == 1 and not wrong:
        return Layout()
    return Layout(tuple(found), "has a header with a wrong length; read as far as its sound goes" if wrong else "")


def _links(data: mmap.mmap) -> list[_Link]:
    links, at, after_tag, tries = [_Link(0)], 0, False, _MOST_TRIES
    while at + 4 <= len(data) and tries > 0:
        length = _frame_length(data[at : at + 4])
        if length:
            info_at = _info_frame(data, at)
            if info_at is not None and links[-1].frames and not after_tag:
                links.append(_Link(at))
            if info_at is not None:
                links[-1].info_at = info_at
            links[-1].frames += info_at is None
            links[-1].bytes_ += length
            at, after_tag = at + length, False
        elif data[at : at + 3] == b"ID3":
            if links[-1].frames:
                links.append(_Link(at))
            at, after_tag = at + _tag_length(data[at : at + 10]), True
        elif data[at : at + 3] == b"TAG":
            at += 128
        else:
            at, tries = _next_frame(data, at + 1, tries)
    return [link for link in links if link.frames]


def _piece(data: mmap.mmap, link: _Link, end: int) -> Piece:
    if link.info_at is None:
        return Piece(link.start, end)
    flags, count = struct.unpack(">2I", data[link.info_at + 4 : link.info_at + 12].ljust(8, b"\0"))
    if not flags & _HAS_COUNT or count in (link.frames, link.frames + 1):
        return Piece(link.start, end)
    fields = struct.pack(">I", link.frames) + (struct.pack(">I", link.bytes_) if flags & _HAS_BYTES else b"")
    until = link.info_at + 8
    return Piece(until + len(fields), end, data[link.start : until] + fields)


def _frame_length(head: bytes) -> int:
    """Bytes of the frame with this header of four bytes; 0 for what is none."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbit_place, rate_place, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or kbit_place in (0, 15) or rate_place == 3:
        return 0
    kbits = _KBITS[1 if version == 3 else 2, layer][kbit_place]
    rate = _RATES[version][rate_place]
    if layer == 1:
        return (12000 * kbits // rate + padding) * 4
    return (72000 if layer == 3 and version != 3 else 144000) * kbits // rate + padding


def _info_frame(data: mmap.mmap, at: int) -> int | None:
    """Position of the encoder info in the frame at `at`, if that is an info frame without sound."""
    mono, first = data[at + 3] >> 6 == 3, data[at + 1] >> 3 & 3 == 3
    place = at + 4 + (32 if first and not mono else 9 if not first and mono else 17)
    return place if data[place : place + 4] in (b"Xing", b"Info") else None


def _tag_length(head: bytes) -> int:
    """Bytes of an ID3v2 tag, its footer included."""
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    return 10 + size + (10 if len(head) > 5 and head[5] & 0x10 else 0)


def _next_frame(data: mmap.mmap, at: int, tries: int) -> tuple[int, int]:
    """The next place that holds a tag, or a frame with another one behind it, and how many tries are left.

    It is the end of the file where there is none.
    """
    tag = data.find(b"ID3\x03\0", at), data.find(b"ID3\x04\0", at)
    limit = min((place for place in tag if place >= 0), default=len(data))
    while 0 <= (at := data.find(b"\xff", at)) < limit and tries > 0:
        length = _frame_length(data[at : at + 4]) if at + 4 <= len(data) else 0
        follows = data[at + length : at + length + 4]
        if length and len(follows) == 4 and _frame_length(follows):
            return at, tries
        at, tries = at + 1, tries - 1
    return limit, tries
