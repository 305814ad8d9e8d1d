"""Linear probes: accuracy of chords, bass and drums predicted from an encoder's states or codes.

A probe is a linear classifier on a few frames of context, fitted on some songs and judged on others. Floors
(the most common class, the share of onset frames) and ceilings (continuous features) go beside each metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accompany.music.harmony import NO_CHORD, chord_pitch_classes, majmin

CONTEXT = 2
"""Frames on either side that a probe sees, besides the frame itself."""

UNKNOWN = -1
N_LOGITS = 38
"""24 chords, 12 bass notes, kick, snare: one probe answers all."""

RIDGE = 1e-4
"""Weight of the squared norm of a probe against its mean loss."""


@dataclass(frozen=True)
class FrameLabels:
    """Labels of each frame of a song.

    Attributes:
        chord: [F] 0..23 (12 roots x major, minor), or UNKNOWN.
        bass: [F] 0..11 pitch class of the chord's bass, or UNKNOWN.
        kick: [F] 1 where a kick starts in the frame, else 0.
        snare: [F] likewise.
    """

    chord: Tensor
    bass: Tensor
    kick: Tensor
    snare: Tensor


def frame_labels(song: Mapping[str, Any], n_frames: int, frame_rate: float) -> FrameLabels:
    """The labels of a synthetic song (the content of its song.json) on a grid of `n_frames` frames.

    A frame's chord is the one that sounds in its middle; passages without a chord are UNKNOWN.
    """
    chord = torch.full((n_frames,), UNKNOWN)
    bass = torch.full((n_frames,), UNKNOWN)
    for start_s, end_s, label in song["chords"]:
        frames = slice(max(0, round(start_s * frame_rate)), max(0, round(end_s * frame_rate)))
        index, lowest = majmin(label), chord_pitch_classes(label)[2]
        if index != NO_CHORD and lowest is not None:
            chord[frames], bass[frames] = index, lowest
    drums = song.get("drums", {})
    kick, snare = (_onset_frames(drums.get(name, ()), n_frames, frame_rate) for name in ("kick", "snare"))
    return FrameLabels(chord, bass, kick, snare)


def probe_features(features: Sequence[Tensor], labels: Sequence[FrameLabels], n_test: int) -> dict[str, float]:
    """Probe continuous features.

    Args:
        features: [F, D] of each song.
        labels: of each song, on the same grid.
        n_test: the last songs, which judge.

    Returns:
        `chord` and `bass` accuracy, `kick` and `snare` average precision, each 0 to 1.
    """
    everything = torch.cat(list(features)).float()
    mean, scale = everything.mean(0), everything.std(0).clamp_min(1e-4)
    rows = [_with_context((song.float() - mean) / scale) for song in features]
    return _probe_all(rows, labels, n_test, nn.Linear(rows[0].shape[1], N_LOGITS))


def probe_codes(
    codes: Sequence[Tensor], sizes: Sequence[int], labels: Sequence[FrameLabels], n_test: int
) -> dict[str, float]:
    """Probe codes, one-hot, with `CONTEXT` frames on either side.

    Args:
        codes: [K, F] int64 of each song.
        sizes: codes in each of the K streams.

    Returns:
        as `probe_features`.
    """
    offsets = torch.tensor([0, *np.cumsum(sizes)[:-1]])
    one_hot = [_with_context(song.T + offsets) for song in codes]
    width, span = int(sum(sizes)), 2 * CONTEXT + 1
    columns = torch.arange(span).repeat_interleave(len(sizes)) * width
    rows = [song + columns for song in one_hot]
    return _probe_all(rows, labels, n_test, _OneHot(span * width, N_LOGITS))


def probe_floor(labels: Sequence[FrameLabels], n_test: int) -> dict[str, float]:
    """Chance level on the test songs: the most common class, the share of onset frames."""
    training, judging = labels[:-n_test], labels[-n_test:]
    floor = {}
    for name in ("chord", "bass"):
        known, asked = (torch.cat([getattr(song, name) for song in part]) for part in (training, judging))
        common = known[known != UNKNOWN].mode().values
        floor[name] = float((asked[asked != UNKNOWN] == common).float().mean())
    for name in ("kick", "snare"):
        floor[name] = float(torch.cat([getattr(song, name) for song in judging]).float().mean())
    return floor


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Area under precision over recall of [N] scores for [N] truths of 0 and 1; nan without a positive."""
    order = scores.argsort(descending=True, stable=True)
    hits = truth[order].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())


class _OneHot(nn.Module):
    """A linear probe of one-hot rows given as indices [N, columns]."""

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(width, n_classes, mode="sum")
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, rows: Tensor) -> Tensor:
        """[N, n_classes] logits."""
        logits: Tensor = self.table(rows)
        return logits + self.bias


def _probe_all(
    rows: Sequence[Tensor], labels: Sequence[FrameLabels], n_test: int, probe: nn.Module
) -> dict[str, float]:
    """Fit one probe for all four questions at once, and judge it."""
    counts = [min(len(song), len(label.chord)) for song, label in zip(rows, labels, strict=True)]
    cut = [song[:count] for song, count in zip(rows, counts, strict=True)]
    train, test = torch.cat(cut[:-n_test]), torch.cat(cut[-n_test:])
    truths = {}
    for name in ("chord", "bass", "kick", "snare"):
        said = [getattr(song, name)[:count] for song, count in zip(labels, counts, strict=True)]
        truths[name] = (torch.cat(said[:-n_test]), torch.cat(said[-n_test:]))
    _fit_probe(probe, train, {name: pair[0] for name, pair in truths.items()})
    with torch.inference_mode():
        logits = torch.cat([probe(part) for part in test.split(8192)])
    chord, bass = truths["chord"][1], truths["bass"][1]
    return {
        "chord": _accuracy(logits[:, :24], chord),
        "bass": _accuracy(logits[:, 24:36], bass),
        "kick": average_precision(logits[:, 36], truths["kick"][1]),
        "snare": average_precision(logits[:, 37], truths["snare"][1]),
    }


def _fit_probe(probe: nn.Module, rows: Tensor, truth: Mapping[str, Tensor]) -> None:
    """Logistic regression by L-BFGS: stochastic steps leave the rare onsets underfitted."""
    for parameter in probe.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=80, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = sum((weight.square().sum() for weight in probe.parameters()), torch.zeros(()))
        loss = _probe_loss(probe(rows), truth) + RIDGE * penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _probe_loss(logits: Tensor, truth: Mapping[str, Tensor]) -> Tensor:
    entropy = nn.functional.cross_entropy
    onsets = torch.stack([truth["kick"], truth["snare"]], dim=-1).float()
    chord = entropy(logits[:, :24], truth["chord"], ignore_index=UNKNOWN)
    bass = entropy(logits[:, 24:36], truth["bass"], ignore_index=UNKNOWN)
    return chord + bass + 2 * nn.functional.binary_cross_entropy_with_logits(logits[:, 36:], onsets)


def _accuracy(logits: Tensor, truth: Tensor) -> float:
    known = truth != UNKNOWN
    return float((logits[known].argmax(-1) == truth[known]).float().mean())


def _with_context(rows: Tensor) -> Tensor:
    """[F, D] -> [F, (2 * CONTEXT + 1) * D]; the ends repeat their frame."""
    index = torch.arange(len(rows))[:, None] + torch.arange(-CONTEXT, CONTEXT + 1)
    return rows[index.clamp(0, len(rows) - 1)].flatten(1)


def _onset_frames(times_s: Sequence[float], n_frames: int, frame_rate: float) -> Tensor:
    flags = torch.zeros(n_frames, dtype=torch.int64)
    frames = [int(time * frame_rate) for time in times_s]
    flags[[frame for frame in frames if 0 <= frame < n_frames]] = 1
    return flags
