"""A rule-based arranger: chords and beats played plainly, a baseline for the worth of a plan alone.

Additive tones and noise bursts only, so that it needs no synthesiser: a chord on every beat, the root in the
bass under it, kick and snare on alternate beats.
"""

from __future__ import annotations

import numpy as np

from accompany.evaluation.chord_metrics import Chords
from accompany.evaluation.metrics import Signal
from accompany.music.harmony import chord_pitch_classes

_DRUM_LEVEL = 0.4
_PARTIALS = ((1, 1.0), (2, 0.5), (3, 0.25), (4, 0.12))


def arrange(chords: Chords, beats_s: tuple[float, ...], n_samples: int, sample_rate: int) -> Signal:
    """Play `chords` (start s, end s, Harte label) on `beats_s`, `[n_samples]` float32 with a peak of 0.5."""
    out = np.zeros(n_samples)
    seconds = n_samples / sample_rate
    times = np.array([t for t in beats_s if t < seconds] or np.arange(0.0, seconds, 0.5))
    ends = np.append(times[1:], seconds)
    for index, (start, end) in enumerate(zip(times, ends, strict=True)):
        label = _chord_at(chords, (start + end) / 2)
        if label is not None:
            _play_chord(out, label, start, end, sample_rate)
        _strike(out, start, sample_rate, low=index % 2 == 0)
    return np.asarray(out * (0.5 / max(np.abs(out).max(), 1e-9)), dtype=np.float32)


def _chord_at(chords: Chords, time_s: float) -> str | None:
    return next((label for start, end, label in chords if start <= time_s < end), None)


def _play_chord(out: np.ndarray, label: str, start: float, end: float, sample_rate: int) -> None:
    root, pitch_classes, bass = chord_pitch_classes(label)
    if root is None or not pitch_classes:
        return
    for pitch_class in sorted(pitch_classes):
        _tone(out, 60 + pitch_class, 0.2, start, end, sample_rate)
    _tone(out, 36 + (bass if bass is not None else root), 0.4, start, end, sample_rate)


def _tone(out: np.ndarray, midi: float, level: float, start: float, end: float, sample_rate: int) -> None:
    begin, stop = round(start * sample_rate), min(len(out), round(end * sample_rate))
    t = np.arange(max(0, stop - begin)) / sample_rate
    frequency = 440.0 * 2 ** ((midi - 69) / 12)
    envelope = np.minimum(1.0, t / 0.005) * np.exp(-2.0 * t) * np.minimum(1.0, (t[-1:] - t) / 0.01 if len(t) else 1.0)
    for partial, weight in _PARTIALS:
        out[begin:stop] += level * weight * envelope * np.sin(2 * np.pi * partial * frequency * t)


def _strike(out: np.ndarray, at: float, sample_rate: int, *, low: bool) -> None:
    """A kick (`low`) or a snare."""
    begin = round(at * sample_rate)
    t = np.arange(max(0, min(round(0.12 * sample_rate), len(out) - begin))) / sample_rate
    if low:
        sound = np.sin(2 * np.pi * (50 * t + 4 * (1 - np.exp(-30 * t)))) * np.exp(-25 * t)
    else:
        sound = np.random.default_rng(begin).standard_normal(len(t)) * np.exp(-50 * t)
    out[begin : begin + len(t)] += _DRUM_LEVEL * sound
