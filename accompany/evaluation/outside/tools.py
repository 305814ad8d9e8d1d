"""Packages of other environments: how they are named on the command line, and whether they are there."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accompany.common.config import read_json
from accompany.errors import InputError

logger = logging.getLogger(__name__)

_RUNNER = Path(__file__).with_name("runner.py")


@dataclass(frozen=True)
class Tool:
    """What a package asks for.

    Attributes:
        install: what to do in its environment.
        min_seconds: the shortest clip that it can hear.
        settings: keys beside its Python, those that must be given being True.
    """

    install: str
    min_seconds: float = 0.0
    settings: Mapping[str, bool] = field(default_factory=dict)


TOOLS = {
    "fadtk": Tool('pip install fadtk "torchaudio<2.9"'),
    "audio-metrics": Tool("pip install audio-metrics", 5.0),
    "cocola": Tool(
        "clone github.com/gladia-research-group/cocola, install its requirements and add repo=FOLDER",
        5.0,
        {"checkpoint": True, "repo": False},
    ),
}


class ToolFailure(Exception):
    """A tool ended without an answer; the message is the last line of what it said."""


@dataclass(frozen=True)
class Outside:
    """One tool, the Python that has it, and its settings (absolute paths by key)."""

    tool: str
    python: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Have a job done (see `runner.py`) and return the answer.

        Raises:
            ToolFailure: the tool failed, or cannot be started.
        """
        wanted = dict.fromkeys(TOOLS[self.tool].settings, "")
        with tempfile.TemporaryDirectory(prefix="accompany-") as folder:
            job_path, answer_path = Path(folder) / "job.json", Path(folder) / "answer.json"
            job_path.write_text(json.dumps({**wanted, **self.settings, **job, "tool": self.tool}), encoding="utf-8")
            command = [self.python, str(_RUNNER), str(job_path), str(answer_path)]
            try:
                done = subprocess.run(
                    command, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL
                )
            except OSError as error:
                raise ToolFailure(str(error)) from error
            if done.returncode != 0 or not answer_path.is_file():
                raise ToolFailure(_last_line(done.stderr) or f"it ended with exit code {done.returncode}")
            answer: dict[str, Any] = read_json(answer_path)
            return answer


def read_outside(options: Iterable[str], seconds: float) -> tuple[Outside, ...]:
    """The tools of `TOOL=PYTHON[,KEY=VALUE...]` options, each of which has loaded its weights once.

    Args:
        options: as given; a value may hold no comma.
        seconds: length of the clips.

    Raises:
        InputError: no such form, tool, key, Python or file, clips too short, or a tool that cannot be loaded.
    """
    found: dict[str, Outside] = {}
    for option in options:
        outside = _parsed(option)
        if outside.tool in found:
            raise InputError(f"--outside {outside.tool} is given twice; give it once.")
        if seconds < TOOLS[outside.tool].min_seconds:
            least = TOOLS[outside.tool].min_seconds
            raise InputError(f"--outside {outside.tool} hears {least:g} s at a time; give --seconds {least:g} or more.")
        found[outside.tool] = outside
    for outside in found.values():
        _check_loads(outside)
    return tuple(found.values())


def _parsed(option: str) -> Outside:
    first, *more = option.split(",")
    tool, _, python = first.partition("=")
    if tool not in TOOLS or not python:
        names = ", ".join(TOOLS)
        example = "--outside fadtk=envs/fadtk/bin/python"
        raise InputError(f"--outside {option} must be TOOL=PYTHON with a TOOL of {names}, as in {example}.")
    known = TOOLS[tool].settings
    settings = {}
    for part in more:
        key, _, value = part.partition("=")
        if key not in known or not value:
            allowed = " and ".join(f"{name}=PATH" for name in known) or "nothing"
            raise InputError(f"--outside {tool} takes {allowed} after the Python, not '{part}'.")
        if not Path(value).expanduser().exists():
            raise InputError(f"--outside {tool}: there is no {key} at {value}.")
        settings[key] = str(Path(value).expanduser().resolve())
    for key in (key for key, needed in known.items() if needed and key not in settings):
        raise InputError(f"--outside {tool} needs its {key}: --outside {tool}={python},{key}=PATH.")
    return Outside(tool, _executable(tool, python), settings)


def _executable(tool: str, python: str) -> str:
    """The path of a Python, its links left as they are: they tell an environment from the system's Python."""
    path = shutil.which(Path(python).expanduser())
    if path is None:
        raise InputError(
            f"--outside {tool}: there is no Python at {python}; name that of the environment that has {tool}, "
            "as in envs/tools/bin/python."
        )
    return str(Path(path).absolute())


def _check_loads(outside: Outside) -> None:
    logger.info("%s is loaded in its environment ...", outside.tool)
    try:
        outside.ask({"seed": 0, "sample_rate": 0, "reference": "", "vocals": [], "rows": {}})
    except ToolFailure as error:
        raise InputError(
            f"--outside {outside.tool}: {outside.python} cannot load it ({error}); in that environment, "
            f"{TOOLS[outside.tool].install}."
        ) from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else ""
