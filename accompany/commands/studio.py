"""The commands beside generate: analyse, retake, vary, extend, undo, takes, remake, completion."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands.console import bar, print_json, say
from accompany.commands.generate import Load, check_files, describe, describe_scores, read_controls
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.generation.take import Take

Edit = Callable[["Band", "Take", dict[str, Any]], "Take"]


def analyse(args: argparse.Namespace, load: Load) -> None:
    """Write what is heard in a vocal as JSON, and as a picture."""
    from accompany.audio import info
    from accompany.common.files import check_place
    from accompany.generation.analysis import default_path, shorten
    from accompany.generation.vocals import read_vocal

    options, edited = read_controls(args)
    if edited is not None and options:
        raise InputError("The chord file says tempo and key already; unlock them there, or leave --bpm and --key out.")
    _check_times(options, info(args.vocals).seconds, args.vocals)
    path = Path(os.path.expanduser(args.out)) if args.out else default_path(args.vocals)
    if path.suffix.lower() != ".json":
        raise InputError(f"--out {path} must end in .json; the picture goes beside it.")
    if path.resolve() == Path(args.vocals).resolve():
        raise InputError(f"--out {path} is the vocal itself; choose another.")
    midi = path.with_name(f"{path.stem.removesuffix('.analysis')}.notes.mid") if args.midi else None
    for place in filter(None, (path, None if args.no_picture else path.with_suffix(".png"), midi)):
        check_place(place)
    band = load(args)
    heard = band.analyse(args.vocals, edited=edited, **options)
    if not heard.notes:
        heard = dataclasses.replace(heard, notes=band.transcribe(args.vocals))
    heard.save(path)
    written = [path]
    if midi:
        heard.save_midi(midi)
        written.append(midi)
    if not args.no_picture:
        from accompany.evaluation.plots import plot_analysis

        voice = read_vocal(args.vocals, band.sample_rate)[0]
        plot_analysis(path.with_suffix(".png"), voice, band.sample_rate, heard)
        written.append(path.with_suffix(".png"))
    plan = heard.plan
    tempo = f"{plan.tempo_bpm:.1f} beats a minute" if plan.tempo_bpm else "no tempo"
    say(f"{' and '.join(map(str, written))}: {tempo}, {plan.key}, {shorten(plan.chords)}; {len(heard.notes)} notes")
    say("sections: " + ", ".join(f"{name} {start:.1f} to {end:.1f} s" for start, end, name in heard.sections))
    if args.json:
        print_json(heard.as_dict())


def _check_times(options: dict[str, Any], seconds: float, name: str) -> None:
    """InputError for taps or a melody that are not of a vocal of so many seconds."""
    from accompany.generation.settings import Settings

    given = Settings(taps=options.get("taps"), melody=options.get("melody"))
    given.check_taps(seconds, name)
    given.check_melody(seconds, name)


def retake(args: argparse.Namespace, load: Load) -> None:
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

    _edit(args, load, work, check)


def vary(args: argparse.Namespace, load: Load) -> None:
    """Make a take like the current one."""
    _edit(args, load, lambda band, take, options: band.vary(take, args.strength, args.prompt, **options))


def extend(args: argparse.Namespace, load: Load) -> None:
    """Play on before and after the current take."""
    if not args.before and not args.after:
        raise InputError("There is nothing to add; give --before or --after in seconds.")
    _edit(args, load, lambda band, take, options: band.extend(take, args.before, args.after, args.prompt, **options))


def undo(args: argparse.Namespace, load: Load) -> None:
    """Go back to the take before the current one."""
    from accompany.generation.project import Project

    project = Project.open(args.project)
    project.require_writable()
    name = project.undo()
    files = project.write_files()
    say(f"take {name} again: {' and '.join(map(str, files))}")


def takes(args: argparse.Namespace, load: Load) -> None:
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


def remake(args: argparse.Namespace, load: Load) -> None:
    """Make a take again from its settings file."""
    from accompany.commands.outputs import plan_outputs
    from accompany.commands.remake import Recipe

    recipe = Recipe.load(args.file)
    stem = Path(args.file).name.removesuffix(".json").removesuffix(".settings")
    (output,) = plan_outputs([recipe.vocals], args.out or f"{stem}.remade.wav", args.mix)
    check_files([output], [recipe.sound], None)
    recipe.check_vocal()
    args.model, args.precision = recipe.model, recipe.precision
    with bar(stem) as progress:
        take = recipe.make(load(args), progress)
    output.accompaniment.parent.mkdir(parents=True, exist_ok=True)
    take.save(output.accompaniment, recipe.sound)
    if output.mix:
        take.save_mix(output.mix, recipe.sound)
    say(f"{' and '.join(map(str, output.files))}: {describe(take)}")


def completion(args: argparse.Namespace, load: Load) -> None:
    """Print completion for a shell."""
    import shtab

    from accompany.commands.parser import build_parser

    sys.stdout.write(shtab.complete(build_parser(), shell=args.shell) + "\n")


def _edit(args: argparse.Namespace, load: Load, work: Edit, check: Callable[[Take], None] | None = None) -> None:
    """Do an edit to the current take of a project, and write the files of the new one; `check` it before any work."""
    from accompany.generation.project import Project
    from accompany.generation.settings import Settings

    options, _ = read_controls(args)
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
