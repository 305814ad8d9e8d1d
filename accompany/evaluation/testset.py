"""Test clips: a vocal, its true accompaniment, a prompt and whatever truth is known about it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.config import read_json
from accompany.errors import InputError
from accompany.evaluation.metrics import Signal

logger = logging.getLogger(__name__)

MIN_SUNG_SHARE = 0.4
_VOCALS = ("vocals.flac", "vocals.wav")
_ACCOMPANIMENTS = ("accompaniment.flac", "accompaniment.wav")


@dataclass(frozen=True)
class Clip:
    """One test clip; all times are seconds from its start, audio is mono float32 at `sample_rate`.

    `truth` is the true accompaniment, `beats_s` and `chords` are empty where they are not known,
    `instruments` are those that the song says it has, `absent` those that it says it has not.
    """

    name: str
    sample_rate: int
    vocal: Signal
    truth: Signal
    prompt: str
    captions: tuple[str, ...] = ()
    beats_s: tuple[float, ...] = ()
    downbeats_s: tuple[float, ...] = ()
    chords: tuple[tuple[float, float, str], ...] = ()
    key: str = ""
    instruments: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.vocal) / self.sample_rate


def load_clips(
    folders: Iterable[str | os.PathLike[str]],
    *,
    sample_rate: int,
    seconds: float = 10.0,
    limit: int | None = None,
) -> list[Clip]:
    """One clip of `seconds` from each song folder below `folders`, the stretch with the most singing.

    A song folder holds `vocals.flac|wav` and `accompaniment.flac|wav`, and may hold `song.json` (as `accompany synth`
    and `accompany prepare` write it). Songs that are too short or hardly sung are left out with a log line.

    Raises:
        InputError: no usable song folder is found.
    """
    clips: list[Clip] = []
    for song in _song_folders(folders):
        if limit is not None and len(clips) >= limit:
            break
        clip = _load_clip(song, sample_rate, seconds)
        if clip is not None:
            clips.append(clip)
    if not clips:
        wanted = " or ".join(str(folder) for folder in folders)
        raise InputError(
            f"There is no song with singing of at least {seconds:g} s in {wanted}; "
            "give folders that hold vocals.flac and accompaniment.flac, as `accompany synth` writes them."
        )
    return clips


def _song_folders(folders: Iterable[str | os.PathLike[str]]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        root = Path(folder)
        if not root.is_dir():
            raise InputError(f"'{root}' is not a folder; give folders of songs, as `accompany synth` writes them.")
        # Songs of synth lie one folder deep, pairs of prepare two.
        below = [root, *sorted(root.iterdir()), *sorted(root.glob("[!.]*/*"))]
        found += [p for p in below if _one_of(p, _VOCALS) and _one_of(p, _ACCOMPANIMENTS)]
    return found


def _one_of(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _load_clip(folder: Path, sample_rate: int, seconds: float) -> Clip | None:
    vocals_path, accompaniment_path = _one_of(folder, _VOCALS), _one_of(folder, _ACCOMPANIMENTS)
    assert vocals_path is not None and accompaniment_path is not None
    vocal, truth = (_mono(path, sample_rate) for path in (vocals_path, accompaniment_path))
    n = round(seconds * sample_rate)
    start, sung = most_sung_stretch(vocal, sample_rate, n)
    if len(vocal) < n or sung < MIN_SUNG_SHARE:
        logger.info("%s is left out: %.0f%% of its best %g s are sung", folder, 100 * sung, seconds)
        return None
    song: dict[str, Any] = read_json(folder / "song.json") if (folder / "song.json").is_file() else {}
    begin, end = start / sample_rate, (start + n) / sample_rate
    captions = tuple(song.get("captions", ()))
    return Clip(
        name=f"{folder.parent.name}/{folder.name}",
        sample_rate=sample_rate,
        vocal=vocal[start : start + n],
        truth=audio.fit_length(truth, len(vocal))[start : start + n],
        prompt=captions[0] if captions else "",
        captions=captions,
        beats_s=_within(song.get("beats", ()), begin, end),
        downbeats_s=_within(song.get("downbeats", ()), begin, end),
        chords=tuple(
            (max(a, begin) - begin, min(b, end) - begin, label)
            for a, b, label in song.get("chords", ())
            if a < end and b > begin
        ),
        key=song.get("key", ""),
        instruments=tuple(song.get("instruments", ())),
        absent=tuple(song.get("absent", ())),
    )


def _mono(path: Path, sample_rate: int) -> Signal:
    sound = audio.read(path)
    return np.asarray(audio.resample(audio.to_mono(sound.samples), sound.sample_rate, sample_rate), np.float32).reshape(
        -1
    )


def _within(times_s: Iterable[float], begin: float, end: float) -> tuple[float, ...]:
    return tuple(t - begin for t in times_s if begin <= t < end)


def most_sung_stretch(vocal: Signal, sample_rate: int, n_samples: int) -> tuple[int, float]:
    """Start (samples) of the stretch of `n_samples` with the largest share of sung 100 ms blocks, and that share.

    A block is sung when it is within 35 dB of the vocal's loud blocks (95th percentile).
    """
    block = max(1, sample_rate // 10)
    n_blocks, width = len(vocal) // block, max(1, n_samples // block)
    if n_blocks < width:
        return 0, 0.0
    level = np.sqrt(np.mean(vocal[: n_blocks * block].reshape(n_blocks, block).astype(np.float64) ** 2, axis=1))
    sung = level > max(1e-5, float(np.percentile(level, 95)) * 10 ** (-35 / 20))
    counts = np.convolve(sung, np.ones(width), mode="valid")
    best = int(counts.argmax())
    return min(best * block, len(vocal) - n_samples), float(counts[best] / width)
