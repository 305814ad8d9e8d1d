"""Buffered random choices for composing: thousands of draws a song from one numpy generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_POOL = 2048


class Rng:
    """Draws from one seeded `numpy.random.Generator`, fetched in blocks since single numpy draws are slow."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self._generator = np.random.default_rng(seed)
        self._pool: list[float] = []

    def unit(self) -> float:
        """A float in [0, 1)."""
        if not self._pool:
            self._pool = self._generator.random(_POOL).tolist()
        return self._pool.pop()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def between(self, low: float, high: float) -> float:
        """A float in [low, high)."""
        return low + (high - low) * self.unit()

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int(self.unit() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, all equally likely."""
        return items[int(self.unit() * len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of `items`, as likely as its weight; the weights need not add up to 1."""
        mark = self.unit() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            mark -= weight
            if mark < 0:
                return item
        return items[-1]

    def choose(self, table: Mapping[T, float]) -> T:
        """One key of a table of weights."""
        return self.weighted(list(table), list(table.values()))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        keyed = sorted((self.unit(), index) for index in range(len(items)))
        return [items[index] for _, index in keyed]

    def normals(self, count: int) -> np.ndarray:
        """`count` standard normal numbers, [count] float64."""
        return self._generator.standard_normal(count)
