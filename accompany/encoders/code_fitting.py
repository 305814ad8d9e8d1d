"""Fitting of semantic codes: ridge projections towards targets, and k-means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from accompany.encoders.semantic_codes import CodeStream, SemanticCodes, SemanticCodesConfig
from accompany.errors import InputError


def fit_codes(
    states: Tensor,
    targets: Sequence[Tensor] | None,
    sizes: Sequence[int],
    seed: int = 0,
    *,
    frame_rate: float = 25.0,
    residual: bool = False,
) -> SemanticCodes:
    """Learn projections and centroids (needs scikit-learn).

    Args:
        states: [N, D].
        targets: what each stream should keep, [N, d] each (one only for residual streams); None: the states.
        sizes: codes of each stream.
        residual: fit stream k on what stream k - 1 left.

    Raises:
        InputError: fewer frames than codes, or targets that do not belong to the streams.
    """
    wanted = 1 if residual else len(sizes)
    if targets is not None and len(targets) != wanted:
        raise InputError(f"{len(sizes)} streams need {wanted} targets, not {len(targets)}.")
    if len(states) < max(sizes):
        raise InputError(f"{len(states)} frames cannot fill {max(sizes)} codes; give more songs or fewer codes.")
    width = [target.shape[-1] for target in targets] if targets is not None else [states.shape[-1]] * wanted
    codes = SemanticCodes(
        SemanticCodesConfig(
            dim=states.shape[-1],
            sizes=tuple(sizes),
            widths=tuple(width * len(sizes) if residual else width),
            projected=targets is not None,
            residual=residual,
            frame_rate=frame_rate,
        )
    )
    _fit(codes, states.float(), targets, seed)
    return codes.eval()


@torch.no_grad()
def _fit(codes: SemanticCodes, states: Tensor, targets: Sequence[Tensor] | None, seed: int) -> None:
    left = states
    for k, stream in enumerate(codes.code_streams):
        if stream.projected:
            assert targets is not None
            _fit_projection(stream, states, targets[k].float())
        values = left if codes.residual and k else stream.project(states)
        _fit_centroids(stream, values, seed + k)
        if codes.residual:
            left = values - stream.centroids[stream.nearest(values)]


def _fit_projection(stream: CodeStream, states: Tensor, targets: Tensor, ridge: float = 1e-3) -> None:
    """Ridge regression from states [N, D] to targets [N, d]."""
    stream.mean.copy_(states.mean(0))
    stream.offset.copy_(targets.mean(0))
    centred = (states - stream.mean).double()
    gram = centred.T @ centred
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solved = torch.linalg.solve(gram, centred.T @ (targets - stream.offset).double())
    stream.matrix.copy_(solved.float())


def _fit_centroids(stream: CodeStream, values: Tensor, seed: int) -> None:
    """K-means of values [N, d]."""
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(len(stream.centroids), batch_size=4096, n_init=3, max_iter=60, random_state=seed)
    means.fit(values.numpy().astype(np.float32))
    stream.centroids.copy_(torch.from_numpy(means.cluster_centers_))
