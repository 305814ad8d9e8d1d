"""Time and memory measurements: times as medians, the floor under a step, and peak memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from accompany.common.processes import peak_memory_mb
from accompany.evaluation.speed.subjects import Loop
from accompany.stages.precision import Int8Linear

_FLOOR_S = 0.2
_ROUNDS = 5
_COPIED_BYTES = 1 << 28
_QUADRATURE = ((0.5 - 0.15**0.5, 5 / 18), (0.5, 8 / 18), (0.5 + 0.15**0.5, 5 / 18))
"""Places and weights of three-point Gauss-Legendre quadrature on 0 to 1."""


def median_s(run: Callable[[], object], runs: int, device: str) -> float:
    """Median wall time of `runs` calls in seconds, until the device has done the work."""
    return statistics.median(_once_s(run, device) for _ in range(runs))


@torch.inference_mode()
def floor_s(loop: Loop, device: str) -> float:
    """The least time of one step: on a CPU its matrix-vector products, elsewhere the reading of its bytes."""
    return products_s(loop.matrices) if device == "cpu" else loop.step_bytes / copied_bytes_per_s(device)


def products_s(matrices: Sequence[Tensor | Int8Linear]) -> float:
    """Time of one product with a single row for each matrix [out, in], and nothing else; one thread or all of them."""
    work = [_product(matrix) for matrix in matrices]

    def multiply() -> None:
        for each in work:
            each()

    threads = torch.get_num_threads()
    best = []
    try:
        for count in {1, threads}:
            torch.set_num_threads(count)
            best.append(_repeated_s(multiply))
    finally:
        torch.set_num_threads(threads)
    return min(best)


def _product(matrix: Tensor | Int8Linear) -> Callable[[], Tensor]:
    if isinstance(matrix, Int8Linear):
        row = torch.zeros(1, matrix.weight.shape[1], dtype=torch.bfloat16)
        return partial(torch._weight_int8pack_mm, row, matrix.weight, matrix.scale)
    return partial(functional.linear, torch.zeros(1, matrix.shape[1], dtype=matrix.dtype, device=matrix.device), matrix)


def copied_bytes_per_s(device: str) -> float:
    """Bandwidth of the device's memory, bytes read and written in a second of copying."""
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * _COPIED_BYTES / median_s(lambda: target.copy_(source), _ROUNDS, device)


@torch.inference_mode()
def uncached_s(loop: Loop, device: str) -> float:
    """Time of all steps if each ran the whole forward over the frames so far, from three of the steps.

    A forward takes a polynomial of second degree in its length, of which Gauss-Legendre quadrature over the ordered
    steps gives the sum.
    """
    ordered = sorted(loop.frames)
    loop.uncached(max(1, ordered[0] // 8))
    mean_s = 0.0
    for place, weight in _QUADRATURE:
        mean_s += weight * _once_s(partial(loop.uncached, ordered[int(place * len(ordered))]), device)
    return len(ordered) * mean_s


@contextmanager
def peak_memory(device: str) -> Iterator[Callable[[], float | None]]:
    """Hands out a function for the most memory in MB since the start: of the GPU, or of the process on a CPU.

    Where the system cannot forget the process's earlier peak (anything but Linux), it is that of its whole life; None
    where the system does not report it.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield lambda: torch.cuda.max_memory_allocated() / 1e6
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    yield peak_memory_mb


def _repeated_s(run: Callable[[], object]) -> float:
    run()
    rounds = []
    for _ in range(_ROUNDS):
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < _FLOOR_S / _ROUNDS:
            run()
            count += 1
        rounds.append((time.perf_counter() - started) / count)
    return statistics.median(rounds)


def _once_s(run: Callable[[], object], device: str) -> float:
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - started


def wait(device: str) -> None:
    """Until the device has done all that it was given; a CPU always has."""
    if device == "cuda":
        torch.cuda.synchronize()
    if device == "mps":
        torch.mps.synchronize()
