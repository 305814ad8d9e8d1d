"""Lead instruments: fills in the singer's rests, counter-lines under held notes, horn stabs."""

from __future__ import annotations

from accompany.data.songs.form import Form
from accompany.data.songs.groove import Event
from accompany.data.songs.instruments import Instrument
from accompany.data.songs.melody import Tune
from accompany.data.songs.rng import Rng
from accompany.data.songs.theory import nearest_pitch, scale_pitch_classes, voicing


def play_lead(form: Form, instrument: Instrument, tune: Tune, rng: Rng) -> list[Event]:
    """Either answers in the gaps of the voice, a slow counter-line, or chord stabs for a section of horns."""
    if instrument.name == "brass section" and rng.chance(0.7):
        return _stabs(form, instrument, rng)
    if instrument.family in ("strings", "brass", "woodwinds", "saxophone") and rng.chance(0.45):
        return _counter_line(form, instrument, rng)
    return _fills(form, instrument, tune, rng)


def _gaps(form: Form, tune: Tune) -> list[tuple[float, float]]:
    """Rests of the voice of at least a beat and a half, in beats."""
    gaps: list[tuple[float, float]] = []
    cursor = 0.0
    for note in tune.notes:
        if note.start - cursor >= 1.5:
            gaps.append((cursor, note.start))
        cursor = max(cursor, note.start + note.length)
    end = float(form.n_bars * form.metre.beats)
    return [*gaps, (cursor, end)] if end - cursor >= 1.5 else gaps


def _fills(form: Form, instrument: Instrument, tune: Tune, rng: Rng) -> list[Event]:
    step = 1 / 3 if form.metre.compound else 0.5
    centre = min(max(72.0, instrument.low + 7.0), instrument.high - 7.0)
    events: list[Event] = []
    for start, end in _gaps(form, tune):
        if rng.chance(0.25):
            continue
        at = (int(start / step) + 1) * step
        pitch = nearest_pitch(form.harmony.at(at).root, centre, instrument.low, instrument.high)
        while at < end - step * 0.5:
            length = step * rng.pick((1, 1, 1, 2, 2, 3))
            pitch = _move(form, at, pitch, instrument, rng, strong=at % 1 < 1e-6)
            length = min(length, end - at)
            if not rng.chance(0.15):
                events.append(Event(at, length * 0.95, pitch, rng.between(72, 96)))
            at += length
    return events


def _move(form: Form, at: float, pitch: int, instrument: Instrument, rng: Rng, *, strong: bool) -> int:
    """The next note: a chord note nearby on beats, a step in the scale between them."""
    section = form.section_at(at)
    chord = form.harmony.at(at).pitch_classes
    allowed = chord if strong else (*chord, *scale_pitch_classes(section.tonic, section.mode))
    low, high = max(instrument.low, pitch - 5), min(instrument.high, pitch + 5)
    options = [p for p in range(low, high + 1) if p % 12 in allowed and p != pitch]
    return rng.weighted(options, [1 / (1 + abs(p - pitch)) for p in options]) if options else pitch


def _counter_line(form: Form, instrument: Instrument, rng: Rng) -> list[Event]:
    """One long note for each chord, in the smallest steps."""
    centre = (max(instrument.low, 55) + min(instrument.high, 79)) / 2
    pitch = round(centre)
    events: list[Event] = []
    for span in form.harmony.spans:
        section = form.section_at(span.start)
        tones = span.chord.pitch_classes
        options = [p for p in range(pitch - 5, pitch + 6) if p % 12 in tones and instrument.low <= p <= instrument.high]
        pitch = rng.weighted(options, [1 / (1 + abs(p - pitch) + abs(p - centre) / 6) for p in options])
        if section.intensity >= 0.45 and span.start >= 0:
            events.append(Event(span.start, (span.end - span.start) * 0.97, pitch, 60 + 30 * section.intensity))
    return events


def _stabs(form: Form, instrument: Instrument, rng: Rng) -> list[Event]:
    patterns = ((0.0, 1.5), (1.5, 3.5), (2.5, 3.0, 3.5), (0.0,), (3.5,)) if form.metre.beats == 4 else ((0.0,), (1.0,))
    pattern = rng.pick(patterns)
    every = rng.pick((1, 2, 2, 4))
    events: list[Event] = []
    previous: tuple[int, ...] | None = None
    for bar in range(form.n_bars):
        section = form.section_at(bar * form.metre.beats)
        if bar % every != every - 1 or section.intensity < 0.5:
            continue
        for offset in pattern:
            at = bar * form.metre.beats + offset
            previous = voicing(form.harmony.at(at), previous, 66, 3, instrument.low, instrument.high)
            length = rng.pick((0.25, 0.4, 0.4)) if len(pattern) > 1 else 1.5
            events += [Event(at, length, pitch, 96) for pitch in previous]
    return events
