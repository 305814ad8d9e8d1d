"""The `accompany tokenize` command: pairs to the codes that the stages train on."""

from __future__ import annotations

import argparse
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import say
from accompany.commands.parser import command


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany tokenize pairs tokens\n  accompany tokenize /mnt/pairs /mnt/tokens --ray 10.0.0.5:6379"
    help_ = "turn pairs into the codes that the stages train on"
    parser = command(commands, "tokenize", help_, example, extra="data")
    help_ = "what synth or prepare wrote, a folder or URL"
    parser.add_argument("pairs_dir", type=job_values.PAIRS_DIR, metavar="PAIRS_DIR", help=help_)
    help_ = "a folder or URL; a run that was stopped goes on, other settings make another version in it"
    parser.add_argument("tokens_dir", type=job_values.TOKENS_DIR, metavar="TOKENS_DIR", help=help_)
    encoders = parser.add_mutually_exclusive_group()
    help_ = "whose encoders to use (default tiny)"
    encoders.add_argument("--model", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    help_ = "only melody features of the vocals: no model, no bands, all that a listener needs"
    encoders.add_argument("--melody-only", action="store_true", help=help_)
    add = parser.add_argument
    help_ = "of each vocal, the first as it is (default 3)"
    add("--variants", type=job_values.VARIANTS, default=3, metavar="N", help=help_)
    help_ = "of each band's codec tokens, all but the first moved by part of a codec frame (default 1)"
    add("--token-variants", type=job_values.VARIANTS, default=1, metavar="N", help=help_)
    help_ = "augmented copies of each pair: voice and band shifted alike in pitch and tempo, 0 to 6 (default 0)"
    add("--moves", type=job_values.MOVES, default=0, metavar="N", help=help_)
    help_ = "encode drums, bass and other one by one too, where a pair has its instruments (synth writes them)"
    add("--stems", action="store_true", help=help_)
    add("--seed", type=job_values.RUN_SEED, default=0, metavar="N", help="of all these (default 0)")
    help_ = "of the songs, or artists where known, that are kept for validation (default 0.05)"
    add("--val-share", type=job_values.VAL_SHARE, default=0.05, metavar="X", help=help_)
    add("--batch", type=job_values.PAIRS, default=4, metavar="N", help="pairs that are encoded together (default 4)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="of the encoders (default auto)")
    add("--workers", type=job_values.WORKERS, default=0, metavar="N", help="processes beside this one (default 0)")
    help_ = "work on a Ray cluster: the address of its head, or auto for that of this machine"
    add("--ray", type=job_values.ADDRESS, metavar="ADDRESS|auto", help=help_)


def run(args: argparse.Namespace) -> None:
    """Write the codes."""
    from accompany.common.devices import choose_device
    from accompany.data.tokens.encode import EncodeConfig
    from accompany.data.tokens.tokenize import tokenize

    options = {name: getattr(args, name) for name in ("val_share", "batch", "workers", "ray")}
    # The nodes of a cluster have devices of their own.
    options["device"] = args.device if args.ray else choose_device(args.device)
    config = EncodeConfig(args.variants, args.token_variants, args.moves, seed=args.seed, stems=args.stems)
    manifest = tokenize(
        args.pairs_dir, args.tokens_dir, None if args.melody_only else args.model, config=config, **options
    )
    counts = ", ".join(f"{side} {each.pairs} ({each.hours:.2f} hours)" for side, each in manifest.counts.items())
    skipped = f"; {len(manifest.set_aside)} skipped" if manifest.set_aside else ""
    say(f"{manifest.pairs} pairs in {args.tokens_dir}, version {manifest.version}: {counts}{skipped}")
