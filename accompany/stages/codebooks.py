"""Start of a depth decoder from the codebooks of a codec, for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from accompany.stages.acoustic import AcousticStage
from accompany.stages.depth import SURE, DepthDecoder

_FLOOR = 0.02


def start_from(stage: AcousticStage, codebooks: Sequence[Tensor]) -> None:
    """Start the embeddings of a stage's tokens from the codec's codebooks, [V, E] each; ValueError in mode masked."""
    if not isinstance(stage.decoder, DepthDecoder):
        raise ValueError("a masked decoder does not start from codebooks; use mode depth")
    _start_depth(stage.decoder, codebooks[: stage.config.codebooks])


@torch.no_grad()
def _start_depth(decoder: DepthDecoder, vectors: Sequence[Tensor]) -> None:
    """Start as if frames were drawn from a normal distribution around their prediction.

    Codes become their vectors, whitened, both as input embeddings and as output weights: a code is the likelier
    the nearer it brings what is written of the frame to what was predicted.

    Args:
        vectors: for each codebook [V, E].

    Raises:
        ValueError: the vectors are not as wide as the decoder's.
    """
    width = decoder.embed.embedding_dim
    if any(book.shape[1] != width for book in vectors):
        raise ValueError(f"the codebooks are {vectors[0].shape[1]} wide, not {width}; set depth.code_width")
    spread = torch.stack([torch.cov(book.T.double()) for book in vectors]).sum(dim=0)
    spread += _FLOOR * spread.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    values, axes = torch.linalg.eigh(spread)
    whiten = axes @ torch.diag(values.rsqrt()) @ axes.T
    for k, book in enumerate(vectors):
        white = (book.double() @ whiten).float()
        rows = k * (decoder.vocabulary + 1)
        decoder.embed.weight[rows : rows + len(book)] = white
        decoder.embed.weight[rows + len(book)] = 0
        head = decoder.heads[k]
        assert isinstance(head, nn.Linear)
        head.weight.copy_(white)
        head.bias.copy_(-0.5 * SURE * white.square().sum(dim=1))
