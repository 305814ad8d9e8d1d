"""Third-party MIDI files, read with pretty_midi within size limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accompany.data.scores.lead_sheet import Unreadable
from accompany.errors import InputError

LARGEST_MIDI = 4 << 20


def read_midi(path: Path) -> Any:
    """A `pretty_midi.PrettyMIDI`.

    Raises:
        InputError: pretty_midi is not installed.
        Unreadable: missing, too large or damaged.
    """
    try:
        import pretty_midi
    except ImportError as error:
        raise InputError(f"Reading MIDI scores needs pretty_midi ({error}); run `pip install pretty_midi`.") from error
    try:
        if path.stat().st_size > LARGEST_MIDI:
            raise Unreadable(f"a MIDI file of over {LARGEST_MIDI >> 20} MiB")
        return pretty_midi.PrettyMIDI(str(path))
    except Unreadable:
        raise
    # A damaged file fails in pretty_midi and mido in many ways, from IndexError to their own.
    except Exception as error:
        raise Unreadable(f"no readable MIDI file ({type(error).__name__}: {error})") from error
