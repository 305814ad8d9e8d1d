"""Near-duplicate detection by acoustic fingerprints: copies in other formats or levels, and loops within a song.

Fingerprints after Haitsma and Kalker ("A highly robust audio fingerprinting system", ISMIR 2002): 32 bits a frame, each
the sign of a difference of energies along time and frequency. Two windows that share a word are laid over each other
there, and are duplicates when few of their bits differ.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr

RATE = 12.5
"""Words a second. A word is of 0.37 s of sound, so that two grids never lie far apart."""

MAX_ERROR_RATE = 0.3
"""Of the bits: half differ by chance, 0.35 is the limit of Haitsma and Kalker (2002) for 3 s."""

_SOUND_RATE = 5000
_WINDOW = 0.37
_BANDS = np.geomspace(300, 2000, 34)
_MIN_OVERLAP = 0.6
_COMMON = 64


def fingerprint(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Words uint32 [n] of a sound [T]; silence gives 0."""
    low = soxr.resample(np.ascontiguousarray(sound, np.float32), sample_rate, _SOUND_RATE, quality="LQ")
    length, hop = round(_WINDOW * _SOUND_RATE), round(_SOUND_RATE / RATE)
    if len(low) < length + hop:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(low, length)[::hop]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(length), axis=1)) ** 2
    edges = np.round(_BANDS * length / _SOUND_RATE).astype(int)
    bands = np.add.reduceat(spectra[:, : edges[-1]], edges[:-1], axis=1)
    tilted = bands[:, :-1] - bands[:, 1:]
    bits = tilted[1:] > tilted[:-1]
    words: np.ndarray = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)
    return words


def to_text(words: np.ndarray) -> str:
    """Words as text for JSON."""
    return base64.b64encode(words.astype("<u4").tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """The words of `to_text`."""
    return np.frombuffer(base64.b64decode(text), "<u4").astype(np.uint32)


@dataclass(frozen=True)
class Duplicate:
    """Window `index` repeats window `of`, with this share of differing bits."""

    index: int
    of: int
    error_rate: float


def find_duplicates(prints: Sequence[np.ndarray]) -> list[Duplicate]:
    """Windows that repeat an earlier one of `prints`; what repeats a duplicate repeats its original."""
    found: dict[int, Duplicate] = {}
    for later, earlier, lag in _meetings(prints):
        if later in found or earlier in found:
            continue
        error = error_rate(prints[earlier], prints[later], lag)
        if error <= MAX_ERROR_RATE:
            found[later] = Duplicate(later, earlier, round(error, 4))
    return [found[index] for index in sorted(found)]


def error_rate(first: np.ndarray, second: np.ndarray, lag: int) -> float:
    """Share of the bits that differ with `second` laid `lag` words later on `first`; 1 where they hardly overlap."""
    begin, end = max(lag, 0), min(len(first), len(second) + lag)
    if end - begin < _MIN_OVERLAP * min(len(first), len(second)):
        return 1.0
    differing = np.unpackbits((first[begin:end] ^ second[begin - lag : end - lag]).view(np.uint8))
    return float(differing.mean())


def _meetings(prints: Sequence[np.ndarray]) -> list[tuple[int, int, int]]:
    """(later, earlier, lag) wherever two windows share a word; words that many share, such as silence, are ignored."""
    if not prints:
        return []
    words = np.concatenate(prints)
    owners = np.repeat(np.arange(len(prints)), [len(each) for each in prints])
    places = np.concatenate([np.arange(len(each)) for each in prints])
    order = np.argsort(words, kind="stable")
    words, owners, places = words[order], owners[order], places[order]
    starts = np.flatnonzero(np.r_[True, words[1:] != words[:-1]]) if len(words) else np.zeros(0, int)
    sizes = np.diff(np.r_[starts, len(words)])
    meetings = set()
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        if size > _COMMON or words[start] in (0, 0xFFFFFFFF):
            continue
        group = range(start, start + size)
        meetings |= {
            (int(owners[b]), int(owners[a]), int(places[a] - places[b]))
            for a in group
            for b in group
            if owners[a] < owners[b]
        }
    return sorted(meetings)
