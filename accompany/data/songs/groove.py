"""Drum grooves as strings of steps, with fills, crashes and small variations."""

from __future__ import annotations

from typing import NamedTuple

from accompany.data.songs.drum_patterns import (
    BY_METRE,
    CONGA_HIGH,
    CONGA_LOW,
    CONGA_MUTE,
    CRASH,
    FOUR,
    HAT,
    KICK,
    RIDE,
    SHAKER,
    SNARE,
    STICK,
    TAMBOURINE,
    TOMS,
    Groove,
)
from accompany.data.songs.form import Form
from accompany.data.songs.grid import Section
from accompany.data.songs.rng import Rng


class Event(NamedTuple):
    """A note on the beat grid: start and length in beats, MIDI pitch, velocity, and a shift in seconds."""

    start: float
    length: float
    pitch: int
    velocity: float
    lag_s: float = 0.0


_VELOCITY = {"x": 92.0, "X": 112.0, "g": 42.0, "s": 70.0}


def play_drums(form: Form, base: str, rng: Rng, *, soft: bool) -> list[Event]:
    """The drum part of a song: a groove for each kind of section, fills before the next one, crashes after.

    Args:
        form: the song's plan.
        base: name of the groove, for 4/4.
        rng: random draws.
        soft: brushes and hand drums: no crashes, quiet fills.
    """
    grooves: dict[str, Groove] = {}
    events: list[Event] = []
    fills = rng.chance(0.85)
    quiet_intro = rng.chance(0.5)
    for index, section in enumerate(form.sections):
        if section.name == "intro" and quiet_intro:
            continue
        if section.name not in grooves:
            grooves[section.name] = _groove(form, section, base, rng)
        groove = grooves[section.name]
        if index and not soft and section.intensity > 0.6 and rng.chance(0.7):
            events.append(Event(section.start_bar * form.metre.beats, 2.0, CRASH, 100))
        for bar in range(section.bars):
            fill = fills and bar == section.bars - 1 and rng.chance(0.7)
            fill = fill or (bar % 4 == 3 and rng.chance(0.12))
            events += _bar(form, section, section.start_bar + bar, groove, rng, fill=fill, soft=soft)
    return _clean(events)


def _groove(form: Form, section: Section, base: str, rng: Rng) -> Groove:
    if form.metre.label != "4/4":
        return rng.pick(BY_METRE[form.metre.label])
    groove = rng.pick(FOUR[base])
    if section.intensity > 0.75 and rng.chance(0.4):
        groove = tuple((RIDE if pitch == HAT else pitch, steps) for pitch, steps in groove)
    if section.intensity < 0.45 and rng.chance(0.4):
        groove = tuple((STICK if pitch == SNARE else pitch, steps) for pitch, steps in groove)
    return groove


def _bar(form: Form, section: Section, bar: int, groove: Groove, rng: Rng, *, fill: bool, soft: bool) -> list[Event]:
    beats, steps = form.metre.beats, form.metre.steps
    origin = bar * beats
    stop = beats - rng.pick((1, 1, 2)) if fill else beats
    level = 0.75 + 0.3 * section.intensity
    events: list[Event] = []
    for pitch, line in groove:
        for step, mark in enumerate(line):
            at = step / steps
            if mark == "." or at >= stop or (mark == "g" and rng.chance(0.25)):
                continue
            if pitch == KICK and step and rng.chance(0.04):
                continue
            events.append(Event(origin + at, 0.2, pitch, _VELOCITY[mark.lower() if soft else mark] * level))
    if rng.chance(0.08):
        step = rng.integer(1, beats * steps - 1)
        events.append(Event(origin + step / steps, 0.2, KICK, 70 * level))
    if fill:
        events += _fill(origin + stop, origin + beats, steps, level, rng, soft=soft)
    return events


def _fill(start: float, end: float, steps: int, level: float, rng: Rng, *, soft: bool) -> list[Event]:
    """A fill over the last beat or two: snare, then down the toms."""
    count = round((end - start) * steps)
    kind = rng.pick(("toms", "snare", "mixed"))
    events: list[Event] = []
    for index in range(count):
        if steps == 4 and index % 2 and rng.chance(0.4):
            continue
        share = index / count
        tom = TOMS[min(5, int(share * 5))]
        pitch = SNARE if kind == "snare" or (kind == "mixed" and share < 0.4) else tom
        velocity = (58 if soft else 80) + 25 * share
        events.append(Event(start + index / steps, 0.2, pitch, velocity * level))
    events.append(Event(start, 0.2, KICK, 85 * level))
    return events


def play_percussion(form: Form, rng: Rng) -> list[Event]:
    """Shaker, tambourine or congas that stay the same through a song."""
    kind = rng.pick(("shaker", "tambourine", "congas"))
    steps, beats = form.metre.steps, form.metre.beats
    events: list[Event] = []
    for bar in range(form.n_bars):
        if form.section_at(bar * beats).name == "intro":
            continue
        for step in range(beats * steps):
            event = _percussion_hit(kind, step, steps, beats)
            if event is not None:
                events.append(Event(bar * beats + step / steps, 0.15, *event))
    return events


def _percussion_hit(kind: str, step: int, steps: int, beats: int) -> tuple[int, float] | None:
    on_beat = step % steps == 0
    if kind == "shaker":
        return SHAKER, 70.0 if on_beat else 45.0
    if kind == "tambourine":
        backbeat = on_beat and (step // steps) % 2 == 1
        return (TAMBOURINE, 80.0) if backbeat or (beats == 3 and on_beat and step) else None
    pattern = {0: (CONGA_MUTE, 60.0), steps: (CONGA_HIGH, 80.0), 2 * steps - 1: (CONGA_LOW, 70.0)}
    return pattern.get(step % (2 * steps))


def _clean(events: list[Event]) -> list[Event]:
    """Sorted, and never the same drum twice at once."""
    seen: dict[tuple[float, int], Event] = {}
    for event in events:
        key = (round(event.start, 4), event.pitch)
        if key not in seen or seen[key].velocity < event.velocity:
            seen[key] = event
    return sorted(seen.values())
