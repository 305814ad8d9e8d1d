"""Clock of the steps of a timed part, preparation excluded."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

MEASURED_CALLS = (100, 2000)
"""Calls, counted from the beginning of a piece, around which steps are compared."""
_AROUND = 50


class StepClock:
    """A part's `progress`: notes when each call comes, one after each step (or each frame of several steps).

    The first call of a window comes after conditions were encoded and given frames were read, so the time before it
    counts as no step's.
    """

    def __init__(self, windows: Sequence[int], wait: Callable[[], None]) -> None:
        """Expect so many calls in each window; `wait` is until the device has done its work."""
        ends = list(itertools.accumulate(windows))
        self._wait, self._firsts, self._n_calls = wait, {0, *ends[:-1]}, ends[-1]
        spans = [self._span(call) for call in MEASURED_CALLS]
        # Waiting at every call would be a burden of its own on a GPU.
        self._marks = self._firsts | {end - 1 for end in ends} | {edge for span in spans for edge in span}
        self._at: list[float] = []

    def __call__(self, done: int, total: int) -> None:
        """See `accompany.stages.decoding.Progress`."""
        if len(self._at) in self._marks:
            self._wait()
        self._at.append(time.perf_counter())

    def mean_s(self) -> float | None:
        """Seconds from call to call, on average; None where no window has two calls."""
        return self._mean_s(0, self._n_calls - 1)

    def near_s(self, call: int) -> float | None:
        """The same around one of `MEASURED_CALLS`; None where the piece ends before."""
        first, last = self._span(call)
        return self._mean_s(first, last) if last < self._n_calls else None

    def _mean_s(self, first: int, last: int) -> float | None:
        assert len(self._at) == self._n_calls, f"{len(self._at)} calls in place of {self._n_calls}"
        calls = [index for index in range(first + 1, last + 1) if index not in self._firsts]
        return statistics.fmean(self._at[index] - self._at[index - 1] for index in calls) if calls else None

    def _span(self, call: int) -> tuple[int, int]:
        return call - _AROUND, call + _AROUND
