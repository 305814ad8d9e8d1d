"""Sound files of any rate and depth, dithered, with a Broadcast WAV time stamp (EBU Tech 3285)."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.common.containers import riff_chunks
from accompany.common.decoding import check_is_file
from accompany.common.encoding import sound_file
from accompany.errors import InputError
from accompany.sound.options import DEPTHS, SUFFIXES

DITHERED_BITS = (16, 24)
_SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_BLOCK = 1 << 18
_BEXT_FIXED = 602
_TIME_REFERENCE = 338
_COPIED_AT_ONCE = 1 << 22
_LARGEST = (1 << 32) - (1 << 16)
"""Bytes of samples in a WAV or AIFF file, whose header counts them with 32 bits; the rest is for other chunks."""


def check_format(path: str | os.PathLike[str], sample_rate: int, bits: int | None, start_s: float | None) -> None:
    """InputError when a file of this suffix cannot be of this rate and depth, or hold a time stamp."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in DEPTHS:
        raise InputError(f"Cannot write {path}: give it one of the suffixes {', '.join(SUFFIXES)}.")
    if bits is not None and bits not in DEPTHS[suffix]:
        allowed = " or ".join(map(str, DEPTHS[suffix]))
        instead = f"give {allowed}" if allowed else "leave bits out, its encoder has none"
        raise InputError(f"A {suffix[1:]} file cannot have {bits} bits; {instead}.")
    if suffix == ".mp3" and sample_rate not in _MP3_RATES:
        raise InputError(f"An mp3 file cannot have {sample_rate} Hz; give one of {', '.join(map(str, _MP3_RATES))}.")
    if start_s is not None and suffix != ".wav":
        raise InputError(f"Only a .wav file holds a time stamp, not {path.name}; leave the start out, or write .wav.")


def write(
    path: str | os.PathLike[str],
    samples: np.ndarray,
    sample_rate: int,
    bits: int | None = None,
    start_s: float | None = None,
    description: str = "",
) -> None:
    """Write float samples [C, T] under the suffix's format; the file appears under its name only when complete.

    Args:
        path: .wav, .flac, .aiff, .mp3 or .ogg.
        samples: beyond full scale they are cut off.
        sample_rate: Hz.
        bits: 16 or 24, both with triangular dither, or 32 (floating point); None takes 24 where the format has it.
        start_s: the time in the session at which the file begins, for a Broadcast WAV file.
        description: what such a file says of itself, 256 ASCII characters at most.

    Raises:
        InputError: the format has no such depth, rate or time stamp, the sound is too large for it, or the folder is
            missing or not writable.
    """
    path = Path(path)
    check_format(path, sample_rate, bits, start_s)
    suffix = path.suffix.lower()
    depth = bits or (24 if 24 in DEPTHS[suffix] else None)
    subtype = _SUBTYPES[depth] if depth else None
    if suffix in (".wav", ".aiff") and samples.size * int(depth or 0) // 8 > _LARGEST:
        raise InputError(f"{path} would be larger than 4 GB, which {suffix[1:]} cannot be; write .flac, or fewer bits.")
    kind = suffix[1:].upper()
    with audio.replacing(path) as temporary:
        with sound_file(temporary, path, sample_rate, len(samples), kind, subtype) as file:
            for block in _blocks(samples, depth):
                file.write(block)
        if start_s is not None:
            try:
                _insert(temporary, _bext(round(start_s * sample_rate), description))
            except OSError as error:
                raise InputError(f"Cannot write {path} ({error.strerror}); check the space on the disk.") from error


def start_of(path: str | os.PathLike[str]) -> float | None:
    """Start of a Broadcast WAV file (also RF64 and BW64) in its session in seconds; None if not stated.

    Raises:
        InputError: no such file, or none that can be read.
    """
    path, rate, reference = Path(path), None, None
    check_is_file(path)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] not in (b"RIFF", b"RF64", b"BW64") or data[8:12] != b"WAVE":
            return None
        for name, at, length in riff_chunks(data):
            if name == b"fmt ":
                rate = int.from_bytes(data[at + 4 : at + 8], "little")
            if name == b"bext" and length >= _BEXT_FIXED and at + length <= len(data):
                reference = int.from_bytes(data[at + _TIME_REFERENCE : at + _TIME_REFERENCE + 8], "little")
    return None if reference is None or not rate else reference / rate


def quantise(samples: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Float [C, T] as whole numbers [T, C] in the upper `bits` of int32, with triangular dither of one step either way.

    The dither (Lipshitz, Wannamaker and Vanderkooy, 1992) makes the error noise that does not depend on the sound.
    """
    full = 2 ** (bits - 1)
    noise = rng.random(samples.shape) - rng.random(samples.shape)
    whole = np.clip(np.round(samples * float(full) + noise), -full, full - 1).astype(np.int64)
    return np.ascontiguousarray((whole << (32 - bits)).astype(np.int32).T)


def _blocks(samples: np.ndarray, bits: int | None) -> Iterator[np.ndarray]:
    """Blocks [t, C] as the file takes them. The dither is the same at every writing."""
    rng = np.random.default_rng(0)
    for start in range(0, samples.shape[-1], _BLOCK):
        block = samples[:, start : start + _BLOCK]
        if bits in DITHERED_BITS:
            yield quantise(block, int(bits or 0), rng)
        else:
            yield np.ascontiguousarray(np.clip(block, -1.0, 1.0).T, np.float32)


def _bext(time_reference: int, description: str) -> bytes:
    """The chunk of version 1, without a date, so that the same take is the same file."""
    text = description.encode("ascii", "replace")[:256]
    head = struct.pack("<256s32s32s10s8sQH", text, b"accompany", b"", b"", b"", time_reference, 1)
    content = head.ljust(_BEXT_FIXED, b"\0")
    return b"bext" + struct.pack("<I", len(content)) + content


def _insert(path: Path, chunk: bytes) -> None:
    """Put a chunk before all others of a RIFF file."""
    spliced = path.with_name(path.name + ".bext")
    try:
        with path.open("rb") as source, spliced.open("wb") as target:
            head = source.read(12)
            size = int.from_bytes(head[4:8], "little") + len(chunk)
            target.write(head[:4] + struct.pack("<I", size) + head[8:] + chunk)
            while block := source.read(_COPIED_AT_ONCE):
                target.write(block)
        spliced.replace(path)
    finally:
        spliced.unlink(missing_ok=True)
