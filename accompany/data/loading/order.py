"""Sampling order: an endless sequence of draws, fixed by the seed; every epoch holds each crop once.

Shards come in a random order, some at a time, and the crops of these are mixed: nearly as good as mixing all, and only
those few shards are read at once. Nothing is kept from draw to draw, so that any place can be gone on from.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from accompany.errors import InputError

_ENDLESS = 1 << 48


class Order:
    """The order of N crops in each epoch.

    Args:
        shards: int [N], the shard that each crop is in.
        seed: fixes all.
        at_once: shards that are mixed.
    """

    def __init__(self, shards: np.ndarray, seed: int, at_once: int) -> None:
        _, self._shards = np.unique(shards, return_inverse=True)
        self._n_shards = int(self._shards.max(initial=-1)) + 1
        self._seed, self._at_once = seed, at_once
        # Adjacent draws belong to one epoch, or to two at its end.
        self._of_epoch = lru_cache(maxsize=2)(self._make)

    def crop_of(self, draw: int) -> int:
        """The number of the crop, 0 to N - 1, of a draw."""
        epoch, place = divmod(draw, len(self._shards))
        return int(self._of_epoch(epoch)[place])

    def _make(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, epoch])
        turn = rng.permutation(self._n_shards)[self._shards] // self._at_once
        return np.lexsort((rng.random(len(self._shards)), turn))

    def __getstate__(self) -> dict[str, Any]:
        """Without the cache, which cannot go to another process."""
        return {name: value for name, value in vars(self).items() if name != "_of_epoch"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._of_epoch = lru_cache(maxsize=2)(self._make)


class Draws(Sampler[list[int]]):
    """Lists of draw numbers, batch by batch from `first_batch` on, without end; each rank takes its part."""

    def __init__(self, batch_size: int, first_batch: int = 0, rank: int = 0, ranks: int = 1) -> None:
        if batch_size % ranks:
            raise InputError(f"batch_size={batch_size} cannot be shared by {ranks} devices; make it a multiple.")
        self.batch_size, self.rank, self.ranks = batch_size, rank, ranks
        self.first_draw = first_batch * batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """A batch of all ranks together holds the next `batch_size` draws."""
        first = self.first_draw
        while True:
            yield list(range(first + self.rank, first + self.batch_size, self.ranks))
            first += self.batch_size

    def __len__(self) -> int:
        """More batches than any run takes. Lightning fetches ahead where it knows no length, and then what it saves
        would be one batch too far."""
        return _ENDLESS


class EndlessLoader(DataLoader[Any]):
    """Batches without end that know where they stand: `state_dict` after batch n leads to batch n + 1.

    Lightning keeps that state in its checkpoints. It counts what was handed out, not what worker processes have made
    ready, and does not depend on their number, nor on the rank.

    Attributes:
        latest_wait_s: seconds that the latest batch was waited for.
    """

    latest_wait_s = 0.0

    def __init__(self, dataset: Any, draws: Draws, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=draws, **options)
        self._draws = draws

    def __iter__(self) -> Any:
        """Go on from where the loader stands."""
        asked = time.perf_counter()
        for batch in super().__iter__():
            self.latest_wait_s = time.perf_counter() - asked
            self._draws.first_draw += self._draws.batch_size
            yield batch
            asked = time.perf_counter()

    def state_dict(self) -> dict[str, int]:
        """The number of the next draw, of all ranks together."""
        return {"draw": self._draws.first_draw}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state, when iterated next."""
        self._draws.first_draw = int(state["draw"])
