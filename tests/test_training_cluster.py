"""Training by Ray Train on a small cluster gives the losses of one process, also when a worker is killed under way.

What takes a minute is run by `make test-cluster`; all other runs pass it over.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import losses, run, tokens  # noqa: F401
from test_training_devices import NOTHING_BY_CHANCE, environment, items, wait_for
from test_training_stops import STOP_S, gone, load_of

from accompany.cli import main
from accompany.errors import InputError
from accompany.training import cluster as cluster_training
from accompany.training.cluster import workers_of
from accompany.training.stages.module import RunConfig

STEPS = 24
OPTIONS = [*NOTHING_BY_CHANCE, f"max_steps={STEPS}", "checkpoint_every=4", "val_every=12", "optimizer.warmup_steps=8"]


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one CPU each."""
    if "cluster" not in request.config.getoption("markexpr"):
        pytest.skip("takes a minute: make test-cluster")
    pytest.importorskip("ray", reason="needs ray: pip install 'accompany[cluster]'")
    from ray.cluster_utils import Cluster

    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    nodes.add_node(num_cpus=1, object_store_memory=100_000_000)
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()


def start(cluster: Any, tokens: Path, run_dir: Path, *more: str) -> subprocess.Popen[str]:  # noqa: F811
    words = ["train", "semantic", "--ray", cluster.address, f"run_dir={run_dir}", *items(tokens, *OPTIONS, *more)]
    command = [sys.executable, "-m", "accompany", *words]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)


def workers(cluster: Any) -> list[int]:
    """Processes of this cluster that train."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = next(line for line in status.read_text().splitlines() if line.startswith("PPid:"))
            words = (status.parent / "cmdline").read_text()
        except (OSError, StopIteration):
            continue
        if int(parent.split()[1]) in raylets and "RayTrainWorker" in words:
            found.append(int(status.parent.name))
    return found


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["auto", "fsdp"])
def test_a_killed_worker_leaves_no_trace(cluster: Any, tokens: Path, tmp_path: Path, strategy: str) -> None:  # noqa: F811
    process = start(cluster, tokens, tmp_path / "there", "devices=1", "nodes=2", f"strategy={strategy}")
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "there" / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None and time.monotonic() < deadline, process.communicate(timeout=9)[1][-3000:]
            time.sleep(0.01)
        at_work = workers(cluster)
        assert len(at_work) == 2
        os.kill(at_work[0], signal.SIGKILL)
        _, words = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, words[-3000:]
    assert "failed (" in words and "Going on from" in words, words[-3000:]
    run("semantic", tokens, tmp_path / "here", *OPTIONS)
    here, there = losses(tmp_path / "here"), losses(tmp_path / "there")
    # A worker that is killed takes along what its log had not written yet: single steps before the checkpoint.
    assert set(range(STEPS // 2, STEPS)) <= there.keys() and 0 in there
    assert all(value == pytest.approx(here[step], rel=2e-5) for step, value in there.items())
    assert (tmp_path / "there" / "model" / "model.safetensors").is_file()


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("strategy", "signum", "to"),
    [("auto", signal.SIGTERM, "main"), ("fsdp", signal.SIGTERM, "group"), ("auto", signal.SIGINT, "group")],
)
def test_a_stop_saves_and_ends_the_workers(
    cluster: Any,
    tokens: Path,  # noqa: F811
    tmp_path: Path,
    strategy: str,
    signum: int,
    to: str,
) -> None:
    began = time.monotonic()
    process = start(cluster, tokens, tmp_path, "devices=1", "nodes=2", f"strategy={strategy}", "max_steps=100000")
    try:
        wait_for(tmp_path / "checkpoints" / "last.ckpt", lambda: process.poll() is None)
        pids = [process.pid, *workers(cluster)]
        allowed_s = STOP_S * load_of(time.monotonic() - began, pids)
        asked = time.monotonic()
        (os.killpg if to == "group" else os.kill)(process.pid, signum)
        _, words = process.communicate(timeout=allowed_s)
    finally:
        process.kill()
    assert process.returncode == 128 + signum, words[-3000:]
    assert len(pids) == 3 and gone(pids, allowed_s - (time.monotonic() - asked))
    name = "SIGTERM" if signum == signal.SIGTERM else "Ctrl-C"
    assert words.count(f"Stopped by {name}; the workers have saved their step: run it again to go on.") == 1
    assert "Traceback" not in words and not (tmp_path / ".stop").exists()
    step = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step == max(losses(tmp_path)) + 1


CPUS, GPUS = {"CPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("run", "nodes", "count", "needs"),
    [
        (RunConfig(), [CPUS, CPUS], 1, {"CPU": 1}),
        (RunConfig(devices=3, nodes=2, threads=2), [CPUS, CPUS], 6, {"CPU": 2}),
        (RunConfig(), [CPUS, GPUS], 4, {"CPU": 1, "GPU": 1}),
        (RunConfig(nodes=2), [GPUS, {"CPU": 8.0, "GPU": 2.0}], 4, {"CPU": 1, "GPU": 1}),
        (RunConfig(device="cpu", nodes=2), [GPUS, GPUS], 2, {"CPU": 1}),
    ],
)
def test_workers_follow_from_devices_and_nodes(run: RunConfig, nodes: Any, count: int, needs: Any) -> None:
    assert workers_of(run, nodes) == (count, needs)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (RunConfig(devices=9), r"9 workers .* with 1 CPU each are more than the 8 "),
        (RunConfig(devices=2, threads=5), r"2 workers .* with 5 CPU each are more than the 1 "),
        (RunConfig(device="cuda"), r"device=cuda is not available on this Ray cluster"),
        (RunConfig(device="mps"), r"device=mps is not available on this Ray cluster"),
    ],
)
def test_what_a_cluster_has_no_room_for_is_refused(run: RunConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        workers_of(run, [CPUS])


def test_gpus_on_fewer_nodes_than_asked_for_are_refused() -> None:
    with pytest.raises(InputError, match="nodes=2 is more than the nodes with GPUs"):
        workers_of(RunConfig(nodes=2), [GPUS, CPUS])


def test_the_command_hands_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(cluster_training, "train_on_cluster", lambda *given: asked.append(given) or Path("there"))
    assert main(["train", "acoustic", "--config", "base", "--ray", "10.0.0.5:6379", "devices=8", "nodes=2"]) == 0
    assert asked == [("acoustic", "base", ["devices=8", "nodes=2"], "10.0.0.5:6379")]


def test_wrong_clusters_are_refused(tokens: Path, monkeypatch: Any, capsys: Any) -> None:  # noqa: F811
    def said(*words: str) -> str:
        assert main(["train", *words, "--ray", "127.0.0.1:9"]) == 2
        return str(capsys.readouterr().err.splitlines()[-1])

    assert "--ray trains listener, semantic, acoustic" in said("judge")
    assert "did you mean 'max_steps'" in said("semantic", f"tokens={tokens}", "max_step=3")
    if importlib.util.find_spec("ray"):
        assert "There is no Ray cluster at 127.0.0.1:9" in said("semantic", f"tokens={tokens}")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert 'pip install "accompany[cluster]"' in said("semantic", f"tokens={tokens}")
