"""How fast batches come out of a tokens folder, against how fast training takes them, here and on an H100."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from accompany.data.loading.crops import LoadingConfig, TokenDataset, train_loader
from accompany.errors import InputError

H100_FLOPS = 989e12
"""Dense bfloat16 operations a second of an H100 SXM at its best, from its data sheet."""

H100_SHARE = 0.4
"""Share of that which well-made training of transformers reaches; an assumption."""


@dataclass(frozen=True)
class LoaderBenchConfig:
    """What to time.

    Attributes:
        trainings: names (or files) of training configs, such as `semantic` or `acoustic_delay`; the part is the first
            word.
        batches: that each figure of a loader is taken over.
        steps: of training, likewise; one more warms up.
        workers: numbers of loading processes.
    """

    trainings: tuple[str, ...] = ("semantic", "acoustic")
    batches: int = 40
    steps: int = 2
    workers: tuple[int, ...] = (0, 2)

    def __post_init__(self) -> None:
        """Raise InputError for values out of range."""
        if min(self.batches, self.steps) < 1 or min(self.workers, default=-1) < 0:
            raise InputError("Batches and steps must be at least 1, and numbers of workers at least 0.")


def bench_loader(
    tokens_dir: str | os.PathLike[str],
    config: LoaderBenchConfig,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Time loading and training.

    Returns:
        `tokens`, `device`, and `rows`, one for each training with `training`, `batch_size`, `crop_s`,
        `loaded_per_s` (batches a second by number of workers), `loaded_cpu_per_s` (by second of CPU, without workers;
        None if there was no such run), `steps_per_s` on this device, `times` (loaded without workers over trained),
        `tflop` of a step, `h100_steps_per_s` (estimated: `tflop` at `H100_SHARE` of `H100_FLOPS`) and `h100_workers`,
        the loading processes that feed it twice as fast.
    """
    rows = []
    for done, name in enumerate(config.trainings):
        rows.append(_row(tokens_dir, name, config, device))
        if progress is not None:
            progress((done + 1) / len(config.trainings))
    return {"tokens": os.fspath(tokens_dir), "device": device, "h100_share": H100_SHARE, "rows": rows}


def _row(tokens_dir: str | os.PathLike[str], name: str, config: LoaderBenchConfig, device: str) -> dict[str, Any]:
    from accompany.common.config import load_config
    from accompany.training.train import TASKS, fit_to_tokens

    task = Path(name).stem.split("_")[0]
    if task not in TASKS:
        raise InputError(f"'{name}' is no config of a training; its first word must be {', '.join(TASKS)}.")
    chosen: Any = load_config(TASKS[task].config, name)
    dataset = TokenDataset(tokens_dir, "train", chosen.loading, needs_band=TASKS[task].needs_band)
    loaded: dict[int, float] = {}
    cpu: float | None = None  # told without workers only, whose CPU is not this process's
    for workers in config.workers:
        loaded[workers], spent = _loading(tokens_dir, chosen.loading, workers, config.batches, TASKS[task].needs_band)
        cpu = spent if workers == 0 else cpu
    batch = next(iter(train_loader(dataset)))
    model = TASKS[task].model(fit_to_tokens(chosen.model, dataset.manifest)).to(device)
    steps, flop = _training(model, batch.to(device).float(), config.steps, chosen.precision, device)
    h100 = H100_FLOPS * H100_SHARE / flop
    per_worker = cpu or max(loaded.values()) / max(max(config.workers), 1)
    return {
        "training": name,
        "batch_size": chosen.loading.batch_size,
        "crop_s": chosen.loading.crop_s,
        "loaded_per_s": loaded,
        "loaded_cpu_per_s": cpu,
        "steps_per_s": steps,
        "times": loaded[min(loaded)] / steps,
        "tflop": flop / 1e12,
        "h100_steps_per_s": h100,
        "h100_workers": max(math.ceil(2 * h100 / per_worker), 1),
    }


def _loading(
    tokens_dir: str | os.PathLike[str], loading: LoadingConfig, workers: int, count: int, needs_band: bool
) -> tuple[float, float]:
    """Batches a second, and a second of this process's CPU."""
    loading = dataclasses.replace(loading, workers=workers)
    batches = iter(train_loader(TokenDataset(tokens_dir, "train", loading, needs_band=needs_band)))
    next(batches)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(batches)
    return count / (time.perf_counter() - wall), count / max(time.process_time() - cpu, 1e-9)


def _training(model: Any, batch: Any, count: int, precision: str, device: str) -> tuple[float, float]:
    """Steps a second, and floating point operations of a step (counted in the first, which also warms up)."""
    from torch.utils.flop_counter import FlopCounterMode

    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for a GPU

    model.train()
    with FlopCounterMode(display=False) as counter:
        step()
    started = time.perf_counter()
    for _ in range(count):
        step()
    return count / (time.perf_counter() - started), float(counter.get_total_flops())


def loader_table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = []
    for row in report["rows"]:
        loaded = ", ".join(f"{rate:.1f} with {n} workers" for n, rate in row["loaded_per_s"].items())
        cpu = row["loaded_cpu_per_s"]
        of_cpu = "" if cpu is None else f"; {cpu:.1f} for a second of CPU"
        lines += [
            f"{row['training']} ({row['batch_size']} crops of {row['crop_s']:g} s):",
            f"  batches loaded a second: {loaded}{of_cpu}",
            f"  trained a second on {report['device']}: {row['steps_per_s']:.3f}; "
            f"loading is {row['times']:.0f} times as fast",
            f"  an H100 at {report['h100_share']:.0%} of its peak ({row['tflop']:.2f} TFLOP a step) would take "
            f"{row['h100_steps_per_s']:.1f} a second: workers={row['h100_workers']} load twice that",
        ]
    return "\n".join(lines)
