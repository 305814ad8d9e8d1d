"""The one transformer of both stages and of the listener.

RoPE (Su et al., 2021), a norm before each part (GPT-2), SwiGLU (Shazeer, 2020) and PyTorch's scaled dot product
attention. Causal with a static key/value cache for decoding frame by frame,
or bidirectional. The residual stream and the norms stay in float32 under autocast.

Shape letters: B batch, F frames, D width, H heads, N cache frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_SPAN_STEP = 64


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a `Transformer`.

    Attributes:
        width: D, a multiple of twice the heads.
        depth: number of blocks.
        heads: attention heads.
        ff_mult: hidden width of the feed-forward as a multiple of D.
        dropout: 0 to below 1, on both branches of each block while training.
        max_frames: longest sequence (and cache) in frames.
        causal: True lets a frame see itself and the past only.
        rope_base: the slowest rotary wavelength is about this many frames times 2 pi.
    """

    width: int = 256
    depth: int = 6
    heads: int = 8
    ff_mult: float = 2.75
    dropout: float = 0.0
    max_frames: int = 2048
    causal: bool = True
    rope_base: float = 10000.0

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that do not fit together."""
        if min(self.width, self.depth, self.heads, self.max_frames) < 1:
            raise ValueError("width, depth, heads and max_frames must be at least 1")
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the heads ({2 * self.heads})")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout {self.dropout} must be from 0 to below 1")
        if self.ff_mult <= 0:
            raise ValueError(f"ff_mult {self.ff_mult} must be above 0")


class KVCache:
    """Keys and values of the frames so far: two static tensors [depth, B, H, N, D/H]."""

    def __init__(self, config: TransformerConfig, batch_size: int, n_frames: int, like: Tensor) -> None:
        """Room for `n_frames` frames (rounded up) in the device and dtype of `like`."""
        n_frames = -(-n_frames // _SPAN_STEP) * _SPAN_STEP
        shape = (config.depth, batch_size, config.heads, n_frames, config.width // config.heads)
        self.keys = torch.zeros(shape, device=like.device, dtype=like.dtype)
        self.values = torch.zeros_like(self.keys)
        self.slots = torch.arange(n_frames, device=like.device)

    def span(self, n_frames: int) -> int:
        """Slots to attend to once `n_frames` are filled: in coarse steps, so that few shapes occur."""
        return min(-(-n_frames // _SPAN_STEP) * _SPAN_STEP, self.slots.shape[0])


class Norm(nn.Module):
    """Layer norm without a bias, computed in float32.

    RMSNorm learns as well, but PyTorch's takes 5 times as long on a CPU, where it has no kernel of its own.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D] in the dtype of `x`."""
        return functional.layer_norm(x.float(), self.weight.shape, self.weight.float(), None, 1e-6).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions and an optional cache."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.project = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor | None,
        causal: bool,
        cached: CacheView | None,
    ) -> Tensor:
        """Attend over the frames of `x` [B, F, D], or over the cache once `x` has been put into it."""
        batch, frames, width = x.shape
        heads = self.project(x).view(batch, frames, 3, self.heads, width // self.heads).transpose(1, 3)
        queries_keys = rotate(heads[:, :, :2], rotation)
        query, key, value = queries_keys[:, :, 0], queries_keys[:, :, 1], heads[:, :, 2]
        if cached is not None:
            key, value = cached.put(key, value)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, frames, width))


@dataclass(frozen=True)
class CacheView:
    """One block's part of the cache while the frames at `positions` are put in."""

    keys: Tensor
    values: Tensor
    positions: Tensor
    span: int

    def put(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store [B, H, F, D/H] at the positions and return the first `span` slots of both."""
        self.keys.index_copy_(2, self.positions, key.to(self.keys.dtype))
        self.values.index_copy_(2, self.positions, value.to(self.values.dtype))
        return self.keys[:, :, : self.span], self.values[:, :, : self.span]


class Block(nn.Module):
    """Attention, then SwiGLU, each on the normed stream and added to it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        hidden = round(config.width * config.ff_mult / 8) * 8
        self.norm_attention = Norm(config.width)
        self.attention = Attention(config)
        self.norm_feed = Norm(config.width)
        self.feed_in = nn.Linear(config.width, 2 * hidden, bias=False)
        self.feed_out = nn.Linear(hidden, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor | None,
        causal: bool,
        cached: CacheView | None,
    ) -> Tensor:
        """[B, F, D] to [B, F, D]."""
        x = x + self.dropout(self.attention(self.norm_attention(x), rotation, mask, causal, cached))
        gate, up = self.feed_in(self.norm_feed(x)).chunk(2, dim=-1)
        return x + self.dropout(self.feed_out(functional.silu(gate) * up))


class Transformer(nn.Module):
    """A stack of blocks over embedded frames, with a final norm."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        """Build with small normal weights, residual outputs scaled down by depth (GPT-2)."""
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = Norm(config.width)
        cos, sin = rotary_table(config.max_frames, config.width // config.heads, config.rope_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(init_weights)
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.out.weight", "feed_out.weight")):
                nn.init.normal_(parameter, std=0.02 / (2 * config.depth) ** 0.5)

    def forward(self, x: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Run whole sequences.

        Args:
            x: [B, F, D] embedded frames, F at most `max_frames`.
            frame_mask: [B, F] bool, False for padding at the end; only a bidirectional model needs it.

        Returns:
            [B, F, D], normed.
        """
        frames = x.shape[1]
        self._check_length(frames)
        rotation = self.cos[:frames], self.sin[:frames]
        mask = None
        if not self.config.causal and frame_mask is not None:
            mask = (frame_mask | ~frame_mask.any(dim=1, keepdim=True))[:, None, None, :]
        for block in self.blocks:
            x = block(x, rotation, mask, self.config.causal, None)
        return self.norm(x)

    def new_cache(self, batch_size: int, n_frames: int) -> KVCache:
        """An empty cache for sequences of up to `n_frames` frames."""
        self._check_length(n_frames)
        return KVCache(self.config, batch_size, n_frames, self.norm.weight)

    def prefill(self, x: Tensor, cache: KVCache) -> Tensor:
        """Put the first F frames [B, F, D] into an empty cache; returns [B, F, D] as `forward` does."""
        positions = cache.slots[: x.shape[1]]
        return self._cached(x, positions, cache, x.shape[1])

    def decode_one(self, x: Tensor, position: Tensor, cache: KVCache, n_filled: int) -> Tensor:
        """Run one frame.

        Args:
            x: [B, 1, D] the frame.
            position: [1] int64, where it stands; a tensor, so that no step waits for the host.
            cache: holds all frames before `position`; the frame is added to it.
            n_filled: the host's knowledge of position + 1 or any larger number; it bounds the slots attended to.

        Returns:
            [B, 1, D].
        """
        return self._cached(x, position, cache, n_filled)

    def _cached(self, x: Tensor, positions: Tensor, cache: KVCache, n_filled: int) -> Tensor:
        span = cache.span(n_filled)
        rotation = self.cos[positions], self.sin[positions]
        mask = cache.slots[:span] <= positions[:, None]
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = block(x, rotation, mask, False, CacheView(keys, values, positions, span))
        return self.norm(x)

    def _check_length(self, frames: int) -> None:
        if frames > self.config.max_frames:
            raise ValueError(f"{frames} frames are more than max_frames={self.config.max_frames}; work in windows")


def rotary_table(n_frames: int, head_width: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [F, head_width] of RoPE's angles, both halves alike."""
    rates = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.arange(n_frames, dtype=torch.float64)[:, None] * rates
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn [..., F, head_width] by the angles of its positions (pairs are i and i + half)."""
    cos, sin = (table.to(x.dtype) for table in rotation)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def init_weights(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, zero biases; for `Module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
