"""Configs of runs: YAML files with a base, and `key=value` overrides, laid over the defaults of a dataclass."""

from __future__ import annotations

import copy
import dataclasses
import os
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accompany.common.checks import did_you_mean
from accompany.common.config import (
    CONFIGS_DIR,
    ConfigT,
    built,
    from_dict,
    laid_over,
    to_dict,
)
from accompany.common.config_errors import NO_VALUE
from accompany.errors import InputError


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

    path = None if source is None else _config_path(source)
    below = OmegaConf.structured(schema)
    if path is not None:
        try:
            below = laid_over(below, load_yaml(path), schema)
        except InputError as error:
            raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    merged = copy.deepcopy(below)
    for item in overrides:
        merged = laid_over(merged, _from_dotlist(schema, [item]), schema, item)
    try:
        return built(merged, schema)
    except InputError as error:
        if path is not None and NO_VALUE not in str(error) and str(error) == _refusal(below, schema):
            raise InputError(f"{path}: {error}") from error
        raise


def changed(config: ConfigT, overrides: Iterable[str]) -> ConfigT:
    """A config with `key=value` overrides on top, with the same checks as `load_config`."""
    from omegaconf import OmegaConf

    given = OmegaConf.to_container(_from_dotlist(type(config), overrides))
    assert isinstance(given, dict)
    return from_dict(type(config), _merged(to_dict(config), given))


def _merged(values: dict[str, Any], changes: Mapping[Any, Any]) -> dict[str, Any]:
    both = dict(values)
    for key, value in changes.items():
        old = both.get(str(key))
        both[str(key)] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


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


def _refusal(node: Any, schema: type) -> str:
    """The error in a config without its overrides; empty where it is usable."""
    try:
        built(node, schema)
    except InputError as error:
        return str(error)
    return ""


def _from_dotlist(schema: type, overrides: Iterable[str]) -> Any:
    """`key=value` items as a config; text is taken as it is given (without quotes), all else is read as YAML.

    Raises:
        InputError: an item without `=` or key, or a value that is no YAML.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    given = OmegaConf.create()
    for item in overrides:
        key, sign, value = item.partition("=")
        if not sign or not all(key.split(".")):
            raise InputError(f"'{item}' is not an override; write key=value, for example optimizer.lr=1e-4.")
        try:
            if value == "???":
                raise InputError(f"{item} is no value; write another one.")
            if _is_text(schema, key, value):
                OmegaConf.update(given, key, _unquoted(value).replace("${", "\\${"))
            elif (words := _texts(schema, key, value)) is not None:
                OmegaConf.update(given, key, words)
            else:
                given.merge_with_dotlist([item])
        except (OmegaConfBaseException, YAMLError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"The value of {key} cannot be read: {value}; write it as in a YAML file.") from error
    return given


def _hint(schema: Any, key: str) -> Any:
    """The type of a nested key; None where there is no such key."""
    hint: Any = schema
    for name in key.split("."):
        hint = typing.get_type_hints(hint).get(name) if dataclasses.is_dataclass(hint) else None
    return hint


def _is_text(schema: Any, key: str, value: str) -> bool:
    hint = _hint(schema, key)
    optional = hint == (str | None)
    return hint is str or (optional and value not in ("null", "~", ""))


def _unquoted(value: str) -> str:
    """Text without the quotes that it may stand in, as in init=""."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _texts(schema: Any, key: str, value: str) -> list[str] | None:
    """The texts of a value such as [one,two], for a key that holds several; None where it is no such key or value."""
    import yaml

    hint = _hint(schema, key)
    if typing.get_origin(hint) not in (list, tuple) or set(typing.get_args(hint)) - {...} != {str}:
        return None
    if not (value.startswith("[") and value.endswith("]")):
        return None
    try:
        words = yaml.load(value, yaml.BaseLoader)
    except yaml.YAMLError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        words = [word.strip() for word in value[1:-1].split(",")]
    return [word.replace("${", "\\${") for word in words]
