"""Fast frame-by-frame decoding of the transformer of AudioLM's open implementations.

What `Transformer.forward` gives for this profile, with fewer and smaller operations: heads that share their keys are
the rows of one product, a step's biases are a stretch of one table, and what the convolution saw last is handed on
instead of copied.

Shape letters: B batch, F frames, D width, H heads, C width of a head, N cache frames, E inner width of the
feed-forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from accompany.stages.cache import KVCache, round_up
from accompany.stages.precision import products_of
from accompany.stages.transformer import Block, Product, Transformer, TransformerConfig, product_of

_PREFILL = 512
"""Frames that go into the cache at once: bounds the memory for biases, which grows with their square."""
_SHORTEST = 1e-12
"""Least length that a vector is divided by, as in `torch.nn.functional.normalize`."""


def start_other(transformer: Transformer, batch_size: int, n_frames: int) -> TokenSteps | ModuleSteps:
    """Begin sequences of a transformer that is not plain: the fast way of its profile, or its own modules."""
    steps = TokenSteps if is_token_profile(transformer.config) else ModuleSteps
    return steps(transformer, batch_size, n_frames)


def is_token_profile(config: TransformerConfig) -> bool:
    """Whether `TokenSteps` can run it: all of the profile's options on, sizes as they like."""
    switches = (config.positions, config.gate, config.n_kv_heads, config.norm_kv, config.ff_norm)
    return switches == ("bias", "gelu", 1, False, True) and config.qk_scale > 0 and config.ff_conv > 0


@dataclass(frozen=True)
class _TokenLayer:
    """The weights of one block; `scales` [H + 1, C] are of queries, with the factor of their products, and keys."""

    norm_attention: Tensor
    query: Product
    pair: Product
    scales: Tensor
    out: Product
    norm_feed: Tensor
    feed_in: Product
    taps: tuple[Tensor, ...]
    feed_norm: Tensor
    feed_out: Product

    @classmethod
    def of(cls, block: Block, scale: float) -> _TokenLayer:
        """The weights of a block, laid out for products with one row."""
        attention = block.attention
        channels = [attention.heads * attention.head_width, 2 * attention.head_width]
        query, pair = products_of(attention.project, channels)
        assert block.feed_conv is not None and block.feed_norm is not None
        scales = [attention.query_scale * scale] * attention.heads + [attention.key_scale]
        return cls(
            block.norm_attention.weight,
            query,
            pair,
            torch.stack(scales),
            product_of(attention.out),
            block.norm_feed.weight,
            product_of(block.feed_in),
            tuple(block.feed_conv.weight.T.contiguous()),
            block.feed_norm.weight,
            product_of(block.feed_out),
        )


class TokenSteps:
    """Frame by frame through the bare weights, for the profile of `is_token_profile`, outside of autocast."""

    def __init__(self, transformer: Transformer, batch_size: int, n_frames: int) -> None:
        """Begin with an empty cache."""
        config = transformer.config
        self._transformer, self._heads, self._eps = transformer, config.heads, config.norm_eps
        self._layers = [
            _TokenLayer.of(block, config.qk_scale) for block in transformer.blocks if isinstance(block, Block)
        ]
        self._norm = transformer.norm.weight
        self._cache: KVCache | None = new_cache(transformer, batch_size, n_frames)
        assert self._cache.bias is not None
        self._far_first = self._cache.bias.flip(1)
        self._keys = self._values = self._cache.values
        self._recent: list[list[Tensor]] = []
        self._filled = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The next frames [B, F, D]: any number in the first call, one in each later call.

        Returns:
            [B, F', D]: of a long first call the last frames only.
        """
        first, self._filled = self._filled, self._filled + x.shape[1]
        if self._cache is not None:
            made = prefill_long(self._transformer, x, self._cache)
            self._go_on_from(self._cache)
            self._cache = None
            return made
        return self._step(x[:, 0].to(self._norm.dtype), first)[:, None].to(x.dtype)

    def _go_on_from(self, cache: KVCache) -> None:
        """Keep keys [depth, B, C, N] and values [depth, B, N, C]: so each frame's sums run over what lies together."""
        self._keys = cache.keys[:, :, 0].mT.contiguous()
        self._values = cache.values[:, :, 0]
        self._recent = [list(recent.unbind(1)) for recent in cache.recent]

    def _step(self, rows: Tensor, position: int) -> Tensor:
        """Rows [B, D] at the position to [B, D]."""
        bias, channels = self._far_first[:, -position - 1 :], self._keys.shape[2]
        now = self._keys[..., position], self._values[:, :, position]
        seen = self._keys[..., : position + 1], self._values[:, :, : position + 1]
        views = zip(*(part.unbind() for part in (*now, *seen)), self._recent, strict=True)
        for layer, (key_now, value_now, keys, values, recent) in zip(self._layers, views, strict=True):
            query = layer.query(self._normed(rows, layer.norm_attention))
            heads = torch.cat([query, layer.pair(rows)], dim=1).view(len(rows), -1, channels)
            pointing = _unit(heads[:, :-1]).mul_(layer.scales)
            key_now.copy_(pointing[:, -1])
            value_now.copy_(heads[:, -1])
            shares = torch.baddbmm(bias, pointing[:, :-1], keys).softmax(dim=-1)
            mixed = shares.bmm(values)
            rows = layer.out.add(rows, mixed.view(len(rows), -1))
            fed = layer.feed_in(self._normed(rows, layer.norm_feed))
            recent.append(fed)
            fed = fed * layer.taps[-1]
            for past, tap in zip(recent[:-1], layer.taps[:-1], strict=True):
                fed = fed.addcmul_(past, tap)
            del recent[0]
            gate, up = fed.chunk(2, dim=-1)
            rows = layer.feed_out.add(rows, self._normed(functional.gelu(gate).mul_(up), layer.feed_norm))
        return self._normed(rows, self._norm)

    def _normed(self, rows: Tensor, weight: Tensor) -> Tensor:
        return torch.layer_norm(rows, weight.shape, weight, None, self._eps)


def _unit(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(_SHORTEST)


class ModuleSteps:
    """Frame by frame through the transformer's own modules: any transformer, any speed."""

    def __init__(self, transformer: Transformer, batch_size: int, n_frames: int) -> None:
        """Begin with an empty cache."""
        self._transformer = transformer
        self._cache = new_cache(transformer, batch_size, n_frames)
        self._filled = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The next frames, as in `TokenSteps`."""
        first, self._filled = self._filled, self._filled + x.shape[1]
        if first == 0:
            return prefill_long(self._transformer, x, self._cache)
        return decode_one(self._transformer, x, self._cache.slots[first : first + 1], self._cache, self._filled)


def new_cache(transformer: Transformer, batch_size: int, n_frames: int) -> KVCache:
    """An empty cache for sequences of up to `n_frames` frames."""
    transformer.check_length(n_frames)
    n_frames = round_up(n_frames)
    bias = None if transformer.bias is None else transformer.bias(n_frames).to(transformer.norm.weight.dtype)
    return KVCache(transformer.config, batch_size, n_frames, transformer.norm.weight, bias)


def prefill(transformer: Transformer, x: Tensor, cache: KVCache, start: int = 0) -> Tensor:
    """Put F frames [B, F, D] into a cache that holds the first `start`; returns [B, F, D] as `forward` does."""
    stop = start + x.shape[1]
    return _cached(transformer, x, cache.slots[start:stop], cache, stop)


def prefill_long(transformer: Transformer, x: Tensor, cache: KVCache) -> Tensor:
    """`prefill` piece by piece, which bounds the memory for biases; returns the last piece's [B, F', D]."""
    pieces = x.split(_PREFILL, dim=1)
    made = [prefill(transformer, piece, cache, _PREFILL * index) for index, piece in enumerate(pieces)]
    return made[-1]


def decode_one(transformer: Transformer, x: Tensor, position: Tensor, cache: KVCache, n_filled: int) -> Tensor:
    """Run one frame.

    Args:
        x: [B, 1, D] the frame.
        position: [1] int64, where it stands; a tensor, so that no step waits for the host.
        cache: holds all frames before `position`; the frame is added to it.
        n_filled: the host's knowledge of position + 1 or any larger number; it bounds the slots attended to.

    Returns:
        [B, 1, D].
    """
    return _cached(transformer, x, position, cache, n_filled)


def _cached(transformer: Transformer, x: Tensor, positions: Tensor, cache: KVCache, n_filled: int) -> Tensor:
    given, x = x.dtype, transformer.entering(x)
    span = cache.span(n_filled)
    rotation, mask = transformer.rotation_of(positions), cache.mask(positions, span)
    for block, view in zip(transformer.blocks, cache.views(positions, span), strict=True):
        x = block(x, rotation, mask, False, view)
    return transformer.norm(x).to(given)
