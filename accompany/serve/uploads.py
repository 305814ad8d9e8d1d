"""Recordings from visitors: taken in as a stream, known by their first bytes, decoded apart within limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import numpy as np

from accompany.errors import InputError
from accompany.serve.decoding import TooLargeError, decode_apart
from accompany.serve.disk import storing
from accompany.serve.limits import Limits
from accompany.serve.reception import SlowUploadError, Upload

FORMATS = "WAV, FLAC, MP3, OGG, AIFF, M4A or WebM"

_SNIFFED = 16
_UPLOAD_S, _CHUNK_S = 900.0, 10.0
_NAME_CHARACTERS = 80
_UPLOAD = "upload"
# What libsndfile cannot read and ffmpeg may: the demuxer is named, so that ffmpeg does not guess.
_DEMUXERS = {"mp4": "mov", "webm": "matroska", "ogg": "ogg", "mp3": "mp3", "aac": "aac"}


class UnknownFormatError(InputError):
    """An upload that is none of the formats allowed."""


@dataclass(frozen=True)
class UploadedVocal:
    """A vocal that was taken in: `samples` mono float32 [1, T] at `sample_rate` (Hz)."""

    samples: np.ndarray
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate


async def receive(
    chunks: AsyncIterator[bytes],
    declared_bytes: int | None,
    folder: Path,
    limits: Limits,
    upload: Upload | None = None,
) -> Path:
    """Write an upload into `folder` as it comes, under a name of ours; its bytes are counted in `upload`.

    Raises:
        TooLargeError: more bytes than allowed, whether they are announced or come unannounced.
        SlowUploadError: nothing came for ten seconds, or less than the least rate; or not everything in a quarter of an
            hour; or the upload was cancelled to make room for another.
        DiskFullError: there is no room for it.
    """
    upload = upload or Upload()
    too_large = TooLargeError(
        f"The upload is larger than {limits.max_mb:g} MB; send a shorter recording, or FLAC or MP3 in place of WAV."
    )
    if declared_bytes is not None and declared_bytes > limits.max_bytes:
        raise too_large
    path = folder / _UPLOAD
    try:
        with anyio.CancelScope() as upload.scope, storing(), path.open("wb") as file, anyio.fail_after(_UPLOAD_S):
            async for chunk in _prompt(chunks):
                upload.count(len(chunk))
                if upload.n_bytes > limits.max_bytes:
                    raise too_large
                file.write(chunk)
            upload.scope = None
            return path
    except TimeoutError as error:
        raise SlowUploadError from error
    raise SlowUploadError


def decode(path: Path, name: str, sample_rate: int, limits: Limits) -> UploadedVocal:
    """The upload `path` as a vocal at `sample_rate`; `name` is what the visitor calls it, used in messages only.

    Raises:
        UnknownFormatError: its first bytes are those of no format allowed.
        TooLargeError: it lasts too long.
        InputError: it is broken, silent, too short, or has samples that are not numbers or far above full scale.
        DiskFullError: there is no room to decode it.
    """
    try:
        samples = decode_apart(path, sample_rate, limits, _DEMUXERS.get(sniff(path, name), ""))
    except InputError as error:
        # A visitor knows the file by his name for it.
        raise _renamed(error, str(path), name) from error
    return UploadedVocal(samples, sample_rate)


def sniff(path: Path, name: str) -> str:
    """The kind of file that the first bytes announce. UnknownFormatError for any that is not allowed."""
    with path.open("rb") as file:
        head = file.read(_SNIFFED)
    if not head:
        raise InputError(f"{name} is empty (0 bytes); record, export or download it again.")
    for kind, known in (
        ("wav", head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE"),
        ("flac", head[:4] == b"fLaC"),
        ("ogg", head[:4] == b"OggS"),
        ("aiff", head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")),
        ("mp4", head[4:8] == b"ftyp"),
        ("webm", head[:4] == b"\x1a\x45\xdf\xa3"),
        ("aac", head[0] == 0xFF and len(head) > 1 and head[1] & 0xF6 == 0xF0),
        ("mp3", head[:3] == b"ID3" or (head[0] == 0xFF and len(head) > 1 and head[1] & 0xE0 == 0xE0)),
    ):
        if known:
            return kind
    raise UnknownFormatError(f"Cannot read {name} as audio: it is no {FORMATS} file; export it as one of these.")


def display_name(name: str) -> str:
    """What a visitor calls a file, for showing: no folders, no control characters, bounded; never a path."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if letter.isprintable()).strip()
    return clean[-_NAME_CHARACTERS:] or "vocal"


async def _prompt(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks; TimeoutError when one does not come in time."""
    while True:
        with anyio.fail_after(_CHUNK_S):
            try:
                chunk = await chunks.__anext__()
            except StopAsyncIteration:
                return
        yield chunk


def _renamed(error: InputError, path: str, name: str) -> InputError:
    if path not in str(error):
        return error
    return type(error)(str(error).replace(path, name))
