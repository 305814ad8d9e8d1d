"""Features of the spectral codec: what its encoder is shown of stereo sound, frame by frame, without phase.

A frame is shown as mel spectra of short windows at several instants (attacks), the magnitudes of a long window at low
frequencies (pitches), and the side: its mel spectrum, and how it correlates with the mid (left or right). Shape
letters: B items, T samples, A frames, F features.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from accompany.encoders.spectral import mel_bank, padded_slice
from accompany.encoders.spectral_analysis import AnalysisConfig

_FLOOR = 1e-7
"""Magnitude (of a full-scale sine: 0.5) that counts as silence: the noise of 16-bit samples."""
_LOW_FLOOR = 1e-6
LOG_MIDDLE, LOG_SPREAD = -8.0, 3.0
"""Of the natural logarithms of magnitudes, roughly, to bring them to zero and one."""
_CORRELATION_GAIN = 4.0


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
