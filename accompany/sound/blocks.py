"""Audio files block by block, resampled in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.common.channels import ChannelStatistics, Correction
from accompany.common.decoding import Recording, opened

OnBlock = Callable[[np.ndarray, int], None]


def stream(path: str | os.PathLike[str], sample_rate: int, *, on_block: OnBlock | None = None) -> Iterator[np.ndarray]:
    """A file as float32 blocks [C, n] at `sample_rate`, in bounded memory; together round(N * sample_rate / its rate).

    Offsets and channels that cancel are put right as in `read_mono`, so that the blocks can be mixed down.

    Args:
        path: any file that `read` takes.
        sample_rate: in Hz.
        on_block: called with every block as it stands in the file, before resampling, and the file's rate.

    Raises:
        InputError: as `read`, at the block where it shows.
    """
    import soxr

    path = Path(path)
    n_read = n_given = 0
    with opened(path) as file:
        rate, channels = file.sample_rate, file.channels
        correction = _correction(file)
        resampler = soxr.ResampleStream(rate, sample_rate, channels, dtype="float32", quality="HQ")
        for block in audio.blocks_of(file, file.n_samples):
            if on_block is not None:
                on_block(block.T, rate)
            n_read += len(block)
            right = np.ascontiguousarray(correction.apply(block))
            made = right if rate == sample_rate else resampler.resample_chunk(right)
            n_given += len(made)
            yield made.T
    if rate != sample_rate:
        rest = resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True)
        yield audio.fit_length(rest.T, max(audio.resampled_length(n_read, rate, sample_rate) - n_given, 0))


def _correction(file: Recording) -> Correction:
    """What the channels of a recording need before they are mixed down; reads all of it, and says what it found."""
    statistics = ChannelStatistics(file.channels)
    for block in audio.rest_of(file):
        statistics.add(block)
    file.rewind()
    return audio.said(file.path, statistics.correction())
