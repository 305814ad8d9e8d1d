"""Training on several devices: two processes on the CPU give what one gives, shared weights come together again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import several_devices
import torch
from several_devices import NOTHING_BY_CHANCE as NOTHING_BY_CHANCE
from several_devices import OPTIONS
from test_training import COMMON, TINY, losses, run, tokens  # noqa: F401
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from accompany.errors import InputError
from accompany.stages.batch import Batch
from accompany.training.stages.checkpoints import averaged_state
from accompany.training.stages.module import StageTraining
from accompany.training.train import export

LAST = Path("checkpoints") / "last.ckpt"


def items(tokens: Path, *more: str) -> list[str]:  # noqa: F811
    return [f"tokens={tokens}", *COMMON, *TINY["semantic"], *more]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **more}


@pytest.fixture(scope="module")
def alone(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("alone")
    run("semantic", tokens, folder, *OPTIONS)
    return folder


@pytest.fixture(scope="module")
def further(tokens: Path, alone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:  # noqa: F811
    """Losses of `alone`, and of two more steps."""
    folder = tmp_path_factory.mktemp("further")
    shutil.copytree(alone, folder, dirs_exist_ok=True)
    run("semantic", tokens, folder, *OPTIONS, "max_steps=5")
    return losses(folder)


@pytest.fixture(scope="module")
def several(tokens: Path, alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Runs of two processes that torchrun starts: auto/ (DDP) and fsdp/; whole/ (FSDP), and killed/, which is started
    a second time; more/, which goes on with what one process saved."""
    root = tmp_path_factory.mktemp("several")
    shutil.copytree(alone, root / "more")
    options = [str(root), *items(tokens, "devices=2")]
    # At first as torchrun starts a function, in copies of this process, which has the libraries already.
    copies = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0, start_method="fork"
    )
    with pytest.raises(ChildFailedError, match="SIGKILL"):
        elastic_launch(copies, several_devices.begin)(*options)
    assert torch.load(root / "killed" / LAST, weights_only=True)["global_step"] == 2
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, several_devices.__file__, *options]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.mark.timeout(900)
def test_a_sharded_run_that_was_killed_goes_on_exactly(several: Path) -> None:
    """By chance too: every process draws what it would have drawn."""
    whole = losses(several / "whole")
    assert losses(several / "killed") == whole and len(whole) == 6


def test_two_processes_go_on_with_what_one_saved(several: Path, further: dict[int, float]) -> None:
    two = losses(several / "more")
    assert all(two[step] == pytest.approx(further[step], rel=2e-5) for step in range(5))


def test_every_process_has_left_its_group_when_the_interpreter_ends(several: Path) -> None:
    assert [(several / f"left{rank}").read_text() for rank in range(2)] == ["False", "False"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["auto", "fsdp"])
def test_two_processes_give_the_losses_of_one(several: Path, alone: Path, strategy: str) -> None:
    one, two = losses(alone), losses(several / strategy)
    assert sorted(one) == sorted(two) == [0, 1, 2]
    assert all(two[step] == pytest.approx(one[step], rel=2e-5) for step in one)
    assert one[2] != pytest.approx(one[0], rel=1e-3)


def test_a_single_cpu_loads_what_fsdp_saved(
    several: Path,
    alone: Path,
    further: dict[int, float],
    tokens: Path,  # noqa: F811
) -> None:
    assert averaged_state(several / "fsdp").keys() == averaged_state(alone).keys()
    assert (export(several / "fsdp") / "model.safetensors").is_file()
    # The optimiser's state comes along: the next losses of a run that goes on alone are those of one that was alone.
    run("semantic", tokens, several / "fsdp", *OPTIONS, "max_steps=5")
    other = losses(several / "fsdp")
    assert all(other[step] == pytest.approx(further[step], rel=2e-5) for step in (3, 4))


def test_a_batch_that_cannot_be_shared_is_refused(tokens: Path, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(InputError, match=r"accumulate=3 equal parts"):
        run("semantic", tokens, tmp_path, "accumulate=3")


def test_a_device_that_is_missing_is_named(tokens: Path, tmp_path: Path) -> None:  # noqa: F811
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError, match=r"device=cuda is not available here; use one of auto, cpu"):
        run("listener", tokens, tmp_path, "device=cuda")


def wait_for(path: Path, running: Callable[[], bool], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not path.is_file():
        assert running() and time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_slurm_asks_to_stop_saves_first(
    tokens: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the signal that SLURM sends before it takes the machine away; the losses go on exactly."""
    options = ["checkpoint_every=2", "val_every=1000", "accumulate=2", "max_steps=5"]
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/requeued\n')
    scontrol.chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0",
           "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost",
           "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}  # fmt: skip
    whole_step = StageTraining.training_step

    def step(self: StageTraining, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return whole_step(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        for name, value in job.items():
            patch.setenv(name, value)
        patch.setattr(StageTraining, "training_step", step)
        run("semantic", tokens, tmp_path, *options)
    assert ended.value.code == 128 + signal.SIGUSR1
    assert (tmp_path / "requeued").read_text().split() == ["requeue", "7"]
    (saved,) = tmp_path.glob("hpc_ckpt_*.ckpt")
    assert torch.load(saved, weights_only=True)["global_step"] in (2, 3)
    run("semantic", tokens, tmp_path, *options)
    assert not list(tmp_path.glob("hpc_ckpt_*.ckpt"))
    run("semantic", tokens, tmp_path / "whole", *options)
    assert losses(tmp_path) == losses(tmp_path / "whole")
