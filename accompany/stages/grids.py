"""Beat-grid reranker: a small network that scores whole candidate grids.

Adding up what each beat brings prefers grids with too many beats: where the network gives every eighth a chance of one
in three, twice the tempo collects more. A grid is scored here by how likelihoods lie along the beat and the bar, and by
how it compares with the other candidates; the network is trained on how well candidates match the true beats.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.music.tracking import Candidate, Choose
from accompany.stages.transformer import init_weights

_STEPS = 12
"""Places along a beat where likelihoods are read: they hold halves, thirds and quarters."""

_METRES = (2, 3, 4)
_TEMPI = np.linspace(-1.0, 1.0, 9)
_COMPARED = 3

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

    @torch.no_grad()
    def normalise(self, features: Tensor) -> None:
        """Take mean and deviation of the inputs from features [n, N_FEATURES]."""
        self.mean.copy_(features.mean(dim=0))
        self.deviation.copy_(features.std(dim=0) + 1e-3)

    def forward(self, features: Tensor) -> Tensor:
        """Features [..., N_FEATURES] to scores [...]."""
        x = self.dropout(functional.gelu(self.inlet((features - self.mean) / self.deviation)))
        scores: Tensor = self.outlet(functional.gelu(self.middle(x)))[..., 0]
        return scores

    def chooser(self, beat_logits: np.ndarray, downbeat_logits: np.ndarray, frame_rate: float) -> Choose:
        """A function for `track_beats`, of the same arguments as `grid_features`."""

        @torch.inference_mode()
        def choose(candidates: list[Candidate]) -> int:
            features = grid_features(candidates, beat_logits, downbeat_logits, frame_rate)
            return int(self(torch.from_numpy(features).to(self.mean)).argmax())

        return choose


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
