"""Audio file encoding: reproducible bytes, and no disk error lost.

libsndfile ignores what fails while its encoders are closed, and puts the time and random numbers into some formats.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common.files import is_full
from accompany.errors import InputError

_FLOATS = ("FLOAT", "DOUBLE")


@contextmanager
def sound_file(
    temporary: Path, path: Path, sample_rate: int, channels: int, kind: str, subtype: str | None, **more: Any
) -> Iterator[SoundWriter]:
    """A sound file to write samples to, checked when the block ends.

    Args:
        temporary: the file.
        path: what it will be called, for errors.
        sample_rate: Hz.
        channels: how many.
        kind: the format, as libsndfile calls it, such as "WAV".
        subtype: the coding, as libsndfile calls it; None takes the format's own.
        more: as `soundfile.SoundFile` takes it.

    Raises:
        InputError: the disk is full or failed (the OSError is its cause), the format cannot be so, or samples are not
            numbers.
    """
    import soundfile

    try:
        target = _CheckedFile(temporary)
    except OSError as error:
        raise _failed(path, error) from error
    try:
        with target, soundfile.SoundFile(target, "w", sample_rate, channels, subtype, format=kind, **more) as file:
            yield SoundWriter(file, path)
    except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that everything was written
        if target.error is None and isinstance(error, AssertionError):
            raise
        if target.error is not None:
            raise _failed(path, target.error) from target.error
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise InputError(f"Cannot write {path} ({reason}); check the space on the disk.") from error
    if target.error is not None:
        raise _failed(path, target.error) from target.error
    _make_repeatable(temporary, kind, subtype)


def _failed(path: Path, error: OSError) -> InputError:
    if is_full(error):
        return InputError(f"The disk is full ({path}); free some space and run again.")
    return InputError(f"Cannot write {path} ({error.strerror}); check the disk.")


class SoundWriter:
    """Takes samples, block by block."""

    def __init__(self, file: Any, path: Path) -> None:
        """For an open `soundfile.SoundFile`, called `path` in errors."""
        self._file, self._path = file, path

    def write(self, block: np.ndarray) -> None:
        """Write float [T, C], cut off at full scale unless the file is of floats, or integers as they are."""
        if block.dtype.kind == "f":
            if not np.isfinite(block).all():
                raise InputError(f"Cannot write {self._path}: the sound has samples that are not numbers.")
            # Encoders abort the process on samples far above full scale.
            block = block if self._file.subtype in _FLOATS else np.clip(block, -1.0, 1.0)
        self._file.write(block)


class _CheckedFile(io.RawIOBase):
    """A file that keeps its first error, since errors inside libsndfile get lost."""

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file = _open(path)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def write(self, data: Any) -> int:
        done, view = 0, memoryview(data)
        try:
            while done < len(view):
                done += self._file.write(view[done:]) or 0
        except OSError as error:
            self.error = self.error or error
        return done

    def close(self) -> None:
        if not self.closed:
            try:
                self._file.close()
            except OSError as error:
                self.error = self.error or error
        super().close()


def _open(path: Path) -> io.FileIO:
    return io.FileIO(path, "w+")


def _make_repeatable(path: Path, kind: str, subtype: str | None) -> None:
    """Remove the time stamp from a float file, and the random serial number from an Ogg file."""
    if kind == "OGG":
        from accompany.common.ogg import set_serial

        set_serial(path)
    elif kind in ("WAV", "WAVEX", "AIFF", "RF64") and subtype in _FLOATS:
        with path.open("r+b") as file:
            at = file.read(1 << 12).find(b"PEAK")
            if at >= 0:  # name, length and version, four bytes each
                file.seek(at + 12)
                file.write(bytes(4))
