"""The `accompany` command: arguments in, one call of the package, words to stderr and JSON to stdout.

Exit codes: 0 done, 2 the user's input is wrong (one sentence on stderr), 1 a fault of ours, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import accompany
from accompany.commands.console import print_json as _print_json
from accompany.commands.console import say as _say
from accompany.commands.parser import TASKS, build_parser
from accompany.common.files import require_writable
from accompany.common.starting import collection_rests
from accompany.errors import InputError

Loading = Callable[[], AbstractContextManager[None]]

_RECIPES = {
    "codec": ("accompany.training.encoders.codec", "train_codec", "CodecTrainingConfig"),
    "spectral_codec": (
        "accompany.training.encoders.spectral_codec",
        "train_spectral_codec",
        "SpectralCodecTrainingConfig",
    ),
    "mert": ("accompany.training.encoders.mert", "train_mert", "MertTrainingConfig"),
    "clap": ("accompany.training.encoders.clap", "train_clap", "ClapTrainingConfig"),
    "semantic_codes": (
        "accompany.training.encoders.semantic_codes",
        "fit_semantic_codes",
        "SemanticCodesTrainingConfig",
    ),
    "grids": ("accompany.training.grids", "train_grids", "GridTrainingConfig"),
    "harmoniser": ("accompany.training.harmoniser", "train_harmoniser", "HarmoniserTrainingConfig"),
    "judge": ("accompany.training.judge.train", "train_judge", "JudgeTrainingConfig"),
    "separator": ("accompany.training.separator", "train_separator", "SeparatorTrainingConfig"),
}
_STOPPED, _OURS, _INPUT = 130, 1, 2
_LORA_RANK = 8
_OF_THE_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
"""Errors that say that a file cannot be where somebody wants it, whatever we do."""


def run() -> NoReturn:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    code = main(loading=collection_rests)
    gc.freeze()  # Nothing has to be taken apart at the end: that would be most of a second's search for cycles.
    sys.exit(code)


def main(argv: Sequence[str] | None = None, loading: Loading = nullcontext) -> int:
    """Run one command and return its exit code; never raises for wrong input. Models load inside of `loading`."""
    _log_to_stderr()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        return _run(argv, loading)
    except InputError as error:
        _say(f"accompany: {error}")
        return _INPUT
    except KeyboardInterrupt as stop:
        _say(f"accompany: {stop if stop.args else 'stopped.'}")
        return _STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _say(f"accompany: the disk is full ({error.filename or 'while writing'}); free some space, run again.")
            return _INPUT
        if error.errno in _OF_THE_PLACE and error.filename:
            _say(f"accompany: {error.filename}: {error.strerror}; choose another place, or make this one accessible.")
            return _INPUT
        return _fault()
    except Exception:
        return _fault()


class _StderrHandler(logging.StreamHandler):
    """Our own handler, told apart from those of a program that calls `main`."""


def _log_to_stderr() -> None:
    logger = logging.getLogger("accompany")
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, _StderrHandler)]
    logger.addHandler(_StderrHandler(sys.stderr))
    logger.setLevel(logging.INFO)


def _fault() -> int:
    traceback.print_exc()
    _say("accompany: this is a fault of accompany, not yours; please report it with the lines above.")
    return _OURS


def _run(argv: Sequence[str] | None, loading: Loading) -> int:
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    # argparse hands back positional arguments that follow an option; the command says where they belong.
    unknown = [word for word in rest if word.startswith("-") or not args.more]
    if unknown:
        parser.error(f"unknown argument {unknown[0]!r}")
    if rest:
        getattr(args, args.more).extend(rest)
    args.loading = loading
    run_, extra = _COMMANDS[args.command]
    with _extra(extra):
        return run_(args) or 0


@contextmanager
def _extra(name: str | None) -> Iterator[None]:
    """Turn the absence of an optional package into the line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if name is None or missing in ("accompany", ""):
            raise
        raise InputError(
            f'This command needs the package {missing}, which is not installed: pip install "accompany[{name}]"'
        ) from error


def _generate(args: argparse.Namespace) -> None:
    from accompany.commands.generate import generate

    generate(args, _load)


def _load(args: argparse.Namespace) -> Any:
    with args.loading():
        return accompany.load(
            args.model,
            device=args.device,
            precision=args.precision,
            lora=getattr(args, "lora", ()),
            lora_scale=getattr(args, "lora_scale", 1.0),
        )


def _studio(args: argparse.Namespace) -> None:
    from accompany.commands import studio

    getattr(studio, args.command)(args, _load)


def _synth(args: argparse.Namespace) -> None:
    from accompany.data.songs.write import synthesise

    report = synthesise(
        args.out_dir,
        args.songs,
        args.seed,
        seconds=args.seconds,
        sample_rate=args.sample_rate,
        workers=args.workers,
        voice_only=args.voice_only,
        stems=not args.no_stems,
        sounds=args.sounds,
        scores=args.scores,
        split=args.split,
        variants=args.variants,
    )
    speed = f", {report.songs_per_hour:.0f} an hour" if report.n_made else ""
    _say(f"{report.n_made} songs made{speed}, {report.n_kept} there before, in {report.out_dir}")
    if report.skipped:
        name, why = report.skipped[0]
        _say(f"{len(report.skipped)} scores could not be used and were skipped, for example {name}: {why}")


def _prepare(args: argparse.Namespace) -> None:
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
    _say(
        f"{report.pairs} pairs, {report.hours:.2f} of {report.hours_in:.2f} hours, in {args.pairs_dir}; {dropped} "
        f"windows dropped, {len(report.set_aside)} songs set aside: {args.pairs_dir.rstrip('/')}/report.html"
    )


def _tokenize(args: argparse.Namespace) -> None:
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
    aside = f"; {len(manifest.set_aside)} set aside" if manifest.set_aside else ""
    _say(f"{manifest.pairs} pairs in {args.tokens_dir}, version {manifest.version}: {counts}{aside}")


def _train(args: argparse.Namespace) -> None:
    if args.task in TASKS:
        if args.lora and not any(item.startswith("lora.rank=") for item in args.overrides):
            args.overrides.append(f"lora.rank={_LORA_RANK}")
        if args.ray:
            from accompany.training.cluster import train_on_cluster

            made = train_on_cluster(args.task, args.config, args.overrides, args.ray)
        else:
            from accompany.training.train import train

            made = train(args.task, args.config, args.overrides)
    elif args.ray:
        raise InputError(f"--ray trains {', '.join(TASKS)}; leave it out for {args.task}.")
    else:
        from accompany.common.config import load_config
        from accompany.training.train import make_run_dir, run_lock

        module_name, function, schema = _RECIPES[args.task]
        module = importlib.import_module(module_name)
        config = load_config(getattr(module, schema), args.config or args.task, args.overrides)
        with run_lock(make_run_dir(config.out, "out"), f"accompany train {args.task}"):
            made = getattr(module, function)(config)
    _say(f"{args.task}: {made}")


def _tune(args: argparse.Namespace) -> None:
    from accompany.training.tune import tune

    _say(f"tune: {tune(args.config, args.overrides)}")


def _export(args: argparse.Namespace) -> None:
    from accompany.training.export import export_bundle

    require_writable(args.out_dir)
    made = export_bundle(args.runs, args.out_dir, base=args.base, which=args.which, name=args.name or "")
    _say(f"export: {made}")


def _bundle(args: argparse.Namespace) -> None:
    from accompany.models.assemble import assemble, read_parts

    require_writable(args.out_dir)
    made = assemble(
        args.out_dir, read_parts(args.parts), base=args.base, name=args.name, license=args.license, card=args.card
    )
    _say(f"bundle: {made}")


def _import(args: argparse.Namespace) -> None:
    from accompany.models.importing.llambada import import_llambada

    require_writable(args.out_dir)
    _say(f"import: {import_llambada(args.checkpoint_dir, args.out_dir)}")


def _evaluate(args: argparse.Namespace) -> None:
    from accompany.evaluation.page import as_table
    from accompany.evaluation.report import EvaluationConfig, evaluate

    require_writable(args.report)
    if args.study:
        _study(args)
        return
    if args.only:
        raise InputError("--only chooses rows of --study controls; name the study, or leave it out.")
    given = {"seed": args.seed, "seeds": args.seeds, "judge": args.judge or ""}
    given |= {} if args.seconds is None else {"seconds": args.seconds}
    given |= {"save_clips": args.save_clips} if args.save_clips else {}
    config = EvaluationConfig(**given, limit=args.clips or 0, against=(*args.against,))
    report = evaluate(_load(args), args.songs, args.report, config)
    _say(as_table(report))
    _say(f"The page with pictures and players: {Path(args.report) / 'report.html'}")


def _study(args: argparse.Namespace) -> None:
    from accompany.evaluation.studies.run import StudyConfig, study

    limit, judge = args.clips or 0, args.judge or ""
    config = StudyConfig(args.study, args.seconds, limit, args.seed, judge, (*args.only,))
    _say(study(_load(args), args.songs, args.report, config).as_table())
    _say(f"The figures of each clip: {Path(args.report) / f'study-{args.study}.json'}")


def _recipe(args: argparse.Namespace) -> None:
    from accompany.commands.recipe import choose, listing, load_recipe, run_recipe

    only = [name.strip() for name in (args.steps or "").split(",") if name.strip()]
    steps = choose(load_recipe(args.recipe, args.scale), only, args.first or "")
    work = Path(args.work or Path("runs") / Path(args.recipe).stem)
    if args.dry_run:
        _say(listing(steps, work))
        return
    run_recipe(steps, work)


def _bench(args: argparse.Namespace) -> None:
    if args.separation:
        with _extra("data"):
            from accompany.commands.bench import bench_separation

            bench_separation(args)
        return
    if args.coding:
        with _extra("eval"):
            from accompany.commands.bench import bench_coding

            bench_coding(args)
        return
    if args.notes:
        with _extra("eval"):
            from accompany.commands.bench import bench_notes

            bench_notes(args)
        return
    from accompany.commands.bench import bench_parts

    bench_parts(args)


def _serve(args: argparse.Namespace) -> None:
    from accompany.serve.limits import Address, Limits
    from accompany.serve.run import serve

    limits = Limits(
        args.max_mb, args.max_minutes, args.max_queue, job_minutes=args.job_minutes, keep_minutes=args.keep_minutes
    )
    serve(lambda: _load(args), limits, Address(args.host, args.port, args.token), _say)


def _models(args: argparse.Namespace) -> None:
    from accompany.models.pretrained import describe_models

    models = describe_models()
    if args.json:
        _print_json({"models": models})
        return
    if not models:
        _say("This installation carries no model; give --model a folder or a hub id.")
    for model in models:
        _say(f"{model['name']}: {model['bytes'] / 1e6:.1f} MB, {model['license']}")
        for part in model["parts"]:
            rates = ", ".join(part["rates"])
            _say(f"  {part['name']:<15}{part['bytes'] / 1e6:6.1f} MB  {part['license']:<14}{rates}")


def _doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from accompany.commands.doctor import examine

    findings = examine()
    for finding in findings:
        _say(f"{finding.status:<7}{finding.name:<17}{finding.found}")
        if finding.advice:
            _say(f"{'':<24}{finding.advice}")
    if args.json:
        _print_json({"findings": [asdict(finding) for finding in findings]})
    return _OURS if any(finding.status == "broken" for finding in findings) else 0


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int | None], str | None]] = {
    "generate": (_generate, "sound"),
    **dict.fromkeys(("retake", "vary", "extend", "undo", "remake"), (_studio, "sound")),
    **dict.fromkeys(("takes", "completion"), (_studio, None)),
    "analyse": (_studio, "eval"),
    "synth": (_synth, "synth"),
    "prepare": (_prepare, "data"),
    "tokenize": (_tokenize, "data"),
    "train": (_train, "train"),
    "tune": (_tune, "train"),
    "export": (_export, "train"),
    "bundle": (_bundle, None),
    "import": (_import, None),
    "evaluate": (_evaluate, "eval"),
    "recipe": (_recipe, None),
    "bench": (_bench, "eval"),
    "serve": (_serve, "ui"),
    "models": (_models, None),
    "doctor": (_doctor, None),
}
"""What runs a command, and the extra that its packages are in."""
