"""The `accompany import llambada` command: published checkpoints to a model."""

from __future__ import annotations

import argparse
from typing import Any

from accompany.commands import job_values
from accompany.commands.console import say
from accompany.commands.parser import command
from accompany.common.files import require_writable


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = "accompany import llambada ckpts my_llambada"
    more = """CHECKPOINT_DIR holds the published files:
  llambada.transformer.77000.pt  coarse.transformer.17400.pt  clap.rvq.950_no_fusion.pt
  kmeans.joblib  630k-audioset-best.pt
and, so that nothing is downloaded, the folders of three others (each as on the hub):
  MERT-v0/           otherwise from the hub id m-a-p/MERT-v0
  encodec_24khz/     or the .th file of the package encodec; otherwise from facebook/encodec_24khz
  roberta-base/      the tokenizer's files; otherwise from FacebookAI/roberta-base

"""
    parser = command(commands, "import", "turn published checkpoints of LLambada into a model", example)
    parser.epilog = more + (parser.epilog or "")
    parser.add_argument("format", choices=("llambada",), metavar="llambada", help="whose checkpoints they are")
    help_ = "the folder of the published files"
    parser.add_argument("checkpoint_dir", type=job_values.FOLDER, metavar="CHECKPOINT_DIR", help=help_)
    help_ = "gets the model; --model OUT_DIR runs it"
    parser.add_argument("out_dir", type=job_values.FOLDER, metavar="OUT_DIR", help=help_)


def run(args: argparse.Namespace) -> None:
    """Write the model."""
    from accompany.models.importing.llambada import import_llambada

    require_writable(args.out_dir)
    say(f"import: {import_llambada(args.checkpoint_dir, args.out_dir)}")
