"""Template-based chord recognition in symbolic music, per half bar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accompany.data.scores.chord_symbols import chord_of
from accompany.data.scores.lead_sheet import Bar, ChordSymbol, PlayedNote
from accompany.data.songs.theory import QUALITIES

# Template -> penalty against a plain triad.
_COSTS = {"maj": 0.0, "min": 0.0, "7": 0.05, "dim": 0.05, "min7": 0.09, "dim7": 0.08, "hdim7": 0.08, "maj7": 0.1,
          "aug": 0.12}  # fmt: skip
_BASS_BONUS = 0.16
_STAY_BONUS = 0.04
_MISSING = 0.1


def derive_chords(bars: Sequence[Bar], notes: Sequence[PlayedNote]) -> tuple[ChordSymbol, ...]:
    """Chords from what sounds: for each half bar (each bar of three, each upbeat) the template that fits best.

    A template gains the share of time of its notes, loses that of others and a little for notes that are missing; the
    lowest note counts as root above all, and a chord that goes on is preferred. Where nothing sounds, the chord before
    goes on.

    Returns:
        Chords with their bass, equal neighbours joined; empty without notes.
    """
    if not notes:
        return ()
    spans = _spans(bars)
    table = np.array([(n.start_q, n.end_q, n.pitch) for n in notes])
    found: list[ChordSymbol] = []
    for start, end in spans:
        weights, lowest = _sounding(table, start, end)
        before = found[-1] if found else None
        if weights.sum() == 0:
            chord = before.chord if before else None
        else:
            root, quality = _best(weights, lowest, before.chord if before else None)
            tones = {(root + step) % 12 for step in QUALITIES[quality]}
            chord = chord_of(root, quality, lowest if lowest in tones else root)
        if before is not None and before.chord == chord:
            found[-1] = before._replace(end_q=end)
        else:
            found.append(ChordSymbol(start, end, chord))
    return tuple(found)


def _spans(bars: Sequence[Bar]) -> list[tuple[float, float]]:
    spans = []
    for bar in bars:
        halves = bar.grid is not None and bar.grid[0].beats % 2 == 0
        middle = bar.start_q + bar.length_q / 2
        end = bar.start_q + bar.length_q
        spans += [(bar.start_q, middle), (middle, end)] if halves else [(bar.start_q, end)]
    return spans


def _sounding(notes: np.ndarray, start: float, end: float) -> tuple[np.ndarray, int]:
    """Shares of time of the pitch classes, [12], and the pitch class of the bass: the lowest note that lasts."""
    overlap = np.minimum(notes[:, 1], end) - np.maximum(notes[:, 0], start)
    inside = notes[overlap > 1e-3]
    lengths = np.minimum(overlap[overlap > 1e-3], end - start)
    weights = np.zeros(12)
    if not len(inside):
        return weights, 0
    pitches = inside[:, 2].astype(int)
    np.add.at(weights, pitches % 12, np.sqrt(lengths))
    lasting = lengths >= min(0.2 * (end - start), lengths.max())
    return weights / weights.sum(), int(pitches[lasting].min() % 12)


def _best(weights: np.ndarray, lowest: int, before: object) -> tuple[int, str]:
    best, worth = (0, "maj"), -np.inf
    for quality, cost in _COSTS.items():
        steps = np.array(QUALITIES[quality])
        for root in range(12):
            tones = (root + steps) % 12
            inside = float(weights[tones].sum())
            missing = int((weights[tones] < 0.02).sum())
            score = 2 * inside - 1 - cost - _MISSING * missing + _BASS_BONUS * (root == lowest)
            score += _STAY_BONUS * ((root, quality) == (getattr(before, "root", None), getattr(before, "quality", "")))
            if score > worth:
                best, worth = (root, quality), score
    return best
