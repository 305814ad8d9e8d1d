"""Training of the listener and of both stages: one LightningModule, whose every step can be done again exactly.

The module takes any model with a `loss`; batches come from outside, so that nothing here knows files of tokens.
Every random draw of a step is seeded by the step's number, so a run that was killed and started again goes on
with the losses that an uninterrupted run has.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import lightning.pytorch as lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from accompany.common.config import MOST_PROCESSES, MOST_SEED, check_range
from accompany.errors import InputError
from accompany.stages.batch import Batch
from accompany.stages.lora import merged
from accompany.training.stages.sharding import (
    compile_blocks,
    gather_into,
    number_by_module,
    recompute_activations,
    shard,
)

DEVICES = ("auto", "cpu", "cuda", "mps")
STRATEGIES = ("auto", "fsdp")
_MOST_STEPS, _MOST_DEVICES = 10**9, 65536
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}

BatchMetrics = Callable[[nn.Module, Batch], Mapping[str, float]]
"""Musical metrics of a model on some items of the validation, for example of what it generates for them."""


class Trainable(Protocol):
    """Interface of a trainable model."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The `loss` (a scalar), and metrics to watch beside it."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up, cosine decay and an exponential moving average of the weights.

    Attributes:
        lr: peak learning rate.
        weight_decay: of matrices; vectors and embeddings have none.
        betas: of AdamW.
        warmup_steps: steps of linear rise to `lr`.
        final_lr: share of `lr` that is left at the last step.
        clip_norm: largest norm of the gradient; 0 clips nothing.
        ema_decay: of the averaged weights, which are validated and exported.
    """

    lr: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 200
    final_lr: float = 0.02
    clip_norm: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        check_range(self, "lr", above=0)
        check_range(self, "weight_decay clip_norm", least=0)
        check_range(self, "warmup_steps", least=0, most=_MOST_STEPS)
        check_range(self, "betas ema_decay", least=0, below=1)
        check_range(self, "final_lr", least=0, most=1)


@dataclass(frozen=True)
class RunConfig:
    """Length, devices and logging of a run.

    Attributes:
        max_steps: optimiser steps.
        accumulate: parts that a step's batch is worked through in, one after the other, to save memory.
        precision: "float32", or "bfloat16" for autocast.
        device: "cpu", "cuda", "mps" or "auto".
        devices: processes on this machine, one for each device; 0 takes all devices there are (one on the CPU).
        nodes: machines; their processes are started by torchrun, SLURM or Ray Train.
        strategy: "auto" gives each device the whole model (DDP), "fsdp" a share of it (FSDP2).
        checkpoint_activations: run each block again in the backward pass: less memory, a third more work.
        compile: compile the transformers' blocks with torch.compile: a slow start, then faster steps on GPUs.
        threads: of torch on the CPU; 0 leaves it alone.
        val_every: steps between validations; also of the best checkpoint.
        val_items: crops that a validation takes.
        listen_items: of these, how many the model generates for.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
        best_by: metric that picks the best checkpoint; a loss is to fall, anything else to rise.
        wandb: project of Weights & Biases to log to beside TensorBoard; empty for none.
        seed: of the weights and of every draw.
    """

    max_steps: int = 3000
    accumulate: int = 1
    precision: str = "float32"
    device: str = "auto"
    devices: int = 0
    nodes: int = 1
    strategy: str = "auto"
    checkpoint_activations: bool = False
    compile: bool = False
    threads: int = 0
    val_every: int = 500
    val_items: int = 64
    listen_items: int = 4
    checkpoint_every: int = 250
    log_every: int = 20
    best_by: str = "val/loss"
    wandb: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("precision", PRECISIONS), ("device", DEVICES), ("strategy", STRATEGIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} '{getattr(self, name)}' must be one of {', '.join(known)}")
        check_range(self, "max_steps accumulate val_every checkpoint_every log_every", least=1, most=_MOST_STEPS)
        check_range(self, "nodes", least=1, most=_MOST_DEVICES)
        check_range(self, "devices", least=0, most=_MOST_DEVICES)
        check_range(self, "threads", least=0, most=MOST_PROCESSES)
        check_range(self, "val_items listen_items", least=0, most=_MOST_STEPS)
        check_range(self, "seed", least=0, most=MOST_SEED)


class StageTraining(lightning.LightningModule):
    """A model in training, with its averaged twin.

    The twin is kept here and not by Lightning's EMAWeightAveraging, which cannot average what is sharded, and has no
    slow start: averaging from a random start would spoil the first thousands of steps.

    Args:
        model: the listener, or a stage.
        optimizer: how it is trained.
        run: seed, accumulation, length.
        musical_metrics: metrics for the first items of the validation; None for none.
    """

    def __init__(
        self, model: nn.Module, optimizer: OptimizerConfig, run: RunConfig, musical_metrics: BatchMetrics | None = None
    ) -> None:
        super().__init__()
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        if run.checkpoint_activations:
            recompute_activations(model)
        if run.compile:
            compile_blocks(model)
        self.model = model
        self.settings = optimizer
        self.run = run
        self.musical_metrics = musical_metrics
        self.latest: Batch | None = None
        self._measured: list[tuple[int, Mapping[str, float]]] = []
        self._loss: tuple[int, Tensor] | None = None
        self._whole: list[nn.Module] = []  # in a list, so that it is no part of this module

    def configure_model(self) -> None:
        """Share the weights out, where the run does so."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and not self._whole:
            self._whole.append(copy.deepcopy(self.average))
            for model in (self.model, self.average):
                shard(model, self.trainer.strategy.device_mesh["data_parallel"])

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a share of the weights."""
        return bool(self._whole)

    def whole_average(self) -> nn.Module:
        """The averaged model to generate with, adapters worked in; in a sharded run every process has to ask for it."""
        if not self._whole:
            return merged(self.average)
        (whole,) = self._whole
        gather_into(whole, self.average)
        return merged(whole.to(self.device))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step's draws by its number: dropout from the global state, the rest from a generator."""
        self._draw = self.trainer.global_step * self.run.accumulate + batch_idx % self.run.accumulate
        self.latest = batch
        torch.manual_seed(_mixed(self.run.seed, self._draw, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; InputError when that of the step before was no number."""
        self.check_loss()
        generator = torch.Generator().manual_seed(_mixed(self.run.seed + 1, self._draw, self.global_rank))
        metrics = cast(Trainable, self.model).loss(batch.float(), generator)
        loss = metrics.pop("loss")
        self._loss = self.trainer.global_step, loss.detach()
        several = self.trainer.world_size > 1
        self.log_dict({f"train/{name}": value for name, value in metrics.items()}, sync_dist=several)
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=several)
        return loss

    def check_loss(self) -> None:
        """Raise InputError when the latest loss is no number; asked a step late, no step waits for the device."""
        if self._loss is not None and not torch.isfinite(self._loss[1]):
            step, loss = self._loss
            raise InputError(
                f"The loss is {float(loss)} at step {step}; lower optimizer.lr, or use precision=float32, and run "
                "again: it goes on from the last checkpoint."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint before, when the loss is no number; make it one for any number of devices."""
        self.check_loss()
        if not self.sharded:
            for state, optimizer in zip(checkpoint["optimizer_states"], self.trainer.optimizers, strict=True):
                number_by_module(state, optimizer, self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with a whole step, when the checkpoint was saved between the parts of one.

        Raises:
            InputError: it is of a model of another config.
        """
        own = {name: value.shape for name, value in self.state_dict().items()}
        # Where the weights are shared out, the strategy has taken them out of the checkpoint by now.
        other = {name: value.shape for name, value in checkpoint.get("state_dict", self.state_dict()).items()}
        if own != other:
            name = next(name for name in (*own, *other) if own.get(name) != other.get(name))
            raise InputError(
                f"The checkpoint of this run is of a model of another config (they differ in {name.split('.', 1)[1]}); "
                "use the config that it was trained with, or another run_dir."
            )
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        whole = checkpoint["global_step"] * self.run.accumulate
        if progress["total"]["processed"] != whole:
            for part in ("total", "current"):
                progress[part].update(ready=whole, started=whole, processed=whole, completed=whole)
            # The saved loader stands behind the part of the step that is lost; without its place, the one that is
            # made for the run begins with the step.
            checkpoint["loops"]["fit_loop"]["state_dict"].pop("combined_loader", None)
        step, every = checkpoint["global_step"], min(self.run.val_every, self.run.max_steps)
        if self.trainer.enable_validation and step % every == 0 and progress["total"]["completed"] == whole:
            # Saved after a validation: Lightning leaves that out now, but counts its step for the loggers once more.
            checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] = step - 1

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average towards the weights."""
        super().optimizer_step(*args, **kwargs)
        step = self.trainer.global_step
        # Early on the average follows quickly, so that it never remembers the random start.
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value.detach(), 1 - decay)
            for kept, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
                kept.copy_(buffer)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and metrics of the averaged model; musical ones on the first `listen_items`."""
        batch = batch.float()
        generator = torch.Generator().manual_seed(_mixed(self.run.seed + 2, batch_idx, 0))
        metrics = cast(Trainable, self.average).loss(batch, generator)
        named = {f"val/{name}": value for name, value in metrics.items()}
        self.log_dict(named, batch_size=batch.size, sync_dist=self.trainer.world_size > 1)
        left = self.run.listen_items - sum(count for count, _ in self._measured)
        if self.musical_metrics is not None and left > 0:
            # In float32, as it will be used.
            with torch.autocast(self.device.type, enabled=False):
                measured = self.musical_metrics(self.whole_average(), batch.select(slice(0, left)))
            self._measured.append((min(left, batch.size), measured))

    def on_validation_epoch_end(self) -> None:
        """Log what was measured: means over items."""
        names = sorted({name for _, measured in self._measured for name in measured})
        for name in names:
            parts = [(count, measured[name]) for count, measured in self._measured if name in measured]
            mean = sum(count * value for count, value in parts) / sum(count for count, _ in parts)
            self.log(f"val/{name}", mean, sync_dist=self.trainer.world_size > 1)
        self._measured.clear()

    def configure_optimizers(self) -> Any:
        """AdamW with two groups, and the learning rate's curve."""
        low, high = self.settings.betas
        optimizer = torch.optim.AdamW(_groups(self.model, self.settings.weight_decay), self.settings.lr, (low, high))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _lr_share(self, step: int) -> float:
        warmup, final = self.settings.warmup_steps, self.settings.final_lr
        if step < warmup:
            return (step + 1) / warmup
        progress = min((step - warmup) / max(self.run.max_steps - warmup, 1), 1.0)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; vectors (norms, biases) and embeddings do not."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.dim() >= 2 and id(p) not in embeddings]
    others = [p for p in trained if p.dim() < 2 or id(p) in embeddings]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _mixed(seed: int, number: int, rank: int) -> int:
    """One seed from three numbers, without pattern from one to the next."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**63
