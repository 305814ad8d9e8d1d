"""The commands that edit a project: `accompany retake`, `vary`, `extend`, `undo` and `takes`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from accompany.commands import job_values, values
from accompany.commands.beside import describe_scores
from accompany.commands.console import bar, describe, print_json, say
from accompany.commands.controls import EDIT_CONTROLS, add_controls, read_controls
from accompany.commands.parser import add_json, command, load
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.generation.take import Take

Edit = Callable[["Band", "Take", dict[str, Any]], "Take"]


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    example = "accompany retake song --from 16 --to 24 -p 'drums alone'\n  accompany retake song --bars 9 16"
    parser = _edit_command(commands, "retake", "make a region of a project's take again", example)
    add = parser.add_argument
    add("--from", dest="first", type=job_values.TIME_S, metavar="S", help="where the region begins, in seconds")
    add("--to", dest="last", type=job_values.TIME_S, metavar="S", help="where it ends")
    add("--bars", type=job_values.BAR, nargs=2, metavar=("A", "B"), help="the region as bars, from 1, both included")
    _add_controls(parser, "style of the region (default: that of the take)")
    example = "accompany vary song --strength 0.3"
    parser = _edit_command(commands, "vary", "make a take like the current one", example)
    help_ = "share of the beats that is composed anew, 0 to 1 (default 0.5)"
    parser.add_argument("--strength", type=job_values.STRENGTH, default=0.5, metavar="X", help=help_)
    _add_controls(parser, "another style (default: that of the take)")
    example = "accompany extend song --before 8 --after 4.5"
    parser = _edit_command(commands, "extend", "play on before and after the vocal", example)
    parser.add_argument("--before", type=job_values.EXTENSION_S, default=0.0, metavar="S", help="seconds (default 0)")
    parser.add_argument("--after", type=job_values.EXTENSION_S, default=0.0, metavar="S", help="seconds (default 0)")
    _add_controls(parser, "style of what is added (default: that of the take)")
    help_ = "go back to the take before the current one"
    _add_project(command(commands, "undo", help_, "accompany undo song", extra="sound"))
    example = "accompany takes song\n  accompany takes song --choose 0002"
    parser = command(commands, "takes", "list the takes of a project, or choose one", example)
    _add_project(parser)
    parser.add_argument("--choose", type=job_values.TAKE, metavar="TAKE", help="make this the current one")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command that the arguments name."""
    {"retake": _retake, "vary": _vary, "extend": _extend, "undo": _undo, "takes": _takes}[args.command](args)


def _add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "project", type=job_values.PROJECT, metavar="PROJECT", help="folder that generate --project made"
    )


def _edit_command(commands: Any, name: str, help_: str, example: str) -> argparse.ArgumentParser:
    parser = command(commands, name, help_, example, extra="sound")
    _add_project(parser)
    add_device(parser)
    return parser


def _add_controls(parser: argparse.ArgumentParser, prompt: str) -> None:
    parser.add_argument("-p", "--prompt", help=prompt)
    parser.add_argument("--seed", type=values.SEED, metavar="N", help="default: the next one")
    add_controls(parser, EDIT_CONTROLS)


def _retake(args: argparse.Namespace) -> None:
    """Make a region of the current take again."""
    from accompany.generation.edits import region_samples
    from accompany.music.bars import bars_as_seconds

    in_seconds = args.first is not None and args.last is not None
    if in_seconds == (args.bars is not None) or (args.first is None) != (args.last is None):
        raise InputError("Say which region: --from and --to in seconds, or --bars with the first and the last bar.")

    def region(take: Take) -> tuple[float, float]:
        return (args.first, args.last) if in_seconds else bars_as_seconds(take.plan, *args.bars)

    def check(take: Take) -> None:
        region_samples(*region(take), take.samples.shape[-1], take.sample_rate)

    def work(band: Band, take: Take, options: dict[str, Any]) -> Take:
        return band.retake(take, *region(take), args.prompt, **options)

    _edit(args, work, check)


def _vary(args: argparse.Namespace) -> None:
    """Make a take like the current one."""
    _edit(args, lambda band, take, options: band.vary(take, args.strength, args.prompt, **options))


def _extend(args: argparse.Namespace) -> None:
    """Play on before and after the current take."""
    if not args.before and not args.after:
        raise InputError("There is nothing to add; give --before or --after in seconds.")
    _edit(args, lambda band, take, options: band.extend(take, args.before, args.after, args.prompt, **options))


def _undo(args: argparse.Namespace) -> None:
    """Go back to the take before the current one."""
    from accompany.generation.project import Project

    project = Project.open(args.project)
    project.require_writable()
    name = project.undo()
    files = project.write_files()
    say(f"take {name} again: {' and '.join(map(str, files))}")


def _takes(args: argparse.Namespace) -> None:
    """List the takes of a project, or choose one."""
    from dataclasses import asdict

    from accompany.generation.project import Project

    project = Project.open(args.project)
    if args.choose:
        project.require_writable()
        project.choose(args.choose)
        project.write_files()
    entries = project.entries()
    for entry in entries:
        mark = "*" if entry.name == project.current else " "
        origin = f" of {entry.parent}" if entry.parent else ""
        scores = ", ".join(f"{name} {value:.2f}" for name, value in entry.scores.items())
        say(f"{mark} {entry.name}  {entry.kind}{origin}, seed {entry.seed}  {entry.prompt or '(no prompt)'}  {scores}")
    if args.json:
        print_json({"current": project.current, "takes": [asdict(entry) for entry in entries]})


def _edit(args: argparse.Namespace, work: Edit, check: Callable[[Take], None] | None = None) -> None:
    """Do an edit to the current take of a project, and write the files of the new one; `check` it before any work."""
    from accompany.generation.project import Project
    from accompany.generation.settings import Settings

    options = read_controls(args).options
    project = Project.open(args.project)
    project.require_writable()
    parent, before = project.current, project.take()
    Settings(args.prompt or "").check_cues(before.seconds + getattr(args, "after", 0.0), "the take")
    if check is not None:
        check(before)
    args.model, args.precision = project.model, project.precision
    band = load(args)
    with bar(args.command) as progress:
        made = work(band, before, {**options, "progress": progress})
    made = band.scored(made)
    name = project.add(made, parent)
    files = project.write_files()
    scores = f"; {describe_scores(made)}" if made.scores else ""
    say(f"take {name}, {' and '.join(map(str, files))}: {describe(made)}{scores}")


def add_device(parser: argparse.ArgumentParser) -> None:
    """The device alone, where a file names the model."""
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.set_defaults(precision="auto")
