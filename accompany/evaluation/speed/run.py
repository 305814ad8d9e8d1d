"""Timing of a subject over lengths and batches: the report as plain numbers, and as a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from accompany.errors import InputError
from accompany.evaluation.speed.clock import MEASURED_CALLS, StepClock
from accompany.evaluation.speed.measure import floor_s, median_s, peak_memory, uncached_s, wait
from accompany.evaluation.speed.subjects import Loop, Subject, TimedPart

AGAINST = ("full",)
_WARM_UP_S = 1.0


@dataclass(frozen=True)
class BenchConfig:
    """Options of a benchmark.

    Attributes:
        lengths_s: seconds of vocal.
        batches: vocals together.
        runs: of each case; the median counts.
        against: names of `AGAINST`: `full` for the same steps without a cache.
    """

    lengths_s: tuple[float, ...] = (5.0, 10.0, 30.0)
    batches: tuple[int, ...] = (1,)
    runs: int = 3
    against: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise InputError for values out of range."""
        if not self.lengths_s or not all(0.5 <= length <= 36_000 for length in self.lengths_s):
            raise InputError("Lengths must be from 0.5 to 36000 seconds, such as --lengths 5 30.")
        if not self.batches or min(self.batches) < 1 or self.runs < 1:
            raise InputError("Batches and runs must be at least 1, such as --batches 1 4 --runs 3.")
        unknown = sorted(set(self.against) - set(AGAINST))
        if unknown:
            raise InputError(f"There is no comparison '{unknown[0]}'; use {' or '.join(AGAINST)}.")


def bench(subject: Subject, config: BenchConfig, progress: Callable[[float], None] | None = None) -> dict[str, Any]:
    """Time all cases.

    Returns:
        `model`, `device`, `threads`, `runs`; `rows`, one for each part and case with `part`, `length_s`, `batch`,
        `wall_s` (median), `rtf` (seconds for a second of one vocal), `peak_mb`, and for parts that write codes
        `codes_per_s`, `steps`, `step_ms` (mean, of the steps alone: before a window's first step its conditions are
        encoded and the frames that it goes on from are read), `floor_ms` (of a step) and `floor_share` (floor over
        step), in pieces that are long enough `step_ms_at_100` and `step_ms_at_2000` (around the 100th and 2,000th
        frame of the piece) and `late_share` (the latter over the former); `wall_s`, the sum over rows; with
        `against`, `full_s` in the rows of loops and `speedup_against_full` (of whole parts) over all of them.
    """
    shortest_s = min(config.lengths_s)
    # A GPU chooses its kernels by length; on a CPU any length finds libraries and memory ready for the others.
    for part in subject.parts(min(_WARM_UP_S, shortest_s) if subject.device == "cpu" else shortest_s, 1):
        part.run(None)
    cases = [(length_s, batch) for length_s in config.lengths_s for batch in config.batches]
    rows: list[dict[str, Any]] = []
    for done, (length_s, batch) in enumerate(cases):
        rows += [_time(part, length_s, batch, config, subject.device) for part in subject.parts(length_s, batch)]
        if progress is not None:
            progress((done + 1) / len(cases))
    report: dict[str, Any] = {
        "model": subject.name,
        "device": subject.device,
        "threads": torch.get_num_threads(),
        "runs": config.runs,
        "rows": rows,
        "wall_s": sum(row["wall_s"] for row in rows),
    }
    loops = [row for row in rows if "steps" in row]
    if "full" in config.against and loops:
        report["speedup_against_full"] = sum(row["full_s"] for row in loops) / sum(row["wall_s"] for row in loops)
    return report


def _time(part: TimedPart, length_s: float, batch: int, config: BenchConfig, device: str) -> dict[str, Any]:
    clocks: list[StepClock] = []

    def run() -> None:
        if part.loop is not None:
            clocks.append(StepClock(part.loop.windows, partial(wait, device)))
        part.run(clocks[-1] if clocks else None)

    with peak_memory(device) as peak_mb:
        wall_s = median_s(run, config.runs, device)
        peak = peak_mb()
    row: dict[str, Any] = {"part": part.name, "length_s": length_s, "batch": batch, "wall_s": wall_s}
    row["rtf"] = wall_s / (length_s * batch)
    if peak is not None:
        row["peak_mb"] = peak
    if part.codes:
        row["codes_per_s"] = part.codes / wall_s
    if part.loop is not None:
        row |= _time_loop(part.loop, wall_s, clocks, config, device)
    return row


def _time_loop(
    loop: Loop, wall_s: float, clocks: Sequence[StepClock], config: BenchConfig, device: str
) -> dict[str, Any]:
    def step_ms_of(calls_s: Sequence[float | None]) -> float | None:
        timed = [call_s for call_s in calls_s if call_s is not None]
        return 1000 * statistics.median(timed) / loop.steps_per_call if timed else None

    steps = len(loop.frames)
    step_ms = step_ms_of([clock.mean_s() for clock in clocks]) or 1000 * wall_s / steps
    floor_ms = 1000 * floor_s(loop, device)
    row = {"steps": steps, "step_ms": step_ms, "floor_ms": floor_ms, "floor_share": floor_ms / step_ms}
    early_ms, late_ms = (step_ms_of([clock.near_s(call) for clock in clocks]) for call in MEASURED_CALLS)
    if early_ms is not None and late_ms is not None:
        keys = [f"step_ms_at_{call}" for call in MEASURED_CALLS]
        row |= {keys[0]: early_ms, keys[1]: late_ms, "late_share": late_ms / early_ms}
    if "full" in config.against:
        row["full_s"] = uncached_s(loop, device)
    return row


def as_table(report: dict[str, Any]) -> str:
    """The report for people."""
    rows = report["rows"]
    columns: list[tuple[str, str, str]] = [
        ("part", "part", ""),
        ("seconds", "length_s", "g"),
        ("batch", "batch", "d"),
        ("ms", "wall_ms", ".0f"),
        ("RTF", "rtf", ".4f"),
        ("codes/s", "codes_per_s", ".0f"),
        ("ms/step", "step_ms", ".3f"),
        ("floor ms", "floor_ms", ".3f"),
        ("of floor", "floor_share", ".0%"),
        *((f"ms at {call}", f"step_ms_at_{call}", ".3f") for call in MEASURED_CALLS),
        ("peak MB", "peak_mb", ".0f"),
        ("uncached s", "full_s", ".1f"),
    ]
    columns = [column for column in columns if column[1] == "wall_ms" or any(column[1] in row for row in rows)]
    lines = [[title for title, _, _ in columns]]
    for row in rows:
        values = {**row, "wall_ms": 1000 * row["wall_s"]}
        lines.append([format(values[key], how) if key in values else "" for _, key, how in columns])
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    head = f"{report['model']} on {report['device']}, {report['threads']} threads, median of {report['runs']}"
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    full = report.get("speedup_against_full")
    ratios = [f"{full:.1f} times as fast as without a cache"] if full is not None else []
    return "\n".join([head, *text, *ratios])
