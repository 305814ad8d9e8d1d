"""Bass lines: roots, fifths, walks, octaves and syncopations under the chords."""

from __future__ import annotations

from accompany.data.songs.chords import ChordSpan
from accompany.data.songs.dice import Dice
from accompany.data.songs.form import Form
from accompany.data.songs.groove import Event
from accompany.data.songs.theory import Chord, nearest_pitch, scale_pitch_classes

# (start in beats, length, degree) by bar of four beats; degrees: r root, f fifth, o octave, t third, a approach.
_Pattern = tuple[tuple[float, float, str], ...]

_BARS: dict[str, tuple[_Pattern, ...]] = {
    "syncopated": (
        ((0, 1.5, "r"), (1.5, 0.5, "r"), (2.5, 1, "r"), (3.5, 0.5, "f")),
        ((0, 0.75, "r"), (0.75, 0.75, "r"), (2, 1, "r"), (3, 1, "f")),
        ((0, 1, "r"), (1.5, 1, "f"), (2.5, 0.5, "o"), (3, 1, "a")),
        ((0, 1.5, "r"), (1.5, 2, "r"), (3.5, 0.5, "a")),
    ),
    "soul": (
        ((0, 0.75, "r"), (0.75, 0.25, "r"), (1.5, 0.5, "o"), (2.5, 0.5, "f"), (3, 0.5, "r"), (3.75, 0.25, "a")),
        ((0, 1, "r"), (1.5, 0.5, "f"), (2, 0.75, "o"), (2.75, 0.5, "f"), (3.5, 0.5, "a")),
        ((0, 1.25, "r"), (1.75, 0.75, "t"), (2.5, 1, "f"), (3.5, 0.5, "a")),
    ),
    "funk": (
        ((0, 0.5, "r"), (0.75, 0.25, "r"), (1.5, 0.25, "o"), (2.5, 0.25, "r"), (2.75, 0.5, "o"), (3.5, 0.25, "f"), (3.75, 0.25, "a")),
        ((0, 0.75, "r"), (1.75, 0.25, "r"), (2.25, 0.5, "f"), (3, 0.25, "o"), (3.5, 0.5, "a")),
        ((0, 0.25, "r"), (0.5, 0.25, "r"), (1.25, 0.5, "o"), (2.0, 0.25, "r"), (2.75, 0.25, "f"), (3.25, 0.5, "r")),
    ),
    "slap": (
        ((0, 0.25, "r"), (0.5, 0.25, "o"), (0.75, 0.25, "r"), (1.5, 0.25, "o"), (2, 0.25, "r"), (2.75, 0.25, "o"), (3.25, 0.25, "f"), (3.5, 0.25, "o")),
    ),
    "octaves": (
        tuple((i / 2, 0.4, "r" if i % 2 == 0 else "o") for i in range(8)),
    ),
    "offbeat": (tuple((i + 0.5, 0.45, "r") for i in range(4)),),
    "root eighths": (tuple((i / 2, 0.48, "r") for i in range(8)), tuple((i / 2, 0.48, "r" if i < 7 else "a") for i in range(8))),
    "root sixteenths": (tuple((i / 4, 0.22, "r") for i in range(16)), tuple((i / 4, 0.22, "r") for i in range(16) if i % 4)),
    "root pulse": (tuple((float(i), 0.9, "r") for i in range(4)), ((0, 1.4, "r"), (1.5, 0.5, "r"), (2, 1.4, "r"), (3.5, 0.5, "r"))),
    "ballad": (((0, 2.4, "r"), (2.5, 0.5, "f"), (3, 1, "r")), ((0, 1.5, "r"), (1.5, 0.5, "f"), (2, 2, "o"))),
    "root fifth": (((0, 1.8, "r"), (2, 1.8, "f")), ((0, 0.9, "r"), (2, 0.9, "f"), (3, 0.9, "a"))),
    "country walk": (((0, 0.9, "r"), (2, 0.9, "f")), ((0, 0.9, "r"), (1, 0.9, "t"), (2, 0.9, "f"), (3, 0.9, "a"))),
    "two feel": (((0, 1.8, "r"), (2, 1.8, "f")), ((0, 1.8, "r"), (2, 0.9, "f"), (3, 0.9, "a"))),
    "bossa": (((0, 1.4, "r"), (1.5, 0.5, "f"), (2, 1.4, "f"), (3.5, 0.5, "r")), ((0, 1.4, "r"), (1.5, 0.5, "r"), (2, 1.4, "f"), (3.5, 0.5, "f"))),
    "tumbao": (((1.5, 1.4, "f"), (3, 1, "o")), ((0, 1.4, "r"), (1.5, 1.4, "f"), (3, 1, "o"))),
    "reggae": (
        ((0, 0.9, "r"), (1, 0.45, "r"), (1.5, 0.45, "t"), (2, 0.9, "f"), (3, 0.45, "r")),
        ((0.5, 0.5, "r"), (1, 0.9, "r"), (2.5, 0.5, "f"), (3, 0.9, "o")),
        ((0, 1.4, "r"), (1.5, 0.5, "f"), (2, 0.9, "r"), (3.5, 0.5, "a")),
    ),
    "808": (((0, 2.4, "r"), (2.5, 1.2, "r")), ((0, 1.4, "r"), (1.5, 1, "r"), (2.75, 1.2, "o")), ((0, 3.6, "r"),)),
    "boogie": (
        tuple((i / 2, 0.45, d) for i, d in enumerate("rrttffxx")),
        tuple((float(i), 0.9, d) for i, d in enumerate("rtfx")),
    ),
}  # fmt: skip
_COMPOUND = (
    ((0, 1.9, "r"),),
    ((0, 0.95, "r"), (1, 0.95, "r")),
    ((0, 0.95, "r"), (1, 0.62, "f"), (5 / 3, 0.33, "a")),
    ((0, 0.62, "r"), (2 / 3, 0.33, "r"), (1, 0.62, "f"), (5 / 3, 0.33, "r")),
)
_THREE = (
    ((0, 2.8, "r"),),
    ((0, 0.9, "r"),),
    ((0, 1.8, "r"), (2, 0.9, "f")),
    ((0, 0.9, "r"), (1, 0.9, "t"), (2, 0.9, "f")),
)


def play_bass(form: Form, name: str, dice: Dice, low: int, high: int) -> list[Event]:
    """The bass part of a song, in the manner `name`, within [low, high]."""
    if name == "walking" or (name == "two feel" and dice.chance(0.2)):
        return _walk(form, dice, low, high)
    events: list[Event] = []
    home = low + 8
    patterns = _patterns(form, name)
    chosen = {section.name: (dice.pick(patterns), dice.pick(patterns)) for section in form.sections}
    long_intro = dice.chance(0.5)
    for section in form.sections:
        if section.name == "intro" and long_intro and section.intensity < 0.4:
            continue
        for bar in range(section.start_bar, section.start_bar + section.bars):
            pattern = chosen[section.name][bar % 4 == 3]
            if name == "root long" or (section.intensity < 0.35 and name != "reggae"):
                pattern = ()
            events += _bar(form, bar, pattern, home, low, high, dice)
    return events


def _patterns(form: Form, name: str) -> tuple[_Pattern, ...]:
    if form.metre.compound:
        return _COMPOUND
    if form.metre.beats == 3:
        return _THREE
    return _BARS.get(name, _BARS["root pulse"])


def _bar(form: Form, bar: int, pattern: _Pattern, home: int, low: int, high: int, dice: Dice) -> list[Event]:
    beats = form.metre.beats
    start = float(bar * beats)
    spans = form.harmony.between(start, start + beats)
    if not pattern:
        return [
            _event(s.start, s.end - s.start - 0.05, nearest_pitch(s.chord.bass, home, low, high), 82) for s in spans
        ]
    events: list[Event] = []
    shift = 0.0
    while shift < beats - 0.5:
        for at, length, degree in pattern:
            if shift + at < beats:
                events.append(_degree(form, start + shift + at, length, degree, home, low, high, dice))
        shift += 2.0 if form.metre.compound else 4.0
    return events + _missed_changes(spans, events, home, low, high)


def _missed_changes(spans: list[ChordSpan], events: list[Event], home: int, low: int, high: int) -> list[Event]:
    """Roots for the chords of a bar on which the pattern plays nothing."""
    hits = [event.start for event in events]
    return [
        _event(s.start, min(1.0, s.end - s.start) * 0.9, nearest_pitch(s.chord.bass, home, low, high), 84)
        for s in spans
        if not any(abs(hit - s.start) < 0.26 for hit in hits)
    ]


def _degree(form: Form, at: float, length: float, degree: str, home: int, low: int, high: int, dice: Dice) -> Event:
    chord = form.harmony.at(at)
    root = nearest_pitch(chord.bass, home, low, high)
    if degree == "r":
        return _event(at, length, root, 92)
    if degree == "o":
        return _event(at, length, root + 12 if root + 12 <= high else root, 88)
    if degree == "a":
        following = form.harmony.at(at + length + 0.05)
        target = nearest_pitch(following.bass, root, low, high)
        return _event(at, length, _approach(target, root, form, at, dice), 78)
    pitch_class = {"f": chord.fifth, "t": chord.pitch_classes[1], "x": (chord.root + 9) % 12}[degree]
    pitch = nearest_pitch(pitch_class, root + 3, low, high)
    return _event(at, length, pitch, 82)


def _approach(target: int, root: int, form: Form, at: float, dice: Dice) -> int:
    """A note a step from the next root, out of the scale or chromatic; the root itself if it stays."""
    if target == root:
        return root if dice.chance(0.6) else root - 2
    section = form.section_at(at)
    scale = scale_pitch_classes(section.tonic, section.mode)
    options = [target + step for step in (-2, -1, 1, 2)]
    in_scale = [pitch for pitch in options if pitch % 12 in scale]
    return dice.pick(in_scale if in_scale and dice.chance(0.75) else options)


def _walk(form: Form, dice: Dice, low: int, high: int) -> list[Event]:
    """Quarter notes: the root when the chord changes, chord and scale notes between, a step into the next root."""
    events: list[Event] = []
    current = low + 10
    for span in form.harmony.spans:
        count = max(1, round(span.end - span.start))
        following = form.harmony.at(span.end + 0.01)
        for index in range(count):
            at = span.start + index
            current = _walk_step(span.chord, following, current, index, count, form, at, low, high, dice)
            events.append(_event(at, 0.92, current, dice.between(82, 96)))
            if dice.chance(0.06):
                events.append(_event(at + 0.5, 0.4, current, 62))
    return [event for event in events if event.start >= 0]


def _walk_step(
    chord: Chord, following: Chord, current: int, index: int, count: int, form: Form, at: float, low: int, high: int,
    dice: Dice,
) -> int:  # fmt: skip
    if index == 0:
        return nearest_pitch(chord.bass, current, low, high)
    if index == count - 1:
        return _approach(nearest_pitch(following.bass, current, low, high), current, form, at, dice)
    tones = set(chord.pitch_classes)
    options = [p for p in range(current - 5, current + 6) if p % 12 in tones and p != current and low <= p <= high]
    return dice.pick(options) if options else current


def _event(start: float, length: float, pitch: int, velocity: float) -> Event:
    return Event(start, max(0.1, length), pitch, velocity)
