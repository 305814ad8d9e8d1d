"""Work in stages: in this process, in others, and partly in both."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from accompany.data.cluster import _StageProcess, connect
from accompany.data.jobs import run_stages
from accompany.data.stage import WorkStage
from accompany.errors import InputError


def _add(number: int) -> Callable[[int], int]:
    return lambda job: job + number


def _where() -> Callable[[Any], tuple[Any, int]]:
    return lambda job: (job, os.getpid())


def _die() -> Callable[[int], None]:
    return lambda job: os._exit(3)


@pytest.mark.parametrize("error", [ConnectionError, ValueError, RuntimeError, AssertionError, TypeError])
def test_an_address_that_ray_cannot_read_is_refused(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes `os://x` for the module of a client, and more."""

    def init(**_: Any) -> None:
        raise error("Module: nosuch does not exist.\nThis module was parsed from Address")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("accompany.data.cluster.require", lambda *_, **__: None)
    with pytest.raises(InputError, match="Ray finds no cluster at 'nosuch://x'"):
        connect("nosuch://x")


def test_stages_follow_each_other_here() -> None:
    done = run_stages([1, 2], [WorkStage(_add, (10,)), WorkStage(_add, (100,))], name="x", progress=False)
    assert list(done) == [(1, 111), (2, 112)]
    assert list(run_stages([], [WorkStage(_add, (1,))], name="x", progress=False)) == []


def test_a_stage_may_stay_here_while_others_feed_it() -> None:
    stages = [WorkStage(_where), WorkStage(_where, here=True)]
    done = list(run_stages(range(6), stages, workers=2, name="x", progress=False))
    assert [job for job, _ in done] == [first for _, ((first, _), _) in done] == list(range(6))
    assert {here for _, (_, here) in done} == {os.getpid()}
    others = {there for _, ((_, there), _) in done}
    assert os.getpid() not in others and 1 <= len(others) <= 2


def test_a_worker_that_dies_is_one_sentence() -> None:
    with pytest.raises(InputError, match="fewer --workers"):
        list(run_stages([1, 2], [WorkStage(_die)], workers=2, name="x", progress=False))


def _refuse() -> Callable[[int], int]:
    raise InputError("There is no such model.")


def test_a_stage_that_cannot_be_made_says_why() -> None:
    for workers in (0, 2):
        with pytest.raises(InputError, match="There is no such model"):
            list(run_stages([1, 2], [WorkStage(_refuse)], workers=workers, name="x", progress=False))


def test_a_process_of_a_cluster_sends_its_refusal_home() -> None:
    row = {"number": 7, "content": pickle.dumps(1)}
    for stage, wanted in ((WorkStage(_refuse), "There is no such model."), (WorkStage(_add, (2,)), 3)):
        made = _StageProcess(stage)(row)
        content = pickle.loads(made["content"])
        assert made["number"] == 7 and getattr(content, "sentence", content) == wanted


def test_the_bar_counts_pairs_and_hours(capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"unit": "pair", "size": lambda job: job, "hours": lambda result: result / 4}
    list(run_stages([1, 3], [WorkStage(_add, (0,))], name="tokenize", **options))
    said = capsys.readouterr().err
    assert "4/4" in said and "pair/s" in said and "1.00 hours" in said
