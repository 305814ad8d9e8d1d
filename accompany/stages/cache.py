"""Key-value caches for decoding, and the blocks that only AudioLM's open implementations have.

Shape letters: B batch, F frames, D width, H heads, Hkv heads of keys and values, N cache frames, E inner width of the
feed-forward.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.transformer_config import TransformerConfig

_SPAN_STEP = 64


class KVCache:
    """Keys and values of the frames so far, in static tensors.

    Keys and values [depth, B, Hkv, N, D/H]; where the config asks for them, what the convolutions saw last
    [depth, B, ff_conv - 1, 2E] and the bias of each distance [H, N].
    """

    def __init__(
        self, config: TransformerConfig, batch_size: int, n_frames: int, like: Tensor, bias: Tensor | None = None
    ) -> None:
        """Room for `n_frames` frames (a multiple of the span's step) in the device and dtype of `like`."""
        shape = (config.depth, batch_size, config.n_kv_heads, n_frames, config.width_of_head)
        self.keys = torch.zeros(shape, device=like.device, dtype=like.dtype)
        self.values = torch.zeros_like(self.keys)
        self.recent = like.new_zeros(config.depth, batch_size, max(config.ff_conv - 1, 0), 2 * config.width_of_feed)
        self.bias = bias
        self.slots = torch.arange(n_frames, device=like.device)

    def span(self, n_frames: int) -> int:
        """Slots to attend to once `n_frames` are filled: in coarse steps, so that few shapes occur."""
        return min(round_up(n_frames), self.slots.shape[0])

    def mask(self, positions: Tensor, span: int) -> Tensor:
        """Mask of the first `span` slots for the frames at `positions` [F]: bool [F, span], or biases [H, F, span]."""
        if self.bias is None:
            return self.slots[:span] <= positions[:, None]
        return bias_by_distance(self.bias, positions, self.slots[:span])

    def views(self, positions: Tensor, span: int) -> list[CacheView]:
        """Each block's part."""
        parts = zip(self.keys, self.values, self.recent, strict=True)
        return [CacheView(keys, values, recent, positions, span) for keys, values, recent in parts]


@dataclass(frozen=True)
class CacheView:
    """One block's part of the cache while the frames at `positions` are put in."""

    keys: Tensor
    values: Tensor
    recent: Tensor
    positions: Tensor
    span: int

    def put(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store [B, Hkv, F, D/H] at the positions and return the first `span` slots of both."""
        self.keys.index_copy_(2, self.positions, key.to(self.keys.dtype))
        self.values.index_copy_(2, self.positions, value.to(self.values.dtype))
        return self.keys[:, :, : self.span], self.values[:, :, : self.span]

    def extend(self, inputs: Tensor) -> Tensor:
        """A convolution's inputs [B, F, 2E] behind those of the frames before; the last ones are kept."""
        inputs = torch.cat([self.recent.to(inputs.dtype), inputs], dim=1)
        self.recent.copy_(inputs[:, inputs.shape[1] - self.recent.shape[1] :])
        return inputs


def round_up(n_frames: int) -> int:
    """The next multiple of the step in which caches grow."""
    return -(-n_frames // _SPAN_STEP) * _SPAN_STEP


def bias_by_distance(bias: Tensor, positions: Tensor, slots: Tensor) -> Tensor:
    """Biases [H, F, S] of frames at `positions` [F] on `slots` [S], from [H, N] by distance; minus infinity ahead."""
    distances = positions[:, None] - slots
    return bias[:, distances.clamp_min(0)].masked_fill(distances < 0, -torch.inf)


class PastConvolution(nn.Module):
    """A convolution of each channel over a frame and those before it; at first it passes the frame on."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, taps))
        nn.init.ones_(self.weight[:, -1])

    def forward(self, x: Tensor, cached: CacheView | None) -> Tensor:
        """[B, F, C] to [B, F, C]; before the first frame, and before the cache, there are zeros."""
        frames, taps = x.shape[1], self.weight.shape[1]
        behind = functional.pad(x, (0, 0, taps - 1, 0)) if cached is None else cached.extend(x)
        mixed = behind[:, :frames] * self.weight[:, 0]
        for tap in range(1, taps):
            mixed = mixed + behind[:, tap : tap + frames] * self.weight[:, tap]
        return mixed


class DistanceBias(nn.Module):
    """Attention biases for each distance, from a small network (after Swin V2, Liu et al., 2022)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        hidden = config.width // 2
        sizes = (1, hidden, hidden, hidden, config.heads)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, n_frames: int) -> Tensor:
        """Biases [H, N] of the distances 0 to N - 1 frames."""
        x = torch.arange(n_frames, device=next(self.parameters()).device, dtype=torch.float32)[:, None]
        for layer in self.layers[:-1]:
            x = functional.silu(layer(x))
        return self.layers[-1](x).T
