"""Configs: frozen dataclasses that check themselves, filled from YAML, JSON and `key=value` overrides.

OmegaConf merges the layers; no `DictConfig` leaves this module. A misspelt key or a wrong type stops at
once with an `InputError` that says what was meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from accompany.common.files import complete
from accompany.errors import InputError

_PACKAGE = Path(__file__).parent.parent
CONFIGS_DIR = _PACKAGE / "configs"
CHECKPOINTS_DIR = _PACKAGE / "checkpoints"

ConfigT = TypeVar("ConfigT")


def load_config(
    schema: type[ConfigT], source: str | os.PathLike[str] | None = None, overrides: Iterable[str] = ()
) -> ConfigT:
    """Build `schema` from its defaults, a YAML file and dotlist overrides, later ones winning.

    Args:
        schema: a frozen dataclass, possibly nested.
        source: a YAML file, or the name of one in `accompany/configs` (without suffix).
        overrides: `key=value` items; nested keys are joined by dots.

    Raises:
        InputError: no such file, unknown key (with the nearest known one), or a value of the wrong type or range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    layers: list[Any] = [OmegaConf.structured(schema)]
    try:
        if source is not None:
            layers.append(load_yaml(_config_path(source)))
        layers.append(OmegaConf.from_dotlist(_checked_dotlist(overrides)))
        merged = OmegaConf.to_object(OmegaConf.merge(*layers))
    except OmegaConfBaseException as error:
        raise InputError(_explain(error, schema)) from error
    except ValueError as error:
        raise InputError(f"The config is not usable: {str(error).rstrip('.')}.") from error
    assert isinstance(merged, schema)
    return merged


def from_dict(schema: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build `schema` from a mapping (a JSON file's content) with the same checks as `load_config`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(values)))
    except OmegaConfBaseException as error:
        raise InputError(_explain(error, schema)) from error
    except ValueError as error:
        raise InputError(f"The config is not usable: {str(error).rstrip('.')}.") from error
    assert isinstance(merged, schema)
    return merged


def changed(config: ConfigT, overrides: Iterable[str]) -> ConfigT:
    """A config with `key=value` overrides on top, with the same checks as `load_config`."""
    from omegaconf import OmegaConf

    given = OmegaConf.to_container(OmegaConf.from_dotlist(_checked_dotlist(overrides)))
    assert isinstance(given, dict)
    return from_dict(type(config), _merged(to_dict(config), given))


def _merged(values: dict[str, Any], changes: Mapping[Any, Any]) -> dict[str, Any]:
    both = dict(values)
    for key, value in changes.items():
        old = both.get(str(key))
        both[str(key)] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


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


def save_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON where a user asked for it. InputError when the folder is missing or not writable."""
    try:
        write_json(path, value)
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); choose a folder that is writable.") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else ""


def load_yaml(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """The content of a YAML file, a mapping, laid over that of the config that its key `base` names, if any.

    InputError names the file and the line where it is broken; `above` are the files that are laid over this one.
    """
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    try:
        content = OmegaConf.load(path)
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise InputError(f"Cannot read {path} as YAML ({where}); correct it there.") from error
    if not isinstance(content, DictConfig):
        raise InputError(f"{path} must hold keys and values, as the files in {CONFIGS_DIR} do.")
    base = content.pop("base", None)
    if base is None:
        return content
    below = _config_path(path.parent / str(base) if (path.parent / str(base)).is_file() else str(base))
    if below.resolve() in {each.resolve() for each in (*above, path)}:
        raise InputError(f"The config {path} is its own base; name another config, or leave `base` out.")
    return OmegaConf.merge(load_yaml(below, (*above, path)), content)


def _config_path(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    named = CONFIGS_DIR / f"{source}.yaml"
    if named.is_file():
        return named
    known = sorted(p.stem for p in CONFIGS_DIR.glob("*.yaml"))
    hint = did_you_mean(str(source), known) or f"; known names: {', '.join(known)}."
    raise InputError(f"There is no config file '{source}'{hint}")


def _checked_dotlist(overrides: Iterable[str]) -> list[str]:
    items = list(overrides)
    for item in items:
        if "=" not in item:
            raise InputError(f"'{item}' is not an override; write key=value, for example optimizer.lr=1e-4.")
    return items


def _explain(error: Any, schema: type) -> str:
    key = str(getattr(error, "full_key", None) or getattr(error, "key", None) or "")
    message = str(error).splitlines()[0]
    leaf = key.split(".")[-1]
    if type(error).__name__ in ("ConfigKeyError", "ConfigAttributeError"):
        return f"The config has no key '{key}'{did_you_mean(leaf, _all_keys(schema)) or '.'}"
    return f"The config key '{key}' is wrong: {message}."


def _all_keys(schema: Any) -> set[str]:
    import typing

    keys: set[str] = set()
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        keys.add(field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            keys |= _all_keys(hints[field.name])
    return keys
