"""Sung melodies: phrases that repeat, answer and vary each other over the chords of a song."""

from __future__ import annotations

from dataclasses import dataclass, replace

from accompany.data.songs.form import Form
from accompany.data.songs.grid import Section
from accompany.data.songs.pitches import PitchChooser, Range
from accompany.data.songs.rhythm import Slot, phrase_rhythm
from accompany.data.songs.rng import Rng
from accompany.data.songs.singing_styles import SINGING_STYLES, SingingStyle


@dataclass(frozen=True)
class TuneNote:
    """A note on the beat grid; `tied` means that it carries on the syllable of the note before."""

    start: float
    length: float
    pitch: int
    tied: bool = False


@dataclass(frozen=True)
class Tune:
    """The melody of a song; `singing` names its `SingingStyle`, `most_lag` bounds the lag behind the beat, in beats."""

    notes: tuple[TuneNote, ...]
    singing: str
    low: int
    high: int
    most_lag: float = float("inf")


@dataclass(frozen=True)
class _Material:
    """Remembered material: slots with pitches, the tonic they stood on."""

    slots: tuple[Slot, ...]
    pitches: tuple[int, ...]
    tonic: int


_SCHEMES = {
    1: ("A",), 2: ("AB", "AA", "AB"), 3: ("AAB", "ABA"), 4: ("AABA", "ABAB", "ABAC", "AABC", "AAAB", "AABB", "ABCB"),
    5: ("ABABC",), 6: ("AABAAB", "ABABCB"), 7: ("AABAABC",), 8: ("AABAAABA", "ABABACAB", "ABACABAC", "AABBAABC"),
}  # fmt: skip
_SECTION_DENSITY = {"verse": 1.0, "chorus": 0.9, "bridge": 0.85, "prechorus": 1.1, "outro": 0.75}
_SECTION_LIFT = {"verse": -0.12, "chorus": 0.2, "bridge": 0.05, "prechorus": 0.05, "outro": 0.0}


def write_tune(form: Form, voice_range: tuple[int, int], rng: Rng) -> Tune:
    """Compose the melody of a song for a voice."""
    name = rng.choose(form.style.melody)
    writer = _TuneWriter(form, SINGING_STYLES[name], voice_range, rng)
    notes: list[TuneNote] = []
    for section in form.sections:
        if section.sung:
            notes += writer.section(section)
    tidy = _without_overlap(notes)
    low, high = writer.limits
    if form.end_beat is not None:
        tidy = _close(tidy, form.end_beat, form.harmony.spans[-1].chord.root, low, high)
    return Tune(tuple(tidy), name, low, high)


class _TuneWriter:
    """Keeps the phrases of a song, so that sections come back with the same tune."""

    def __init__(self, form: Form, singing: SingingStyle, voice_range: tuple[int, int], rng: Rng) -> None:
        self._form, self._singing, self._rng = form, singing, rng
        self.limits = _song_range(singing, voice_range, rng)
        self._chooser = PitchChooser(form, singing, rng, rng.choose(singing.scale))
        self._memory: dict[tuple[str, str, float], _Material] = {}
        self._bars = rng.choose(singing.phrase_bars)
        self._density = rng.between(1.05, 1.5)
        self._skip = 0.06 if rng.chance(0.5) else 0.0
        self._scheme: dict[tuple[str, int], str] = {}
        self._detached = rng.chance(0.15)
        self._straight = form.time.swing == 0.5 or form.time.unit == 0.5

    def section(self, section: Section) -> list[TuneNote]:
        """All phrases of one section."""
        bars = min(self._bars, section.bars)
        count = -(-section.bars // bars)
        if (section.name, count) not in self._scheme:
            self._scheme[section.name, count] = self._rng.pick(_SCHEMES.get(count, ("ABAC" * 8,)))
        notes: list[TuneNote] = []
        for index, letter in enumerate(self._scheme[section.name, count][:count]):
            if index and self._rng.chance(self._skip):
                continue
            length = min(bars, section.bars - index * bars)
            notes += self._phrase(section, letter, section.start_bar + index * bars, length, final=index % 2 == 1)
        return notes

    def _phrase(self, section: Section, letter: str, bar: int, bars: int, *, final: bool) -> list[TuneNote]:
        rng, metre = self._rng, self._form.metre
        beats = float(bars * metre.beats)
        key = (section.name, letter, beats)
        known = self._memory.get(key)
        fresh = known is None or rng.chance(0.08)
        slots = self._rhythm(section, beats) if known is None or fresh else self._vary(known.slots)
        guide = None if known is None or fresh else self._guide(known, section, slots)
        limits = self._tessitura(section)
        origin = float(bar * metre.beats)
        pitches = self._chooser.phrase(slots, origin, limits, guide, final=final)
        if known is None:
            self._memory[key] = _Material(tuple(slots), tuple(pitches), section.tonic)
        return self._ornament(slots, pitches, origin)

    def _rhythm(self, section: Section, beats: float) -> list[Slot]:
        density = self._density * _SECTION_DENSITY.get(section.name, 1.0)
        form = self._form
        return phrase_rhythm(
            self._singing, form.metre, self._rng, beats=beats, tempo_bpm=form.tempo_bpm, density=density,
            straight=self._straight, detached=self._detached,
        )  # fmt: skip

    def _vary(self, slots: tuple[Slot, ...]) -> list[Slot]:
        """The same rhythm, sometimes with a note split or two notes joined, since the words differ."""
        varied = list(slots)
        if len(varied) > 3 and self._rng.chance(0.35):
            index = self._rng.integer(0, len(varied) - 2)
            slot = varied[index]
            if slot.length >= 0.99 and not self._form.metre.compound:
                half = slot.length / 2
                varied[index : index + 1] = [Slot(slot.start, half), Slot(slot.start + half, half)]
            elif slot.length < 0.6:
                merged = Slot(slot.start, varied[index + 1].start + varied[index + 1].length - slot.start)
                varied[index : index + 2] = [merged]
        return varied

    def _guide(self, known: _Material, section: Section, slots: list[Slot]) -> list[float]:
        """Pitches to follow: those of the phrase before, in the section's key, sometimes transposed as a sequence."""
        shift = (section.tonic - known.tonic + 6) % 12 - 6
        if self._rng.chance(0.15):
            shift += self._rng.pick((-4, -2, 2, 2, 4, 5))
        guide = []
        for slot in slots:
            nearest = min(range(len(known.slots)), key=lambda i: abs(known.slots[i].start - slot.start))
            guide.append(float(known.pitches[nearest] + shift))
        keep = len(guide) - (self._rng.pick((0, 0, 2, 3)) if len(guide) > 4 else 0)
        return guide[:keep]

    def _tessitura(self, section: Section) -> Range:
        low, high = self.limits
        centre = (low + high) / 2 + _SECTION_LIFT.get(section.name, 0.0) * (high - low)
        return Range(low, high, centre)

    def _ornament(self, slots: list[Slot], pitches: list[int], origin: float) -> list[TuneNote]:
        notes: list[TuneNote] = []
        for index, (slot, pitch) in enumerate(zip(slots, pitches, strict=True)):
            note = TuneNote(origin + slot.start, slot.length, pitch)
            if slot.length >= 0.9 and self._rng.chance(self._singing.melisma):
                notes += self._run(note, pitches[index + 1] if index + 1 < len(pitches) else pitch)
            else:
                slurred = (
                    bool(notes) and slot.length < 0.6 and 0 < abs(pitch - notes[-1].pitch) <= 4
                    and self._rng.chance(self._singing.melisma * 0.35)
                )  # fmt: skip
                notes.append(replace(note, tied=slurred))
        return notes

    def _run(self, note: TuneNote, following: int) -> list[TuneNote]:
        """A held note that ends in a turn or a run of short notes on the same syllable."""
        step = 0.25 if not self._form.metre.compound else 1 / 6
        count = self._rng.pick((1, 2, 2, 3))
        held = note.length - count * step
        if held < step:
            return [note]
        scale = self._chooser.scale_at(note.start)
        direction = self._rng.pick((-1, 1)) if following == note.pitch else (1 if following > note.pitch else -1)
        notes = [replace(note, length=held)]
        pitch = note.pitch
        for index in range(count):
            turn = direction if index < 2 else -direction
            stepped = _next_in_scale(pitch, turn, scale)
            pitch = stepped if self.limits[0] <= stepped <= self.limits[1] else _next_in_scale(pitch, -turn, scale)
            notes.append(TuneNote(note.start + held + index * step, step, pitch, tied=True))
        return notes


def _close(notes: list[TuneNote], end: float, tonic: int, low: int, high: int) -> list[TuneNote]:
    """The tune up to the end of the song, its last note on the tonic."""
    kept = [note for note in notes if note.start < end - 0.4]
    if not kept or end - kept[-1].start > 6:
        return kept
    near = kept[-1].pitch
    last = near + (tonic - near + 6) % 12 - 6
    last += 12 if last < low - 1 else -12 if last > high + 1 else 0
    kept[-1] = replace(kept[-1], length=min(kept[-1].length, end - kept[-1].start))
    return [*kept, TuneNote(end, 3.0, last)]


def _next_in_scale(pitch: int, direction: int, scale: frozenset[int]) -> int:
    pitch += direction
    while pitch % 12 not in scale:
        pitch += direction
    return pitch


def _song_range(singing: SingingStyle, voice_range: tuple[int, int], rng: Rng) -> tuple[int, int]:
    low, high = voice_range
    span = min(rng.integer(*singing.span), high - low)
    slack = high - low - span
    start = low + round(slack * (rng.unit() + rng.unit()) / 2)
    return start, start + span


def _without_overlap(notes: list[TuneNote]) -> list[TuneNote]:
    """Sorted notes, each cut where the next begins; a pickup wins over the tail of the phrase before."""
    ordered = sorted(notes, key=lambda note: note.start)
    tidy: list[TuneNote] = []
    for note in ordered:
        if tidy and note.start - tidy[-1].start < 0.12:
            continue
        if tidy and tidy[-1].start + tidy[-1].length > note.start:
            tidy[-1] = replace(tidy[-1], length=note.start - tidy[-1].start)
        tidy.append(note)
    return tidy
