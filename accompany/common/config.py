"""Configuration: self-validating frozen dataclasses from mappings, and JSON files.

OmegaConf checks the types; `accompany.common.overrides` adds YAML files and `key=value`. A misspelt key or a wrong type
stops at once with an `InputError` that says what was meant.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from accompany.common.checks import did_you_mean
from accompany.common.files import complete
from accompany.errors import InputError

_PACKAGE = Path(__file__).parent.parent
CONFIGS_DIR = _PACKAGE / "configs"
CHECKPOINTS_DIR = _PACKAGE / "checkpoints"
CONFIG_NAME = "config.json"

MOST_SEED = 2**32 - 1
MOST_PROCESSES = 256
"""Most loading processes and threads of a training; each takes memory for all that it imports."""

ConfigT = TypeVar("ConfigT")


def from_dict(schema: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build `schema`, a frozen dataclass, possibly nested, from a mapping such as a JSON file's content.

    Raises:
        InputError: an unknown key (with the nearest known one), or a value of the wrong type or range.
    """
    from omegaconf import OmegaConf

    return built(laid_over(OmegaConf.structured(schema), dict(values), schema), schema)


def check_range(
    config: Any,
    names: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Raise ValueError for the first of some fields (`names`, with spaces between) that is out of range, or no number.

    Of a field that holds several numbers, each must lie in the range.
    """
    low = f"above {above:g}" if above is not None else f"at least {least:g}" if least is not None else ""
    high = f"below {below:g}" if below is not None else f"at most {most:g}" if most is not None else ""
    for name in names.split():
        value = getattr(config, name)
        for number in value if isinstance(value, (list, tuple)) else [value]:
            fits = math.isfinite(number) and (least is None or number >= least) and (above is None or number > above)
            if not fits or (most is not None and number > most) or (below is not None and number >= below):
                raise ValueError(f"{name} must be {' and '.join(filter(None, (low, high)))}, not {value}")


def to_dict(config: Any) -> dict[str, Any]:
    """The plain dict of a (nested) config dataclass, ready for JSON or YAML."""
    return dataclasses.asdict(config)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse a JSON file; InputError names the file when it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise InputError(f"Cannot read {path} as JSON (it is nested too deeply); use another file.") from error
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no JSON, a number of too many digits
        raise InputError(f"Cannot read {path} as JSON ({error}); check that the file is complete.") from error


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The names and values of a JSON file; InputError names it when it is missing, broken or holds something else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold names with values, as accompany wrote it; use a whole copy of the model.")
    return content


def refuse_unknown_fields(path: str | os.PathLike[str], given: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError that names the first field of a file that is not known, and what it may have meant."""
    known = sorted(known)
    for field in given:
        if field not in known:
            raise InputError(f"{path} has an unknown field '{field}'{did_you_mean(field, known) or '; take it out.'}")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON; no half file is ever seen under the name."""
    # Names of files may hold bytes that are no UTF-8: their escape is that of JSON.
    with complete(Path(path)) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        json.dump(finite(value), stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def finite(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity: null in their place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def laid_over(below: Any, values: Any, schema: type, item: str = "") -> Any:
    """A config, changed by values laid over it, both OmegaConf's; InputError names the key or `item` that is wrong."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.unsafe_merge(below, values)
    except OmegaConfBaseException as error:
        from accompany.common.config_errors import explain

        raise InputError(explain(error, schema, item.partition("=")[0])) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"The config is not usable: {item and item + ': '}{str(error).splitlines()[0].rstrip('.')}."
        ) from error


def built(node: Any, schema: type[ConfigT]) -> ConfigT:
    """The dataclass of a merged config, its sections first, so that what is wrong is named with its section."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = _section(node, "")
    except OmegaConfBaseException as error:
        from accompany.common.config_errors import explain

        raise InputError(explain(error, schema)) from error
    assert isinstance(config, schema)
    _check_finite(config, "")
    return config


def _section(node: Any, place: str) -> Any:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for name in node:
        child = None if OmegaConf.is_missing(node, name) else node._get_node(name)
        if isinstance(child, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(child)):
            _section(child, f"{place}{name}.")
    try:
        return OmegaConf.to_object(node)
    except OmegaConfBaseException:  # some are ValueErrors too
        raise
    except (ValueError, TypeError, OverflowError) as error:
        said = str(error).rstrip(".")
        own = place and said.split()[:1] and said.split()[0] in node
        where = place if own else f"in {place.rstrip('.')}, " if place and not said.startswith(place) else ""
        raise InputError(f"The config is not usable: {where}{said}.") from error


def _check_finite(config: Any, place: str) -> None:
    """Raise InputError for a number that is none, in any section: every comparison lets it through."""
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{place}{field.name}"
        if dataclasses.is_dataclass(value):
            _check_finite(value, f"{key}.")
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise InputError(f"The config is not usable: {key} must be a finite number, not {number}.")
