"""Beat-grid reranker: a small network that scores whole candidate grids, and the readings of a clip that they support.

Adding up what each beat brings prefers grids with too many beats: where the network gives every eighth a chance of one
in three, twice the tempo collects more. A grid is scored here by how likelihoods lie along the beat and the bar, and by
how it compares with the other candidates; the network is trained on how well candidates match the true beats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.music.harmony import key_label
from accompany.music.plan import Reading
from accompany.music.tracking import Candidate, cover
from accompany.stages.transformer import init_weights

_STEPS = 12
"""Places along a beat where likelihoods are read: they hold halves, thirds and quarters."""

_METRES = (2, 3, 4)
_TEMPI = np.linspace(-1.0, 1.0, 9)
_COMPARED = 3

_TEMPI_BPM = (40.0, 240.0)
_SAME_TEMPO = 0.04
_NEAR_S = 0.07
_LEAST_SHARE = 1e-3
KINDS = 6

N_FEATURES = 3 * _STEPS + 1 + 2 * len(_METRES) + 3 + 3 + 2 + len(_TEMPI) + 3 + _COMPARED + 1


def grid_features(
    candidates: Sequence[Candidate], beat_logits: np.ndarray, downbeat_logits: np.ndarray, frame_rate: float
) -> np.ndarray:
    """Features by which beat grids are ranked, [n candidates, N_FEATURES] float32.

    Args:
        candidates: of `tracking.beat_candidates`, of at least three beats each.
        beat_logits, downbeat_logits: [n] what the candidates come from.
        frame_rate: frames a second.
    """
    activations = _Activations(beat_logits, downbeat_logits, frame_rate)
    rows = np.array([activations.describe(candidate) for candidate in candidates])
    expected = rows[:, activations.expected_at]
    compared = 4.0 * (expected - expected.max(axis=0))
    scores = np.array([candidate.score for candidate in candidates])
    return np.concatenate([rows, compared, (scores - scores.max())[:, None]], axis=1).astype(np.float32)


class GridReranker(nn.Module):
    """Features of candidates to one score each; the best candidate has the highest."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inlet = nn.Linear(N_FEATURES, width)
        self.middle = nn.Linear(width, width)
        self.outlet = nn.Linear(width, 1)
        self.dropout = nn.Dropout(0.15)
        self.register_buffer("mean", torch.zeros(N_FEATURES))
        self.register_buffer("deviation", torch.ones(N_FEATURES))
        self.apply(init_weights)

    def forward(self, features: Tensor) -> Tensor:
        """Features [..., N_FEATURES] to scores [...]."""
        x = self.dropout(functional.gelu(self.inlet((features - self.mean) / self.deviation)))
        scores: Tensor = self.outlet(functional.gelu(self.middle(x)))[..., 0]
        return scores

    @torch.inference_mode()
    def scores(
        self, candidates: Sequence[Candidate], beat_logits: np.ndarray, downbeat_logits: np.ndarray, frame_rate: float
    ) -> np.ndarray:
        """The score of each candidate, in nats; arguments as in `grid_features`, but a single one may be short."""
        if len(candidates) == 1:
            return np.zeros(1)
        features = grid_features(candidates, beat_logits, downbeat_logits, frame_rate)
        return np.asarray(self(torch.from_numpy(features).to(self.mean)).float().cpu().numpy(), np.float64)


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities that are right as often as they say; `accompany train confidence` fits them.

    Attributes:
        grid_slope: weight of the log of the share that a kind of grid (`related`) has of the reranker's softmax.
        grid_prior: nats of each kind beforehand.
        other_share: how often the one grid of the last kind, another tempo, is right where that kind is.
        key_slope: weight of the log probabilities of keys.
        chord_slope, chord_offset: of the logit of the mean probability of the chords chosen.
    """

    grid_slope: float = 0.5
    grid_prior: tuple[float, ...] = (0.0, -0.5, -1.0, -1.5, -1.0, -1.0)
    other_share: float = 0.5
    key_slope: float = 1.0
    chord_slope: float = 1.0
    chord_offset: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for another number of kinds."""
        if len(self.grid_prior) != KINDS:
            raise ValueError(f"grid_prior must have {KINDS} numbers")

    def chord_share(self, probability: float) -> float:
        """The share of chords that are right, from the mean probability of those chosen."""
        odds = np.clip(probability, 1e-3, 1 - 1e-3)
        return float(1 / (1 + np.exp(-self.chord_slope * np.log(odds / (1 - odds)) - self.chord_offset)))


@dataclass(frozen=True, eq=False)
class GridReading:
    """One way to hear the beats: seconds, its probability, and which kind of `related` it is."""

    beats_s: np.ndarray
    probability: float = 1.0
    kind: int = 0

    @property
    def bpm(self) -> float:
        """Beats a minute."""
        return 60.0 / float(np.median(np.diff(self.beats_s))) if len(self.beats_s) > 1 else 60.0


def read_grids(
    candidates: Sequence[Candidate],
    scores: np.ndarray,
    duration_s: float,
    calibration: Calibration,
    *,
    known_tempo: bool = False,
) -> list[GridReading]:
    """Readings of the beats of a clip, at least one, the likeliest first.

    Args:
        candidates: of `tracking.beat_candidates`.
        scores: [n] of them, in nats. The share of each counts for the reading of its tempo whose beats are nearest.
        duration_s: of the clip.
        calibration: makes probabilities of these shares.
        known_tempo: leaves out readings in other tempi.
    """
    shares = softmax(scores)
    grids = related(candidates[int(shares.argmax())].beats_s, duration_s)
    kinds = np.array([_kind_of(candidate.beats_s, grids) for candidate in candidates])
    if (kinds == KINDS - 1).any():
        grids[-1] = candidates[int(np.where(kinds == KINDS - 1, shares, -1.0).argmax())].beats_s
    found = [
        kind for kind, grid in enumerate(grids) if kind < (2 if known_tempo else KINDS) and (not kind or len(grid))
    ]
    masses = np.bincount(kinds, shares, minlength=KINDS)
    chances = softmax((calibration.grid_slope * np.log(masses + _LEAST_SHARE) + calibration.grid_prior)[found])
    chances = chances * np.where(np.array(found) == KINDS - 1, calibration.other_share, 1.0)
    made = [GridReading(grids[kind], float(chance), kind) for kind, chance in zip(found, chances, strict=True)]
    return sorted(made, key=lambda each: -each.probability)


def related(beats_s: np.ndarray, duration_s: float) -> list[np.ndarray]:
    """Grids of six kinds: the one given, half a beat later, half the tempo on either beat, twice the tempo, and none.

    They cover the clip; those in a tempo that few songs have, or of fewer than three beats, are empty.
    """
    between = (beats_s[1:] + beats_s[:-1]) / 2
    made = [between, beats_s[::2], beats_s[1::2], np.sort(np.concatenate([beats_s, between]))]
    usable = [len(grid) > 2 and _TEMPI_BPM[0] <= GridReading(grid).bpm <= _TEMPI_BPM[1] for grid in made]
    covers = [cover(grid, duration_s) if use else grid[:0] for grid, use in zip(made, usable, strict=True)]
    return [beats_s, *covers, beats_s[:0]]


def likeliest(grids: Sequence[GridReading], keys: np.ndarray) -> list[tuple[GridReading, Reading]]:
    """The likeliest beats and key, then what else they may be, from readings of the beats and probabilities [24].

    The second is half a beat off the first, however unlikely it seems: singers who come in late or early lead there,
    and synthetic voices tell too little of them. Then come another tempo and another key, the likelier first.
    """
    first, (tonic, other) = grids[0], np.argsort(-keys)[:2].tolist()
    shifted = [grid for grid in grids[1:] if same_tempo(grid, first)][:1]
    faster = [grid for grid in grids[1:] if not same_tempo(grid, first)][:1]
    rest = [*((grid, tonic) for grid in faster), *[(first, other)] * bool(keys[other] > 0)]
    rest.sort(key=lambda pair: -pair[0].probability * keys[pair[1]])
    made = []
    for grid, key in [(first, tonic), *((grid, tonic) for grid in shifted), *rest]:
        octaves = np.log2(grid.bpm / first.bpm)
        usual = abs(octaves) < 1.1 and abs(octaves - round(octaves)) < 1.5 * _SAME_TEMPO
        beats = ("half a beat later", "twice the tempo", "half the tempo")[round(octaves)] if usual else "another tempo"
        name = f"in {key_label(key)}" if key != tonic else beats if grid is not first else "the likeliest"
        made.append((grid, Reading(name, grid.bpm, key_label(key), float(grid.probability * keys[key]))))
    return made


def same_tempo(first: GridReading, second: GridReading) -> bool:
    """Whether two readings differ in phase at most."""
    return bool(abs(np.log(first.bpm / second.bpm)) < _SAME_TEMPO)


def softmax(nats: np.ndarray) -> np.ndarray:
    """Probabilities [n] of nats [n]."""
    shares = np.exp(nats - nats.max())
    return np.asarray(shares / shares.sum())


def _kind_of(beats_s: np.ndarray, grids: Sequence[np.ndarray]) -> int:
    """Which of the related grids a candidate is: one of its tempo, that with the nearest beats; else the last kind."""
    hits = [
        0.01 + _nearby(beats_s, grid) if len(grid) and same_tempo(GridReading(beats_s), GridReading(grid)) else 0.0
        for grid in grids
    ]
    return int(np.argmax(hits)) if max(hits) > 0 else KINDS - 1


def _nearby(beats_s: np.ndarray, others_s: np.ndarray) -> float:
    """Share of beats that one of others lies within 70 ms of."""
    after = np.searchsorted(others_s, beats_s)
    before = others_s[(after - 1).clip(0)]
    after_s = others_s[after.clip(max=len(others_s) - 1)]
    return float((np.minimum(abs(beats_s - before), abs(after_s - beats_s)) <= _NEAR_S).mean())


class _Activations:
    """Likelihoods of a clip, ready to be read along grids."""

    def __init__(self, beat_logits: np.ndarray, downbeat_logits: np.ndarray, frame_rate: float) -> None:
        self._rate, self._duration_s = frame_rate, len(beat_logits) / frame_rate
        self._beat, self._downbeat = _probability(beat_logits), _probability(downbeat_logits)
        self._beat_near, self._downbeat_near = (
            np.convolve(p, [0.5, 1, 0.5], "same")[: len(p)] for p in (self._beat, self._downbeat)
        )
        self._logits = np.clip(beat_logits, -6.0, 4.0)
        self._mass = np.concatenate([[0.0], np.cumsum(self._beat)])
        self._n_beats = self._beat.sum() / 2  # labels count 0.5, 1, 0.5 around a beat
        self.expected_at = slice(0, _COMPARED)

    def describe(self, candidate: Candidate) -> np.ndarray:
        """Features of one grid from activations, spacing and tempo, without the other candidates."""
        beats_s = candidate.beats_s
        periods = np.diff(beats_s)
        period = float(np.median(periods))
        matched, n = self._matched(beats_s), len(beats_s)
        expected = [2 * (matched**power).sum() / (n + self._n_beats) for power in (1.0, 1.5, 2.0)]
        places = (beats_s[:-1, None] + periods[:, None] * (np.arange(_STEPS) / _STEPS)).ravel()
        tempo = np.log2(60.0 / period / 100.0)
        return np.concatenate(
            [
                expected,
                self._along(self._beat_near, places),
                self._along(self._logits, places) / 4,
                2 * self._along(self._downbeat_near, places),
                [self._at(self._beat_near, beats_s).std()],
                self._bars(beats_s),
                [matched.sum() / (self._n_beats + 1e-6), matched.mean(), n / (self._n_beats + 1)],
                [tempo, tempo**2],
                np.exp(-0.5 * ((tempo - _TEMPI) / 0.15) ** 2),
                [20 * periods.std() / period, candidate.score, self._n_beats / self._duration_s],
            ]
        )

    def _matched(self, beats_s: np.ndarray) -> np.ndarray:
        """Probability that each beat is one, from the mass within a frame and a half."""
        frames = beats_s * self._rate - 0.5
        last = len(self._beat)
        start = np.clip(np.round(frames - 1.5).astype(int), 0, last)
        stop = np.clip(np.round(frames + 1.5).astype(int) + 1, 0, last)
        return np.minimum((self._mass[stop] - self._mass[start]) / 2, 1.0)

    def _at(self, values: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        return np.interp(times_s * self._rate - 0.5, np.arange(len(values)), values)

    def _along(self, values: np.ndarray, places_s: np.ndarray) -> np.ndarray:
        """Mean at each of the places along the beat, [_STEPS]."""
        return np.asarray(self._at(values, places_s).reshape(-1, _STEPS).mean(axis=0))

    def _bars(self, beats_s: np.ndarray) -> list[float]:
        """For each metre, how far its best first beat stands out, by downbeats and by beats."""
        found = []
        for metre in _METRES:
            for values in (self._at(self._downbeat_near, beats_s), self._at(self._beat_near, beats_s)):
                means = [values[first::metre].mean() for first in range(min(metre, len(values)))]
                found.append(max(means) - values.mean())
        return found


def _probability(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))
