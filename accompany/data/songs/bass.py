"""Bass lines: roots, fifths, walks, octaves and syncopations under the chords."""

from __future__ import annotations

from accompany.data.songs.bass_patterns import BARS, COMPOUND, THREE, Pattern
from accompany.data.songs.chords import ChordSpan
from accompany.data.songs.form import Form
from accompany.data.songs.groove import Event
from accompany.data.songs.rng import Rng
from accompany.data.songs.theory import Chord, nearest_pitch, scale_pitch_classes


def play_bass(form: Form, name: str, rng: Rng, low: int, high: int) -> list[Event]:
    """The bass part of a song, in the pattern `name`, within [low, high]."""
    if name == "walking" or (name == "two feel" and rng.chance(0.2)):
        return _walk(form, rng, low, high)
    events: list[Event] = []
    centre = low + 8
    patterns = _patterns(form, name)
    chosen = {section.name: (rng.pick(patterns), rng.pick(patterns)) for section in form.sections}
    long_intro = rng.chance(0.5)
    for section in form.sections:
        if section.name == "intro" and long_intro and section.intensity < 0.4:
            continue
        for bar in range(section.start_bar, section.start_bar + section.bars):
            pattern = chosen[section.name][bar % 4 == 3]
            if name == "root long" or (section.intensity < 0.35 and name != "reggae"):
                pattern = ()
            events += _bar(form, bar, pattern, centre, low, high, rng)
    return events


def _patterns(form: Form, name: str) -> tuple[Pattern, ...]:
    if form.metre.compound:
        return COMPOUND
    if form.metre.beats == 3:
        return THREE
    return BARS.get(name, BARS["root pulse"])


def _bar(form: Form, bar: int, pattern: Pattern, centre: int, low: int, high: int, rng: Rng) -> list[Event]:
    beats = form.metre.beats
    start = float(bar * beats)
    spans = form.harmony.between(start, start + beats)
    if not pattern:
        return [
            _event(s.start, s.end - s.start - 0.05, nearest_pitch(s.chord.bass, centre, low, high), 82) for s in spans
        ]
    events: list[Event] = []
    shift = 0.0
    while shift < beats - 0.5:
        for at, length, degree in pattern:
            if shift + at < beats:
                events.append(_degree(form, start + shift + at, length, degree, centre, low, high, rng))
        shift += 2.0 if form.metre.compound else 4.0
    return events + _missed_changes(spans, events, centre, low, high)


def _missed_changes(spans: list[ChordSpan], events: list[Event], centre: int, low: int, high: int) -> list[Event]:
    """Roots for the chords of a bar on which the pattern plays nothing."""
    hits = [event.start for event in events]
    return [
        _event(s.start, min(1.0, s.end - s.start) * 0.9, nearest_pitch(s.chord.bass, centre, low, high), 84)
        for s in spans
        if not any(abs(hit - s.start) < 0.26 for hit in hits)
    ]


def _degree(form: Form, at: float, length: float, degree: str, centre: int, low: int, high: int, rng: Rng) -> Event:
    chord = form.harmony.at(at)
    root = nearest_pitch(chord.bass, centre, low, high)
    if degree == "r":
        return _event(at, length, root, 92)
    if degree == "o":
        return _event(at, length, root + 12 if root + 12 <= high else root, 88)
    if degree == "a":
        following = form.harmony.at(at + length + 0.05)
        target = nearest_pitch(following.bass, root, low, high)
        return _event(at, length, _approach(target, root, form, at, rng), 78)
    pitch_class = {"f": chord.fifth, "t": chord.pitch_classes[1], "x": (chord.root + 9) % 12}[degree]
    pitch = nearest_pitch(pitch_class, root + 3, low, high)
    return _event(at, length, pitch, 82)


def _approach(target: int, root: int, form: Form, at: float, rng: Rng) -> int:
    """A note a step from the next root, out of the scale or chromatic; the root itself if it stays."""
    if target == root:
        return root if rng.chance(0.6) else root - 2
    section = form.section_at(at)
    scale = scale_pitch_classes(section.tonic, section.mode)
    options = [target + step for step in (-2, -1, 1, 2)]
    in_scale = [pitch for pitch in options if pitch % 12 in scale]
    return rng.pick(in_scale if in_scale and rng.chance(0.75) else options)


def _walk(form: Form, rng: Rng, low: int, high: int) -> list[Event]:
    """A note a beat: the root when the chord changes, chord notes between, a step into the next root."""
    events: list[Event] = []
    current, before = low + 10, -1
    for beat in range(form.n_bars * form.metre.beats):
        index = form.harmony.index_at(beat)
        chord, following = form.harmony.spans[index].chord, form.harmony.at(beat + 1)
        if index != before:
            current = nearest_pitch(chord.bass, current, low, high)
        elif following != chord:
            current = _approach(nearest_pitch(following.bass, current, low, high), current, form, beat, rng)
        else:
            current = _chord_note(chord, current, low, high, rng)
        before = index
        events.append(_event(beat, 0.92, current, rng.between(82, 96)))
        if rng.chance(0.06):
            events.append(_event(beat + 0.5, 0.4, current, 62))
    return events


def _chord_note(chord: Chord, current: int, low: int, high: int, rng: Rng) -> int:
    """Another note of the chord within a fourth."""
    tones = set(chord.pitch_classes)
    options = [p for p in range(current - 5, current + 6) if p % 12 in tones and p != current and low <= p <= high]
    return rng.pick(options) if options else current


def _event(start: float, length: float, pitch: int, velocity: float) -> Event:
    return Event(start, max(0.1, length), pitch, velocity)
