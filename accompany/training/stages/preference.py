"""Preference tuning of the semantic stage: direct preference optimisation against the frozen start.

DPO is Rafailov et al. 2023 ("Direct Preference Optimization", equation 7). The likelihoods of the frozen start are
taken once, beforehand, so that no second model stays in memory. `anchor` adds the cross entropy of the better take,
which keeps its likelihood from falling along with that of the worse one (Pang et al. 2024, "Iterative Reasoning
Preference Optimization", equation 2). The trainers of `trl` do not fit: they tune language models of `transformers`
with one stream of text tokens and a tokenizer; here a take is K streams of codes under conditions that are no tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.batch import Batch, conditions_of
from accompany.stages.likelihood import log_likelihood as code_likelihood
from accompany.stages.semantic import SemanticStage


@dataclass(frozen=True)
class Pairs:
    """Two takes for each of B vocals, one preferred.

    Attributes:
        inputs: conditions of the takes, a batch without codes.
        better, worse: [B, K, F] semantic codes.
        better_start, worse_start: [B] log likelihoods of these under the start of the tuning.
    """

    inputs: Batch
    better: Tensor
    worse: Tensor
    better_start: Tensor
    worse_start: Tensor

    @property
    def size(self) -> int:
        """B."""
        return len(self.better)

    def float(self) -> Pairs:
        """The pairs with half precision widened to single."""
        return Pairs(self.inputs.float(), self.better, self.worse, self.better_start, self.worse_start)

    def to(self, device: torch.device | str, *args: object, **kwargs: object) -> Pairs:
        """The pairs on `device`; called by Lightning."""
        values = (self.better, self.worse, self.better_start, self.worse_start)
        return Pairs(self.inputs.to(device), *(value.to(device) for value in values))

    def select(self, items: Tensor | slice) -> Pairs:
        """The pairs of `items`."""
        values = (self.better, self.worse, self.better_start, self.worse_start)
        return Pairs(self.inputs.select(items), *(value[items] for value in values))


def log_likelihood(stage: SemanticStage, inputs: Batch, codes: Tensor) -> Tensor:
    """Log likelihood [B] of takes [B, K, F], all conditions there and nothing dropped."""
    conditions = conditions_of(stage.config.conditions, inputs, codes.shape[-1])
    return code_likelihood(stage, codes, conditions).sum(dim=(1, 2))


def preference_losses(
    better: Tensor, worse: Tensor, better_start: Tensor, worse_start: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """DPO's loss [B], and the margin [B] by which tuning has moved the better take ahead of the worse.

    Args:
        better, worse: [B] log likelihoods of the takes now.
        better_start, worse_start: [B] the same under the frozen start.
        beta: how dear it is to move away from the start.
    """
    margin = (better - better_start) - (worse - worse_start)
    return -functional.logsigmoid(beta * margin), margin


class PreferenceStage(nn.Module):
    """A semantic stage whose `loss` is that of preferences."""

    def __init__(self, stage: SemanticStage, beta: float, anchor: float) -> None:
        """Tune `stage`; dropout is off, since the start's likelihoods were taken without."""
        super().__init__()
        self.stage, self.beta, self.anchor = stage, beta, anchor
        self.config = stage.config
        for module in stage.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def loss(self, batch: Pairs, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """`loss`, `margin` and `won`: the share of pairs whose better take is ahead of where it started."""
        better = log_likelihood(self.stage, batch.inputs, batch.better)
        worse = log_likelihood(self.stage, batch.inputs, batch.worse)
        losses, margin = preference_losses(better, worse, batch.better_start, batch.worse_start, self.beta)
        entropy = -better.mean() / batch.better[0].numel()
        return {
            "loss": losses.mean() + self.anchor * entropy,
            "preference": losses.detach().mean(),
            "margin": margin.detach().mean(),
            "won": (margin.detach() > 0).float().mean(),
        }
