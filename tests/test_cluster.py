"""Tokens made on a Ray cluster of two nodes are those of one machine, also when a node dies under way.

Slow: `make test-cluster` runs it (`pytest -m cluster`), all other runs pass it over.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_parts import write_song, write_songs

from accompany.data.encode import EncodeConfig
from accompany.data.jobs import Stage, run_stages
from accompany.data.tokenize import tokenize
from accompany.errors import InputError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def asked_for(request: pytest.FixtureRequest) -> None:
    if "cluster" not in request.config.getoption("markexpr"):
        pytest.skip("takes a minute: make test-cluster")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one CPU each; this process is attached to the first."""
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'accompany[cluster]'")
    from ray.cluster_utils import Cluster

    # The nodes' processes find this file and the package.
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 200_000_000})
    nodes.second = nodes.add_node(num_cpus=1, object_store_memory=200_000_000)
    nodes.wait_for_nodes()
    ray.init(address=nodes.address, log_to_driver=False, logging_level="WARNING")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def files(tokens: Path) -> dict[str, bytes]:
    found = (path for path in tokens.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(tokens).as_posix(): path.read_bytes() for path in found}


def slow(seconds: float) -> Any:
    def work(job: int) -> int:
        time.sleep(seconds)
        return job

    return work


def picky() -> Any:
    def work(job: int) -> int:
        if job == 3:
            raise InputError("Three is too many.")
        return job * job

    return work


def test_stages_run_on_a_cluster(cluster: Any) -> None:
    stages = [Stage(slow, (0.05,)), Stage(slow, (0.05,), heavy=True)]
    done = list(run_stages(range(10), stages, ray=cluster.address, name="work", progress=False))
    assert sorted(done) == [(job, job) for job in range(10)]
    with pytest.raises(InputError, match="Three is too many"):
        list(run_stages(range(5), [Stage(picky, heavy=True)], ray=cluster.address, name="work", progress=False))


def test_a_node_that_dies_leaves_no_trace(cluster: Any, tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 24, seconds=4.0)
    write_song(tmp_path / "songs" / "bad", 3, seconds=0.4)
    options: dict[str, Any] = {"config": EncodeConfig(variants=3), "batch": 1, "shard_pairs": 10, "progress": False}
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            done = len(list((tmp_path / "cluster").rglob("work/*.parquet")))
            if done >= 3:
                cluster.remove_node(cluster.second, allow_graceful=False)
                killed.append(done)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    there = tokenize(tmp_path / "songs", tmp_path / "cluster", None, ray=cluster.address, **options)
    killer.join()
    assert killed and killed[0] < 25, "the node was to die under way"
    here = tokenize(tmp_path / "songs", tmp_path / "here", None, **options)
    assert there == here and there.pairs == 24 and list(there.set_aside) == ["bad"]
    assert files(tmp_path / "cluster") == files(tmp_path / "here")


def test_a_wrong_address_is_told() -> None:
    pytest.importorskip("ray", reason="needs ray: pip install 'accompany[cluster]'")
    from accompany.data.cluster import run_on_cluster

    with pytest.raises(InputError, match="no Ray cluster"):
        list(run_on_cluster([1], [Stage(picky)], "127.0.0.1:9"))
