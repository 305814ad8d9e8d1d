"""Parallel jobs over many songs: in this process, in workers or on a cluster, with a progress bar.

Work is one stage or several; what one makes the next one takes. A stage is made once in each process (it loads its
models there) and is then a function of one argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from accompany.common.processes import worker_pool
from accompany.data.stage import WorkStage
from accompany.errors import InputError

JobT = TypeVar("JobT")

_AHEAD = 2
"""Jobs that a worker process may be ahead of what is taken from it, so that results do not pile up in memory."""


def run_stages(
    jobs: Sequence[JobT],
    stages: Sequence[WorkStage],
    *,
    workers: int = 0,
    ray: str | None = None,
    name: str,
    progress: bool = True,
    unit: str = "song",
    size: Callable[[JobT], int] = lambda job: 1,
    hours: Callable[[Any], float] | None = None,
) -> Generator[tuple[JobT, Any]]:
    """Yield each job with its result: in order on this machine, as they come from a cluster.

    Args:
        jobs: plain data, so that they cross to other processes.
        stages: steps of the work, in order.
        workers: processes; 0 or 1 works in this one. With `ray` the most that a heavy stage gets (0: what fits).
        ray: address of a Ray cluster, or "auto"; None for this machine.
        name: shown beside the progress bar.
        progress: show the bar on stderr.
        unit: what the bar counts, and `size` how many of them a job is.
        hours: of music in a result, shown beside the count.

    Raises:
        InputError: a stage raised it, a worker process died, or there is no such cluster.
    """
    from tqdm import tqdm

    if not jobs:
        return
    total, done_h = sum(size(job) for job in jobs), 0.0
    with tqdm(total=total, desc=name, unit=unit, disable=not progress) as bar:
        for job, result in _results(jobs, stages, workers, ray):
            if hours is not None:
                done_h += hours(result)
                speed = 3600 * done_h / max(bar.format_dict["elapsed"], 1e-3)
                bar.set_postfix_str(f"{done_h:.2f} hours, {speed:.1f} x real time", refresh=False)
            bar.update(size(job))
            yield job, result


def _results(
    jobs: Sequence[Any], stages: Sequence[WorkStage], workers: int, ray: str | None
) -> Iterator[tuple[Any, Any]]:
    if ray is not None:
        from accompany.data.cluster import run_on_cluster

        yield from run_on_cluster(jobs, stages, ray, workers)
        return
    results: Iterator[Any]
    if workers <= 1:
        results = map(Chain(stages), jobs)
    elif stages[-1].here:
        results = map(Chain(stages[-1:]), _pool(jobs, stages[:-1], workers))
    else:
        results = _pool(jobs, stages, workers)
    yield from zip(jobs, results, strict=True)


class Chain:
    """Stages made in this process, one after the other."""

    def __init__(self, stages: Sequence[WorkStage]) -> None:
        self._steps = [stage.make(*stage.arguments) for stage in stages]

    def __call__(self, job: Any) -> Any:
        """The result of the last stage for a job."""
        for step in self._steps:
            job = step(job)
        return job


def _pool(jobs: Sequence[Any], stages: Sequence[WorkStage], workers: int) -> Iterator[Any]:
    with worker_pool(workers, _start, tuple(stages)) as pool:
        waiting: deque[Any] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(_work, job))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "A worker process died, most often for lack of memory; run again with fewer --workers: what was done "
                "before stays good."
            ) from error


_chain: Chain | InputError | None = None


def _start(stages: tuple[WorkStage, ...]) -> None:
    import torch

    global _chain
    torch.set_num_threads(1)
    try:
        _chain = Chain(stages)
    except InputError as error:  # raised here it would pass for the death of the process
        _chain = error


def _work(job: Any) -> Any:
    assert _chain is not None
    if isinstance(_chain, InputError):
        raise _chain
    return _chain(job)
