"""Vocal extraction for covers: the voice of a finished song, separated by Demucs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from accompany import audio
from accompany.common.encoding import sound_file
from accompany.errors import InputError
from accompany.sound.blocks import stream

if TYPE_CHECKING:
    from accompany.sound.separation import VocalSeparator

_log = logging.getLogger(__name__)

_FAINT_DB = -18.0
"""A voice so far below the band is what separators leave of instruments."""


def separate_vocal(
    song: str | os.PathLike[str],
    vocal: str | os.PathLike[str],
    separator: VocalSeparator | str = "tiny",
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Take the voice out of a song of any length, block by block, and write it.

    Args:
        song: a recording of voice and band, in any format that `accompany.audio.read` takes.
        vocal: the file to write, as long as the song, at the separator's rate (24 kHz mono for "tiny").
        separator: a Demucs model that knows vocals (`accompany.sound.separation.VocalSeparator`), or its name.
        progress: called with the share done, 0 to 1.

    Returns:
        `vocal`, which `Band.generate` takes.

    Raises:
        InputError: a song that cannot be read, no such separator, a file that cannot be written, or silence.
    """
    from accompany.sound.separation import VocalSeparator

    split = VocalSeparator(separator) if isinstance(separator, str) else separator
    path = Path(vocal)
    rate, n_samples = split.sample_rate, audio.info(song).seconds * split.sample_rate
    energies, done = np.zeros(2), 0
    with audio.replacing(path) as temporary:
        kind = path.suffix[1:].upper()
        with sound_file(temporary, path, rate, split.channels, kind, "PCM_24") as file:
            for voice, band in split.stream(stream(song, rate)):
                file.write(voice.T)
                energies += [float(np.square(stem, dtype=np.float64).sum()) for stem in (voice, band)]
                done += voice.shape[-1]
                if progress is not None:
                    progress(min(done / max(n_samples, 1), 1.0))
        _check_sung(energies, str(song))
    return path


def vocal_of(samples: np.ndarray, sample_rate: int, separator: VocalSeparator, name: str) -> np.ndarray:
    """The voice [1, T] of a song [C, T] in memory, at the song's rate. InputError for a song without sound."""
    at_rate = audio.resample(samples, sample_rate, separator.sample_rate)
    pieces, energies = [], np.zeros(2)
    for voice, band in separator.stream(_blocks(at_rate, separator.sample_rate)):
        pieces.append(audio.to_mono(voice))
        energies += [float(np.square(stem, dtype=np.float64).sum()) for stem in (voice, band)]
    _check_sung(energies, name)
    back = audio.resample(np.concatenate(pieces, axis=-1), separator.sample_rate, sample_rate)
    return audio.fit_length(back, samples.shape[-1])


def _blocks(samples: np.ndarray, length: int) -> Iterator[np.ndarray]:
    for first in range(0, samples.shape[-1], length):
        yield samples[:, first : first + length]


def _check_sung(energies: Iterable[float], name: str) -> None:
    """Refuse silence, warn where next to nothing is sung."""
    voice, band = energies
    if voice <= 0.0:
        raise InputError(f"There is no voice in {name}, which is silent; give a song with singing.")
    if 10 * np.log10(voice / max(band, 1e-20)) < _FAINT_DB:
        _log.warning("There is hardly any singing in %s, or the separator missed it; going on.", name)
