"""Uploads decoded in a process of their own, with bounds of time and memory.

Run as `python -m accompany.serve.decoding UPLOAD TARGET RATE MINUTES DEMUXER`; writes float32 samples, or says as JSON
why it cannot.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.common.decoding import try_open
from accompany.common.ffmpeg import decode as decode_file
from accompany.common.files import is_full
from accompany.errors import InputError
from accompany.generation.vocals import read_vocal
from accompany.serve.apart import limit_memory, run_apart
from accompany.serve.disk import DiskFullError
from accompany.serve.limits import Limits

_log = logging.getLogger(__name__)

_FFMPEG_S, _DECODE_S = 120.0, 180.0
_DECODED_BYTES = 4_000_000_000
_MEMORY_BYTES = 2_000_000_000
_LOGGED_LINES = 20
_SAMPLES, _DECODED = "samples", "decoded.au"


class TooLargeError(InputError):
    """An upload with too many bytes, or a vocal that is too long."""


def decode_apart(path: Path, sample_rate: int, limits: Limits, demuxer: str = "") -> np.ndarray:
    """The upload `path` as a vocal [1, T] at `sample_rate`.

    Args:
        path: in a folder of its own.
        sample_rate: in Hz.
        limits: of the length.
        demuxer: ffmpeg's name for the format, where ffmpeg may try what libsndfile cannot read; empty for no ffmpeg.

    Raises:
        TooLargeError: it lasts too long.
        InputError: it is broken, silent, too short, has samples that are not numbers or far above full scale, or needs
            more time or memory than a recording.
        DiskFullError: there is no room to decode it.
    """
    target = path.with_name(_SAMPLES)
    words = (str(path), str(target), str(sample_rate), str(limits.max_minutes), demuxer)
    try:
        done = run_apart(__name__, *words, timeout_s=_DECODE_S)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path} takes too long to decode; export it as WAV or FLAC.") from error
    for line in done.stderr.splitlines()[:_LOGGED_LINES]:
        _log.warning("%s", line)
    if done.returncode != 0:
        _log.error("The decoder of an upload ended with %d.", done.returncode)
        raise InputError(f"{path} cannot be decoded here; export it as WAV or FLAC.")
    refused = json.loads(done.stdout)
    if refused:
        kind, sentence = refused
        raise DiskFullError if kind == "full" else (TooLargeError if kind == "large" else InputError)(sentence)
    return np.fromfile(target, np.float32)[None]


def read_upload(path: Path, sample_rate: int, limits: Limits, demuxer: str = "") -> np.ndarray:
    """As `decode_apart`, in this process."""
    readable, found = path, try_open(path)
    if isinstance(found, str):
        if not demuxer:
            raise InputError(f"Cannot read {path} as audio ({found}); give a WAV, FLAC, MP3, OGG or M4A recording.")
        readable = _decoded(path, demuxer, limits)
    if audio.info(readable).seconds > limits.max_seconds:
        raise TooLargeError(
            f"{path} is longer than {limits.max_minutes:g} minutes, which is the limit here; send a part of it."
        )
    return read_vocal(readable, sample_rate)


def _decoded(path: Path, demuxer: str, limits: Limits) -> Path:
    """The first audio stream as ffmpeg decodes it, no more than a little over the limit of length."""
    try:
        return decode_file(
            path,
            path.with_name(_DECODED),
            demuxer=demuxer,
            max_seconds=limits.max_seconds + 1,
            max_bytes=_DECODED_BYTES,
            timeout_s=_FFMPEG_S,
        )
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise DiskFullError from error
        raise


def _main(source: str, target: str, sample_rate: str, max_minutes: str, demuxer: str) -> tuple[str, str] | None:
    """Decode, or say what is wrong: "full", "large" or "wrong", and the sentence."""
    path = Path(source)
    try:
        samples = read_upload(path, int(sample_rate), Limits(max_minutes=float(max_minutes)), demuxer)
        with open(target, "wb") as file:
            file.write(samples.astype(np.float32).tobytes())
    except DiskFullError as error:
        return "full", str(error)
    except InputError as error:
        kind = "large" if isinstance(error, TooLargeError) else "wrong"
        return kind, str(error).replace(str(path.with_name(_DECODED)), source)
    except OSError as error:
        if not is_full(error):
            raise
        return "full", ""
    return None


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    limit_memory(_MEMORY_BYTES)
    sys.stdout.write(json.dumps(_main(*sys.argv[1:])))
