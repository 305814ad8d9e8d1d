"""The `accompany models` command: parts, rates, sizes and licences."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from accompany.commands.console import print_json, say
from accompany.commands.parser import add_json, command
from accompany.common.config import CHECKPOINTS_DIR

if TYPE_CHECKING:
    from accompany.models.parts import BundleInfo


def add(commands: Any) -> None:
    """Add the command to the command line."""
    add_json(command(commands, "models", "list the models: parts, rates, size, licences", "accompany models"))


def run(args: argparse.Namespace) -> None:
    """List the models."""
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


def describe_models() -> list[dict[str, Any]]:
    """Bundled models: name, licence, bytes, and for each part its licence, bytes and rates."""
    from accompany.models.pretrained import find_bundle, list_bundles, read_bundle

    return [*(_describe(read_bundle(find_bundle(name))) for name in list_bundles()), *_describe_separator()]


def _describe(info: BundleInfo) -> dict[str, Any]:
    from accompany.models.rates import rates

    names = ("name", "license", "bytes")
    parts = [{**{name: getattr(part, name) for name in names}, "rates": rates(part)} for part in info.parts]
    return {"name": info.name, "license": info.license, "bytes": info.bytes, "parts": parts}


def _describe_separator() -> list[dict[str, Any]]:
    """The separator of `accompany prepare`, where it is there: no model that plays, so no bundle of its own."""
    files = sorted((CHECKPOINTS_DIR / "separator").glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    part = {"name": "htdemucs", "license": "Apache-2.0", "bytes": size, "rates": ("24000 Hz",)}
    name = "separator (accompany prepare --separator tiny)"
    return [{"name": name, "license": "Apache-2.0", "bytes": size, "parts": [part]}] if files else []
