"""Where a model runs."""

from __future__ import annotations

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
