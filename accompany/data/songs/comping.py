"""Comping: strums, block chords, broken chords, stabs, offbeats, pads and arpeggios."""

from __future__ import annotations

from accompany.data.songs.chords import ChordSpan
from accompany.data.songs.comp_patterns import COMPOUND, FOUR, THREE, Hits
from accompany.data.songs.form import Form
from accompany.data.songs.grid import Section
from accompany.data.songs.groove import Event
from accompany.data.songs.instruments import Instrument
from accompany.data.songs.rng import Rng
from accompany.data.songs.theory import Chord, guitar_voicing, nearest_pitch, voicing

_ORDERS = (
    (0, 1, 2, 3, 2, 1), (0, 1, 2, 3), (0, 2, 1, 2), (0, 2, 1, 3, 2, 1), (3, 2, 1, 0), (0, 1, 2, 1),
    (0, 3, 1, 2), (0, 2, 3, 2),
)  # fmt: skip
_PLUCKED = frozenset({"guitar", "ukulele", "banjo"})
BROKEN = frozenset({"broken", "fingerpick", "ostinato", "boom chick"})


def play_comp(form: Form, instrument: Instrument, name: str, rng: Rng, *, alone: bool) -> list[Event]:
    """A chord part in the rhythm `name`.

    Args:
        form: the song's plan.
        instrument: who plays; guitars get guitar voicings and strums.
        name: a pattern name of the style.
        rng: random draws.
        alone: no bass plays, so the part puts roots below its chords.
    """
    if name in BROKEN:
        return _broken(form, instrument, name, rng, alone=alone)
    events: list[Event] = []
    table = _table(form)
    patterns = table.get(name) or table["strum" if instrument.family in _PLUCKED else "quarters"]
    chosen = {section.name: (rng.pick(patterns), rng.pick(patterns)) for section in form.sections}
    hand = _Hand(instrument, rng)
    for section in form.sections:
        for bar in range(section.start_bar, section.start_bar + section.bars):
            hits = chosen[section.name][(bar - section.start_bar) % 4 == 3]
            if section.intensity < 0.32 and name not in ("skank", "bossa"):
                hits = table["whole"][0]
            events += _bar(form, section, bar, hits, hand, rng)
    if alone or (instrument.family == "piano" and rng.chance(0.3)):
        events += _left_hand(form, instrument, rng)
    return sorted(events)


def _table(form: Form) -> dict[str, tuple[Hits, ...]]:
    if form.metre.compound:
        return COMPOUND
    return THREE if form.metre.beats == 3 else FOUR


class _Hand:
    """Voices chords one after another, each near the one before."""

    def __init__(self, instrument: Instrument, rng: Rng, *, centre: float | None = None, size: int = 0) -> None:
        self._instrument = instrument
        low, high = max(instrument.low, 45), min(instrument.high, 79)
        self._low, self._high = low, max(high, low + 14)
        middle = 62 if instrument.low < 58 else (instrument.low + instrument.high) / 2
        self._centre = (middle if centre is None else centre) + rng.between(-4, 5)
        self._size = size or rng.pick((3, 3, 4, 4))
        self._plucked = instrument.family in _PLUCKED and instrument.low <= 48
        self._power = instrument.name in ("distorted guitar", "overdriven guitar") and rng.chance(0.75)
        self._previous: tuple[int, ...] | None = None

    def notes(self, chord: Chord) -> tuple[int, ...]:
        """Pitches for a chord."""
        if self._power:
            root = nearest_pitch(chord.bass if chord.bass_interval else chord.root, 44, 38, 50)
            return (root, root + 7 if chord.fifth == (chord.root + 7) % 12 else root + 6, root + 12)
        if self._plucked:
            return guitar_voicing(chord)
        self._previous = voicing(chord, self._previous, self._centre, self._size, self._low, self._high)
        return self._previous


def _bar(form: Form, section: Section, bar: int, hits: Hits, hand: _Hand, rng: Rng) -> list[Event]:
    beats = form.metre.beats
    start = float(bar * beats)
    width = 2.0 if form.metre.compound else 3.0 if beats == 3 else 4.0
    level = 58 + 34 * section.intensity
    placed: list[tuple[float, float, float]] = []
    shift = 0.0
    while shift < beats - 0.5:
        placed += [(start + shift + at, length, share) for at, length, share in hits if shift + at < beats]
        shift += width
    spans = form.harmony.between(start, start + beats)
    placed = _with_changes(placed, spans)
    events: list[Event] = []
    for index, (at, length, share) in enumerate(placed):
        following = placed[index + 1][0] if index + 1 < len(placed) else start + beats
        length = min(length, max(0.1, following - at)) if length > 0.4 else length
        events += _strike(hand.notes(form.harmony.at(at)), at, length, level * abs(share), rng, up=share < 0)
    return events


def _with_changes(placed: list[tuple[float, float, float]], spans: list[ChordSpan]) -> list[tuple[float, float, float]]:
    """The hits, with one more for every chord whose start and first beat no hit touches."""
    sustained = any(length > 0.5 for _, length, _ in placed)
    for span in spans:
        if sustained and not any(span.start - 0.01 <= at < min(span.start + 0.6, span.end) for at, _, _ in placed):
            placed = [*placed, (span.start, span.end - span.start, 0.9)]
    return sorted(placed)


def _strike(notes: tuple[int, ...], at: float, length: float, velocity: float, rng: Rng, *, up: bool) -> list[Event]:
    """One chord: strings or fingers a few milliseconds apart."""
    spread = rng.between(0.004, 0.016) if len(notes) > 3 else rng.between(0.0, 0.006)
    order = tuple(reversed(notes))[:4] if up else notes
    return [
        Event(at, length * 0.96, pitch, velocity * rng.between(0.9, 1.05), index * spread)
        for index, pitch in enumerate(order)
    ]


def _left_hand(form: Form, instrument: Instrument, rng: Rng) -> list[Event]:
    """Roots, octaves or fifths in the bass register of the same instrument."""
    low = max(instrument.low, 33)
    octave = rng.chance(0.4) and instrument.family == "piano"
    events: list[Event] = []
    for span in form.harmony.spans:
        root = nearest_pitch(span.chord.bass, low + 9, low, low + 16)
        level = 60 + 28 * form.section_at(span.start).intensity
        length = span.end - span.start
        events.append(Event(span.start, length * 0.95, root, level))
        if octave and root + 12 < 60:
            events.append(Event(span.start, length * 0.95, root + 12, level * 0.8))
    return [event for event in events if event.start >= 0]


def _broken(form: Form, instrument: Instrument, name: str, rng: Rng, *, alone: bool) -> list[Event]:
    """Broken chords: fingerpicking, Alberti bass, boom-chick."""
    if name == "boom chick":
        return _boom_chick(form, instrument, rng)
    order = rng.pick(_ORDERS)
    step = 1 / 3 if form.metre.compound else rng.pick((0.5, 0.5, 0.25 if form.tempo_bpm < 95 else 0.5))
    hand = _Hand(instrument, rng, size=4)
    events: list[Event] = []
    for span in form.harmony.spans:
        notes = hand.notes(span.chord)
        level = 56 + 30 * form.section_at(span.start).intensity
        count = round((span.end - span.start) / step)
        for index in range(count):
            pitch = notes[order[index % len(order)] % len(notes)]
            accent = 1.08 if index == 0 else 1.0 if index % 2 == 0 else 0.88
            ring = min(step * 2.5, span.end - span.start - index * step)
            events.append(Event(span.start + index * step, max(ring, 0.15), pitch, level * accent))
    if (alone or name == "fingerpick") and not (instrument.family in _PLUCKED and instrument.low > 48):
        events += _left_hand(form, instrument, rng)
    return sorted(event for event in events if event.start >= 0)


def _boom_chick(form: Form, instrument: Instrument, rng: Rng) -> list[Event]:
    """Bass notes on the strong beats, root and fifth in turn, chords on the others."""
    events: list[Event] = []
    hand = _Hand(instrument, rng, size=3)
    low = max(instrument.low, 36)
    for beat in range(form.n_bars * form.metre.beats):
        chord = form.harmony.at(beat)
        level = 62 + 28 * form.section_at(beat).intensity
        in_bar = beat % form.metre.beats
        if in_bar == 0 or (in_bar == 2 and form.metre.beats == 4):
            pitch_class = chord.bass if in_bar == 0 else chord.fifth
            events.append(Event(beat, 0.9, nearest_pitch(pitch_class, low + 8, low, low + 14), level))
        else:
            events += _strike(hand.notes(chord)[-3:], beat, 0.4, level * 0.9, rng, up=False)
    return sorted(events)


def play_pad(form: Form, instrument: Instrument, rng: Rng) -> list[Event]:
    """Long chords, tied over where they share notes, from verse or chorus on."""
    hand = _Hand(instrument, rng, centre=64, size=rng.pick((3, 4)))
    everywhere = rng.chance(0.65)
    events: list[Event] = []
    for span in form.harmony.spans:
        section = form.section_at(span.start)
        notes = hand.notes(span.chord)
        if not everywhere and section.intensity < 0.55:
            continue
        level = 52 + 36 * section.intensity
        events += [Event(span.start, span.end - span.start, pitch, level) for pitch in notes]
    return [event for event in events if event.start >= 0]


def play_arpeggio(form: Form, instrument: Instrument, rng: Rng) -> list[Event]:
    """Chord notes one by one over an octave or two."""
    step = 1 / 3 if form.metre.compound else rng.pick((0.5, 0.25, 0.25) if form.tempo_bpm < 132 else (0.5,))
    order = rng.pick(_ORDERS)
    hand = _Hand(instrument, rng, centre=max(66.0, instrument.low + 8.0), size=4)
    mask = [rng.chance(0.85) for _ in range(8)] if rng.chance(0.4) else [True] * 8
    mask[0] = True
    events: list[Event] = []
    for span in form.harmony.spans:
        section = form.section_at(span.start)
        notes = hand.notes(span.chord)
        if section.intensity < 0.3:
            continue
        for index in range(round((span.end - span.start) / step)):
            if mask[index % 8]:
                pitch = notes[order[index % len(order)] % len(notes)]
                level = (58 + 26 * section.intensity) * (1.0 if index % 4 == 0 else 0.85)
                events.append(Event(span.start + index * step, step * 0.9, pitch, level))
    return [event for event in events if event.start >= 0]
