"""Pairs and tokens made on a Ray cluster of two nodes are those of one machine, also when a node dies under way.

Slow: `make test-cluster` runs it (`pytest -m cluster`), all other runs pass it over.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from s3_server import BUCKET, in_bucket, s3_server
from small_parts import write_noise, write_song, write_songs
from small_separator import RATE, small_htdemucs, write_separator

from accompany.data.jobs import run_stages
from accompany.data.prepare.measures import PairLimits
from accompany.data.prepare.pair_making import PrepareConfig
from accompany.data.prepare.pair_stages import SongJob, make_finisher, make_reader, make_splitter
from accompany.data.prepare.pairs import RECORD
from accompany.data.prepare.pairs_store import PairsStore
from accompany.data.prepare.prepare import prepare
from accompany.data.prepare.sources import find_songs
from accompany.data.stage import WorkStage
from accompany.data.storage import Store
from accompany.data.tokens.encode import EncodeConfig
from accompany.data.tokens.tokenize import tokenize
from accompany.errors import InputError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def asked_for(request: pytest.FixtureRequest) -> None:
    if "cluster" not in request.config.getoption("markexpr"):
        pytest.skip("takes a minute: make test-cluster")


@pytest.fixture
def s3() -> Iterator[Any]:
    """Before the nodes start, so that they find it."""
    with s3_server() as files:
        yield files


@pytest.fixture
def cluster(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
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


@contextmanager
def dying_node(cluster: Any, done: Callable[[], int]) -> Iterator[list[int]]:
    """Kills the second node when three jobs are done; the list then holds how many were."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            if done() >= 3:
                cluster.remove_node(cluster.second, allow_graceful=False)
                killed.append(done())
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


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
    stages = [WorkStage(slow, (0.05,)), WorkStage(slow, (0.05,), heavy=True)]
    done = list(run_stages(range(10), stages, ray=cluster.address, name="work", progress=False))
    assert sorted(done) == [(job, job) for job in range(10)]
    with pytest.raises(InputError, match="Three is too many"):
        list(run_stages(range(5), [WorkStage(picky, heavy=True)], ray=cluster.address, name="work", progress=False))


def test_a_node_that_dies_leaves_no_trace(cluster: Any, tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 24, seconds=4.0)
    write_song(tmp_path / "songs" / "bad", 3, seconds=0.4)
    options: dict[str, Any] = {"config": EncodeConfig(variants=3), "batch": 1, "shard_pairs": 10, "progress": False}
    with dying_node(cluster, lambda: len(list((tmp_path / "cluster").rglob("work/*.parquet")))) as killed:
        there = tokenize(tmp_path / "songs", tmp_path / "cluster", None, ray=cluster.address, **options)
    assert killed and killed[0] < 25, "the node was to die under way"
    here = tokenize(tmp_path / "songs", tmp_path / "here", None, **options)
    assert there == here and there.pairs == 24 and list(there.set_aside) == ["bad"]
    assert files(tmp_path / "cluster") == files(tmp_path / "here")


def pairs_of(there: dict[str, bytes]) -> dict[str, bytes]:
    """What is in the songs' folders."""
    return {name: content for name, content in there.items() if "/" in name}


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_pairs_of_a_cluster_are_those_of_one_machine(cluster: Any, s3: Any, kind: str, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    for number in range(16):
        write_noise(songs / f"{number:02d}.wav", 6.0, RATE, level=0.2)
    (songs / "again.wav").write_bytes((songs / "03.wav").read_bytes())
    (songs / "bad.wav").write_text("no sound")
    (tmp_path / "separator").mkdir()
    separator = write_separator(small_htdemucs(), tmp_path / "separator")
    limits = PairLimits(
        segment_s=2.0, min_level_db=-90, min_band_db=-90, min_vocals_db=-200, min_voiced_share=0, max_likeness=2
    )
    config = PrepareConfig(separator=str(separator), limits=limits, clap="none")
    place = str(tmp_path / "cluster") if kind == "folder" else f"s3://{BUCKET}/pairs"

    def found() -> dict[str, bytes]:
        return files(tmp_path / "cluster") if kind == "folder" else in_bucket(s3, "pairs")

    def done() -> int:
        if kind == "folder":
            return len(list((tmp_path / "cluster").glob(f"[!.]*/{RECORD}")))
        s3.invalidate_cache()
        return sum(name.endswith(RECORD) for name in s3.find(f"{BUCKET}/pairs"))

    with dying_node(cluster, done) as killed:
        there = prepare(songs, place, config, ray=cluster.address, progress=False)
    assert killed and killed[0] < 17, "the node was to die under way"
    here = prepare(songs, tmp_path / "here", config, progress=False)
    assert there == here and there.pairs == 48 and list(there.set_aside) == ["bad"]
    assert pairs_of(found()) == pairs_of(files(tmp_path / "here"))
    assert there.run["separation_s"] > 0 and 0 < there.run["other_share"] < 1
    again = prepare(songs, place, config, ray=cluster.address, progress=False)
    assert again == there and again.run["songs_s"] < there.run["songs_s"], "only the bad song is tried again"


def test_a_song_too_long_to_carry_is_streamed(tmp_path: Path) -> None:
    """The steps alone, without a cluster."""
    write_noise(tmp_path / "songs" / "a.wav", 5.0, RATE, level=0.2)
    (tmp_path / "separator").mkdir()
    config = PrepareConfig(separator=str(write_separator(small_htdemucs(), tmp_path / "separator")), clap="none")
    (song,) = find_songs(tmp_path / "songs", stems=False).songs
    made = {}
    for longest_s in (4.0, 6.0):
        place = PairsStore(Store(str(tmp_path / f"{longest_s:g}")))
        place.make()
        carried = make_reader(RATE, longest_s)(SongJob(song, place, 0))
        assert carried.too_long == (longest_s < 5.0) and bool(carried.blocks) != carried.too_long
        outcome = make_finisher(config)(make_splitter(config, "cpu")(carried))
        assert outcome.seconds == 5.0 and outcome.separation_s > 0
        made[longest_s] = files(tmp_path / f"{longest_s:g}")
    assert made[4.0] == made[6.0] and any(name.endswith(RECORD) for name in made[4.0])


def test_a_wrong_address_is_one_sentence() -> None:
    pytest.importorskip("ray", reason="needs ray: pip install 'accompany[cluster]'")
    from accompany.data.cluster import run_on_cluster

    with pytest.raises(InputError, match="no Ray cluster"):
        list(run_on_cluster([1], [WorkStage(picky)], "127.0.0.1:9"))
