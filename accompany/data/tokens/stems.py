"""Stems of a band for the codec: drums, bass and other, summed from a pair's instruments. C channels, T samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.data.songs.instruments import INSTRUMENTS
from accompany.errors import InputError
from accompany.music.instrumentation import STEM_OF, STEMS

FOLDER = "stems"


def stem_of(instrument: str) -> str:
    """The one of `STEMS` for an instrument (or a stem of Demucs), by name."""
    known = INSTRUMENTS.get(instrument)
    return STEM_OF.get(known.family if known else instrument, "other")


def read_stems(folder: Path, files: Sequence[str], like: audio.Audio) -> dict[str, audio.Audio]:
    """The stems of a pair, aligned with its band.

    Args:
        folder: of the pair.
        files: of its instruments, below `folder`.
        like: the band, whose length and rate they have.

    Returns:
        Each of `STEMS`: the sum of its instruments, silence where there is none.

    Raises:
        InputError: an instrument of another rate or length than the band.
    """
    sums = {stem: np.zeros_like(like.samples) for stem in STEMS}
    for name in files:
        part = audio.read(folder / name)
        if part.sample_rate != like.sample_rate or part.samples.shape[-1] != like.samples.shape[-1]:
            raise InputError(f"{folder / name} has another rate or length than its band; make the pair again.")
        sums[stem_of(Path(name).stem)] += audio.to_channels(part.samples, len(like.samples))
    return {stem: audio.Audio(samples, like.sample_rate) for stem, samples in sums.items()}
