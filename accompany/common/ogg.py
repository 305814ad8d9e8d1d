"""Ogg pages: where the streams of a joined file begin, and serial numbers that are the same at every writing."""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path

_SERIAL, _SUM, _HEAD = 14, 22, 27
_FIRST_PAGE = b"OggS\0\x02"
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def set_serial(path: Path) -> None:
    """Give the pages of an Ogg file the serial number 1, and the sums that go with it."""
    with path.open("r+b") as file:
        at = 0
        while len(head := file.read(_HEAD)) == _HEAD and head[:4] == b"OggS":
            table = file.read(head[26])
            page = bytearray(head + table + file.read(sum(table)))
            page[_SERIAL : _SERIAL + 4] = (1).to_bytes(4, "little")
            page[_SUM : _SUM + 4] = bytes(4)
            page[_SUM : _SUM + 4] = _ogg_sum(bytes(page)).to_bytes(4, "little")
            file.seek(at)
            file.write(page)
            at += len(page)
            file.seek(at)


def _ogg_sum(page: bytes) -> int:
    """The CRC of Ogg (polynomial 0x04c11db7, from 0, not reflected), by way of zlib's, whose bits are reversed."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def stream_starts(data: mmap.mmap) -> list[int]:
    """Starts of the links of a chain: each first page of a stream that does not follow such a page."""
    starts, at, expected = [], data.find(_FIRST_PAGE), -1
    while at >= 0:
        if at != expected:
            starts.append(at)
        n_segments = data[at + 26] if at + 27 <= len(data) else 0
        expected = at + 27 + n_segments + sum(data[at + 27 : at + 27 + n_segments])
        at = data.find(_FIRST_PAGE, at + 1)
    return starts
