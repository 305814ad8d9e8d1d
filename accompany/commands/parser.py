"""The command line's arguments: names, meaning and help, and nothing that runs."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

import accompany
from accompany.commands import values
from accompany.commands.arguments import (
    GENERATE_EXAMPLES,
    add_control_options,
    add_sound_options,
    add_studio,
    add_take_options,
)
from accompany.errors import InputError

TASKS = ("listener", "semantic", "acoustic")
STUDIES = ("controls", "retakes", "length")
RECIPES = ("codec", "spectral_codec", "mert", "clap", "semantic_codes", "grids", "harmoniser", "judge", "separator")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        option, _, sentence = message.partition(": ")
        if message.endswith("."):  # of a type, which says it all
            raise InputError(sentence if sentence.startswith("--") else f"{option[0].upper()}{option[1:]}: {sentence}")
        raise InputError(f"{message[0].upper()}{message[1:]}; see {self.prog} --help.")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    more = "accompany COMMAND --help tells more."
    parser = _Parser(prog="accompany", description="Sing in, band out.", epilog=more)
    parser.add_argument("--version", action="version", version=f"accompany {accompany.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_generate,
        _add_studio,
        _add_synth,
        _add_prepare,
        _add_tokenize,
        _add_train,
        _add_tune,
        _add_export,
        _add_bundle,
        _add_import,
        _add_evaluate,
        _add_recipe,
        _add_bench,
        _add_serve,
        _add_looks,
    ):
        add(commands)
    return parser


def _command(
    commands: Any,
    name: str,
    help_: str,
    example: str,
    more: str = "",
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=name, more=more)
    return parser


def _add_generate(commands: Any) -> None:
    example = GENERATE_EXAMPLES
    parser = _command(commands, "generate", "make the accompaniment of a vocal", example, more="vocals")
    add = parser.add_argument
    add("vocals", nargs="+", type=values.RECORDING, metavar="VOCALS", help="recordings of singing, one or several")
    add("-p", "--prompt", default="", help="style and instruments in plain English")
    add("-o", "--out", type=values.OUTPUT, metavar="PATH", help="a file for one vocal, a folder for several")
    add("--mix", action="store_true", help="also write <stem>.mix.wav, voice and band together")
    add("--seed", type=values.SEED, default=0, help="the same seed gives the same band (default 0)")
    add_control_options(parser)
    add_take_options(parser)
    add_sound_options(parser)
    add("--lora", action="append", type=values.ADAPTER, default=[], metavar="DIR", help="an adapter, or several")
    help_ = "how much of the adapters, 0 is none (default 1)"
    add("--lora-scale", type=values.LORA_SCALE, default=1.0, metavar="X", help=help_)
    _add_model(parser)
    add("--json", action="store_true", help="print one JSON object as the last line of stdout")


def _add_studio(commands: Any) -> None:
    add_studio(commands, _command, _add_model)


def _add_model(parser: argparse.ArgumentParser) -> None:
    help_ = "bundled name, folder or hub id (default tiny)"
    parser.add_argument("--model", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    help_ = "auto (half on CUDA, else float32), float32, bfloat16, float16, or int8: weights of 8 bits, for big models"
    parser.add_argument("--precision", type=values.PRECISION, default="auto", metavar="NAME", help=help_)


def _add_synth(commands: Any) -> None:
    example = """accompany synth songs --songs 1000 --seed 1 --workers 4
  accompany synth songs --songs 1000 --scores POP909 --scores OpenEWLD --scores groove --variants 2"""
    parser = _command(commands, "synth", "make synthetic songs to train on", example)
    add = parser.add_argument
    add("out_dir", type=values.FOLDER, metavar="OUT_DIR", help="gets a folder for each song; a stopped run goes on")
    add("--songs", type=values.SONGS, required=True, metavar="N", help="how many")
    add("--seed", type=values.SEED, default=0, help="song i is made from this seed and i alone (default 0)")
    add("--seconds", type=values.SONG_S, default=40.0, metavar="X", help="length of each song (default 40)")
    add("--sample-rate", type=values.SONG_RATE, default=44100, metavar="HZ", help="default 44100")
    cores = min(os.cpu_count() or 1, values.PROCESSES.high)
    add("--workers", type=values.PROCESSES, default=cores, metavar="N", help="processes (default: all cores)")
    add("--voice-only", action="store_true", help="only the vocals and song.json: fast, for listeners")
    add("--no-stems", action="store_true", help="vocals, accompaniment and mix, but not each instrument")
    help_ = (
        "soundfonts, impulse responses and folders of them, of which each song draws its own (default: one soundfont)"
    )
    add("--sounds", type=values.SOUNDS, nargs="+", default=(), metavar="PATH", help=help_)
    help_ = "arrange real songs: a folder of POP909, OpenEWLD, OpenScore Lieder, or Groove MIDI (drums); repeatable"
    add("--scores", type=values.FOLDER, action="append", default=[], metavar="FOLDER", help=help_)
    help_ = "songs of --scores to train on or those kept apart from it: train or held-out (default train)"
    add("--split", default="train", choices=("train", "held-out"), help=help_)
    add(
        "--variants",
        type=values.VARIANTS,
        default=1,
        metavar="K",
        help="arrangements of each song, in K styles (default 1)",
    )


def _add_prepare(commands: Any) -> None:
    example = """accompany prepare my_songs pairs --separator htdemucs --workers 2
  accompany prepare /mnt/songs s3://bucket/pairs --separator htdemucs --ray 10.0.0.5:6379"""
    help_ = "split songs into pairs of vocals and accompaniment, with captions"
    parser = _command(commands, "prepare", help_, example)
    add = parser.add_argument
    add("songs_dir", type=values.SONGS_DIR, metavar="SONGS_DIR", help="audio files, in subfolders too")
    help_ = "a folder or URL, gets a folder for each song; a stopped run goes on"
    add("pairs_dir", type=values.PAIRS_DIR, metavar="PAIRS_DIR", help=help_)
    help_ = "a Demucs model: name, hf:// id or folder; tiny comes with the package (default tiny)"
    add("--separator", type=values.SEPARATOR, default="tiny", metavar="NAME", help=help_)
    help_ = "the songs are there as stems (MUSDB18-HQ, MoisesDB, synth): no separation"
    add("--stems", action="store_true", help=help_)
    add("--segment", type=values.SEGMENT_S, default=30.0, metavar="S", help="seconds of a pair, 2 to 120 (default 30)")
    help_ = "drop windows that sing in a smaller share of their frames (default 0.15)"
    add("--min-voiced", type=values.SHARE, default=0.15, metavar="X", help=help_)
    add("--captions", type=values.CAPTIONS, default=4, metavar="N", help="wanted for each pair (default 4)")
    help_ = "whose ears pseudo-captions use: a model, a CLAP (folder or hub id), or none (default tiny)"
    add("--clap", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    help_ = "a function of yours (samples [C, T], rate, facts) -> caption or captions"
    add("--captioner", type=values.CAPTIONER, metavar="MODULE:FUNCTION", help=help_)
    add("--workers", type=values.WORKERS, default=0, metavar="N", help="processes beside this one (default 0)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="of the separator")
    help_ = "work on a Ray cluster: the address of its head, or auto for that of this machine"
    add("--ray", type=values.ADDRESS, metavar="ADDRESS|auto", help=help_)


def _add_tokenize(commands: Any) -> None:
    example = "accompany tokenize pairs tokens\n  accompany tokenize /mnt/pairs /mnt/tokens --ray 10.0.0.5:6379"
    help_ = "turn pairs into the codes that the stages train on"
    parser = _command(commands, "tokenize", help_, example)
    help_ = "what synth or prepare wrote, a folder or URL"
    parser.add_argument("pairs_dir", type=values.PAIRS_DIR, metavar="PAIRS_DIR", help=help_)
    help_ = "a folder or URL; a run that was stopped goes on, other settings make another version in it"
    parser.add_argument("tokens_dir", type=values.TOKENS_DIR, metavar="TOKENS_DIR", help=help_)
    encoders = parser.add_mutually_exclusive_group()
    help_ = "whose encoders to use (default tiny)"
    encoders.add_argument("--model", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    help_ = "only melody features of the vocals: no model, no bands, all that a listener needs"
    encoders.add_argument("--melody-only", action="store_true", help=help_)
    add = parser.add_argument
    help_ = "of each vocal, the first as it is (default 3)"
    add("--variants", type=values.VARIANTS, default=3, metavar="N", help=help_)
    help_ = "of each band's codec tokens, all but the first moved by part of a codec frame (default 1)"
    add("--token-variants", type=values.VARIANTS, default=1, metavar="N", help=help_)
    help_ = "copies of each pair, both sides higher and faster or lower and slower, 0 to 6 (default 0)"
    add("--moves", type=values.MOVES, default=0, metavar="N", help=help_)
    help_ = "encode drums, bass and other one by one too, where a pair has its instruments (synth writes them)"
    add("--stems", action="store_true", help=help_)
    add("--seed", type=values.RUN_SEED, default=0, metavar="N", help="of all these (default 0)")
    help_ = "of the songs, or artists where known, that are kept for validation (default 0.05)"
    add("--val-share", type=values.VAL_SHARE, default=0.05, metavar="X", help=help_)
    add("--batch", type=values.PAIRS, default=4, metavar="N", help="pairs that are encoded together (default 4)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="of the encoders (default auto)")
    add("--workers", type=values.WORKERS, default=0, metavar="N", help="processes beside this one (default 0)")
    help_ = "work on a Ray cluster: the address of its head, or auto for that of this machine"
    add("--ray", type=values.ADDRESS, metavar="ADDRESS|auto", help=help_)


def _add_train(commands: Any) -> None:
    example = """accompany train semantic tokens=tokens max_steps=2000
  accompany train acoustic --config base tokens=tokens devices=8 nodes=2
  accompany train semantic --ray 10.0.0.5:6379 tokens=/mnt/tokens run_dir=/mnt/run devices=8 nodes=2
  accompany train semantic --lora init=tiny tokens=five_songs max_steps=300"""
    parser = _command(commands, "train", "train a part of a model", example, more="overrides")
    parts = (*TASKS, *RECIPES)
    parser.add_argument("task", choices=parts, metavar="PART", help=", ".join(parts))
    help_ = "a YAML file, or a name: tiny, base, large"
    parser.add_argument("--config", type=values.CONFIG, metavar="FILE", help=help_)
    help_ = "train an adapter of the model init=NAME|DIR, a few megabytes, in place of the model (lora.rank=8)"
    parser.add_argument("--lora", action="store_true", help=help_)
    help_ = f"train on a Ray cluster ({', '.join(TASKS)}): the address of its head, or auto for that of this machine"
    parser.add_argument("--ray", type=values.ADDRESS, metavar="ADDRESS|auto", help=help_)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that override the file's")


def _add_tune(commands: Any) -> None:
    example = "accompany tune model=tiny tokens=tokens run_dir=runs/tune vocals=256"
    help_ = "teach a semantic stage to prefer the better of its own takes"
    parser = _command(commands, "tune", help_, example, more="overrides")
    help_ = "a YAML file (default: tune in accompany/configs)"
    parser.add_argument("--config", type=values.CONFIG, metavar="FILE", help=help_)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that override the file's")


def _add_export(commands: Any) -> None:
    example = "accompany export runs/semantic runs/acoustic my_model --from tiny"
    parser = _command(commands, "export", "make a model of what training runs trained", example)
    add = parser.add_argument
    help_ = "folders of runs, at most one for each part; adapters are worked in"
    add("runs", nargs="+", type=values.RUN_DIR, metavar="RUN", help=help_)
    add("out_dir", type=values.FOLDER, metavar="BUNDLE_DIR", help="gets the model; --model BUNDLE_DIR runs it")
    help_ = "the model that the other parts come from (default: the run's init or bundle)"
    add("--from", dest="base", type=values.MODEL, metavar="NAME|DIR", help=help_)
    add("--which", default="best", choices=("best", "last"), help="checkpoint of the runs (default best)")
    add("--name", type=values.BUNDLE_NAME, help="name of the model (default: the folder's)")


def _add_bundle(commands: Any) -> None:
    example = "accompany bundle my_model --from tiny semantic=runs/semantic/model acoustic=runs/acoustic/model"
    parser = _command(commands, "bundle", "put a model together from trained parts", example, more="parts")
    add = parser.add_argument
    add("out_dir", type=values.FOLDER, metavar="OUT_DIR", help="gets the model; --model OUT_DIR runs it")
    help_ = "folders of parts: mert, clap, codec, semantic_codes, listener, semantic, acoustic"
    add("parts", nargs="*", type=values.PART, metavar="part=DIR", help=help_)
    add("--from", dest="base", type=values.MODEL, metavar="NAME|DIR", help="the model that the other parts come from")
    add("--name", type=values.BUNDLE_NAME, help="name of the model (default: the folder's)")
    add("--license", type=values.LICENCE, default="Apache-2.0", help="licence of the parts given (default Apache-2.0)")
    add("--card", type=values.CARD, metavar="FILE", help="a model card to go with it")


def _add_import(commands: Any) -> None:
    example = "accompany import llambada ckpts my_llambada"
    more = """CHECKPOINT_DIR holds the published files:
  llambada.transformer.77000.pt  coarse.transformer.17400.pt  clap.rvq.950_no_fusion.pt
  kmeans.joblib  630k-audioset-best.pt
and, so that nothing is downloaded, the folders of three others (each as on the hub):
  MERT-v0/           otherwise from the hub id m-a-p/MERT-v0
  encodec_24khz/     or the .th file of the package encodec; otherwise from facebook/encodec_24khz
  roberta-base/      the tokenizer's files; otherwise from FacebookAI/roberta-base

"""
    parser = _command(commands, "import", "turn published checkpoints of LLambada into a model", example)
    parser.epilog = more + (parser.epilog or "")
    parser.add_argument("format", choices=("llambada",), metavar="llambada", help="whose checkpoints they are")
    help_ = "the folder of the published files"
    parser.add_argument("checkpoint_dir", type=values.FOLDER, metavar="CHECKPOINT_DIR", help=help_)
    help_ = "gets the model; --model OUT_DIR runs it"
    parser.add_argument("out_dir", type=values.FOLDER, metavar="OUT_DIR", help=help_)


def _add_evaluate(commands: Any) -> None:
    example = """accompany evaluate test_songs --against fastsag=outputs/fastsag --seeds 3 --report report
  accompany evaluate test_songs --study controls --clips 8 --seconds 8 --report report
  accompany evaluate test_songs --save-clips clips --report report      # for other tools"""
    help_ = "measure a model on song folders, floor and ceiling beside each figure"
    parser = _command(commands, "evaluate", help_, example, more="songs")
    songs = "song folders, as synth and prepare write them, or of MUSDB18-HQ or MoisesDB"
    parser.add_argument("songs", nargs="+", type=values.FOLDER, metavar="SONGS_DIR", help=songs)
    help_ = "gets report.html, .md, .json and sounds"
    parser.add_argument("--report", required=True, type=values.FOLDER, metavar="DIR", help=help_)
    help_ = "length of a clip (default 10; 240 in a study of length)"
    parser.add_argument("--seconds", type=values.CLIP_S, metavar="X", help=help_)
    parser.add_argument("--clips", type=values.CLIPS, metavar="N", help="at most this many clips")
    parser.add_argument("--seed", type=values.RUN_SEED, default=0, help="of the generations (default 0)")
    more = "outputs of another system, files named after the songs; may be given again"
    parser.add_argument("--against", action="append", type=values.SYSTEM, default=[], metavar="NAME=DIR", help=more)
    takes = "takes of each clip, to see how diverse they are (default 1)"
    parser.add_argument("--seeds", type=values.TAKES, default=1, metavar="N", help=takes)
    help_ = f"answer one question in place of the report: {', '.join(STUDIES)}"
    parser.add_argument("--study", choices=STUDIES, metavar="NAME", help=help_)
    help_ = "only these rows of --study controls, such as --only bpm chords"
    parser.add_argument("--only", nargs="+", type=values.ROW, default=[], metavar="ROW", help=help_)
    help_ = "also write every row's clips here, a folder each, for tools that compare folders of sound"
    parser.add_argument("--save-clips", type=values.FOLDER, metavar="DIR", help=help_)
    help_ = "judge of the prompts (default: the package's own)"
    parser.add_argument("--judge", type=values.FOLDER, metavar="DIR", help=help_)
    _add_model(parser)


def _add_recipe(commands: Any) -> None:
    example = "accompany recipe tiny --work runs/tiny --dry-run"
    parser = _command(commands, "recipe", "make a whole model from nothing, step by step", example)
    add = parser.add_argument
    add("recipe", type=values.RECIPE, metavar="NAME", help="tiny, or a YAML file like configs/recipe_tiny.yaml")
    help_ = "gets everything; a run that was stopped goes on (default runs/NAME)"
    add("--work", type=values.WORK, metavar="DIR", help=help_)
    help_ = "times the songs and steps; 0.01 is a toy (default 1)"
    add("--scale", type=values.SCALE, default=1.0, metavar="X", help=help_)
    add("--steps", type=values.STEP_LIST, metavar="A,B", help="only these steps")
    add("--from", dest="first", type=values.STEP, metavar="A", help="only this step and those after it")
    add("--dry-run", action="store_true", help="only list the steps: estimated time and command")


def _add_bench(commands: Any) -> None:
    example = "accompany bench --lengths 10 60 --batches 1 8 --against full"
    help_ = "time a model part by part, against the least that its work can take"
    parser = _command(commands, "bench", help_, example)
    parser.epilog = (
        f"{parser.epilog}\n  accompany bench --model llambada-random --lengths 10 --batches 1 --precision int8"
    )
    add = parser.add_argument
    lengths, batches = [5.0, 10.0, 30.0], [1]
    help_ = "seconds of vocal (default 5 10 30)"
    add("--lengths", type=values.BENCH_S, nargs="+", default=lengths, metavar="S", help=help_)
    add("--batches", type=values.VOCALS, nargs="+", default=batches, metavar="N", help="vocals together (default 1)")
    add("--runs", type=values.RUNS, default=3, metavar="N", help="of each case; the median counts (default 3)")
    help_ = "compare with: full, no cache"
    add("--against", nargs="+", default=[], choices=("full",), metavar="NAME", help=help_)
    help_ = "measure a separator on mixes of these songs instead: accompany bench --separation songs --separator tiny"
    add("--separation", type=values.FOLDER, metavar="SONGS_DIR", help=help_)
    help_ = "with --separation: as in prepare (default tiny)"
    add("--separator", type=values.SEPARATOR, default="tiny", metavar="NAME", help=help_)
    help_ = "measure a codec on these audio files or folders instead: accompany bench --coding songs --codec tiny"
    add("--coding", nargs="+", type=values.RECORDING, default=[], metavar="PATH", help=help_)
    help_ = "with --coding: the codec of a model, or the folder of one (default tiny)"
    add("--codec", type=values.MODEL, default="tiny", metavar="NAME|DIR", help=help_)
    help_ = (
        "measure sung notes instead, on songs of synth or recordings with NAME_notes.csv: accompany bench --notes songs"
    )
    add("--notes", type=values.FOLDER, metavar="FOLDER", help=help_)
    _add_model(parser)
    add("--json", action="store_true", help="print one JSON object as the last line of stdout")


def _add_serve(commands: Any) -> None:
    example = "accompany serve --port 8000\n  accompany serve --host 0.0.0.0 --max-minutes 5      # asks for a token"
    parser = _command(commands, "serve", "open a page in the browser and an HTTP API", example)
    add = parser.add_argument
    help_ = "where to listen (default 127.0.0.1: this machine alone)"
    add("--host", type=values.HOST, default="127.0.0.1", metavar="NAME", help=help_)
    add("--port", type=values.PORT, default=8000, metavar="N", help="default 8000; 0 takes a free one")
    help_ = "what visitors must know when --host is not local (default: $ACCOMPANY_TOKEN, or one is made and shown)"
    add("--token", default=os.environ.get("ACCOMPANY_TOKEN", ""), metavar="TEXT", help=help_)
    add("--max-mb", type=values.MAX_MB, default=100.0, metavar="X", help="largest upload, in MB (default 100)")
    add("--max-minutes", type=values.MAX_MINUTES, default=10.0, metavar="X", help="longest vocal (default 10)")
    help_ = "jobs that may wait; more are told busy (default 32)"
    add("--max-queue", type=values.JOBS, default=32, metavar="N", help=help_)
    help_ = "longest that one job may run (default 20)"
    add("--job-minutes", type=values.JOB_MINUTES, default=20.0, metavar="X", help=help_)
    help_ = "files are deleted so long after their owner was last seen (default 60)"
    add("--keep-minutes", type=values.KEEP_MINUTES, default=60.0, metavar="X", help=help_)
    _add_model(parser)


def _add_looks(commands: Any) -> None:
    for name, help_ in (
        ("models", "list the models: parts, rates, size, licences"),
        ("doctor", "look at this installation and say what to do"),
    ):
        parser = _command(commands, name, help_, f"accompany {name}")
        parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
