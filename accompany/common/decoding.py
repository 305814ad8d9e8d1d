"""Audio decoding: by libsndfile, piece by piece where the header is wrong, or through `accompany.common.ffmpeg`."""

from __future__ import annotations

import logging
import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common.containers import Layout, Piece, PieceFile, cut_short, is_sound_wave
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


class Recording:
    """A recording to read from: one file, or several that were joined, in a row.

    Attributes:
        sample_rate: Hz, LOWEST_RATE to HIGHEST_RATE.
        channels: 1 to MOST_CHANNELS.
        n_samples: per channel, as far as the headers say; counted where they do not.
        format: of the file, as libsndfile calls it.
        is_float: whether samples may lie beyond full scale without being clipped.
        length_is_guess: whether it may hold a little less than that.
        n_bytes: size of the file when it was opened.
    """

    def __init__(self, path: Path, layout: Layout, name: Path | None = None) -> None:
        """Open the pieces of `path`, called `name` in errors.

        Raises:
            InputError: a rate or a number of channels out of range, or pieces that differ in these.
            soundfile.LibsndfileError: it is nothing that libsndfile reads.
        """
        self.path = name or path
        self._path, self._pieces = path, layout.pieces or (None,)
        self.n_bytes = path.stat().st_size
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
                if file.frames < _UNKNOWN:
                    self.n_samples += file.frames
                else:
                    from accompany.common.unknown_length import count

                    self.n_samples += count(file, self.path)
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
                    from accompany.common.unknown_length import read_unknown

                    block = read_unknown(self._file, n_samples)
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
        from accompany.common.ffmpeg import decode

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
        if path.exists() and path.stat().st_size > recording.n_bytes:
            _log.warning("%s is still being written; what was there is read.", path)
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
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if is_sound_wave(data):
            return Layout()
    from accompany.common.repair import find_layout

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
