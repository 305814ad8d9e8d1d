"""Search for a General MIDI soundfont on this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from accompany.errors import InputError

VARIABLE = "ACCOMPANY_SOUNDFONT"
_SYSTEM = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/default.sf2",
    "/usr/local/share/soundfonts/default.sf2",
    "/opt/homebrew/share/soundfonts/default.sf2",
)


def find_soundfont() -> Path:
    """The soundfont to render with: `ACCOMPANY_SOUNDFONT`, else the system's, else the one in pretty_midi.

    Raises:
        InputError: the variable names no file, or there is no soundfont anywhere.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if Path(chosen).is_file():
            return Path(chosen)
        raise InputError(f"{VARIABLE} names '{chosen}', which is not a file; set it to an .sf2 file or unset it.")
    for candidate in (*_SYSTEM, *_from_pretty_midi()):
        if Path(candidate).is_file():
            return Path(candidate)
    raise InputError(
        "No soundfont was found; run `apt install fluid-soundfont-gm` or `pip install pretty_midi`,"
        f" or set {VARIABLE} to an .sf2 file."
    )


def _from_pretty_midi() -> tuple[str, ...]:
    # Found without the slow import of the package: only this file is needed.
    spec = importlib.util.find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        return ()
    return (str(Path(spec.origin).parent / "TimGM6mb.sf2"),)
