"""Configuration: self-validating frozen dataclasses, filled from YAML, JSON and `key=value` overrides.

OmegaConf merges the layers; no `DictConfig` leaves this module. A misspelt key or a wrong type stops at
once with an `InputError` that says what was meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from accompany.common.files import complete
from accompany.errors import InputError

_PACKAGE = Path(__file__).parent.parent
CONFIGS_DIR = _PACKAGE / "configs"
CHECKPOINTS_DIR = _PACKAGE / "checkpoints"

_NO_VALUE = "has no value"

MOST_SEED = 2**32 - 1
MOST_PROCESSES = 256
"""Most loading processes and threads of a training; each takes memory for all that it imports."""

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

    path = None if source is None else _config_path(source)
    below = OmegaConf.structured(schema)
    if path is not None:
        try:
            below = _laid_over(below, load_yaml(path), schema)
        except InputError as error:
            raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    merged = below
    for item in overrides:
        merged = _laid_over(merged, _from_dotlist(schema, [item]), schema, item)
    try:
        return _built(merged, schema)
    except InputError as error:
        if path is not None and _NO_VALUE not in str(error) and str(error) == _refusal(below, schema):
            raise InputError(f"{path}: {error}") from error
        raise


def from_dict(schema: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build `schema` from a mapping (a JSON file's content) with the same checks as `load_config`."""
    from omegaconf import OmegaConf

    return _built(_laid_over(OmegaConf.structured(schema), dict(values), schema), schema)


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


def _laid_over(below: Any, values: Any, schema: type, item: str = "") -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.merge(below, values)
    except OmegaConfBaseException as error:
        raise InputError(_explain(error, schema, item.partition("=")[0])) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"The config is not usable: {item and item + ': '}{str(error).splitlines()[0].rstrip('.')}."
        ) from error


def _built(node: Any, schema: type[ConfigT]) -> ConfigT:
    """The dataclass of a merged config, its sections first, so that what is wrong is named with its section."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = _section(node, "")
    except OmegaConfBaseException as error:
        raise InputError(_explain(error, schema)) from error
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


def _refusal(node: Any, schema: type) -> str:
    """The error in a config without its overrides; empty where it is usable."""
    try:
        _built(node, schema)
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


def _explain(error: Any, schema: type, item_key: str = "") -> str:
    key = str(getattr(error, "full_key", None) or getattr(error, "key", None) or item_key)
    message = str(error).splitlines()[0].rstrip(".")
    leaf = key.split(".")[-1]
    if type(error).__name__ in ("ConfigKeyError", "ConfigAttributeError"):
        return f"The config has no key '{key}'{did_you_mean(leaf, _all_keys(schema)) or '.'}"
    if type(error).__name__ == "MissingMandatoryValue":
        return f"The config key '{key}' {_NO_VALUE}; give it one, as in {key}=..."
    return f"The config key '{key}' is wrong: {message}."


def _all_keys(schema: Any) -> set[str]:
    keys: set[str] = set()
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        keys.add(field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            keys |= _all_keys(hints[field.name])
    return keys
