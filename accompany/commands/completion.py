"""The `accompany completion` command: the names of commands and options, for a shell."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from accompany.commands.parser import build_parser, command

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany completion bash > ~/.local/share/bash-completion/completions/accompany"
    parser = command(commands, "completion", "print completion for a shell", example)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> None:
    """Print completion for a shell."""
    import shtab

    sys.stdout.write(shtab.complete(build_parser(), shell=args.shell) + "\n")
