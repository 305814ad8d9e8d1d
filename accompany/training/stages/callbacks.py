"""Callbacks of a run: progress bar, a line of JSON for every validation, speed metrics."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from accompany.common.files import complete
from accompany.stages.batch import Batch
from accompany.training.stages.preference import Pairs

_log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
OF_A_STEP = 3
"""A backward pass multiplies twice as much as the forward pass."""

PEAK_BF16_TFLOPS = {
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10G": 70.0,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
"""Dense bfloat16 peaks with float32 accumulation, as in the makers' data sheets; the first name counts that is in a
device's as whole words."""

_OTHERS = r"(?! (?:Ti|D|Laptop)\b)"
"""Suffixes that mark another device."""


def peak_flops(device_name: str) -> float | None:
    """Dense bfloat16 operations a second of a device; None where they are not known."""
    fitting = (peak for name, peak in PEAK_BF16_TFLOPS.items() if re.search(rf"\b{name}\b{_OTHERS}", device_name))
    return next((1e12 * peak for peak in fitting), None)


def count_tokens(model: nn.Module, batch: Batch | Pairs) -> int:
    """Number of targets in a batch: codec tokens, semantic codes, or frames of a vocal."""
    if isinstance(batch, Pairs):
        return 2 * batch.better.numel()
    books = getattr(model.config, "codebooks", None)
    if books is not None and batch.tokens is not None:
        return int(batch.tokens[:, :books].numel())
    if hasattr(model, "decoder") and batch.codes is not None:
        return int(batch.codes.numel())
    return 0 if batch.vocal is None else int(batch.vocal.shape[0] * batch.vocal.shape[1])


class RunProgress(Callback):
    """Progress on stderr, METRICS, and `speed/...` metrics in the log.

    `speed/tokens_s` counts all devices; `speed/waiting` is the share of a step's time that goes into waiting for its
    batch, `speed/of_peak` the matrix products of a step (counted once, by torch's FLOP counter) against what the
    device could do in bfloat16.
    """

    def __init__(self, path: Path, progress: bool, every: int) -> None:
        self.path, self.progress, self.every = path, progress, every
        self.bar: Any = None
        self._flops: float | None = None
        self._fresh()

    def _fresh(self, ended: float = 0.0) -> None:
        self._ended: float = ended
        self._batches: int = 0
        self._tokens: int = 0
        self._seconds: float = 0.0
        self._waited_s: float = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Open the bar, and leave out of METRICS what came after the step that a killed run goes on from."""
        from tqdm import tqdm

        if trainer.is_global_zero:
            keep_lines(self.path, trainer.global_step)

        total, done = trainer.max_steps, trainer.global_step
        hidden = not self.progress or not trainer.is_global_zero
        self.bar = tqdm(total=total, initial=done, desc="train", unit="step", disable=hidden)

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Batch, batch_idx: int) -> None:
        """Take the time that the batch was waited for."""
        if self._flops is None:
            known = peak_flops(_device_name(module.device)) is not None
            self._flops = OF_A_STEP * forward_flops(module.average, batch) if known else 0.0
            self._fresh()
        if self._ended:
            # Not all the time since then: in it checkpoints are saved too, and samples played.
            self._waited_s += trainer.train_dataloader.latest_wait_s  # type: ignore[union-attr]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Move the bar, and take the speed."""
        now = time.perf_counter()
        if self._ended:  # the first batch, and the first after a validation, have other work in their time
            self._batches += 1
            self._seconds += now - self._ended
            self._tokens += count_tokens(module.model, batch) * trainer.world_size
        self._ended = now
        self.bar.update(trainer.global_step - self.bar.n)
        stepped = not trainer.fit_loop._should_accumulate()  # else a part of the next step would stand for all
        if self._batches and stepped and trainer.global_step % self.every == 0:
            self._show(trainer, module)
            self._fresh(now)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write a line of METRICS."""
        self._ended = 0.0
        if not trainer.is_global_zero:
            return
        metrics = {name: round(float(value), 5) for name, value in sorted(trainer.callback_metrics.items())}
        keep_lines(self.path, trainer.global_step - 1)  # a killed run may have written this step's
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": trainer.global_step, **metrics}) + "\n")
        shown = ", ".join(f"{name[4:]} {value:.3f}" for name, value in metrics.items() if name.startswith("val/"))
        _log.info("Step %d: %s", trainer.global_step, shown)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar, so that what is said of the end has a line of its own."""
        if self.bar is not None:
            self.bar.close()

    def _show(self, trainer: lightning.Trainer, module: Any) -> None:
        speed = self._tokens / self._seconds
        metrics = {"speed/tokens_s": speed, "speed/waiting": self._waited_s / self._seconds}
        shown = f"loss {float(trainer.callback_metrics['train/loss']):.3f}, {speed:.0f} tokens/s"
        peak = peak_flops(_device_name(module.device))
        if peak is not None and self._flops:
            metrics["speed/of_peak"] = self._flops * self._batches / self._seconds / peak
            shown += f", {metrics['speed/of_peak']:.0%} of peak"
        module.log_dict(metrics, rank_zero_only=True)
        self.bar.set_postfix_str(shown)
        if self.bar.disable and trainer.is_global_zero:
            _log.info("Step %d of %d: %s", trainer.global_step, trainer.max_steps, shown)


def keep_lines(path: Path, last_step: int) -> None:
    """Keep the lines of a METRICS file up to a step, and no half line of a run that was killed."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    kept = [line for line in lines if 0 <= _step_of(line) <= last_step]
    if kept != lines:
        with complete(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> int:
    """The step of a line; -1 for what is none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return -1


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def forward_flops(model: Any, batch: Batch) -> float:
    """Floating point operations of the matrix products in a forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.loss(batch.float(), torch.Generator().manual_seed(0))
    return float(counter.get_total_flops())
