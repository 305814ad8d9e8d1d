"""`accompany prepare`: a tree of songs in, folders with a sample-aligned (vocals, accompaniment) pair out.

It can be killed at any moment and run again: a pair appears under its name only when complete, and one that
is there is not made again. A song that cannot be used is set aside with its reason in report.json.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.config import read_json, write_json
from accompany.data.encode import ACCOMPANIMENT, DEFAULT_CAPTION, SONG, VOCALS
from accompany.data.jobs import run_jobs
from accompany.data.separate import VocalSeparator
from accompany.errors import InputError

_log = logging.getLogger(__name__)

SUFFIXES = frozenset(".wav .flac .ogg .opus .mp3 .aif .aiff .m4a .aac .mp4 .wma .webm".split())
REPORT = "report.json"
DEFAULT_SEPARATOR = "htdemucs"

_MIXES = frozenset(("mix", "mixture", "master"))
_PART = ".part"
_AUDIBLE_SHARE = 1e-4
_MIN_SECONDS = 1.0


@dataclass(frozen=True)
class Report:
    """What came of a run: pairs in the folder, their hours, and each song set aside with its reason."""

    pairs: int
    hours: float
    separator: str
    set_aside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """One song: its file (or the files of its stems) and the folder of its pair."""

    song_id: str
    vocals_or_mix: Path
    others: tuple[Path, ...]
    sidecars: tuple[Path, ...]
    target: Path


def prepare(
    songs_dir: str | os.PathLike[str],
    pairs_dir: str | os.PathLike[str],
    *,
    separator: str = DEFAULT_SEPARATOR,
    stems: bool = False,
    workers: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> Report:
    """Make training pairs of every song under `songs_dir`.

    Args:
        songs_dir: any tree of audio files; with `stems` one of folders that hold vocals and the other stems.
        pairs_dir: gets a folder with vocals.flac, accompaniment.flac and song.json for each song.
        separator: a Demucs name, `hf://` id or folder.
        stems: take the stems that are there (MUSDB18-HQ's layout, or vocals + accompaniment) and separate nothing.
        workers: processes beside this one, each with its own separator.
        device: of the separator.
        progress: show a bar on stderr.

    Raises:
        InputError: no songs, no separator, or no place to write.
    """
    songs_dir, pairs_dir = Path(songs_dir), Path(pairs_dir)
    if not songs_dir.is_dir():
        raise InputError(f"There is no folder {songs_dir}; give the folder that holds the songs.")
    jobs = _stem_jobs(songs_dir, pairs_dir) if stems else _mix_jobs(songs_dir, pairs_dir)
    if not jobs:
        wanted = "folders with vocals and other stems" if stems else f"audio files ({' '.join(sorted(SUFFIXES))})"
        raise InputError(f"{songs_dir} holds no {wanted}; check the folder.")
    _make_folder(pairs_dir)
    missing = [job for job in jobs if not (job.target / SONG).is_file()]
    maker, arguments = (_stem_worker, ()) if stems else (_mix_worker, (separator, device))
    results = run_jobs(missing, maker, arguments, workers=workers, name="prepare", progress=progress)
    set_aside = {job.song_id: reason for job, reason in results if reason}
    for song_id, reason in set_aside.items():
        _log.warning("Set aside %s: %s", song_id, reason)
    return _report(jobs, pairs_dir, "stems" if stems else separator, set_aside)


def _mix_jobs(songs_dir: Path, pairs_dir: Path) -> list[_Job]:
    files = [path for path in _walk(songs_dir, pairs_dir) if path.suffix.lower() in SUFFIXES]
    stems = [path.relative_to(songs_dir).with_suffix("").as_posix() for path in files]
    jobs = []
    for path, stem in zip(files, stems, strict=True):
        # Two files of one name keep their suffix, so that neither hides the other.
        song_id = stem if stems.count(stem) == 1 else f"{stem}_{path.suffix[1:]}"
        sidecars = tuple(path.with_suffix(suffix) for suffix in (".json", ".txt"))
        jobs.append(_Job(song_id, path, (), sidecars, pairs_dir / song_id))
    return jobs


def _stem_jobs(songs_dir: Path, pairs_dir: Path) -> list[_Job]:
    jobs = []
    for vocals in _walk(songs_dir, pairs_dir):
        if vocals.stem.lower() != "vocals" or vocals.suffix.lower() not in SUFFIXES:
            continue
        folder = vocals.parent
        sounds = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path != vocals)
        whole = [path for path in sounds if path.stem.lower() == "accompaniment"]
        others = tuple(whole or [path for path in sounds if path.stem.lower() not in _MIXES])
        song_id = folder.relative_to(songs_dir).as_posix() if folder != songs_dir else songs_dir.resolve().name
        sidecars = (folder / SONG, folder / "song.txt")
        jobs.append(_Job(song_id, vocals, others, sidecars, pairs_dir / song_id))
    return jobs


def _walk(songs_dir: Path, pairs_dir: Path) -> Iterable[Path]:
    """Files in a fixed order, without those of the output folder; links to folders are not followed (no loops)."""
    output = pairs_dir.resolve()
    for root, folders, files in os.walk(songs_dir):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(root) / name).resolve() != output
        )
        yield from (Path(root) / name for name in sorted(files) if not name.startswith("."))


def _make_folder(pairs_dir: Path) -> None:
    """Make the output folder and delete what a killed run left half made."""
    try:
        pairs_dir.mkdir(parents=True, exist_ok=True)
        for leftover in list(pairs_dir.rglob(f".*{_PART}")):
            shutil.rmtree(leftover)
    except OSError as error:
        raise InputError(
            f"Cannot write to {pairs_dir} ({error.strerror}); choose a folder that is writable."
        ) from error


def _mix_worker(separator: str, device: str) -> Callable[[_Job], str | None]:
    model = VocalSeparator(separator, device)

    def work(job: _Job) -> str | None:
        song = audio.read(job.vocals_or_mix)
        if song.seconds < _MIN_SECONDS:
            raise InputError(f"{job.vocals_or_mix} lasts {song.seconds:.2f} s; at least {_MIN_SECONDS:g} s are needed.")
        vocals, band = model.split(song)
        _write_pair(job, vocals, band, model.sample_rate)
        return None

    return lambda job: _reason(work, job)


def _stem_worker() -> Callable[[_Job], str | None]:
    def work(job: _Job) -> str | None:
        if not job.others:
            raise InputError(
                f"{job.vocals_or_mix.parent} has vocals and no other stems; add them, or an accompaniment."
            )
        vocals = audio.read(job.vocals_or_mix)
        band = np.zeros((2, vocals.samples.shape[1]), np.float32)
        for path in job.others:
            stem = audio.read(path)
            if (stem.sample_rate, stem.samples.shape[1]) != (vocals.sample_rate, vocals.samples.shape[1]):
                raise InputError(
                    f"{path} is not as long as {job.vocals_or_mix.name}, or of another rate; export both alike."
                )
            band += stem.samples if stem.samples.shape[0] == 2 else audio.to_mono(stem.samples)
        _write_pair(job, vocals.samples, band, vocals.sample_rate)
        return None

    return lambda job: _reason(work, job)


def _reason(work: Callable[[_Job], str | None], job: _Job) -> str | None:
    """None when a pair was made, else the sentence that says why not."""
    try:
        return work(job)
    except InputError as error:
        return str(error)


def _write_pair(job: _Job, vocals: np.ndarray, band: np.ndarray, sample_rate: int) -> None:
    _check_both_sides(job, vocals, band)
    peak = max(float(np.abs(vocals).max()), float(np.abs(band).max()))
    # One gain for both sides, so that their balance survives.
    gain = np.float32(min(1.0, 0.999 / peak))
    temporary = job.target.parent / f".{job.target.name}{_PART}"
    try:
        temporary.mkdir(parents=True)
        audio.write(temporary / VOCALS, audio.to_mono(vocals) * gain, sample_rate)
        audio.write(temporary / ACCOMPANIMENT, band * gain, sample_rate)
        write_json(temporary / SONG, _song(job, sample_rate, vocals.shape[-1]))
        temporary.replace(job.target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise InputError(
            f"Cannot write {job.target} ({error.strerror}); make room or choose another folder."
        ) from error


def _check_both_sides(job: _Job, vocals: np.ndarray, band: np.ndarray) -> None:
    energies = float(np.mean(vocals**2)), float(np.mean(band**2))
    total = sum(energies)
    if not total > 1e-10:
        raise InputError(f"{job.vocals_or_mix} is silent; leave it out.")
    for name, energy in zip(("vocals", "accompaniment"), energies, strict=True):
        if energy < _AUDIBLE_SHARE * total:
            raise InputError(f"{job.vocals_or_mix} has no {name} (below {_AUDIBLE_SHARE:.2%} of its energy).")


def _song(job: _Job, sample_rate: int, n_samples: int) -> dict[str, Any]:
    """The content of song.json: the sidecar's, with captions in any case."""
    song: dict[str, Any] = {}
    json_file, text_file = job.sidecars
    if json_file.is_file():
        content = read_json(json_file)
        song = dict(content) if isinstance(content, dict) else {}
    captions = [str(caption) for caption in song.get("captions") or []]
    source = "sidecar"
    if not captions and text_file.is_file():
        lines = text_file.read_text(encoding="utf-8", errors="replace").splitlines()
        captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        captions, source = [DEFAULT_CAPTION], "default"
    return {
        **song,
        "format": 1,
        "captions": captions,
        "caption_source": source,
        "source": str(job.vocals_or_mix),
        "sample_rate": sample_rate,
        "n_samples": n_samples,
    }


def _report(jobs: list[_Job], pairs_dir: Path, separator: str, set_aside: dict[str, str]) -> Report:
    songs = [read_json(job.target / SONG) for job in jobs if (job.target / SONG).is_file()]
    hours = sum(song["n_samples"] / song["sample_rate"] for song in songs) / 3600
    report = Report(len(songs), round(hours, 4), separator, set_aside)
    write_json(pairs_dir / REPORT, asdict(report))
    return report
