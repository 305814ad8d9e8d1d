"""Shared training loop of the smaller networks.

A batch depends on its step number alone, and the checkpoint holds the weights, the optimizer, the step and the state
of torch's generator (dropout draws from it), so that a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from accompany.common.config import check_range, to_dict
from accompany.common.files import complete
from accompany.errors import InputError

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
        check_range(self, "lr grad_clip", above=0)
        check_range(self, "weight_decay", least=0)
        check_range(self, "warmup_steps", least=0, most=10**9)
        check_range(self, "steps log_every save_every", least=1, most=10**9)


def run_loop(
    module: nn.Module,
    make_loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    config: LoopConfig,
    run_dir: Path,
    *,
    made_from: str = "",
) -> None:
    """Train `module` in place, resuming from `run_dir/checkpoint.pt` if it is there.

    Args:
        module: everything that learns (heads too); its state dict is the checkpoint. A mapping `lr_scales` in it, from
            starts of names of parameters to factors, gives those a learning rate of their own.
        make_loss: step number -> (loss scalar, metrics for the log); draws its own batch.
        config: length and pace.
        run_dir: folder of the checkpoint; made if missing.
        made_from: a `fingerprint`; a checkpoint with another one is of another training, which is not gone on with.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(module, config)
    first = _resume(run_dir / "checkpoint.pt", module, optimizer, made_from)
    with noted_stops() as stops:
        _run(module, make_loss, config, run_dir / "checkpoint.pt", optimizer, first, made_from, stops)
    module.eval()


def _run(
    module: nn.Module,
    make_loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    config: LoopConfig,
    path: Path,
    optimizer: torch.optim.AdamW,
    first: int,
    made_from: str,
    stops: list[int],
) -> None:
    module.train()
    start = time.monotonic()
    means: dict[str, float] = {}
    for step in range(first, config.steps):
        _set_lr(optimizer, config.lr * learning_rate_factor(step, config))
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            loss, metrics = make_loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.grad_clip)
        optimizer.step()
        means = _running_mean(means, {"loss": float(loss.detach()), **metrics})
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            pace = (time.monotonic() - start) / (done - first)
            terms = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            left_min = pace * (config.steps - done) / 60
            log.info("step %d/%d %s (%.2f s a step, %.1f min left)", done, config.steps, terms, pace, left_min)
        if done % config.save_every == 0 or done == config.steps or stops:
            _save(path, module, optimizer, done, made_from)
        if stops:
            end_by(stops[0], done)


@contextmanager
def noted_stops() -> Iterator[list[int]]:
    """Let SIGTERM and Ctrl-C only be put into the list that this gives, until the end of the block, to save first.

    The second one ends the process at once.
    """
    stops: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return

    def note(signum: int, frame: Any) -> None:
        if stops:
            raise KeyboardInterrupt
        stops.append(signum)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stops
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def end_by(signum: int, step: int) -> NoReturn:
    """End a training that a signal stopped and that is saved: KeyboardInterrupt with the sentence, or SystemExit."""
    name = "Ctrl-C" if signum == signal.SIGINT else "SIGTERM"
    said = f"Stopped by {name} at step {step}, which is saved; run it again to go on."
    if signum == signal.SIGINT:
        raise KeyboardInterrupt(said)
    log.warning("%s", said)
    raise SystemExit(128 + signum)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a training checkpoint; InputError for a broken one."""
    try:
        state = torch.load(path, weights_only=True)
        assert isinstance(state, dict)
    except Exception as error:  # torch raises many kinds for a broken file, with advice that would run code from it
        raise InputError(
            f"The checkpoint {path} is broken; put back a copy, choose another out, or delete it to start anew."
        ) from error
    return state


def fingerprint(config: Any, arrays: Iterable[np.ndarray], without: tuple[str, ...] = ()) -> str:
    """Fingerprint of a training's config and data, 64 hexadecimal digits.

    Args:
        config: of the training, with its LoopConfig as `loop`; how often that logs and saves does not count.
        arrays: what is learnt from.
        without: names of further settings that do not count.
    """
    known = {name: value for name, value in to_dict(config).items() if name not in without}
    known["loop"] = {name: value for name, value in known["loop"].items() if name not in ("log_every", "save_every")}
    found = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def learning_rate_factor(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine from 1 down to 0.05 at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _optimizer(module: nn.Module, config: LoopConfig) -> torch.optim.AdamW:
    scales: Mapping[str, float] = getattr(module, "lr_scales", {})
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, config.weight_decay): [], (1.0, 0.0): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            scale = next((factor for start, factor in scales.items() if name.startswith(start)), 1.0)
            decay = config.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "weight_decay": decay, "scale": scale} for (scale, decay), params in groups.items()],
        lr=config.lr,
        betas=(0.9, 0.98),
    )


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("scale", 1.0)


def _running_mean(means: dict[str, float], new: dict[str, float], keep: float = 0.98) -> dict[str, float]:
    return {name: keep * means.get(name, value) + (1 - keep) * value for name, value in new.items()}


def _save(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, step: int, made_from: str) -> None:
    state: dict[str, Any] = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "generator": torch.get_rng_state(),
        "made_from": made_from,
    }
    with complete(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, made_from: str) -> int:
    if not path.is_file():
        return 0
    state = read_checkpoint(path)
    if state.get("made_from", "") != made_from:
        log.info("%s is of other settings or other songs: starting anew", path)
        return 0
    try:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} is of a model of another shape; choose another out, or delete it.") from error
    if "generator" in state:  # checkpoints of earlier versions have none
        torch.set_rng_state(state["generator"])
    log.info("resumed at step %d from %s", state["step"], path)
    return int(state["step"])
