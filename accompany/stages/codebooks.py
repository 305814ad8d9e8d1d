"""Starts of decoders from the codebooks of a codec, for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from accompany.stages.acoustic import AcousticStage
from accompany.stages.decoding import StreamDecoder
from accompany.stages.depth import SURE, DepthDecoder

_SCALE = 0.35
"""Size of the input embeddings of streams."""
_FLOOR = 0.02


def start_from(stage: AcousticStage, codebooks: Sequence[Tensor]) -> None:
    """Start the embeddings of a stage's tokens from the codec's codebooks, [V, d] each (modes delay and depth)."""
    decoder, vectors = stage.decoder, codebooks[: stage.config.codebooks]
    if isinstance(decoder, StreamDecoder):
        _start_streams(decoder, vectors)
    elif isinstance(decoder, DepthDecoder):
        _start_depth(decoder, vectors)
    else:
        raise ValueError("a masked decoder does not start from codebooks; use mode delay or depth")


@torch.no_grad()
def _start_streams(decoder: StreamDecoder, vectors: Sequence[Tensor]) -> None:
    """Start from what the codes mean instead of from noise: codes of like sound are alike at once.

    A code's vector, turned by a rotation of its stream, becomes its input embedding and its output weights,
    so that predicting the next frame begins as a linear prediction of sound.

    Args:
        vectors: for each stream [V, d] with d at most the width, such as the codebooks of a codec.
    """
    width, unit = decoder.embed.embedding_dim, vectors[0].std()
    generator = torch.Generator().manual_seed(0)
    for k, book in enumerate(vectors):
        rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0][:, : book.shape[1]]
        turned = (book / book.std()) @ rotation.T
        rows = k * (decoder.vocabulary + 1)
        decoder.embed.weight[rows : rows + len(book)] = _SCALE * (book.std() / unit).sqrt() * turned
        rows = k * decoder.vocabulary
        decoder.head.weight[rows : rows + len(book)] = turned / book.shape[1] ** 0.5
        energy = (book / book.std()).square().sum(dim=1)
        decoder.head.bias[rows : rows + len(book)] = (energy.mean() - energy) / (2 * book.shape[1])


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
