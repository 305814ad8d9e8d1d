"""`accompany prepare`: a tree of songs in, a folder of sample-aligned (vocals, accompaniment) pairs out.

It can be killed at any moment and run again: a song's pairs appear under its name all at once, and a song that is there
is not made again. Near-duplicates are looked for when all songs are there, so that neither the order of the work nor
its interruptions change what comes out. A song that cannot be read is set aside with its reason, and tried again when
its file has changed.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from accompany.config import read_json, write_json
from accompany.data.fingerprints import find_duplicates, from_text
from accompany.data.jobs import run_jobs
from accompany.data.pair_making import Outcome, PairMaker, PrepareConfig, cannot_write, source_bytes
from accompany.data.pairs import DUPLICATES, RECORD, SETTINGS, records
from accompany.data.prepare_report import Report, write_report
from accompany.data.sources import Song, find_songs
from accompany.errors import InputError
from accompany.processes import only_one_in

_log = logging.getLogger(__name__)

_PART = ".part"


@dataclass(frozen=True)
class Job:
    """One song and the folder that its pairs go to: plain data."""

    song: Song
    target: Path
    run: int


def prepare(
    songs_dir: str | os.PathLike[str],
    pairs_dir: str | os.PathLike[str],
    config: PrepareConfig | None = None,
    *,
    workers: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> Report:
    """Make training pairs of every song under `songs_dir`.

    Args:
        songs_dir: any tree of audio files; with `config.stems` one of folders that hold vocals and the other stems.
        pairs_dir: gets the pairs, in the format of `accompany.data.pairs`, report.json and report.html.
        config: separator, windows, limits, captions.
        workers: processes beside this one, each with its own networks; 0 works in this one.
        device: of the separator.
        progress: show a bar on stderr.

    Raises:
        InputError: no songs, no separator, a folder of pairs made in another way, or no place to write.
    """
    songs_dir, pairs_dir, config = Path(songs_dir), Path(pairs_dir), config or PrepareConfig()
    if songs_dir.resolve() == pairs_dir.resolve():
        raise InputError(f"{pairs_dir} holds the songs themselves; choose another folder for the pairs.")
    found = find_songs(songs_dir, stems=config.stems, leave_out=pairs_dir)
    _make_folder(pairs_dir)
    with only_one_in(pairs_dir):
        run = _open_folder(pairs_dir, config)
        jobs = [Job(song, pairs_dir / song.folder, run) for song in found.songs]
        missing = [job for job in jobs if not is_done(job)]
        _log.info("%d songs, %d of them done before.", len(jobs), len(jobs) - len(missing))
        outcomes = _work(missing, config, device, workers, progress)
        take_out_duplicates(pairs_dir)
        report = write_report(pairs_dir, config, outcomes, found.unreadable)
        _set_run(pairs_dir, config, run + 1)
    return report


def make_worker(config: PrepareConfig, device: str = "cpu") -> Callable[[Job], Outcome]:
    """The function that does one job; loads the networks once."""
    maker = PairMaker(config, device)
    return lambda job: do_job(maker, job)


def do_job(maker: PairMaker, job: Job) -> Outcome:
    """Make a song's pairs beside their place, then move them there in one step."""
    # Of this process alone: one that outlived a killed run may still be at the same song.
    temporary = job.target.parent / f".{job.target.name}.{os.getpid()}{_PART}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        outcome = maker.make(job.song, temporary, run=job.run)
        if job.target.is_dir():
            shutil.rmtree(job.target)
        temporary.replace(job.target)
    except OSError as error:
        raise cannot_write(job.target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return outcome


def is_done(job: Job) -> bool:
    """Whether a song needs no work: its record is there, and if it was set aside its files are as they were."""
    if not (job.target / RECORD).is_file():
        return False
    try:
        record = read_json(job.target / RECORD)
        return record["set_aside"] is None or record["source_bytes"] == source_bytes(job.song)
    except (InputError, KeyError, TypeError):
        return False


def take_out_duplicates(pairs_dir: Path) -> None:
    """Find the pairs that repeat another, write them down in duplicates.json, and delete them.

    Of two the one of an earlier run stays, then the one whose song comes first by name.
    """
    kept = [
        (record["run"], folder.name, window["pair"], window["fingerprint"])
        for folder, record in records(pairs_dir)
        for window in record["windows"]
        if window["reason"] is None
    ]
    kept.sort()
    names = [f"{folder}/{pair}" for _, folder, pair, _ in kept]
    found = find_duplicates([from_text(words) for *_, words in kept])
    repeated = {names[each.index]: {"of": names[each.of], "error_rate": each.error_rate} for each in found}
    try:
        write_json(pairs_dir / DUPLICATES, repeated)
        for name in repeated:
            if (pairs_dir / name).is_dir():
                hidden = pairs_dir / f".{name.replace('/', '.')}{_PART}"
                (pairs_dir / name).replace(hidden)
                shutil.rmtree(hidden)
    except OSError as error:
        raise cannot_write(pairs_dir, error) from error


def _work(jobs: Sequence[Job], config: PrepareConfig, device: str, workers: int, progress: bool) -> list[Outcome]:
    from tqdm import tqdm

    outcomes: list[Outcome] = []
    hours = 0.0
    with tqdm(total=len(jobs), desc="prepare", unit="song", disable=not progress) as bar:
        try:
            for job, outcome in run_jobs(
                jobs, make_worker, (config, device), workers=workers, name="prepare", progress=False
            ):
                if outcome.set_aside is not None:
                    _log.warning("Set aside %s: %s", job.song.song_id, outcome.set_aside)
                outcomes.append(outcome)
                hours += outcome.seconds / 3600
                elapsed = bar.format_dict["elapsed"]
                bar.set_postfix_str(f"{hours:.2f} h of sound, {3600 * hours / max(elapsed, 1e-3):.1f} x real time")
                bar.update()
        except BrokenProcessPool as error:
            raise InputError(
                "A worker process was ended from outside, most often for lack of memory; what was done stays good: "
                "run again, with fewer --workers."
            ) from error
    return outcomes


def _make_folder(pairs_dir: Path) -> None:
    """Make the output folder and delete what a killed run left half made."""
    try:
        pairs_dir.mkdir(parents=True, exist_ok=True)
        with os.scandir(pairs_dir) as entries:
            leftovers = [entry.path for entry in entries if entry.name.startswith(".") and entry.name.endswith(_PART)]
        for leftover in leftovers:
            if Path(leftover).is_dir():
                shutil.rmtree(leftover)
            else:
                with suppress(FileNotFoundError):
                    Path(leftover).unlink()
    except OSError as error:
        raise InputError(
            f"Cannot write to {pairs_dir} ({error.strerror}); choose a folder that is writable."
        ) from error


def _open_folder(pairs_dir: Path, config: PrepareConfig) -> int:
    """The number of this run; InputError when the folder was made with other settings."""
    path = pairs_dir / SETTINGS
    if not path.is_file():
        _set_run(pairs_dir, config, 0)
        return 0
    content = read_json(path)
    before, now = content.get("settings", {}), asdict(config)
    changed = sorted(name for name in now if before.get(name) != now[name])
    if changed:
        raise InputError(
            f"{pairs_dir} was made with other {' and '.join(changed)}; choose a new folder, so that two kinds of pairs "
            "never mix."
        )
    return int(content["run"])


def _set_run(pairs_dir: Path, config: PrepareConfig, run: int) -> None:
    try:
        write_json(pairs_dir / SETTINGS, {"settings": asdict(config), "run": run})
    except OSError as error:
        raise cannot_write(pairs_dir, error) from error
