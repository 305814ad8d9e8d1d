"""Song folders to train on: found, split, and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from accompany.errors import InputError


def song_folders(roots: Sequence[str | Path]) -> list[Path]:
    """All song folders (those that hold `accompaniment.flac`) under `roots`, sorted within each root.

    Raises:
        InputError: a root does not exist or holds no song.
    """
    songs: list[Path] = []
    for root in roots:
        # Folders with a leading dot are songs that `accompany synth` has not finished.
        found = sorted(path.parent for path in Path(root).glob("[!.]*/accompaniment.flac"))
        if not found:
            raise InputError(f"'{root}' holds no song folder with an accompaniment.flac; run `accompany synth` first.")
        songs += found
    return songs


def split_songs(songs: Sequence[Path], n_held_out: int) -> tuple[list[Path], list[Path]]:
    """`(training, held_out)`: every root gives an equal share of its last songs to the held-out set.

    The last songs are kept apart so that a root which grows while a run is paused changes only that root's
    share, and the training songs of a finished root stay the same for ever.
    """
    roots = sorted({song.parent for song in songs})
    share = max(1, n_held_out // max(1, len(roots)))
    held_out = [song for root in roots for song in [s for s in songs if s.parent == root][-share:]]
    training = [song for song in songs if song not in set(held_out)]
    if not training:
        raise InputError(f"{len(songs)} songs are too few to keep {n_held_out} apart; make more or lower held_out.")
    return training, held_out[:n_held_out]


def read_mono(path: Path, sample_rate: int, *, start_s: float = 0.0, length_s: float | None = None) -> np.ndarray:
    """A stretch of a file as mono float32 [T] at `sample_rate`; the file's own end cuts it short."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        file.seek(min(file.frames, round(start_s * rate)))
        samples = file.read(-1 if length_s is None else round(length_s * rate), dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return mono if rate == sample_rate else np.asarray(soxr.resample(mono, rate, sample_rate), dtype=np.float32)
