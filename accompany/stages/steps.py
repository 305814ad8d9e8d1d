"""Fast frame-by-frame decoding of a causal transformer, equal to `Transformer.forward`.

At the sizes of the stages a step is short of work: next to the matrix products, most of its time goes into starting
small operations. So here are few of them: one product makes queries, keys and values, another turns queries and keys,
views of the cache are cut for all layers at once, attention runs over the filled slots only and needs no mask, and
residuals are added by the products themselves.

Shape letters: B batch, F frames, D width, H heads, N cache frames, E inner width of the feed-forward.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from accompany.stages.transformer import Block, Product, Transformer, TransformerConfig, product_of

_SIZES = ("width", "depth", "heads", "ff_mult", "dropout", "max_frames", "rope_base")
"""Fields of a transformer's config that leave it plain."""
_WORTH_SHARING = 1 << 22
"""Multiplications of a product from which on threads share it."""


class Steps(Protocol):
    """The frames of one batch of sequences, one call after another."""

    def __call__(self, x: Tensor) -> Tensor:
        """Run the next frames [B, F, D]: any number in the first call, one in each later call.

        Returns:
            [B, F', D], of a long first call perhaps the last frames only.
        """


def start(transformer: Transformer, batch_size: int, n_frames: int) -> Steps:
    """Begin sequences of at most `n_frames` frames.

    Raises:
        ValueError: more frames than the transformer can take.
    """
    longest = transformer.config.max_frames
    if n_frames > longest:
        raise ValueError(f"{n_frames} frames are more than max_frames={longest}; work in windows")
    if is_plain(transformer.config):
        return PackedSteps(transformer, batch_size, n_frames)
    from accompany.stages.token_steps import start_other

    return start_other(transformer, batch_size, n_frames)


def is_plain(config: TransformerConfig) -> bool:
    """Whether `PackedSteps` can run it: sizes as they like, everything else as in the stages of this package."""
    others = (each for each in dataclasses.fields(config) if each.name not in _SIZES)
    return all(getattr(config, each.name) == each.default for each in others)


@contextmanager
def suited_threads(transformer: Transformer, rows: int) -> Iterator[None]:
    """Run the steps of `rows` sequences on one CPU thread where their products are too small to be shared.

    Threads wait for each other after every product. At the sizes of `tiny` that gains nothing, and while other work
    keeps a core busy each wait lasts until that is suspended: steps were 15 times slower on two threads than on one.
    """
    before = torch.get_num_threads()
    largest = max(weight.numel() for weight in transformer.parameters())
    small = transformer.norm.weight.device.type == "cpu" and largest * rows < _WORTH_SHARING
    torch.set_num_threads(1 if small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Layer:
    """The weights of one block, as views of the module's own."""

    norm_attention: Tensor
    project: Product
    out: Product
    norm_feed: Tensor
    feed_in: Product
    feed_out: Product

    @classmethod
    def of(cls, block: Block) -> _Layer:
        return cls(
            block.norm_attention.weight,
            product_of(block.attention.project),
            product_of(block.attention.out),
            block.norm_feed.weight,
            product_of(block.feed_in),
            product_of(block.feed_out),
        )


class PackedSteps:
    """Frame by frame through the bare weights, for plain transformers (`is_plain`), outside of autocast."""

    def __init__(self, transformer: Transformer, batch_size: int, n_frames: int) -> None:
        """Begin with an empty cache [depth, 2, B, H, N, D/H] of keys and values."""
        config = transformer.config
        self._layers = [_Layer.of(block) for block in transformer.blocks if isinstance(block, Block)]
        self._norm = transformer.norm.weight
        self._heads, self._filled = config.heads, 0
        shape = (config.depth, 2, batch_size, config.heads, n_frames, config.width // config.heads)
        self._cache = torch.zeros(shape, device=self._norm.device, dtype=self._norm.dtype)
        self._turning = _Turning(transformer.cos[:n_frames], transformer.sin[:n_frames], self._norm.dtype)
        self._nothing = self._norm.new_zeros(1)
        # Over one frame PyTorch's attention on a CPU takes up to twice as long as its two products by themselves.
        self._by_products = self._norm.device.type == "cpu" and self._norm.dtype == torch.float32

    def __call__(self, x: Tensor) -> Tensor:
        """See `Steps`."""
        first, self._filled = self._filled, self._filled + x.shape[1]
        rows = x.reshape(-1, x.shape[-1]).to(self._norm.dtype)
        made = self._one(rows, first) if x.shape[1] == 1 else self._many(rows, len(x), slice(first, self._filled))
        return self._normed(made, self._norm).view(x.shape).to(x.dtype)

    def _many(self, rows: Tensor, batch: int, now: slice) -> Tensor:
        """Rows [B * F, D] at the positions `now`, which see the cache before them and each other."""
        frames = len(rows) // batch
        for layer, cache in zip(self._layers, self._cache, strict=True):
            heads = layer.project(self._normed(rows, layer.norm_attention))
            heads = heads.view(batch, frames, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            query, key = self._turning.many(heads[:2], now)
            cache[0, ..., now, :], cache[1, ..., now, :] = key, heads[2]
            keys, values = cache[..., : self._filled, :]
            mixed = functional.scaled_dot_product_attention(query, keys, values, is_causal=True)
            rows = self._fed(layer, layer.out.add(rows, mixed.transpose(1, 2).reshape(rows.shape)))
        return rows

    def _one(self, rows: Tensor, position: int) -> Tensor:
        """Rows [B, D] at one position; views of the cache are cut once for all layers."""
        batch, heads = len(rows), self._heads
        turn = self._turning.one(position).expand(batch, -1, -1)
        now = self._cache[..., position, :].unbind(1)
        seen = self._cache[..., : self._filled, :].flatten(2, 3)
        views = zip(*(part.unbind() for part in (*now, seen[:, 0].mT, seen[:, 1])), strict=True)
        for layer, (key_now, value_now, keys, values) in zip(self._layers, views, strict=True):
            made = layer.project(self._normed(rows, layer.norm_attention)).view(batch, 3 * heads, -1)
            turned = made[:, : 2 * heads].bmm(turn)
            key_now.copy_(turned[:, heads:])
            value_now.copy_(made[:, 2 * heads :])
            mixed = self._attend(turned[:, :heads].reshape(batch * heads, 1, -1), keys, values)
            rows = self._fed(layer, layer.out.add(rows, mixed.view(rows.shape)))
        return rows

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of queries [B * H, 1, D/H] to keys [B * H, D/H, N] and values [B * H, N, D/H]: [B * H, 1, D/H]."""
        if not self._by_products:
            return functional.scaled_dot_product_attention(query, keys.mT, values)
        shares = torch.baddbmm(self._nothing, query, keys, beta=0, alpha=query.shape[-1] ** -0.5)
        return shares.softmax(dim=-1).bmm(values)

    def _fed(self, layer: _Layer, rows: Tensor) -> Tensor:
        gate, up = layer.feed_in(self._normed(rows, layer.norm_feed)).chunk(2, dim=-1)
        return layer.feed_out.add(rows, functional.silu(gate).mul_(up))

    def _normed(self, rows: Tensor, weight: Tensor) -> Tensor:
        return torch.layer_norm(rows, weight.shape, weight, None, 1e-6)


class _Turning:
    """RoPE from tables [F, C] of cosines and sines, whose halves are alike.

    x turns into x * cos + (x rolled by half its width) * sin, the sine with the signs in it. For a single frame that is
    one product with a matrix, which all heads of all layers share.
    """

    def __init__(self, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> None:
        width = cos.shape[1]
        self._half = width // 2
        signs = torch.ones(width, device=cos.device)
        signs[: self._half] = -1
        self._cos, self._sin = cos.to(dtype), (sin * signs).to(dtype)
        self._kept = torch.eye(width, device=cos.device, dtype=dtype)
        self._moved = self._kept.roll(self._half, 0)

    def many(self, x: Tensor, frames: slice) -> Tensor:
        """[..., F, C] at these frames."""
        return torch.addcmul(x * self._cos[frames], x.roll(self._half, -1), self._sin[frames])

    def one(self, frame: int) -> Tensor:
        """The matrix [C, C] that rows [..., C] at this frame are multiplied with."""
        return torch.addcmul(self._kept * self._cos[frame], self._moved, self._sin[frame])
