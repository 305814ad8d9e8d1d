"""Progress callbacks: the share of the work that is done, and counters of steps that fill a part of it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], None]
"""Called with the share done, 0 to 1."""

Steps = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


def part_of(report: Progress, low: float, high: float) -> Steps:
    """A counter of steps that fills the share from `low` to `high`."""
    return lambda done, total: report(low + (high - low) * done / max(total, 1))


def one_of(report: Steps, index: int, n: int) -> Steps:
    """A counter of the steps of one of `n` equal parts, which counts those of all of them."""
    return lambda done, total: report(index * total + done, n * total)


def unseen(done: int, total: int) -> None:
    """The counter of steps that nobody watches."""
