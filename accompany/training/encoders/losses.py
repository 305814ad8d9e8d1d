"""Reconstruction losses of the codec's training, and its reconstruction metrics.

The mix follows the EnCodec and DAC papers (arXiv 2210.13438, 2306.06546): waveform L1 and log-mel spectra at several
window lengths; to it come spectral convergence and the onset envelope, since attacks shape the perceived quality.
"""

from __future__ import annotations

from dataclasses import dataclass

import librosa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accompany.common.config import check_range

QUIET_RMS = 0.02
"""Clips quieter than this count as this loud in the relative terms, lest near-silence rule the gradient."""

MEL_FLOOR = 3e-4
"""Amplitude (full scale = 1) under which a mel band counts as silent: about -70 dB."""

CHROMA_WINDOW_S = 0.17
CHROMA_RANGE_HZ = (60.0, 4000.0)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of `ReconstructionLoss`; zero switches a term off.

    `envelope` counts in the decoder's own phase, when the codes are settled.
    """

    waveform: float = 10.0
    snr: float = 0.05
    log_mel: float = 1.0
    convergence: float = 0.6
    onset: float = 1.0
    envelope: float = 4.0

    def __post_init__(self) -> None:
        """Refuse weights below 0."""
        check_range(self, "waveform snr log_mel convergence onset envelope", least=0)


class MelScale(nn.Module):
    """Magnitudes and log-mel spectrum at one window length, in units of sine amplitude.

    `forward(audio [B, T]) -> (magnitudes [B, n_fft / 2 + 1, F], log_mel [B, n_mels, F])`.
    """

    window: Tensor
    bank: Tensor

    def __init__(self, sample_rate: int, n_fft: int, hop: int, n_mels: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.flat_level = 4.0 / n_fft * (0.375 * n_fft) ** 0.5  # RMS magnitude of a bin for noise of unit RMS
        bank = torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, norm=None))
        self.register_buffer("bank", bank / bank.sum(1, keepdim=True).clamp_min(1e-6), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitudes and log-mel spectrum, as said above."""
        spectrum = torch.stft(audio, self.n_fft, self.hop, window=self.window, return_complex=True)
        magnitudes = (spectrum.abs().clamp_min(1e-7)) * (4.0 / self.n_fft)
        return magnitudes, torch.log(self.bank @ magnitudes + MEL_FLOOR)


class ReconstructionLoss(nn.Module):
    """Weighted sum of waveform, signal-to-noise, log-mel, spectral-convergence, onset and envelope terms.

    The short window sees the transients, the long one the pitches. The onset term compares what rises from frame
    to frame, band by band and summed over the bands, so that a smeared attack costs even where its mean level is right.
    The envelope term is one minus the correlation of the onset envelopes in decibels: it weighs the quiet top of the
    spectrum, which the other terms neglect.

    Args:
        sample_rate: Hz.
        scales: `(n_fft, hop, n_mels)` of each spectrum.
    """

    def __init__(self, sample_rate: int, weights: LossWeights, scales: tuple[tuple[int, int, int], ...]) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.weights = weights
        self.scales = nn.ModuleList(MelScale(sample_rate, *scale) for scale in scales)

    def forward(self, output: Tensor, target: Tensor, *, envelope: bool = False) -> tuple[Tensor, dict[str, float]]:
        """The loss of `output` against `target` (both `[B, T]`) and the value of each term before weighting."""
        terms = {"waveform": F.l1_loss(output, target), "snr": -snr_db(output, target).mean()}
        spectral = [self._spectral(scale, output, target) for scale in self.scales]
        for index, name in enumerate(("log_mel", "convergence", "onset")):
            terms[name] = torch.stack([values[index] for values in spectral]).mean()
        if envelope and self.weights.envelope:
            terms["envelope"] = 1.0 - onset_correlation(output, target, self.sample_rate).mean()
        total = torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()
        return total, {name: float(value.detach()) for name, value in terms.items()}

    @staticmethod
    def _spectral(scale: nn.Module, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        magnitudes, log_mel = scale(output)
        with torch.no_grad():
            true_magnitudes, true_log_mel = scale(target)
        error = torch.linalg.vector_norm(magnitudes - true_magnitudes, dim=(1, 2))
        quiet = QUIET_RMS * (true_magnitudes.shape[-1] * true_magnitudes.shape[-2]) ** 0.5 * scale.flat_level
        convergence = error / torch.linalg.vector_norm(true_magnitudes, dim=(1, 2)).clamp_min(quiet)
        rise, true_rise = log_mel.diff(dim=-1).relu(), true_log_mel.diff(dim=-1).relu()
        envelope = F.l1_loss(rise.mean(1), true_rise.mean(1))
        onset = 2.0 * envelope + 0.5 * F.l1_loss(rise, true_rise)
        return F.l1_loss(log_mel, true_log_mel), convergence.mean(), onset


def snr_db(output: Tensor, target: Tensor) -> Tensor:
    """Signal-to-noise ratio in dB of each item, `[B, T] -> [B]`; softened so that silence cannot dominate."""
    noise = (output - target).square().mean(-1)
    floor = 0.1 * QUIET_RMS**2
    return 10.0 * torch.log10((target.square().mean(-1) + floor) / (noise + floor))


def rate_bits(latents: Tensor, noise_std: float) -> Tensor:
    """Bits a frame that a Gaussian channel with `noise_std` would carry for `latents` `[B, D, A]` (a scalar).

    Holding this near the bits of the codebooks during the autoencoder phase shapes latents that survive
    quantisation: dimensions not worth their bits shrink under the noise.
    """
    variance = latents.var(dim=(0, 2))
    return 0.5 * torch.log2(1.0 + variance / noise_std**2).sum()


def si_sdr_db(output: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019) in dB, `[B, T] -> [B]`."""
    scale = (output * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-8)
    signal, noise = (scale * target).square().sum(-1), (output - scale * target).square().sum(-1)
    return 10.0 * torch.log10(signal.clamp_min(1e-8) / noise.clamp_min(1e-8))


def onset_envelope(audio: Tensor, sample_rate: int) -> Tensor:
    """Onset strength as in `librosa.onset.onset_strength` (mean rise of the dB mel spectrum), `[B, T] -> [B, F]`."""
    n_fft, hop, n_mels, top_db = 2048, 512, 128, 80.0
    spectrum = torch.stft(audio, n_fft, hop, window=torch.hann_window(n_fft), return_complex=True, pad_mode="constant")
    bank = torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels))
    level_db = 10.0 * torch.log10((bank @ spectrum.abs().square()).clamp_min(1e-10))
    level_db = torch.maximum(level_db, level_db.amax(dim=(1, 2), keepdim=True) - top_db)
    return level_db.diff(dim=-1).relu().mean(1)


def onset_correlation(output: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Pearson r of the two onset envelopes, `[B, T] -> [B]`."""
    first, second = (onset_envelope(audio, sample_rate) for audio in (output, target))
    return F.cosine_similarity(first - first.mean(-1, keepdim=True), second - second.mean(-1, keepdim=True), dim=-1)


def chroma_cosine(output: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean cosine of the chroma of the frames that sound in `target`, `[B, T] -> [B]`."""
    first, second = (_chroma(audio, sample_rate) for audio in (output, target))
    energy = second.sum(1)
    sounds = (energy > 0.02 * energy.amax(-1, keepdim=True)).float()
    return (F.cosine_similarity(first, second, dim=1) * sounds).sum(-1) / sounds.sum(-1).clamp_min(1.0)


def _chroma(audio: Tensor, sample_rate: int) -> Tensor:
    n_fft = 2 ** round(torch.log2(torch.tensor(CHROMA_WINDOW_S * sample_rate)).item())
    spectrum = torch.stft(audio, n_fft, n_fft // 4, window=torch.hann_window(n_fft), return_complex=True).abs()
    hz = torch.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    inside = (hz >= CHROMA_RANGE_HZ[0]) & (hz <= CHROMA_RANGE_HZ[1])
    pitch_class = (69 + 12 * torch.log2(hz.clamp_min(1.0) / 440.0)).round().long() % 12
    bank = F.one_hot(pitch_class, 12).float() * inside.unsqueeze(1)
    return torch.einsum("fp,bft->bpt", bank, spectrum)
