"""Memory and speed of large models: sharded parameters, activation checkpointing, compiled blocks."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from accompany.stages.transformer import Block


def recompute_activations(model: nn.Module) -> None:
    """Keep only what goes into each block, and run it again in the backward pass (Chen et al., 2016)."""
    for block in _blocks(model):
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]


def compile_blocks(model: nn.Module) -> None:
    """Compile each block on its own: all of one transformer share one compilation, and parameters keep their names."""
    for block in _blocks(model):
        block.compile(dynamic=False)


def shard(model: nn.Module, mesh: Any) -> None:
    """Share the parameters out over the devices of `mesh` (FSDP2): each block a group, what is left another."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # Training enters by `loss`, so that is where the parameters are gathered.
    register_fsdp_forward_method(model, "loss")


def number_by_module(state: dict[str, Any], optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Number the parameters in an optimiser's `state_dict` by their position in `module`, as sharded runs do.

    torch numbers them by the optimiser's groups, and reads any numbers, for it goes by the order in the groups;
    sharded runs read only their own. So what any run saves, any other can read.
    """
    positions = {id(parameter): position for position, parameter in enumerate(module.parameters())}
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [number for group in state["param_groups"] for number in group["params"]]
    now = {number: positions[id(parameter)] for number, parameter in zip(before, ordered, strict=True)}
    state["state"] = {now[number]: value for number, value in state["state"].items()}
    for group in state["param_groups"]:
        group["params"] = [now[number] for number in group["params"]]


@torch.no_grad()
def gather_into(whole: nn.Module, sharded: nn.Module) -> None:
    """Copy the parameters of a sharded model into one of the same shapes; every process must call it."""
    for own, value in zip(whole.parameters(), sharded.parameters(), strict=True):
        full = value.full_tensor() if hasattr(value, "full_tensor") else value
        own.copy_(full)


def _blocks(model: nn.Module) -> list[Block]:
    return [module for module in model.modules() if isinstance(module, Block)]
