"""The `accompany recipe` command: the commands of configs/recipe_NAME.yaml, one after the other, in a work folder.

A step is done when its command ended well and its result is there; WORK/recipe.json keeps the commands that did. Any
other step is run, and goes on by its own resume if it was stopped before.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accompany.commands import job_values
from accompany.commands.console import say
from accompany.commands.parser import command
from accompany.common.checks import did_you_mean
from accompany.common.config import read_json, write_json
from accompany.common.overrides import load_config
from accompany.common.processes import folder_lock, run_as_process
from accompany.errors import InputError

_log = logging.getLogger(__name__)

REPORT = "recipe.json"
_INPUT, _STOPPED = 2, 130

Execute = Callable[[Sequence[str], Path], int]
"""Runs the words of a command in a folder and returns its exit code."""


@dataclass(frozen=True)
class Step:
    """A command line in the work folder, without `accompany`; the path that it `makes`; minutes at full scale."""

    name: str
    run: str
    makes: str
    minutes: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Steps in order; `scaled` are the options whose numbers `--scale` multiplies, each with the least that works."""

    steps: list[Step]
    scaled: dict[str, int] = field(default_factory=dict)


def load_recipe(source: str | os.PathLike[str], scale: float = 1.0) -> list[Step]:
    """The steps of a recipe (NAME of a configs/recipe_NAME.yaml, or a YAML file), at a scale above 0 and at most 100.

    Raises:
        InputError: no such recipe, or a scale out of range.
    """
    if not (math.isfinite(scale) and 0 < scale <= 100):
        raise InputError(f"--scale {scale:g} must lie above 0 and at most at 100; 1 is the real thing.")
    recipe = load_config(Recipe, source if Path(source).is_file() else f"recipe_{source}")
    return [
        replace(
            step, run=shlex.join(_scaled(shlex.split(step.run), recipe.scaled, scale)), minutes=step.minutes * scale
        )
        for step in recipe.steps
    ]


def choose(steps: Sequence[Step], only: Sequence[str] = (), first: str = "") -> list[Step]:
    """The steps named in `only` (all when empty), from the step `first` on; InputError for unknown names."""
    names = [step.name for step in steps]
    for name in (*only, *filter(None, [first])):
        if name not in names:
            raise InputError(f"There is no step '{name}'{did_you_mean(name, names) or f' ({chr(44).join(names)}).'}")
    return [step for step in steps[names.index(first) if first else 0 :] if not only or step.name in only]


def run_recipe(steps: Sequence[Step], work: str | os.PathLike[str], execute: Execute = run_as_process) -> None:
    """Run the steps that are not done in a work folder.

    Raises:
        InputError: a folder that cannot be written or in which another run works, or a command that refused its input.
    """
    from accompany.common.saving import make_folder  # and with it torch, which the help does not need

    folder = make_folder(Path(work))
    with folder_lock(folder, "accompany recipe"):
        for step in steps:
            if is_done(step, folder):
                _log.info("%s: made before.", step.name)
                continue
            _log.info("%s: accompany %s", step.name, step.run)
            _check(execute(shlex.split(step.run), folder), step, folder)
            write_json(folder / REPORT, {**_done(folder), step.name: step.run})


def is_done(step: Step, work: Path) -> bool:
    """Whether this very command ended well in a work folder and its result is there."""
    return _done(work).get(step.name) == step.run and (work / step.makes).exists()


def listing(steps: Sequence[Step], work: Path) -> str:
    """The steps as text: the state or the estimated minutes of each, and its command."""
    states = ["made" if is_done(step, work) else f"{step.minutes:.0f} min" for step in steps]
    return "\n".join(f"{s.name:<16}{state:>8}  accompany {s.run}" for s, state in zip(steps, states, strict=True))


def _done(work: Path) -> dict[str, str]:
    return dict(read_json(work / REPORT)) if (work / REPORT).is_file() else {}


def _check(code: int, step: Step, work: Path) -> None:
    if code == _STOPPED:
        raise KeyboardInterrupt
    if code == _INPUT:
        raise InputError(f"The step '{step.name}' was refused, as said above; its command: accompany {step.run}")
    if code or not (work / step.makes).exists():
        raise RuntimeError(f"the step '{step.name}' ended with code {code}; the same command goes on with it")


def _scaled(words: list[str], scaled: dict[str, int], scale: float) -> list[str]:
    """Multiply the numbers of `--option N` and `key=N` (or `group.key=N`) that `scaled` names."""
    result = list(words)
    for index, word in enumerate(words):
        key, equals, value = word.rpartition("=")
        option = key if equals else words[index - 1] if index else ""
        least = scaled.get(option, scaled.get(option.rpartition(".")[2]) if equals else None)
        if least is not None and value.isdecimal():
            number = max(round(int(value) * scale), min(least, int(value)))
            result[index] = f"{key}={number}" if equals else str(number)
    return result


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany recipe tiny --work runs/tiny --dry-run"
    parser = command(commands, "recipe", "make a whole model from nothing, step by step", example)
    add = parser.add_argument
    add(
        "recipe", type=job_values.RECIPE, metavar="NAME", help="tiny, gpu, or a YAML file like configs/recipe_tiny.yaml"
    )
    help_ = "gets everything; a run that was stopped goes on (default runs/NAME)"
    add("--work", type=job_values.WORK, metavar="DIR", help=help_)
    help_ = "times the songs and steps; 0.01 is a toy (default 1)"
    add("--scale", type=job_values.SCALE, default=1.0, metavar="X", help=help_)
    add("--steps", type=job_values.STEP_LIST, metavar="A,B", help="only these steps")
    add("--from", dest="first", type=job_values.STEP, metavar="A", help="only this step and those after it")
    add("--dry-run", action="store_true", help="only list the steps: estimated time and command")


def run(args: argparse.Namespace) -> None:
    """Run the steps, or list them."""
    only = [name.strip() for name in (args.steps or "").split(",") if name.strip()]
    steps = choose(load_recipe(args.recipe, args.scale), only, args.first or "")
    work = Path(args.work or Path("runs") / Path(args.recipe).stem)
    if args.dry_run:
        say(listing(steps, work))
        return
    run_recipe(steps, work)
