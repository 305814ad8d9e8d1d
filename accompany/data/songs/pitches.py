"""Melodic pitch model: steps over leaps, chord notes on strong beats, contours, cadences and guides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accompany.data.songs.form import Form
from accompany.data.songs.rng import Rng
from accompany.data.songs.singing_styles import SingingStyle
from accompany.data.songs.theory import MAJOR_LIKE, Chord, scale_pitch_classes

if TYPE_CHECKING:
    from accompany.data.songs.rhythm import Slot

# Weight of an interval by its size in semitones, near the statistics of pop and folk song.
_INTERVAL = (1.0, 0.85, 1.15, 0.5, 0.45, 0.28, 0.02, 0.17, 0.04, 0.05, 0.015, 0.005, 0.05)
_CLOSENESS = tuple(math.exp(-1.5 * step) for step in range(25))
_NEARNESS = tuple(math.exp(-0.5 * (step / 4.5) ** 2) for step in range(40))
_CONTOURS = ("arch", "arch", "fall", "fall", "rise", "wave", "level", "dip")


@dataclass(frozen=True)
class Range:
    """Lowest and highest pitch, and where the voice likes to be."""

    low: int
    high: int
    centre: float


class PitchChooser:
    """Chooses the pitches of phrases over the harmony of one song."""

    def __init__(self, form: Form, singing: SingingStyle, rng: Rng, scale: str) -> None:
        self._form, self._singing, self._rng, self._scale = form, singing, rng, scale
        self._allowed = self._few_notes(singing, rng)

    def scale_at(self, beat: float) -> frozenset[int]:
        """Pitch classes of the mode at a beat, with the altered notes of the chord."""
        return sung_scale(self._form, beat)

    def phrase(
        self, slots: list[Slot], origin: float, limits: Range, guide: list[float] | None, *, final: bool
    ) -> list[int]:
        """MIDI pitches for the slots of a phrase that starts at beat `origin`.

        Args:
            slots: the rhythm.
            origin: beat of the phrase's first bar line.
            limits: the range.
            guide: pitches to stay near, for the first slots at least; None composes freely.
            final: the phrase closes a pair (an answer) and likes to end at rest.
        """
        contour = self._contour(len(slots), limits)
        shift = self._rng.pick((0, 0, -2, -2, 2, -4, 3)) if guide is None and self._rng.chance(0.4) else None
        pitches: list[int] = []
        last_interval = 0
        for index, slot in enumerate(slots):
            follow = guide[index] if guide is not None and index < len(guide) else None
            if shift is not None:
                follow = self._echo(slots, pitches, index, shift)
            previous = pitches[-1] if pitches else round(contour[0])
            closing = index == len(slots) - 1
            pitch = self._next(
                slot, origin + slot.start, previous, last_interval, contour[index], follow, limits,
                cadence=("answer" if final else "question") if closing else "", first=not pitches,
            )  # fmt: skip
            last_interval = pitch - previous if pitches else 0
            pitches.append(pitch)
        return self._chromatic(slots, pitches)

    def _echo(self, slots: list[Slot], pitches: list[int], index: int, shift: int) -> float | None:
        """The pitch one bar earlier, transposed: a motif and its sequence within a phrase."""
        wanted = slots[index].start - self._form.metre.beats
        for slot, pitch in zip(slots, pitches, strict=False):
            if abs(slot.start - wanted) < 0.05 and index < len(slots) - 1:
                return float(pitch + shift)
        return None

    def _next(
        self, slot: Slot, beat: float, previous: int, last_interval: int, target: float, follow: float | None,
        limits: Range, *, cadence: str, first: bool,
    ) -> int:  # fmt: skip
        off = slot.start * 2 % 1 > 1e-6 or slot.start % 1 > 1e-6
        chord = self._form.harmony.at(beat + (0.55 * min(slot.length, 1.0) if off else 0.02))
        strength = self._strength(slot, beat)
        later = self._form.harmony.at(beat + slot.length - 0.3).pitch_classes if slot.length >= 1.5 else ()
        tonic = self._form.section_at(beat).tonic
        pitches, weights = [], []
        for pitch, harmony in self._candidates(beat, chord, limits, strength):
            weight = harmony
            if not first:
                weight *= self._interval(pitch - previous, last_interval)
            if follow is not None:
                weight *= _CLOSENESS[min(24, abs(round(pitch - follow)))]
            else:
                weight *= _NEARNESS[min(39, abs(round(pitch - target)))]
            if later and pitch % 12 not in later:
                weight *= 0.4
            if cadence:
                weight *= _cadence((pitch - tonic) % 12, cadence)
            pitches.append(pitch)
            weights.append(weight)
        return self._rng.weighted(pitches, weights)

    def _interval(self, interval: int, last: int) -> float:
        size = abs(interval)
        weight = _INTERVAL[size] if size <= 12 else 0.003
        if size > 2:
            weight *= self._singing.leap
        elif size == 0:
            weight *= self._singing.recite * (0.7 if last == 0 else 1.0)
        if abs(last) > 4 and interval * last > 0:
            weight *= 0.3
        return weight

    def _candidates(self, beat: float, chord: Chord, limits: Range, strength: float) -> list[tuple[int, float]]:
        """(pitch, weight from harmony and scale) of everything in range that could be sung now."""
        section = self._form.section_at(beat)
        mode = scale_pitch_classes(section.tonic, section.mode)
        tones = chord.pitch_classes
        altered = frozenset(tones[:4]) - mode
        outside = max(0.04, 1 - self._singing.chord_pull * strength)
        liked = self._liked(section.tonic, section.mode)
        found = []
        for pitch in range(limits.low, limits.high + 1):
            pitch_class = pitch % 12
            weight = 0.0
            if pitch_class in tones:
                weight = 1.0 if pitch_class in tones[:3] else 0.6
                if pitch_class in altered:
                    weight *= 0.6
            elif pitch_class in mode or pitch_class in liked:
                weight = outside * (0.1 if _clashes(pitch_class, altered) else 1.0)
            if liked and pitch_class not in liked:
                weight *= 0.2
            if self._allowed and (pitch_class - section.tonic) % 12 not in self._allowed:
                weight *= 0.08
            if weight > 0:
                found.append((pitch, weight))
        return found

    def _liked(self, tonic: int, mode: str) -> frozenset[int]:
        if self._scale == "mode":
            return frozenset()
        major = mode in MAJOR_LIKE
        if self._scale == "blues":
            steps: tuple[int, ...] = (0, 2, 3, 4, 5, 7, 9, 10) if major else (0, 3, 5, 6, 7, 10)
        else:
            steps = (0, 2, 4, 7, 9) if major else (0, 3, 5, 7, 10)
        return frozenset((tonic + step) % 12 for step in steps)

    def _strength(self, slot: Slot, beat: float) -> float:
        """Harmonic weight of a note, from its metric position and length, 0 to 1."""
        phase = beat % 1
        in_bar = beat % self._form.metre.beats
        if phase < 1e-6 or phase > 1 - 1e-6:
            strength = 1.0 if in_bar < 0.5 or abs(in_bar - self._form.metre.beats / 2) < 1e-6 else 0.8
        elif slot.length >= 0.9:
            strength = 0.85
        else:
            strength = 0.45 if abs(phase - 0.5) < 1e-6 else 0.3
        return min(1.0, strength + (0.1 if slot.length >= 1.5 else 0.0))

    def _contour(self, count: int, limits: Range) -> list[float]:
        """A target pitch for every note of a phrase."""
        shape = self._rng.pick(_CONTOURS)
        size = min(7.0, (limits.high - limits.low) * 0.45) * self._rng.between(0.5, 1.1)
        centre = limits.centre + self._rng.between(-2.0, 2.0)
        curve = []
        for index in range(count):
            x = index / max(1, count - 1)
            height = {
                "arch": math.sin(math.pi * x) - 0.5, "fall": 0.5 - x, "rise": x - 0.5, "level": 0.0,
                "wave": 0.6 * math.sin(2 * math.pi * x), "dip": 0.5 - math.sin(math.pi * x),
            }[shape]  # fmt: skip
            curve.append(min(limits.high, max(limits.low, centre + size * height)))
        return curve

    def _chromatic(self, slots: list[Slot], pitches: list[int]) -> list[int]:
        """Lower chromatic neighbours in place of some short weak notes that lead up a step."""
        if not self._singing.chromatic:
            return pitches
        for index in range(1, len(pitches) - 1):
            short = slots[index].length <= 0.55 and slots[index].start % 1 > 0.2
            if (
                short
                and abs(pitches[index] - pitches[index + 1]) <= 2
                and self._rng.chance(self._singing.chromatic * 3)
            ):
                pitches[index] = pitches[index + 1] - 1
        return pitches

    @staticmethod
    def _few_notes(singing: SingingStyle, rng: Rng) -> frozenset[int]:
        """Scale steps (semitones over the tonic) of a tune limited to three to five notes; empty for others."""
        if singing.span[1] > 8:
            return frozenset()
        chosen = rng.pick(((0, 2, 3, 4), (0, 2, 3, 4, 7), (7, 9, 10, 0), (0, 10, 3, 5), (4, 3, 5, 7), (0, 2, 7, 10, 9)))
        return frozenset(chosen)


def sung_scale(form: Form, beat: float) -> frozenset[int]:
    """Pitch classes of the mode at a beat, those that clash with the chord replaced by the chord's own."""
    section = form.section_at(beat)
    scale = scale_pitch_classes(section.tonic, section.mode)
    chord = frozenset(form.harmony.at(beat).pitch_classes)
    altered = chord - scale
    return frozenset(p for p in scale if not (p not in chord and _clashes(p, altered))) | chord


def _clashes(pitch_class: int, altered: frozenset[int]) -> bool:
    return any((pitch_class - note) % 12 in (1, 11) for note in altered)


_CADENCES = {
    "answer": (3.0, 0.4, 0.7, 1.3, 1.3, 0.3, 0.1, 1.0, 0.3, 0.4, 0.4, 0.15),
    "question": (0.9, 0.4, 1.6, 1.2, 1.2, 0.7, 0.2, 1.6, 0.5, 0.7, 0.7, 0.7),
}


def _cadence(degree: int, kind: str) -> float:
    return _CADENCES[kind][degree]
