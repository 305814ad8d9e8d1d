"""How fast `accompany train` trains, against a plain loop over the same model, batches and optimiser."""

from __future__ import annotations

import copy
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback

from accompany.common.config import load_config
from accompany.data.loading.crops import train_loader
from accompany.errors import InputError
from accompany.evaluation.speed.measure import peak_memory
from accompany.evaluation.speed.training_plan import crop_flops
from accompany.training.stages.callbacks import count_tokens
from accompany.training.stages.module import StageTraining
from accompany.training.stages.trainer import fit
from accompany.training.train import TASKS, TokenData, config_named, fit_to_tokens

_WARM = 2
_NEVER = 10**9


@dataclass(frozen=True)
class TrainingBenchConfig:
    """What to time.

    Attributes:
        trainings: names (or files) of training configs, such as `semantic` or `acoustic_base`; the part is the first
            word.
        steps: timed in each of the rounds, after two that warm up.
        rounds: of either side, in turns, so that what else the machine does falls on both.
        overrides: `key=value` items for the configs, such as `loading.batch_size=2`.
    """

    trainings: tuple[str, ...] = ("semantic", "acoustic")
    steps: int = 6
    rounds: int = 2
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise InputError for values out of range."""
        if min(self.steps, self.rounds) < 1:
            raise InputError("Steps and rounds must be at least 1.")


@dataclass
class _Times:
    """Seconds of each timed step, and how much of them its batch was waited for."""

    steps: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    tokens: int = 0


def bench_training(
    tokens_dir: str | os.PathLike[str],
    config: TrainingBenchConfig,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Time training by Lightning and by a plain loop.

    Returns:
        `tokens`, `device`, and `rows`, one for each training with `training`, `parameters`, `batch_size`, `crop_s`,
        `steps_per_s` and `tokens_per_s` of `accompany train`, `waiting` (share of its time that goes into waiting for
        batches), `plain_steps_per_s`, and `of_plain`, the first over the last. Speeds are those of the median step.
        `flops_per_step` are those of the matrix products; `peak_mb` is the most memory that training by Lightning took,
        of the GPU, or of this process on a CPU.
    """
    rows = []
    for done, name in enumerate(config.trainings):
        rows.append(_row(tokens_dir, name, config, device))
        if progress is not None:
            progress((done + 1) / len(config.trainings))
    return {"tokens": os.fspath(tokens_dir), "device": device, "rows": rows}


def _row(tokens_dir: str | os.PathLike[str], name: str, config: TrainingBenchConfig, device: str) -> dict[str, Any]:
    task = Path(name).stem.split("_")[0]
    if task not in TASKS:
        raise InputError(f"'{name}' is no config of a training; its first word must be {', '.join(TASKS)}.")
    n_steps = _WARM + config.steps
    own = [f"tokens={tokens_dir}", f"device={device}", "devices=1", "strategy=auto", f"max_steps={n_steps}"]
    own += [f"checkpoint_every={_NEVER}", f"val_every={_NEVER}"]
    chosen: Any = load_config(TASKS[task].config, config_named(name, task), [*config.overrides, *own])
    data = TokenData(chosen, needs_band=TASKS[task].needs_band)
    torch.manual_seed(chosen.seed)
    model: Any = TASKS[task].model(fit_to_tokens(chosen.model, data.training_set.manifest))  # type: ignore[call-arg]
    plain, trained, peaks = _Times(), _Times(), list[float | None]()
    for _ in range(config.rounds):
        _plain(copy.deepcopy(model), data, chosen, device, plain, n_steps)
        with peak_memory(device) as peak_mb:
            _by_lightning(copy.deepcopy(model), data, chosen, trained)
            peaks.append(peak_mb())
    step_s, plain_s = statistics.median(trained.steps), statistics.median(plain.steps)
    return {
        "training": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "batch_size": chosen.loading.batch_size,
        "crop_s": chosen.loading.crop_s,
        "steps_per_s": 1 / step_s,
        "tokens_per_s": trained.tokens / step_s,
        "waiting": sum(trained.waited) / sum(trained.steps),
        "plain_steps_per_s": 1 / plain_s,
        "of_plain": plain_s / step_s,
        "flops_per_step": chosen.loading.batch_size
        * crop_flops(model, data.training_set.manifest, chosen.loading.crop_s),
        "peak_mb": max((peak for peak in peaks if peak is not None), default=None),
    }


def _plain(model: Any, data: TokenData, config: Any, device: str, times: _Times, n_steps: int) -> None:
    """The same work in the fewest words: forward, backward, clip, step, average."""
    model = model.to(device).train()
    average = copy.deepcopy(model).eval().requires_grad_(False)
    settings = config.optimizer
    optimizer = torch.optim.AdamW(model.parameters(), settings.lr, settings.betas, weight_decay=settings.weight_decay)
    batches = iter(train_loader(data.training_set))
    ended = time.perf_counter()
    for step in range(n_steps):
        parts = [next(batches).to(device).float() for _ in range(config.accumulate)]
        for part in parts:
            with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss = model.loss(part, torch.Generator().manual_seed(step))["loss"] / config.accumulate
            loss.backward()
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 1 - settings.ema_decay)
        float(loss.detach())  # waits for a GPU
        now = time.perf_counter()
        if step >= _WARM:
            times.steps.append(now - ended)
        ended = now


class _Enough(Exception):
    """All steps are timed: what follows would only write a checkpoint."""


class _Clock(Callback):
    """Takes the time from the end of a step to the end of the next."""

    def __init__(self, times: _Times) -> None:
        self._times = times
        self._ended = 0.0
        self._waited = 0.0
        self._ready = 0.0

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        ready = time.perf_counter()
        self._waited += ready - (self._ready or ready)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A part of a step, or a step, is over."""
        now = self._ready = time.perf_counter()
        if (batch_idx + 1) % module.run.accumulate:
            return
        if trainer.global_step > _WARM:
            self._times.steps.append(now - self._ended)
            self._times.waited.append(self._waited)
            self._times.tokens = count_tokens(module.model, batch) * module.run.accumulate
        self._ended, self._waited = now, 0.0
        if trainer.global_step == trainer.max_steps:
            raise _Enough


def _by_lightning(model: Any, data: TokenData, config: Any, times: _Times) -> None:
    training = StageTraining(model, config.optimizer, config)
    with tempfile.TemporaryDirectory(prefix="accompany-") as folder:
        try:
            fit(training, data, Path(folder), validate=False, progress=False, callbacks=[_Clock(times)])
        except _Enough:
            return


def training_table(report: dict[str, Any]) -> str:
    """The report for people."""
    return "\n".join(
        f"{row['training']} ({row['parameters'] / 1e6:.0f}M parameters, {row['batch_size']} crops of "
        f"{row['crop_s']:g} s) on {report['device']}: {row['steps_per_s']:.3f} steps a second, "
        f"{row['tokens_per_s']:.0f} tokens a second, waiting for data {row['waiting']:.1%}; a plain loop "
        f"makes {row['plain_steps_per_s']:.3f} steps a second, so {row['of_plain']:.0%} of it; "
        f"{row['flops_per_step'] / 1e12:.2f} TFLOP a step, at most {(row['peak_mb'] or math.nan) / 1e3:.1f} GB"
        for row in report["rows"]
    )
