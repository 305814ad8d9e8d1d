"""A pair sung and played higher and faster, or lower and slower, as a tape does it: both sides alike, labels too.

Pitch and time move together because that leaves the sound as it is: to move one alone needs a vocoder, which smears
drums, and the band is what the stages learn to make. Steps are whole semitones, so that chords keep their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accompany.audio import Audio
from accompany.data.tokens.store import Labels
from accompany.music.harmony import transpose_label


def semitones_of(move: int, most: int, seed: Sequence[int]) -> int:
    """By how much a pair's copy `move` is moved: 0 for the pair itself, else -most to most, each copy otherwise."""
    if move == 0:
        return 0
    steps = [step for step in range(-most, most + 1) if step]
    return int(np.random.default_rng(seed).permutation(steps)[move - 1])


def sped(sound: Audio, semitones: int) -> Audio:
    """The same samples at another rate: what resampling to a part's own rate turns into another pitch and tempo."""
    if semitones == 0:
        return sound
    return replace(sound, sample_rate=round(sound.sample_rate * _speed(semitones)))


def moved_labels(labels: Labels, semitones: int) -> Labels:
    """Labels of the moved pair: times shorter or longer, chords and key transposed, the tempo another."""
    if semitones == 0:
        return labels
    speed = _speed(semitones)
    chords = ((a / speed, b / speed, transpose_label(label, semitones)) for a, b, label in labels.chords)
    return replace(
        labels,
        beats=tuple(time_s / speed for time_s in labels.beats),
        downbeats=tuple(time_s / speed for time_s in labels.downbeats),
        chords=tuple(chords),
        key=transpose_label(labels.key, semitones) if labels.key else labels.key,
        tempo_bpm=labels.tempo_bpm * speed if labels.tempo_bpm else labels.tempo_bpm,
    )


def _speed(semitones: int) -> float:
    return float(2.0 ** (semitones / 12))
