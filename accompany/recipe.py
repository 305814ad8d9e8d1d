"""`accompany recipe NAME`: a whole model from nothing, by the commands that configs/recipe_NAME.yaml lists.

Each step is a command line that a person could type in the work folder, and runs as a process of its own. What is
complete is not made again; a step that was stopped is run again and goes on by its own resume. WORK/recipe.json keeps
each step's command, its wall time and its CPU time.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from accompany.arguments import build_parser
from accompany.config import CONFIGS_DIR, did_you_mean, from_dict, load_config, read_json, write_json
from accompany.errors import InputError
from accompany.processes import cpu_seconds, folder_lock, run_as_process

_log = logging.getLogger(__name__)

REPORT = "recipe.json"
_PREFIX = "recipe_"
_INPUT, _STOPPED = 2, 130

Execute = Callable[[Sequence[str], Path], int]
"""Runs the words of a command in a folder and returns its exit code."""


@dataclass(frozen=True)
class StepConfig:
    """A step as the YAML file has it.

    Attributes:
        name: short, and its own.
        run: the command line, without `accompany`; its paths are relative to the work folder.
        makes: the result, a path in the work folder that is there when the step is complete.
        minutes: about how long it takes at full scale.
        whole: the command makes its result anew as a whole, so that it may be run again over an older one.
    """

    name: str
    run: str
    makes: str
    minutes: float = 0.0
    whole: bool = False


@dataclass(frozen=True)
class RecipeConfig:
    """A recipe.

    Attributes:
        steps: in order.
        scaled: the options whose numbers `--scale` multiplies, each with the least that still works.
    """

    steps: list[StepConfig]
    scaled: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError("two steps have the same name")
        for step in self.steps:
            path = PurePosixPath(step.makes)
            if path.is_absolute() or ".." in path.parts or not step.makes:
                raise ValueError(f"the step '{step.name}' makes '{step.makes}', which is no path in the work folder")


@dataclass(frozen=True)
class Step:
    """A step at its scale: the `words` of its command, and the earlier steps whose results these name."""

    name: str
    words: tuple[str, ...]
    makes: str
    minutes: float
    whole: bool
    needs: tuple[str, ...]

    @property
    def command(self) -> str:
        """What a person would type."""
        return shlex.join(["accompany", *self.words])


@dataclass(frozen=True)
class Record:
    """What is known of a step: times are UTC in ISO format, `finished` is empty until it is complete.

    `wall_s` and `cpu_s` are sums over all `runs` of it that told their end (a killed one cannot).
    """

    command: str
    started: str
    finished: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    runs: int = 0


def load_recipe(source: str | os.PathLike[str], scale: float = 1.0) -> list[Step]:
    """The steps of a recipe.

    Args:
        source: NAME of a configs/recipe_NAME.yaml, or a YAML file.
        scale: multiplies songs and steps; 1 is the real thing.

    Raises:
        InputError: no such recipe, a scale out of range, or a step that is no command of accompany.
    """
    if not (math.isfinite(scale) and 0 < scale <= 100):
        raise InputError(f"--scale {scale:g} must lie above 0 and at most at 100; 1 is the real thing.")
    config = load_config(RecipeConfig, _find(source))
    steps: list[Step] = []
    for item in config.steps:
        words = _scaled(shlex.split(item.run), config.scaled, scale)
        _check_command(item, words)
        needs = tuple(before.name for before in steps if _names(words, before.makes))
        steps.append(Step(item.name, tuple(words), item.makes, item.minutes * scale, item.whole, needs))
    return steps


def part_of(steps: Sequence[Step], only: Sequence[str] = (), first: str = "") -> list[Step]:
    """The steps named in `only` (all when empty), from the step `first` on; InputError for unknown names."""
    names = [step.name for step in steps]
    for name in (*only, *([first] if first else [])):
        if name not in names:
            hint = did_you_mean(name, names) or f" (steps: {', '.join(names)})."
            raise InputError(f"There is no step '{name}'{hint}")
    start = names.index(first) if first else 0
    return [step for step in steps[start:] if not only or step.name in only]


def run_recipe(
    steps: Sequence[Step],
    work: str | os.PathLike[str],
    *,
    scale: float = 1.0,
    chosen: Sequence[Step] | None = None,
    execute: Execute | None = None,
) -> dict[str, Record]:
    """Run what is not complete yet.

    Args:
        steps: of the whole recipe.
        work: folder in which the commands run and where the report is.
        scale: at which the steps were loaded; another one does not mix with what is in `work`.
        chosen: of `steps`, those to run; None for all.
        execute: runs a command; by default as a process of its own.

    Returns:
        The records of all steps of the work folder.

    Raises:
        InputError: `work` is no place for it or holds another run, a step lacks what it is made from or was made
            from something older, or a command refuses its input.
    """
    book = _Book(Path(work), scale)
    with folder_lock(book.work, "accompany recipe"):
        for step in steps if chosen is None else chosen:
            if _is_due(step, steps, book):
                _run(step, book, execute or run_as_process)
            else:
                _log.info("%s: made before.", step.name)
    return book.records


def listing(steps: Sequence[Step], records: dict[str, Record] | None = None) -> str:
    """The steps as text: the state or the estimated time of each, and its command."""
    lines = []
    for step in steps:
        record = (records or {}).get(step.name)
        done = record is not None and bool(record.finished) and record.command == step.command
        lines.append(f"{step.name:<16}{'made' if done else _told(60 * step.minutes):>8}  {step.command}")
    return "\n".join([*lines, f"{'all':<16}{_told(60 * sum(step.minutes for step in steps)):>8}"])


def read_records(work: str | os.PathLike[str]) -> dict[str, Record]:
    """The records of a work folder; none where there is no report."""
    path = Path(work) / REPORT
    if not path.is_file():
        return {}
    content = read_json(path)
    try:
        return {name: from_dict(Record, record) for name, record in content["steps"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no report of a recipe ({error}); choose another --work.") from error


def times(records: dict[str, Record]) -> str:
    """A line for each step: wall time, CPU time."""
    lines = [f"{name:<16}{_told(r.wall_s):>8} wall{_told(r.cpu_s):>10} CPU" for name, r in records.items()]
    wall_s, cpu_s = (sum(getattr(record, name) for record in records.values()) for name in ("wall_s", "cpu_s"))
    return "\n".join([*lines, f"{'all':<16}{_told(wall_s):>8} wall{_told(cpu_s):>10} CPU"])


class _Book:
    """The report of a work folder, written after every change."""

    def __init__(self, work: Path, scale: float) -> None:
        self.work, self.scale = work, scale
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"Cannot make the folder {work} ({error.strerror}); choose another --work.") from error
        if not os.access(work, os.W_OK):
            raise InputError(f"The folder {work} is not writable; choose another --work.")
        self.records = read_records(work)
        if self.records and (before := read_json(work / REPORT).get("scale")) != scale:
            raise InputError(f"{work} holds a run at --scale {before}; choose another --work, or that scale again.")

    def write(self, step: Step, record: Record) -> None:
        """Note the state of a step."""
        self.records[step.name] = record
        steps = {name: dataclasses.asdict(value) for name, value in self.records.items()}
        write_json(self.work / REPORT, {"scale": self.scale, "steps": steps})

    def made(self, step: Step) -> bool:
        """Whether the result of a step is there, and complete as far as is known."""
        record = self.records.get(step.name)
        return (self.work / step.makes).exists() and (record is None or bool(record.finished))


def _is_due(step: Step, steps: Sequence[Step], book: _Book) -> bool:
    needed = [before for before in steps if before.name in step.needs]
    for before in needed:
        if not book.made(before):
            raise InputError(
                f"The step '{step.name}' needs what '{before.name}' makes ({book.work / before.makes}); "
                f"run that first, for example with --from {before.name}."
            )
    record = book.records.get(step.name)
    if record is None or not (book.work / step.makes).exists():
        return True
    newer = [n.name for n in needed if n.name in book.records and book.records[n.name].finished > record.started]
    if newer and not step.whole:
        raise InputError(
            f"{book.work / step.makes} was made before the present '{newer[0]}'; delete it to make it again "
            f"(with its run folder, if it has one), or choose another --work."
        )
    if record.finished and record.command != step.command:
        _log.warning("%s goes on from what was made by: %s", step.name, record.command)
    return bool(newer) or not record.finished or record.command != step.command


def _run(step: Step, book: _Book, execute: Execute) -> None:
    _log.info("%s: %s", step.name, step.command)
    before = book.records.get(step.name)
    # A step that was stopped goes on: its times add up. One that is made again starts from nothing.
    goes_on = before is not None and not before.finished
    record = before if before is not None and goes_on else Record(step.command, _now())
    record = dataclasses.replace(record, command=step.command, runs=record.runs + 1)
    book.write(step, record)
    wall, cpu = time.monotonic(), cpu_seconds()
    code = _STOPPED
    try:
        code = execute(step.words, book.work)
    finally:
        wall_s, cpu_s = record.wall_s + time.monotonic() - wall, record.cpu_s + cpu_seconds() - cpu
        complete = code == 0 and (book.work / step.makes).exists()
        record = dataclasses.replace(record, wall_s=round(wall_s, 1), cpu_s=round(cpu_s, 1))
        book.write(step, dataclasses.replace(record, finished=_now() if complete else ""))
    _judge_code(code, step, complete)


def _judge_code(code: int, step: Step, complete: bool) -> None:
    if code == _STOPPED:
        raise KeyboardInterrupt
    if code == _INPUT:
        raise InputError(f"The step '{step.name}' was refused, as said above; its command: {step.command}")
    if code < 0:
        raise InputError(
            f"The step '{step.name}' was killed by signal {-code} (out of memory?); the same command goes on with it."
        )
    if code or not complete:
        raise RuntimeError(f"the step '{step.name}' ended with code {code} and made no {step.makes}: {step.command}")


def _find(source: str | os.PathLike[str]) -> Path:
    named = CONFIGS_DIR / f"{_PREFIX}{source}.yaml"
    if named.is_file():
        return named
    if Path(source).is_file():
        return Path(source)
    known = sorted(path.stem.removeprefix(_PREFIX) for path in CONFIGS_DIR.glob(f"{_PREFIX}*.yaml"))
    hint = did_you_mean(str(source), known) or f" (recipes: {', '.join(known)})."
    raise InputError(f"There is no recipe '{source}'{hint}")


def _scaled(words: list[str], scaled: dict[str, int], scale: float) -> list[str]:
    """Multiply the numbers of `--option N` and `key=N` (or `group.key=N`) that `scaled` names."""
    result = list(words)
    for index, word in enumerate(words):
        key, equals, value = word.partition("=")
        option = key if equals else words[index - 1] if index else ""
        least = scaled.get(option, scaled.get(option.rpartition(".")[2]) if equals else None)
        if least is None:
            continue
        number = value if equals else word
        if not number.isdecimal():
            raise InputError(f"The recipe scales {option}, but '{number}' is no whole number.")
        changed = max(round(int(number) * scale), min(least, int(number)))
        result[index] = f"{key}={changed}" if equals else str(changed)
    return result


def _check_command(item: StepConfig, words: list[str]) -> None:
    try:
        build_parser().parse_known_args(words)
    except InputError as error:
        raise InputError(f"The step '{item.name}' is no command: {error}") from error
    if words[0] == "recipe":
        raise InputError(f"The step '{item.name}' runs a recipe; list that one's steps instead.")


def _names(words: Sequence[str], makes: str) -> bool:
    """Whether a word of a command, or a value in it, is the path `makes`, a folder that holds it, or a part of it."""
    values = [value.strip("[]") for word in words for value in word.rpartition("=")[2].split(",")]
    return any(f"{makes}/".startswith(f"{value}/") or value.startswith(f"{makes}/") for value in values if value)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _told(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
