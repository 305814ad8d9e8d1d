"""Several takes of one vocal over its likeliest readings, where it is doubtful which is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from accompany.music.plan import Plan

SURE = 0.6
"""All takes play the likeliest reading where its beats and key are right with this probability."""

_LEAST = 0.15
"""A reading that is offered counts this much at least (`accompany.stages.grids.likeliest` says why)."""


def spread(plan: Plan, count: int, plan_of: Callable[[int], Plan]) -> list[Plan]:
    """A plan for each of several takes, the likeliest reading first.

    Args:
        plan: the likeliest reading.
        count: number of takes.
        plan_of: makes the plan of another reading, by its number.
    """
    if len(plan.readings) < 2 or (plan.beat_confidence or 1.0) * (plan.key_confidence or 1.0) >= SURE:
        return [plan] * count
    shares = places([max(reading.probability, _LEAST) for reading in plan.readings], count)
    return [each for number, n in enumerate(shares, 1) if n for each in [plan if number == 1 else plan_of(number)] * n]


def places(probabilities: Sequence[float], count: int) -> list[int]:
    """How many of `count` places each reading gets, by largest remainders; the first has at least one."""
    quotas = np.asarray(probabilities) / sum(probabilities) * count
    given = np.floor(quotas).astype(int)
    given[0] = max(given[0], 1)
    for index in np.argsort(-(quotas - given), kind="stable")[: max(count - int(given.sum()), 0)]:
        given[index] += 1
    return [int(each) for each in given]
