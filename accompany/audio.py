"""Audio files and sample rates: read, resample, mix down and write, always with exact lengths.

Whole files are read with `read`; hour-long ones with `read_mono`, which mixes down and resamples block by
block, so that memory holds the mono result and never the file.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompany.common.channels import ChannelStatistics, Correction
from accompany.common.containers import cut_short
from accompany.common.decoding import Recording, opened
from accompany.common.encoding import sound_file
from accompany.common.files import replacing
from accompany.errors import InputError

_log = logging.getLogger(__name__)

_BLOCK_SAMPLES = 1 << 18
_CLIPPED_LEVEL = 0.999
_CLIPPED_SHARE = 1e-3
_ABOVE_FULL_SCALE = 1.01
LOUDEST = 100.0
"""Largest sample of a recording, where full scale is 1: 40 dB above it."""
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
    with opened(Path(path)) as file:
        return AudioInfo(Path(path), file.n_samples, file.sample_rate, file.channels)


def read(path: str | os.PathLike[str], *, max_seconds: float | None = None) -> Audio:
    """Read a whole file (or its first `max_seconds`) as float32 [C, T] at its own rate.

    libsndfile reads WAV, FLAC, OGG, OPUS, MP3, AIFF and more; anything else goes through ffmpeg if there.

    Raises:
        InputError: missing, empty, cut short, not audio, with samples that are not numbers or far above full scale,
            or of a rate that nobody records at.
    """
    path = Path(path)
    with opened(path) as file:
        limit = file.n_samples if max_seconds is None else min(file.n_samples, round(max_seconds * file.sample_rate))
        blocks = list(blocks_of(file, limit))
        channels, sample_rate = file.channels, file.sample_rate
    joined = np.concatenate(blocks) if blocks else np.zeros((0, channels), np.float32)
    return Audio(np.ascontiguousarray(joined.T), sample_rate, path)


def read_mono(path: str | os.PathLike[str], sample_rate: int) -> tuple[Audio, AudioInfo]:
    """Read a file as mono [1, round(N * sample_rate / file rate)], block by block in bounded memory.

    A constant offset is taken out. The channels are averaged; where they cancel, channels are turned round first, or
    the strongest one is taken alone (`accompany.common.channels`), with a warning.

    Returns:
        The mono audio, and what the file itself holds (N counted, not believed from the header).

    Raises:
        InputError: as `read`.
    """
    path = Path(path)
    with opened(path) as file:
        statistics = ChannelStatistics(file.channels)

        def counted() -> Iterator[np.ndarray]:
            for block in blocks_of(file, file.n_samples):
                statistics.add(block)
                yield block

        mono, n_read = _resampled_mono(file, counted(), sample_rate)
        correction = said(path, statistics.correction())
        if not correction.changes_nothing:
            file.rewind()
            right = (correction.apply(block) for block in rest_of(file))
            mono, n_read = _resampled_mono(file, right, sample_rate)
        source = AudioInfo(path, n_read, file.sample_rate, file.channels)
    return Audio(mono[None], sample_rate, path), source


def write(path: str | os.PathLike[str], samples: np.ndarray, sample_rate: int, subtype: str | None = None) -> None:
    """Write float samples [C, T] (or [T]) in the format of the suffix; 24-bit where the format has it.

    The file appears under its name only when complete. Samples beyond full scale are cut off but in floating point.

    Raises:
        InputError: the suffix is no audio format, the folder is missing or not writable, the disk is full, or the
            samples are not numbers.
    """
    import soundfile

    path = Path(path)
    kind = path.suffix[1:].upper()
    if kind not in soundfile.available_formats():
        raise InputError(f"Cannot write {path}: give it the suffix .wav, .flac or .ogg.")
    if subtype is None:
        subtype = "PCM_24" if kind in _DEEP_FORMATS else None
    rows = np.atleast_2d(samples)
    with replacing(path) as temporary, sound_file(temporary, path, sample_rate, len(rows), kind, subtype) as file:
        for start in range(0, rows.shape[-1], _BLOCK_SAMPLES):
            file.write(rows[:, start : start + _BLOCK_SAMPLES].T)


def check_peak(peak: float, name: str) -> None:
    """InputError for a level that no recording has: not a number, infinite, or over LOUDEST."""
    if not math.isfinite(peak):
        raise InputError(f"{name} has samples that are not numbers (NaN or infinite); export it again.")
    if peak > LOUDEST:
        raise InputError(
            f"{name} has samples up to {peak:.3g}, where full scale is 1; normalise it, or export it with 24 bits."
        )


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


def blocks_of(file: Recording, limit: int) -> Iterator[np.ndarray]:
    """The first `limit` samples as float32 blocks [T, C], each checked; warns at the end of what is too loud."""
    done = n_full = 0
    highest = 0.0
    while done < limit:
        block = file.read(min(_BLOCK_SAMPLES, limit - done))
        if len(block) == 0:
            if not file.length_is_guess:
                raise cut_short(file.path)
            _log.warning("%s ends after %.1f s, sooner than announced; going on.", file.path, done / file.sample_rate)
            break
        peak = max(float(block.max()), -float(block.min()))  # NaN too, which max and min pass on
        check_peak(peak, str(file.path))
        done, highest = done + len(block), max(highest, peak)
        if peak >= _CLIPPED_LEVEL:
            n_full += int((np.abs(block).max(axis=1) >= _CLIPPED_LEVEL).sum())
        yield block
    if file.is_float and highest > _ABOVE_FULL_SCALE:
        _log.warning("%s goes %.1f dB above full scale; going on.", file.path, 20 * math.log10(highest))
    elif n_full > _CLIPPED_SHARE * done > 0:
        _log.warning("%s is clipped (%.1f%% of it at full scale); going on.", file.path, 100 * n_full / done)


def rest_of(file: Recording) -> Iterator[np.ndarray]:
    """What is left of a recording, as blocks [T, C]."""
    while len(block := file.read(_BLOCK_SAMPLES)):
        yield block


def said(path: Path, correction: Correction) -> Correction:
    """The correction, once a warning says what it does."""
    if correction.words:
        _log.warning("%s %s.", path, correction.words)
    return correction


def _resampled_mono(file: Recording, blocks: Iterator[np.ndarray], sample_rate: int) -> tuple[np.ndarray, int]:
    """The mean of the channels [round(N * sample_rate / its rate)], and N."""
    import soxr

    stream = soxr.ResampleStream(file.sample_rate, sample_rate, 1, dtype="float32", quality="HQ")
    pieces, n_read = [], 0
    for block in blocks:
        n_read += len(block)
        pieces.append(stream.resample_chunk(np.ascontiguousarray(block.mean(axis=1))))
    pieces.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return fit_length(np.concatenate(pieces), resampled_length(n_read, file.sample_rate, sample_rate)), n_read
