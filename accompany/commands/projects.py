"""Projects: what `accompany generate --project` keeps in a folder."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands.beside import describe_scores
from accompany.commands.console import describe, say, summary_of
from accompany.common.files import check_name, require_writable
from accompany.errors import InputError
from accompany.generation.project import Project

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.commands.covers import Voices
    from accompany.generation.take import Take
    from accompany.sound.options import Sound


def check_project(args: argparse.Namespace, suffix: str) -> None:
    """InputError for options that do not go with a project, or a place where none can be."""
    taken = {"--out": args.out, "--settings": args.settings, "--plot": args.plot, "--midi": args.midi,
             "--stems": args.stems, "--daw": args.daw}  # fmt: skip
    for option, value in taken.items():
        if value:
            raise InputError(f"{option} does not go with --project, which keeps everything; leave one out.")
    if len(args.vocals) > 1:
        raise InputError("A project holds one vocal; make one for each.")
    args.project = os.path.expanduser(args.project)  # shells leave it after `--project=`
    check_name(Path(args.project))
    check_name(Path(args.project) / f"{Path(args.vocals[0]).stem}.accompaniment{suffix}")
    if Path(args.project).exists() and (not Path(args.project).is_dir() or any(Path(args.project).iterdir())):
        raise InputError(f"{args.project} is there already; name a new folder for the project.")
    require_writable(args.project)


def make_project(
    band: Band,
    args: argparse.Namespace,
    make: Callable[[Path], list[Take]],
    voices: Voices | None,
    sound: Sound,
) -> dict[str, Any]:
    """Make takes of the one vocal and keep them in a new project; returns what `--json` prints."""
    song = Path(args.vocals[0])
    with voices.in_scratch(song) if voices else nullcontext(song) as vocal:
        started = time.perf_counter()
        takes = make(vocal)
        project = Project.create(args.project, vocal, band.source, band.precision)
        names = _add_takes(project, takes)
    project.choose(names[0])
    project.write_with(sound, f".{args.format}" if args.format else ".wav", args.mix)
    files = project.write_files()
    for name, take in zip(names, takes, strict=True):
        say(f"take {name}: seed {take.seed}{', ' + describe_scores(take) if take.scores else ''}")
    say(f"{project.folder}: {describe(takes[0])}")
    if not args.json:
        say(next_edit(args.project, takes[0]))
    wall_s = time.perf_counter() - started
    scores = [
        {"name": name, "seed": take.seed, "scores": dict(take.scores)} for name, take in zip(names, takes, strict=True)
    ]
    summary = summary_of(vocal, files[0], files[1] if args.mix else None, takes[0], wall_s)
    return {**summary, "project": str(project.folder), "takes": scores}


def _add_takes(project: Project, takes: list[Take]) -> list[str]:
    """Names of the takes, which are all added, or where none could be the project is deleted."""
    try:
        return [project.add(take) for take in takes]
    except BaseException:
        if not project.entries():
            shutil.rmtree(project.folder, ignore_errors=True)
        raise


def next_edit(project: str, take: Take) -> str:
    """What to try next with a new project."""
    region = "--bars 1 4" if len(take.plan.downbeats_s) >= 4 else f"--from 0 --to {min(take.seconds, 8):g}"
    return f"Next: make a region again: accompany retake {shlex.quote(project)} {region} -p 'drums alone'"
