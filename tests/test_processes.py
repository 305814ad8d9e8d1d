"""Peaks, times and holds of processes, also on systems that tell or hold less."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from accompany.common.processes import folder_lock, peak_memory_mb
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
    fcntl = pytest.importorskip("fcntl")
    with (
        folder_lock(tmp_path, "accompany synth"),
        pytest.raises(InputError, match=rf"Another run works in .*\(accompany synth, process {os.getpid()}\)"),
        folder_lock(tmp_path, "accompany train"),
    ):
        pass

    def cannot(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", cannot)
    with folder_lock(tmp_path, "a test"), folder_lock(tmp_path, "a test"):
        assert "cannot hold it" in caplog.text
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with folder_lock(tmp_path, "a test"), folder_lock(tmp_path, "a test"):
        assert "This system cannot hold" in caplog.text


def test_a_dead_process_frees_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folder = tmp_path / "new" / "folder"
    script = (
        "import sys, time; from pathlib import Path; from accompany.common.processes import folder_lock\n"
        "with folder_lock(Path(sys.argv[1]), 'accompany train'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"accompany train, process {holder.pid}"), folder_lock(folder, "a test"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with folder_lock(folder, "a test"):
        pass


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=r"\.lock"), folder_lock(tmp_path / "sent", "a test"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
