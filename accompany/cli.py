"""The `accompany` command: arguments in, one call of the package, words to stderr and JSON to stdout.

Exit codes: 0 done, 2 the user's input is wrong (one sentence on stderr), 1 a fault of ours, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import accompany
from accompany.arguments import TASKS, build_parser
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.outputs import Output

_RECIPES = {
    "codec": ("accompany.encoders.training.codec", "train_codec", "CodecTrainingConfig"),
    "mert": ("accompany.encoders.training.mert", "train_mert", "MertTrainingConfig"),
    "clap": ("accompany.encoders.training.clap", "train_clap", "ClapTrainingConfig"),
    "semantic_codes": (
        "accompany.encoders.training.semantic_codes",
        "fit_semantic_codes",
        "SemanticCodesTrainingConfig",
    ),
    "judge": ("accompany.evaluation.judge_training", "train_judge", "JudgeTrainingConfig"),
}
_STOPPED, _OURS, _INPUT = 130, 1, 2
_LORA_RANK = 8


def run() -> NoReturn:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises for wrong input."""
    _log_to_stderr()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        return _run(argv)
    except InputError as error:
        _say(f"accompany: {error}")
        return _INPUT
    except KeyboardInterrupt:
        _say("accompany: stopped.")
        return _STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _say(f"accompany: the disk is full ({error.filename or 'while writing'}); free some space, run again.")
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


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    # argparse hands back positional arguments that follow an option; the command says where they belong.
    unknown = [word for word in rest if word.startswith("-") or not args.more]
    if unknown:
        parser.error(f"unknown argument {unknown[0]!r}")
    if rest:
        getattr(args, args.more).extend(rest)
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
    from accompany.audio import info
    from accompany.outputs import plan_outputs
    from accompany.settings import Settings

    # All that can be refused is refused before the model loads, which takes seconds.
    options = {name: getattr(args, name) for name in ("seed", "bpm", "key", "temperature", "guidance")}
    Settings(args.prompt, **options)
    for vocal in args.vocals:
        info(vocal)
    outputs = plan_outputs(args.vocals, args.out, args.mix)
    started = time.perf_counter()
    band = _load(args)
    load_s = time.perf_counter() - started
    files = [_generate_one(band, output, args.prompt, options) for output in outputs]
    if args.json:
        summary = {"files": files, "model": band.name, "device": str(band.device), "load_s": round(load_s, 3)}
        _print_json({**summary, "peak_rss_mb": _peak_rss_mb()})


def _load(args: argparse.Namespace) -> Any:
    return accompany.load(
        args.model, device=args.device, lora=getattr(args, "lora", ()), lora_scale=getattr(args, "lora_scale", 1.0)
    )


def _generate_one(band: Any, output: Output, prompt: str, options: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    with _bar(output.vocals.name) as progress:
        take = band.generate(output.vocals, prompt, **options, progress=progress)
    output.accompaniment.parent.mkdir(parents=True, exist_ok=True)
    take.save(output.accompaniment)
    if output.mix:
        take.save_mix(output.mix)
    wall_s = time.perf_counter() - started
    _say(f"{' and '.join(str(file) for file in output.files)}: {_describe(take)}")
    return {
        "vocals": str(output.vocals),
        "accompaniment": str(output.accompaniment),
        "mix": str(output.mix) if output.mix else None,
        "seconds": round(take.seconds, 3),
        "wall_s": round(wall_s, 3),
        "rtf": round(wall_s / take.seconds, 4),
        "seed": take.seed,
    }


def _describe(take: Any) -> str:
    tempo = f", {take.plan.tempo_bpm:.0f} beats a minute" if take.plan.tempo_bpm else ""
    key = f" in {take.plan.key}" if take.plan.key else ""
    return f"{take.seconds:.1f} s{key}{tempo}, made in {take.wall_s:.1f} s"


@contextmanager
def _bar(name: str) -> Iterator[Callable[[float], None]]:
    """A progress bar with the time left; hands out a function that takes the share done, 0 to 1."""
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} done, {remaining} left"
    with tqdm(total=1.0, desc=name, bar_format=layout, disable=None, leave=False) as bar:
        yield lambda share: bar.update(share - bar.n) and None


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
    )
    speed = f", {report.songs_per_hour:.0f} an hour" if report.n_made else ""
    _say(f"{report.n_made} songs made{speed}, {report.n_kept} there before, in {report.out_dir}")


def _prepare(args: argparse.Namespace) -> None:
    from accompany.data.prepare import DEFAULT_SEPARATOR, prepare

    separator = args.separator or DEFAULT_SEPARATOR
    report = prepare(args.songs_dir, args.pairs_dir, separator=separator, stems=args.stems, workers=args.workers)
    _say(
        f"{report.pairs} pairs, {report.hours:.1f} hours, in {args.pairs_dir}; {len(report.set_aside)} songs set aside"
    )


def _tokenize(args: argparse.Namespace) -> None:
    from accompany.data.tokenize import tokenize

    manifest = tokenize(
        args.pairs_dir,
        args.tokens_dir,
        None if args.melody_only else args.model,
        variants=args.variants,
        token_variants=args.token_variants,
        workers=args.workers,
    )
    _say(f"{len(manifest.songs)} songs in {args.tokens_dir}, {len(manifest.set_aside)} set aside")


def _train(args: argparse.Namespace) -> None:
    if args.task in TASKS:
        from accompany.train import train

        if args.lora and not any(item.startswith("lora.rank=") for item in args.overrides):
            args.overrides.append(f"lora.rank={_LORA_RANK}")
        made = train(args.task, args.config, args.overrides)
    else:
        from accompany.config import load_config

        module_name, function, schema = _RECIPES[args.task]
        module = importlib.import_module(module_name)
        config = load_config(getattr(module, schema), args.config or args.task, args.overrides)
        made = getattr(module, function)(config)
    _say(f"{args.task}: {made}")


def _tune(args: argparse.Namespace) -> None:
    from accompany.tune import tune

    _say(f"tune: {tune(args.config, args.overrides)}")


def _export(args: argparse.Namespace) -> None:
    from accompany.export import export_bundle

    made = export_bundle(args.runs, args.out_dir, base=args.base, which=args.which, name=args.name)
    _say(f"export: {made}")


def _bundle(args: argparse.Namespace) -> None:
    from accompany.assemble import assemble

    given = dict(part.partition("=")[::2] for part in args.parts)
    made = assemble(args.out_dir, given, base=args.base, name=args.name, license=args.license, card=args.card)
    _say(f"bundle: {made}")


def _import(args: argparse.Namespace) -> None:
    from accompany.importing.llambada import import_llambada

    _say(f"import: {import_llambada(args.checkpoint_dir, args.out_dir)}")


def _evaluate(args: argparse.Namespace) -> None:
    from accompany.evaluation.report import EvaluationConfig, as_table, evaluate

    config = EvaluationConfig(seconds=args.seconds, limit=args.clips or 0, seed=args.seed, judge=args.judge)
    report = evaluate(_load(args), args.songs, args.report, config)
    _say(as_table(report))
    _say(f"The page with pictures and players: {Path(args.report) / 'report.html'}")


def _recipe(args: argparse.Namespace) -> None:
    from accompany.recipe import listing, load_recipe, part_of, read_records, run_recipe, times

    steps = load_recipe(args.recipe, args.scale)
    chosen = part_of(steps, [name.strip() for name in args.steps.split(",") if name.strip()], args.first)
    work = Path(args.work or Path("runs") / Path(args.recipe).stem)
    if args.dry_run:
        _say(listing(chosen, read_records(work)))
        return
    _say(times(run_recipe(steps, work, scale=args.scale, chosen=chosen)))


def _bench(args: argparse.Namespace) -> None:
    from accompany.bench.picture import check_picture, draw
    from accompany.bench.run import BenchConfig, as_table, bench
    from accompany.bench.subjects import find_subject

    config = BenchConfig(tuple(args.lengths), tuple(args.batches), args.runs, tuple(args.against))
    if args.plot:
        check_picture(args.plot)
    subject = find_subject(args.model, args.device)
    with _bar(subject.name) as progress:
        report = bench(subject, config, progress)
    _say(as_table(report))
    if args.plot:
        _say(f"The picture: {draw(report, args.plot)}")
    if args.json:
        _print_json(report)


def _models(args: argparse.Namespace) -> None:
    from accompany.api import describe_models

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

    from accompany.doctor import examine

    findings = examine()
    for finding in findings:
        _say(f"{finding.status:<7}{finding.name:<17}{finding.found}")
        if finding.advice:
            _say(f"{'':<24}{finding.advice}")
    if args.json:
        _print_json({"findings": [asdict(finding) for finding in findings]})
    return _OURS if any(finding.status == "broken" for finding in findings) else 0


def _peak_rss_mb() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20) if sys.platform == "darwin" else peak / 1024, 1)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int | None], str | None]] = {
    "generate": (_generate, None),
    "synth": (_synth, "synth"),
    "prepare": (_prepare, "data"),
    "tokenize": (_tokenize, None),
    "train": (_train, "train"),
    "tune": (_tune, "train"),
    "export": (_export, "train"),
    "bundle": (_bundle, None),
    "import": (_import, None),
    "evaluate": (_evaluate, "eval"),
    "recipe": (_recipe, None),
    "bench": (_bench, "eval"),
    "models": (_models, None),
    "doctor": (_doctor, None),
}
"""What runs a command, and the extra that its packages are in."""
