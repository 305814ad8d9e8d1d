"""Chord tracks: progressions laid over sections, with extensions, anticipations and pedal points."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

from accompany.data.songs.grid import Metre, Section
from accompany.data.songs.progressions import MODAL, NEXT_MAJOR, NEXT_MINOR
from accompany.data.songs.rng import Rng
from accompany.data.songs.styles import Style
from accompany.data.songs.theory import MAJOR_LIKE, Chord, roman_chord


@dataclass(frozen=True)
class ChordSpan:
    """A chord from one beat to another; where it is `silent` no harmony is played (N.C.)."""

    start: float
    end: float
    chord: Chord
    silent: bool = False


class Harmony:
    """The chords of a song in order; answers which one sounds at a beat."""

    def __init__(self, spans: list[ChordSpan]) -> None:
        self.spans = spans
        self._starts = [span.start for span in spans]

    def index_at(self, beat: float) -> int:
        """Index of the span that sounds at a beat (the first or last one outside)."""
        return max(0, bisect_right(self._starts, beat + 1e-6) - 1)

    def at(self, beat: float) -> Chord:
        """The chord that sounds at a beat."""
        return self.spans[self.index_at(beat)].chord

    def between(self, start: float, end: float) -> list[ChordSpan]:
        """The spans that overlap [start, end), cut to it."""
        found = []
        for span in self.spans[self.index_at(start) :]:
            if span.start >= end - 1e-6:
                break
            found.append(ChordSpan(max(span.start, start), min(span.end, end), span.chord))
        return found


def close_on_tonic(spans: list[ChordSpan], end: float, bar: float, sections: list[Section]) -> list[ChordSpan]:
    """The chords up to a last tonic on beat `end`, held for two bars, and a dominant in the bar before it."""
    section = next(s for s in reversed(sections) if s.start_bar * bar <= end)
    kept = [replace(span, end=min(span.end, end)) for span in spans if span.start < end - 0.6]
    tonic_chord = roman_chord("I" if section.mode in MAJOR_LIKE else "i", section.tonic)
    if kept[-1].start < end - bar / 2 and kept[-1].chord.root == tonic_chord.root:
        kept[-1] = replace(kept[-1], end=end - bar / 2)
        kept.append(ChordSpan(end - bar / 2, end, roman_chord("V", section.tonic)))
    kept[-1] = replace(kept[-1], end=end)
    return [*kept, ChordSpan(end, end + 2 * bar, tonic_chord)]


def write_chords(style: Style, metre: Metre, sections: list[Section], rng: Rng) -> list[ChordSpan]:
    """The chords of all sections; sections of one name share them, in the style's colours."""
    written: dict[tuple[str, int, str], list[tuple[float, str]]] = {}
    colours: dict[str, str] = {}
    spans: list[ChordSpan] = []
    shared = rng.chance(0.25)
    push = rng.chance(style.push)
    for section in sections:
        key = ("all" if shared else section.name, section.bars, section.mode)
        if key not in written:
            written[key] = _slots(style, metre, section, colours, rng)
        spans += _lay_out(written[key], section, metre, rng, push=push and rng.chance(0.75))
    return _merge(spans)


def _slots(style: Style, metre: Metre, section: Section, colours: dict[str, str], rng: Rng) -> list[tuple[float, str]]:
    """(length in beats, numeral) pairs that fill the section."""
    names = _progression(style, section.mode, rng)
    slot = rng.choose(style.slot_bars) * metre.beats
    if metre.beats == 3 and slot < 3:
        slot = 3.0
    if len(names) >= 8:
        slot = min(slot, float(metre.beats))
    total, used, index = section.bars * metre.beats, 0.0, 0
    slots: list[tuple[float, str]] = []
    while used < total - 1e-6:
        pair = names[index % len(names)].split(",")
        length = min(slot, total - used)
        slots += [(length / len(pair), _colour(style, name, colours, rng)) for name in pair]
        used, index = used + length, index + 1
    if rng.chance(0.3) and section.name in ("verse", "prechorus", "bridge"):
        slots[-1] = (slots[-1][0], rng.pick(("V7", "V", "V7sus4")))
    return slots


def _progression(style: Style, mode: str, rng: Rng) -> list[str]:
    if mode in MODAL and rng.chance(0.75):
        return rng.pick(MODAL[mode]).split()
    if rng.chance(0.2):
        return _invent(NEXT_MAJOR if mode in MAJOR_LIKE else NEXT_MINOR, rng)
    return rng.pick(style.major if mode in MAJOR_LIKE else style.minor).split()


def _invent(transitions: dict[str, dict[str, float]], rng: Rng) -> list[str]:
    tonic = next(iter(transitions))
    name = tonic if rng.chance(0.7) else rng.pick(list(transitions))
    names = [name]
    for _ in range(rng.pick((3, 3, 3, 7))):
        name = rng.choose(transitions[name])
        names.append(name)
    return names


_SOFT = ("add9", "add9", "sus2")
_TONIC_LIKE = frozenset({"I", "IV", "bVI", "bIII", "bII"})


def _colour(style: Style, name: str, colours: dict[str, str], rng: Rng) -> str:
    """The numeral with a seventh, ninth or suspension now and then; the same choice throughout a song, mostly."""
    if not name.isalpha() and not (name[0] in "b#" and name[1:].isalpha()):
        return name
    if name in colours and rng.chance(0.85):
        return colours[name]
    plain = name.lstrip("b#")
    coloured = name
    if plain.upper() in ("I", "II", "III", "IV", "V", "VI", "VII"):
        if rng.chance(style.colour):
            coloured = name + _seventh(name, plain, style, rng)
        elif rng.chance(style.sus):
            coloured = name + (rng.pick(("sus4", "7sus4", "add9")) if plain == "V" else rng.pick(_SOFT))
        elif rng.chance(0.05) and plain != "I":
            coloured = name + "/3"
    colours[name] = coloured
    return coloured


def _seventh(name: str, plain: str, style: Style, rng: Rng) -> str:
    if plain.islower():
        return rng.pick(("7", "7", "7", "9", "11"))
    if name in _TONIC_LIKE and style.name not in ("funk", "blues"):
        return rng.pick(("maj7", "maj7", "6", "maj9", "add9"))
    return rng.pick(("7", "7", "9", "7sus4", "13"))


def _lay_out(
    slots: list[tuple[float, str]], section: Section, metre: Metre, rng: Rng, *, push: bool
) -> list[ChordSpan]:
    beat = float(section.start_bar * metre.beats)
    ahead = 1 / 3 if metre.compound else 0.5
    pedal = rng.chance(0.05)
    spans: list[ChordSpan] = []
    for index, (length, name) in enumerate(slots):
        chord = roman_chord(name, section.tonic)
        if pedal:
            chord = _over_pedal(chord, section.tonic)
        start = beat - ahead if push and index and length >= 2 and rng.chance(0.6) else beat
        if spans:
            spans[-1] = replace(spans[-1], end=start)
        spans.append(ChordSpan(start, beat + length, chord))
        beat += length
    return spans


_BASS_DEGREES = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "b6", "6", "b7", "7")


def _over_pedal(chord: Chord, tonic: int) -> Chord:
    interval = (tonic - chord.root) % 12
    return replace(chord, bass_interval=interval, bass_degree=_BASS_DEGREES[interval] if interval else "")


def _merge(spans: list[ChordSpan]) -> list[ChordSpan]:
    merged: list[ChordSpan] = []
    for span in spans:
        if merged and merged[-1].chord == span.chord:
            merged[-1] = replace(merged[-1], end=span.end)
        else:
            merged.append(span)
    return merged
