"""`project.json` and `take.json`, checked: a project may come from anybody, and its names must stay in its folder."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accompany.common.checks import did_you_mean
from accompany.common.config import read_json
from accompany.errors import InputError
from accompany.sound.options import SUFFIXES, Sound

FORMAT = "accompany project 1"
PROJECT_FILE, TAKE_FILE = "project.json", "take.json"
_LONGEST_NAME = 200
_LONGEST_S = 24 * 3600
# Separators, drive letters (C:), and characters that no file system or terminal is glad of.
_LEAVES = re.compile(r"[/\\\x00-\x1f\x7f]|^[A-Za-z]:")


def is_plain(name: Any) -> bool:
    """Whether a value names a file in a folder, on any system, and nothing outside of it."""
    if not isinstance(name, str) or name.strip() in ("", ".", "..") or _LEAVES.search(name):
        return False
    try:
        return len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        return False


def plain(name: str) -> str:
    """A name for files that `is_plain`, as near as can be to that of a recording."""
    name = _LEAVES.sub("_", os.fsencode(name).decode("utf-8", "replace"))
    name = name.encode()[:_LONGEST_NAME].decode("utf-8", "ignore")
    return name if is_plain(name) else "song"


def inside(path: Path, folder: Path) -> Path:
    """A path of a project; InputError where a link leads out of the project's folder."""
    try:
        leads_out = path.is_symlink() or not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        raise InputError(f"Cannot follow {path} ({error}); put back what accompany wrote.") from error
    if leads_out:
        raise InputError(f"{path} is a link or leads out of the project; put the file itself there.")
    return path


def read_project(folder: Path) -> dict[str, Any]:
    """The content of `project.json`.

    Raises:
        InputError: it is missing, broken, of another version, lacks a field, or has a value that cannot be.
    """
    path = folder / PROJECT_FILE
    if not path.is_file():
        raise InputError(f"{folder} is no project; accompany generate --project {folder} makes one.")
    content = read_json(inside(path, folder))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not of this version of accompany; make the project anew.")
    _check(path, content, _PROJECT, {"precision", "written", "vocal_sha256"})
    try:
        Sound(**content["sound"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path} does not say how files are written ({error}); put back what accompany wrote."
        ) from error
    return content


def read_take(folder: Path, project: Path) -> dict[str, Any]:
    """The content of `take.json` in a take's folder. InputError as for `read_project`."""
    path = folder / TAKE_FILE
    content = read_json(inside(path, project))
    if not isinstance(content, dict):
        raise InputError(f"{path} says nothing of a take; put back what accompany wrote.")
    _check(path, content, _TAKE, set())
    return content


def _check(path: Path, content: dict[str, Any], fields: dict[str, Callable[[Any], bool]], optional: set[str]) -> None:
    missing = [name for name in fields if name not in content and name not in optional]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; put back what accompany wrote.")
    for name, value in content.items():
        if name == "format":
            continue
        if name not in fields:
            raise InputError(f"{path} has an unknown field '{name}'{did_you_mean(name, fields) or '; take it out.'}")
        if not fields[name](value):
            raise InputError(f"In {path} '{name}' is {_short(value)}, which cannot be; put back what accompany wrote.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _is_take(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10)


def _are_scores(value: Any) -> bool:
    # A score that could not be measured is NaN.
    is_score = _is_number(-math.inf, math.inf)
    return isinstance(value, dict) and all(is_score(score) or score != score for score in value.values())


def _are_settings(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("seed"), int) and isinstance(value.get("prompt"), str)


_PROJECT: dict[str, Callable[[Any], bool]] = {
    "model": lambda value: isinstance(value, str) and value != "" and "\0" not in value,
    "precision": _is_text,
    "vocal": is_plain,
    "vocal_sha256": _is_text,
    "current": _is_take,
    "written": _is_take,
    "name": is_plain,
    "sound": lambda value: value is None or isinstance(value, dict),
    "suffix": lambda value: value in SUFFIXES,
    "mix": lambda value: isinstance(value, bool),
}
_TAKE: dict[str, Callable[[Any], bool]] = {
    "kind": _is_text,
    "parent": _is_take,
    "settings": _are_settings,
    "edits": lambda value: isinstance(value, list),
    "plan": lambda value: isinstance(value, dict),
    "scores": _are_scores,
    "before_s": _is_number(0, _LONGEST_S),
    "gain": lambda value: value is None or _is_number(0, math.inf)(value),
    "wall_s": _is_number(0, math.inf),
}
