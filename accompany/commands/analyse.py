"""The `accompany analyse` command: tempo, beats, key, chords, sections and notes of a vocal, as JSON, MIDI and PNG."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from accompany.commands import values
from accompany.commands.console import print_json, say
from accompany.commands.controls import PLAN_CONTROLS, Controls, add_controls, read_controls
from accompany.commands.parser import add_model, command, load
from accompany.common.extras import require
from accompany.errors import InputError


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany analyse vocals.wav && accompany generate vocals.wav --chords vocals.analysis.json"
    more = """The JSON file can be edited. What has "locked": true is played as it stands; what is set to
false is predicted again around it. Sections are guesses from form and level.

"""
    help_ = "analyze tempo, beats, key, chords, sections and notes of a vocal"
    parser = command(commands, "analyse", help_, example, extra="eval")
    parser.epilog = more + (parser.epilog or "")
    add = parser.add_argument
    add("vocals", type=values.RECORDING, metavar="VOCALS", help="a recording of singing")
    help_ = "JSON file (default <stem>.analysis.json; the plot goes beside it)"
    add("-o", "--out", type=values.OUTPUT, metavar="FILE", help=help_)
    add("--no-picture", action="store_true", help="only the JSON file")
    add("--midi", action="store_true", help="also write <stem>.notes.mid: tempo map, chords, beats, sung notes")
    add_controls(parser, PLAN_CONTROLS)
    add_model(parser)
    add("--json", action="store_true", help="print the analysis as the last line of stdout too")


def run(args: argparse.Namespace) -> None:
    """Write the analysis of a vocal as JSON, and as a plot."""
    from accompany.generation.analysis import shorten

    controls = read_controls(args)
    options, edited = controls.options, controls.analysis
    path, midi = _checked_places(args, controls)
    band = load(args)
    analysis = band.analyse(args.vocals, edited=edited, **options)
    if not analysis.notes:
        analysis = dataclasses.replace(analysis, notes=band.transcribe(args.vocals))
    analysis.save(path)
    written = [path]
    if midi:
        analysis.save_midi(midi)
        written.append(midi)
    if not args.no_picture:
        from accompany.evaluation.plots import plot_analysis
        from accompany.generation.vocals import read_vocal

        voice = read_vocal(args.vocals, band.sample_rate)[0]
        plot_analysis(path.with_suffix(".png"), voice, band.sample_rate, analysis)
        written.append(path.with_suffix(".png"))
    plan = analysis.plan
    tempo = f"{plan.tempo_bpm:.1f} beats a minute" if plan.tempo_bpm else "no tempo"
    say(f"{' and '.join(map(str, written))}: {tempo}, {plan.key}, {shorten(plan.chords)}; {len(analysis.notes)} notes")
    for number, each in enumerate(plan.readings, 1):
        played = " (this one)" if number == plan.reading else f": --reading {number}"
        say(f"reading {number}, {each.probability:.0%}: {each.tempo_bpm:.0f} bpm, {each.key}, {each.name}{played}")
    say("sections: " + ", ".join(f"{name} {start:.1f} to {end:.1f} s" for start, end, name in analysis.sections))
    if args.json:
        print_json(analysis.as_dict())


def _check_extras(args: argparse.Namespace, controls: Controls) -> None:
    """Packages that will be needed at the end are looked for at the beginning."""
    if "melody" not in controls.options and not (controls.analysis and controls.analysis.notes):
        require("eval", "swift_f0", what="The transcription of sung notes")
    if not args.no_picture:
        require("eval", "matplotlib", "librosa", what="The picture")
    if args.midi:
        require("eval", "mido", what="--midi")


def _checked_places(args: argparse.Namespace, controls: Controls) -> tuple[Path, Path | None]:
    """Where the JSON goes, and the MIDI file. InputError for what can be refused before the model loads."""
    from accompany.audio import info
    from accompany.common.files import check_place
    from accompany.generation.analysis import default_path

    if controls.analysis is not None and controls.options:
        raise InputError("The chord file says tempo and key already; unlock them there, or leave --bpm and --key out.")
    _check_extras(args, controls)
    seconds = info(args.vocals).seconds
    controls.settings.check_within(seconds, args.vocals)
    if controls.analysis is not None:
        controls.analysis.check_vocal(seconds, args.vocals)
    path = Path(os.path.expanduser(args.out)) if args.out else default_path(args.vocals)
    if path.suffix.lower() != ".json":
        raise InputError(f"--out {path} must end in .json; the plot goes beside it.")
    if path.resolve() == Path(args.vocals).resolve():
        raise InputError(f"--out {path} is the vocal itself; choose another.")
    midi = path.with_name(f"{path.stem.removesuffix('.analysis')}.notes.mid") if args.midi else None
    for place in filter(None, (path, None if args.no_picture else path.with_suffix(".png"), midi)):
        check_place(place)
    return path, midi
