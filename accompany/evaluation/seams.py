"""Seams between windows: spectral flux and level steps at borders, relative to the rest of the signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_HOP_S = 0.01
_WINDOW_S = 0.04
_NEAR_S = 0.03
_SPAN_S = 0.1
_BLOCK = 4096


@dataclass(frozen=True)
class Seams:
    """Flux and level at borders: 1 is as elsewhere, an audible border is well above.

    Attributes:
        flux_ratio: largest rise of the log spectrum within 30 ms of a border, mean over borders, over the mean of the
            same at all other places.
        level_ratio: largest step of the level (dB, between the 100 ms before and after), likewise.
    """

    flux_ratio: float
    level_ratio: float


def seams(samples: np.ndarray, sample_rate: int, borders_s: Sequence[float]) -> Seams:
    """Measure borders (seconds) in a sound [C, T]; borders within 0.1 s of the ends count not."""
    return FrameChanges.of(samples, sample_rate).seams(borders_s)


@dataclass(frozen=True)
class FrameChanges:
    """Changes of spectrum and level at each hop of a signal: `flux` and `step`, both [N]."""

    flux: np.ndarray
    step: np.ndarray

    @classmethod
    def of(cls, samples: np.ndarray, sample_rate: int) -> FrameChanges:
        """The changes of a sound [C, T]."""
        mono = samples.mean(axis=0)
        flux, step = _flux(mono, sample_rate), _level_steps(mono, sample_rate)
        n = min(len(flux), len(step))
        return cls(flux[:n], step[:n])

    def hops(self, times_s: Sequence[float]) -> np.ndarray:
        """The hops of times that are not within 0.1 s of the ends."""
        inside = [time for time in times_s if _SPAN_S < time < len(self.flux) * _HOP_S - _SPAN_S]
        return np.round(np.asarray(inside) / _HOP_S).astype(int)

    def seams(self, borders_s: Sequence[float]) -> Seams:
        """Flux and level at borders (seconds)."""
        places = self.hops(borders_s)
        return Seams(_ratio(self.flux, places), _ratio(self.step, places))


def window_borders(n_frames: int, window: int, context: int, lookahead: int, frame_rate: float) -> list[float]:
    """Seconds at which one window of a stage ends and the next goes on."""
    from accompany.stages.decoding import windows

    return [part.keep_from / frame_rate for part in windows(n_frames, window, context, lookahead)][1:]


@dataclass(frozen=True)
class Edge:
    """One place in a sound, against all others in it.

    Attributes:
        flux: largest rise of the log spectrum within 30 ms, over the mean of the same everywhere.
        level: largest step of the level, likewise.
        flux_rank, level_rank: shares of all places with less: 0.5 is the median.
    """

    flux: float
    level: float
    flux_rank: float
    level_rank: float


def edges(samples: np.ndarray, sample_rate: int, places_s: Sequence[float]) -> list[Edge]:
    """Places (seconds) in a sound [C, T], each on its own; those within 0.1 s of the ends say nothing and are left."""
    changes = FrameChanges.of(samples, sample_rate)
    flux, step = _largest_near(changes.flux), _largest_near(changes.step)
    return [
        Edge(
            float(flux[place] / max(flux.mean(), 1e-9)),
            float(step[place] / max(step.mean(), 1e-9)),
            float((flux < flux[place]).mean()),
            float((step < step[place]).mean()),
        )
        for place in changes.hops(places_s)
    ]


def _largest_near(values: np.ndarray) -> np.ndarray:
    """[N]: the largest value within 30 ms of each frame."""
    if not len(values):
        return values
    reach = round(_NEAR_S / _HOP_S)
    padded = np.pad(values, reach, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1))


def _ratio(values: np.ndarray, places: np.ndarray) -> float:
    """Mean over places of the largest value near each, over that of all frames away from the places.

    1 where there are no places, or nothing but the ends, which say nothing, is away from them.
    """
    if not len(places):
        return 1.0
    reach, largest = round(_NEAR_S / _HOP_S), _largest_near(values)
    away = np.ones(len(values), bool)
    for place in places:
        away[max(place - 3 * reach, 0) : place + 3 * reach] = False
    ends = round(_SPAN_S / _HOP_S)
    if not away[ends:-ends].any():
        return 1.0
    return float(largest[places].mean() / max(float(largest[away].mean()), 1e-9))


def _flux(mono: np.ndarray, rate: int) -> np.ndarray:
    """Rise of the log spectrum from frame to frame, [N]; frame i is centred at i hops."""
    hop, size = round(_HOP_S * rate), round(_WINDOW_S * rate)
    padded = np.pad(mono, (size // 2 + hop, size))
    count = len(mono) // hop
    window = np.hanning(size)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][: count + 1]
    made = np.zeros(count)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        spectra = np.log1p(1000 * np.abs(np.fft.rfft(frames[start : stop + 1] * window)) / size)
        made[start:stop] = np.maximum(np.diff(spectra, axis=0), 0).sum(axis=1)
    return made


def _level_steps(mono: np.ndarray, rate: int) -> np.ndarray:
    """Level step in dB at each hop, [N]: the 100 ms after against the 100 ms before."""
    hop, span = round(_HOP_S * rate), round(_SPAN_S / _HOP_S)
    count = len(mono) // hop
    energy = np.square(mono[: count * hop].reshape(count, hop).astype(np.float64)).mean(axis=1)
    total = np.concatenate([[0.0], np.cumsum(energy)])
    places = np.arange(count)
    before = total[places] - total[np.maximum(places - span, 0)]
    after = total[np.minimum(places + span, count)] - total[places]
    steps = np.abs(10 * np.log10((after + 1e-7) / (before + 1e-7)))
    steps[:span] = steps[count - span :] = 0.0
    return steps
