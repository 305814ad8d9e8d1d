"""Semi-Markov beat model: all steady beat grids of a clip, scored over (time of a beat, tempo).

In the spirit of the bar pointer model (Whiteley et al., 2006; Krebs et al., 2015): the step from beat to beat is the
tempo's period with a little jitter, and the tempo seldom changes. Numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_JITTERS = np.arange(-3, 4)
_TEMPO_STEPS = 3
_APART = 0.2
"""Two grids of one tempo count as different when they lie this share of a period apart."""


class BeatLattice:
    """The best scores of all beats in all tempi, by dynamic programming.

    The score of (t, j) is the best of all ways to have a beat at t in tempo j; what arrives there may have changed to
    a neighbouring tempo. All lags are longer than a block of frames, so a block is computed at once. Scores are kept as
    far back as the longest lag; of all frames only how they came about, a byte for each tempo (77 MB an hour).

    Args:
        evidence: [n] nats that a beat in a frame brings.
        periods: [J] in frames, from slow to fast.
        prior: [J] nats that each tempo starts with.
        jitter: deviation of a beat from the period, as a share of it.
        change_cost: nats for changing to a neighbouring tempo at a beat.
    """

    def __init__(
        self, evidence: np.ndarray, periods: np.ndarray, prior: np.ndarray, *, jitter: float, change_cost: float
    ) -> None:
        self._lags = np.maximum(np.round(periods)[:, None].astype(int) + _JITTERS, 1)
        self._periods = periods
        lag_cost = 0.5 * ((self._lags - periods[:, None]) / (jitter * periods[:, None])) ** 2
        n_frames, n_tempi, reach = len(evidence), len(periods), int(self._lags.max())
        block = int(self._lags.min())
        arrived = np.tile(prior.astype(np.float32), (reach, 1))
        recent = np.full((reach, n_tempi), -np.inf, np.float32)
        self._came = np.empty((n_frames, n_tempi), np.int8)
        columns = np.arange(n_tempi)[:, None]
        for start in range(0, n_frames, block):
            stop = min(start + block, n_frames)
            rows = np.arange(reach, reach + stop - start)
            ways = arrived[rows[:, None, None] - self._lags, columns] - lag_cost
            by = ways.argmax(axis=-1)
            score = (evidence[start:stop, None] + ways.max(axis=-1)).astype(np.float32)
            best, steps = _step_tempo(score, change_cost)
            self._came[start:stop] = by * _TEMPO_STEPS + steps
            arrived = np.concatenate([arrived, best])[-reach:]
            recent = np.concatenate([recent, score])[-reach:]
        self._first = n_frames - reach
        frames = np.arange(self._first, n_frames)[:, None]
        self._ended = np.where((frames >= n_frames - periods) & (frames >= 0), recent, -np.inf)

    def best(self) -> np.ndarray:
        """Frames of the likeliest beats."""
        row, tempo = np.unravel_index(int(self._ended.argmax()), self._ended.shape)
        return self._trace(int(row), int(tempo))

    def candidates(self, n_groups: int, phases: int) -> Iterator[tuple[np.ndarray, float]]:
        """The likeliest beats in each of `n_groups` ranges of tempo, for up to `phases` phases: frames and score."""
        rows = np.arange(len(self._ended))
        for tempi in np.array_split(np.arange(len(self._periods)), min(n_groups, len(self._periods))):
            ended = self._ended[:, tempi].copy()
            for _ in range(phases):
                row, column = np.unravel_index(int(ended.argmax()), ended.shape)
                score = float(ended[row, column])
                if not np.isfinite(score):
                    break
                yield self._trace(int(row), int(tempi[column])), score
                period = self._periods[tempi[column]]
                ended[np.abs((rows - row + period / 2) % period - period / 2) < _APART * period] = -np.inf

    def _trace(self, row: int, tempo: int) -> np.ndarray:
        """The beats that lead to a beat in this row of the last frames and this tempo."""
        frame, beats = self._first + row, []
        while frame >= 0:
            beats.append(frame)
            frame -= int(self._lags[tempo, self._came[frame, tempo] // _TEMPO_STEPS])
            if frame >= 0:
                tempo += int(self._came[frame, tempo] % _TEMPO_STEPS) - 1
        return np.array(beats[::-1], dtype=float)


def _step_tempo(score: np.ndarray, cost: float) -> tuple[np.ndarray, np.ndarray]:
    """The best of staying in a tempo or coming from a neighbour, and from which (0, 1, 2: the slower, itself, the
    faster)."""
    edge = np.full((len(score), 1), -np.inf, np.float32)
    slower = np.concatenate([edge, score[:, :-1]], axis=1) - cost
    faster = np.concatenate([score[:, 1:], edge], axis=1) - cost
    choices = np.stack([slower, score, faster])
    return choices.max(axis=0), choices.argmax(axis=0)
