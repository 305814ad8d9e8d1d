"""`accompany train --ray`: training by Ray Train, which starts the workers and restarts them after a failure.

Ray's TorchTrainer makes the group of processes, Ray's classes for Lightning give each its rank and device. Checkpoints
are those of any other run: in the run's folder, which all nodes must see, as they must see the tokens.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from accompany.common.overrides import load_config
from accompany.data.cluster import connect
from accompany.data.tokens.store import read_manifest
from accompany.errors import InputError
from accompany.training.stages.module import RunConfig
from accompany.training.stages.trainer import STOP_REQUEST
from accompany.training.tasks import find_task
from accompany.training.train import config_named, make_run_dir, train

_log = logging.getLogger(__name__)

_RESTARTS = 8
"""Most times that the workers are started again in one go. That a node is taken away as announced does not count."""
_RECORDS = "ray"
"""Folder in the run's folder for what Ray notes."""


def train_on_cluster(
    task: str, config_source: str | os.PathLike[str] | None, overrides: Sequence[str], address: str
) -> Path:
    """Train on a Ray cluster, with `devices` x `nodes` workers.

    Args:
        task: as in `accompany.training.train.train`, like the next two.
        config_source: relative paths count from the folder that this process works in, which all nodes must see.
        overrides: too.
        address: as in `accompany.data.cluster.run_on_cluster`.

    Returns:
        The folder of the trained model.

    Raises:
        InputError: what `train` refuses, no such cluster, more workers than it has room for, or nodes that do not see
            the same folders.
    """
    config: Any = load_config(find_task(task).config, config_named(config_source, task), overrides)
    read_manifest(config.tokens)
    connect(address)
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    count, needs = workers_of(config, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    run_dir = make_run_dir(config.run_dir or f"runs/{task}").absolute()
    # Beside this process: no node of workers that dies takes the lines with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    lines = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    given = {"task": task, "source": _full_path(config_source), "overrides": list(overrides), "lines": lines}
    trainer = TorchTrainer(
        cast(Any, _work),
        train_loop_config={**given, "folder": os.getcwd(), "run_dir": os.fspath(run_dir)},
        scaling_config=ray.train.ScalingConfig(num_workers=count, use_gpu="GPU" in needs, resources_per_worker=needs),
        run_config=ray.train.RunConfig(
            name=_RECORDS,
            storage_path=os.fspath(run_dir),
            failure_config=ray.train.FailureConfig(max_failures=_RESTARTS),
            callbacks=[_watcher(lines)],
        ),
    )
    _log.info("%d workers on the Ray cluster, each with %s.", count, _in_words(needs))
    request = run_dir / STOP_REQUEST
    try:
        with _repeating(lines), _asking_to_stop(request) as asked:
            result: Any = trainer.fit()
        if asked and not result.return_value:
            name = "Ctrl-C" if asked[0] == signal.SIGINT else "SIGTERM"
            sentence = f"Stopped by {name}; the workers have saved their step: run it again to go on."
            if asked[0] == signal.SIGINT:
                raise KeyboardInterrupt(sentence)
            _log.warning("%s", sentence)
            raise SystemExit(128 + asked[0])
        return Path(result.return_value)
    except ray.train.ControllerError as error:
        if isinstance(error.controller_failure, InputError):
            raise InputError(str(error.controller_failure)) from error
        raise


@contextmanager
def _asking_to_stop(request: Path) -> Iterator[list[int]]:
    """Turn SIGTERM and Ctrl-C into a file that the workers look for after each batch: no signal reaches them.

    Gives the list that the signal is put into. The second one ends this process at once.
    """
    request.unlink(missing_ok=True)
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(signum: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)
        asked.append(signum)
        request.touch()

    before = {signum: signal.signal(signum, ask) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        request.unlink(missing_ok=True)


def workers_of(run: RunConfig, nodes: Sequence[Mapping[str, float]]) -> tuple[int, dict[str, float]]:
    """Workers of a run on a cluster, and their resources.

    Args:
        run: `devices` on each of so many `nodes`; 0 devices are all GPUs of a node, where there are any, else one CPU.
        nodes: of each node how many it has of "CPU" and "GPU".

    Raises:
        InputError: there is no such device, or no room for so many.
    """
    gpus = sorted((int(node.get("GPU", 0)) for node in nodes), reverse=True)
    if run.device == "mps" or (run.device == "cuda" and not any(gpus)):
        raise InputError(f"device={run.device} is not available on this Ray cluster; use auto or cpu.")
    on_gpus = run.device != "cpu" and any(gpus)
    if on_gpus and not run.devices and (len(gpus) < run.nodes or not gpus[run.nodes - 1]):
        raise InputError(f"nodes={run.nodes} is more than the nodes with GPUs of this Ray cluster; use fewer.")
    count = run.nodes * (run.devices or (gpus[run.nodes - 1] if on_gpus else 1))
    needs = {"CPU": max(run.threads, 1), **({"GPU": 1} if on_gpus else {})}
    room = sum(min(int(node.get(name, 0) // amount) for name, amount in needs.items()) for node in nodes)
    if count > room:
        raise InputError(
            f"{count} workers (devices x nodes) with {_in_words(needs)} each are more than the {room} that this Ray "
            "cluster has room for; use fewer devices or nodes, or fewer threads."
        )
    return count, {name: float(amount) for name, amount in needs.items()}


def _in_words(needs: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in needs.items())


def _full_path(source: str | os.PathLike[str] | None) -> str | None:
    """A config's file by its full path; a name as it is."""
    if source is None:
        return None
    return os.path.abspath(source) if os.path.isfile(source) else os.fspath(source)


def _work(given: Mapping[str, Any]) -> str:
    """The training function of a worker."""
    import ray.train

    missing = [folder for folder in (given["folder"], given["run_dir"]) if not os.path.isdir(folder)]
    if missing:
        raise InputError(
            f"A node of the Ray cluster does not see {missing[0]}; start in a folder that all nodes share, and put "
            "run_dir into one."
        )
    os.chdir(given["folder"])
    if ray.train.get_context().get_world_rank() == 0:
        logging.getLogger("accompany").addHandler(_Told(given["lines"]))
    try:
        made = train(given["task"], given["source"], given["overrides"], progress=False, on_ray=True)
    except SystemExit:  # A stop that was asked for is no failure, after which Ray would start again.
        return ""
    return os.fspath(made.absolute())


class _Told(logging.Handler):
    """Sends what a worker logs to the process that started it: of all that Ray's processes say, only our own lines."""

    def __init__(self, lines: Any) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put(record.getMessage())
        except Exception:  # what is only said must not end the training
            self.handleError(record)


@contextmanager
def _repeating(lines: Any) -> Iterator[None]:
    """Log here what comes in from workers, until the end of the block."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(0.5):
            _log_all(lines)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    _log_all(lines)


def _log_all(lines: Any) -> None:
    for line in lines.get_nowait_batch(lines.qsize()):
        _log.info("%s", line)


def _watcher(lines: Any) -> Any:
    """Says which worker failed; ends the run where the user's input is wrong, for then the next try would fail too."""
    from ray.train import UserCallback

    class Watcher(UserCallback):  # type: ignore[misc]
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            for error in worker_exceptions.values():
                if isinstance(error, InputError):
                    raise error
            for rank, error in worker_exceptions.items():
                what = str(error).strip().splitlines() or [""]
                lines.put(f"Worker {rank} failed ({type(error).__name__}: {what[0]}).")

    return Watcher()
