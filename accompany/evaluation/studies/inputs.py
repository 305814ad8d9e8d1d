"""What if it is not sung? Melodies of synthetic songs hummed, whistled and played, and how well the band follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from accompany.data.songs.render import render_part
from accompany.data.songs.score import Note, Part
from accompany.data.songs.soundfont import find_soundfont
from accompany.errors import InputError
from accompany.evaluation.metrics import Signal, beat_f
from accompany.evaluation.studies.play import Stage, chosen, mono
from accompany.evaluation.studies.table import Study
from accompany.evaluation.testset import Clip
from accompany.sound.covers import vocal_of
from accompany.sound.separation import BUNDLED, VocalSeparator

INSTRUMENTS = {"piano": 0, "guitar": 25, "violin": 40, "trumpet": 56, "flute": 73}
"""General MIDI programs (from 0) of the instruments that play a melody alone."""

DEFINITIONS = {
    "sung": "the vocal of the song",
    "separated": "the voice that the package's separator takes out of the mix of vocal and true band (a cover)",
    "hummed": "its notes as a soft tone of few harmonics, gliding from note to note, with vibrato",
    "whistled": "its notes two octaves up as one wavering partial with breath",
    **{name: f"its notes on a {name} of the soundfont" for name in INSTRUMENTS},
    "harmony": "Pearson r of smoothed chroma against the true band's",
    "beat F": "of the beats that the judge hears in the band, against the known grid",
    "beats heard": "F of the beats of the plan, against the known grid",
    "fit": "how well the band plays its own plan (`accompany.generation.scores`), with consonance with the melody",
}

_PEAK = 0.5
_CONTROL_HZ = 200
_HUM = (1.0, 0.35, 0.12, 0.05)
_WHISTLE_UP = 24
_SHORTEST_S, _VELOCITY = 0.03, 96


def inputs(stage: Stage, only: Sequence[str] = ()) -> Study:
    """Harmony and beats of the band when the melody of each clip comes as something else than singing.

    Args:
        stage: synthetic songs, whose melodies are known.
        only: these rows alone.

    Raises:
        InputError: melodies are not known, there is no such row, or FluidSynth or a soundfont is missing.
    """
    notes = [melody_of(clip) for clip in stage.clips]
    rate = stage.band.sample_rate
    prompts = [clip.prompt for clip in stage.clips]
    rows: dict[str, dict[str, list[float | None]]] = {}
    for name, make in chosen(_makers(rate), only).items():
        vocals = [_as_loud(make(clip, tune), clip.vocal) for clip, tune in zip(stage.clips, notes, strict=True)]
        takes = [stage.band.scored(take) for take in stage.play(prompts, [{}] * len(prompts), vocals)]
        pairs = list(zip(takes, stage.clips, strict=True))
        rows[name] = {
            "harmony": [stage.harmony(mono(take), clip) for take, clip in pairs],
            "beat F": [stage.beat_f(mono(take), clip) for take, clip in pairs],
            "beats heard": [_plan_f(take.plan.beats_s, clip) for take, clip in pairs],
            "fit": [take.scores["fit"] for take in takes],
        }
    return Study(f"{len(stage.clips)} melodies, sung and otherwise", rows, DEFINITIONS)


def melody_of(clip: Clip) -> tuple[Note, ...]:
    """The notes of a clip. InputError where they are not known."""
    if not clip.notes:
        raise InputError(f"The melody of {clip.name} is not known; give songs of accompany synth.")
    return tuple(Note(start, end, pitch, _VELOCITY) for start, end, pitch in clip.notes if end - start > _SHORTEST_S)


def _makers(rate: int) -> dict[str, Callable[[Clip, tuple[Note, ...]], Signal]]:
    made: dict[str, Callable[[Clip, tuple[Note, ...]], Signal]] = {
        "sung": lambda clip, tune: clip.vocal,
        "separated": lambda clip, tune: _separated(clip),
        "hummed": lambda clip, tune: hum(tune, clip.seconds, rate),
        "whistled": lambda clip, tune: whistle(tune, clip.seconds, rate),
    }
    soundfont = find_soundfont()
    for name, program in INSTRUMENTS.items():
        made[name] = lambda clip, tune, n=name, p=program: _played(tune, n, p, clip.seconds, rate, soundfont)  # type: ignore[misc]
    return made


def _separated(clip: Clip) -> Signal:
    mix = (clip.vocal + clip.truth)[None]
    return np.asarray(vocal_of(mix, clip.sample_rate, _separator(), clip.name)[0], np.float32)


@lru_cache(maxsize=1)
def _separator() -> VocalSeparator:
    return VocalSeparator(BUNDLED)


def hum(notes: tuple[Note, ...], seconds: float, sample_rate: int) -> Signal:
    """A melody hummed: [round(seconds * sample_rate)], peak 0.5."""
    pitch, level = _contours(notes, seconds, sample_rate, glide_s=0.06, vibrato_cents=18.0)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((pitch - 69) / 12)) / sample_rate
    return _peaked(level * sum(weight * np.sin((k + 1) * phase) for k, weight in enumerate(_HUM)))


def whistle(notes: tuple[Note, ...], seconds: float, sample_rate: int) -> Signal:
    """A melody whistled: as `hum`, two octaves up, nearly a sine, with a breath of noise."""
    pitch, level = _contours(notes, seconds, sample_rate, glide_s=0.04, vibrato_cents=12.0)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((pitch + _WHISTLE_UP - 69) / 12)) / sample_rate
    noise = np.random.default_rng(len(notes)).standard_normal(len(phase))
    return _peaked(level * (np.sin(phase) + 0.03 * np.sin(2 * phase) + 0.02 * noise))


def _contours(
    notes: tuple[Note, ...], seconds: float, sample_rate: int, *, glide_s: float, vibrato_cents: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pitch (MIDI) and level [T]: notes joined by glides, attacks of 40 ms, vibrato that grows on long notes."""
    n_control = int(seconds * _CONTROL_HZ) + 2
    grid = np.arange(n_control) / _CONTROL_HZ
    pitch, level = np.full(n_control, 60.0), np.zeros(n_control)
    last = None
    for note in notes:
        inside = (grid >= note.start_s) & (grid < note.end_s)
        since, left = grid[inside] - note.start_s, note.end_s - grid[inside]
        came_from = note.pitch if last is None or note.start_s - last.end_s > 0.2 else last.pitch
        vibrato = vibrato_cents / 100 * np.clip((since - 0.2) / 0.3, 0, 1) * np.sin(2 * np.pi * 5.3 * since)
        pitch[inside] = note.pitch + (came_from - note.pitch) * np.exp(-since / (glide_s / 3)) + vibrato
        level[inside] = np.clip(since / 0.04, 0, 1) * np.clip(left / 0.05, 0, 1)
        last = note
    at = np.arange(round(seconds * sample_rate)) * (_CONTROL_HZ / sample_rate)
    control = np.arange(n_control)
    return np.interp(at, control, pitch), np.interp(at, control, level)


def _played(
    notes: tuple[Note, ...], name: str, program: int, seconds: float, sample_rate: int, soundfont: Path
) -> Signal:
    part = Part(name, "lead", program, False, notes, 0.0, 0.0, 0.0)
    return _peaked(render_part(part, seconds, sample_rate, soundfont).mean(axis=0))


def _peaked(sound: Any) -> Signal:
    made = np.asarray(sound, np.float64)
    return np.asarray(made * (_PEAK / max(float(np.abs(made).max(initial=0.0)), 1e-9)), np.float32)


def _as_loud(sound: Signal, vocal: Signal) -> Signal:
    """The sound at the vocal's level."""
    levels = [float(np.sqrt(np.mean(np.square(each, dtype=np.float64)))) for each in (sound, vocal)]
    return sound * np.float32(levels[1] / max(levels[0], 1e-9))


def _plan_f(beats_s: tuple[float, ...], clip: Clip) -> float | None:
    return beat_f(np.array(beats_s), np.array(clip.beats_s)) if clip.beats_s else None
