"""Stops of a training run: by SIGTERM or Ctrl-C, sent to one process or to all; two runs; broken checkpoints."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_training import COMMON, TINY, losses, run
from test_training import tokens as tokens
from test_training_devices import environment, wait_for

from accompany.errors import InputError
from accompany.stages.batch import Batch
from accompany.training.encoders.loop import LoopConfig, run_loop
from accompany.training.stages.callbacks import METRICS
from accompany.training.stages.module import StageTraining

LAST = Path("checkpoints") / "last.ckpt"
STOP_S = 15.0
"""Longest time of a stop on an idle machine."""


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(word) for word in found if Path(f"/proc/{word}/cmdline").is_file()
            and b"train" in Path(f"/proc/{word}/cmdline").read_bytes()]  # fmt: skip


def words_of(tokens: Path, run_dir: Path, *options: str) -> list[str]:
    items = [f"tokens={tokens}", f"run_dir={run_dir}", *COMMON, *TINY["semantic"]]
    return ["train", "semantic", *items, "max_steps=100000", "val_every=100000", "checkpoint_every=1", *options]


def begin(words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "accompany", *words]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def begin_here(words: list[str]) -> None:
    """As `python -m accompany` in a process that has its libraries already."""
    os.environ.update(environment())
    sys.argv = ["accompany", *words]
    runpy.run_module("accompany", run_name="__main__", alter_sys=True)


def cpu_s(pid: int) -> float:
    """CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load_of(start_s: float, pids: list[int]) -> float:
    """How many times as long as on an idle machine a start took: there one of the processes is always computing."""
    return max(start_s / sum(map(cpu_s, pids)), 1.0)


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
        (["devices=2", "strategy=fsdp", "loading.workers=1"], signal.SIGINT, "group", 130),
        (["devices=2"], signal.SIGTERM, "main", 143),
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
    began = time.monotonic()
    process = begin(words_of(tokens, tmp_path, *options))
    try:
        wait_for(tmp_path / LAST, lambda: process.poll() is None)
        started = children(process.pid)
        assert started
        allowed_s = STOP_S * load_of(time.monotonic() - began, [process.pid, *started])
        asked = time.monotonic()
        (os.killpg if to == "group" else os.kill)(process.pid, signum)
        _, words = process.communicate(timeout=allowed_s)
    finally:
        process.kill()
    assert process.returncode == code, words[-3000:]
    assert gone(started, allowed_s - (time.monotonic() - asked))
    name = "SIGTERM" if code == 143 else "Ctrl-C"
    step = torch.load(tmp_path / LAST, weights_only=True)["global_step"]
    assert words.count(f"Stopped by {name} at step {step}, which is saved; run it again to go on.") == 1
    assert "Traceback" not in words and "accompany: stopped." not in words


@needs_proc
@pytest.mark.timeout(300)
def test_further_processes_end_with_the_first_and_free_the_folder(tokens: Path, tmp_path: Path) -> None:
    """The first is a copy of this process, since one that is killed ends in the same way whatever it began as."""
    process = multiprocessing.get_context("fork").Process(
        target=begin_here, args=(words_of(tokens, tmp_path, "devices=2"),)
    )
    process.start()
    try:
        wait_for(tmp_path / LAST, process.is_alive)
        started = children(process.pid)
        with pytest.raises(
            InputError, match=rf"Another run works in .*accompany train semantic, process {process.pid}"
        ):
            run("semantic", tokens, tmp_path, "max_steps=1")
    finally:
        process.kill()
        process.join()
    assert started and gone(started, 10)
    half = tmp_path / "checkpoints" / ".last.ckpt.x.part"
    half.write_bytes(b"half")
    step = torch.load(tmp_path / LAST, weights_only=True)["global_step"]
    run("semantic", tokens, tmp_path, f"max_steps={step + 1}")
    assert not half.exists() and max(losses(tmp_path)) == step


@pytest.mark.parametrize("step", [2, 3])
def test_a_validation_that_is_stopped_is_done_again(
    step: int,
    tokens: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("checkpoint_every=2", "val_every=2", "max_steps=6")
    run("semantic", tokens, tmp_path / "whole", *options)
    name = "validation_step" if step == 2 else "training_step"
    real = getattr(StageTraining, name)

    def stopped(self: StageTraining, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=r"Stopped by Ctrl-C at step \d, which"):
        patch.setattr(StageTraining, name, stopped)
        run("semantic", tokens, tmp_path / "parts", *options)
    (tmp_path / "parts" / METRICS).open("a").write('{"step": 5, "val/loss": 1}\n{"step": 9}\n{"st')
    run("semantic", tokens, tmp_path / "parts", *options)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = ((tmp_path / each / METRICS).read_text().splitlines() for each in ("whole", "parts"))
    assert [json.loads(line)["step"] for line in parts] == [json.loads(line)["step"] for line in whole] == [2, 4, 6]
    assert json.loads(parts[0])["val/loss"] == json.loads(whole[0])["val/loss"]


def test_a_run_whose_checkpoints_are_all_broken_is_not_begun_anew(tokens: Path, tmp_path: Path) -> None:
    run("listener", tokens, tmp_path, "max_steps=1", "val_every=1", "checkpoint_every=1")
    before = (tmp_path / "run.json").read_bytes()
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"No checkpoint of the run .* can be read .*delete .*checkpoints") as refused:
        run("listener", tokens, tmp_path, "max_steps=2")
    assert "weights_only" not in str(refused.value) and (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize(("signum", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_recipe_saves_when_it_is_stopped_and_goes_on_exactly(signum: int, error: type, tmp_path: Path) -> None:
    def train_line(folder: Path, stop_at: int | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        line = torch.nn.Linear(2, 1)

        def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
            if step == stop_at:
                os.kill(os.getpid(), signum)
            x = torch.tensor([float(step), 1.0])
            return (line(x) - step).square().mean(), {}

        run_loop(line, loss, LoopConfig(steps=8, save_every=100, bf16=False), folder)
        return line.weight.detach()

    whole = train_line(tmp_path / "whole")
    with pytest.raises(error):
        train_line(tmp_path / "parts", 3)
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert torch.equal(train_line(tmp_path / "parts"), whole)
    (tmp_path / "parts" / "checkpoint.pt").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"checkpoint\.pt is broken"):
        train_line(tmp_path / "parts")


def test_more_processes_than_cores_are_not_started(tokens: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("counts the devices of the CPU")
    with pytest.raises(InputError, match=r"devices=9999 is more than the \d+ CPU cores"):
        run("listener", tokens, tmp_path, "devices=9999")
    with pytest.raises(InputError, match=r"loading.batch_size=5 cannot be shared by 2 devices"):
        run("listener", tokens, tmp_path, "devices=2", "loading.batch_size=5")
