"""Long songs from end to end: beats and key at both ends, seams between windows, memory, speed and latency."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from accompany import audio
from accompany.errors import InputError
from accompany.evaluation import chord_metrics, metrics
from accompany.evaluation.clip_metrics import stage_borders
from accompany.evaluation.metrics import Signal
from accompany.evaluation.seams import FrameChanges
from accompany.evaluation.speed.measure import peak_memory
from accompany.evaluation.studies.setup import StudySetup, mono
from accompany.evaluation.studies.table import Study
from accompany.evaluation.testset import Clip, load_clips
from accompany.generation.take import Take

_END_S = 30.0
_REST_S = 8.0
_LEAST_SUNG = 0.1
_SILENT_DB = -50.0
_DRAWS = 20

DEFINITIONS = {
    "beat F first 30 s, last 30 s": "of the judge's beats in the accompaniment, against the known grid",
    "plan F first 30 s, last 30 s": "of the beats of the plan, against the known grid",
    "tempo last/first": "tempo of the plan in the last 30 s over that in the first",
    "key fit first, last": "Pearson r of the band's mean chroma and the profile of the plan's key, first and last 30 s",
    "seam flux, seam level": "largest rise of the spectrum (and step of level) within 30 ms of the windows' borders, "
    "over that elsewhere; 1: no seam",
    "other places": f"the same of as many places drawn at random, largest of {_DRAWS} draws: how far chance goes",
    "rests": "level of the band in dB while the voice rests for 2 s and more, against the rest of the song",
    "rtf": "seconds of work for a second of song",
    "first sound": "seconds until `band.stream` gives its first piece",
    "peak MB": "most memory that the process held while it generated, what evaluation keeps included",
}


def lengths(setup: StudySetup) -> Study:
    """Whole songs, with the predicted tempo and with the annotated one where there is one."""
    rows: dict[str, dict[str, list[float | None]]] = {}
    for clip in setup.clips:
        tempi: dict[str, float | None] = {"predicted tempo": None, "known tempo": _tempo(clip)}
        for name, bpm in tempi.items():
            columns = {} if name != "predicted tempo" and bpm is None else _measure(setup, clip, bpm)
            row = rows.setdefault(name, {})
            for column, value in columns.items():
                row.setdefault(column, []).append(value)
    seconds = setup.clips[0].seconds
    return Study(f"{len(setup.clips)} songs of {seconds:g} s from end to end", rows, DEFINITIONS)


def load_long(folders: Sequence[str], sample_rate: int, seconds: float, limit: int | None) -> list[Clip]:
    """Songs of `seconds`; of a folder without songs its recordings, each sung again and again with rests between.

    Raises:
        InputError: no such folder, or nothing in it.
    """
    clips: list[Clip] = []
    for folder in folders:
        try:
            clips += load_clips([folder], sample_rate=sample_rate, seconds=seconds, min_sung=_LEAST_SUNG)
        except InputError:
            clips += _looped(Path(folder), sample_rate, seconds)
    return clips[:limit]


def _looped(folder: Path, sample_rate: int, seconds: float) -> list[Clip]:
    from accompany.data.prepare.sources import find_songs

    made = []
    for song in find_songs(folder, stems=False).songs:
        assert song.mix is not None
        voice = audio.read_mono(song.mix, sample_rate)[0].samples[0]
        turn = np.concatenate([voice, np.zeros(round(_REST_S * sample_rate), np.float32)])
        n = round(seconds * sample_rate)
        vocal = np.tile(turn, -(-n // len(turn)))[:n]
        made.append(Clip(song.song_id, sample_rate, vocal, np.zeros_like(vocal), "", song_s=seconds))
    return made


def _measure(setup: StudySetup, clip: Clip, bpm: float | None) -> dict[str, float | None]:
    band, vocal = setup.band, (clip.vocal, clip.sample_rate)
    stream = band.stream(vocal, clip.prompt, seed=setup.seed, bpm=bpm)
    next(iter(stream))
    with peak_memory(band.device) as peak_mb:
        started = time.perf_counter()
        take = band.generate(vocal, clip.prompt, seed=setup.seed, bpm=bpm)
        wall_s, most_mb = time.perf_counter() - started, peak_mb()
    sound = mono(take)
    return {
        **_time(setup, clip, take, sound),
        **_key(take, sound),
        **_seams(setup, sound),
        "rests": _rests(clip.vocal, sound, clip.sample_rate),
        "rtf": wall_s / clip.seconds,
        "first sound": stream.first_sound_s,
        "peak MB": most_mb,
    }


def _time(setup: StudySetup, clip: Clip, take: Take, sound: Signal) -> dict[str, float | None]:
    played, planned, truth = setup.beats(sound), np.array(take.plan.beats_s), np.array(clip.beats_s)
    found: dict[str, float | None] = {}
    ends = {"first 30 s": (0.0, _END_S), "last 30 s": (clip.seconds - _END_S, clip.seconds)}
    for name, beats in (("beat F", played), ("plan F", planned)):
        for end, (start, stop) in ends.items():
            score = metrics.beat_f(_within(beats, start, stop), _within(truth, start, stop))
            found[f"{name} {end}"] = score if clip.beats_s else None
    first, last = (_within(planned, start, stop) for start, stop in ends.values())
    known = len(first) > 2 and len(last) > 2
    found["tempo last/first"] = float(np.diff(first).mean() / np.diff(last).mean()) if known else None
    return found


def _key(take: Take, sound: Signal) -> dict[str, float | None]:
    n = round(_END_S * take.sample_rate)
    parts = {"key fit first": sound[:n], "key fit last": sound[-n:]}
    return {
        name: chord_metrics.key_fit(metrics.chroma(part, take.sample_rate), take.plan.key) if take.plan.key else None
        for name, part in parts.items()
    }


def _seams(setup: StudySetup, sound: Signal) -> dict[str, float | None]:
    seconds = len(sound) / setup.band.sample_rate
    borders = stage_borders(setup.bundle, seconds)
    if not borders:
        return {}
    changes = FrameChanges.of(sound[None], setup.band.sample_rate)
    rng = np.random.default_rng(setup.seed)
    found = changes.seams(borders)
    draws = [changes.seams(rng.uniform(1.0, seconds - 1.0, len(borders)).tolist()) for _ in range(_DRAWS)]
    return {
        "seam flux": found.flux_ratio,
        "other places flux": max(draw.flux_ratio for draw in draws),
        "seam level": found.level_ratio,
        "other places level": max(draw.level_ratio for draw in draws),
    }


def _rests(vocal: Signal, sound: Signal, rate: int) -> float | None:
    """Level of the band in rests of the voice of two seconds and more, in dB against the other time."""
    block = round(0.1 * rate)
    n = len(vocal) // block
    voice, band = (np.square(each[: n * block].astype(np.float64)).reshape(n, block).mean(1) for each in (vocal, sound))
    silent = 10 * np.log10(voice + 1e-12) < _SILENT_DB
    run = np.convolve(silent, np.ones(20), mode="valid") >= 20
    resting = np.convolve(run, np.ones(20)) > 0
    if not resting.any() or resting.all():
        return None
    return float(10 * np.log10((band[resting].mean() + 1e-12) / (band[~resting].mean() + 1e-12)))


def _within(beats_s: np.ndarray, start_s: float, stop_s: float) -> np.ndarray:
    return beats_s[(beats_s >= start_s) & (beats_s < stop_s)]


def _tempo(clip: Clip) -> float | None:
    return 60.0 / float(np.median(np.diff(clip.beats_s))) if len(clip.beats_s) > 1 else None
