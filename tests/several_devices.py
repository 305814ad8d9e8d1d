"""What each of two processes does for test_training_devices.py: its runs, one of which is killed and goes on."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import distributed

from accompany.stages.batch import Batch
from accompany.training.stages.module import StageTraining
from accompany.training.train import train

NOTHING_BY_CHANCE = [
    *(f"model.conditions.drop.{name}=0" for name in "vocal mert text beat chord key phase bar history splice".split()),
    "model.conditions.drop.known=1",
    "model.encoder.dropout=0", "model.decoder.dropout=0", "loading.audio_prompt_rate=0",
]  # fmt: skip
OPTIONS = [*NOTHING_BY_CHANCE, "max_steps=3", "checkpoint_every=3", "val_every=3", "optimizer.warmup_steps=0"]
SHARDED = ["strategy=fsdp", "max_steps=6", "checkpoint_every=2", "val_every=6"]


def begin(root: str, *items: str) -> None:
    """The runs up to the one that is killed, in its fourth step; in a copy of a process that has Lightning already."""
    rank_zero_only.rank = int(os.environ["RANK"])  # which Lightning looks up when it is imported
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    whole_step = StageTraining.training_step

    def step(self: StageTraining, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 3 and self.trainer.default_root_dir.endswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return whole_step(self, batch, batch_idx)

    StageTraining.training_step = step  # type: ignore[method-assign]
    _run(root, "auto", *items, *OPTIONS)
    _run(root, "fsdp", *items, *OPTIONS, "strategy=fsdp")
    _run(root, "whole", *items, *SHARDED)
    _run(root, "killed", *items, *SHARDED)


def go_on(root: str, *items: str) -> None:
    """The run that was killed, and one that a single process began; then a word on what is left at the end."""
    left = Path(root, "left" + os.environ["RANK"])
    atexit.register(lambda: left.write_text(str(distributed.is_initialized())))
    _run(root, "killed", *items, *SHARDED)
    _run(root, "more", *items, *OPTIONS, "strategy=fsdp", "max_steps=5")


def _run(root: str, name: str, *items: str) -> None:
    train("semantic", None, [*items, f"run_dir={root}/{name}"], progress=False)


if __name__ == "__main__":
    go_on(*sys.argv[1:])
