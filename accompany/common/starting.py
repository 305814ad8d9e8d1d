"""Faster start-up: the cyclic garbage collector paused while a model and its libraries load."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_rests() -> Iterator[None]:
    """Pause the cyclic garbage collector, unless it is off already; only for a process of our own.

    Importing torch and transformers makes a million objects that all stay; looking through them again and again for
    garbage takes a fifth of the imports' time. Afterwards they are frozen for good: the first search would go
    through all of them at once, and an interrupt that falls into a `__del__` there is lost. That changes the
    collector of the whole process, so the package itself leaves it alone when a program loads a model.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
