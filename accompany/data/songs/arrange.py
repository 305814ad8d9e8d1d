"""Arrangement: instruments of a band, their parts, and humanised timing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from accompany.data.songs.bass import play_bass
from accompany.data.songs.comping import play_arpeggio, play_comp, play_pad
from accompany.data.songs.drum_patterns import CRASH, KICK
from accompany.data.songs.form import Form
from accompany.data.songs.groove import Event, play_drums, play_percussion
from accompany.data.songs.instruments import INSTRUMENTS, Instrument
from accompany.data.songs.leads import play_lead
from accompany.data.songs.melody import Tune
from accompany.data.songs.rng import Rng
from accompany.data.songs.score import Note, Part
from accompany.data.songs.styles import STYLES

_STRANGERS = 0.2
_SOFT_DRUMS = frozenset({"brushed drums", "jazz drums", "percussion"})
_TIGHTNESS_S = {"drums": 0.006, "bass": 0.008, "comp": 0.009, "pad": 0.012, "lead": 0.014, "arp": 0.006}
_MACHINES = frozenset({"electronic drums", "808 drums", "synth pluck", "synth bass"})


_KEYS = {
    "piano": 6.0, "electric piano": 1.0, "upright piano": 1.0, "DX electric piano": 0.5, "harp": 0.4,
    "nylon guitar": 0.4, "organ": 0.3,
}  # fmt: skip
"""Instruments for a written piano part, with weights."""
_KEPT = 0.75
_AS_WRITTEN = "as written"


@dataclass(frozen=True)
class Written:
    """Given parts that the band plays unchanged.

    Attributes:
        piano: a piano part, which three bands of four keep; lead: a second melody, for bands with a lead instrument.
        drums: makes the part of a drummer (machines and hand percussion play patterns), or None where it has nothing
            that suits the song; given the plan, whether the drums are soft, and random draws.
        alone: chance that the piano plays without a band.
    """

    piano: tuple[Event, ...] = ()
    lead: tuple[Event, ...] = ()
    drums: Callable[[Form, bool, Rng], list[Event] | None] | None = None
    alone: float = 0.0


NOTHING_WRITTEN = Written()


@dataclass(frozen=True)
class Arrangement:
    """The parts of a song, and by instrument the name of the pattern that it plays ("walking", "strum", ...)."""

    parts: tuple[Part, ...]
    playing: dict[str, str]


def arrange(form: Form, tune: Tune, rng: Rng, written: Written = NOTHING_WRITTEN) -> Arrangement:
    """Choose a band for the style and write its parts: drums, bass, chords, then the rest."""
    cast = _cast(form, rng)
    pianist = ""
    if written.piano and rng.chance(_KEPT):
        pianist = rng.choose(_KEYS)
        cast = _with_pianist(cast, pianist, alone=rng.chance(written.alone))
    has_bass = any(role == "bass" for role, _ in cast)
    parts: list[Part] = []
    playing: dict[str, str] = {}
    for role, name in cast:
        instrument = INSTRUMENTS[name]
        pattern = _pattern(role, form, rng)
        events = _play(role, instrument, pattern, form, tune, rng, alone=not has_bass)
        known = _known(role, instrument, form, written, rng) if name != pianist else list(written.piano)
        if known is not None:
            events, pattern = known, _AS_WRITTEN
        if not instrument.is_drums and name != pianist:
            events = _without_silences(events, form)
        part = _perform(role, instrument, _until_end(events, form, is_drums=instrument.is_drums), form, rng)
        if part.notes:
            parts.append(part)
            playing[name] = pattern
    return Arrangement(tuple(parts), playing)


def _pattern(role: str, form: Form, rng: Rng) -> str:
    """The pattern that a part plays: grooves for drums, lines for the bass, rhythms for chords."""
    style = form.style
    table = {"drums": style.grooves, "bass": style.basses, "comp": style.comps}.get(role)
    return rng.choose(table) if table else role


def _with_pianist(cast: list[tuple[str, str]], pianist: str, *, alone: bool) -> list[tuple[str, str]]:
    """The cast with the pianist as its first player of chords."""
    if alone or len(cast) == 1:
        return [("comp", pianist)]
    others = [(role, name) for role, name in cast if name != pianist]
    first = next((index for index, (role, _) in enumerate(others) if role == "comp"), None)
    if first is None:
        return [*others[:5], ("comp", pianist)]
    return [*others[:first], ("comp", pianist), *others[first + 1 :]]


def _known(role: str, instrument: Instrument, form: Form, written: Written, rng: Rng) -> list[Event] | None:
    """The written part of a player besides the piano; None for none."""
    if role == "lead" and written.lead:
        return list(written.lead)
    if role == "drums" and written.drums is not None and instrument.name not in {"percussion", *_MACHINES}:
        return written.drums(form, instrument.name in _SOFT_DRUMS, rng)
    return None


def _without_silences(events: list[Event], form: Form) -> list[Event]:
    """The events outside of the spans without a chord; what rings into one ends there."""
    for span in form.harmony.spans:
        if span.silent:
            events = [
                event._replace(length=span.start - event.start)
                if event.start < span.start < event.start + event.length
                else event
                for event in events
                if not span.start - 1e-6 <= event.start < span.end - 1e-6
            ]
    return events


def _until_end(events: list[Event], form: Form, *, is_drums: bool) -> list[Event]:
    """Nothing after the last beat of a song that ends; what falls on it rings."""
    end = form.end_beat
    if end is None:
        return events
    kept = [event for event in events if event.start < end - 0.05]
    rest = [event for event in events if abs(event.start - end) <= 0.05]
    if is_drums:
        return [*kept, Event(end, 2.0, CRASH, 95), Event(end, 0.3, KICK, 100)] if kept else []
    return kept + [event._replace(length=float(form.metre.beats)) for event in rest]


def _cast(form: Form, rng: Rng) -> list[tuple[str, str]]:
    """(role, instrument) pairs, no instrument twice; sometimes one or two instruments alone."""
    style = form.style
    if rng.chance(0.22 * style.no_drums + 0.02):
        return [("comp", _hire(style.comp, "comp", rng))]
    cast: list[tuple[str, str]] = []
    if not rng.chance(0.75 * style.no_drums):
        cast.append(("drums", _hire(style.drums, "drums", rng)))
    tables = {"bass": style.bass, "comp": style.comp, "pad": style.pad, "lead": style.lead, "arp": style.arp}
    for role, table in tables.items():
        cast.append((role, _hire(table, role, rng)))
    if rng.chance(0.3):
        cast.insert(3, ("comp", _hire(style.comp, "comp", rng)))
    if cast[0][0] == "drums" and cast[0][1] != "percussion" and rng.chance(0.12):
        cast.append(("drums", "percussion"))
    roles = {name: role for role, name in reversed(cast) if name}
    kept = dict.fromkeys((roles[name], name) for _, name in cast if name)
    return list(kept)[:6]


@lru_cache(maxsize=1)
def _market() -> dict[str, dict[str, float]]:
    """Everybody who plays a role in any style, so that captions must be heeded and not guessed from the style."""
    market: dict[str, dict[str, float]] = {}
    for style in STYLES.values():
        tables = {"drums": style.drums, "bass": style.bass, "comp": style.comp, "pad": style.pad}
        for role, table in {**tables, "lead": style.lead, "arp": style.arp}.items():
            market.setdefault(role, {}).update({name: 1.0 for name in table if name})
    return market


def _hire(table: dict[str, float], role: str, rng: Rng) -> str:
    """An instrument for a role, mostly a usual one of the style; "" for nobody."""
    name = rng.choose(table)
    return rng.choose(_market()[role]) if name and rng.chance(_STRANGERS) else name


def _play(
    role: str, instrument: Instrument, pattern: str, form: Form, tune: Tune, rng: Rng, *, alone: bool
) -> list[Event]:
    if role == "drums":
        if instrument.name == "percussion" and rng.chance(0.6):
            return play_percussion(form, rng)
        return play_drums(form, pattern, rng, soft=instrument.name in _SOFT_DRUMS)
    if role == "bass":
        return play_bass(form, pattern, rng, instrument.low, min(instrument.high, instrument.low + 24))
    if role == "pad":
        return play_pad(form, instrument, rng)
    if role == "lead":
        return play_lead(form, instrument, tune, rng)
    if role == "arp":
        return play_arpeggio(form, instrument, rng)
    return play_comp(form, instrument, pattern, rng, alone=alone)


def _perform(role: str, instrument: Instrument, events: list[Event], form: Form, rng: Rng) -> Part:
    notes = _humanise(events, role, instrument, form, rng) if events else ()
    centred = role == "bass" or instrument.is_drums
    pan = rng.between(-0.1, 0.1) if centred else rng.between(0.1, 0.6) * rng.pick((-1, 1))
    gain = instrument.gain_db + rng.between(-3.0, 2.0) - (3.0 if role in ("pad", "arp") else 0.0)
    dry = 0.05 if role == "bass" else 0.12
    return Part(
        name=instrument.name, role=role, program=rng.pick(instrument.programs), is_drums=instrument.is_drums,
        notes=notes, pan=pan, gain_db=gain, reverb=rng.between(dry, dry + 0.35),
    )  # fmt: skip


def _humanise(events: list[Event], role: str, instrument: Instrument, form: Form, rng: Rng) -> tuple[Note, ...]:
    """Notes in seconds: loosened in time and velocity, cut to the song, never twice the same pitch at once."""
    table = np.array(events, dtype=np.float64)
    starts = form.time.seconds(np.maximum(table[:, 0], 0.0))
    ends = form.time.seconds(table[:, 0] + table[:, 1])
    tight = 0.001 if instrument.name in _MACHINES else _TIGHTNESS_S[role] * rng.between(0.3, 1.2)
    lag = rng.between(-0.008, 0.014) if instrument.name not in _MACHINES else 0.0
    starts = starts + table[:, 4] + lag + tight * rng.normals(len(table))
    ends = np.maximum(ends + lag, starts + 0.03)
    velocities = np.clip(table[:, 3] + 4.5 * rng.normals(len(table)), 15, 127)
    keep = (ends > 0.02) & (starts < form.duration_s - 0.02)
    order = np.argsort(starts[keep], kind="stable")
    rows = np.stack([np.maximum(starts, 0.0), np.minimum(ends, form.duration_s), table[:, 2], velocities], 1)[keep]
    return _untangle(rows[order], single=role == "bass")


def _untangle(rows: np.ndarray, *, single: bool) -> tuple[Note, ...]:
    """Notes from (start, end, pitch, velocity) rows; a note ends where the next of its pitch (or any) begins."""
    following: dict[float, float] = {}
    notes: list[Note] = []
    for start, end, pitch, velocity in reversed(rows.tolist()):
        pitch_or_any = 0.0 if single else pitch
        limit = following.get(pitch_or_any, 1e9)
        if limit - start < 0.02:
            continue
        following[pitch_or_any] = start
        notes.append(Note(round(start, 5), round(min(end, limit), 5), int(pitch), round(velocity)))
    return tuple(reversed(notes))
