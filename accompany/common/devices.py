"""Selection of device and precision, and release of memory that is no longer needed."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from accompany.errors import InputError

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")


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


def choose_precision(name: str, device: str) -> str:
    """The precision for `name` on a device; "auto" halves on a CUDA GPU, which is bound by memory, and nowhere else.

    Raises:
        InputError: no such precision, or not on this device.
    """
    if name not in PRECISIONS:
        raise InputError(f"There is no precision '{name}'; use one of {', '.join(PRECISIONS)}.")
    if name == "int8" and device != "cpu":
        raise InputError(
            f"The precision int8 runs on the CPU only, not on {device}; leave it out, or use --device cpu."
        )
    if name != "auto":
        return name
    if device != "cuda":
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
