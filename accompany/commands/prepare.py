"""The `accompany prepare` command: songs to pairs of vocals and accompaniment."""

from __future__ import annotations

import argparse
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import say
from accompany.commands.parser import command


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = """accompany prepare my_songs pairs --separator htdemucs --workers 2
  accompany prepare /mnt/songs s3://bucket/pairs --separator htdemucs --ray 10.0.0.5:6379"""
    help_ = "split songs into pairs of vocals and accompaniment, with captions"
    parser = command(commands, "prepare", help_, example, extra="data")
    add = parser.add_argument
    add("songs_dir", type=job_values.SONGS_DIR, metavar="SONGS_DIR", help="audio files, in subfolders too")
    help_ = "a folder or URL, gets a folder for each song; a stopped run goes on"
    add("pairs_dir", type=job_values.PAIRS_DIR, metavar="PAIRS_DIR", help=help_)
    help_ = "a Demucs model: name, hf:// id or folder; tiny comes with the package (default tiny)"
    add("--separator", type=values.SEPARATOR, default="tiny", metavar="NAME", help=help_)
    help_ = "the songs are there as stems (MUSDB18-HQ, MoisesDB, synth): no separation"
    add("--stems", action="store_true", help=help_)
    add(
        "--segment",
        type=job_values.SEGMENT_S,
        default=30.0,
        metavar="S",
        help="seconds of a pair, 2 to 120 (default 30)",
    )
    help_ = "drop windows that sing in a smaller share of their frames (default 0.15)"
    add("--min-voiced", type=values.SHARE, default=0.15, metavar="X", help=help_)
    add("--captions", type=job_values.CAPTIONS, default=4, metavar="N", help="wanted for each pair (default 4)")
    help_ = "CLAP of the pseudo-captions: that of a model, a CLAP (folder or hub id), or none (default tiny)"
    add("--clap", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    help_ = "a function of yours (samples [C, T], rate, facts) -> caption or captions"
    add("--captioner", type=job_values.CAPTIONER, metavar="MODULE:FUNCTION", help=help_)
    add("--workers", type=job_values.WORKERS, default=0, metavar="N", help="processes beside this one (default 0)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="of the separator")
    help_ = "work on a Ray cluster: the address of its head, or auto for that of this machine"
    add("--ray", type=job_values.ADDRESS, metavar="ADDRESS|auto", help=help_)


def run(args: argparse.Namespace) -> None:
    """Make the pairs."""
    from accompany.common.config import from_dict
    from accompany.common.devices import choose_device
    from accompany.data.prepare.pair_making import PrepareConfig
    from accompany.data.prepare.prepare import prepare

    limits = {"segment_s": args.segment, "min_voiced_share": args.min_voiced}
    given = {"separator": args.separator, "captions": args.captions, "clap": args.clap, "captioner": args.captioner}
    config = from_dict(PrepareConfig, {**given, "stems": args.stems, "limits": limits})
    # The nodes of a cluster have devices of their own.
    device = args.device if args.ray else choose_device(args.device)
    report = prepare(args.songs_dir, args.pairs_dir, config, workers=args.workers, device=device, ray=args.ray)
    dropped = sum(line["windows"] for line in report.dropped.values())
    say(
        f"{report.pairs} pairs, {report.hours:.2f} of {report.hours_in:.2f} hours, in {args.pairs_dir}; {dropped} "
        f"windows dropped, {len(report.set_aside)} songs skipped: {args.pairs_dir.rstrip('/')}/report.html"
    )
