"""The `accompany bundle` command: a model put together from trained parts."""

from __future__ import annotations

import argparse
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import say
from accompany.commands.parser import command
from accompany.common.files import require_writable


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany bundle my_model --from tiny semantic=runs/semantic/model acoustic=runs/acoustic/model"
    parser = command(commands, "bundle", "put a model together from trained parts", example, more="parts")
    add = parser.add_argument
    add("out_dir", type=job_values.FOLDER, metavar="OUT_DIR", help="gets the model; --model OUT_DIR runs it")
    help_ = "folders of parts: mert, clap, codec, semantic_codes, listener, semantic, acoustic"
    add("parts", nargs="*", type=job_values.PART, metavar="part=DIR", help=help_)
    add("--from", dest="base", type=values.MODEL, metavar="NAME|DIR", help="the model that the other parts come from")
    add("--name", type=job_values.BUNDLE_NAME, help="name of the model (default: the folder's)")
    add(
        "--license",
        type=job_values.LICENCE,
        default="Apache-2.0",
        help="licence of the parts given (default Apache-2.0)",
    )
    help_ = "decode with this Vocos in EnCodec's place, for example charactr/vocos-encodec-24khz"
    add("--decoder", type=values.MODEL, metavar="DIR|ID", help=help_)
    add("--card", type=job_values.CARD, metavar="FILE", help="a model card to go with it")


def run(args: argparse.Namespace) -> None:
    """Write the model."""
    from accompany.models.assemble import assemble, read_parts

    require_writable(args.out_dir)
    made = assemble(
        args.out_dir,
        read_parts(args.parts),
        base=args.base,
        name=args.name,
        license=args.license,
        card=args.card,
        decoder=args.decoder,
    )
    say(f"bundle: {made}")
