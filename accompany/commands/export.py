"""The `accompany export` command: a model of what training runs trained."""

from __future__ import annotations

import argparse
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import say
from accompany.commands.parser import command
from accompany.common.files import require_writable


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany export runs/semantic runs/acoustic my_model --from tiny"
    parser = command(commands, "export", "make a model of what training runs trained", example, extra="train")
    add = parser.add_argument
    help_ = "folders of runs, at most one for each part; adapters are worked in"
    add("runs", nargs="+", type=job_values.RUN_DIR, metavar="RUN", help=help_)
    add("out_dir", type=job_values.FOLDER, metavar="BUNDLE_DIR", help="gets the model; --model BUNDLE_DIR runs it")
    help_ = "the model that the other parts come from (default: the run's init or bundle)"
    add("--from", dest="base", type=values.MODEL, metavar="NAME|DIR", help=help_)
    add("--which", default="best", choices=("best", "last"), help="checkpoint of the runs (default best)")
    add("--name", type=job_values.BUNDLE_NAME, help="name of the model (default: the folder's)")


def run(args: argparse.Namespace) -> None:
    """Write the model."""
    from accompany.training.export import export_bundle

    require_writable(args.out_dir)
    made = export_bundle(args.runs, args.out_dir, base=args.base, which=args.which, name=args.name or "")
    say(f"export: {made}")
