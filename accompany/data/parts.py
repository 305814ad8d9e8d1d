"""The frozen parts of a bundle, without its stages: all that tokens need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from accompany.config import read_json
from accompany.data.encode import TokenParts
from accompany.encoders.melody import Melody
from accompany.errors import InputError

NAMES = ("mert", "clap", "codec", "semantic_codes")


def load_parts(model: str | os.PathLike[str]) -> TokenParts:
    """Load MERT, CLAP, the codec and the semantic codes of a bundle, as far as it has them.

    Args:
        model: bundled name, folder or hub id; a bundle in the making may lack its stages, and for voices alone
            everything but MERT.

    Raises:
        InputError: no bundle there, or no MERT in it.
    """
    from accompany.pretrained import find_bundle

    folder = find_bundle(model)
    parts = read_json(folder / "bundle.json").get("parts", {})
    loaded = {name: _load(name, folder, parts[name]) for name in NAMES if name in parts}
    if "mert" not in loaded:
        raise InputError(f"The bundle {folder} has no MERT; choose one that has.")
    return TokenParts(melody=Melody(), **loaded)


def _load(name: str, folder: Path, part: dict[str, Any]) -> Any:
    local = folder / part["path"]
    source = str(local) if local.is_dir() else part["path"]
    return _classes()[name].from_pretrained(source, license=part.get("license"), **part.get("options", {}))


def _classes() -> dict[str, Any]:
    from accompany.encoders.clap import Clap
    from accompany.encoders.codec import Codec
    from accompany.encoders.mert import Mert
    from accompany.encoders.semantic_codes import SemanticCodes

    return {"mert": Mert, "clap": Clap, "codec": Codec, "semantic_codes": SemanticCodes}
