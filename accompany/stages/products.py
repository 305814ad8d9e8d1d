"""Matrix products of a decoding step's few rows.

Shape letters: N rows, I inputs, O outputs of a matrix.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn


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
