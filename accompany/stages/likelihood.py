"""Likelihood of semantic codes that are there, teacher forced."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from accompany.stages.conditions import Conditions
from accompany.stages.decoding import windows
from accompany.stages.semantic import SemanticStage


def log_likelihood(stage: SemanticStage, codes: Tensor, conditions: Conditions) -> Tensor:
    """Log of the probability [B, K, F] (nats) of each code of [B, K, F], given the conditions and those before."""
    logits = functional.log_softmax(stage(codes, conditions).float(), dim=-1)
    return logits.gather(-1, codes[..., None])[..., 0]


@torch.inference_mode()
def log_likelihood_long(stage: SemanticStage, codes: Tensor, conditions: Conditions) -> Tensor:
    """`log_likelihood` of a song of any length, in the windows that `SemanticStage.generate_long` would write it in."""
    config = stage.config
    parts = windows(codes.shape[-1], config.window_frames, config.context_frames, config.lookahead_frames)
    found = []
    for part in parts:
        seen = functional.pad(codes[..., part.start : part.keep_to], (0, part.stop - part.keep_to), value=0)
        likely = log_likelihood(stage, seen, conditions.window(part.start, part.stop))
        found.append(likely[..., part.keep_from - part.start : part.keep_to - part.start])
    return torch.cat(found, dim=-1)
