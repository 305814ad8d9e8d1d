"""Metres, sections and the map from beats to seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metre:
    """Beats a bar and grid steps a beat; in 6/8, 9/8 and 12/8 the beat is the dotted quarter."""

    label: str
    beats: int
    steps: int

    @property
    def compound(self) -> bool:
        """Whether the beat falls into three."""
        return self.steps == 3


METRES = {
    m.label: m
    for m in (
        Metre("4/4", 4, 4), Metre("3/4", 3, 4), Metre("6/8", 2, 3), Metre("12/8", 4, 3),
        Metre("2/4", 2, 4), Metre("9/8", 3, 3),
    )
}  # fmt: skip
"""The composer draws the first four; published scores have all."""


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
