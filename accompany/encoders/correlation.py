"""Running means and Pearson's r, shared by metrics and training. B batch, F frames, d features."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def smooth(values: Tensor, window: int) -> Tensor:
    """Running mean of [B, F, d] over about `window` frames."""
    odd = window // 2 * 2 + 1
    padded = functional.pad(values.transpose(1, 2), (odd // 2, odd // 2), mode="replicate")
    return functional.avg_pool1d(padded, odd, stride=1).transpose(1, 2)


def pearson(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson's r along an axis."""
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    return functional.cosine_similarity(a, b, dim=dim)
