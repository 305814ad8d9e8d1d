"""Parts of a bundle that may lack the others, for training and measurements."""

from __future__ import annotations

from typing import Any

from accompany.common.checks import did_you_mean
from accompany.common.weights import PathLike
from accompany.errors import InputError
from accompany.models.parts import FROZEN_PARTS, OWN_KIND, PARTS, TOKEN_PARTS, load_part_of
from accompany.models.pretrained import find_bundle, read_bundle


def load_part(path: PathLike, name: str, device: str = "cpu") -> Any:
    """Load one part of a bundle that may lack the others."""
    known = PARTS + TOKEN_PARTS
    if name not in known:
        raise InputError(f"There is no part '{name}'{did_you_mean(name, known)} (parts: {', '.join(known)}).")
    return load_part_of(read_bundle(path).part(name), device)


def load_frozen_parts(model: PathLike, device: str = "cpu") -> dict[str, Any]:
    """The encoders of a bundle by name, with `melody`; those that it lacks are left out.

    Raises:
        InputError: a model of another architecture, whose codes our stages do not train on.
    """
    from accompany.encoders.melody import Melody

    info = read_bundle(find_bundle(model))
    if info.kind != OWN_KIND:
        raise InputError(f"{model} is a model of kind '{info.kind}', which runs but is not trained here; use another.")
    there = [part for part in info.parts if part.name in FROZEN_PARTS]
    return {"melody": Melody().to(device), **{part.name: load_part_of(part, device) for part in there}}
