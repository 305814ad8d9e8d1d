"""The same work on many songs: here or in worker processes, in order, with a progress bar."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

JobT = TypeVar("JobT")

Worker = Callable[[Any], Any]


def run_jobs(
    jobs: Sequence[JobT],
    make_worker: Callable[..., Worker],
    arguments: tuple[Any, ...],
    *,
    workers: int = 0,
    name: str,
    progress: bool = True,
) -> Iterator[tuple[JobT, Any]]:
    """Yield each job with its result, in order.

    Args:
        jobs: plain data, so that they cross to other processes.
        make_worker: called once in each process with `arguments`; loads what the work needs and returns the
            function that does one job. A function of a module, so that other processes find it.
        workers: processes; 0 or 1 works in this one.
        name: shown beside the progress bar.
        progress: show the bar on stderr.
    """
    from tqdm import tqdm

    if not jobs:
        return
    results = _here(jobs, make_worker, arguments) if workers <= 1 else _pool(jobs, make_worker, arguments, workers)
    paired = zip(jobs, results, strict=True)
    yield from tqdm(paired, total=len(jobs), desc=name, unit="song", disable=not progress)


def _here(jobs: Sequence[Any], make_worker: Callable[..., Worker], arguments: tuple[Any, ...]) -> Iterator[Any]:
    worker = make_worker(*arguments)
    for job in jobs:
        yield worker(job)


def _pool(
    jobs: Sequence[Any], make_worker: Callable[..., Worker], arguments: tuple[Any, ...], workers: int
) -> Iterator[Any]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_start, initargs=(make_worker, arguments)) as pool:
        try:
            yield from pool.map(_work, jobs)
        finally:
            # Reached early on an error or Ctrl-C: songs that wait are not begun.
            pool.shutdown(wait=True, cancel_futures=True)


_worker: Worker | None = None


def _start(make_worker: Callable[..., Worker], arguments: tuple[Any, ...]) -> None:
    import torch

    global _worker
    torch.set_num_threads(1)
    _worker = make_worker(*arguments)


def _work(job: Any) -> Any:
    assert _worker is not None
    return _worker(job)
