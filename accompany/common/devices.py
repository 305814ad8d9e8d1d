"""Device selection, and release of memory that is no longer needed."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from accompany.errors import InputError


def choose_device(name: str) -> str:
    """The device for `name`; "auto" takes a GPU where there is one. InputError when it is not there."""
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if present[device])
    if not present.get(name):
        there = ", ".join(["auto", *(device for device, is_there in present.items() if is_there)])
        raise InputError(f"The device '{name}' is not available here; use one of {there}.")
    return name


def give_memory_back() -> None:
    """Return what was freed to the system, where the C library can (glibc).

    Left alone, it keeps small pieces for later, and the sound of a long vocal would come on top of them.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
