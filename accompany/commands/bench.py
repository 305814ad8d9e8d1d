"""`accompany bench`: a model's parts, a separator, loading and training on tokens."""

from __future__ import annotations

import argparse

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


def bench_on_tokens(args: argparse.Namespace) -> None:
    """Time loading (`--loader`) or training (`--training`)."""
    device, trainings = choose_device(args.device), tuple(args.train) or ("semantic", "acoustic")
    with bar("loader" if args.loader else "training") as progress:
        if args.loader:
            from accompany.evaluation.speed.loader import LoaderBenchConfig, bench_loader, loader_table

            report = bench_loader(args.loader, LoaderBenchConfig(trainings), device, progress)
            table = loader_table(report)
        else:
            from accompany.evaluation.speed.training import TrainingBenchConfig, bench_training, training_table

            config = TrainingBenchConfig(trainings, args.steps, overrides=tuple(args.set))
            report = bench_training(args.training, config, device, progress)
            table = training_table(report)
    say(table)
    if args.json:
        print_json(report)


def plan_trainings(args: argparse.Namespace) -> None:
    """Count what trainings would take on a GPU (`--plan`)."""
    from accompany.evaluation.speed.training_plan import PlanConfig, plan, plan_table

    trainings = tuple(args.train) or PlanConfig.trainings
    report = plan(PlanConfig(trainings, args.gpu, args.of_peak, args.price))
    say(plan_table(report))
    if args.json:
        print_json(report)


def bench_parts(args: argparse.Namespace) -> None:
    """Time a model part by part."""
    from accompany.evaluation.speed.find import find_subject
    from accompany.evaluation.speed.picture import check_picture, draw
    from accompany.evaluation.speed.run import BenchConfig, as_table, bench

    config = BenchConfig(tuple(args.lengths), tuple(args.batches), args.runs, tuple(args.against))
    if args.plot:
        check_picture(args.plot)
    subject = find_subject(args.model, args.device, args.precision)
    with bar(subject.name) as progress:
        report = bench(subject, config, progress)
    say(as_table(report))
    if args.plot:
        say(f"The picture: {draw(report, args.plot)}")
    if args.json:
        print_json(report)
