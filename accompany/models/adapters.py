"""Adapters on disk: a small folder of LoRA weights for one stage of a model.

adapter_config.json  adapter_model.safetensors   as `peft` writes them
accompany.json                                   {"part": "semantic", "model": "tiny", "base": hash of the part}
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.common.config import read_json, write_json
from accompany.common.folders import sha256
from accompany.common.saving import make_folder
from accompany.common.weights import WEIGHTS_NAME, resolve_folder
from accompany.errors import InputError
from accompany.models.parts import STAGE_PARTS
from accompany.models.pretrained import find_bundle, read_bundle

if TYPE_CHECKING:
    from torch import nn

    from accompany.models.llambada import LlambadaBundle
    from accompany.models.pretrained import Bundle
    from accompany.stages.lora import LoraConfig

PathLike = str | os.PathLike[str]
_ABOUT = "accompany.json"
_MAX_SCALE = 10.0


def part_hash(model: PathLike, part: str) -> str:
    """SHA-256 of the weights of a model's part."""
    folder = resolve_folder(read_bundle(find_bundle(model)).part(part).source)
    return sha256(folder / WEIGHTS_NAME)


def save_adapter(stage: nn.Module, config: LoraConfig, folder: PathLike, *, part: str, model: str, base: str) -> Path:
    """Write the adapter of a stage.

    Args:
        stage: with an adapter in it.
        config: of the adapter.
        folder: where.
        part: "listener", "semantic" or "acoustic".
        model: name of the model that it was trained on.
        base: `part_hash` of that.
    """
    from accompany.stages.lora import save_lora

    folder = make_folder(folder)
    save_lora(stage, config, folder)
    write_json(folder / _ABOUT, {"part": part, "model": model, "base": base})
    return folder


def check_adapters(folders: Sequence[PathLike], scale: float) -> None:
    """InputError for a folder that holds no adapter, or a scale out of range."""
    if not -_MAX_SCALE <= scale <= _MAX_SCALE:
        raise InputError(f"The LoRA scale {scale:g} must be from {-_MAX_SCALE:g} to {_MAX_SCALE:g}.")
    for folder in folders:
        _read_about(Path(folder))


def add_adapter(bundle: Bundle | LlambadaBundle, folder: PathLike, scale: float = 1.0) -> str:
    """Work an adapter, times `scale`, into a loaded model; returns the part that it changed.

    Raises:
        InputError: no adapter there, of another model, or a scale out of range.
    """
    from accompany.stages.lora import load_lora, merge

    check_adapters([folder], scale)
    folder = Path(folder)
    about = _read_about(folder)
    part = about.get("part")
    if part not in STAGE_PARTS or part not in bundle.PARTS:
        raise InputError(f"The adapter {folder} is for the part '{part}', which {bundle.name} has not.")
    if about.get("base") != part_hash(bundle.path, part):
        raise InputError(
            f"The adapter {folder} was trained on the {part} stage of '{about.get('model')}', and that of "
            f"{bundle.name} is another; use it with the model that it was trained on."
        )
    stage: nn.Module = getattr(bundle, part)
    load_lora(stage, folder)
    merge(stage, scale)
    stage.requires_grad_(False)
    bundle.adapted.add(part)
    return str(part)


def _read_about(folder: Path) -> dict[str, Any]:
    """What an adapter says of itself. InputError for a folder without one."""
    if not (folder / _ABOUT).is_file():
        raise InputError(f"{folder} is no adapter (it has no {_ABOUT}); name the folder lora of a run with lora.rank.")
    about = read_json(folder / _ABOUT)
    if not isinstance(about, dict):
        raise InputError(f"{folder / _ABOUT} says of no adapter what it is for; use what accompany train wrote.")
    return about
