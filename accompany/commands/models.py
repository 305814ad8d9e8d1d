"""The `accompany models` command: parts, rates, sizes and licences."""

from __future__ import annotations

import argparse
from typing import Any

from accompany.commands.console import print_json, say
from accompany.commands.parser import add_json, command


def add(commands: Any) -> None:
    """Add the command to the command line."""
    add_json(command(commands, "models", "list the models: parts, rates, size, licences", "accompany models"))


def run(args: argparse.Namespace) -> None:
    """List the models."""
    from accompany.models.described import describe_models

    models = describe_models()
    if args.json:
        print_json({"models": models})
        return
    if not models:
        say("This installation carries no model; give --model a folder or a hub id.")
    for model in models:
        say(f"{model['name']}: {model['bytes'] / 1e6:.1f} MB, {model['license']}")
        for part in model["parts"]:
            rates = ", ".join(part["rates"])
            say(f"  {part['name']:<15}{part['bytes'] / 1e6:6.1f} MB  {part['license']:<14}{rates}")
