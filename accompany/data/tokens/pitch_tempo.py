"""Pitch and tempo augmentation: both stems of a pair and its labels resampled together, as by tape speed.

Pitch and tempo change together, which keeps the sound clean: changing one alone needs a vocoder, which smears drums,
and the band is the training target. Steps are whole semitones, so that chords keep their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accompany.audio import Audio
from accompany.data.tokens.store import Labels
from accompany.music.chord_text import transpose_label


def semitones_of(copy: int, most: int, seed: Sequence[int]) -> int:
    """Transposition of a copy in semitones: 0 for the pair itself, else -most to most, distinct for each copy."""
    if copy == 0:
        return 0
    steps = [step for step in range(-most, most + 1) if step]
    return int(np.random.default_rng(seed).permutation(steps)[copy - 1])


def sped(sound: Audio, semitones: int) -> Audio:
    """The same samples at another nominal rate: resampling to a part's rate then changes pitch and tempo."""
    if semitones == 0:
        return sound
    return replace(sound, sample_rate=round(sound.sample_rate * _speed(semitones)))


def shifted_labels(labels: Labels, semitones: int) -> Labels:
    """Labels of the augmented pair: times and tempo scaled, chords and key transposed."""
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
