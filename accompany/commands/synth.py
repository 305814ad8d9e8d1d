"""The `accompany synth` command: synthetic songs to train on."""

from __future__ import annotations

import argparse
import os
from typing import Any

from accompany.commands import job_values, values
from accompany.commands.console import say
from accompany.commands.parser import command


def add(commands: Any) -> None:
    """Add the command to the command line."""
    example = """accompany synth songs --songs 1000 --seed 1 --workers 4
  accompany synth songs --songs 1000 --scores POP909 --scores OpenEWLD --scores groove --variants 2"""
    parser = command(commands, "synth", "make synthetic songs to train on", example, extra="synth")
    add = parser.add_argument
    add("out_dir", type=job_values.FOLDER, metavar="OUT_DIR", help="gets a folder for each song; a stopped run goes on")
    add("--songs", type=job_values.SONGS, required=True, metavar="N", help="how many")
    add("--seed", type=values.SEED, default=0, help="song i is made from this seed and i alone (default 0)")
    add("--seconds", type=job_values.SONG_S, default=40.0, metavar="X", help="length of each song (default 40)")
    add("--sample-rate", type=job_values.SONG_RATE, default=44100, metavar="HZ", help="default 44100")
    cores = min(os.cpu_count() or 1, job_values.PROCESSES.high)
    add("--workers", type=job_values.PROCESSES, default=cores, metavar="N", help="processes (default: all cores)")
    add("--voice-only", action="store_true", help="only the vocals and song.json: fast, for listeners")
    add("--no-stems", action="store_true", help="vocals, accompaniment and mix, but not each instrument")
    help_ = (
        "soundfonts, impulse responses and folders of them, of which each song draws its own (default: one soundfont)"
    )
    add("--sounds", type=job_values.SOUNDS, nargs="+", default=(), metavar="PATH", help=help_)
    help_ = "sing with neural text-to-speech voices: the folder of their bank, made there when it is missing"
    add("--voices", type=job_values.FOLDER, metavar="FOLDER", help=help_)
    help_ = "lines that each voice of --voices speaks (default 8)"
    add("--voice-lines", type=job_values.VOICE_LINES, default=8, metavar="N", help=help_)
    help_ = "arrange real songs: a folder of POP909, OpenEWLD, OpenScore Lieder, or Groove MIDI (drums); repeatable"
    add("--scores", type=job_values.FOLDER, action="append", default=[], metavar="FOLDER", help=help_)
    help_ = "songs of --scores to train on or those kept apart from it: train or held-out (default train)"
    add("--split", default="train", choices=("train", "held-out"), help=help_)
    add(
        "--variants",
        type=job_values.VARIANTS,
        default=1,
        metavar="K",
        help="arrangements of each song, in K styles (default 1)",
    )


def run(args: argparse.Namespace) -> None:
    """Make the songs."""
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
        voices=args.voices,
        voice_lines=args.voice_lines,
    )
    speed = f", {report.songs_per_hour:.0f} an hour" if report.n_made else ""
    say(f"{report.n_made} songs made{speed}, {report.n_kept} there before, in {report.out_dir}")
    if report.skipped:
        name, why = report.skipped[0]
        say(f"{len(report.skipped)} scores could not be used and were skipped, for example {name}: {why}")
