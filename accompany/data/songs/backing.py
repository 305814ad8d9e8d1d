"""Backing vocals: a second voice in thirds and sixths with the tune."""

from __future__ import annotations

from dataclasses import replace

from accompany.data.songs.form import Form
from accompany.data.songs.melody import Tune, TuneNote
from accompany.data.songs.pitches import sung_scale
from accompany.data.songs.rng import Rng

_ABOVE, _BELOW = (3, 4, 5, 7), (-3, -4, -5, -8, -9)


def write_backing(form: Form, tune: Tune, rng: Rng) -> dict[int, TuneNote]:
    """The second voice of a song by index of the tune's note: mostly nothing, else in choruses or throughout."""
    if not rng.chance(0.25):
        return {}
    everywhere = rng.chance(0.3)
    steps = _ABOVE if rng.chance(0.7) else _BELOW
    voice: dict[int, TuneNote] = {}
    last = tune.notes[0].pitch + steps[0] if tune.notes else 0
    for index, note in enumerate(tune.notes):
        if not everywhere and form.section_at(note.start).name not in ("chorus", "prechorus"):
            continue
        last = _partner(form, note, steps, last)
        voice[index] = replace(note, pitch=last)
    return voice


def _partner(form: Form, note: TuneNote, steps: tuple[int, ...], last: int) -> int:
    """The pitch beside a note: in the scale, of the chord where the note is long, near the one before."""
    chord = form.harmony.at(note.start + 0.3 * min(note.length, 1.0)).pitch_classes
    scale = sung_scale(form, note.start)
    options = [note.pitch + step for step in steps if (note.pitch + step) % 12 in scale]
    if not options:
        return note.pitch + steps[0]
    weight = 4.0 if note.length >= 0.5 else 2.0
    return min(options, key=lambda p: abs(p - last) + abs(p - note.pitch) * 0.3 + weight * (p % 12 not in chord))
