"""Published checkpoints: networks of `transformers`, with every key of the weights and field of the configs checked."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from accompany.common.config import CONFIG_NAME, read_mapping, refuse_unknown_fields
from accompany.common.weights import (
    PathLike,
    first_line,
    log_license,
    read_state,
    refuse_differences,
    refuse_non_finite,
    resolve_folder,
)
from accompany.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound="PreTrainedModel")

# Buffers that follow from the config, of which files hold some or others from release to release; and the averages
# that EnCodec's codebooks are updated from, which nothing reads but its training.
CONSTANTS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked", "codebook.embed_avg")
_BROKEN_WEIGHTS = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, pickle.UnpicklingError)


def load_transformers(cls: type[ModelT], path_or_id: PathLike, *, license: str | None = None) -> ModelT:
    """Load a `transformers` model from a folder or hub id: float32, evaluation mode, frozen, every key accounted for.

    Args:
        license: what the bundle says; otherwise the model card's, or what is known of published weights.

    Raises:
        InputError: nothing there, files broken, or weights missing, left over or of another shape (named).
    """
    folder = resolve_folder(path_or_id)
    try:
        check_config(cls.config_class, path_or_id)
        with quiet_transformers():
            loaded: Any = cls.from_pretrained(
                folder,
                output_loading_info=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
    except (*_BROKEN_WEIGHTS, InputError) as error:
        raise InputError(f"Cannot load {cls.__name__} from {path_or_id}: {first_line(error)}.") from error
    model, report = loaded
    _refuse_non_finite_model(model, folder)
    missing, unexpected = (
        [key for key in report[kind] if not key.endswith(CONSTANTS)] for kind in ("missing_keys", "unexpected_keys")
    )
    refuse_differences(path_or_id, missing, unexpected, [key[0] for key in report["mismatched_keys"]])
    log_license(cls.__name__, path_or_id, license, folder)
    return typing.cast(ModelT, model.float().eval().requires_grad_(False))


def _refuse_non_finite_model(model: nn.Module, folder: Path) -> None:
    """As `refuse_non_finite`, with the file that has the tensor, which may have another name there."""
    try:
        refuse_non_finite(model.state_dict(), folder)
    except InputError:
        for path in sorted(folder.glob("*.safetensors")):
            read_state(path)
        raise


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what they say is checked and raised here."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if had_bars:
            transformers_logging.enable_progress_bar()


def check_config(schema: Any, path_or_id: PathLike) -> None:
    """Check the fields of a `transformers` model's config, and those of the configs inside it, as `check_fields`."""
    content = check_fields(path_or_id, CONFIG_NAME, _known_fields(schema))
    for name, part in schema.sub_configs.items():
        if isinstance(content.get(name), dict):
            _check(Path(os.path.expanduser(path_or_id)), CONFIG_NAME, content[name], _known_fields(part))


def check_fields(path_or_id: PathLike, name: str, known: Iterable[str]) -> dict[str, Any]:
    """The content of a file `name` in the published format; empty without one, and for a hub id.

    Nobody has edited the files of a hub id. Of a folder's, the fields that have no effect are logged.

    Raises:
        InputError: the file is broken, or has a field (named) that is a misspelt one, or one that the installed
            `transformers`, which the folder's config names as its writer, does not write.
    """
    folder = Path(os.path.expanduser(path_or_id))
    if not (folder / name).is_file():
        return {}
    content = read_mapping(folder / name)
    _check(folder, name, content, set(known))
    return content


def _check(folder: Path, name: str, content: dict[str, Any], known: set[str]) -> None:
    unknown = [field for field in content if field not in known]
    if unknown:
        from accompany.common.other_fields import sort_out

        unknown, misspelt, known = sort_out(unknown, known)
        refuse_unknown_fields(folder / name, unknown if _is_current(folder) else misspelt, known)
        if unknown:
            _log.info("%s has fields that have no effect here: %s.", folder / name, ", ".join(unknown)[:200])


def _is_current(folder: Path) -> bool:
    """Whether the installed release of `transformers` wrote the files of a folder."""
    import transformers

    config = folder / CONFIG_NAME
    return config.is_file() and read_mapping(config).get("transformers_version") == transformers.__version__


def _known_fields(schema: Any) -> set[str]:
    return {*schema().to_dict(), *schema.attribute_map}


def original_file(path_or_id: str | os.PathLike[str], suffix: str) -> Path | None:
    """The file of an original package that `path_or_id` is, or holds in place of a `transformers` model."""
    path = Path(os.path.expanduser(path_or_id))
    if path.is_file():
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    found = sorted(path.glob(f"*{suffix}"))
    return found[0] if len(found) == 1 else None
