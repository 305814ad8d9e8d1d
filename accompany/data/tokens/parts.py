"""The frozen encoders of tokenization: their input formats and fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from accompany.errors import InputError

_HASHED_OPTIONS = (
    "sample_rate",
    "frame_rate",
    "dim",
    "layer",
    "n_codebooks",
    "codebook_size",
    "sizes",
    "residual",
)


@dataclass(frozen=True)
class InputFormat:
    """The sound that the parts take: sample rates in Hz, None for a part that is not there.

    Attributes:
        melody, mert, clap, codec: sample rates of the parts.
        frame_rate: of the semantic grid.
        codec_frame_rate, codec_channels: of the codec.
        bands: whether accompaniments are encoded too.
    """

    melody: int
    frame_rate: float
    mert: int | None = None
    clap: int | None = None
    codec: int | None = None
    codec_frame_rate: float = 0.0
    codec_channels: int = 1
    bands: bool = False


@dataclass(frozen=True)
class TokenParts:
    """The frozen parts that make tokens.

    Without `codec` bands have semantic codes alone, which suffice for the semantic stage; without `semantic_codes` only
    vocals are encoded, and without `mert` as melody features alone.
    """

    melody: Any
    mert: Any | None = None
    clap: Any | None = None
    codec: Any | None = None
    semantic_codes: Any | None = None

    @classmethod
    def of(cls, bundle: Any) -> TokenParts:
        """The parts of a loaded bundle."""
        return cls(bundle.melody, bundle.mert, bundle.clap, bundle.codec, bundle.semantic_codes)

    def named(self) -> dict[str, Any]:
        """The parts that are there, by name."""
        names = ("melody", "mert", "clap", "codec", "semantic_codes")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def encodes_bands(self) -> bool:
        """Whether accompaniments can be encoded too."""
        return None not in (self.mert, self.semantic_codes)

    def input_format(self) -> InputFormat:
        """The sound that they take."""
        rates = {name: part.sample_rate for name, part in self.named().items() if name in ("mert", "clap", "codec")}
        codec = self.codec
        if codec is not None:
            rates |= {"codec_frame_rate": float(codec.frame_rate), "codec_channels": codec.channels}
        return InputFormat(self.melody.sample_rate, float(self.melody.frame_rate), bands=self.encodes_bands, **rates)

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """A hash of the weights, and the rates, of each part."""
        return {name: _fingerprint(part) for name, part in self.named().items()}

    def sizes(self) -> dict[str, int]:
        """Widths and vocabularies, as the manifest keeps them."""
        mert_dim = self.mert.dim if self.mert is not None else 0
        sizes = {"melody_dim": self.melody.dim, "vocal_dim": self.melody.dim + mert_dim}
        if self.clap is not None:
            sizes["text_dim"] = self.clap.dim
        if self.codec is not None and self.semantic_codes is not None:
            sizes |= {"tokens": self.codec.n_codebooks, "token_size": self.codec.codebook_size}
        return {name: int(value) for name, value in sizes.items()}


def tokens_per_frame(codec_rate: float, frame_rate: float) -> int:
    """Codec frames in a semantic frame; InputError unless it is a whole number."""
    ratio = codec_rate / frame_rate
    if abs(ratio - round(ratio)) > 1e-6 or ratio < 1:
        raise InputError(
            f"The codec's {codec_rate:g} Hz is no whole multiple of the semantic grid's {frame_rate:g} Hz; "
            "choose another frame_rate for MERT and the semantic codes."
        )
    return round(ratio)


def _fingerprint(part: Any) -> dict[str, Any]:
    """A hash over every weight and the options that change what the part says."""
    digest = hashlib.sha256()
    options = {name: getattr(part, name) for name in _HASHED_OPTIONS if getattr(part, name, None) is not None}
    digest.update(repr(sorted(options.items())).encode())
    for name, tensor in sorted(_state(part).items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    shown = {name: value for name, value in options.items() if isinstance(value, (int, float))}
    return {"hash": digest.hexdigest()[:16], **shown}


def _state(part: Any) -> Mapping[str, torch.Tensor]:
    state: Mapping[str, torch.Tensor] = part.state_dict() if isinstance(part, torch.nn.Module) else {}
    return state
