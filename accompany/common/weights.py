"""Strict reading of weights (`accompany.common.saving` writes them): safetensors beside a config.

Every key and shape is checked. Half precision on disk becomes float32 in memory. No pickle of classes and no remote
code: published `.bin` files are read as plain tensors only. The licence of every part is logged when it loads.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from accompany.common.config import CONFIG_NAME, from_dict, read_mapping
from accompany.errors import InputError

logger = logging.getLogger(__name__)

WEIGHTS_NAME = "model.safetensors"
ROW_SCALES = ".row_scales"
"""Ending of the scales of a weight's rows, where it is stored in 8 bits."""

PathLike = str | os.PathLike[str]
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def load_module(cls: type[ModuleT], folder: PathLike, *, license: str | None = None) -> ModuleT:
    """Build `cls(config)` from the folder's config and load its weights: evaluation mode, frozen, float32.

    The config's type is the annotation of the constructor's `config` argument.

    Raises:
        InputError: a file is missing or broken, or keys or shapes differ (named).
    """
    folder = Path(folder)
    values = read_mapping(folder / CONFIG_NAME)
    try:
        config: Any = from_dict(config_type(cls), values)
    except InputError as error:
        raise InputError(f"In {folder / CONFIG_NAME}: {error}") from error
    with _Unfilled():
        module = cls(config)
    load_state(module, read_state(folder / WEIGHTS_NAME), folder)
    log_license(cls.__name__, folder, license, folder)
    return module.eval().requires_grad_(False)


class _Unfilled(TorchFunctionMode):
    """Leaves out random initial weights, half of the time of building a module whose weights come from a file."""

    fills: typing.ClassVar = {
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.kaiming_uniform_,
        Tensor.normal_,
        Tensor.uniform_,
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return (args[0] if args else kwargs["tensor"]) if func in self.fills else func(*args, **kwargs)


def config_type(cls: type) -> type:
    """The dataclass that annotates the `config` argument of the constructor of `cls`."""
    schema = typing.get_type_hints(cls.__init__)["config"]  # type: ignore[misc]
    assert dataclasses.is_dataclass(schema), f"{cls.__name__} takes no config dataclass"
    return typing.cast(type, schema)


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: PathLike) -> None:
    """Copy `state` into the module; keys and shapes must match exactly."""
    own = module.state_dict()
    shared = own.keys() & state.keys()
    mismatched = sorted(key for key in shared if own[key].shape != state[key].shape)
    refuse_differences(source, own.keys() - state.keys(), state.keys() - own.keys(), mismatched)
    module.load_state_dict({key: state[key].to(own[key].dtype) for key in own})


def read_state(path: PathLike) -> dict[str, Tensor]:
    """Read a safetensors file; InputError names it when it is missing or broken, or a tensor in it is."""
    try:
        state = load_file(path)
        refuse_non_finite(state, path)
        return _widened(state)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"Cannot read the weights {path} ({first_line(error)}); check that the download is complete."
        ) from error


def _widened(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with weights of 8 bits (`accompany.common.saving.eight_bit_state`) in float32."""
    for name in [name for name in state if name.endswith(ROW_SCALES)]:
        weight = state.get(name.removesuffix(ROW_SCALES))
        if weight is not None and len(weight) == len(state[name]):  # else the scales are named as unexpected
            scales = state.pop(name).reshape(-1, *[1] * (weight.ndim - 1))
            state[name.removesuffix(ROW_SCALES)] = weight.float() * scales
    return state


def refuse_non_finite(state: Mapping[str, Tensor], source: PathLike) -> None:
    """Raise InputError that names a tensor with a value that is infinite or not a number, in float32, unless all are.

    A sum is such a value if one of its terms is, and costs little more than to read the tensor.
    """
    for name, tensor in state.items():
        if not tensor.is_floating_point() or torch.isfinite(tensor.sum(dtype=torch.float32)):
            continue
        if not torch.isfinite(tensor.float()).all():  # and not only a sum beyond the range
            raise InputError(
                f"The weights in {source} are broken: '{name}' has values that are infinite or not numbers; "
                "use a whole copy of the file."
            )


def resolve_folder(path_or_id: PathLike) -> Path:
    """A folder as it is, a hub id (`owner/name`) downloaded or found in the hub's cache.

    Raises:
        InputError: neither a folder nor a hub id, unknown to the hub, or no network.
    """
    path = Path(os.path.expanduser(path_or_id))
    if path.is_dir():
        return path
    from accompany.common.hub import is_hub_id, pull

    if not is_hub_id(str(path_or_id)):
        raise InputError(
            f"There is no model folder '{path_or_id}', and it is not a hub id (owner/name) either; check the path."
        )
    return pull(str(path_or_id))


def log_license(part: str, source: PathLike, license: str | None, folder: Path) -> None:
    """Log where a part came from and under which licence, as a warning when it limits what may be done.

    Without a `license` it is the one that the files in the folder state, or that is known of the source.
    """
    if not license:
        from accompany.common.licenses import find_license

        license = find_license(source, folder)
    free = not re.search(r"\bnc\b|non.?commercial|unknown", license, re.IGNORECASE)
    logger.log(logging.DEBUG if free else logging.WARNING, "%s loaded from %s, licence %s", part, source, license)


def refuse_differences(
    source: PathLike, missing: typing.Iterable[str], unexpected: typing.Iterable[str], mismatched: typing.Iterable[str]
) -> None:
    """Raise InputError that names the keys of `source`, unless there are none."""
    found = {"missing": missing, "unexpected": unexpected, "of another shape": mismatched}
    parts = [f"{kind}: {_name_some(sorted(keys))}" for kind, keys in found.items() if list(keys)]
    if parts:
        raise InputError(
            f"The weights in {source} do not fit their config ({'; '.join(parts)}); "
            "use the checkpoint that belongs to this config."
        )


def _name_some(keys: list[str], limit: int = 5) -> str:
    rest = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + rest


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its full stop; its kind where there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
