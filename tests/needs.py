"""What a machine may lack beside Python: tests that need it are skipped, with the reason.

`@needs("fluidsynth")` marks a test, `need("fluidsynth")` skips from inside of one.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from functools import lru_cache

import pytest

from accompany.errors import InputError

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")


def needs(*names: str) -> pytest.MarkDecorator:
    """A mark for tests that need all of these."""
    reason = _reasons(names)
    return pytest.mark.skipif(bool(reason), reason=reason or "all there")


def need(*names: str) -> None:
    """Skip the running test where one of these is missing."""
    if reason := _reasons(names):
        pytest.skip(reason)


def _reasons(names: tuple[str, ...]) -> str:
    return "; ".join(filter(None, map(_missing, names)))


@lru_cache
def _missing(name: str) -> str:
    """Why a thing cannot be used here; empty where it can."""
    return _LOOKS[name]()


def _fluidsynth() -> str:
    from accompany.data.songs.soundfont import find_soundfont

    try:
        importlib.import_module("fluidsynth")  # which looks for the library
        find_soundfont()
    except (ImportError, OSError, AttributeError, InputError) as error:
        return f"needs FluidSynth and a soundfont: apt install fluidsynth ({error})"
    return ""


def _espeak() -> str:
    from accompany.data.songs.espeak import speak

    try:
        speak("la", "en-us")
    except InputError as error:
        return f"needs espeak-ng: pip install 'accompany[synth]' ({error})"
    return ""


def _ffmpeg() -> str:
    return "" if shutil.which("ffmpeg") else "needs ffmpeg: apt install ffmpeg"


def _chromium() -> str:
    return "" if CHROMIUM else "needs Chromium: apt install chromium"


_LOOKS: dict[str, Callable[[], str]] = {
    "fluidsynth": _fluidsynth,
    "espeak": _espeak,
    "ffmpeg": _ffmpeg,
    "chromium": _chromium,
}
