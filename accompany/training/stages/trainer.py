"""The trainer of a run: Lightning's over one device or many, with checkpoints to resume from."""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from accompany.errors import InputError
from accompany.stages.batch import Batch
from accompany.training.stages.callbacks import METRICS, RunProgress
from accompany.training.stages.checkpoints import (
    BEST,
    CHECKPOINTS,
    LAST,
    AtomicCheckpoints,
    check_space,
    tidy,
    usable_checkpoint,
)
from accompany.training.stages.devices import DeviceSetup, leave_group_at_exit, local_devices, ray_devices
from accompany.training.stages.module import PRECISIONS, RunConfig, StageTraining, Trainable
from accompany.training.stages.stopping import Stopped, Stopping

_log = logging.getLogger(__name__)

STOP_REQUEST = ".stop"
"""File in a run's folder that asks the workers of a cluster to stop, where no signal reaches them."""


def fit(
    training: StageTraining,
    data: lightning.LightningDataModule,
    run_dir: Path,
    *,
    validate: bool = True,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    on_ray: bool = False,
) -> None:
    """Train until `max_steps`, from the last checkpoint in `run_dir` where there is one.

    Args:
        training: the module; its weights end as those of the last step.
        data: gives batches; it starts where `trainer.global_step` says.
        run_dir: gets checkpoints/, logs/ and metrics.jsonl.
        validate: whether `data` has something to validate on; without it no best checkpoint is kept.
        progress: show a bar on stderr.
        callbacks: more of them.
        on_ray: this process is a worker of Ray Train, which has made the group of processes.

    Raises:
        InputError: no such device, no room for checkpoints, a batch that does not fit, or a loss that is no number.
        SystemExit: stopped by SIGTERM, with the state of that step saved.
        KeyboardInterrupt: stopped by Ctrl-C, likewise; it carries the sentence for the user.
    """
    run = training.run
    _quieten()
    if run.threads:
        torch.set_num_threads(run.threads)
    check_space(training.model, run_dir)
    resumed = usable_checkpoint(run_dir)
    setup = ray_devices(training) if on_ray else local_devices(training)
    if not on_ray:  # which ends its groups itself
        leave_group_at_exit()
    stopping = Stopping(run_dir / STOP_REQUEST if on_ray else None)
    trainer = _trainer(
        training, run_dir, validate, [stopping, *callbacks, _Keep(run_dir, resumed, stopping)], progress, setup
    )
    if resumed is not None:
        _log.info("Going on from %s.", resumed)
    try:
        with stopping.handling_signals(trainer):
            trainer.fit(training, datamodule=data, ckpt_path=str(resumed) if resumed else None, weights_only=True)
            if trainer.global_step % run.checkpoint_every:
                trainer.save_checkpoint(run_dir / CHECKPOINTS / f"{LAST}.ckpt")
    except Stopped as stop:
        # KeyboardInterrupt carries it; on a cluster the process that started the workers says it.
        if stop.agreed and trainer.is_global_zero and stop.signum != signal.SIGINT and not on_ray:
            _log.warning("%s", stop.at(trainer.global_step))
        raise stop.end(trainer.global_step) from stop
    except torch.OutOfMemoryError as error:
        raise InputError(too_large(training, trainer.strategy.root_device)) from error


def too_large(training: StageTraining, device: torch.device) -> str:
    """The sentence about a batch that does not fit, with the largest that does."""
    batch, parts = training.latest, training.run.accumulate
    assert batch is not None
    said = f"{batch.size} crops at once are more than the memory of {device} holds; "
    fits = 0 if training.sharded else _largest(training, batch, device)
    if fits:
        return said + f"{fits} fit: add accumulate={parts * math.ceil(batch.size / fits)}."
    return said + "raise accumulate, or set checkpoint_activations=true, shorter crops or a smaller model."


def _largest(training: StageTraining, batch: Batch, device: torch.device) -> int:
    """The largest half, quarter, ... of a batch that a step fits in memory for; 0 for none."""
    size = batch.size // 2
    while size:
        try:
            model = training.model.to(device)
            # The averaged twin and AdamW's moments take their room too.
            held = [torch.empty_like(value) for value in model.parameters() for _ in range(3)]
            cast(Trainable, model).loss(batch.select(slice(0, size)).float().to(device))["loss"].backward()
            return size
        except torch.OutOfMemoryError:
            size //= 2
        finally:
            held = []  # noqa: F841
            training.model.zero_grad()
    return 0


class _Keep(Callback):
    """Saves the run when a stop is requested, and tidies up after a start."""

    def __init__(self, run_dir: Path, resumed: Path | None, stopping: Stopping) -> None:
        self.run_dir, self.resumed, self.stopping = run_dir, resumed, stopping

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        trainer.strategy.barrier("resumed")
        if trainer.is_global_zero:
            tidy(self.run_dir, self.resumed)

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, SIGTERMException) and not self.stopping.requeued(trainer):
            trainer.save_checkpoint(self.run_dir / CHECKPOINTS / f"{LAST}.ckpt")


def _trainer(
    training: StageTraining,
    run_dir: Path,
    validate: bool,
    callbacks: list[Callback],
    progress: bool,
    setup: DeviceSetup,
) -> lightning.Trainer:
    run, clip = training.run, training.settings.clip_norm
    return lightning.Trainer(
        accelerator=setup.device,
        devices=setup.devices,
        num_nodes=setup.nodes,
        strategy=setup.strategy,
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
        logger=_loggers(run, run_dir),
        callbacks=[
            *_checkpoints(run, run_dir / CHECKPOINTS, validate),
            RunProgress(run_dir / METRICS, progress, run.log_every),
            *callbacks,
        ],
        plugins=[AtomicCheckpoints(), *setup.plugins],
        default_root_dir=run_dir,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _loggers(run: RunConfig, run_dir: Path) -> list[Any]:
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

    loggers: list[Any] = [TensorBoardLogger(run_dir, name="logs", version="")]
    if run.wandb:
        try:
            loggers.append(WandbLogger(project=run.wandb, name=run_dir.name, save_dir=run_dir))
        except ModuleNotFoundError as error:
            raise InputError(
                "wandb=... needs the package wandb, which is not installed: pip install 'accompany[wandb]'"
            ) from error
    return loggers


def _checkpoints(run: RunConfig, folder: Path, validate: bool) -> list[ModelCheckpoint]:
    last = ModelCheckpoint(folder, LAST, every_n_train_steps=run.checkpoint_every, enable_version_counter=False)
    if not validate:
        return [last]
    mode = "min" if "loss" in run.best_by else "max"
    best = ModelCheckpoint(
        folder, BEST, monitor=run.best_by, mode=mode, save_on_train_epoch_end=False, enable_version_counter=False
    )
    return [best, last]


def _quieten() -> None:
    """Keep Lightning's advice about loaders, and its adverts, out of the user's terminal."""
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        # The averaged twin is meant to be in evaluation mode.
        ".*module\\(s\\) in eval mode.*",
        ".*treespec, LeafSpec.*",
        ".*ModelParallelStrategy.*experimental.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
