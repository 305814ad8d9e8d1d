"""Options of how files sound and are written, and their reading."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from accompany.commands import values
from accompany.commands.controls import add_controls
from accompany.errors import InputError
from accompany.sound.options import check_format

if TYPE_CHECKING:
    from accompany.commands.outputs import Output
    from accompany.sound import Sound


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
    from accompany.sound import Sound

    given = {
        "loudness_lufs": args.lufs,
        "peak_dbtp": args.peak,
        "balance_db": args.balance,
        "eq": args.eq,
        "compression": args.compress,
        "reverb": args.reverb,
        "sample_rate": args.rate,
        "bits": args.bits,
        "start_s": _start(args.start, vocal),
    }
    return Sound(**{name: value for name, value in given.items() if value is not None})


def check_files(outputs: Sequence[Output], sounds: Sequence[Sound], kind: str | None) -> None:
    """InputError where a file cannot be of the format and depth that are asked for."""
    for output, sound in zip(outputs, sounds, strict=True):
        suffix = output.accompaniment.suffix.lower()
        if kind is not None and suffix != f".{kind}":
            raise InputError(f"--format {kind} and the name {output.accompaniment} do not agree; leave one out.")
        if not sound.changes_nothing:
            check_format(output.accompaniment, sound.sample_rate or 24000, sound.bits, sound.start_s)


def _start(text: str | None, vocal: str) -> float | None:
    if text is None:
        return None
    if text == "vocal":
        from accompany.sound.files import start_of

        start_s = start_of(vocal)
        if start_s is None:
            raise InputError(f"{vocal} has no time stamp; give --start in seconds.")
        return start_s
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"--start {text} must be seconds, or 'vocal' for the time stamp of the vocal.") from error
