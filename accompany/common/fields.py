"""Field names of JSON files: unknown ones are refused in our own files, and judged in published ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accompany.common.checks import did_you_mean
from accompany.common.config import read_json
from accompany.errors import InputError

CONFIG_NAME = "config.json"

PathLike = str | os.PathLike[str]

_log = logging.getLogger(__name__)


def read_mapping(path: PathLike) -> dict[str, Any]:
    """The names and values of a JSON file; InputError names it when it is missing, broken or holds something else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold names with values, as accompany wrote it; use a whole copy of the model.")
    return content


def refuse_unknown_fields(path: PathLike, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError that names the first field of a file that is not known, and what it may have meant."""
    known = sorted(known)
    for field in given:
        if field not in known:
            raise InputError(f"{path} has an unknown field '{field}'{did_you_mean(field, known) or '; take it out.'}")


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
