"""The `accompany remake` command: a take made again from its settings file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import bar, describe, say
from accompany.commands.edits import add_device
from accompany.commands.parser import command, load


def add(commands: Any) -> None:
    """Add the command to the command line."""
    help_ = "make a take again from its settings file, bit by bit"
    parser = command(commands, "remake", help_, "accompany remake vocals.settings.json -o again.wav", extra="sound")
    parser.add_argument("file", type=job_values.SETTINGS, metavar="FILE", help="what generate --settings wrote")
    help_ = "a sound file (default <stem>.remade.wav)"
    parser.add_argument("-o", "--out", type=values.OUTPUT, metavar="PATH", help=help_)
    parser.add_argument("--mix", action="store_true", help="also write the mix beside it")
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Make a take again from its settings file."""
    from accompany.commands.controls import check_files
    from accompany.commands.outputs import plan_outputs
    from accompany.commands.settings_file import TakeRecipe

    recipe = TakeRecipe.load(args.file)
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
