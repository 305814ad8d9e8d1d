"""Training of the listener and of both stages with Lightning: one module, one loop, exact resume.

The module takes any model with a `loss`; batches come from outside, so that nothing here knows files of tokens.
Every random draw of a step is seeded by the step's number, so a run that was killed and started again goes on
with the losses that an uninterrupted run has.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from accompany.errors import InputError
from accompany.stages.batch import Batch

_log = logging.getLogger(__name__)

LAST, BEST = "last", "best"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}

Listen = Callable[[nn.Module, Batch], Mapping[str, float]]
"""Musical figures of a model on some items of the validation, for example of what it generates for them."""


class Trainable(Protocol):
    """What a model needs to be trained."""

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The `loss` (a scalar), and figures to watch beside it."""


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
        if self.lr <= 0 or self.weight_decay < 0 or self.warmup_steps < 0 or self.clip_norm < 0:
            raise ValueError("lr must be above 0; weight_decay, warmup_steps and clip_norm at least 0")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.final_lr <= 1:
            raise ValueError("ema_decay must lie in 0 to 1 (without 1), final_lr in 0 to 1")


@dataclass(frozen=True)
class RunConfig:
    """How long and where a run goes.

    Attributes:
        max_steps: optimiser steps.
        accumulate: batches for a step.
        precision: "float32", or "bfloat16" for autocast.
        device: "cpu", "cuda", "mps" or "auto".
        threads: of torch on the CPU; 0 leaves it alone.
        val_every: steps between validations; also of the best checkpoint.
        val_items: crops that a validation takes.
        listen_items: of these, how many the model generates for.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
        best_by: figure that picks the best checkpoint; a loss is to fall, anything else to rise.
        seed: of the weights and of every draw.
    """

    max_steps: int = 3000
    accumulate: int = 1
    precision: str = "float32"
    device: str = "auto"
    threads: int = 0
    val_every: int = 500
    val_items: int = 64
    listen_items: int = 4
    checkpoint_every: int = 250
    log_every: int = 20
    best_by: str = "val/loss"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision '{self.precision}' must be one of {', '.join(PRECISIONS)}")
        counts = ("max_steps", "accumulate", "val_every", "checkpoint_every", "log_every")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


class StageTraining(lightning.LightningModule):
    """A model in training, with its averaged twin.

    Args:
        model: the listener, or a stage.
        optimizer: how it is trained.
        run: seed, accumulation, length.
        listen: musical figures for the first items of the validation; None for none.
    """

    def __init__(
        self, model: nn.Module, optimizer: OptimizerConfig, run: RunConfig, listen: Listen | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.settings = optimizer
        self.run = run
        self.listen = listen
        self._heard: list[tuple[int, Mapping[str, float]]] = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step's draws by its number: dropout from the global state, the rest from a generator."""
        self._draw = self.trainer.global_step * self.run.accumulate + batch_idx % self.run.accumulate
        torch.manual_seed(_mixed(self.run.seed, self._draw, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; InputError when it is no number."""
        generator = torch.Generator().manual_seed(_mixed(self.run.seed + 1, self._draw, self.global_rank))
        figures = cast(Trainable, self.model).loss(batch.float(), generator)
        loss = figures.pop("loss")
        if not torch.isfinite(loss.detach()):
            raise InputError(
                f"The loss is {float(loss.detach())} at step {self.trainer.global_step}; lower optimizer.lr, "
                "or use precision=float32, and run again: it goes on from the last checkpoint."
            )
        self.log_dict({f"train/{name}": value for name, value in figures.items()})
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average towards the weights."""
        super().optimizer_step(*args, **kwargs)
        step = self.trainer.global_step
        # Early on the average follows quickly, so that it never remembers the random start.
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
            for kept, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
                kept.copy_(buffer)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and figures of the averaged model; musical ones on the first `listen_items`."""
        batch = batch.float()
        generator = torch.Generator().manual_seed(_mixed(self.run.seed + 2, batch_idx, 0))
        figures = cast(Trainable, self.average).loss(batch, generator)
        self.log_dict({f"val/{name}": value for name, value in figures.items()}, batch_size=batch.size)
        left = self.run.listen_items - sum(count for count, _ in self._heard)
        if self.listen is not None and left > 0:
            # In float32, as it will be used.
            with torch.autocast(self.device.type, enabled=False):
                heard = self.listen(self.average, batch.select(slice(0, left)))
            self._heard.append((min(left, batch.size), heard))

    def on_validation_epoch_end(self) -> None:
        """Log what was heard: means over items."""
        names = sorted({name for _, heard in self._heard for name in heard})
        for name in names:
            parts = [(count, heard[name]) for count, heard in self._heard if name in heard]
            self.log(f"val/{name}", sum(count * value for count, value in parts) / sum(count for count, _ in parts))
        self._heard.clear()

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


def fit(
    training: StageTraining,
    data: lightning.LightningDataModule,
    run_dir: Path,
    *,
    validate: bool = True,
    progress: bool = True,
) -> None:
    """Train until `max_steps`, from the last checkpoint in `run_dir` where there is one.

    Args:
        training: the module; its weights end as those of the last step.
        data: gives batches; it starts where `trainer.global_step` says.
        run_dir: gets checkpoints/, logs/ and metrics.jsonl.
        validate: whether `data` has something to validate on; without it no best checkpoint is kept.
        progress: show a bar on stderr.
    """
    run = training.run
    _quieten()
    if run.threads:
        torch.set_num_threads(run.threads)
    trainer = _trainer(training, run_dir, validate, progress)
    resumed = usable_checkpoint(run_dir)
    if resumed is not None:
        _log.info("Going on from %s.", resumed)
    trainer.fit(training, datamodule=data, ckpt_path=str(resumed) if resumed else None, weights_only=True)
    if trainer.global_step % run.checkpoint_every:
        trainer.save_checkpoint(run_dir / CHECKPOINTS / f"{LAST}.ckpt")


def usable_checkpoint(run_dir: Path) -> Path | None:
    """The newest checkpoint that can be read: the last one, else the best; None in a new run."""
    folder = run_dir / CHECKPOINTS
    for path in (folder / f"{LAST}.ckpt", folder / f"{BEST}.ckpt"):
        if path.is_file():
            try:
                torch.load(path, map_location="cpu", weights_only=True)
                return path
            except Exception as error:  # torch raises many kinds for a broken file
                _log.warning("Passing over the broken checkpoint %s (%s).", path, str(error).splitlines()[0])
    return None


def averaged_state(run_dir: Path, which: str = BEST) -> dict[str, Tensor]:
    """The averaged weights of a run's best (or last) checkpoint, by parameter name.

    Raises:
        InputError: the run has no checkpoint yet.
    """
    folder = run_dir / CHECKPOINTS
    paths = [folder / f"{name}.ckpt" for name in (which, LAST)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(f"{run_dir} holds no checkpoint; train it first, or name another run.")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "average."
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def _trainer(training: StageTraining, run_dir: Path, validate: bool, progress: bool) -> lightning.Trainer:
    run, clip = training.run, training.settings.clip_norm
    from lightning.pytorch.loggers import TensorBoardLogger

    return lightning.Trainer(
        accelerator=run.device,
        devices="auto" if run.device != "cpu" else 1,
        precision=cast(Any, PRECISIONS[run.precision]),
        max_steps=run.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=clip or None,
        val_check_interval=min(run.val_every, run.max_steps) * run.accumulate,
        limit_val_batches=None if validate else 0,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=run.log_every,
        logger=TensorBoardLogger(run_dir, name="logs", version=""),
        callbacks=[*_checkpoints(run, run_dir / CHECKPOINTS, validate), _Watch(run_dir / METRICS, progress)],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _checkpoints(run: RunConfig, folder: Path, validate: bool) -> list[ModelCheckpoint]:
    last = ModelCheckpoint(folder, LAST, every_n_train_steps=run.checkpoint_every, enable_version_counter=False)
    if not validate:
        return [last]
    mode = "min" if "loss" in run.best_by else "max"
    best = ModelCheckpoint(
        folder, BEST, monitor=run.best_by, mode=mode, save_on_train_epoch_end=False, enable_version_counter=False
    )
    return [best, last]


class _Watch(Callback):
    """A progress bar on stderr, and a line of JSON for every validation."""

    def __init__(self, path: Path, progress: bool) -> None:
        self.path, self.progress = path, progress
        self.bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        from tqdm import tqdm

        total, done = trainer.max_steps, trainer.global_step
        self.bar = tqdm(total=total, initial=done, desc="train", unit="step", disable=not self.progress)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.bar.update(trainer.global_step - self.bar.n)
        if trainer.global_step % 10 == 0:
            self.bar.set_postfix_str(f"loss {float(trainer.callback_metrics['train/loss']):.3f}")

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        figures = {name: round(float(value), 5) for name, value in sorted(trainer.callback_metrics.items())}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": trainer.global_step, **figures}) + "\n")
        shown = ", ".join(f"{name[4:]} {value:.3f}" for name, value in figures.items() if name.startswith("val/"))
        _log.info("Step %d: %s", trainer.global_step, shown)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.bar.close()


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


def _quieten() -> None:
    """Keep Lightning's advice about loaders, and its adverts, out of the user's terminal."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty.*")
    # The averaged twin is meant to be in evaluation mode.
    warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
