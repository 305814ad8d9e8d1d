"""The `accompany bench` command: times of a model's parts, and what a separator, a codec or the notes are worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import bar, print_json, say
from accompany.commands.parser import add_json, add_model, command, needs_extra
from accompany.common.devices import choose_device


def _bench_separation(args: argparse.Namespace) -> None:
    """How far a separator takes voice and band apart (`--separation`)."""
    from accompany.training.separator import bench_separator

    with bar("separation") as progress:
        report = bench_separator(args.separator, args.separation, device=choose_device(args.device), progress=progress)
    for side in ("vocals", "accompaniment"):
        say(f"{side}: SI-SDR {report[f'{side}_si_sdr_db']:.1f} dB, {report[f'{side}_gain_db']:+.1f} dB over the mix")
    if args.json:
        print_json(report)


def _bench_coding(args: argparse.Namespace) -> None:
    """What a codec does to sound (`--coding`)."""
    from accompany.common.config import CONFIG_NAME
    from accompany.encoders.codecs import load_codec
    from accompany.evaluation.coding import coding_table, find_audio, measure_coding
    from accompany.models.pretrained import find_bundle
    from accompany.models.single_parts import load_part

    files = find_audio(args.coding)
    alone = (Path(args.codec) / CONFIG_NAME).is_file()
    codec = load_codec(args.codec) if alone else load_part(find_bundle(args.codec), "codec", choose_device(args.device))
    with bar("coding") as progress:
        report = measure_coding(codec, files, progress=progress)
    say(coding_table(report))
    if args.json:
        print_json(report.as_dict())


def _bench_notes(args: argparse.Namespace) -> None:
    """How well sung notes are found (`--notes`)."""
    from accompany.evaluation import note_bench

    with bar("notes") as progress:
        report = note_bench.bench_notes(args.notes, progress)
    say(note_bench.note_table(report))
    if args.json:
        print_json(report)


def _bench_parts(args: argparse.Namespace) -> None:
    """Time a model part by part."""
    from accompany.evaluation.speed.find import find_subject
    from accompany.evaluation.speed.run import BenchConfig, as_table, bench

    config = BenchConfig(tuple(args.lengths), tuple(args.batches), args.runs, tuple(args.against))
    subject = find_subject(args.model, args.device, args.precision)
    with bar(subject.name) as progress:
        report = bench(subject, config, progress)
    say(as_table(report))
    if args.json:
        print_json(report)


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany bench --lengths 10 60 --batches 1 8 --against full"
    help_ = "time a model part by part, against the least that its work can take"
    parser = command(commands, "bench", help_, example, extra="eval")
    parser.epilog = (
        f"{parser.epilog}\n  accompany bench --model llambada-random --lengths 10 --batches 1 --precision int8"
    )
    add = parser.add_argument
    lengths, batches = [5.0, 10.0, 30.0], [1]
    help_ = "seconds of vocal (default 5 10 30)"
    add("--lengths", type=job_values.BENCH_S, nargs="+", default=lengths, metavar="S", help=help_)
    add(
        "--batches", type=job_values.VOCALS, nargs="+", default=batches, metavar="N", help="vocals together (default 1)"
    )
    add("--runs", type=job_values.RUNS, default=3, metavar="N", help="of each case; the median counts (default 3)")
    help_ = "compare with: full, no cache"
    add("--against", nargs="+", default=[], choices=("full",), metavar="NAME", help=help_)
    help_ = "measure a separator on mixes of these songs instead: accompany bench --separation songs --separator tiny"
    add("--separation", type=job_values.FOLDER, metavar="SONGS_DIR", help=help_)
    help_ = "with --separation: as in prepare (default tiny)"
    add("--separator", type=values.SEPARATOR, default="tiny", metavar="NAME", help=help_)
    help_ = "measure a codec on these audio files or folders instead: accompany bench --coding songs --codec tiny"
    add("--coding", nargs="+", type=values.RECORDING, default=[], metavar="PATH", help=help_)
    help_ = "with --coding: the codec of a model, or the folder of one (default tiny)"
    add("--codec", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    help_ = (
        "measure sung notes instead, on songs of synth or recordings with NAME_notes.csv: accompany bench --notes songs"
    )
    add("--notes", type=job_values.FOLDER, metavar="FOLDER", help=help_)
    add_model(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Measure a model, a separator, a codec or the notes."""
    if args.separation:
        with needs_extra("data"):
            _bench_separation(args)
    elif args.coding:
        _bench_coding(args)
    elif args.notes:
        with needs_extra("eval"):
            _bench_notes(args)
    else:
        _bench_parts(args)
