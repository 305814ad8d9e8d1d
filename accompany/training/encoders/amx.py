"""Workaround for convolutions that AMX processors compute wrongly in bfloat16."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import EncodecModel

AMX_CHANNELS = 32


def guard_strided_convs(model: EncodecModel) -> None:
    """Keep the strided convolutions of few channels out of bfloat16 autocast.

    oneDNN with AMX computes them wrongly (torch 2.13; under 32 channels and stride 4 or more: the output of
    `Conv1d(16, 32, 16, 8)` is off by its own size), without a warning.
    """

    def in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def run(states: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                return forward(states.float())

        return run

    for conv in model.modules():
        if not isinstance(conv, nn.Conv1d | nn.ConvTranspose1d) or conv.stride[0] == 1:
            continue
        if min(conv.in_channels, conv.out_channels) < AMX_CHANNELS:
            conv.forward = in_float32(conv.forward)  # type: ignore[method-assign,assignment]
