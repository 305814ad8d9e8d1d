"""The `accompany train` command: one part of a model."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from accompany.commands import job_values
from accompany.commands.console import say
from accompany.commands.parser import command
from accompany.errors import InputError

TASKS = ("listener", "semantic", "acoustic")
"""Parts whose training is `accompany.training.train`."""

RECIPES = {
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
    "confidence": ("accompany.training.confidence", "fit_confidence", "ConfidenceConfig"),
    "judge": ("accompany.training.judge.train", "train_judge", "JudgeTrainingConfig"),
    "separator": ("accompany.training.separator", "train_separator", "SeparatorTrainingConfig"),
}
"""Other parts: the module, function and config class that trains each."""

_LORA_RANK = 8


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = """accompany train semantic tokens=tokens max_steps=2000
  accompany train acoustic --config base tokens=tokens devices=8 nodes=2
  accompany train semantic --ray 10.0.0.5:6379 tokens=/mnt/tokens run_dir=/mnt/run devices=8 nodes=2
  accompany train semantic --lora init=tiny tokens=five_songs max_steps=300"""
    parser = command(commands, "train", "train a part of a model", example, more="overrides", extra="train")
    parts = (*TASKS, *RECIPES)
    parser.add_argument("task", choices=parts, metavar="PART", help=", ".join(parts))
    help_ = "a YAML file, or a name: tiny, base, large"
    parser.add_argument("--config", type=job_values.CONFIG, metavar="FILE", help=help_)
    help_ = "train an adapter of the model init=NAME|DIR, a few megabytes, in place of the model (lora.rank=8)"
    parser.add_argument("--lora", action="store_true", help=help_)
    help_ = f"train on a Ray cluster ({', '.join(TASKS)}): the address of its head, or auto for that of this machine"
    parser.add_argument("--ray", type=job_values.ADDRESS, metavar="ADDRESS|auto", help=help_)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that override the file's")


def run(args: argparse.Namespace) -> None:
    """Train the part."""
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
        from accompany.common.overrides import load_config
        from accompany.training.train import make_run_dir, run_lock

        module_name, function, schema = RECIPES[args.task]
        module = importlib.import_module(module_name)
        config = load_config(getattr(module, schema), args.config or args.task, args.overrides)
        with run_lock(make_run_dir(config.out, "out"), f"accompany train {args.task}"):
            made = getattr(module, function)(config)
    say(f"{args.task}: {made}")
