"""The `accompany tune` command: a semantic stage trained to prefer the better of its own takes."""

from __future__ import annotations

import argparse
from typing import Any

from accompany.commands import job_values
from accompany.commands.console import say
from accompany.commands.parser import command


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany tune model=tiny tokens=tokens run_dir=runs/tune vocals=256"
    help_ = "teach a semantic stage to prefer the better of its own takes"
    parser = command(commands, "tune", help_, example, more="overrides", extra="train")
    help_ = "a YAML file (default: tune in accompany/configs)"
    parser.add_argument("--config", type=job_values.CONFIG, metavar="FILE", help=help_)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that override the file's")


def run(args: argparse.Namespace) -> None:
    """Tune the stage."""
    from accompany.training.tune import tune

    say(f"tune: {tune(args.config, args.overrides)}")
