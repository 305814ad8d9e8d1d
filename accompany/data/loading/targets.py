"""Frame-wise labels of a song: training targets of the listener, and the control track of the stages."""

from __future__ import annotations

import numpy as np

from accompany.data.tokens.store import Labels
from accompany.music.harmony import key_index, label_of, majmin
from accompany.music.instrumentation import DENSITIES, FAMILIES, Instrumentation
from accompany.music.plan import Plan, control_track

UNKNOWN = -1
BEAT_STEPS = 2
"""Beat targets have two steps in a frame: 50 Hz on the 25 Hz grid."""


def pulse_track(times_s: tuple[float, ...], n_frames: int, frame_rate: float) -> np.ndarray:
    """1 in the step of each event, else 0; all -1 where no event of the song is known. int64 [2F]."""
    n_steps = BEAT_STEPS * n_frames
    if not times_s:
        return np.full(n_steps, UNKNOWN, np.int64)
    track = np.zeros(n_steps, np.int64)
    steps = np.floor(np.asarray(times_s) * BEAT_STEPS * frame_rate + 1e-6).astype(np.int64)
    track[steps[(steps >= 0) & (steps < n_steps)]] = 1
    return track


def chord_track(labels: Labels, n_frames: int, frame_rate: float) -> np.ndarray:
    """The majmin chord (0 to 24) in the middle of each frame, -1 where none is labelled. int64 [F]."""
    track = np.full(n_frames, UNKNOWN, np.int64)
    for start_s, end_s, label in labels.chords:
        # Frame i belongs to the chord that sounds at its middle, (i + 0.5) / frame_rate.
        first, last = (max(int(np.ceil(t * frame_rate - 0.5)), 0) for t in (start_s, end_s))
        track[first:last] = majmin(label)
    return track


def key_target(labels: Labels) -> int:
    """The key as 0 to 23 (major on C..B, then minor), -1 where it is unknown."""
    return key_index(labels.key) if labels.key else UNKNOWN


def plan_of(labels: Labels, *, triads: bool = False) -> Plan:
    """The labels as a plan; `triads` reduces every chord to major or minor, as most users type them."""
    chords = labels.chords
    if triads:
        chords = tuple((start_s, end_s, label_of(majmin(label))) for start_s, end_s, label in chords)
    return Plan(
        beats_s=labels.beats,
        downbeats_s=labels.downbeats,
        chords=chords,
        key=labels.key,
        tempo_bpm=labels.tempo_bpm,
        beats_per_bar=labels.beats_per_bar or Plan.beats_per_bar,
    )


def instrumentation(labels: Labels) -> np.ndarray | None:
    """The complete instrumentation as float32 [Di]; None where it is unknown."""
    present = tuple(name for name in labels.families if name in FAMILIES)
    if not present:
        return None
    absent = tuple(name for name in FAMILIES if name not in present)
    return Instrumentation(present, absent, labels.density if labels.density in DENSITIES else None).vector()


def control_arrays(labels: Labels, n_frames: int, frame_rate: float, *, triads: bool) -> tuple[np.ndarray, np.ndarray]:
    """Control track float16 [F, Dc] and its mask bool [F, 3] (beat, chord and key known)."""
    control, mask = control_track(plan_of(labels, triads=triads), n_frames, frame_rate)
    return control.numpy().astype(np.float16), mask.numpy()


def thinned(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A vector [`DIM`] of which only some facts are stated, as prompts do: a share of the families drawn at random.

    Families that play are stated more often than those that do not; the density in half of the draws.
    """
    count = len(FAMILIES)
    share = rng.uniform(0, 1)
    made = vector.copy()
    made[:count] *= rng.random(count) < share**0.5
    made[count : 2 * count] *= rng.random(count) < share**2
    made[2 * count :] *= rng.random() < 0.5
    return made
