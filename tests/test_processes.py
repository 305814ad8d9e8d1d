"""Peaks, times and holds of processes, also on systems that tell or hold less."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from accompany.common.processes import folder_lock, peak_memory_mb
from accompany.errors import InputError


def test_the_peak_is_in_millions_of_bytes() -> None:
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

    assert not list(tmp_path.iterdir())
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


def nap(pid_file: str) -> None:
    Path(f"{pid_file}.{os.getpid()}").touch()
    time.sleep(60)


POOL = """
import sys, time
from accompany.common.processes import worker_pool
sys.path.insert(0, sys.argv[1])
from test_processes import nap
if __name__ == "__main__":
    with worker_pool(2) as pool:
        jobs = [pool.submit(nap, sys.argv[2]) for _ in range(4)]
        sys.stdin.read()
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize("how", ["killed", "left by an exception"])
def test_workers_end_with_what_started_them(how: str, tmp_path: Path) -> None:
    """And in the middle of a job of a minute."""
    (tmp_path / "pool.py").write_text(POOL)
    command = [sys.executable, "pool.py", str(Path(__file__).parent), "worker"]
    started = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(list(tmp_path.glob("worker.*"))) == 2, 60)
        if how == "killed":
            started.kill()
        assert started.stdin is not None
        started.stdin.close()
        started.wait(5)
        wait_for(lambda: not any(is_alive(int(path.suffix[1:])) for path in tmp_path.glob("worker.*")), 5)
    finally:
        started.kill()
        started.wait()


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- files that are being written ---


def test_what_dead_processes_left_half_written_goes(tmp_path: Path) -> None:
    from accompany.common import files
    from accompany.common.files import complete, part_beside

    script = (
        "import os, sys; from pathlib import Path; from accompany.common.files import part_beside\n"
        "part_beside(Path(sys.argv[1])).touch(); part_beside(Path(sys.argv[1])).mkdir()"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=True)
    orphans = list(tmp_path.glob(".*.part"))
    assert len(orphans) == 2
    mine = part_beside(tmp_path / "b")  # deletes them
    mine.touch()
    assert list(tmp_path.iterdir()) == [mine]
    machine, process, random = mine.name.split("-")
    others = [f".{'0' * 8}-{process}-{random}", f"{machine}-1-{random}", ".notes.part", f".{'a' * 32}.part"]
    for name in others:
        (tmp_path / name).touch()
    old = tmp_path / f".{'b' * 32}.part"  # as releases without owners wrote them
    old.touch()
    os.utime(old, (1e9, 1e9))
    files._NEXT_SWEEP.clear()
    with complete(tmp_path / "c") as temporary:
        assert {path.name for path in tmp_path.iterdir()} == {*others, mine.name, temporary.name}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOSPC, r"The disk is full \(some/file\)"),
        (errno.EDQUOT, r"The disk is full \(some/file\)"),
        (errno.EROFS, r"Cannot write some/file \(Read-only file system\)"),
        (errno.EACCES, "Cannot write some/file"),
    ],
)
def test_a_disk_that_refuses_is_a_sentence(error: int, words: str) -> None:
    from accompany.common.folders import writing_into

    with pytest.raises(InputError, match=words), writing_into("some"):
        raise OSError(error, os.strerror(error), "some/file")
    with pytest.raises(FileNotFoundError), writing_into("some"):
        raise FileNotFoundError(errno.ENOENT, "a fault of ours")


def test_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    from accompany.common.files import require_writable

    require_writable(tmp_path / "not" / "there" / "yet")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300), "nul\0"):
        with pytest.raises(InputError, match="Cannot write into"):
            require_writable(folder)
