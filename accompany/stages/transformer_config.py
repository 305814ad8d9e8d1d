"""Sizes and options of the shared transformer.

The options beside the sizes make the transformer of AudioLM's open implementations, which published models such as
LLambada use: one key/value head (Shazeer, 2019), normalised queries and keys (Dehghani et al., 2023), a learned bias
for each distance in place of RoPE, and a feed-forward with a convolution and a norm inside.

Shape letters: D width, E inner width of the feed-forward.
"""

from __future__ import annotations

from dataclasses import dataclass


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
        positions: "rotary", or "bias" for a learned bias on each distance into the past (causal only).
        head_width: of queries, keys and values; 0 shares D among the heads.
        kv_heads: heads of keys and values, a divisor of the heads; 0 gives each head its own.
        qk_scale: above 0 brings queries and keys to length 1, with a learned scale for each channel, and multiplies
            their products by this; 0 leaves them as they are.
        norm_kv: keys and values come from the normed stream, as queries do; False takes the stream as it is.
        gate: what the feed-forward's gate goes through, "silu" or "gelu".
        ff_width: E; 0 takes D times `ff_mult`.
        ff_conv: frames that a convolution inside the feed-forward sees, each channel for itself, the frame and those
            before it (causal only); 0 is none.
        ff_norm: a norm after the feed-forward's gate.
        norm_eps: added to the variance in every norm.
    """

    width: int = 256
    depth: int = 6
    heads: int = 8
    ff_mult: float = 2.75
    dropout: float = 0.0
    max_frames: int = 2048
    causal: bool = True
    rope_base: float = 10000.0
    positions: str = "rotary"
    head_width: int = 0
    kv_heads: int = 0
    qk_scale: float = 0.0
    norm_kv: bool = True
    gate: str = "silu"
    ff_width: int = 0
    ff_conv: int = 0
    ff_norm: bool = False
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that do not fit together."""
        if min(self.width, self.depth, self.heads, self.max_frames) < 1:
            raise ValueError("width, depth, heads and max_frames must be at least 1")
        if min(self.head_width, self.kv_heads, self.ff_width, self.ff_conv, self.qk_scale, self.norm_eps) < 0:
            raise ValueError("head_width, kv_heads, ff_width, ff_conv, qk_scale and norm_eps must be at least 0")
        if not self.head_width and self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the heads ({2 * self.heads})")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout {self.dropout} must be from 0 to below 1")
        if self.ff_mult <= 0:
            raise ValueError(f"ff_mult {self.ff_mult} must be above 0")
        if self.head_width % 2 or self.heads % self.n_kv_heads:
            raise ValueError("head_width must be even, and kv_heads a divisor of the heads")
        if self.positions not in ("rotary", "bias") or self.gate not in ("silu", "gelu"):
            raise ValueError("positions must be rotary or bias, and gate silu or gelu")
        if not self.causal and (self.positions == "bias" or self.ff_conv):
            raise ValueError("positions=bias and ff_conv look into the past only, so they need causal=True")

    @property
    def width_of_head(self) -> int:
        """Channels of a head."""
        return self.head_width or self.width // self.heads

    @property
    def n_kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def width_of_feed(self) -> int:
        """E."""
        return self.ff_width or round(self.width * self.ff_mult / 8) * 8
