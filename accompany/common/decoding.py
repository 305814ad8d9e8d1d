"""Audio decoding: by libsndfile, piece by piece where the header is wrong, or through ffmpeg.

ffmpeg hands over an AU file of 32-bit floats: its header is six numbers that everybody reads alike, and its length may
stay open. (Of the W64 files that ffmpeg 5.1 writes libsndfile takes the floats for integers.)
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common.containers import cut_short, find_layout
from accompany.common.pieces import Layout, Piece, PieceFile
from accompany.errors import InputError

LOWEST_RATE, HIGHEST_RATE = 2000, 768_000
"""Hz of recordings that are taken, at every door."""
MOST_CHANNELS = 64

_log = logging.getLogger(__name__)

_MPEG = ("MP3", "MPEG")
_DISTRUSTED = ("VOC",)
"""Formats that libsndfile misreads: of a VOC file with several blocks it plays the heads of the blocks."""
_MOST_PIECES = 10_000
_UNKNOWN = 1 << 50
_LONGEST_S = 24 * 3600
_BLOCK = 1 << 18
_STREAM = re.compile(r"^\s*Stream #0:\d+.*: Audio:", re.MULTILINE)


class Recording:
    """A recording to read from: one file, or several that were joined, in a row.

    Attributes:
        sample_rate: Hz, LOWEST_RATE to HIGHEST_RATE.
        channels: 1 to MOST_CHANNELS.
        n_samples: per channel, as far as the headers say; counted where they do not.
        format: of the file, as libsndfile calls it.
        is_float: whether samples may lie beyond full scale without being clipped.
        length_is_guess: whether it may hold a little less than that.
    """

    def __init__(self, path: Path, layout: Layout, name: Path | None = None) -> None:
        """Open the pieces of `path`, called `name` in errors.

        Raises:
            InputError: a rate or a number of channels out of range, or pieces that differ in these.
            soundfile.LibsndfileError: it is nothing that libsndfile reads.
        """
        self.path = name or path
        self._path, self._pieces = path, layout.pieces or (None,)
        self._file: Any = None
        self._place = 0
        if len(self._pieces) > _MOST_PIECES:
            raise InputError(
                f"{self.path} joins {len(self._pieces)} recordings; give at most {_MOST_PIECES} in a file."
            )
        kinds = []
        self.n_samples = 0
        for piece in self._pieces:
            with self._opened(piece) as file:
                kinds.append((file.samplerate, file.channels))
                self.n_samples += file.frames if file.frames < _UNKNOWN else self._count(file)
                # Many good files announce a few frames too many.
                self.length_is_guess = file.format in _MPEG or file.subtype.startswith("MPEG")
                self.is_float = file.subtype in ("FLOAT", "DOUBLE") or file.format == "OGG" or self.length_is_guess
                self.format = file.format
        self.sample_rate, self.channels = kinds[0]
        check_rate(self.sample_rate, str(self.path))
        if len(set(kinds)) > 1:
            raise InputError(f"{self.path} joins recordings of different rates or channels; convert it to WAV or FLAC.")
        if self.channels > MOST_CHANNELS:
            raise InputError(f"{self.path} has {self.channels} channels; give a recording of at most {MOST_CHANNELS}.")

    def read(self, n_samples: int) -> np.ndarray:
        """The next samples float32 [T, C], `n_samples` or fewer; none at the end. InputError when it is cut short."""
        import soundfile

        while self._place < len(self._pieces):
            if self._file is None:
                self._file = self._opened(self._pieces[self._place])
            try:
                if self._file.frames >= _UNKNOWN:
                    block = _read_unknown(self._file, n_samples)
                else:
                    block = self._file.read(n_samples, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise cut_short(self.path) from error
            if len(block):
                return np.asarray(block)
            self.rest()
            self._place += 1
        return np.zeros((0, self.channels), np.float32)

    def rewind(self) -> None:
        """Read from the beginning again."""
        self.rest()
        self._place = 0

    def rest(self) -> None:
        """Close the file, until it is read again."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _opened(self, piece: Piece | None) -> Any:
        import soundfile

        return soundfile.SoundFile(PieceFile(self._path, piece))

    def _count(self, file: Any) -> int:
        """Samples of a stream that does not say how many it has."""
        n_samples = 0
        while n_samples < _LONGEST_S * file.samplerate:
            length = len(_read_unknown(file, _BLOCK))
            if not length:
                return n_samples
            n_samples += length
        raise InputError(f"{self.path} lasts longer than {_LONGEST_S // 3600} hours; give a part of it.")


def _read_unknown(file: Any, n_samples: int) -> np.ndarray:
    """The next samples of a FLAC stream that does not say how many it has; soundfile fails once it has read the end."""
    import soundfile

    block = np.full((n_samples, file.channels), np.nan, np.float32)
    try:
        return np.asarray(file.read(out=block))
    except soundfile.LibsndfileError:
        return block[: np.isfinite(block[:, 0]).sum()]


def check_rate(sample_rate: int, name: str) -> None:
    """InputError for an implausible sample rate."""
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InputError(
            f"{name} has a sample rate of {sample_rate} Hz; it must be from {LOWEST_RATE} to {HIGHEST_RATE}."
        )


@contextmanager
def opened(path: Path) -> Iterator[Recording]:
    """A recording to read, decoded by ffmpeg to a temporary file where libsndfile cannot read it.

    Raises:
        InputError: missing, empty, cut short, or no audio.
    """
    check_is_file(path)
    recording = try_open(path)
    if not isinstance(recording, Recording):
        with tempfile.TemporaryDirectory(prefix="accompany-") as folder:
            decoded = decode(path, Path(folder) / "decoded.au", reason=recording)
            recording = Recording(decoded, Layout(), path)
            try:
                yield recording
            finally:
                recording.rest()
        return
    try:
        yield recording
    finally:
        recording.rest()


def try_open(path: Path) -> Recording | str:
    """The recording as libsndfile reads it, or why it cannot. InputError for one that is cut short."""
    import soundfile

    try:
        stat = path.stat()
        layout = _layout(path, stat.st_size, stat.st_mtime_ns)
        recording = Recording(path, layout)
    except soundfile.LibsndfileError as error:
        return str(error.error_string).strip().rstrip(".").replace("\n", " ")
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path} ({error}); check the name and its permissions.") from error
    if recording.format in _DISTRUSTED:
        return f"{recording.format} files are not read without ffmpeg"
    return recording


@lru_cache(maxsize=32)
def _layout(path: Path, size: int, changed_ns: int) -> Layout:
    """The layout of a file that has this size and time: a command opens a file several times and warns once."""
    layout = find_layout(path)
    if layout.note:
        _log.warning("%s %s.", path, layout.note)
    return layout


def check_is_file(path: Path) -> None:
    """InputError for a path that is no file, is empty or cannot be read."""
    try:
        if not path.exists():
            raise InputError(f"There is no file {path}; check the name and the folder.")
        if not path.is_file():
            raise InputError(f"{path} is not a file; name an audio file, such as vocals.wav.")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise InputError(f"{path} is empty (0 bytes); record, export or download it again.")
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path} ({error}); check the name and its permissions.") from error


def decode(
    path: Path,
    decoded: Path,
    *,
    demuxer: str | None = None,
    max_seconds: float | None = None,
    max_bytes: int | None = None,
    timeout_s: float | None = None,
    reason: str = "unknown format",
) -> Path:
    """Decode the first audio stream of a file with ffmpeg, local files only, as 32-bit floats.

    Args:
        path: the file.
        decoded: the AU file to write.
        demuxer: ffmpeg's name for the format of the file; None lets it guess.
        max_seconds: how much of it to decode.
        max_bytes: how much to write.
        timeout_s: how long ffmpeg may take.
        reason: why libsndfile could not read it, for the error.

    Returns:
        `decoded`.

    Raises:
        InputError: no ffmpeg, no audio that it can read, or too much of it.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise InputError(f"Cannot read {path} as audio ({reason}); convert it to WAV or FLAC, or install ffmpeg.")
    command = [ffmpeg, "-v", "level+info", "-hide_banner", "-nostats", "-nostdin", "-y"]
    command += ["-protocol_whitelist", "file", *(["-f", demuxer] if demuxer else []), "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-map_metadata", "-1"]
    command += ["-t", f"{max_seconds:g}"] if max_seconds else []
    command += ["-fs", str(max_bytes)] if max_bytes else []
    command += ["-c:a", "pcm_f32be", "-f", "au", str(decoded)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path} takes too long to decode; export it as WAV or FLAC.") from error
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0 or not decoded.exists():
        for number in (errno.ENOSPC, errno.EFBIG):
            if os.strerror(number) in said:
                full = OSError(number, os.strerror(number), str(decoded))
                raise InputError(f"Cannot decode {path}: {decoded.parent} is full; free some space.") from full
        raise InputError(f"Cannot read {path} as audio ({reason}); give a WAV, FLAC, MP3, OGG or M4A recording.")
    if max_bytes and decoded.stat().st_size >= max_bytes:
        raise InputError(f"{path} holds too much sound to decode here; send a shorter recording, or FLAC or MP3.")
    _warn(path, said)
    return decoded


def _warn(path: Path, said: str) -> None:
    """Log ffmpeg's warnings that matter to a user: several streams, and damage."""
    said = re.sub(r"\[info\] ", "", said)
    streams = len(_STREAM.findall(said.split("Output #0")[0]))
    if streams > 1:
        _log.warning("%s has %d audio streams; only the first is used.", path, streams)
    if damage := re.findall(r"\[(?:error|fatal)\] (.*)", said):
        _log.warning("%s is damaged in parts (%s); going on with what ffmpeg could read.", path, damage[0])
