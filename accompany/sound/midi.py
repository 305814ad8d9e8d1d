"""MIDI export of a plan: tempo map, metre, key, chords, beats and sung notes, in time with the sound."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.extras import require
from accompany.errors import InputError
from accompany.music.bars import BeatGrid
from accompany.music.harmony import chord_pitch_classes, key_index
from accompany.music.plan import Plan
from accompany.music.sung_notes import SungNote

TICKS = 480
_MAJOR = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MINOR = ("Cm", "C#m", "Dm", "Ebm", "Em", "Fm", "F#m", "Gm", "G#m", "Am", "Bbm", "Bm")
_CHORD_BASE, _BASS_BASE = 60, 36
_DRUM_CHANNEL, _FIRST_BEAT_NOTE, _BEAT_NOTE = 9, 76, 77
_NOTE_CHANNEL = 1
_SLOWEST_US = 2**24 - 1


def write_midi(
    path: str | os.PathLike[str],
    plan: Plan,
    seconds: float,
    notes: Sequence[SungNote] | None = None,
    sections: Sequence[tuple[float, float, str]] = (),
) -> None:
    """Write a plan as a MIDI file of type 1: tempo and metre, chords (with their names), clicks on the beats.

    Bar lines are where the plan has them: a first bar that is shorter gets a metre of its own.

    Args:
        path: .mid.
        plan: with beats.
        seconds: length of the song.
        notes: also write these as the track `sung notes`, their pitches rounded to semitones.
        sections: (start_s, end_s, name), written as markers.

    Raises:
        InputError: the plan has no beats, or the path cannot be written.
    """
    require("sound", "mido", what="MIDI")
    import mido

    path = Path(path)
    if path.suffix.lower() not in (".mid", ".midi"):
        raise InputError(f"Cannot write {path}: end the name in .mid.")
    if not plan.beats_s:
        raise InputError("There are no beats to write as MIDI: this model plans nothing.")
    grid = BeatGrid(plan, seconds)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    file.tracks.extend(
        [_tempo_track(plan, grid, sections), _chord_track(plan, grid, seconds), _beat_track(plan, grid, seconds)]
    )
    if notes is not None:
        file.tracks.append(_note_track(notes, grid))
    with audio.replacing(path) as temporary:
        file.save(temporary)


def _tick(grid: BeatGrid, time_s: float) -> int:
    """The tick at which a time falls."""
    return round(TICKS * grid.position(time_s))


def _tempo_track(plan: Plan, grid: BeatGrid, sections: Sequence[tuple[float, float, str]]) -> Any:
    import mido

    messages: list[tuple[int, Any]] = [(0, mido.MetaMessage("track_name", name="tempo"))]
    for beat, beats_per_bar in grid.metres:
        metre = mido.MetaMessage("time_signature", numerator=beats_per_bar, denominator=4)
        messages.append((TICKS * beat, metre))
    messages += [(_tick(grid, start_s), mido.MetaMessage("marker", text=name)) for start_s, _, name in sections]
    if plan.key is not None:
        key = key_index(plan.key)
        name = _MINOR[key % 12] if key >= 12 else _MAJOR[key]
        messages.append((0, mido.MetaMessage("key_signature", key=name)))
    # Whole microseconds, rounded as sums, so that no error adds up.
    edges_us = np.round(grid.beats_s * 1e6).astype(int)
    for index, length in enumerate(np.diff(edges_us).tolist()):
        messages.append((TICKS * index, mido.MetaMessage("set_tempo", tempo=min(max(length, 1), _SLOWEST_US))))
    return _track(messages)


def _chord_track(plan: Plan, grid: BeatGrid, seconds: float) -> Any:
    import mido

    messages: list[tuple[int, Any]] = [(0, mido.MetaMessage("track_name", name="chords"))]
    for start_s, end_s, label in plan.chords:
        root, tones, bass = chord_pitch_classes(label)
        first, last = _tick(grid, max(start_s, 0.0)), _tick(grid, min(end_s, seconds))
        if first >= last:
            continue
        messages.append((first, mido.MetaMessage("text", text=label)))
        notes = [] if root is None or bass is None else [_BASS_BASE + bass, *(_CHORD_BASE + tone for tone in tones)]
        messages += [(first, mido.Message("note_on", note=note, velocity=70)) for note in sorted(notes)]
        messages += [(last, mido.Message("note_off", note=note, velocity=0)) for note in sorted(notes)]
    return _track(messages)


def _beat_track(plan: Plan, grid: BeatGrid, seconds: float) -> Any:
    import mido

    strong = {round(time, 3) for time in plan.downbeats_s}
    messages: list[tuple[int, Any]] = [(0, mido.MetaMessage("track_name", name="beats"))]
    for time_s in plan.beats_s:
        if not 0 <= time_s < seconds:
            continue
        note = _FIRST_BEAT_NOTE if round(time_s, 3) in strong else _BEAT_NOTE
        tick = _tick(grid, time_s)
        on = mido.Message("note_on", channel=_DRUM_CHANNEL, note=note, velocity=100)
        off = mido.Message("note_off", channel=_DRUM_CHANNEL, note=note, velocity=0)
        messages += [(tick, on), (tick + TICKS // 8, off)]
    return _track(messages)


def _note_track(notes: Sequence[SungNote], grid: BeatGrid) -> Any:
    import mido

    messages: list[tuple[int, Any]] = [(0, mido.MetaMessage("track_name", name="sung notes"))]
    for note in notes:
        pitch, first, last = round(note.pitch), _tick(grid, note.start_s), _tick(grid, note.end_s)
        on = mido.Message("note_on", channel=_NOTE_CHANNEL, note=pitch, velocity=1 + round(126 * note.confidence))
        off = mido.Message("note_off", channel=_NOTE_CHANNEL, note=pitch, velocity=0)
        messages += [(first, on), (max(last, first + 1), off)]
    return _track(messages)


def _track(messages: list[tuple[int, Any]]) -> Any:
    """A track of messages at absolute ticks; what ends at a tick comes before what begins there."""
    import mido

    track, now = mido.MidiTrack(), 0
    for tick, message in sorted(messages, key=lambda pair: (pair[0], pair[1].type == "note_on")):
        track.append(message.copy(time=tick - now))
        now = tick
    return track
