"""How far decoded sound is from the truth in magnitudes, at several windows: the losses of the spectral codec."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import librosa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accompany.common.config import check_range
from accompany.encoders.spectral_analysis import ConvNeXtBlock, unstacked
from accompany.encoders.spectral_synthesis import NoiseBand, ToneBand, ToneControls

_MEL_FLOOR, _LINEAR_FLOOR = 1e-5, 1e-2
_POWER_FLOOR = 1e-12
_QUIET = 0.05
"""Items quieter than this share of the batch's mean count as that loud in the relative terms."""
_VIEWS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.5, -0.5))
_VIEW_SHARES = (0.3, 0.3, 0.25, 0.15)
_TONE_FLOOR = 3e-3
_TONE_STEP = 32
_TONE_LARGEST = 1.5
_SPREAD_FLOOR = 1e-3
_FEWEST_BINS = 4
_SPREAD_FROM_HZ, _SPREAD_BANDS = 100.0, 3
"""Where the bands of the spread term begin, and how many there are in an octave."""


@dataclass(frozen=True)
class SpectralLossConfig:
    """Weights and windows.

    Attributes:
        mels: window, hop and bands of the log-mel terms.
        linear: windows of the terms of linear-frequency magnitudes: their logarithm, and spectral convergence; a
            quarter of the window is the hop.
        log_mel, log_linear, convergence: weights.
        spread: weight of how the log magnitudes of the `linear` windows are distributed within thirds of an octave,
            wherever in the band each lies: a tone that is a bin off costs nothing here, one blurred into noise does.
        deviation, magnitude: weights of what the bands of tones say, against the spectrum of the truth; the latter
            falls to nothing over the first half of the training.
    """

    mels: list[list[int]] = field(default_factory=lambda: [[1024, 256, 64], [2048, 512, 100], [4096, 1024, 128]])
    linear: list[int] = field(default_factory=lambda: [2048, 4096, 8192])
    log_mel: float = 3.0
    log_linear: float = 1.5
    convergence: float = 2.0
    spread: float = 0.0
    deviation: float = 0.5
    magnitude: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "linear", least=2, most=10**6)
        check_range(self, "log_mel log_linear convergence spread deviation magnitude", least=0)


def one_view(decoded: Tensor, truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of each item [B, 2, T] of both left, right, mid or side, drawn at random: [B, T] each.

    That costs half of comparing both channels, and mid and side count too.
    """
    drawn = torch.multinomial(torch.tensor(_VIEW_SHARES), len(truth), replacement=True, generator=generator)
    weights = torch.tensor(_VIEWS)[drawn][:, :, None]
    return (decoded * weights).sum(1), (truth * weights).sum(1)


class SpectralLoss(nn.Module):
    """Weighted sum of log-mel, log-magnitude and convergence terms over windows, of [B, T] against [B, T]."""

    def __init__(self, config: SpectralLossConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.mels = {window: n_mels for window, _, n_mels in config.mels}
        self.edges = {window: _band_edges(window, sample_rate) for window in config.linear}
        self.hops = {window: window // 4 for window in config.linear} | {w: hop for w, hop, _ in config.mels}
        for window in self.hops:
            self.register_buffer(f"taper_{window}", torch.hann_window(window), persistent=False)
        for window, n_mels in self.mels.items():
            bank = torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=window, n_mels=n_mels))
            self.register_buffer(f"bank_{window}", bank, persistent=False)

    def forward(self, decoded: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its terms before weighting."""
        terms: dict[str, Tensor] = {}
        for window in self.hops:
            made = self._magnitudes(decoded, window)
            with torch.no_grad():
                true = self._magnitudes(truth, window)
            for name, value in self._terms(made, true, window).items():
                terms[name] = terms.get(name, decoded.new_zeros(())) + value
        weights = {"log_mel": self.config.log_mel, "log_linear": self.config.log_linear}
        weights |= {"convergence": self.config.convergence, "spread": self.config.spread}
        total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def _terms(self, made: Tensor, true: Tensor, window: int) -> dict[str, Tensor]:
        found = {}
        if window in self.mels:
            bank = getattr(self, f"bank_{window}")
            mels = [torch.log((bank @ magnitudes).clamp_min(_MEL_FLOOR)) for magnitudes in (made, true)]
            found["log_mel"] = F.l1_loss(mels[0], mels[1]) / len(self.mels)
        if window in self.config.linear:
            error, size = ((value).flatten(1).norm(dim=1) for value in (made - true, true))
            share = 1 / len(self.config.linear)
            found["convergence"] = share * (error / (size + _QUIET * size.mean() + 1e-3)).mean()
            logs = [torch.log(magnitudes.clamp_min(_LINEAR_FLOOR)) for magnitudes in (made, true)]
            found["log_linear"] = share * F.l1_loss(logs[0], logs[1])
            if self.config.spread:
                found["spread"] = share * _spread(made, true, self.edges[window])
        return found

    def _magnitudes(self, samples: Tensor, window: int) -> Tensor:
        taper = getattr(self, f"taper_{window}")
        spectrum = torch.stft(samples, window, self.hops[window], window=taper, return_complex=True)
        return (torch.view_as_real(spectrum).square().sum(-1) + _POWER_FLOOR).sqrt()


def _band_edges(window: int, sample_rate: int) -> list[int]:
    """First bins of bands of equal width on a logarithmic scale, four bins or wider, and the end of the last."""
    octaves = math.log2(0.5 * sample_rate / _SPREAD_FROM_HZ)
    hz = [_SPREAD_FROM_HZ * 2 ** (index / _SPREAD_BANDS) for index in range(int(octaves * _SPREAD_BANDS) + 1)]
    edges: list[int] = []
    for bin_ in [round(each * window / sample_rate) for each in hz]:
        if not edges or bin_ - edges[-1] >= _FEWEST_BINS:
            edges.append(bin_)
    return edges


def _spread(made: Tensor, true: Tensor, edges: list[int]) -> Tensor:
    """Mean Wasserstein distance between the log magnitudes [B, bins, frames] within each band and frame."""
    logs = [torch.log(magnitudes.clamp_min(_SPREAD_FLOOR)) for magnitudes in (made, true)]
    errors = []
    for first, end in itertools.pairwise(edges):
        ranked = [values[:, first:end].sort(dim=1)[0] for values in logs]
        errors.append(F.l1_loss(ranked[0], ranked[1]))
    return torch.stack(errors).mean()


def tone_terms(band: ToneBand, controls: ToneControls, truth: Tensor) -> tuple[Tensor, Tensor]:
    """What a band of tones says of the mid against the spectrum of the truth [B, 2, T].

    Returns:
        The error of its deviations of frequency, in bins, weighted by the magnitude; the error of its log magnitudes.
    """
    deviations, weights, magnitudes = true_tones(band, truth)
    deviation = ((controls.deviations - deviations).abs() * weights).mean()
    magnitude = (controls.magnitudes.clamp_min(math.log(_TONE_FLOOR)) - magnitudes).abs().mean()
    return deviation, magnitude


@torch.no_grad()
def true_tones(band: ToneBand, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True deviation in bins, weight and log magnitude [B, A, K]: from how phases differ over 32 samples."""
    window, hop = band.config.window, band.overlap.hop
    mid, n_frames = truth.mean(1), truth.shape[-1] // hop
    inside = slice(band.config.first_bin, band.config.end_bin)
    taper = torch.hann_window(window, device=mid.device)

    def spectrum(shift: int) -> Tensor:
        before = window // 2 - hop // 2 - shift
        padded = F.pad(mid, (before, window))
        cut = padded.unfold(-1, window, hop)[:, :n_frames]
        return torch.fft.rfft(cut * taper)[..., inside]

    bins = torch.arange(band.config.first_bin, band.config.end_bin, device=mid.device)
    turn = spectrum(_TONE_STEP // 2) * spectrum(-_TONE_STEP // 2).conj()
    centre = torch.polar(torch.ones_like(bins, dtype=torch.float32), -2 * math.pi * bins * _TONE_STEP / window)
    deviation = torch.angle(turn * centre) * window / (2 * math.pi * _TONE_STEP)
    magnitude = turn.abs().sqrt()
    weight = magnitude.sqrt() / (magnitude.sqrt().mean((1, 2), keepdim=True) + 1e-3)
    weight = weight * (deviation.abs() < _TONE_LARGEST)
    return deviation.clamp(-_TONE_LARGEST, _TONE_LARGEST), weight, torch.log(magnitude.clamp_min(_TONE_FLOOR))


@torch.no_grad()
def log_magnitudes(band: ToneBand | NoiseBand, truth: Tensor) -> Tensor:
    """Log magnitudes [B, n, K] of the mid of the truth [B, 2, T] in the frames and bins of a band."""
    if isinstance(band, ToneBand):
        return true_tones(band, truth)[2]
    window, hop = band.overlap.size, band.overlap.hop
    padded = F.pad(truth.mean(1), (band.overlap.before, window))
    cut = padded.unfold(-1, window, hop)[:, : truth.shape[-1] // hop]
    spectrum = torch.fft.rfft(cut * torch.hann_window(window, device=truth.device))
    return torch.log(spectrum.abs().clamp_min(_TONE_FLOOR))


class FeaturePredictor(nn.Module):
    """Latents [B, D, A] to features [B, F, stack * A]: those that the encoder was shown, and others."""

    def __init__(self, latent: int, n_features: int, stack: int, width: int = 256, blocks: int = 3) -> None:
        super().__init__()
        self.stack = stack
        self.enter = nn.Conv1d(latent, width, 5, padding=2)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width) for _ in range(blocks)))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, stack * n_features)
        self.project = nn.Conv1d(latent, stack * n_features, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """The features."""
        made: Tensor = self.leave(self.norm(self.blocks(self.enter(latents)).transpose(1, 2)))
        return unstacked(self.project(latents) + made.transpose(1, 2), self.stack)
