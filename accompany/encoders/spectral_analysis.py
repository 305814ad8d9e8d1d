"""The analysis half of the spectral codec: stereo sound to latents, frame by frame, without phase.

A frame is shown as mel spectra of short windows at several instants (attacks), the magnitudes of a long window at low
frequencies (pitches), and the side: its mel spectrum, and how it correlates with the mid (left or right). Shape
letters: B items, T samples, A frames, F features, D latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn

from accompany.encoders.spectral import mel_bank, padded_slice

_FLOOR = 1e-7
"""Magnitude (of a full-scale sine: 0.5) that counts as silence: the noise of 16-bit samples."""
_LOW_FLOOR = 1e-6
LOG_MIDDLE, LOG_SPREAD = -8.0, 3.0
"""Of the natural logarithms of magnitudes, roughly, to bring them to zero and one."""
_CORRELATION_GAIN = 4.0


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

    @property
    def longest_window(self) -> int:
        """Samples of the longest window."""
        return max(*self.windows, *self.low_windows, self.side_window)


def features(audio: Tensor, first: int, count: int, sample_rate: int, hop: int, config: AnalysisConfig) -> Tensor:
    """Features [B, F, count] of stereo audio [B, 2, T] in frames of `hop` samples from frame `first` on.

    Windows are centred on their instants and reach past either end into zeros; `hop` is a multiple of each of `looks`.
    """
    mid, side = (audio[:, 0] + audio[:, 1]) / 2, (audio[:, 0] - audio[:, 1]) / 2

    def spectra(samples: Tensor, window: int, looks: int = 1) -> Tensor:
        step = hop // looks
        begin = first * hop + step // 2 - window // 2
        cut = padded_slice(samples, begin, begin + (count * looks - 1) * step + window).unfold(-1, window, step)
        return torch.fft.rfft(cut * _taper(window, audio.device))

    def bank(window: int, n_mels: int) -> Tensor:
        return mel_bank(sample_rate, window, n_mels, 0.0, sample_rate / 2).to(audio.device)

    parts = []
    for window, looks, n_mels in zip(config.windows, config.looks, config.mels, strict=True):
        mels = _powers(spectra(mid, window, looks)).sqrt() @ bank(window, n_mels)
        parts.append(_scaled(mels, _FLOOR).reshape(len(audio), count, -1))
    lows = {window: spectra(mid, window) for window in {*config.low_windows, config.side_window}}
    for window, n_bins in zip(config.low_windows, config.low_bins, strict=True):
        parts.append(config.low_gain * _scaled(_powers(lows[window][..., 1 : n_bins + 1]).sqrt(), _LOW_FLOOR))
    both = [lows[config.side_window], spectra(side, config.side_window)]
    mels = bank(config.side_window, config.side_mels)
    powers = [_powers(spectrum) for spectrum in both]
    parts.append(_scaled(powers[1].sqrt() @ mels, _FLOOR))
    product = (both[0].real * both[1].real).addcmul_(both[0].imag, both[1].imag) @ mels
    parts.append(_CORRELATION_GAIN * product / ((powers[0] + powers[1]) @ mels + _FLOOR**2))
    return torch.cat(parts, dim=-1).transpose(1, 2)


def _powers(spectra: Tensor) -> Tensor:
    # A third of the time of abs(), whose care for overflow is not needed here.
    return spectra.real.square().addcmul_(spectra.imag, spectra.imag)


def _scaled(magnitudes: Tensor, floor: float) -> Tensor:
    return (magnitudes.clamp_min(floor).log() - LOG_MIDDLE) / LOG_SPREAD


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _taper(window: int, device: torch.device) -> Tensor:
    taper = torch.hann_window(window, device=device)
    return taper / taper.sum()


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
