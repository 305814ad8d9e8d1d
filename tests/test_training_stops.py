"""Stops of a training run: by SIGTERM or Ctrl-C, sent to one process or to all, with one device or two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_training import COMMON, TINY
from test_training import tokens as tokens
from test_training_devices import environment, wait_for

LAST = Path("checkpoints") / "last.ckpt"


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(word) for word in found if Path(f"/proc/{word}/cmdline").is_file()
            and b"train" in Path(f"/proc/{word}/cmdline").read_bytes()]  # fmt: skip


def begin(tokens: Path, run_dir: Path, *options: str) -> subprocess.Popen[str]:
    items = [f"tokens={tokens}", f"run_dir={run_dir}", *COMMON, *TINY["semantic"]]
    steps = ["max_steps=100000", "val_every=100000", "checkpoint_every=1"]
    command = [sys.executable, "-m", "accompany", "train", "semantic", *items, *steps, *options]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").is_dir() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not any(Path(f"/proc/{pid}").is_dir() for pid in pids)


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="looks for processes in /proc")


@needs_proc
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("options", "signum", "to", "code"),
    [
        (["devices=2"], signal.SIGTERM, "group", 143),
        (["devices=2"], signal.SIGTERM, "main", 143),
        (["devices=2"], signal.SIGTERM, "child", 143),
        (["devices=2"], signal.SIGINT, "group", 130),
        (["devices=2", "strategy=fsdp"], signal.SIGTERM, "group", 143),
        (["loading.workers=2"], signal.SIGTERM, "group", 143),
        (["loading.workers=2"], signal.SIGINT, "group", 130),
    ],
)
def test_a_stop_saves_and_leaves_nothing_running(
    options: list[str],
    signum: int,
    to: str,
    code: int,
    tokens: Path,
    tmp_path: Path,
) -> None:
    process = begin(tokens, tmp_path, *options)
    try:
        wait_for(tmp_path / LAST, process)
        started = children(process.pid)
        assert started
        if to == "group":
            os.killpg(process.pid, signum)
        else:
            os.kill(process.pid if to == "main" else started[0], signum)
        _, words = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, words[-3000:]
    assert gone(started, 5)
    name = "SIGTERM" if code == 143 else "Ctrl-C"
    step = torch.load(tmp_path / LAST, weights_only=True)["global_step"]
    assert words.count(f"Stopped by {name} at step {step}, which is saved; run it again to go on.") == 1
    assert "Traceback" not in words and "accompany: stopped." not in words
