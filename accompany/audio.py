"""Audio files and sample rates: read, resample, mix down and write, always with exact lengths.

Whole files are read with `read`; hour-long ones with `read_mono`, which mixes down and resamples block by
block, so that memory holds the mono result and never the file.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common.files import replacing
from accompany.errors import InputError

Heard = Callable[[np.ndarray, int], None]

_log = logging.getLogger(__name__)

_BLOCK_SAMPLES = 1 << 18
_CLIPPED_LEVEL = 0.999
_CLIPPED_SHARE = 1e-3
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF)
_GUESSED_LENGTH = ("MP3", "MPEG")  # many good files announce a few frames too many
_DEEP_FORMATS = ("WAV", "FLAC", "AIFF", "W64", "RF64")


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: `n_samples` per channel, `sample_rate` in Hz, number of `channels`."""

    path: Path
    n_samples: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


@dataclass(frozen=True)
class Audio:
    """Sound in memory: `samples` float32 [C, T], nominally in [-1, 1]; `sample_rate` in Hz."""

    samples: np.ndarray
    sample_rate: int
    path: Path | None = None

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate


def info(path: str | os.PathLike[str]) -> AudioInfo:
    """Length, rate and channels of a file.

    Raises:
        InputError: no such file, not audio, or cut short.
    """
    with _opened(Path(path)) as file:
        return AudioInfo(Path(path), file.frames, file.samplerate, file.channels)


def read(path: str | os.PathLike[str], *, max_seconds: float | None = None) -> Audio:
    """Read a whole file (or its first `max_seconds`) as float32 [C, T] at its own rate.

    libsndfile reads WAV, FLAC, OGG, OPUS, MP3, AIFF and more; anything else goes through ffmpeg if there.

    Raises:
        InputError: missing, empty, cut short, not audio, or with samples that are not numbers.
    """
    path = Path(path)
    with _opened(path) as file:
        limit = file.frames if max_seconds is None else min(file.frames, round(max_seconds * file.samplerate))
        blocks = list(_blocks(file, path, limit))
        channels, sample_rate = file.channels, file.samplerate
    joined = np.concatenate(blocks) if blocks else np.zeros((0, channels), np.float32)
    return Audio(np.ascontiguousarray(joined.T), sample_rate, path)


def read_mono(path: str | os.PathLike[str], sample_rate: int) -> tuple[Audio, AudioInfo]:
    """Read a file as mono [1, round(N * sample_rate / file rate)], block by block in bounded memory.

    Returns:
        The mono audio, and what the file itself holds (N counted, not believed from the header).

    Raises:
        InputError: as `read`.
    """
    import soxr

    path = Path(path)
    pieces: list[np.ndarray] = []
    n_read = 0
    with _opened(path) as file:
        source = AudioInfo(path, file.frames, file.samplerate, file.channels)
        stream = soxr.ResampleStream(source.sample_rate, sample_rate, 1, dtype="float32", quality="HQ")
        for block in _blocks(file, path, file.frames):
            n_read += len(block)
            pieces.append(stream.resample_chunk(np.ascontiguousarray(block.mean(axis=1))))
    pieces.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    counted = AudioInfo(path, n_read, source.sample_rate, source.channels)
    mono = fit_length(np.concatenate(pieces), resampled_length(n_read, source.sample_rate, sample_rate))
    return Audio(mono[None], sample_rate, path), counted


def stream(path: str | os.PathLike[str], sample_rate: int, *, heard: Heard | None = None) -> Iterator[np.ndarray]:
    """A file as float32 blocks [C, n] at `sample_rate`, in bounded memory; together round(N * sample_rate / its rate).

    Args:
        path: any file that `read` takes.
        sample_rate: in Hz.
        heard: told of every block as it stands in the file, before resampling, with the file's rate.

    Raises:
        InputError: as `read`, at the block where it shows.
    """
    import soxr

    path = Path(path)
    n_read = n_given = 0
    with _opened(path) as file:
        rate, channels = file.samplerate, file.channels
        resampler = soxr.ResampleStream(rate, sample_rate, channels, dtype="float32", quality="HQ")
        for block in _blocks(file, path, file.frames):
            if heard is not None:
                heard(block.T, rate)
            n_read += len(block)
            made = block if rate == sample_rate else resampler.resample_chunk(block)
            n_given += len(made)
            yield made.T
    if rate != sample_rate:
        rest = resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True)
        yield fit_length(rest.T, max(resampled_length(n_read, rate, sample_rate) - n_given, 0))


def write(path: str | os.PathLike[str], samples: np.ndarray, sample_rate: int, subtype: str | None = None) -> None:
    """Write float samples [C, T] (or [T]) in the format of the suffix; 24-bit where the format has it.

    The file appears under its name only when complete.

    Raises:
        InputError: the suffix is no audio format, or the folder is missing or not writable.
    """
    import soundfile

    path = Path(path)
    kind = path.suffix[1:].upper()
    if kind not in soundfile.available_formats():
        raise InputError(f"Cannot write {path}: give it the suffix .wav, .flac or .ogg.")
    if subtype is None:
        subtype = "PCM_24" if kind in _DEEP_FORMATS else None
    with replacing(path) as temporary:
        try:
            soundfile.write(temporary, np.atleast_2d(samples).T, sample_rate, format=kind, subtype=subtype)
        except soundfile.LibsndfileError as error:
            reason = _clause(str(error.error_string))
            raise InputError(f"Cannot write {path} ({reason}); check the space on the disk.") from error


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """Samples that `n_samples` at `from_rate` (Hz) become at `to_rate`: round(N * to / from)."""
    return round(n_samples * to_rate / from_rate)


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample float [..., T] to exactly [..., round(T * to_rate / from_rate)] (soxr, high quality)."""
    import soxr

    if from_rate == to_rate:
        return samples
    n_out = resampled_length(samples.shape[-1], from_rate, to_rate)
    rows = samples.reshape(-1, samples.shape[-1])
    if samples.shape[-1] == 0 or len(rows) == 0:
        return np.zeros((*samples.shape[:-1], n_out), samples.dtype)
    out = [fit_length(soxr.resample(row, from_rate, to_rate, quality="HQ"), n_out) for row in rows]
    return np.stack(out).reshape(*samples.shape[:-1], n_out)


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Mean of the channels: [C, T] becomes [1, T]."""
    channels = samples.shape[-2]
    if channels > 2:
        return samples.mean(axis=-2, keepdims=True, dtype=np.float32)
    # The same, several times as fast: a mean along so short an axis goes step by step.
    mono = samples[..., :1, :] if channels == 1 else (samples[..., :1, :] + samples[..., 1:, :]) * np.float32(0.5)
    return np.asarray(mono, np.float32)


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """[C, T] as [channels, T]: as it is where it has as many, else their mean on each."""
    return samples if len(samples) == channels else np.repeat(to_mono(samples), channels, axis=0)


def fit_length(samples: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut or zero-pad the end of [..., T] so that it has exactly `n_samples`."""
    missing = n_samples - samples.shape[-1]
    if missing <= 0:
        return samples[..., :n_samples]
    return np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(0, missing)])


def frame_count(n_samples: int, sample_rate: float, frame_rate: float) -> int:
    """Frames of a grid that cover a sound: ceil(T * frame_rate / sample_rate)."""
    return math.ceil(n_samples * frame_rate / sample_rate - 1e-6)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as a `soundfile.SoundFile`, decoded by ffmpeg to a temporary file when libsndfile cannot."""
    import soundfile

    _check_is_file(path)
    _check_not_cut(path)
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        with tempfile.TemporaryDirectory(prefix="accompany-") as folder:
            decoded = Path(folder) / "decoded.w64"
            _decode_with_ffmpeg(path, decoded, str(error.error_string))
            with soundfile.SoundFile(decoded) as file:
                yield file
        return
    with file:
        yield file


def _check_is_file(path: Path) -> None:
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


def _check_not_cut(path: Path) -> None:
    """Refuse a WAV file with fewer bytes than its header promises (libsndfile reads it without a word)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(4) != b"RIFF":
            return
        stream.seek(12)
        while len(head := stream.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                if length not in _UNKNOWN_SIZES and stream.tell() + length > size:
                    raise _cut_short(path)
                return
            stream.seek(length + length % 2, os.SEEK_CUR)


def _cut_short(path: Path) -> InputError:
    return InputError(
        f"{path} is cut short: it ends before the length its header promises; export or download it again."
    )


def _decode_with_ffmpeg(path: Path, decoded: Path, reason: str) -> None:
    """Decode the first audio stream of `path` with ffmpeg, local files only."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise InputError(
            f"Cannot read {path} as audio ({_clause(reason)}); convert it to WAV or FLAC, or install ffmpeg."
        )
    command = [ffmpeg, "-v", "error", "-nostdin", "-y", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "w64", str(decoded)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0 or not decoded.exists():
        raise InputError(
            f"Cannot read {path} as audio ({_clause(reason)}); give a WAV, FLAC, MP3, OGG or M4A recording."
        )


def _clause(reason: str) -> str:
    return reason.strip().rstrip(".").replace("\n", " ")


def _blocks(file: Any, path: Path, limit: int) -> Iterator[np.ndarray]:
    """The first `limit` samples as float32 blocks [T, C], each checked; warns at the end when clipped."""
    import soundfile

    done = n_clipped = 0
    while done < limit:
        try:
            block = file.read(min(_BLOCK_SAMPLES, limit - done), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise _cut_short(path) from error
        if len(block) == 0 and file.format in _GUESSED_LENGTH:
            _log.warning("%s ends after %.1f s, sooner than announced; going on.", path, done / file.samplerate)
            break
        if len(block) == 0:
            raise _cut_short(path)
        peak = max(float(block.max()), -float(block.min()))  # NaN too, which max and min pass on
        if not math.isfinite(peak):
            raise InputError(f"{path} has samples that are not numbers (NaN or infinite); export it again.")
        done += len(block)
        if peak >= _CLIPPED_LEVEL:
            n_clipped += int((np.abs(block).max(axis=1) >= _CLIPPED_LEVEL).sum())
        yield block
    if n_clipped > _CLIPPED_SHARE * done > 0:
        _log.warning("%s is clipped (%.1f%% of it at full scale); going on.", path, 100 * n_clipped / done)
