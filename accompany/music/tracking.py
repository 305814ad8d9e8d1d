"""Beat tracking: activations to a steady grid of beats and bars by dynamic programming. Numpy only.

Beats: the likeliest grid of a `BeatLattice`, or its candidates, to be reranked (`accompany.stages.grids`); a smoothing
spline then gives sub-frame times. Bars: Viterbi over (metre, beat in bar).

The lattice is in the spirit of the bar pointer model (Whiteley et al., 2006; Krebs et al., 2015): the step from beat to
beat is the tempo's period with a little jitter, and the tempo seldom changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_JITTERS = np.arange(-3, 4)
_TEMPO_STEPS = 3
_APART = 0.2
"""Two grids of one tempo count as different when they lie this share of a period apart."""
_FINE_RATE = 200.0
_FREE_PRIOR = 0.1
"""Weight of the tempo prior where candidates are reranked afterwards: enough to break ties."""


@dataclass(frozen=True)
class BeatTrackingConfig:
    """Prior on beats, and weights of the decoder.

    Attributes:
        centre_bpm: middle of the log-normal prior on the tempo.
        tempo_sigma: its deviation in natural log units.
        min_bpm, max_bpm: range of tempi.
        tempo_step: ratio between neighbouring tempi, less 1.
        change_cost: nats for changing to a neighbouring tempo at a beat; high keeps the tempo steady.
        jitter: deviation of a beat from the period, as a share of it.
        prior_logit: the logit of an uninformed network (the rate of beat labels in frames).
        max_evidence: nats that one beat can bring or cost.
        hint_range: with a tempo hint, tempi this far from it (as a share) are considered.
        steadiness: how far the times are smoothed: (deviation of a detected beat / change of period per beat) squared.
        bar_slip_cost: nats for a bar that is too short or too long.
        three_cost: nats a bar against a metre of three.
        tempo_groups, phases: ranges of tempo that have candidates of their own, and candidates in each.
    """

    centre_bpm: float = 105.0
    tempo_sigma: float = 0.3
    min_bpm: float = 45.0
    max_bpm: float = 220.0
    tempo_step: float = 0.015
    change_cost: float = 6.0
    jitter: float = 0.02
    prior_logit: float = -2.6
    max_evidence: float = 3.0
    hint_range: float = 0.03
    steadiness: float = 100.0
    bar_slip_cost: float = 9.0
    three_cost: float = 0.1
    tempo_groups: int = 30
    phases: int = 2


@dataclass(frozen=True)
class Candidate:
    """A grid that beats may lie on.

    Attributes:
        beats_s: seconds, rising, over the whole clip.
        score: nats of the lattice a second.
    """

    beats_s: np.ndarray
    score: float = 0.0


@dataclass(frozen=True)
class BeatTrack:
    """Beats and downbeats in seconds, rising; tempo; beats in a bar."""

    beats_s: np.ndarray
    downbeats_s: np.ndarray
    tempo_bpm: float
    beats_per_bar: int


def lay_bars(
    beats_s: np.ndarray,
    frame_rate: float,
    downbeat_logits: np.ndarray | None,
    bpm: float | None,
    config: BeatTrackingConfig,
    metre: int | None = None,
) -> BeatTrack:
    """Metre (found, if it is not given) and downbeats of a grid; see `accompany.music.single_grid.track_beats`."""
    at_beats = np.zeros(len(beats_s))
    if downbeat_logits is not None:
        at_beats = _at_beats(downbeat_logits - config.prior_logit, beats_s, frame_rate)
    metre, first = _bars(at_beats, config, metre)
    tempo_bpm = 60.0 / float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else float(bpm or config.centre_bpm)
    return BeatTrack(beats_s, beats_s[first], tempo_bpm, metre)


def beat_candidates(
    beat_logits: np.ndarray, frame_rate: float, bpm: float | None = None, config: BeatTrackingConfig | None = None
) -> list[Candidate]:
    """Grids that fit the activations: for each range of tempo the best, in up to `config.phases` phases.

    There is at least one; where there are several, each has at least three beats.

    Arguments are as in `accompany.music.single_grid.track_beats`.
    """
    config = config or BeatTrackingConfig()
    lattice = lattice_of(beat_logits, frame_rate, bpm, config, _FREE_PRIOR)
    made = [
        candidate_of(beat_logits, frame_rate, frames, score, config)
        for frames, score in lattice.candidates(config.tempo_groups, config.phases)
    ]
    long_enough = [candidate for candidate in made if len(candidate.beats_s) > 2]
    return long_enough or [candidate_of(beat_logits, frame_rate, lattice.best(), 0.0, config)]


def lattice_of(
    beat_logits: np.ndarray, frame_rate: float, bpm: float | None, config: BeatTrackingConfig, prior_weight: float = 1.0
) -> BeatLattice:
    """The lattice of activations; arguments as in `accompany.music.single_grid.track_beats`."""
    evidence = np.clip(beat_logits - config.prior_logit, -config.max_evidence / 2, config.max_evidence)
    periods = _tempi(bpm, config)
    centre, sigma = (config.centre_bpm, config.tempo_sigma) if bpm is None else (bpm, 0.01)
    prior = -0.5 * (np.log(60.0 * _FINE_RATE / periods / centre) / sigma) ** 2
    if bpm is None:
        prior = prior * prior_weight
    refined = _refined_evidence(evidence, frame_rate)
    return BeatLattice(refined, periods, prior, jitter=config.jitter, change_cost=config.change_cost)


def candidate_of(
    beat_logits: np.ndarray, frame_rate: float, frames: np.ndarray, score: float, config: BeatTrackingConfig
) -> Candidate:
    """Beats of the lattice as a smooth grid over the whole clip."""
    duration_s = len(beat_logits) / frame_rate
    probability = 1.0 / (1.0 + np.exp(-beat_logits))
    observed_s, weights = _observed_times(frames / _FINE_RATE, probability, frame_rate)
    return Candidate(cover(_smooth(observed_s, weights, config.steadiness), duration_s), score / duration_s)


def _tempi(bpm: float | None, config: BeatTrackingConfig) -> np.ndarray:
    """Periods [J] in fine frames, from slow to fast."""
    if bpm is None:
        low, high, step = config.min_bpm, config.max_bpm, config.tempo_step
    else:
        low, high = bpm * (1 - config.hint_range), bpm * (1 + config.hint_range)
        step = config.tempo_step / 3
    count = max(int(np.ceil(np.log(high / low) / np.log1p(step))), 1) + 1
    return 60.0 * _FINE_RATE / np.geomspace(low, high, count)


def _refined_evidence(evidence: np.ndarray, frame_rate: float) -> np.ndarray:
    """The evidence at `_FINE_RATE`, linear between frame centres."""
    n_fine = max(round(len(evidence) / frame_rate * _FINE_RATE), 1)
    fine_s = np.arange(n_fine) / _FINE_RATE
    return np.interp(fine_s, (np.arange(len(evidence)) + 0.5) / frame_rate, evidence).astype(np.float32)


def _observed_times(beats_s: np.ndarray, probability: np.ndarray, frame_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Centroid of the beat probability near each beat, and its peak as the weight."""
    reach = max(round(0.05 * frame_rate), 1)
    centres = np.floor(beats_s * frame_rate).astype(int)
    frames = np.clip(centres[:, None] + np.arange(-reach, reach + 1), 0, len(probability) - 1)
    mass = probability[frames] ** 2 + 1e-9
    observed_s = (mass * (frames + 0.5)).sum(axis=1) / mass.sum(axis=1) / frame_rate
    peak = probability[frames].max(axis=1)
    return np.where(peak > 0.1, observed_s, beats_s), peak


def _smooth(times_s: np.ndarray, weights: np.ndarray, steadiness: float) -> np.ndarray:
    """Whittaker smoothing: nearest to the weighted times with small second differences (a steady period)."""
    n = len(times_s)
    if n < 3:
        return times_s
    weights = weights + 0.02
    bands = np.zeros((3, n))
    bands[0] = weights
    for shift, taps in enumerate(((1.0, 4.0, 1.0), (-2.0, -2.0), (1.0,))):
        for tap, value in enumerate(taps):
            bands[shift, tap : tap + n - 2] += steadiness * value
    return _solve_banded(bands, weights * times_s)


def _solve_banded(bands: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric pentadiagonal system; bands[d, i] is the entry at (i, i + d)."""
    diagonal, first, second = (band.tolist() for band in bands)
    solution = right.tolist()
    n = len(solution)
    for i in range(n):
        for reach, entry in ((1, first[i]), (2, second[i])):
            if i + reach >= n or entry == 0.0:
                continue
            factor = entry / diagonal[i]
            diagonal[i + reach] -= factor * entry
            solution[i + reach] -= factor * solution[i]
            if reach == 1 and i + 2 < n:
                first[i + 1] -= factor * second[i]
    for i in reversed(range(n)):
        beyond = (first[i] * solution[i + 1] if i + 1 < n else 0.0) + (
            second[i] * solution[i + 2] if i + 2 < n else 0.0
        )
        solution[i] = (solution[i] - beyond) / diagonal[i]
    return np.array(solution)


def cover(beats_s: np.ndarray, duration_s: float) -> np.ndarray:
    """The grid continued steadily to both ends of the clip."""
    if len(beats_s) < 2:
        return beats_s
    edge = min(4, len(beats_s) - 1)
    before = (beats_s[edge] - beats_s[0]) / edge
    after = (beats_s[-1] - beats_s[-1 - edge]) / edge
    head = beats_s[0] - before * np.arange(int(max(beats_s[0], 0.0) // before), 0, -1)
    n_tail = max(int(np.ceil((duration_s - beats_s[-1]) / after)) - 1, 0)
    tail = beats_s[-1] + after * np.arange(1, n_tail + 1)
    grid = np.concatenate([head, beats_s, tail])
    return grid[(grid >= 0) & (grid < duration_s)]


def _at_beats(evidence: np.ndarray, beats_s: np.ndarray, frame_rate: float) -> np.ndarray:
    """The strongest evidence within a frame of each beat."""
    frames = np.floor(beats_s * frame_rate).astype(int)[:, None] + np.arange(-1, 2)
    return evidence[np.clip(frames, 0, len(evidence) - 1)].max(axis=1)


def _bars(evidence: np.ndarray, config: BeatTrackingConfig, metre: int | None) -> tuple[int, np.ndarray]:
    """Beats in a bar (3 or 4, or as many as given) and [n] bool, which beats are first in a bar."""
    evidence = (
        np.clip(evidence - evidence.mean(), -config.max_evidence, config.max_evidence) if len(evidence) else evidence
    )
    if metre is not None:
        return metre, _bar_path(evidence, metre, config.bar_slip_cost)[1]
    best = {metre: _bar_path(evidence, metre, config.bar_slip_cost) for metre in (3, 4)}
    score_of = {3: best[3][0] - config.three_cost * len(evidence) / 3, 4: best[4][0]}
    metre = max(score_of, key=lambda each: (score_of[each], each))
    return metre, best[metre][1]


def _bar_path(evidence: np.ndarray, metre: int, slip_cost: float) -> tuple[float, np.ndarray]:
    """Viterbi over the place in the bar: it steps on by one, or slips anywhere at a cost."""
    score, came = np.zeros(metre), np.zeros((len(evidence), metre), int)
    for beat, value in enumerate(evidence):
        stepped = np.roll(score, 1)
        slipped = score.max() - slip_cost
        came[beat] = np.where(stepped >= slipped, (np.arange(metre) - 1) % metre, score.argmax())
        score = np.maximum(stepped, slipped)
        score[0] += value
        score[1:] -= value / (metre - 1)
    place, first = int(score.argmax()), np.zeros(len(evidence), bool)
    for beat in range(len(evidence) - 1, -1, -1):
        first[beat] = place == 0
        place = came[beat, place]
    return float(score.max()), first


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
