"""Levels: loudness of a sound, gain of a band against its vocal, and their mix. C channels, T samples."""

from __future__ import annotations

import numpy as np

PEAK = 0.98
_LEVEL_BLOCK_S = 0.05
_QUIETEST_DB = -45.0


def gain_for(sound: np.ndarray, vocal: np.ndarray, sample_rate: int, level_db: float) -> float:
    """Gain that brings `sound` [C, T] to `level_db` against the vocal [1, T], limited by peaks; 1 for silence."""
    wanted = max(loudness_db(vocal, sample_rate) + level_db, _QUIETEST_DB)
    gain = 10 ** ((wanted - loudness_db(sound, sample_rate)) / 20)
    peak = max(-float(sound.min(initial=0.0)), float(sound.max(initial=0.0)))
    return min(gain, PEAK / peak) if 0.0 < peak < np.inf else 1.0


def set_level(sound: np.ndarray, vocal: np.ndarray, sample_rate: int, level_db: float) -> np.ndarray:
    """Bring `sound` [C, T] to `level_db` against the vocal [1, T], as `gain_for` says; changes it in place."""
    sound *= np.float32(gain_for(sound, vocal, sample_rate, level_db))
    return sound


def loudness_db(sound: np.ndarray, sample_rate: int) -> float:
    """Level in dBFS of the loud parts of [C, T]: RMS of short blocks, averaged with their energy as weight.

    Pauses count for nothing, so a voice that sings half of the time is as loud as one that never rests.
    """
    block = max(round(_LEVEL_BLOCK_S * sample_rate), 1)
    mono = sound[0] if len(sound) == 1 else sound.mean(axis=0)
    whole = len(mono) // block * block
    blocks, rest = mono[:whole].reshape(-1, block), mono[whole:]
    # Products of a block with itself, so that an hour of sound is not copied.
    energy = np.append(np.einsum("nt,nt->n", blocks, blocks), rest @ rest).astype(np.float64) / block
    return float(20 * np.log10(max((energy * np.sqrt(energy)).sum() / max(energy.sum(), 1e-20), 1e-9)))


def mix(vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
    """Voice [1, T] and band [C, T] together [C, T], turned down as a whole if the peaks would clip."""
    both = vocals + accompaniment
    peak = float(np.abs(both).max(initial=0.0))
    return both * np.float32(PEAK / peak) if peak > PEAK else both
