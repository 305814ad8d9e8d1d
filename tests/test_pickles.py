"""Pickled files: what is in them is read, what they ask for is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accompany.common.pickles import read_kmeans, read_state
from accompany.errors import InputError


class Touch:
    """A pickle that makes a file when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_are_read_whatever_the_pickle(tmp_path: Path, protocol: int) -> None:
    turned = torch.arange(12.0).view(3, 4).T
    state = {"a": turned, "b": torch.nn.Parameter(torch.ones(2)), "c": torch.arange(3), "d": torch.zeros(0)}
    torch.save({"state_dict": state, "loss": np.float64(1)}, tmp_path / "a.pt", pickle_protocol=protocol)
    found = read_state(tmp_path / "a.pt")
    assert list(found) == ["a", "b", "c", "d"]
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_that_would_run_something_is_refused(tmp_path: Path, protocol: int) -> None:
    torch.save({"a": torch.zeros(1), "b": Touch(tmp_path / "touched")}, tmp_path / "a.pt", pickle_protocol=protocol)
    with pytest.raises(InputError, match="refused"):
        read_state(tmp_path / "a.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"[" * 999, b"\x89PNG\r\n", pickle.dumps([1, 2])])
def test_a_state_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pt") as refused:
        read_state(tmp_path / "a.pt")
    assert "weights_only" not in str(refused.value) and "documentation of torch" not in str(refused.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_state, read_kmeans):
        with pytest.raises(InputError, match="There is no file"):
            read(tmp_path / "nothing")


@pytest.fixture(scope="module")
def kmeans() -> Any:
    cluster = pytest.importorskip("sklearn.cluster")
    points = np.random.RandomState(0).standard_normal((300, 6)).astype(np.float32)
    return cluster.MiniBatchKMeans(9, n_init=1, random_state=0).fit(points)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_kmeans_of_joblib_is_read(tmp_path: Path, kmeans: Any, protocol: int) -> None:
    joblib = pytest.importorskip("joblib")
    joblib.dump(kmeans, tmp_path / "kmeans.joblib", protocol=protocol)
    assert torch.equal(read_kmeans(tmp_path / "kmeans.joblib"), torch.from_numpy(kmeans.cluster_centers_))


@pytest.mark.parametrize("hidden", ["attribute", "array", "whole"])
def test_a_kmeans_that_would_run_something_is_refused(tmp_path: Path, kmeans: Any, hidden: str) -> None:
    import copy

    joblib = pytest.importorskip("joblib")
    evil, made = copy.deepcopy(kmeans), Touch(tmp_path / "touched")
    evil.extra = made if hidden == "attribute" else np.array([made, 1], dtype=object)
    joblib.dump(made if hidden == "whole" else evil, tmp_path / "kmeans.joblib")
    with pytest.raises(InputError, match="refused"):
        read_kmeans(tmp_path / "kmeans.joblib")
    assert not (tmp_path / "touched").exists()


def test_a_kmeans_that_is_cut_or_not_fitted_is_refused(tmp_path: Path, kmeans: Any) -> None:
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "kmeans.joblib"
    joblib.dump(kmeans, path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match="Cannot read"):
        read_kmeans(path)
    joblib.dump(type(kmeans)(4), path)
    with pytest.raises(InputError, match="no fitted k-means"):
        read_kmeans(path)
    joblib.dump({"cluster_centers_": np.zeros((2, 2))}, path)
    with pytest.raises(InputError, match="no fitted k-means"):
        read_kmeans(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_named(tmp_path: Path, kmeans: Any, value: float) -> None:
    import copy

    joblib = pytest.importorskip("joblib")
    torch.save({"good": torch.ones(2), "bad": torch.tensor([1.0, value])}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt are broken: 'bad'"):
        read_state(tmp_path / "a.pt")
    broken = copy.deepcopy(kmeans)
    broken.cluster_centers_[3, 2] = value
    joblib.dump(broken, tmp_path / "kmeans.joblib")
    with pytest.raises(InputError, match=r"kmeans\.joblib are broken: 'cluster_centers_'"):
        read_kmeans(tmp_path / "kmeans.joblib")
