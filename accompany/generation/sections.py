"""Section analysis of a vocal: rests, changes and repetitions.

Bars without singing are the intro, a break, or the outro. What is sung is cut where the bars before and after differ
most (novelty along the diagonal of a self-similarity matrix, Foote, 2000), and stretches of alike melody and chords get
one name: the first is the verse; of the others the one that comes most often, of equals the loudest, is the chorus; the
rest is bridges. So the names are guesses from form and level, not from words: they are shown to be corrected.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from accompany.encoders.melody import Melody
from accompany.generation.prompts import Section
from accompany.music.harmony import chord_pitch_classes
from accompany.music.plan import Plan

_SUNG_SHARE = 0.15
_SUNG_ENERGY = 0.45
_SHORTEST_BARS = 4
_SHORTEST_REST_BARS = 2
_ALIKE = 0.8
_REACH_BARS = 4
_NOVEL = 0.12
_CHORD_WEIGHT = 0.5


def find_sections(melody: np.ndarray, frame_rate: float, plan: Plan) -> tuple[Section, ...]:
    """Sections (start_s, end_s, name) that cover a song.

    Args:
        melody: features [F, 54] of the voice, as `Melody` gives them.
        frame_rate: frames a second.
        plan: with downbeats; without them the song is one verse.
    """
    seconds = len(melody) / frame_rate
    inside = [time for time in plan.downbeats_s if 0.5 < time < seconds - 0.5]
    edges = np.array([0.0, *inside, seconds])
    if len(edges) < 3:
        return ((0.0, seconds, "verse"),)
    bars = _describe(melody, frame_rate, plan, edges)
    sung, level = _sung(melody, frame_rate, edges)
    pieces: list[tuple[int, int, bool]] = []
    for start, end, is_sung in _runs(_fill(sung)):
        cuts = [start, *_cuts(bars[start:end], start), end] if is_sung else [start, end]
        pieces += [(a, b, is_sung) for a, b in itertools.pairwise(cuts)]
    names = _names(pieces, bars, level)
    found = [(float(edges[a]), float(edges[b]), name) for (a, b, _), name in zip(pieces, names, strict=True)]
    return tuple(found)


def _describe(melody: np.ndarray, frame_rate: float, plan: Plan, edges: np.ndarray) -> np.ndarray:
    """Features of each bar [N, 24]: sung pitch classes and chord tones, each of norm at most 1."""
    voiced = melody[:, Melody.SALIENCE].reshape(len(melody), 12, 3).sum(axis=2) * melody[:, Melody.VOICING]
    chords = np.zeros((len(melody), 12))
    for start_s, end_s, label in plan.chords:
        _, tones, _ = chord_pitch_classes(label)
        chords[max(round(start_s * frame_rate), 0) : round(end_s * frame_rate), list(tones)] = 1.0
    rows = []
    for start, end in _frames(edges, frame_rate, len(melody)):
        rows.append(
            np.concatenate([_unit(voiced[start:end].mean(0)), _CHORD_WEIGHT * _unit(chords[start:end].mean(0))])
        )
    return np.stack(rows)


def _sung(melody: np.ndarray, frame_rate: float, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each bar: is there singing, and how loud it is."""
    energy, voicing = melody[:, Melody.ENERGY][:, 0], melody[:, Melody.VOICING][:, 0]
    singing = (energy > _SUNG_ENERGY) & (voicing > 0.2)
    spans = _frames(edges, frame_rate, len(melody))
    share = np.array([singing[start:end].mean() for start, end in spans])
    return share > _SUNG_SHARE, np.array([energy[start:end].mean() for start, end in spans])


def _fill(sung: np.ndarray) -> np.ndarray:
    """Rests that are shorter than a break belong to what is sung around them."""
    filled = sung.copy()
    for start, end, is_sung in _runs(sung):
        at_an_end = start == 0 or end == len(sung)
        if not is_sung and end - start < (1 if at_an_end else _SHORTEST_REST_BARS):
            filled[start:end] = True
    return filled


def _runs(values: np.ndarray) -> list[tuple[int, int, bool]]:
    edges = [0, *(np.flatnonzero(np.diff(values.astype(int))) + 1).tolist(), len(values)]
    return [(start, end, bool(values[start])) for start, end in itertools.pairwise(edges) if end > start]


def _cuts(bars: np.ndarray, offset: int) -> list[int]:
    """Boundaries within a sung stretch: peaks of novelty, no closer together than the shortest section."""
    count = len(bars)
    if count < 2 * _SHORTEST_BARS:
        return []
    alike = bars @ bars.T / (1 + _CHORD_WEIGHT**2)
    novelty = np.zeros(count)
    for bar in range(_SHORTEST_BARS, count - _SHORTEST_BARS + 1):
        before, after = slice(max(bar - _REACH_BARS, 0), bar), slice(bar, min(bar + _REACH_BARS, count))
        within = (alike[before, before].mean() + alike[after, after].mean()) / 2
        novelty[bar] = within - alike[before, after].mean()
    cuts: list[int] = []
    for bar in np.argsort(-novelty).tolist():
        if novelty[bar] > _NOVEL and all(abs(bar - other) >= _SHORTEST_BARS for other in cuts):
            cuts.append(bar)
    return [offset + cut for cut in sorted(cuts)]


def _names(pieces: Sequence[tuple[int, int, bool]], bars: np.ndarray, level: np.ndarray) -> list[str]:
    groups: list[list[int]] = []
    for index, (start, end, is_sung) in enumerate(pieces):
        if not is_sung:
            continue
        scores = [_likeness(bars[start:end], bars[slice(*pieces[group[0]][:2])]) for group in groups]
        if scores and max(scores) > _ALIKE:
            groups[int(np.argmax(scores))].append(index)
        else:
            groups.append([index])

    def rank(group: list[int]) -> tuple[int, float]:
        return len(group), float(np.mean([level[slice(*pieces[index][:2])].mean() for index in group]))

    chorus = max(groups[1:], key=rank, default=None)
    named: dict[int, str] = {}
    for group in groups:
        name = "verse" if group is groups[0] else "chorus" if group is chorus else "bridge"
        named |= dict.fromkeys(group, name)
    last = len(pieces) - 1
    return [named.get(index) or ("intro" if index == 0 else "outro" if index == last else "break")
            for index in range(len(pieces))]  # fmt: skip


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Mean cosine of two stretches [n, 24] bar by bar, the longer one cut."""
    n = min(len(a), len(b))
    norms = np.linalg.norm(a[:n], axis=1) * np.linalg.norm(b[:n], axis=1)
    return float(((a[:n] * b[:n]).sum(axis=1) / np.maximum(norms, 1e-9)).mean())


def _frames(edges: np.ndarray, frame_rate: float, n_frames: int) -> list[tuple[int, int]]:
    whole = np.clip(np.round(edges * frame_rate).astype(int), 0, n_frames)
    return [(min(start, n_frames - 1), max(end, start + 1)) for start, end in itertools.pairwise(whole)]


def _unit(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-9))
