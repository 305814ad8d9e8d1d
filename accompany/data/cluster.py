"""Ray cluster back end: work stages as a Ray Data pipeline, run concurrently with back pressure.

Light stages run as tasks on any CPU; heavy ones as processes that stay and keep their models, on GPUs where the cluster
has any. Ray Data starts no more of a stage than the memory for its results allows (back-pressure), and does again what
was lost with a node. The package must be installed on every node, and places that the work reads and writes must be
the same from all of them.
"""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from accompany.common.extras import require
from accompany.data.stage import WorkStage
from accompany.errors import InputError

_log = logging.getLogger(__name__)

_PATIENCE_S = 5


def run_on_cluster(
    jobs: Sequence[Any], stages: Sequence[WorkStage], address: str, workers: int = 0
) -> Iterator[tuple[Any, Any]]:
    """Yield each job with what the last stage makes of it, in the order in which they are done.

    Args:
        address: of the cluster's head, or "auto": the cluster that this machine is part of, and one of this machine
            alone where it is of none.
        workers: most processes of a heavy stage; 0 for what fits.

    Raises:
        InputError: Ray is missing, there is no such cluster, or a stage raised it.
    """
    connect(address)
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    rows = [{"number": number, "content": pickle.dumps(job)} for number, job in enumerate(jobs)]
    # A block for each job: the unit that is waited for, and made again when a node dies.
    data: Any = ray.data.from_items(rows, override_num_blocks=len(rows))
    for stage in stages:
        data = data.map(_StageProcess, fn_constructor_args=(stage,), **_resources(stage, workers))
    for row in data.iter_rows():
        result = pickle.loads(row["content"])
        if isinstance(result, _Refused):
            raise InputError(result.sentence)
        yield jobs[row["number"]], result


def _resources(stage: WorkStage, workers: int) -> dict[str, Any]:
    """Resources of a stage's processes, and their number: at least one, else as many as fit."""
    import ray.data

    there = ray.cluster_resources()
    cpus, gpus = max(int(there.get("CPU", 1)), 1), int(there.get("GPU", 0))
    most = (gpus or cpus) if stage.heavy else (cpus if gpus else max(cpus // 2, 1))
    if stage.heavy and workers:
        most = min(most, workers)
    # Without GPUs light processes are not counted as load: else they could, when a node dies, hold the last CPU that a
    # heavy one waits for.
    counted = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=most)
    return {**(counted if stage.heavy else {"num_cpus": 1 if gpus else 0}), "compute": pool}


class _Refused:
    """An InputError on its way to the driver: Ray would wrap it beyond recognition."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence


class _StageProcess:
    """A stage in one of its processes."""

    def __init__(self, stage: WorkStage) -> None:
        import torch

        torch.set_num_threads(1)
        try:
            self._work = stage.make(*stage.arguments)
        except InputError as error:  # raised here, Ray would make the process again and again
            refused = _Refused(str(error))
            self._work = lambda job: refused

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        content = pickle.loads(row["content"])
        if not isinstance(content, _Refused):
            try:
                content = self._work(content)
            except InputError as error:
                content = _Refused(str(error))
        return {"number": row["number"], "content": pickle.dumps(content, protocol=5)}


def connect(address: str) -> None:
    """Join a cluster, unless this process is in one.

    Args:
        address: as in `run_on_cluster`.

    Raises:
        InputError: Ray is missing, or there is no such cluster.
    """
    require("cluster", "ray", what="--ray")
    import ray

    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    # Ray would try a wrong address for minutes, then end the process.
    host, _, port = address.rpartition(":")
    if port.isdecimal() and not _answers(host.split("//")[-1], int(port)):
        raise InputError(f"There is no Ray cluster at {address}; start one with: ray start --head.")
    try:
        ray.init(address=address, **options)
    except (OSError, ValueError, TypeError, RuntimeError, AssertionError) as error:  # Ray has many for a wrong address
        if address != "auto":
            raise InputError(
                f"Ray finds no cluster at '{address}'; give HOST:PORT of its head, or auto (and set RAY_AUTH_MODE=token"
                " where it wants a token)."
            ) from error
        _log.info("No Ray cluster runs here; one of this machine alone is started.")
        ray.init(**options)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_PATIENCE_S).close()
    except OSError:
        return False
    return True
