"""Lossy encoders in a process of their own, since LAME aborts the process that runs it at levels it cannot encode.

Run as `python -m accompany.serve.encoding SOURCE TARGET FORMAT`; exit code 3 means that the disk is full.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

from accompany.common.files import is_full
from accompany.errors import InputError
from accompany.serve.apart import run_apart

_log = logging.getLogger(__name__)

LOSSY = ("mp3", "ogg")
_ENCODE_S = 120.0
_BLOCK_SAMPLES = 1 << 16  # libsndfile's Vorbis encoder keeps a whole block on its stack
_NO_ROOM = 3


def encode(source: Path, target: Path, format_: str) -> None:
    """Encode a sound file as `format_`, one of `LOSSY`, into `target`.

    Raises:
        OSError: there is no room for it.
        InputError: the encoder failed or took longer than two minutes.
    """
    try:
        done = run_apart(__name__, str(source), str(target), format_, timeout_s=_ENCODE_S)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"Encoding as {format_} takes too long here; ask for wav or flac.") from error
    if done.returncode == _NO_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if done.returncode != 0:
        _log.error("The %s encoder ended with %d: %s", format_, done.returncode, done.stderr)
        raise InputError(f"This sound cannot be encoded as {format_}; ask for wav or flac.")


def _encode(source: str, target: str, format_: str) -> None:
    import soundfile

    encoded = io.BytesIO()
    with soundfile.SoundFile(source) as sound:
        layout = {"samplerate": sound.samplerate, "channels": sound.channels, "format": format_.upper()}
        with soundfile.SoundFile(encoded, "w", **layout) as writer:
            for block in sound.blocks(_BLOCK_SAMPLES, dtype="float32", always_2d=True):
                writer.write(block)
    # By Python rather than by libsndfile, which does not report what its encoders could not write.
    with open(target, "wb") as file:
        file.write(encoded.getvalue())


if __name__ == "__main__":
    try:
        _encode(*sys.argv[1:])
    except OSError as error:
        if not is_full(error):
            raise
        sys.exit(_NO_ROOM)
