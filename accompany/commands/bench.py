"""`accompany bench`: times of a model's parts, and what a separator, a codec or the notes are worth."""

from __future__ import annotations

import argparse
from pathlib import Path

from accompany.api import choose_device
from accompany.commands.console import bar, print_json, say


def bench_separation(args: argparse.Namespace) -> None:
    """How far a separator takes voice and band apart (`--separation`)."""
    from accompany.training.separator import bench_separator

    with bar("separation") as progress:
        report = bench_separator(args.separator, args.separation, device=choose_device(args.device), progress=progress)
    for side in ("vocals", "accompaniment"):
        say(f"{side}: SI-SDR {report[f'{side}_si_sdr_db']:.1f} dB, {report[f'{side}_gain_db']:+.1f} dB over the mix")
    if args.json:
        print_json(report)


def bench_coding(args: argparse.Namespace) -> None:
    """What a codec does to sound (`--coding`)."""
    from accompany.common.weights import CONFIG_NAME
    from accompany.encoders.spectral_codec import load_codec
    from accompany.evaluation.coding import coding_table, measure_coding
    from accompany.models.pretrained import find_bundle, load_part

    alone = (Path(args.codec) / CONFIG_NAME).is_file()
    codec = load_codec(args.codec) if alone else load_part(find_bundle(args.codec), "codec", choose_device(args.device))
    with bar("coding") as progress:
        report = measure_coding(codec, args.coding, progress=progress)
    say(coding_table(report))
    if args.json:
        print_json(report.as_dict())


def bench_notes(args: argparse.Namespace) -> None:
    """How well sung notes are found (`--notes`)."""
    from accompany.evaluation import note_bench

    with bar("notes") as progress:
        report = note_bench.bench_notes(args.notes, progress)
    say(note_bench.note_table(report))
    if args.json:
        print_json(report)


def bench_parts(args: argparse.Namespace) -> None:
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
