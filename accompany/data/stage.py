"""Work stages: the steps of a job, for worker processes here or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Worker = Callable[[Any], Any]


@dataclass(frozen=True)
class WorkStage:
    """One step of the work.

    Attributes:
        make: called once in each process with `arguments`; loads what the step needs and returns the function that does
            it for one job. A function of a module, so that other processes find it.
        heavy: it runs models: on a cluster it gets processes (and GPUs, where there are any) of its own that stay.
        here: on this machine it runs in this process, fed by the stages before it: for a model on a GPU.
    """

    make: Callable[..., Worker]
    arguments: tuple[Any, ...] = ()
    heavy: bool = False
    here: bool = False
