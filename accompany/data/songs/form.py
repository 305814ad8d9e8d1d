"""Song form: tempo and beat grid, sections, keys and chords."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accompany.data.songs.chords import Harmony, close_on_tonic, write_chords
from accompany.data.songs.grid import METRES, Metre, Section, TimeMap
from accompany.data.songs.rng import Rng
from accompany.data.songs.styles import Style
from accompany.data.songs.theory import MAJOR_LIKE


@dataclass(frozen=True)
class Form:
    """Everything that all parts of a song share; a song that ends before the crop does has an `end_beat`."""

    style: Style
    metre: Metre
    tempo_bpm: float
    time: TimeMap
    sections: tuple[Section, ...]
    harmony: Harmony
    tonic: int
    mode: str
    duration_s: float
    end_beat: float | None = None

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
INTENSITY = {  # by kind of section, 0 quiet to 1 full
    "intro": 0.35, "verse": 0.5, "prechorus": 0.65, "chorus": 0.88, "bridge": 0.6, "break": 0.55, "outro": 0.5,
}  # fmt: skip
_SWUNG_LOW = 0.505


def plan_form(style: Style, rng: Rng, seconds: float) -> Form:
    """Draw tempo, metre, key, sections and chords for a song of `seconds`."""
    metre = METRES[rng.choose(style.metres)]
    tempo = _tempo(style, metre, rng)
    mode = rng.choose(style.modes)
    tonic = rng.integer(0, 11)
    bar_s = metre.beats * 60 / tempo
    lead_s = -rng.between(0, bar_s) if rng.chance(0.7) else 0.0
    n_bars = int(np.ceil((seconds - lead_s) / bar_s)) + 2
    sections = _sections(rng, n_bars, tonic, mode, bar_s)
    end_beat = _ending(metre, seconds, lead_s, bar_s, rng)
    spans = write_chords(style, metre, sections, rng)
    if end_beat is not None:
        spans = close_on_tonic(spans, end_beat, float(metre.beats), sections)
    time = _time_map(style, metre, tempo, lead_s, sections[-1], end_beat, rng)
    return Form(style, metre, tempo, time, tuple(sections), Harmony(spans), tonic, mode, seconds, end_beat)


def _ending(metre: Metre, seconds: float, lead_s: float, bar_s: float, rng: Rng) -> float | None:
    """The downbeat on which the song ends, in its last third; None (mostly) for a song that goes on."""
    last = int((seconds - lead_s - 1.0) / bar_s)
    first = max(4, int(0.7 * last))
    if last <= first or not rng.chance(0.15):
        return None
    return float(rng.integer(first, last) // 2 * 2 * metre.beats)


def _tempo(style: Style, metre: Metre, rng: Rng) -> float:
    low, usual, high = style.tempo
    draw = (rng.unit() + rng.unit()) / 2
    tempo = low + (usual - low) * 2 * draw if draw < 0.5 else usual + (high - usual) * (2 * draw - 1)
    if rng.chance(0.15):
        tempo = rng.between(low, high)
    if metre.label == "6/8":
        tempo = min(max(tempo * 0.62, 38.0), 84.0)
    elif metre.label == "12/8":
        tempo = min(max(tempo * 0.72, 44.0), 92.0)
    return round(tempo) if rng.chance(0.5) else round(tempo, 1)


def _time_map(
    style: Style, metre: Metre, tempo: float, lead_s: float, last: Section, end_beat: float | None, rng: Rng
) -> TimeMap:
    n_beats = (last.start_bar + last.bars) * metre.beats
    lengths = np.full(n_beats, 60 / tempo)
    if rng.chance(0.3):
        lengths = lengths * (1 + drift(n_beats, rng.between(0.004, 0.016), rng))
    if end_beat is not None and rng.chance(0.5):
        final = slice(max(0, int(end_beat) - metre.beats), int(end_beat))
        lengths[final] *= np.linspace(1.02, rng.between(1.05, 1.35), metre.beats)
    times = lead_s + np.concatenate([[0.0], np.cumsum(lengths)])
    chance, low, high = style.swing
    swing = rng.between(low, high) if rng.chance(chance) else 0.5
    if metre.compound or swing < _SWUNG_LOW:
        swing = 0.5
    return TimeMap(times, swing, 0.5 if style.swing_sixteenths else 1.0)


def drift(n_beats: int, depth: float, rng: Rng) -> np.ndarray:
    """Slow waves of tempo, relative, as of a band without a click."""
    beats = np.arange(n_beats)
    waves = [np.sin(2 * np.pi * (beats / rng.between(12, 60) + rng.unit())) for _ in range(2)]
    return depth * (waves[0] + waves[1]) / 1.4


def _sections(rng: Rng, n_bars: int, tonic: int, mode: str, bar_s: float) -> list[Section]:
    names = rng.pick(_FORMS).split()
    start = 0 if rng.chance(0.35) else rng.integer(0, len(names) - 2)
    short = bar_s > 3.2 or rng.chance(0.2)
    sections: list[Section] = []
    bar, lift, index = 0, 0, start
    while bar < n_bars:
        name = names[index] if index < len(names) else rng.pick(("verse", "chorus"))
        if name == "intro" and rng.chance(0.25):
            name, index = names[index + 1], index + 1
        if sections and name == "chorus" and rng.chance(0.07):
            lift += rng.pick((1, 2, 2, 3, -2))
        bars = _section_bars(name, short, rng)
        level = min(1.0, max(0.15, INTENSITY[name] + rng.between(-0.15, 0.15)))
        key, own_mode = _section_key(name, (tonic + lift) % 12, mode, rng)
        sung = name not in ("intro", "break") and not (name == "outro" and rng.chance(0.4))
        sections.append(Section(name, bar, bars, level, key, own_mode, sung))
        bar += bars
        index += 1
    return sections


def _section_bars(name: str, short: bool, rng: Rng) -> int:
    if name == "intro":
        return rng.pick((1, 2, 2, 4)) if short else rng.pick((2, 2, 4, 4))
    if name == "break":
        return rng.pick((2, 4)) if short else rng.pick((2, 4, 4))
    if name in ("prechorus", "outro"):
        return 4
    return rng.pick((4, 8)) if short else rng.weighted((8, 4, 16, 6), (6, 1.5, 1.2, 0.4))


def _section_key(name: str, tonic: int, mode: str, rng: Rng) -> tuple[int, str]:
    if name == "bridge" and rng.chance(0.12):
        return ((tonic + 9) % 12, "minor") if mode in MAJOR_LIKE else ((tonic + 3) % 12, "major")
    return tonic, mode
