"""The transformer shared by all stages and the vocal analysis network.

RoPE (Su et al., 2021), a norm before each part (GPT-2), SwiGLU (Shazeer, 2020) and PyTorch's scaled dot product
attention. Causal with a static key/value cache for decoding frame by frame,
or bidirectional. The residual stream and the norms stay in float32 under autocast.

The config (`accompany.stages.transformer_config`) also describes the transformer of AudioLM's open implementations.

Shape letters: B batch, F frames, D width, H heads, N cache frames or rows, E inner width of the feed-forward,
I inputs and O outputs of a matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.transformer_config import TransformerConfig

if TYPE_CHECKING:
    from accompany.stages.cache import CacheView


class Product(Protocol):
    """A matrix to multiply rows with."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows [N, I] to [N, O]."""

    def add(self, base: Tensor, rows: Tensor) -> Tensor:
        """`base` [N, O] plus the product."""


class Dense:
    """A matrix [O, I] as it is."""

    def __init__(self, weight: Tensor) -> None:
        """Keep a view of it."""
        self._weight = weight.T

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Product`."""
        return rows.mm(self._weight)

    def add(self, base: Tensor, rows: Tensor) -> Tensor:
        """See `Product`."""
        return torch.addmm(base, rows, self._weight)


def product_of(layer: nn.Module) -> Product:
    """A layer without bias as a product; one with 8-bit weights (`accompany.stages.precision`) is one already."""
    return Dense(layer.weight) if isinstance(layer, nn.Linear) else cast(Product, layer)


class Norm(nn.Module):
    """Layer norm without a bias, computed in float32.

    RMSNorm learns as well, but PyTorch's takes 5 times as long on a CPU, where it has no kernel of its own.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D] in the dtype of `x`."""
        return functional.layer_norm(x.float(), self.weight.shape, self.weight.float(), None, self.eps).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, or biases in the mask, and an optional cache."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = config.heads, config.n_kv_heads, config.width_of_head
        self.scale = config.qk_scale or None
        self.project = nn.Linear(config.width, (self.heads + 2 * self.kv_heads) * self.head_width, bias=False)
        self.out = nn.Linear(self.heads * self.head_width, config.width, bias=False)
        if self.scale:
            self.query_scale = nn.Parameter(torch.ones(self.head_width))
            self.key_scale = nn.Parameter(torch.ones(self.head_width))

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        causal: bool,
        cached: CacheView | None,
        stream: Tensor | None = None,
    ) -> Tensor:
        """Attend over the frames of `x` [B, F, D], or over the cache once `x` has been put into it.

        Keys and values come from `stream` [B, F, D] where it is given, otherwise from `x`.
        """
        batch, frames, _ = x.shape
        projected = self.project(x) if stream is None else self._project_apart(x, stream)
        heads = projected.view(batch, frames, -1, self.head_width).transpose(1, 2)
        queries_keys, value = heads[:, : -self.kv_heads], heads[:, -self.kv_heads :]
        if rotation is not None:
            queries_keys = rotate(queries_keys, rotation)
        query, key = queries_keys[:, : self.heads], queries_keys[:, self.heads :]
        if self.scale:
            query = functional.normalize(query, dim=-1) * self.query_scale
            key = functional.normalize(key, dim=-1) * self.key_scale
        if cached is not None:
            key, value = cached.put(key, value)
        together = frames == 1 and self.kv_heads == 1
        if together:  # one frame's heads look at the same keys, so they go as if they were frames
            query = query.transpose(1, 2)
            mask = mask.transpose(0, 1) if mask is not None and mask.dim() == 3 else mask
        elif self.kv_heads < self.heads:
            key, value = (share_heads(each, self.heads) for each in (key, value))
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, scale=self.scale
        )
        mixed = mixed if together else mixed.transpose(1, 2)
        return self.out(mixed.reshape(batch, frames, self.heads * self.head_width))

    def _project_apart(self, x: Tensor, stream: Tensor) -> Tensor:
        project = self.project
        weight = project.weight if isinstance(project, nn.Linear) else project.widened()  # of 8 bits
        queries, others = weight.split([self.heads * self.head_width, 2 * self.kv_heads * self.head_width])
        return torch.cat([functional.linear(x, queries), functional.linear(stream, others)], dim=-1)


class Block(nn.Module):
    """Attention, then a gated feed-forward, each on the normed stream and added to it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        hidden = config.width_of_feed
        self.norm_kv = config.norm_kv
        self.norm_attention = Norm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.norm_feed = Norm(config.width, config.norm_eps)
        self.feed_in = nn.Linear(config.width, 2 * hidden, bias=False)
        self.feed_conv = None
        if config.ff_conv:
            from accompany.stages.cache import PastConvolution

            self.feed_conv = PastConvolution(2 * hidden, config.ff_conv)
        self.activation = functional.silu if config.gate == "silu" else functional.gelu
        self.feed_norm = Norm(hidden, config.norm_eps) if config.ff_norm else None
        self.feed_out = nn.Linear(hidden, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        causal: bool,
        cached: CacheView | None,
    ) -> Tensor:
        """[B, F, D] to [B, F, D]."""
        stream = None if self.norm_kv else x
        x = x + self.dropout(self.attention(self.norm_attention(x), rotation, mask, causal, cached, stream))
        fed = self.feed_in(self.norm_feed(x))
        if self.feed_conv is not None:
            fed = self.feed_conv(fed, cached)
        gate, up = fed.chunk(2, dim=-1)
        fed = self.activation(gate) * up
        if self.feed_norm is not None:
            fed = self.feed_norm(fed)
        return x + self.dropout(self.feed_out(fed))


class Transformer(nn.Module):
    """A stack of blocks over embedded frames, with a final norm."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        """Build with small normal weights, residual outputs scaled down by depth (GPT-2)."""
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = Norm(config.width, config.norm_eps)
        self.bias = None
        if config.positions == "bias":
            from accompany.stages.cache import DistanceBias

            self.bias = DistanceBias(config)
        cos, sin = rotary_table(config.max_frames, config.width_of_head, config.rope_base)
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
        frames, given = x.shape[1], x.dtype
        self.check_length(frames)
        x = self.entering(x)
        mask = None
        if not self.config.causal and frame_mask is not None:
            mask = (frame_mask | ~frame_mask.any(dim=1, keepdim=True))[:, None, None, :]
        if self.bias is not None:
            from accompany.stages.cache import bias_by_distance

            positions = torch.arange(frames, device=x.device)
            mask = bias_by_distance(self.bias(frames).to(x.dtype), positions, positions)
        rotation, causal = self.rotation_of(slice(frames)), self.config.causal and mask is None
        for block in self.blocks:
            x = block(x, rotation, mask, causal, None)
        return self.norm(x).to(given)

    def entering(self, x: Tensor) -> Tensor:
        """The stream in half precision where the weights are."""
        kept = self.norm.weight.dtype
        return x if kept == torch.float32 else x.to(kept)

    def rotation_of(self, frames: slice | Tensor) -> tuple[Tensor, Tensor] | None:
        """Tables of the positions, for a transformer that has no biases."""
        return None if self.bias is not None else (self.cos[frames], self.sin[frames])

    def check_length(self, frames: int) -> None:
        """ValueError for more frames than the transformer takes."""
        if frames > self.config.max_frames:
            raise ValueError(f"{frames} frames are more than max_frames={self.config.max_frames}; work in windows")


def share_heads(x: Tensor, heads: int) -> Tensor:
    """[B, Hkv, N, C] to [B, H, N, C], each head repeated for its group; one head is repeated without a copy."""
    return x[:, :, None].expand(-1, -1, heads // x.shape[1], -1, -1).flatten(1, 2)


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
