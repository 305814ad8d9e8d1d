"""What a command line gives by a file, or in words that few generations need: taps, a melody, the start of a file."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from accompany.commands import values
from accompany.errors import InputError


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


def read_melody_file(path: str, track: str | None) -> tuple[tuple[float, float, float], ...]:
    """The notes of a MIDI file, as `Settings` takes them."""
    from accompany.sound.midi_melody import read_melody

    return tuple((note.start_s, note.end_s, note.pitch) for note in read_melody(os.path.expanduser(path), track))


def _decoded(content: bytes) -> str:
    """The text of a file in UTF-8 or UTF-16, as editors and shells write it, with a byte order mark or without."""
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return content.decode("utf-16")
    if b"\0" in content[:2]:
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le")
    return content.decode("utf-8-sig")


def read_start(text: str, vocal: str) -> float:
    """The start of a session in seconds, or that of the vocal. InputError for neither."""
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
