"""The band's sound: FluidSynth rendering one part at a time, dry."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from accompany.data.songs.score import Part
from accompany.errors import InputError

_log = logging.getLogger(__name__)
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_BLOCK = 64
"""Samples that FluidSynth makes between looking at events."""
_DRUM_CHANNEL, _DRUM_BANK = 9, 128
_INSTALL = "run `pip install pyfluidsynth` and `apt install libfluidsynth3` (macOS: `brew install fluid-synth`)"
_OFF, _ON = 0, 1


class _Synth:
    """One FluidSynth for one part.

    It serves once: an instance used again lets the last part's notes into the next, so that a song would depend
    on what was rendered before it. A new one costs some 15 ms, since only the samples of the used sound are loaded.
    """

    def __init__(self, part: Part, sample_rate: int, soundfont: Path) -> None:
        self._lib = _library()
        self._part = part
        self._settings = self._function("new_fluid_settings", _POINTER)()
        for name, value in _settings(sample_rate):
            kind = ctypes.c_double if isinstance(value, float) else _INT
            setter = "fluid_settings_setnum" if isinstance(value, float) else "fluid_settings_setint"
            self._function(setter, _INT, _POINTER, ctypes.c_char_p, kind)(self._settings, name.encode(), value)
        self._synth = self._function("new_fluid_synth", _POINTER, _POINTER)(self._settings)
        load = self._function("fluid_synth_sfload", _INT, _POINTER, ctypes.c_char_p, _INT)
        font = load(self._synth, str(soundfont).encode(), 1)
        if font < 0:
            self.close()
            raise InputError(f"FluidSynth cannot read the soundfont '{soundfont}'; is it a complete .sf2 file?")
        self._channel = _DRUM_CHANNEL if part.is_drums else 0
        self._choose_sound(font)

    def _function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        return ctypes.CFUNCTYPE(result, *arguments)((name, self._lib))

    def _choose_sound(self, font: int) -> None:
        """Select the part's program, or the bank's first where the soundfont lacks it."""
        select = self._function("fluid_synth_program_select", _INT, _POINTER, _INT, _INT, _INT, _INT)
        bank = _DRUM_BANK if self._part.is_drums else 0
        if select(self._synth, self._channel, font, bank, self._part.program) != 0:
            _log.warning("The soundfont lacks program %d (%s).", self._part.program, self._part.name)
            select(self._synth, self._channel, font, bank, 0)

    def render(self, n_samples: int, sample_rate: int) -> np.ndarray:
        """[2, n_samples] float32."""
        note_on = self._function("fluid_synth_noteon", _INT, _POINTER, _INT, _INT, _INT)
        note_off = self._function("fluid_synth_noteoff", _INT, _POINTER, _INT, _INT)
        n_blocks = -(-n_samples // _BLOCK)
        audio = np.zeros((2, n_blocks * _BLOCK), np.float32)
        done = 0
        for block, events in groupby(_events(self._part, sample_rate, n_blocks), key=lambda event: event[0]):
            self._write(audio, done, block)
            done = block
            for _, kind, pitch, velocity in events:
                if kind == _ON:
                    note_on(self._synth, self._channel, pitch, velocity)
                else:
                    note_off(self._synth, self._channel, pitch)
        self._write(audio, done, n_blocks)
        return audio[:, :n_samples]

    def _write(self, audio: np.ndarray, done: int, until: int) -> None:
        if until <= done:
            return
        write = self._function(
            "fluid_synth_write_float", _INT, _POINTER, _INT, _POINTER, _INT, _INT, _POINTER, _INT, _INT
        )
        left, right = audio[0].ctypes.data, audio[1].ctypes.data
        write(self._synth, (until - done) * _BLOCK, left, done * _BLOCK, 1, right, done * _BLOCK, 1)

    def close(self) -> None:
        """Give the synthesiser's memory back."""
        self._function("delete_fluid_synth", None, _POINTER)(self._synth)
        self._function("delete_fluid_settings", None, _POINTER)(self._settings)


def _settings(sample_rate: int) -> tuple[tuple[str, int | float], ...]:
    return (
        ("synth.sample-rate", float(sample_rate)),
        ("synth.gain", 0.5),
        ("synth.polyphony", 256),
        ("synth.reverb.active", 0),
        ("synth.chorus.active", 0),
        ("synth.threadsafe-api", 0),
        ("synth.dynamic-sample-loading", 1),
    )


def _events(part: Part, sample_rate: int, n_blocks: int) -> list[tuple[int, int, int, int]]:
    """(block, on or off, pitch, velocity) in order; offs first, so that a repeated note starts anew."""
    events = []
    for note in part.notes:
        first = round(note.start_s * sample_rate / _BLOCK)
        last = max(round(note.end_s * sample_rate / _BLOCK), first + 1)
        pitch, velocity = int(np.clip(round(note.pitch), 0, 127)), int(np.clip(note.velocity, 1, 127))
        if 0 <= first < n_blocks:
            events.append((first, _ON, pitch, velocity))
            events.append((min(last, n_blocks), _OFF, pitch, 0))
    return sorted(events)


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import fluidsynth
    except ImportError as error:
        raise InputError(f"Rendering the band needs FluidSynth ({error}); {_INSTALL}.") from error
    return fluidsynth._fl


def render_part(part: Part, duration_s: float, sample_rate: int, soundfont: Path) -> np.ndarray:
    """What one instrument plays, dry, before pan and gain.

    Args:
        part: its notes and its sound.
        duration_s: length of the result; sound that rings on is cut.
        sample_rate: in Hz, 8,000 to 96,000.
        soundfont: an .sf2 file.

    Returns:
        [2, round(duration_s * sample_rate)] float32.

    Raises:
        InputError: FluidSynth is not installed, or the soundfont is unusable.
    """
    synth = _Synth(part, sample_rate, soundfont)
    try:
        return synth.render(round(duration_s * sample_rate), sample_rate)
    finally:
        synth.close()
