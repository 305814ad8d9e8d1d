"""The band: who plays, what they play, and how human it is."""

from __future__ import annotations

import numpy as np

from accompany.data.songs.bass import play_bass
from accompany.data.songs.comping import play_arpeggio, play_comp, play_pad
from accompany.data.songs.dice import Dice
from accompany.data.songs.form import Form
from accompany.data.songs.groove import Event, play_drums, play_percussion
from accompany.data.songs.instruments import INSTRUMENTS, Instrument
from accompany.data.songs.leads import play_lead
from accompany.data.songs.melody import Tune
from accompany.data.songs.score import Note, Part

_SOFT_DRUMS = frozenset({"brushed drums", "jazz drums", "percussion"})
_TIGHTNESS_S = {"drums": 0.006, "bass": 0.008, "comp": 0.009, "pad": 0.012, "lead": 0.014, "arp": 0.006}
_MACHINES = frozenset({"electronic drums", "808 drums", "synth pluck", "synth bass"})


def arrange(form: Form, tune: Tune, dice: Dice) -> tuple[Part, ...]:
    """Choose a band for the style and write its parts, loudest roles first."""
    cast = _cast(form, dice)
    has_bass = any(role == "bass" for role, _ in cast)
    parts = []
    for role, name in cast:
        instrument = INSTRUMENTS[name]
        events = _play(role, instrument, form, tune, dice, alone=not has_bass)
        part = _perform(role, instrument, events, form, dice)
        if part.notes:
            parts.append(part)
    return tuple(parts)


def _cast(form: Form, dice: Dice) -> list[tuple[str, str]]:
    """(role, instrument) pairs, no instrument twice; sometimes one or two instruments alone."""
    style = form.style
    if dice.chance(0.35 * style.no_drums + 0.02):
        return [("comp", dice.choose(style.comp))]
    cast: list[tuple[str, str]] = []
    if not dice.chance(style.no_drums):
        cast.append(("drums", dice.choose(style.drums)))
    tables = {"bass": style.bass, "comp": style.comp, "pad": style.pad, "lead": style.lead, "arp": style.arp}
    for role, table in tables.items():
        cast.append((role, dice.choose(table)))
    if dice.chance(0.3):
        cast.insert(3, ("comp", dice.choose(style.comp)))
    if cast[0][0] == "drums" and cast[0][1] != "percussion" and dice.chance(0.12):
        cast.append(("drums", "percussion"))
    seen: set[str] = set()
    kept = [(role, name) for role, name in cast if name and not (name in seen or seen.add(name))]  # type: ignore[func-returns-value]
    return kept[:6]


def _play(role: str, instrument: Instrument, form: Form, tune: Tune, dice: Dice, *, alone: bool) -> list[Event]:
    if role == "drums":
        if instrument.name == "percussion" and dice.chance(0.6):
            return play_percussion(form, dice)
        return play_drums(form, dice, soft=instrument.name in _SOFT_DRUMS)
    if role == "bass":
        return play_bass(form, dice, instrument.low, min(instrument.high, instrument.low + 24))
    if role == "pad":
        return play_pad(form, instrument, dice)
    if role == "lead":
        return play_lead(form, instrument, tune, dice)
    if role == "arp":
        return play_arpeggio(form, instrument, dice)
    return play_comp(form, instrument, dice.choose(form.style.comps), dice, alone=alone)


def _perform(role: str, instrument: Instrument, events: list[Event], form: Form, dice: Dice) -> Part:
    notes = _humanise(events, role, instrument, form, dice) if events else ()
    centred = role in ("bass",) or instrument.is_drums
    pan = dice.between(-0.1, 0.1) if centred else dice.between(0.1, 0.6) * dice.pick((-1, 1))
    gain = instrument.gain_db + dice.between(-3.0, 2.0) - (3.0 if role in ("pad", "arp") else 0.0)
    dry = 0.05 if role == "bass" else 0.12
    return Part(
        name=instrument.name, role=role, program=dice.pick(instrument.programs), is_drums=instrument.is_drums,
        notes=notes, pan=pan, gain_db=gain, reverb=dice.between(dry, dry + 0.35),
    )  # fmt: skip


def _humanise(events: list[Event], role: str, instrument: Instrument, form: Form, dice: Dice) -> tuple[Note, ...]:
    """Notes in seconds: loosened in time and velocity, cut to the song, never twice the same pitch at once."""
    table = np.array(events, dtype=np.float64)
    starts = form.time.seconds(np.maximum(table[:, 0], 0.0))
    ends = form.time.seconds(table[:, 0] + table[:, 1])
    tight = 0.001 if instrument.name in _MACHINES else _TIGHTNESS_S[role] * dice.between(0.3, 1.2)
    lag = dice.between(-0.008, 0.014) if instrument.name not in _MACHINES else 0.0
    starts = starts + table[:, 4] + lag + tight * dice.normals(len(table))
    ends = np.maximum(ends + lag, starts + 0.03)
    velocities = np.clip(table[:, 3] + 4.5 * dice.normals(len(table)), 15, 127)
    keep = (ends > 0.02) & (starts < form.duration_s - 0.02)
    order = np.argsort(starts[keep], kind="stable")
    rows = np.stack([np.maximum(starts, 0.0), np.minimum(ends, form.duration_s), table[:, 2], velocities], 1)[keep]
    return _untangle(rows[order])


def _untangle(rows: np.ndarray) -> tuple[Note, ...]:
    """Notes from (start, end, pitch, velocity) rows; a note ends where the next of its pitch begins."""
    following: dict[float, float] = {}
    notes: list[Note] = []
    for start, end, pitch, velocity in reversed(rows.tolist()):
        limit = following.get(pitch, 1e9)
        if limit - start < 0.02:
            continue
        following[pitch] = start
        notes.append(Note(round(start, 5), round(min(end, limit), 5), int(pitch), round(velocity)))
    return tuple(reversed(notes))
