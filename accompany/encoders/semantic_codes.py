"""Semantic codes: pooled MERT states as discrete streams, by k-means behind an optional ridge projection.

K-means of states is the tokenizer of AudioLM and MERT-based systems (Borsos et al. 2022, arXiv 2209.03143). Bare
states spend their codes on loudness and brightness; a projection learned towards harmony or rhythm makes a
stream keep that instead (`accompany.encoders.code_fitting`). `residual` streams quantise what the streams before
them left, in one space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from accompany.common.weights import PathLike, load_module

_CHUNK_FRAMES = 8192


@dataclass(frozen=True)
class SemanticCodesConfig:
    """Sizes of the codes.

    Attributes:
        dim: width D of the states.
        sizes: codes V of each stream.
        widths: width d of the space that each stream quantises.
        projected: whether states are projected into that space (otherwise d = D).
        residual: stream k quantises what stream k - 1 left; all share the first stream's projection.
        normalized: each state is brought to zero mean and unit variance first.
        frame_rate: Hz of the states.
    """

    dim: int = 768
    sizes: tuple[int, ...] = (1024,)
    widths: tuple[int, ...] = (768,)
    projected: bool = False
    residual: bool = False
    frame_rate: float = 25.0
    normalized: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that do not belong together."""
        if len(self.sizes) != len(self.widths) or not self.sizes:
            raise ValueError("sizes and widths need one entry for each stream")
        if self.residual and len(set(self.widths)) > 1:
            raise ValueError("residual streams quantise one space, so their widths must be equal")
        if not self.projected and set(self.widths) != {self.dim}:
            raise ValueError("without projection every width is the width of the states")


class SemanticCodes(nn.Module):
    """K streams of codes [B, K, F] for states [B, F, D]; no gradients, nothing random."""

    def __init__(self, config: SemanticCodesConfig) -> None:
        super().__init__()
        self.config = config
        self.streams = nn.ModuleList(
            CodeStream(config.dim, size, width, projected=config.projected and (k == 0 or not config.residual))
            for k, (size, width) in enumerate(zip(config.sizes, config.widths, strict=True))
        )

    @property
    def code_streams(self) -> list[CodeStream]:
        """The streams, typed."""
        return cast("list[CodeStream]", list(self.streams))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes V of each stream."""
        return tuple(self.config.sizes)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.config.frame_rate

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.config.dim

    @property
    def residual(self) -> bool:
        """Whether each stream quantises what the one before left."""
        return self.config.residual

    @torch.no_grad()
    def encode(self, states: Tensor) -> Tensor:
        """Nearest codes [B, K, F] (int64) of states [B, F, D]."""
        pieces = [self._encode_piece(piece) for piece in states.split(_CHUNK_FRAMES, dim=1)]
        return torch.cat(pieces, dim=-1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Centroids of codes [B, K, F]: [B, F, d_1 + ... + d_K], or [B, F, d] for residual streams."""
        values = [stream.centroids[codes[:, k]] for k, stream in enumerate(self.code_streams)]
        return torch.stack(values).sum(0) if self.residual else torch.cat(values, dim=-1)

    def save_pretrained(self, folder: PathLike) -> None:
        """Write `config.json` and `model.safetensors`."""
        from accompany.common.saving import save_module

        save_module(self, self.config, folder, half=False)

    @classmethod
    def from_pretrained(cls, folder: PathLike, *, license: str | None = None) -> SemanticCodes:
        """Load what `save_pretrained` wrote; InputError where it does not fit."""
        return load_module(cls, folder, license=license)

    def _encode_piece(self, states: Tensor) -> Tensor:
        codes: list[Tensor] = []
        if self.config.normalized:
            centred = states - states.mean(-1, keepdim=True)
            states = centred / (centred.var(-1, keepdim=True) + 1e-7).sqrt()
        left = states
        for k, stream in enumerate(self.code_streams):
            values = left if self.residual and k else stream.project(states)
            codes.append(stream.nearest(values))
            if self.residual:
                left = values - stream.centroids[codes[-1]]
        return torch.stack(codes, dim=1)


class CodeStream(nn.Module):
    """One stream: an optional projection, and centroids [V, d]."""

    mean: Tensor
    matrix: Tensor
    offset: Tensor
    centroids: Tensor

    def __init__(self, dim: int, size: int, width: int, *, projected: bool) -> None:
        super().__init__()
        self.projected = projected
        if projected:
            self.register_buffer("mean", torch.zeros(dim))
            self.register_buffer("matrix", torch.zeros(dim, width))
            self.register_buffer("offset", torch.zeros(width))
        self.register_buffer("centroids", torch.zeros(size, width))

    def project(self, states: Tensor) -> Tensor:
        """States [..., D] to [..., d]."""
        return (states - self.mean) @ self.matrix + self.offset if self.projected else states

    def nearest(self, values: Tensor) -> Tensor:
        """Index [...] of the centroid nearest to values [..., d]."""
        distances = self.centroids.square().sum(-1) - 2 * values @ self.centroids.T
        return distances.argmin(-1)
