"""Numerical precision of the stages' transformers: float32, half precision or 8-bit weights.

Only the matrices and the stream between them change; embeddings, conditions, output weights and sampling stay float32.

A step reads every weight once and does little else, so a quarter of the bytes is up to a quarter of the time. Weights
are rounded to 8 bits with a scale for each output (LLM.int8 and its successors keep such scales too: Dettmers et al.,
2022); what they are multiplied with keeps 16 bits (bfloat16).

Shape letters: N rows, I inputs, O outputs of a matrix.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.transformer import Dense, Product, Transformer

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_LAYERS = ("project", "out", "feed_in", "feed_out")
_ALIGNED = 32
"""PyTorch's kernel reads inputs in blocks and past the end of a last one that is shorter."""
_FEW_ROWS = 32
"""With more rows than this, widening the weights and multiplying in float32 is faster than the kernel."""
_LARGEST = 127.0


class Int8Linear(nn.Module):
    """A linear layer without bias whose weights have 8 bits, on a CPU; takes and gives float32."""

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, in_features: int) -> None:
        """Take rounded weights: int8 [O, I or more], and bfloat16 [O] to multiply each output with."""
        super().__init__()
        self.in_features, self.out_features = in_features, len(weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    @classmethod
    def of(cls, weight: Tensor) -> Int8Linear:
        """Round a matrix [O, I]."""
        # Never 0, so that an output whose weights are all 0 stays 0.
        scale = (weight.abs().amax(dim=1) / _LARGEST).clamp_min(1e-30).bfloat16()
        rounded = (weight / scale.float()[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        return cls(functional.pad(rounded, (0, -weight.shape[1] % _ALIGNED)), scale, weight.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        rows = x.reshape(-1, self.in_features)
        if len(rows) > _FEW_ROWS:
            return functional.linear(x, self.widened())
        missing = self.weight.shape[1] - self.in_features
        rows = functional.pad(rows.bfloat16(), (0, missing)) if missing else rows.bfloat16()
        made = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        return made.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def add(self, base: Tensor, rows: Tensor) -> Tensor:
        """See `Product`."""
        return base + self(rows)

    def widened(self) -> Tensor:
        """The rounded weights as float32 [O, I]."""
        return self.weight[:, : self.in_features].float() * self.scale[:, None].float()

    def split(self, sizes: list[int]) -> list[Int8Linear]:
        """Layers of so many outputs each, of the same weights."""
        parts = zip(self.weight.split(sizes), self.scale.split(sizes), strict=True)
        return [Int8Linear(weight, scale, self.in_features) for weight, scale in parts]


def products_of(layer: nn.Module, sizes: list[int]) -> list[Product]:
    """A layer without bias as several products of so many outputs each, which take different rows."""
    if isinstance(layer, Int8Linear):
        return list(layer.split(sizes))
    return [Dense(part) for part in cast(Tensor, layer.weight).split(sizes)]


def set_precision(module: nn.Module, precision: str) -> None:
    """Change every `Transformer` in a module, in place, from float32 to a precision other than "auto"."""
    for part in module.modules():
        if isinstance(part, Transformer) and precision in _HALF:
            part.blocks.to(_HALF[precision])
            part.norm.to(_HALF[precision])
        if isinstance(part, Transformer) and precision == "int8":
            _round(part.blocks)


def _round(blocks: nn.Module) -> None:
    for parent in list(blocks.modules()):
        for name in _LAYERS:
            layer = getattr(parent, name, None)
            if isinstance(layer, nn.Linear):
                setattr(parent, name, Int8Linear.of(layer.weight.detach()))
