"""Peaks, times and holds of processes, also on systems that tell or hold less."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from accompany.common.processes import only_one_in, peak_memory_mb
from accompany.errors import InputError


def test_the_peak_is_told_in_millions_of_bytes() -> None:
    peak_mb = peak_memory_mb()
    assert peak_mb is not None and 5 < peak_mb < 100_000


def test_a_system_that_tells_no_peak_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    assert peak_memory_mb() is None


def test_the_peak_of_the_system_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells it in two ways")
    told = peak_memory_mb()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    assert told is not None and peak_memory_mb() >= 0.9 * told


def test_a_folder_is_held_where_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("fcntl")
    with only_one_in(tmp_path), pytest.raises(InputError, match="Another run"), only_one_in(tmp_path):
        pass
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with only_one_in(tmp_path), only_one_in(tmp_path):
        assert "cannot hold" in caplog.text
