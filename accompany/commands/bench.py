"""`accompany bench` of other things than a model's parts: a separator, a codec, and loading and training on tokens."""

from __future__ import annotations

import argparse
from pathlib import Path

from accompany.api import choose_device
from accompany.commands.console import bar, print_json, say


def bench_separation(args: argparse.Namespace) -> None:
    """How far a separator takes voice and band apart (`--separation`)."""
    from accompany.data.separator_training import bench_separator

    with bar("separation") as progress:
        report = bench_separator(args.separator, args.separation, device=choose_device(args.device), progress=progress)
    for side in ("vocals", "accompaniment"):
        say(f"{side}: SI-SDR {report[f'{side}_si_sdr_db']:.1f} dB, {report[f'{side}_gain_db']:+.1f} dB over the mix")
    if args.json:
        print_json(report)


def bench_coding(args: argparse.Namespace) -> None:
    """What a codec does to sound (`--coding`)."""
    from accompany.encoders.spectral_codec import load_codec
    from accompany.evaluation.coding import coding_table, measure_coding
    from accompany.pretrained import find_bundle, load_part
    from accompany.weights import CONFIG_NAME

    alone = (Path(args.codec) / CONFIG_NAME).is_file()
    codec = load_codec(args.codec) if alone else load_part(find_bundle(args.codec), "codec", choose_device(args.device))
    with bar("coding") as progress:
        report = measure_coding(codec, args.coding, progress=progress)
    say(coding_table(report))
    if args.json:
        print_json(report.as_dict())


def bench_on_tokens(args: argparse.Namespace) -> None:
    """Time loading (`--loader`) or training (`--training`)."""
    device, trainings = choose_device(args.device), tuple(args.train) or ("semantic", "acoustic")
    with bar("loader" if args.loader else "training") as progress:
        if args.loader:
            from accompany.bench.loader import LoaderBenchConfig, bench_loader, loader_table

            report = bench_loader(args.loader, LoaderBenchConfig(trainings), device, progress)
            table = loader_table(report)
        else:
            from accompany.bench.training import TrainingBenchConfig, bench_training, training_table

            config = TrainingBenchConfig(trainings, args.steps, overrides=tuple(args.set))
            report = bench_training(args.training, config, device, progress)
            table = training_table(report)
    say(table)
    if args.json:
        print_json(report)


def plan_trainings(args: argparse.Namespace) -> None:
    """Count what trainings would take on a GPU (`--plan`)."""
    from accompany.bench.training_plan import PlanConfig, plan, plan_table

    trainings = tuple(args.train) or PlanConfig.trainings
    report = plan(PlanConfig(trainings, args.gpu, args.of_peak, args.price))
    say(plan_table(report))
    if args.json:
        print_json(report)
