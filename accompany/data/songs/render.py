"""FluidSynth rendering: one dry part at a time."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import cache, lru_cache
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
_ERRORS, _WARNINGS = 1, 2
_LOWEST_RATE = 40_000
"""Below this FluidSynth would fold cymbals back into the band, so it runs at a multiple that is brought down."""


class _Fluid:
    """libfluidsynth with one soundfont, parsed once per process for all synthesisers to borrow."""

    def __init__(self, soundfont: Path) -> None:
        try:
            import fluidsynth
        except ImportError as error:
            raise InputError(f"Rendering the band needs FluidSynth ({error}); {_INSTALL}.") from error
        self._lib = fluidsynth._fl
        # Returning a borrowed soundfont makes FluidSynth warn sixteen times; our own checks report what matters.
        mute = self.function("fluid_set_log_function", _POINTER, _INT, _POINTER, _POINTER)
        for level in (_ERRORS, _WARNINGS):
            mute(level, None, None)
        self._owner = self.new_synth(44_100)
        load = self.function("fluid_synth_sfload", _INT, _POINTER, ctypes.c_char_p, _INT)
        number = load(self._owner[0], str(soundfont).encode(), 0)
        if number < 0:
            raise InputError(f"FluidSynth cannot read the soundfont '{soundfont}'; is it a complete .sf2 file?")
        self.font = self.function("fluid_synth_get_sfont_by_id", _POINTER, _POINTER, _INT)(self._owner[0], number)

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """A C function by name."""
        return ctypes.CFUNCTYPE(result, *arguments)((name, self._lib))

    def new_synth(self, sample_rate: int) -> tuple[int, int]:
        """Addresses of a new synthesiser and of its settings."""
        settings = self.function("new_fluid_settings", _POINTER)()
        for name, value in _settings(sample_rate):
            kind = ctypes.c_double if isinstance(value, float) else _INT
            setter = "fluid_settings_setnum" if isinstance(value, float) else "fluid_settings_setint"
            self.function(setter, _INT, _POINTER, ctypes.c_char_p, kind)(settings, name.encode(), value)
        return self.function("new_fluid_synth", _POINTER, _POINTER)(settings), settings


class _Synth:
    """One FluidSynth for one part.

    It serves once: an instance used again lets the last part's notes into the next, so that a song would depend
    on what was rendered before it. A new one costs about a millisecond, since the soundfont is borrowed.
    """

    def __init__(self, part: Part, sample_rate: int, soundfont: Path, is_kit: bool) -> None:
        self._fluid = _fluid(soundfont)
        self._function = self._fluid.function
        self._part = part
        self._synth, self._settings = self._fluid.new_synth(sample_rate)
        font = self._function("fluid_synth_add_sfont", _INT, _POINTER, _POINTER)(self._synth, self._fluid.font)
        self._channel = _DRUM_CHANNEL if part.is_drums else 0
        self._choose_sound(font, soundfont, is_kit)

    def _choose_sound(self, font: int, soundfont: Path, is_kit: bool) -> None:
        """Select the part's program, or the bank's first where the soundfont lacks it, or the only one of a kit."""
        select = self._function("fluid_synth_program_select", _INT, _POINTER, _INT, _INT, _INT, _INT)
        bank = _DRUM_BANK if self._part.is_drums and not is_kit else 0
        program = 0 if is_kit else self._part.program
        if select(self._synth, self._channel, font, bank, program) != 0:
            _warn_once(soundfont, program, self._part.name)
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
        """Give the synthesiser's memory back, but keep the soundfont."""
        self._function("fluid_synth_remove_sfont", _INT, _POINTER, _POINTER)(self._synth, self._fluid.font)
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


@cache
def _warn_once(soundfont: Path, program: int, name: str) -> None:
    _log.warning("The soundfont %s lacks program %d (%s).", soundfont.name, program, name)


@lru_cache(maxsize=8)
def _fluid(soundfont: Path) -> _Fluid:
    return _Fluid(soundfont)


def render_part(
    part: Part, duration_s: float, sample_rate: int, soundfont: Path, *, is_kit: bool = False
) -> np.ndarray:
    """The dry sound of one part, before pan and gain.

    Args:
        part: its notes and its sound.
        duration_s: length of the result; sound that rings on is cut.
        sample_rate: in Hz, 8,000 to 96,000.
        soundfont: an .sf2 or .sf3 file; is_kit: its only sound is a drum kit.

    Returns:
        [2, round(duration_s * sample_rate)] float32.

    Raises:
        InputError: FluidSynth is not installed, or the soundfont is unusable.
    """
    factor = -(-_LOWEST_RATE // sample_rate)
    n_samples = round(duration_s * sample_rate)
    synth = _Synth(part, sample_rate * factor, soundfont, is_kit)
    try:
        return _lowered(synth.render(n_samples * factor, sample_rate * factor), factor, n_samples)
    finally:
        synth.close()


def _lowered(audio: np.ndarray, factor: int, n_samples: int) -> np.ndarray:
    """[2, n_samples * factor] to [2, n_samples] at a sample rate `factor` times lower."""
    if factor == 1:
        return audio
    import soxr

    lowered = soxr.resample(audio.T, factor, 1, quality="MQ").T[:, :n_samples]
    return np.pad(lowered, ((0, 0), (0, n_samples - lowered.shape[1])))
