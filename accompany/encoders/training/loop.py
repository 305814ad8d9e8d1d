"""The small training loop that the recipes of the frozen listeners share.

A batch depends on its step number alone, and the checkpoint holds the weights, the optimizer and the step, so
that a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accompany.errors import InputError
from accompany.files import complete

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopConfig:
    """Length, pace and bookkeeping of one training loop.

    Attributes:
        steps: optimizer steps, at least 1.
        lr: peak learning rate of AdamW, after `warmup_steps` of linear rise and before the cosine fall to 5%.
        weight_decay: AdamW's decay, on matrices only.
        grad_clip: largest norm of the gradient.
        bf16: autocast to bfloat16 (a CPU with AMX gains two to three times).
        log_every: steps between two log lines.
        save_every: steps between two checkpoints.
    """

    steps: int = 1000
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    grad_clip: float = 1.0
    bf16: bool = True
    log_every: int = 50
    save_every: int = 200

    def __post_init__(self) -> None:
        """Refuse a loop that cannot run."""
        if self.lr <= 0 or self.grad_clip <= 0 or min(self.steps, self.log_every, self.save_every) < 1:
            raise ValueError("lr and grad_clip must be above 0, steps, log_every and save_every at least 1")


def run_loop(
    module: nn.Module, make_loss: Callable[[int], tuple[Tensor, dict[str, float]]], config: LoopConfig, run_dir: Path
) -> None:
    """Train `module` in place, resuming from `run_dir/checkpoint.pt` if it is there.

    Args:
        module: everything that learns (heads too); its state dict is the checkpoint.
        make_loss: step number -> (loss scalar, figures for the log); draws its own batch.
        config: length and pace.
        run_dir: folder of the checkpoint; made if missing.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(module, config)
    first = _resume(run_dir / "checkpoint.pt", module, optimizer)
    module.train()
    start = time.monotonic()
    means: dict[str, float] = {}
    for step in range(first, config.steps):
        _set_lr(optimizer, config.lr * learning_rate_factor(step, config))
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            loss, figures = make_loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.grad_clip)
        optimizer.step()
        means = _running_mean(means, {"loss": float(loss.detach()), **figures})
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            pace = (time.monotonic() - start) / (done - first)
            told = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            log.info("step %d/%d %s (%.2f s a step)", done, config.steps, told, pace)
        if done % config.save_every == 0 or done == config.steps:
            _save(run_dir / "checkpoint.pt", module, optimizer, done)
    module.eval()


def learning_rate_factor(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine from 1 down to 0.05 at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _optimizer(module: nn.Module, config: LoopConfig) -> torch.optim.AdamW:
    learned = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def _running_mean(means: dict[str, float], new: dict[str, float], keep: float = 0.98) -> dict[str, float]:
    return {name: keep * means.get(name, value) + (1 - keep) * value for name, value in new.items()}


def _save(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state: dict[str, Any] = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    with complete(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    try:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is of a model of another shape; choose another out, or delete it.") from error
    log.info("resumed at step %d from %s", state["step"], path)
    return int(state["step"])
