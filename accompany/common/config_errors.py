"""Sentences for what OmegaConf refuses in a config."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from accompany.common.checks import did_you_mean

NO_VALUE = "has no value"


def explain(error: Any, schema: type, item_key: str = "") -> str:
    """What is wrong with a key of a config."""
    key = str(getattr(error, "full_key", None) or getattr(error, "key", None) or item_key)
    message = str(error).splitlines()[0].rstrip(".")
    leaf = key.split(".")[-1]
    if type(error).__name__ in ("ConfigKeyError", "ConfigAttributeError"):
        return f"The config has no key '{key}'{did_you_mean(leaf, _all_keys(schema)) or '.'}"
    if type(error).__name__ == "MissingMandatoryValue":
        return f"The config key '{key}' {NO_VALUE}; give it one, as in {key}=..."
    return f"The config key '{key}' is wrong: {message}."


def _all_keys(schema: Any) -> set[str]:
    keys: set[str] = set()
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        keys.add(field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            keys |= _all_keys(hints[field.name])
    return keys
