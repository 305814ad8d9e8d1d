"""Calibration of a model's confidence: `accompany train confidence songs=DIR model=NAME|DIR`.

The listener analyses songs whose beats, chords and key are known and which it was not trained on. A handful of numbers
(`accompany.stages.grids.Calibration`) then turn its scores into probabilities: temperatures and a prior by maximum
likelihood, held near their defaults, so that a few dozen songs suffice. No weight changes, and no decision but the
order of readings.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from accompany.common.config import check_range
from accompany.common.saving import save_module
from accompany.errors import InputError
from accompany.evaluation.chord_metrics import compare_chords
from accompany.evaluation.plan_metrics import analysed, calibration_error, told_and_right
from accompany.evaluation.testset import Clip, load_clips
from accompany.models.pretrained import Bundle, find_bundle, load_bundle
from accompany.music.harmony import key_index
from accompany.music.plan import Plan
from accompany.stages.grids import KINDS, Calibration, GridReading
from accompany.stages.listener import Listener, ListenerOutput
from accompany.training.stages.analysis_scores import f_measure

_log = logging.getLogger(__name__)

MODEL_DIR = "model"
_SAME_GRID = 0.6
"""A grid with at least this F against the true beats is the true reading."""

_AS_IT_IS = Calibration(1.0, (0.0,) * KINDS, 1.0, 1.0, 1.0, 0.0)
"""Probabilities with nothing done to them, to fit from."""


@dataclass(frozen=True)
class ConfidenceConfig:
    """Calibration of the confidence of a listener.

    Attributes:
        songs: folders of songs with beats, chords and keys that the listener was not trained on, `synth` folders or
            others that `accompany evaluate` reads.
        model: whose listener it is, a name or folder.
        out: gets the listener with its calibration in `model`.
        clips: most songs to analyse; seconds: of each.
        hold: how strongly the numbers are held near their defaults, in songs.
    """

    songs: list[str] = field(default_factory=list)
    model: str = "tiny"
    out: str = "runs/confidence"
    clips: int = 60
    seconds: float = 20.0
    hold: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for counts and lengths out of range."""
        check_range(self, "clips", least=2, most=10**6)
        check_range(self, "seconds", least=4, most=3600)
        check_range(self, "hold", least=0, most=10**6)


@dataclass(frozen=True)
class Evidence:
    """What a listener says of one clip, and what is right.

    Attributes:
        shares: log share of each kind of grid, [KINDS]; -inf for a kind that is not there.
        kind: the right one; None where the beats are not known.
        other_right: whether the one grid of the last kind is right, where that kind is.
        keys: nats of the keys, [24].
        key: the right one, or None.
        chords: logit of what the networks say of their chords; right: the share that is, or None.
    """

    shares: np.ndarray
    kind: int | None
    other_right: bool
    keys: np.ndarray
    key: int | None
    chords: float
    right: float | None


def fit_confidence(config: ConfidenceConfig) -> Path:
    """Fit the calibration and save the listener with it; returns the listener's folder."""
    if not config.songs:
        raise InputError("Name folders of songs that the listener was not trained on: songs=[DIR].")
    bundle = load_bundle(find_bundle(config.model))
    if not isinstance(bundle, Bundle):
        raise InputError(f"{config.model} plans nothing, so it has no confidence; choose a model such as tiny.")
    clips = load_clips(config.songs, sample_rate=bundle.codec.sample_rate, seconds=config.seconds, limit=config.clips)
    outputs = [analysed(bundle, clip) for clip in tqdm(clips, desc="Analyzing", unit="song")]
    plain = with_calibration(bundle.listener, _AS_IT_IS)
    seen = [evidence_of(plain, output, clip) for output, clip in zip(outputs, clips, strict=True)]
    fitted = with_calibration(bundle.listener, fit(seen, config.hold))
    for name, listener in (("before", bundle.listener), ("after", fitted)):
        _report(name, [listener.plan(output) for output in outputs], clips)
    folder = Path(config.out) / MODEL_DIR
    save_module(fitted, fitted.config, folder)
    return folder


def with_calibration(listener: Listener, calibration: Calibration) -> Listener:
    """A listener of the same weights."""
    made = Listener(dataclasses.replace(listener.config, calibration=calibration)).eval()
    made.load_state_dict(listener.state_dict())
    return made


@torch.inference_mode()
def evidence_of(listener: Listener, output: ListenerOutput, clip: Clip) -> Evidence:
    """What a listener whose probabilities are as they are says of a clip."""
    beat, downbeat = (values[0].float().cpu().numpy() for values in (output.beat, output.downbeat))
    grids = listener.read_beats(beat, downbeat)
    shares = np.full(KINDS, -np.inf)
    for grid in grids:
        shares[grid.kind] = np.log(grid.probability)
    kind, other_right = _right_kind(grids, np.array(clip.beats_s))
    plan = listener.plan(output)
    keys, _, share = listener.harmony(output, np.array(plan.beats_s), np.array(plan.downbeats_s))
    odds = np.clip(share, 1e-3, 1 - 1e-3)
    return Evidence(
        shares=shares,
        kind=kind if len(clip.beats_s) > 2 else None,
        other_right=other_right,
        keys=np.log(keys + 1e-12),
        key=key_index(clip.key) if clip.key else None,
        chords=float(np.log(odds / (1 - odds))),
        right=compare_chords(plan.chords, clip.chords).get("chord_majmin"),
    )


def _right_kind(grids: Sequence[GridReading], truth_s: np.ndarray) -> tuple[int, bool]:
    """The kind whose grid the true beats are, the last where it is none, and whether the last is right as it stands."""
    fits = {grid.kind: f_measure(grid.beats_s, truth_s) for grid in grids}
    best = max(fits, key=lambda kind: fits[kind])
    return (best, best == KINDS - 1) if fits[best] >= _SAME_GRID else (KINDS - 1, False)


def fit(seen: Sequence[Evidence], hold: float = 1.0) -> Calibration:
    """The calibration of the highest likelihood; what no clip tells of stays at its default."""
    start = Calibration()
    slope, *prior = _fit_grids([each for each in seen if each.kind is not None], start, hold)
    others = [each.other_right for each in seen if each.kind == KINDS - 1]
    key_slope = _fit_keys([each for each in seen if each.key is not None], hold)
    chord_slope, chord_offset = _fit_chords([each for each in seen if each.right is not None], hold)
    return Calibration(
        grid_slope=slope,
        grid_prior=(0.0, *prior),
        other_share=round((sum(others) + hold * start.other_share) / max(len(others) + hold, 1e-9), 4),
        key_slope=key_slope,
        chord_slope=chord_slope,
        chord_offset=chord_offset,
    )


def _fit_grids(seen: Sequence[Evidence], start: Calibration, hold: float) -> list[float]:
    """The slope, and the prior of all kinds but the first."""
    begin = torch.tensor([start.grid_slope, *start.grid_prior[1:]], dtype=torch.float64)
    shares = torch.tensor(np.array([each.shares for each in seen]).reshape(-1, KINDS))
    there = torch.isfinite(shares)
    right = torch.tensor([each.kind for each in seen], dtype=torch.int64)
    rows = there[torch.arange(len(right)), right]
    shares, there, right = shares[rows], there[rows], right[rows]

    def cost(numbers: Tensor) -> Tensor:
        nats = numbers[0] * shares.masked_fill(~there, 0.0) + torch.cat([numbers.new_zeros(1), numbers[1:]])
        log_chance = nats.masked_fill(~there, -1e9).log_softmax(dim=1)
        return -log_chance.gather(1, right[:, None]).sum()

    return _minimum(cost, begin, hold)


def _fit_keys(seen: Sequence[Evidence], hold: float) -> float:
    nats = torch.tensor(np.array([each.keys for each in seen]).reshape(-1, 24))
    right = torch.tensor([each.key for each in seen], dtype=torch.int64)

    def cost(numbers: Tensor) -> Tensor:
        return -(numbers[0] * nats).log_softmax(dim=1).gather(1, right[:, None]).sum()

    return _minimum(cost, torch.ones(1, dtype=torch.float64), hold)[0]


def _fit_chords(seen: Sequence[Evidence], hold: float) -> list[float]:
    odds = torch.tensor([each.chords for each in seen], dtype=torch.float64)
    right = torch.tensor([each.right for each in seen], dtype=torch.float64)

    def cost(numbers: Tensor) -> Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(
            numbers[0] * odds + numbers[1], right, reduction="sum"
        )

    return _minimum(cost, torch.tensor([1.0, 0.0], dtype=torch.float64), hold)


def _minimum(cost: Callable[[Tensor], Tensor], start: Tensor, hold: float) -> list[float]:
    """Numbers of the least cost in nats, with a penalty on their distance from the start; the first stays above 0."""
    numbers = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([numbers], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cost(numbers) + hold * (numbers - start).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = [round(each, 4) for each in numbers.detach().tolist()]
    return [max(found[0], 0.01), *found[1:]]


def _report(when: str, plans: Sequence[Plan], clips: Sequence[Clip]) -> None:
    """Log the calibration error of each part."""
    pairs = [told_and_right(plan, clip) for plan, clip in zip(plans, clips, strict=True)]
    for part in ("tempo", "phase", "key", "chords"):
        known = [pair[part] for pair in pairs if part in pair]
        if known:
            told, right = zip(*known, strict=True)
            error = calibration_error(told, right)
            _log.info(
                "%s, %s: told %.2f, right %.2f, calibration error %.2f of %d songs",
                part, when, np.mean(told), np.mean(right), error, len(known),
            )  # fmt: skip
