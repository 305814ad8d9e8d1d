"""Writing of weights: safetensors beside a config, in half precision where that loses nothing."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from accompany.common.config import CONFIG_NAME, to_dict, write_json
from accompany.common.files import complete
from accompany.common.published import quiet_transformers
from accompany.common.weights import ROW_SCALES, WEIGHTS_NAME, PathLike
from accompany.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_half(model: PreTrainedModel, folder: PathLike) -> None:
    """Write a `transformers` model in the published format, in half precision.

    A tensor with values beyond half precision's range stays float32.
    """
    save_transformers(model, folder, half_state(model.state_dict()))


def save_transformers(model: PreTrainedModel, folder: PathLike, state: Mapping[str, Tensor] | None = None) -> None:
    """Write a `transformers` model in the published format, with another state than its own where one is given."""
    with quiet_transformers(), _errors_of_the_system(folder):
        model.save_pretrained(folder, state_dict=None if state is None else dict(state))
    for path in Path(folder).glob("*.safetensors"):
        path.chmod(0o644)  # transformers writes them for the owner alone


def half_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with floating tensors in half precision, except where that would overflow."""

    def shrink(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or (tensor.numel() and float(tensor.abs().max()) > 65_000):
            return tensor.detach().cpu().contiguous()
        return tensor.detach().cpu().half().contiguous()

    return {name: shrink(tensor) for name, tensor in state.items()}


_LEAST_ROWS_VALUES = 10_000


def eight_bit_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with its large weights in 8 bits, each row with a scale of its own, and the rest in half precision."""
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.endswith("weight") or tensor.ndim < 2 or tensor.numel() < _LEAST_ROWS_VALUES:
            made |= half_state({name: tensor})
            continue
        rows = tensor.detach().cpu().float()
        scales = (rows.flatten(1).abs().amax(dim=1) / 127).clamp_min(1e-12)
        made[name] = (rows / scales.reshape(-1, *[1] * (rows.ndim - 1))).round().clamp(-127, 127).to(torch.int8)
        made[name + ROW_SCALES] = scales
    return made


def save_module(module: nn.Module, config: Any, folder: PathLike, *, half: bool = True, bits: int = 16) -> None:
    """Write one of our own modules: `config.json` (a dataclass) and `model.safetensors`.

    Args:
        half: floating tensors in half precision, not as they are.
        bits: 8 stores large weights in 8 bits (`eight_bit_state`), half of the size.
    """
    folder = make_folder(folder)
    state = module.state_dict()
    stored = eight_bit_state(state) if bits == 8 else half_state(state) if half else dict(state)
    save_state(stored, folder / WEIGHTS_NAME)
    write_json(folder / CONFIG_NAME, to_dict(config))


def save_state(state: Mapping[str, Tensor], path: PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write safetensors; no half file is ever seen under the name."""
    with complete(Path(path)) as temporary:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        with _errors_of_the_system(path):
            save_file(tensors, temporary, metadata)


@contextlib.contextmanager
def _errors_of_the_system(path: PathLike) -> Iterator[None]:
    """Safetensors' own error for a full disk and the like, as the OSError that it stands for."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), os.fspath(path)) from error


def make_folder(folder: PathLike) -> Path:
    """Create the folder and its parents; InputError when that is impossible."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {folder} ({error.strerror}); choose another place.") from error
    return folder
