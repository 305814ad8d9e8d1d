"""Devices of a run: of this machine and, under torchrun or SLURM, of others; or workers of Ray Train."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from accompany.errors import InputError
from accompany.stages.masked import MaskedDecoder
from accompany.training.stages.module import RunConfig, StageTraining

_TRIAL = 2
"""Processes that even one core runs, to try training on several devices."""


@dataclass(frozen=True)
class DeviceSetup:
    """Devices and strategy for Lightning's trainer.

    Attributes:
        device: kind of device: "cpu", "cuda" or "mps".
        devices: processes on this machine, one for each device.
        nodes: machines.
        strategy: how the processes share the work.
        plugins: how a process learns its rank, where Lightning does not find that out.
    """

    device: str
    devices: int
    nodes: int
    strategy: Strategy | str
    plugins: tuple[Any, ...] = ()


def local_devices(training: StageTraining) -> DeviceSetup:
    """This machine's devices; on several machines the processes that torchrun or SLURM started.

    Raises:
        InputError: such devices, or as many of them, are not here.
    """
    run = training.run
    device, devices = _devices(run)
    world_size = devices * run.nodes
    check_shares(run, world_size)
    alone = world_size == 1 and run.strategy == "auto"
    strategy = "auto" if alone else _strategy(training, device, world_size, DDPStrategy)
    return DeviceSetup(device, devices, run.nodes, strategy)


def is_first(on_ray: bool = False) -> bool:
    """Whether this process is the first of those that train together: it alone writes into the run's folder."""
    if on_ray:
        from ray.train import get_context

        return int(get_context().get_world_rank()) == 0
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def check_shares(run: RunConfig, world_size: int) -> None:
    """Raise InputError when a batch cannot be shared by so many devices, before any process is started for them."""
    batch_size = getattr(getattr(run, "loading", None), "batch_size", None)
    if batch_size is not None and (batch_size // run.accumulate) % world_size:
        raise InputError(
            f"loading.batch_size={batch_size} cannot be shared by {world_size} devices with accumulate="
            f"{run.accumulate}; make it a multiple of {world_size * run.accumulate}."
        )


def leave_group_at_exit() -> None:
    """Take this process out of the group that it trains in before the interpreter ends.

    Gloo's threads keep tensors of the last collectives for a moment. One that is let go while the interpreter ends
    aborts the process; Lightning sees to that for NCCL alone.
    """
    atexit.register(_leave_group)


def _leave_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def ray_devices(training: StageTraining) -> DeviceSetup:
    """The worker of Ray Train that this process is; Ray has chosen its device and made the group of processes."""
    from ray.train import get_context
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment
    from ray.train.torch import get_device

    context = get_context()
    device = get_device().type
    strategy = _strategy(training, device, context.get_world_size(), RayDDPStrategy)
    return DeviceSetup(device, context.get_local_world_size(), 1, strategy, (RayLightningEnvironment(),))


def _devices(run: RunConfig) -> tuple[str, int]:
    """The kind of device and how many of it, checked."""
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    device = run.device
    if device == "auto":
        device = next((name for name, count in there.items() if count), "cpu")
    if device == "cpu":
        cores = max(os.cpu_count() or 1, _TRIAL)
        if run.devices > cores:
            raise InputError(f"devices={run.devices} is more than the {cores} CPU cores that are here; use fewer.")
        return device, run.devices or 1
    if not there[device]:
        also = ", ".join(["cpu", *(name for name, count in there.items() if count)])
        raise InputError(f"device={device} is not available here; use one of auto, {also}.")
    if run.devices > there[device]:
        raise InputError(f"devices={run.devices} is more than the {there[device]} {device} that are here; use fewer.")
    return device, run.devices or there[device]


def _strategy(training: StageTraining, device: str, world_size: int, ddp: type[DDPStrategy]) -> Strategy:
    backend = "gloo" if device == "cpu" else None
    if training.run.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=world_size,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,  # one file, which any number of devices can read
            process_group_backend=backend,
        )
    # Masked decoding leaves the heads of the codebooks that chance did not pick without a gradient.
    unused = any(isinstance(module, MaskedDecoder) for module in training.model.modules())
    return ddp(process_group_backend=backend, find_unused_parameters=unused)
