"""Data preparation (`accompany prepare`): a tree of songs in, sample-aligned (vocals, accompaniment) pairs out.

It can be killed at any moment and run again: a song's pairs appear under its name all at once, and a song that is there
is not made again. Near-duplicates are looked for when all songs are there, so that neither the order of the work nor
its interruptions change what comes out. A song that cannot be read is skipped with its reason, and tried again when
its file has changed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from accompany.common.files import require_writable
from accompany.common.processes import folder_lock
from accompany.data.jobs import run_stages
from accompany.data.prepare.fingerprints import find_duplicates, from_text
from accompany.data.prepare.pair_making import Outcome, PairMaker, PrepareConfig, source_bytes
from accompany.data.prepare.pair_stages import SongJob, make_finisher, make_reader, make_splitter
from accompany.data.prepare.pairs import RECORD
from accompany.data.prepare.pairs_store import PairsStore
from accompany.data.prepare.report import Report, write_report
from accompany.data.prepare.sources import find_songs
from accompany.data.stage import WorkStage
from accompany.data.storage import Store
from accompany.errors import InputError
from accompany.sound.separation import VocalSeparator

_log = logging.getLogger(__name__)

_READERS = 16


def prepare(
    songs_dir: str | os.PathLike[str],
    pairs_dir: str | os.PathLike[str],
    config: PrepareConfig | None = None,
    *,
    workers: int = 0,
    device: str = "cpu",
    ray: str | None = None,
    progress: bool = True,
) -> Report:
    """Make training pairs of every song under `songs_dir`.

    Args:
        songs_dir: any tree of audio files; with `config.stems` one of folders that hold vocals and the other stems.
        pairs_dir: a folder or URL; gets the pairs, in the format of `accompany.data.prepare.pairs`, report.json and
            report.html.
        config: separator, windows, limits, captions.
        workers: processes beside this one, each with its own networks; 0 works in this one. With `ray` the most that
            separate (0: what fits).
        device: of the separator. With `ray` also "auto": what each node has.
        ray: address of a Ray cluster, or "auto", to work on it; all its nodes must see both folders.
        progress: show a bar on stderr.

    Raises:
        InputError: no songs, no separator, a folder of pairs made in another way, or no place to write.
    """
    config = config or PrepareConfig()
    songs_dir, store = Path(songs_dir), Store.at(pairs_dir)
    if ray is not None:
        songs_dir, store = songs_dir.absolute(), store.absolute()
    place = PairsStore(store)
    if place.local is not None and songs_dir.resolve() == place.local.resolve():
        raise InputError(f"{pairs_dir} holds the songs themselves; choose another folder for the pairs.")
    if place.local is not None:
        require_writable(place.local)
    found = find_songs(songs_dir, stems=config.stems, leave_out=place.local)
    with ExitStack() as stack:
        if place.local is not None and not place.local.exists():
            stack.callback(_remove_empty, place.local)
        place.make()
        if place.local is not None:
            stack.enter_context(folder_lock(place.local, "accompany prepare"))
        place.tidy()
        run = place.open(config)
        jobs = [SongJob(song, place, run) for song in found.songs]
        missing = _missing(jobs, place)
        _log.info("%d songs, %d of them done before.", len(jobs), len(jobs) - len(missing))
        try:
            stages = _stages(config, device, on_cluster=ray is not None)
            outcomes = _work(missing, stages, workers, ray, progress)
        except BaseException:
            place.forget()
            raise
        place.tidy()
        take_out_duplicates(place)
        report = write_report(place, config, outcomes, found.unreadable)
        place.set_run(config, run + 1)
    return report


def _remove_empty(folder: Path) -> None:
    """Remove the folder of a run that was refused before it made anything."""
    with suppress(OSError):
        folder.rmdir()


def _stages(config: PrepareConfig, device: str, *, on_cluster: bool) -> list[WorkStage]:
    """On one machine a song is streamed through all in one process; on a cluster decoding, separation and the rest are
    stages of their own."""
    if not on_cluster or config.stems:
        return [WorkStage(make_worker, (config, device), heavy=not config.stems)]
    rate = VocalSeparator(config.separator, "cpu").sample_rate
    return [
        WorkStage(make_reader, (rate,)),
        WorkStage(make_splitter, (config, device), heavy=True),
        WorkStage(make_finisher, (config,)),
    ]


def make_worker(config: PrepareConfig, device: str = "cpu") -> Callable[[SongJob], Outcome]:
    """The function that does one job; loads the networks once."""
    maker = PairMaker(config, None if config.stems else VocalSeparator(config.separator, device))
    return lambda job: job.do(maker)


def _missing(jobs: Sequence[SongJob], place: PairsStore) -> list[SongJob]:
    """The jobs that need work: without a record, or skipped and with changed files since."""
    there = set(place.complete())

    def is_done(job: SongJob) -> bool:
        if job.song.folder not in there:
            return False
        try:
            record = place.read(f"{job.song.folder}/{RECORD}")
            return record["set_aside"] is None or record["source_bytes"] == source_bytes(job.song)
        except (InputError, KeyError, TypeError):
            return False

    with ThreadPoolExecutor(_READERS) as pool:  # In an object store each record is a round trip.
        return [job for job, done in zip(jobs, pool.map(is_done, jobs), strict=True) if not done]


def take_out_duplicates(place: PairsStore) -> None:
    """Find the pairs that repeat another, write them down in duplicates.json, and delete them.

    Of two the one of an earlier run stays, then the one whose song comes first by name.
    """
    kept = [
        (record["run"], folder, window["pair"], window["fingerprint"])
        for folder, record in place.records()
        for window in record["windows"]
        if window["reason"] is None
    ]
    kept.sort()
    names = [f"{folder}/{pair}" for _, folder, pair, _ in kept]
    found = find_duplicates([from_text(words) for *_, words in kept])
    place.take_out({names[each.index]: {"of": names[each.of], "error_rate": each.error_rate} for each in found})


def _work(
    jobs: Sequence[SongJob], stages: Sequence[WorkStage], workers: int, ray: str | None, progress: bool
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    results = run_stages(
        jobs,
        stages,
        workers=workers,
        ray=ray,
        name="prepare",
        progress=progress,
        hours=lambda done: done.seconds / 3600,
    )
    with closing(results):  # its workers end before the folder is free
        for job, outcome in results:
            if outcome.skipped is not None:
                _log.warning("Skipped %s: %s", job.song.song_id, outcome.skipped)
            outcomes.append(outcome)
    return outcomes
