"""Arguments of the commands that work on takes: names, meaning and help, and nothing that runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from accompany.commands import values

GENERATE_EXAMPLES = """accompany generate vocals.wav -p "warm jazz trio, brushed drums, walking bass" --mix --seed 7
  accompany generate vocals.wav --chords "C G Am F" --bpm 92 --takes 4 --plot --midi
  accompany generate vocals.wav -p "0: solo piano; 12.5: full band; [chorus] loud drums" --project song
  accompany generate vocals.wav --mix --lufs -14 --rate 48000 --bits 24 --start vocal    # into a DAW
  accompany generate song.mp3 --separate --mix -p "solo piano"    # a cover"""

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")

Command = Callable[..., argparse.ArgumentParser]
AddModel = Callable[[argparse.ArgumentParser], None]


def add_control_options(parser: argparse.ArgumentParser, seed: bool = False) -> None:
    """How the band plays."""
    if seed:
        parser.add_argument("--seed", type=values.SEED, metavar="N", help="default: the next one")
    add = parser.add_argument_group("what the band plays").add_argument
    if not seed:
        add("--bpm", type=values.BPM, metavar="X", help="tempo, when you know it")
        add("--key", metavar="KEY", help="key, when you know it, such as C:maj or A:min")
        help_ = "one a bar and round again, such as 'C G Am F' or 'C | G Am'; or a file of accompany analyse, edited"
        add("--chords", metavar="TEXT|FILE", help=help_)
        help_ = "times of beats in seconds, the first on a first beat, such as '0.52 1.1 1.71'; or a text file of them"
        add("--taps", metavar="TEXT|FILE", help=help_)
        add_melody_options(add)
    help_ = "above 1 bolder, below 1 safer; the model has its own"
    add("--temperature", type=values.TEMPERATURE, metavar="X", help=help_)
    add("--guidance", type=values.GUIDANCE, metavar="X", help="weight of the prompt; 1 is none; the model has its own")
    add("--follow", type=values.FOLLOW, metavar="X", help="weight of voice and plan, times the model's own (default 1)")
    add("--like", type=values.RECORDING, metavar="FILE", help="a recording whose style is wanted")
    help_ = "0 is the prompt alone, 1 the recording alone (default 1)"
    add("--like-strength", type=values.STRENGTH, metavar="X", help=help_)


def add_melody_options(add: Callable[..., Any]) -> None:
    """Notes that are known."""
    help_ = "MIDI file of the sung notes, when you have it: beats and chords then follow these"
    add("--melody", type=values.MELODY, metavar="FILE", help=help_)
    help_ = "with --melody: its track (default: the only one, or the highest with one note at a time)"
    add("--melody-track", type=values.TRACK, metavar="NAME", help=help_)


def add_take_options(parser: argparse.ArgumentParser) -> None:
    """How many takes, and what is written beside them."""
    add = parser.add_argument_group("songs, takes, and files beside them").add_argument
    help_ = "make N, the best fit first, the scores shown (default 1)"
    add("--takes", type=values.TAKES, default=1, metavar="N", help=help_)
    help_ = "keep everything in a new folder, for retake, vary, extend and undo"
    add("--project", type=values.NEW_PROJECT, metavar="DIR", help=help_)
    add("--settings", action="store_true", help="also write <stem>.settings.json, which accompany remake takes")
    add("--plot", action="store_true", help="also write <stem>.png: voice and band with the beat grid")
    add("--midi", action="store_true", help="also write <stem>.mid: tempo map, chords, beats")
    help_ = "VOCALS are songs: take the voice out of each, as <stem>.vocals.wav, and make it a new band (a cover)"
    add("--separate", action="store_true", help=help_)
    help_ = "with --separate: a Demucs model, its name or folder, such as htdemucs (default tiny, which comes with it)"
    add("--separator", type=values.SEPARATOR, metavar="NAME", help=help_)
    help_ = "also write drums, bass and other: a Demucs model, its name or folder"
    add("--stems", type=values.MODEL, metavar="NAME", help=help_)


def add_sound_options(parser: argparse.ArgumentParser) -> None:
    """How files sound and are written."""
    add = parser.add_argument_group("sound of the files").add_argument
    add("--level", type=values.LEVEL_DB, metavar="DB", help="loudness of the band against the voice (default -2)")
    add("--balance", type=values.BALANCE_DB, metavar="DB", help="makes the voice in the mix louder (above 0) or softer")
    add("--lufs", type=values.LOUDNESS, metavar="X", help="integrated loudness by BS.1770, such as -14")
    add("--peak", type=values.PEAK_DB, metavar="DB", help="true peaks stay below this (default -1)")
    add("--eq", metavar="TEXT", help="filters on the band, hz:db or hz:db:q, such as '80:-6, 3000:+2'")
    add("--compress", type=values.SHARE, metavar="X", help="of the band, 0 to 1")
    add("--reverb", type=values.SHARE, metavar="X", help="of the band, 0 to 1")
    add("--rate", type=values.RATE, metavar="HZ", help="sample rate of the files (default: the model's)")
    add("--bits", type=values.BITS, metavar="N", help="16 or 24, dithered, or 32 (floating point)")
    add("--format", choices=("wav", "flac", "mp3", "ogg", "aiff"), metavar="NAME", help="wav, flac, mp3, ogg or aiff")
    help_ = "time stamp of a Broadcast WAV file in seconds, or 'vocal' for that of the vocal"
    add("--start", metavar="X", help=help_)


def add_studio(commands: Any, command: Command, add_model: AddModel) -> None:
    """The commands beside generate."""
    _add_analyse(commands, command, add_model)
    _add_edits(commands, command)
    help_ = "make a take again from its settings file, bit by bit"
    parser = command(commands, "remake", help_, "accompany remake vocals.settings.json -o again.wav")
    parser.add_argument("file", type=values.SETTINGS, metavar="FILE", help="what generate --settings wrote")
    help_ = "a sound file (default <stem>.remade.wav)"
    parser.add_argument("-o", "--out", type=values.OUTPUT, metavar="PATH", help=help_)
    parser.add_argument("--mix", action="store_true", help="also write the mix beside it")
    _add_device(parser)
    example = "accompany completion bash > ~/.local/share/bash-completion/completions/accompany"
    parser = command(commands, "completion", "print completion for a shell", example)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def _add_analyse(commands: Any, command: Command, add_model: AddModel) -> None:
    example = "accompany analyse vocals.wav && accompany generate vocals.wav --chords vocals.analysis.json"
    more = """The JSON file can be edited. What has "locked": true is played as it stands; what is set to
false is heard again around it. Sections are guesses from form and level.

"""
    help_ = "hear tempo, beats, key, chords, sections and notes of a vocal"
    parser = command(commands, "analyse", help_, example)
    parser.epilog = more + (parser.epilog or "")
    add = parser.add_argument
    add("vocals", type=values.RECORDING, metavar="VOCALS", help="a recording of singing")
    help_ = "JSON file (default <stem>.analysis.json; the picture goes beside it)"
    add("-o", "--out", type=values.OUTPUT, metavar="FILE", help=help_)
    add("--no-picture", action="store_true", help="only the JSON file")
    add("--bpm", type=values.BPM, metavar="X", help="tempo, when you know it")
    add("--key", metavar="KEY", help="key, when you know it")
    add("--chords", metavar="TEXT|FILE", help="as in generate")
    add("--taps", metavar="TEXT|FILE", help="as in generate")
    add_melody_options(add)
    add("--midi", action="store_true", help="also write <stem>.notes.mid: tempo map, chords, beats, sung notes")
    add_model(parser)
    add("--json", action="store_true", help="print the analysis as the last line of stdout too")


def _add_edits(commands: Any, command: Command) -> None:
    example = "accompany retake song --from 16 --to 24 -p 'drums alone'\n  accompany retake song --bars 9 16"
    parser = command(commands, "retake", "make a region of a project's take again", example)
    _add_project(parser)
    add = parser.add_argument
    add("--from", dest="first", type=values.TIME_S, metavar="S", help="where the region begins, in seconds")
    add("--to", dest="last", type=values.TIME_S, metavar="S", help="where it ends")
    add("--bars", type=values.BAR, nargs=2, metavar=("A", "B"), help="the region as bars, from 1, both included")
    add("-p", "--prompt", help="style of the region (default: that of the take)")
    add_control_options(parser, seed=True)
    example = "accompany vary song --strength 0.3"
    parser = command(commands, "vary", "make a take like the current one", example)
    _add_project(parser)
    help_ = "share of the beats that is composed anew, 0 to 1 (default 0.5)"
    parser.add_argument("--strength", type=values.STRENGTH, default=0.5, metavar="X", help=help_)
    parser.add_argument("-p", "--prompt", help="another style (default: that of the take)")
    add_control_options(parser, seed=True)
    example = "accompany extend song --before 8 --after 4.5"
    parser = command(commands, "extend", "play on before and after the vocal", example)
    _add_project(parser)
    parser.add_argument("--before", type=values.EXTENSION_S, default=0.0, metavar="S", help="seconds (default 0)")
    parser.add_argument("--after", type=values.EXTENSION_S, default=0.0, metavar="S", help="seconds (default 0)")
    parser.add_argument("-p", "--prompt", help="style of what is added (default: that of the take)")
    add_control_options(parser, seed=True)
    parser = command(commands, "undo", "go back to the take before the current one", "accompany undo song")
    _add_project(parser, device=False)
    help_ = "list the takes of a project, or choose one"
    parser = command(commands, "takes", help_, "accompany takes song\n  accompany takes song --choose 0002")
    _add_project(parser, device=False)
    parser.add_argument("--choose", type=values.TAKE, metavar="TAKE", help="make this the current one")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")


def _add_project(parser: argparse.ArgumentParser, device: bool = True) -> None:
    parser.add_argument("project", type=values.PROJECT, metavar="PROJECT", help="folder that generate --project made")
    if device:
        _add_device(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.set_defaults(precision="auto")
