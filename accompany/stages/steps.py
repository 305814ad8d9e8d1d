"""A causal transformer frame by frame, as fast as the machine allows: what `Transformer.forward` gives, a frame a time.

At the sizes of the stages a step is short of work: next to the matrix products, most of its time goes into starting
small operations. So here are few of them: one product makes queries, keys and values, one expression turns them all
(values by angle 0), one copy puts keys and values into the cache, attention runs over the filled slots only and needs
no mask, and residuals are added by the products themselves.

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

from accompany.stages.products import Product, product_of
from accompany.stages.token_steps import TokenSteps, is_token_profile
from accompany.stages.transformer import Block, Transformer, TransformerConfig

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
    steps = TokenSteps if is_token_profile(transformer.config) else ModuleSteps
    return steps(transformer, batch_size, n_frames)


def is_plain(config: TransformerConfig) -> bool:
    """Whether `PackedSteps` can run it: sizes as they like, everything else as in the stages of this package."""
    others = (each for each in dataclasses.fields(config) if each.name not in _SIZES)
    return all(getattr(config, each.name) == each.default for each in others)


@contextmanager
def suited_threads(transformer: Transformer, rows: int) -> Iterator[None]:
    """Run the steps of `rows` sequences on one CPU thread where their products are too small to be shared.

    Threads wait for each other after every product. At the sizes of `tiny` that gains nothing, and while other work
    keeps a core busy each wait lasts until that is set aside: steps were 15 times slower on two threads than on one.
    """
    before = torch.get_num_threads()
    largest = max(weight.numel() for weight in transformer.parameters())
    small = transformer.norm.weight.device.type == "cpu" and largest * rows < _WORTH_SHARING
    torch.set_num_threads(1 if small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ModuleSteps:
    """Frame by frame through the transformer's own modules: any transformer, any speed."""

    def __init__(self, transformer: Transformer, batch_size: int, n_frames: int) -> None:
        """Begin with an empty cache."""
        self._transformer = transformer
        self._cache = transformer.new_cache(batch_size, n_frames)
        self._filled = 0

    def __call__(self, x: Tensor) -> Tensor:
        """See `Steps`."""
        first, self._filled = self._filled, self._filled + x.shape[1]
        if first == 0:
            return self._transformer.prefill_long(x, self._cache)
        return self._transformer.decode_one(x, self._cache.slots[first : first + 1], self._cache, self._filled)


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
        self._cache = list(torch.zeros(shape, device=self._norm.device, dtype=self._norm.dtype))
        turns = _turns(transformer.cos[:n_frames], transformer.sin[:n_frames])
        self._cos, self._sin = (table.to(self._norm.dtype) for table in turns)

    def __call__(self, x: Tensor) -> Tensor:
        """See `Steps`."""
        batch, frames, width = x.shape
        first, self._filled = self._filled, self._filled + frames
        now = slice(first, self._filled)
        cos, sin = self._cos[..., now, :], self._sin[..., now, :]
        rows = x.reshape(-1, width).to(self._norm.dtype)
        for layer, cache in zip(self._layers, self._cache, strict=True):
            heads = layer.project(self._normed(rows, layer.norm_attention))
            heads = heads.view(batch, frames, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            turned = torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), sin)
            cache[..., now, :].copy_(turned[1:])
            keys, values = cache[..., : self._filled, :]
            mixed = functional.scaled_dot_product_attention(turned[0], keys, values, is_causal=frames > 1)
            rows = layer.out.add(rows, mixed.transpose(1, 2).reshape(rows.shape))
            gate, up = layer.feed_in(self._normed(rows, layer.norm_feed)).chunk(2, dim=-1)
            rows = layer.feed_out.add(rows, functional.silu(gate).mul_(up))
        return self._normed(rows, self._norm).view(x.shape).to(x.dtype)

    def _normed(self, rows: Tensor, weight: Tensor) -> Tensor:
        return torch.layer_norm(rows, weight.shape, weight, None, 1e-6)


def _turns(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """RoPE's tables [F, D/H] as factors [3, 1, 1, F, D/H] for queries, keys and values, the latter left as they are.

    The factors of the sine have their signs with them: x turns into x * cos + (x moved by half its width) * sin.
    """
    first, second = (-sin).chunk(2, dim=-1)[0], sin.chunk(2, dim=-1)[1]
    signed = torch.cat([first, second], dim=-1)
    cosines = torch.stack([cos, cos, torch.ones_like(cos)])
    sines = torch.stack([signed, signed, torch.zeros_like(signed)])
    return cosines[:, None, None], sines[:, None, None]
