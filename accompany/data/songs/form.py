"""The plan of a song: tempo and beat grid, sections, keys and chords."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from accompany.data.songs.dice import Dice
from accompany.data.songs.progressions import MODAL, NEXT_MAJOR, NEXT_MINOR
from accompany.data.songs.styles import Style
from accompany.data.songs.theory import MAJOR_LIKE, PITCH_NAMES, Chord, roman_chord


@dataclass(frozen=True)
class Metre:
    """Beats a bar and grid steps a beat; in 6/8 and 12/8 the beat is the dotted quarter."""

    label: str
    beats: int
    steps: int

    @property
    def compound(self) -> bool:
        """Whether the beat falls into three."""
        return self.steps == 3


METRES = {m.label: m for m in (Metre("4/4", 4, 4), Metre("3/4", 3, 4), Metre("6/8", 2, 3), Metre("12/8", 4, 3))}


@dataclass(frozen=True)
class Section:
    """A stretch of bars with its own chords, key and intensity (0 quiet to 1 full)."""

    name: str
    start_bar: int
    bars: int
    intensity: float
    tonic: int
    mode: str
    sung: bool


@dataclass(frozen=True)
class ChordSpan:
    """A chord from one beat to another."""

    start: float
    end: float
    chord: Chord


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


@dataclass(frozen=True)
class TimeMap:
    """Beats to seconds, with swing and slow tempo drift.

    Attributes:
        beat_times: time of every beat, [n_beats + 1], increasing; the first may be negative (a crop of a song).
        swing: place of the off-beat half inside its unit, 0.5 straight.
        unit: length in beats of what is swung (1 swings eighths, 0.5 sixteenths).
    """

    beat_times: np.ndarray
    swing: float
    unit: float

    def seconds(self, beats: np.ndarray, *, swing: float | None = None) -> np.ndarray:
        """Times of beat positions, same shape; `swing` replaces the song's own (a singer may sing straighter)."""
        share = self.swing if swing is None else swing
        unit_index = np.floor(beats / self.unit + 1e-9)
        phase = np.clip(beats / self.unit - unit_index, 0.0, 1.0)
        warped = np.where(phase < 0.5, phase * 2 * share, share + (phase - 0.5) * 2 * (1 - share))
        return np.interp((unit_index + warped) * self.unit, np.arange(len(self.beat_times)), self.beat_times)


@dataclass(frozen=True)
class Form:
    """Everything that all parts of a song share."""

    style: Style
    metre: Metre
    tempo_bpm: float
    time: TimeMap
    sections: tuple[Section, ...]
    harmony: Harmony
    tonic: int
    mode: str
    duration_s: float

    @property
    def n_bars(self) -> int:
        """Bars on the grid; the last ones may lie behind the end."""
        return self.sections[-1].start_bar + self.sections[-1].bars

    def section_at(self, beat: float) -> Section:
        """The section of a beat."""
        bar = beat / self.metre.beats + 1e-6
        for section in self.sections:
            if bar < section.start_bar + section.bars:
                return section
        return self.sections[-1]


_FORMS = (
    "intro verse verse chorus verse chorus bridge chorus outro",
    "intro verse prechorus chorus verse prechorus chorus bridge chorus chorus outro",
    "intro verse chorus verse chorus break chorus outro",
    "verse verse bridge verse break bridge verse outro",
    "intro verse verse verse chorus verse chorus outro",
    "intro chorus verse chorus verse chorus bridge chorus",
    "verse chorus verse chorus verse chorus",
)
_INTENSITY = {
    "intro": 0.35, "verse": 0.5, "prechorus": 0.65, "chorus": 0.88, "bridge": 0.6, "break": 0.55, "outro": 0.5,
}  # fmt: skip
_SWUNG_LOW = 0.505


def plan_form(style: Style, dice: Dice, seconds: float) -> Form:
    """Draw tempo, metre, key, sections and chords for a song of `seconds`."""
    metre = METRES[dice.choose(style.metres)]
    tempo = _tempo(style, metre, dice)
    mode = dice.choose(style.modes)
    tonic = dice.integer(0, 11)
    bar_s = metre.beats * 60 / tempo
    lead_s = -dice.between(0, bar_s) if dice.chance(0.7) else 0.0
    n_bars = int(np.ceil((seconds - lead_s) / bar_s)) + 2
    sections = _sections(style, dice, n_bars, tonic, mode, bar_s)
    harmony = Harmony(_write_chords(style, metre, sections, dice))
    time = _time_map(style, metre, tempo, lead_s, sections[-1], dice)
    return Form(style, metre, tempo, time, tuple(sections), harmony, tonic, mode, seconds)


def _tempo(style: Style, metre: Metre, dice: Dice) -> float:
    low, usual, high = style.tempo
    draw = (dice.unit() + dice.unit()) / 2
    tempo = low + (usual - low) * 2 * draw if draw < 0.5 else usual + (high - usual) * (2 * draw - 1)
    if dice.chance(0.15):
        tempo = dice.between(low, high)
    if metre.label == "6/8":
        tempo = min(max(tempo * 0.62, 38.0), 84.0)
    elif metre.label == "12/8":
        tempo = min(max(tempo * 0.72, 44.0), 92.0)
    return round(tempo) if dice.chance(0.5) else round(tempo, 1)


def _time_map(style: Style, metre: Metre, tempo: float, lead_s: float, last: Section, dice: Dice) -> TimeMap:
    n_beats = (last.start_bar + last.bars) * metre.beats
    lengths = np.full(n_beats, 60 / tempo)
    if dice.chance(0.3):
        lengths = lengths * (1 + _drift(n_beats, dice.between(0.004, 0.016), dice))
    times = lead_s + np.concatenate([[0.0], np.cumsum(lengths)])
    chance, low, high = style.swing
    swing = dice.between(low, high) if dice.chance(chance) else 0.5
    if metre.compound or swing < _SWUNG_LOW:
        swing = 0.5
    return TimeMap(times, swing, 0.5 if style.swing_sixteenths else 1.0)


def _drift(n_beats: int, depth: float, dice: Dice) -> np.ndarray:
    """Slow waves of tempo, relative, as of a band without a click."""
    beats = np.arange(n_beats)
    waves = [np.sin(2 * np.pi * (beats / dice.between(12, 60) + dice.unit())) for _ in range(2)]
    return depth * (waves[0] + waves[1]) / 1.4


def _sections(style: Style, dice: Dice, n_bars: int, tonic: int, mode: str, bar_s: float) -> list[Section]:
    names = dice.pick(_FORMS).split()
    start = 0 if dice.chance(0.35) else dice.integer(0, len(names) - 2)
    short = bar_s > 3.2 or dice.chance(0.2)
    sections: list[Section] = []
    bar, lift, index = 0, 0, start
    while bar < n_bars:
        name = names[index] if index < len(names) else dice.pick(("verse", "chorus"))
        if name == "intro" and dice.chance(0.25):
            name, index = names[index + 1], index + 1
        if sections and name == "chorus" and dice.chance(0.07):
            lift += dice.pick((1, 2, 2, 3, -2))
        bars = _section_bars(name, short, dice)
        level = min(1.0, max(0.15, _INTENSITY[name] + dice.between(-0.15, 0.15)))
        key, own_mode = _section_key(name, (tonic + lift) % 12, mode, dice)
        sung = name not in ("intro", "break") and not (name == "outro" and dice.chance(0.4))
        sections.append(Section(name, bar, bars, level, key, own_mode, sung))
        bar += bars
        index += 1
    return sections


def _section_bars(name: str, short: bool, dice: Dice) -> int:
    if name == "intro":
        return dice.pick((1, 2, 2, 4)) if short else dice.pick((2, 2, 4, 4))
    if name == "break":
        return dice.pick((2, 4)) if short else dice.pick((2, 4, 4))
    if name in ("prechorus", "outro"):
        return 4
    return dice.pick((4, 8)) if short else dice.weighted((8, 4, 16, 6), (6, 1.5, 1.2, 0.4))


def _section_key(name: str, tonic: int, mode: str, dice: Dice) -> tuple[int, str]:
    if name == "bridge" and dice.chance(0.12):
        return ((tonic + 9) % 12, "minor") if mode in MAJOR_LIKE else ((tonic + 3) % 12, "major")
    return tonic, mode


def _write_chords(style: Style, metre: Metre, sections: list[Section], dice: Dice) -> list[ChordSpan]:
    written: dict[tuple[str, int, str], list[tuple[float, str]]] = {}
    colours: dict[str, str] = {}
    spans: list[ChordSpan] = []
    shared = dice.chance(0.25)
    push = dice.chance(style.push)
    for section in sections:
        key = ("all" if shared else section.name, section.bars, section.mode)
        if key not in written:
            written[key] = _slots(style, metre, section, colours, dice)
        spans += _lay_out(written[key], section, metre, dice, push=push and dice.chance(0.75))
    return _merge(spans)


def _slots(
    style: Style, metre: Metre, section: Section, colours: dict[str, str], dice: Dice
) -> list[tuple[float, str]]:
    """(length in beats, numeral) pairs that fill the section."""
    names = _progression(style, section.mode, dice)
    slot = dice.choose(style.slot_bars) * metre.beats
    if metre.beats == 3 and slot < 3:
        slot = 3.0
    if len(names) >= 8:
        slot = min(slot, float(metre.beats))
    total, used, index = section.bars * metre.beats, 0.0, 0
    slots: list[tuple[float, str]] = []
    while used < total - 1e-6:
        pair = names[index % len(names)].split(",")
        length = min(slot, total - used)
        slots += [(length / len(pair), _colour(style, name, colours, dice)) for name in pair]
        used, index = used + length, index + 1
    if dice.chance(0.3) and section.name in ("verse", "prechorus", "bridge"):
        slots[-1] = (slots[-1][0], dice.pick(("V7", "V", "V7sus4")))
    return slots


def _progression(style: Style, mode: str, dice: Dice) -> list[str]:
    if mode in MODAL and dice.chance(0.75):
        return dice.pick(MODAL[mode]).split()
    if dice.chance(0.2):
        return _invent(NEXT_MAJOR if mode in MAJOR_LIKE else NEXT_MINOR, dice)
    return dice.pick(style.major if mode in MAJOR_LIKE else style.minor).split()


def _invent(moves: dict[str, dict[str, float]], dice: Dice) -> list[str]:
    home = next(iter(moves))
    name = home if dice.chance(0.7) else dice.pick(list(moves))
    names = [name]
    for _ in range(dice.pick((3, 3, 3, 7)) - 0):
        name = dice.choose(moves[name])
        names.append(name)
    return names


_TONIC_LIKE = frozenset({"I", "IV", "bVI", "bIII", "bII"})


def _colour(style: Style, name: str, colours: dict[str, str], dice: Dice) -> str:
    """The numeral with a seventh, ninth or suspension now and then; the same choice throughout a song, mostly."""
    if not name.isalpha() and not (name[0] in "b#" and name[1:].isalpha()):
        return name
    if name in colours and dice.chance(0.85):
        return colours[name]
    plain = name.lstrip("b#")
    coloured = name
    if plain.upper() in ("I", "II", "III", "IV", "V", "VI", "VII"):
        if dice.chance(style.colour):
            coloured = name + _seventh(name, plain, style, dice)
        elif dice.chance(style.sus):
            coloured = name + dice.pick(("add9", "add9", "sus2" if plain.isupper() else "add9", "sus4"))
        elif dice.chance(0.05) and plain != "I":
            coloured = name + "/3"
    colours[name] = coloured
    return coloured


def _seventh(name: str, plain: str, style: Style, dice: Dice) -> str:
    if plain.islower():
        return dice.pick(("7", "7", "7", "9", "11"))
    if name in _TONIC_LIKE and style.name not in ("funk", "blues"):
        return dice.pick(("maj7", "maj7", "6", "maj9", "add9"))
    return dice.pick(("7", "7", "9", "7sus4", "13"))


def _lay_out(
    slots: list[tuple[float, str]], section: Section, metre: Metre, dice: Dice, *, push: bool
) -> list[ChordSpan]:
    beat = float(section.start_bar * metre.beats)
    ahead = 1 / 3 if metre.compound else 0.5
    pedal = dice.chance(0.05)
    spans: list[ChordSpan] = []
    for index, (length, name) in enumerate(slots):
        chord = roman_chord(name, section.tonic)
        if pedal:
            chord = _over_pedal(chord, section.tonic)
        start = beat - ahead if push and index and length >= 2 and dice.chance(0.6) else beat
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


def pitch_name(pitch_class: int) -> str:
    """English name of a pitch class, flats preferred."""
    return PITCH_NAMES[pitch_class % 12]
