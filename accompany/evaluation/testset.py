"""Test clips: a vocal, its true accompaniment, a prompt and the available annotations."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.config import read_json
from accompany.data.prepare.sources import SongFiles, find_songs
from accompany.errors import InputError
from accompany.evaluation.metrics import Signal

logger = logging.getLogger(__name__)

MIN_SUNG_SHARE = 0.4


@dataclass(frozen=True)
class Clip:
    """One test clip; all times are seconds from its start, audio is mono float32 at `sample_rate`.

    `truth` is the true accompaniment, `beats_s`, `chords` and `notes` (start, end, MIDI pitch of the melody) are empty
    where they are not known, `instruments` are those that the song says it has, `absent` those that it says it has not.
    `start_s` is where the clip lies in its song of `song_s` seconds. `beats_by` names the tracker that found the beats
    in the true mix; it is empty where they are known.
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
    notes: tuple[tuple[float, float, float], ...] = ()
    instruments: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    start_s: float = 0.0
    song_s: float = 0.0
    beats_by: str = ""

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
    min_sung: float = MIN_SUNG_SHARE,
) -> list[Clip]:
    """One clip of `seconds` from each song folder below `folders`, the stretch with the most singing.

    A song folder holds vocals and either `accompaniment.flac|wav` or other stems that sum up to it, as
    `accompany synth`, `accompany prepare`, MUSDB18-HQ and MoisesDB have them. `song.json` beside them (as synth and
    prepare write it) or `song.txt` (a prompt) may say more. Songs that are too short, or that sing in less than
    `min_sung` of the clip, are left out with a log line.

    Raises:
        InputError: no usable song folder is found.
    """
    clips: list[Clip] = []
    for song in _songs(folders):
        if limit is not None and len(clips) >= limit:
            break
        clip = _load_clip(song, sample_rate, seconds, min_sung)
        if clip is not None:
            clips.append(clip)
    if not clips:
        wanted = " or ".join(str(folder) for folder in folders)
        raise InputError(
            f"There is no song with singing of at least {seconds:g} s in {wanted}; "
            "give folders that hold vocals.flac and accompaniment.flac, as `accompany synth` writes them, "
            "or the folders of MUSDB18-HQ or MoisesDB."
        )
    return clips


def check_folders(folders: Iterable[str | os.PathLike[str]]) -> None:
    """InputError for a folder that is none."""
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError(f"'{folder}' is not a folder; give folders of songs, as `accompany synth` writes them.")


def _songs(folders: Iterable[str | os.PathLike[str]]) -> list[SongFiles]:
    folders = list(folders)
    check_folders(folders)
    found: list[SongFiles] = []
    for root in map(Path, folders):
        try:
            songs = find_songs(root, stems=True)
        except InputError as error:
            logger.info("%s", error)
            continue
        for hidden, reason in songs.unreadable.items():
            logger.warning("%s is left out: %s", hidden, reason)
        found += [song for song in songs.songs if song.vocals and song.others]
    return found


def _load_clip(song: SongFiles, sample_rate: int, seconds: float, min_sung: float) -> Clip | None:
    vocal, truth = _sum(song.vocals, sample_rate), _sum(song.others, sample_rate)
    n = round(seconds * sample_rate)
    start, sung = most_sung_stretch(vocal, sample_rate, n)
    if len(vocal) < n or sung < min_sung:
        logger.info("%s is left out: %.0f%% of its best %g s are sung", song.source, 100 * sung, seconds)
        return None
    facts = _facts(song)
    begin, end = start / sample_rate, (start + n) / sample_rate
    captions = tuple(facts.get("captions", ()))
    return Clip(
        name=f"{song.source.resolve().parent.name}/{song.source.resolve().name}",
        sample_rate=sample_rate,
        vocal=vocal[start : start + n],
        truth=audio.fit_length(truth, len(vocal))[start : start + n],
        prompt=captions[0] if captions else "",
        captions=captions,
        beats_s=_within(facts.get("beats", ()), begin, end),
        downbeats_s=_within(facts.get("downbeats", ()), begin, end),
        chords=tuple(
            (max(a, begin) - begin, min(b, end) - begin, label)
            for a, b, label in facts.get("chords", ())
            if a < end and b > begin
        ),
        key=facts.get("key", ""),
        notes=tuple(
            (max(a, begin) - begin, min(b, end) - begin, pitch)
            for a, b, pitch, *_ in facts.get("notes", ())
            if a < end and b > begin
        ),
        instruments=tuple(facts.get("instruments", ())),
        absent=tuple(facts.get("absent", ())),
        start_s=begin,
        song_s=len(vocal) / sample_rate,
    )


def _facts(song: SongFiles) -> dict[str, Any]:
    """Metadata of a song: `song.json`, and `song.txt` as its prompt where that has none."""
    facts: dict[str, Any] = {}
    for path in song.sidecars:
        if path.suffix == ".json" and path.is_file():
            facts |= read_json(path)
        elif path.suffix == ".txt" and path.is_file() and not facts.get("captions"):
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            facts["captions"] = [text] if text else []
    return facts


def _sum(paths: tuple[Path, ...], sample_rate: int) -> Signal:
    """The sum of files, mono float32 [T]; what ends early is silent from there on."""
    sounds = [audio.read_mono(path, sample_rate)[0].samples[0] for path in paths]
    total = np.zeros(max(map(len, sounds)), np.float32)
    for sound in sounds:
        total[: len(sound)] += sound
    return total


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
