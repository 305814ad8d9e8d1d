"""Residual codebooks learnt beside `EncodecModel`, which can only encode and decode, and exported into it.

Codebook k holds centroids of what codebooks 0..k-1 left over. They start as k-means and then follow the encoder as
moving averages (van den Oord et al. 2017, SoundStream arXiv 2107.03312).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EncodecModel

SMOOTHING = 1e-5


class ResidualCodebooks(nn.Module):
    """`n_codebooks` residual codebooks of `size` vectors of width `dim`.

    Args:
        decay: moving-average factor of the centroids, per training step.
        revive_below: a centroid whose average count per step falls under this jumps to a random residual.
    """

    embed: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self, n_codebooks: int, size: int, dim: int, *, decay: float = 0.99, revive_below: float = 0.02
    ) -> None:
        super().__init__()
        self.decay, self.revive_below = decay, revive_below
        self.register_buffer("embed", torch.zeros(n_codebooks, size, dim))
        self.register_buffer("counts", torch.ones(n_codebooks, size))
        self.register_buffer("sums", torch.zeros(n_codebooks, size, dim))

    @torch.no_grad()
    def fit(self, latents: Tensor, *, iterations: int, generator: torch.Generator) -> Tensor:
        """Residual k-means on `latents` `[N, D]`; returns what is left over `[N, D]`."""
        rest = latents
        for index in range(len(self.embed)):
            centroids = k_means(rest, self.embed.shape[1], iterations=iterations, generator=generator)
            self.embed[index] = centroids
            self.counts[index] = 1.0
            self.sums[index] = centroids
            rest = rest - F.embedding(nearest(rest, centroids), centroids)
        return rest

    @torch.no_grad()
    def encode(self, latents: Tensor) -> Tensor:
        """Codes `[B, K, A]` of latents `[B, D, A]`."""
        rest, codes = latents.transpose(1, 2), []
        for centroids in self.embed:
            index = nearest(rest.reshape(-1, rest.shape[-1]), centroids).view(rest.shape[:-1])
            rest = rest - F.embedding(index, centroids)
            codes.append(index)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Latents `[B, D, A]` of codes `[B, K, A]`; fewer than all codebooks may be given."""
        vectors = [F.embedding(codes[:, k], self.embed[k]) for k in range(codes.shape[1])]
        return torch.stack(vectors).sum(0).transpose(1, 2)

    def forward(self, latents: Tensor, n_used: Tensor, *, update: bool) -> tuple[Tensor, Tensor]:
        """Quantise with a straight-through gradient.

        Args:
            latents: `[B, D, A]`.
            n_used: `[B]` int64, how many codebooks each item may use (codebook dropout).
            update: let the centroids follow these latents.

        Returns:
            The quantised latents `[B, D, A]`, and the commitment loss: squared distance over the latents' variance.
        """
        rest = latents.detach().transpose(1, 2)
        total = torch.zeros_like(rest)
        for index in range(len(self.embed)):
            flat = rest.reshape(-1, rest.shape[-1])
            chosen = nearest(flat, self.embed[index])
            vectors = F.embedding(chosen, self.embed[index]).view_as(rest)
            if update:
                self._follow(index, flat, chosen)
            total = total + vectors * (index < n_used).view(-1, 1, 1)
            rest = rest - vectors
        quantized = total.transpose(1, 2)
        commitment = F.mse_loss(latents, quantized) / latents.detach().var().clamp_min(1e-6)
        return latents + (quantized - latents).detach(), commitment

    @torch.no_grad()
    def _follow(self, index: int, vectors: Tensor, chosen: Tensor) -> None:
        counts, sums = self.counts[index], self.sums[index]
        counts.mul_(self.decay).add_(torch.bincount(chosen, minlength=len(counts)), alpha=1.0 - self.decay)
        sums.mul_(self.decay).index_add_(0, chosen, vectors, alpha=1.0 - self.decay)
        dead = (counts < self.revive_below).nonzero().squeeze(1)
        if len(dead):
            fresh = vectors[torch.randint(len(vectors), (len(dead),))]
            counts[dead], sums[dead] = 1.0, fresh
        self.embed[index] = sums / counts.clamp_min(SMOOTHING).unsqueeze(1)

    @torch.no_grad()
    def export(self, model: EncodecModel) -> None:
        """Copy the codebooks into `model`, whose quantiser then gives the codes that `encode` gives.

        A model of fewer codebooks gets the first ones.
        """
        layers: Any = model.quantizer.layers
        assert len(layers) <= len(self.embed)
        for layer, embed, counts, sums in zip(layers, self.embed, self.counts, self.sums, strict=False):
            layer.codebook.embed.copy_(embed)
            layer.codebook.embed_avg.copy_(sums)
            layer.codebook.cluster_size.copy_(counts)


def nearest(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Index `[N]` of the centroid `[V, D]` nearest to each vector `[N, D]`, reckoned as `EncodecModel` does."""
    distance = centroids.square().sum(1) - 2.0 * vectors @ centroids.T
    return distance.argmin(1)


def k_means(vectors: Tensor, n_clusters: int, *, iterations: int, generator: torch.Generator) -> Tensor:
    """Lloyd's algorithm from random vectors; empty clusters restart at random vectors. `[N, D] -> [V, D]`."""
    picks = torch.randint(len(vectors), (n_clusters,), generator=generator)
    if len(vectors) >= n_clusters:
        picks = torch.randperm(len(vectors), generator=generator)[:n_clusters]
    centroids = vectors[picks].clone()
    for _ in range(iterations):
        chosen = nearest(vectors, centroids)
        counts = torch.bincount(chosen, minlength=n_clusters)
        sums = torch.zeros_like(centroids).index_add_(0, chosen, vectors)
        centroids = sums / counts.clamp_min(1).unsqueeze(1)
        empty = (counts == 0).nonzero().squeeze(1)
        centroids[empty] = vectors[torch.randint(len(vectors), (len(empty),), generator=generator)]
    return centroids
