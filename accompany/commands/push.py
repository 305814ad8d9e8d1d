"""The `accompany push` command: a model on the Hugging Face hub, with its card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import say
from accompany.commands.parser import command


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany push my_model user/my_model --private --report report --examples take.mp3 mix.mp3"
    help_ = "upload a model to the Hugging Face hub, with a card of its parts, data, metrics and licences"
    parser = command(commands, "push", help_, example)
    add = parser.add_argument
    add("model", type=values.MODEL, metavar="NAME|DIR", help="the model")
    add(
        "repo",
        type=values.Name("name on the hub", 100),
        metavar="OWNER/NAME",
        help="its name there; --model OWNER/NAME then runs it",
    )
    add("--private", action="store_true", help="a new model is visible to you alone")
    add("--card", type=job_values.CARD, metavar="FILE", help="text of the card (default: the model's README.md)")
    add("--data", default="", metavar="TEXT", help="what the model was trained on, for the card")
    add("--report", type=job_values.FOLDER, metavar="DIR", help="a report of accompany evaluate, for the card")
    help_ = "sound files for the card"
    add("--examples", nargs="+", type=values.RECORDING, default=[], metavar="FILE", help=help_)


def run(args: argparse.Namespace) -> None:
    """Upload the model."""
    from accompany.common.hub import check_upload
    from accompany.models.card import CardFacts
    from accompany.models.pretrained import find_bundle
    from accompany.models.publishing import push_to_hub

    check_upload(args.repo)
    facts = CardFacts(
        Path(args.card) if args.card else None,
        args.data,
        Path(args.report) if args.report else None,
        tuple(Path(each) for each in args.examples),
    )
    address = push_to_hub(find_bundle(args.model), args.repo, private=args.private, facts=facts)
    say(f"push: {address}")
    say(f"Next: accompany generate vocals.wav --mix --model {args.repo}")
