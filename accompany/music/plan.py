"""Plans: beats, bars, chords and key of a song, and their frame-wise control track.

A `Plan` holds the beat grid, the bars, the chords and the key. Any part may be left open; the control track
then marks that group as unknown.

Fields of a control frame (the centre of the frame counts):

| group | columns | content |
|---|---|---|
| beat  | 0..1   | sine and cosine of the phase within the beat (both 0 where only the tempo is known) |
|       | 2..3   | sine and cosine of the phase within the bar (both 0 where the bars are unknown) |
|       | 4..5   | pulses that decay exponentially from the last beat and the last downbeat |
|       | 6      | log2 of the tempo over 120 BPM, smoothed over some beats |
| chord | 7..18  | root, one-hot |
|       | 19..30 | chord tones |
|       | 31..42 | bass, one-hot |
|       | 43     | 1 where there is no chord |
|       | 44     | pulse that decays from the last change of chord |
| key   | 45..56 | tonic, one-hot |
|       | 57..58 | major, minor |
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accompany.music.harmony import chord_pitch_classes, key_index

BEAT_GROUP, CHORD_GROUP, KEY_GROUP = 0, 1, 2
BEAT_SLICE, CHORD_SLICE, KEY_SLICE = slice(0, 7), slice(7, 45), slice(45, 59)
BEAT_PHASE, BAR_PHASE = [0, 1, 4], [2, 3, 5]
CONTROL_DIM = 59
BEATS_PER_BAR = 4
GROUP_SLICES = (BEAT_SLICE, CHORD_SLICE, KEY_SLICE)


_REFERENCE_BPM = 120.0
_PULSE_S = 0.08
_TEMPO_BEATS = 4
_SLACK = 1e-6  # of a beat or bar: a frame that rounding puts just before a beat is on it


@dataclass(frozen=True)
class Reading:
    """One way to understand a vocal: how it differs from the likeliest, its tempo and key, and its probability."""

    name: str
    tempo_bpm: float
    key: str
    probability: float


@dataclass(frozen=True)
class Plan:
    """Beats, bars, chords and key of a song; every part may be unknown.

    Attributes:
        beats_s: times of all beats in seconds, rising; empty if unknown.
        downbeats_s: times of the first beats of bars, rising; empty if unknown.
        chords: (start_s, end_s, Harte label), in order; frames that none covers are unknown.
        key: such as `A:min`; None if unknown.
        tempo_bpm: beats a minute; None means what the beats say.
        beats_per_bar: used before the first and after the last known bar.
        tempo_confidence, beat_confidence, key_confidence: 0..1, probability that the tempo, tempo and phase, and the
            key are right; None where they were given.
        chord_confidence: 0..1, share of the chords that are expected to be right.
        readings: the likeliest ways to understand the vocal, the best first.
        reading: which of them this is, from 1.
    """

    beats_s: tuple[float, ...] = ()
    downbeats_s: tuple[float, ...] = ()
    chords: tuple[tuple[float, float, str], ...] = ()
    key: str | None = None
    tempo_bpm: float | None = None
    beats_per_bar: int = BEATS_PER_BAR
    tempo_confidence: float | None = None
    beat_confidence: float | None = None
    key_confidence: float | None = None
    chord_confidence: float | None = None
    readings: tuple[Reading, ...] = ()
    reading: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for times that are no numbers or do not rise, or a tempo that is none."""
        for name in ("beats_s", "downbeats_s"):
            times = np.asarray(getattr(self, name), np.float64)
            if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
                raise ValueError(f"{name} must be finite and rise strictly")
        if not all(np.isfinite((start, end)).all() for start, end, _ in self.chords):
            raise ValueError("the times of the chords must be finite")
        if self.tempo_bpm is not None and not self.tempo_bpm > 0:
            raise ValueError(f"tempo_bpm {self.tempo_bpm} must be above 0")
        if self.beats_per_bar < 1:
            raise ValueError(f"beats_per_bar {self.beats_per_bar} must be at least 1")

    def shifted(self, offset_s: float) -> Plan:
        """The same plan with `offset_s` added to all times, for example -start_s for a clip cut at start_s."""
        return dataclasses.replace(
            self,
            beats_s=tuple(beat + offset_s for beat in self.beats_s),
            downbeats_s=tuple(beat + offset_s for beat in self.downbeats_s),
            chords=tuple((start + offset_s, end + offset_s, label) for start, end, label in self.chords),
        )


def control_track(plan: Plan, n_frames: int, frame_rate: float, start_s: float = 0.0) -> tuple[Tensor, Tensor]:
    """The plan as numbers per frame.

    Args:
        plan: any of its parts may be unknown.
        n_frames: F.
        frame_rate: frames a second.
        start_s: the time at which frame 0 begins, for a clip out of a longer plan.

    Returns:
        control [F, CONTROL_DIM] float32 and mask [F, 3] bool (beat, chord, key known).

    Raises:
        InputError: a chord or key label cannot be read.
    """
    times_s = start_s + (np.arange(n_frames) + 0.5) / frame_rate
    control = np.zeros((n_frames, CONTROL_DIM), dtype=np.float32)
    mask = np.zeros((n_frames, 3), dtype=bool)
    mask[:, BEAT_GROUP] = _write_beats(control[:, BEAT_SLICE], plan, times_s)
    mask[:, CHORD_GROUP] = _write_chords(control[:, CHORD_SLICE], plan, times_s)
    mask[:, KEY_GROUP] = _write_key(control[:, KEY_SLICE], plan)
    return torch.from_numpy(control), torch.from_numpy(mask)


def beat_positions(plan: Plan, times_s: np.ndarray) -> np.ndarray:
    """Positions of `times_s` on the beat grid: beat i is position i; steady beyond the first and the last beat.

    At least one beat is needed; a single one needs `tempo_bpm` (120 if that is unknown too).
    """
    beats = np.asarray(plan.beats_s)
    if len(beats) == 1:
        return (times_s - beats[0]) * (plan.tempo_bpm or _REFERENCE_BPM) / 60.0
    positions = np.interp(times_s, beats, np.arange(len(beats)))
    edge = min(_TEMPO_BEATS, len(beats) - 1)
    before, after = times_s < beats[0], times_s > beats[-1]
    positions[before] = (times_s[before] - beats[0]) * edge / (beats[edge] - beats[0])
    positions[after] = len(beats) - 1 + (times_s[after] - beats[-1]) * edge / (beats[-1] - beats[-1 - edge])
    return positions


def bar_positions(plan: Plan, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Beat positions on the bar grid, with at least one downbeat known.

    Returns:
        Bar positions (downbeat i is position i), and the beats gone since the last downbeat.
    """
    downbeats = beat_positions(plan, np.asarray(plan.downbeats_s))
    bars = np.interp(positions, downbeats, np.arange(len(downbeats)))
    before, after = positions < downbeats[0], positions > downbeats[-1]
    bars[before] = (positions[before] - downbeats[0]) / plan.beats_per_bar
    bars[after] = len(downbeats) - 1 + (positions[after] - downbeats[-1]) / plan.beats_per_bar
    beats_in_bar = np.concatenate([[plan.beats_per_bar], np.diff(downbeats), [plan.beats_per_bar]])
    bar = np.clip(np.floor(bars + _SLACK).astype(int) + 1, 0, len(beats_in_bar) - 1)
    return bars, (bars + _SLACK) % 1.0 * beats_in_bar[bar]


def _write_beats(out: np.ndarray, plan: Plan, times_s: np.ndarray) -> bool:
    if not plan.beats_s:
        if plan.tempo_bpm is None:
            return False
        out[:, 6] = np.log2(plan.tempo_bpm / _REFERENCE_BPM)
        return True
    positions = beat_positions(plan, times_s)
    interval_s = _local_interval(plan, positions)
    out[:, 6] = np.log2(60.0 / interval_s / _REFERENCE_BPM)
    phase = (positions + _SLACK) % 1.0
    out[:, 0], out[:, 1] = np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)
    out[:, 4] = np.exp(-phase * interval_s / _PULSE_S)
    if plan.downbeats_s:
        bars, beats_gone = bar_positions(plan, positions)
        out[:, 2], out[:, 3] = np.sin(2 * np.pi * bars), np.cos(2 * np.pi * bars)
        out[:, 5] = np.exp(-beats_gone * interval_s / _PULSE_S)
    return True


def _local_interval(plan: Plan, positions: np.ndarray) -> np.ndarray:
    """Seconds a beat at each position, over `_TEMPO_BEATS` beats in either direction."""
    beats = np.asarray(plan.beats_s)
    if len(beats) == 1:
        return np.full(len(positions), 60.0 / (plan.tempo_bpm or _REFERENCE_BPM))
    index = np.arange(len(beats))
    low, high = np.maximum(index - _TEMPO_BEATS, 0), np.minimum(index + _TEMPO_BEATS, len(beats) - 1)
    return np.interp(positions, index, (beats[high] - beats[low]) / (high - low))


def _write_chords(out: np.ndarray, plan: Plan, times_s: np.ndarray) -> np.ndarray:
    known = np.zeros(len(times_s), dtype=bool)
    previous = None
    for start_s, end_s, label in plan.chords:
        frames = slice(*np.searchsorted(times_s, (start_s, end_s)))
        root, tones, bass = chord_pitch_classes(label)
        known[frames] = label != "X"
        out[frames] = 0.0
        if root is None or bass is None:
            out[frames, 36] = 1.0
        else:
            out[frames, root] = 1.0
            out[frames, [12 + tone for tone in tones]] = 1.0
            out[frames, 24 + bass] = 1.0
        if (root, tones, bass) != previous:
            onset_s = start_s
        out[frames, 37] = np.exp(-(times_s[frames] - onset_s) / _PULSE_S)
        previous = (root, tones, bass)
    return known


def _write_key(out: np.ndarray, plan: Plan) -> bool:
    if plan.key is None:
        return False
    key = key_index(plan.key)
    out[:, key % 12] = 1.0
    out[:, 12 + key // 12] = 1.0
    return True
