"""Options of the controls of a generation, from `accompany.generation.settings.CONTROLS`, and of how files sound."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands import values
from accompany.errors import InputError
from accompany.generation.settings import CONTROLS, Settings
from accompany.sound.options import Sound

if TYPE_CHECKING:
    from accompany.commands.outputs import Output
    from accompany.generation.analysis import Analysis

PLAN_CONTROLS = ("bpm", "key", "chords", "taps", "metre", "melody", "reading")
EDIT_CONTROLS = ("temperature", "guidance", "follow", "like", "like_strength", "mute")
PLAY_CONTROLS = (*PLAN_CONTROLS, *EDIT_CONTROLS)


@dataclass(frozen=True)
class Controls:
    """What a command line asks of a generation, checked.

    Attributes:
        settings: all of it; the embedding of `like` is a placeholder, since it takes a model.
        options: what was given, by name, as the methods of `Band` take it.
        analysis: the chord file, if one was given.
    """

    settings: Settings
    options: dict[str, Any]
    analysis: Analysis | None


def add_controls(
    parser: argparse.ArgumentParser, names: Sequence[str] = PLAY_CONTROLS, title: str = "what the band plays"
) -> argparse._ArgumentGroup:
    """Add the options of some controls as a group of the help, and return it."""
    group = parser.add_argument_group(title)
    for name in names:
        control = CONTROLS[name]
        help_ = f"{control.help}; or {control.file}" if control.file else control.help
        metavar = f"{control.metavar}|FILE" if control.file else control.metavar
        group.add_argument(f"--{control.option or name}", dest=name, type=_type_of(name), metavar=metavar, help=help_)
        if name == "melody":
            help_ = "with --melody: its track (default: the only one, or the highest with one note at a time)"
            group.add_argument("--melody-track", type=values.TRACK, metavar="NAME", help=help_)
    return group


def read_controls(args: argparse.Namespace) -> Controls:
    """The controls in the arguments. InputError for what can be refused without a model."""
    given = {name: getattr(args, name, None) for name in CONTROLS}
    options = {name: value for name, value in given.items() if value is not None and name != "prompt"}
    analysis = None
    if Path(options.get("chords", "")).suffix.lower() == ".json":
        from accompany.generation.analysis import Analysis

        analysis = Analysis.load(os.path.expanduser(options.pop("chords")))
    if "taps" in options:
        from accompany.commands.given_files import read_taps

        options["taps"] = read_taps(options["taps"])
    if "melody" in options:
        from accompany.commands.given_files import read_melody_file

        options["melody"] = read_melody_file(options["melody"], args.melody_track)
    elif getattr(args, "melody_track", None) is not None:
        raise InputError("--melody-track names a track of the file of --melody; give both, or neither.")
    known = {**options, "plan": analysis.plan} if analysis else options
    settings = Settings(given["prompt"] or "", **{**known, "like": (1.0,)} if "like" in known else known)
    if "like" in options:
        from accompany.audio import info

        options["like"] = os.path.expanduser(options["like"])
        info(options["like"])
    return Controls(settings, options, analysis)


def _type_of(name: str) -> Callable[[str], Any]:
    """What reads the text of an option."""
    control = CONTROLS[name]
    if control.low is not None and control.high is not None:
        if control.whole:
            return values.Whole(name, int(control.low), int(control.high))
        return values.Number(name, control.low, control.high, control.unit)
    return {"like": values.RECORDING, "melody": values.MELODY}.get(name, str)


def add_sound(parser: argparse.ArgumentParser) -> None:
    """How files sound and are written."""
    add = add_controls(parser, ("level_db",), "sound of the files").add_argument
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


def read_sound(args: argparse.Namespace, vocal: str) -> Sound:
    """How files are written, checked; the start may be that of the vocal."""
    start_s = None
    if args.start is not None:
        from accompany.commands.given_files import read_start

        start_s = read_start(args.start, vocal)
    given = {
        "loudness_lufs": args.lufs,
        "peak_dbtp": args.peak,
        "balance_db": args.balance,
        "eq": args.eq,
        "compression": args.compress,
        "reverb": args.reverb,
        "sample_rate": args.rate,
        "bits": args.bits,
        "start_s": start_s,
    }
    return Sound(**{name: value for name, value in given.items() if value is not None})


def check_files(outputs: Sequence[Output], sounds: Sequence[Sound], kind: str | None) -> None:
    """InputError where a file cannot be of the format and depth that are asked for."""
    for output, sound in zip(outputs, sounds, strict=True):
        suffix = output.accompaniment.suffix.lower()
        if kind is not None and suffix != f".{kind}":
            raise InputError(f"--format {kind} and the name {output.accompaniment} do not agree; leave one out.")
        if not sound.changes_nothing:
            from accompany.sound.files import check_format

            check_format(output.accompaniment, sound.sample_rate or 24000, sound.bits, sound.start_s)
