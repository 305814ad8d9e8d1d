"""LoRA (Hu et al., 2021) on a stage, by `peft`: small matrices beside the large ones learn, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from accompany.config import check_range
from accompany.errors import InputError
from accompany.weights import save_state

_NAME = "default"
"""What peft calls the one adapter."""


@dataclass(frozen=True)
class LoraConfig:
    """An adapter.

    Attributes:
        rank: width of the small matrices; 0 trains the whole model.
        alpha: what they add is weighted with alpha / rank.
        dropout: on their input while training.
        targets: endings of the names of the linear layers that get them: `project` and `out` of the attention,
            `feed_in` and `feed_out` of the feed-forward.
    """

    rank: int = 0
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("project", "out", "feed_in", "feed_out")

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        check_range(self, "rank", least=0, most=65536)
        check_range(self, "alpha", above=0, most=65536)
        check_range(self, "dropout", least=0, below=1)
        if not self.targets:
            raise ValueError("lora.targets must name layers, such as [project,out]")


def add_lora(model: nn.Module, config: LoraConfig) -> None:
    """Put an adapter that changes nothing yet into the model, and freeze all but it.

    Raises:
        InputError: the model has no layer of these names.
    """
    import peft

    try:
        peft.inject_adapter_in_model(_for_peft(config), model, _NAME)
    except ValueError as error:
        raise InputError(f"The model has no linear layers for lora.targets={list(config.targets)}.") from error


def merged(model: nn.Module) -> nn.Module:
    """The model with its adapter worked into its weights: a copy, or the model itself where it has none."""
    if not _layers(model):
        return model
    model = copy.deepcopy(model)
    merge(model)
    return model


def merge(model: nn.Module, scale: float = 1.0) -> None:
    """Work an adapter, times `scale`, into the weights of its model, and take it out."""
    for name, layer in _layers(model).items():
        layer.scale_layer(scale)
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())


def save_lora(model: nn.Module, config: LoraConfig, folder: Path) -> None:
    """Write the adapter of a model as peft does: adapter_config.json and adapter_model.safetensors."""
    import peft

    # The weights last: a folder without them is no adapter.
    _for_peft(config).save_pretrained(str(folder))
    save_state(peft.get_peft_model_state_dict(model), folder / "adapter_model.safetensors", {"format": "pt"})


def load_lora(model: nn.Module, folder: Path) -> None:
    """Put an adapter into a model; InputError when its files are broken or it does not fit."""
    import peft
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        state = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise InputError(f"Cannot read the adapter {folder} ({str(error).splitlines()[0]}).") from error
    try:
        peft.inject_adapter_in_model(config, model, _NAME)
        left: Any = peft.set_peft_model_state_dict(model, state)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"The adapter {folder} does not fit this model; use the one that it was made on.") from error
    if left.unexpected_keys:
        raise InputError(f"The adapter {folder} has layers that this model lacks; use the one that it was made on.")


def _for_peft(config: LoraConfig) -> Any:
    import peft

    return peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(config.targets)
    )


def _layers(model: nn.Module) -> dict[str, Any]:
    """The layers with an adapter, by name. (Without peft there are none.)"""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "get_base_layer")}
