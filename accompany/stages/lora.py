"""LoRA adapters (Hu et al., 2021) on a stage, by `peft`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from accompany.common.config import check_range, from_dict, read_json
from accompany.common.saving import save_state
from accompany.common.weights import read_state
from accompany.errors import InputError

_NAME = "default"
"""Name of the one adapter in peft."""
_MOST_RANK = 4096


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

    config = _read_config(folder / "adapter_config.json")
    state = read_state(folder / "adapter_model.safetensors")
    try:
        peft.inject_adapter_in_model(_for_peft(config), model, _NAME)
        left: Any = peft.set_peft_model_state_dict(model, state)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"The adapter {folder} does not fit this model; use the one that it was made on.") from error
    if left.unexpected_keys:
        raise InputError(f"The adapter {folder} has layers that this model lacks; use the one that it was made on.")


def _read_config(path: Path) -> LoraConfig:
    """The fields that `save_lora` sets; peft would import modules that some of the others name."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("peft_type") != "LORA":
        raise InputError(f"{path} describes no LoRA adapter; use one that accompany train wrote.")
    used = [name for name in ("use_dora", "use_rslora", "use_qalora") if content.get(name)]
    if used:
        raise InputError(
            f"The adapter {path} has {used[0]}, which is not supported; use one that accompany train wrote."
        )
    names = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "target_modules"}
    try:
        config = from_dict(LoraConfig, {name: content[key] for name, key in names.items() if key in content})
    except InputError as error:
        raise InputError(f"In the adapter {path}: {error}") from error
    if not 0 < config.rank <= _MOST_RANK:
        raise InputError(f"The adapter {path} has rank {config.rank}, not 1 to {_MOST_RANK}.")
    return config


def _for_peft(config: LoraConfig) -> Any:
    import peft

    return peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(config.targets)
    )


def _layers(model: nn.Module) -> dict[str, Any]:
    """The layers with an adapter, by name. (Without peft there are none.)"""
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "get_base_layer")}
