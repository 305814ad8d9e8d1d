"""The analysis half of the spectral codec: features (`accompany.encoders.spectral_features`) to latents.

Shape letters: B items, A frames, F features, D latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AnalysisConfig:
    """Windows in samples, what is taken of their spectra, and the network's size.

    Attributes:
        windows, looks, mels: of each mel spectrum of the mid: window length, instants in a frame, bands.
        low_windows, low_bins: long windows of the mid, and how many of the lowest bins of each are shown.
        low_gain: how much more these count than the others, in principal components and codebooks.
        side_window, side_mels: of the side.
        width, blocks: of the network.
    """

    windows: list[int] = field(default_factory=lambda: [2048, 1024])
    looks: list[int] = field(default_factory=lambda: [2, 3])
    mels: list[int] = field(default_factory=lambda: [128, 64])
    low_windows: list[int] = field(default_factory=lambda: [8192, 4096])
    low_bins: list[int] = field(default_factory=lambda: [480, 128])
    low_gain: float = 1.4
    side_window: int = 4096
    side_mels: int = 64
    width: int = 256
    blocks: int = 4

    def __post_init__(self) -> None:
        if not len(self.windows) == len(self.looks) == len(self.mels) > 0:
            raise ValueError("windows, looks and mels must be as many, at least one")
        if min(*self.windows, *self.looks, *self.mels, *self.low_windows, self.side_window) < 1:
            raise ValueError("windows, looks and mels must be positive")
        if len(self.low_windows) != len(self.low_bins) or self.low_gain <= 0:
            raise ValueError("low_windows and low_bins must be as many, low_gain above 0")
        for window, n_bins in zip(self.low_windows, self.low_bins, strict=True):
            if not 0 < n_bins < window // 2:
                raise ValueError(f"low_bins must be 1 to {window // 2 - 1}, not {n_bins}")
        if min(self.side_mels, self.width, self.blocks) < 1:
            raise ValueError("side_mels, width and blocks must be at least 1")

    @property
    def n_features(self) -> int:
        """Features F of a frame."""
        return sum(self.group_sizes)

    @property
    def group_sizes(self) -> list[int]:
        """Features of each mel spectrum, of each long window, and of the side."""
        mels = [looks * bands for looks, bands in zip(self.looks, self.mels, strict=True)]
        return [*mels, *self.low_bins, 2 * self.side_mels]


def stacked(frames: Tensor, stack: int) -> Tensor:
    """[B, F, stack * A] as [B, stack * F, A]: the frames of a code one after the other."""
    return frames.unflatten(2, (-1, stack)).permute(0, 3, 1, 2).flatten(1, 2)


def unstacked(frames: Tensor, stack: int) -> Tensor:
    """[B, stack * F, A] as [B, F, stack * A]: what `stacked` undoes."""
    return frames.unflatten(1, (stack, -1)).permute(0, 2, 3, 1).flatten(2)


class ConvNeXtBlock(nn.Module):
    """A residual block: depthwise convolution over time, then two linear layers on each frame (arXiv 2201.03545).

    [B, D, A] to the same shape.
    """

    REACH = 3

    def __init__(self, width: int, expansion: int = 3, scale: float = 0.1) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 2 * self.REACH + 1, padding=self.REACH, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, frames: Tensor) -> Tensor:
        """The frames, changed."""
        made = self.norm(self.depthwise(frames).transpose(1, 2))
        made = self.narrow(nn.functional.gelu(self.widen(made)))
        return frames + (self.scale * made).transpose(1, 2)


class Encoder(nn.Module):
    """Features [B, F, stack * A] to latents [B, D, A]; a latent sees `reach` latents on either side.

    A latent is a projection of its frames, which training starts as principal components, and what a network adds.
    """

    def __init__(self, config: AnalysisConfig, latent: int, stack: int) -> None:
        super().__init__()
        self.stack, n_given = stack, config.n_features * stack
        self.enter = nn.Conv1d(n_given, config.width, 1)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(config.width) for _ in range(config.blocks)))
        self.leave = nn.Conv1d(config.width, latent, 1)
        self.project = nn.Conv1d(n_given, latent, 1)
        self.reach = config.blocks * ConvNeXtBlock.REACH

    def forward(self, shown: Tensor) -> Tensor:
        """Latents of features."""
        given = stacked(shown, self.stack)
        latents: Tensor = self.project(given) + self.leave(self.blocks(self.enter(given)))
        return latents
