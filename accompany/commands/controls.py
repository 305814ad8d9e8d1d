"""Options of the controls of a generation, made from `accompany.generation.settings.CONTROLS`, and their reading."""

from __future__ import annotations

import argparse
import codecs
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accompany.commands import values
from accompany.errors import InputError
from accompany.generation.settings import CONTROLS, Settings

if TYPE_CHECKING:
    from accompany.generation.analysis import Analysis

PLAN_CONTROLS = ("bpm", "key", "chords", "taps", "melody")
PLAY_CONTROLS = (*PLAN_CONTROLS, "temperature", "guidance", "follow", "like", "like_strength")
EDIT_CONTROLS = ("temperature", "guidance", "follow", "like", "like_strength")


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
        options["taps"] = read_taps(options["taps"])
    if "melody" in options:
        options["melody"] = _read_melody(options["melody"], args.melody_track)
    elif getattr(args, "melody_track", None) is not None:
        raise InputError("--melody-track names a track of the file of --melody; give both, or neither.")
    known = {**options, "plan": analysis.plan} if analysis else options
    settings = Settings(given["prompt"] or "", **{**known, "like": (1.0,)} if "like" in known else known)
    if "like" in options:
        from accompany.audio import info

        options["like"] = os.path.expanduser(options["like"])
        info(options["like"])
    return Controls(settings, options, analysis)


def read_taps(text: str) -> tuple[float, ...]:
    """Times in an argument, or in the file that it names. InputError for what is no number."""
    shown = values.shortened(text)
    try:
        path = Path(os.path.expanduser(text))
        is_file = path.is_file()
    except (OSError, ValueError):  # a list too long for a name, or with characters that no name has
        is_file = False
    try:
        words = (_decoded(path.read_bytes()) if is_file else text).replace(",", " ").split()
        return tuple(map(float, words))
    except OSError as error:
        raise InputError(f"Cannot read {shown} ({error.strerror}); check its permissions.") from error
    except ValueError as error:
        raise InputError(f"The taps '{shown}' must be times in seconds, or a text file of them.") from error


def _read_melody(path: str, track: str | None) -> tuple[tuple[float, float, float], ...]:
    """The notes of a MIDI file, as `Settings` takes them."""
    from accompany.sound.midi_melody import read_melody

    return tuple((note.start_s, note.end_s, note.pitch) for note in read_melody(os.path.expanduser(path), track))


def _type_of(name: str) -> Callable[[str], Any]:
    """What reads the text of an option."""
    control = CONTROLS[name]
    if control.low is not None and control.high is not None:
        return values.Number(name, control.low, control.high, control.unit)
    return {"like": values.RECORDING, "melody": values.MELODY}.get(name, str)


def _decoded(content: bytes) -> str:
    """The text of a file in UTF-8 or UTF-16, as editors and shells write it, with a byte order mark or without."""
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return content.decode("utf-16")
    if b"\0" in content[:2]:
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le")
    return content.decode("utf-8-sig")
