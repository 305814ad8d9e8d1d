"""Codecs of any kind: the class that a config asks for, which alone is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from accompany.common.config import CONFIG_NAME
from accompany.common.weights import PathLike
from accompany.errors import InputError

if TYPE_CHECKING:
    from accompany.encoders.codec import Codec
    from accompany.encoders.spectral_codec import SpectralCodec

    AnyCodec = Codec | SpectralCodec


def load_codec(
    path_or_id: PathLike, *, n_codebooks: int | None = None, license: str | None = None, decoder: str | None = None
) -> AnyCodec:
    """A codec of either kind, by its config: spectral, or any EnCodec; `decoder` names a Vocos in EnCodec's place.

    That is a folder inside of the codec's, or a folder or hub id. InputError as `from_pretrained` raises it.
    """
    if _is_spectral(Path(path_or_id)):
        from accompany.encoders.spectral_codec import SpectralCodec

        if decoder is not None:
            raise InputError(f"The codec in {path_or_id} has its own decoder; Vocos decodes EnCodec at 24 kHz alone.")
        return SpectralCodec.from_pretrained(path_or_id, n_codebooks=n_codebooks, license=license)
    from accompany.encoders.codec import Codec

    if decoder is None:
        return Codec.from_pretrained(path_or_id, n_codebooks=n_codebooks, license=license)
    from accompany.encoders.vocos import VocosCodec

    return VocosCodec.of(path_or_id, decoder, n_codebooks=n_codebooks, license=license)


def _is_spectral(folder: Path) -> bool:
    try:
        found = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"analysis", "synthesis"} <= found.keys()
