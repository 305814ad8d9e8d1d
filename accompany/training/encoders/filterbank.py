"""A constant-Q filterbank as the first convolution of the small MERT.

`HubertModel` starts with learned convolutions, which need far more music and time than two CPU cores have to
find out about pitch. So the first one starts as windowed sinusoids on a log-frequency axis, each in three
phases: GELU cuts the negative halves off, and the sum of three cut sinusoids 120 degrees apart is the magnitude
to within 7%. The second convolution starts as those sums, one rising and one falling copy of each, the falling
one saturating, as a logarithm would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import librosa
import torch
from torch import Tensor

from accompany.common.config import check_range

PHASES = 3


@dataclass(frozen=True)
class FilterbankConfig:
    """Layout of the filters.

    Attributes:
        f_min: Hz of the lowest tonal filter.
        n_octaves, bins_per_octave: range and density of the tonal filters.
        cycles: periods of its own frequency in a tonal filter's window (cut at the kernel's length).
        n_bands: wide filters for attacks, evenly spaced on the mel axis from 60 Hz to `band_max_hz`.
        band_window_s: their window.
        band_max_hz: Hz of the highest of them.
    """

    f_min: float = 55.0
    n_octaves: float = 5.0
    bins_per_octave: int = 24
    cycles: float = 40.0
    n_bands: int = 24
    band_window_s: float = 0.03
    band_max_hz: float = 9500.0

    def __post_init__(self) -> None:
        """Refuse filters that cannot be."""
        check_range(self, "f_min n_octaves cycles band_window_s band_max_hz", above=0)
        check_range(self, "n_octaves", most=12)
        check_range(self, "bins_per_octave n_bands", least=1, most=1000)

    @property
    def n_filters(self) -> int:
        """Tonal and wide filters together."""
        return round(self.n_octaves * self.bins_per_octave) + self.n_bands


def filter_kernels(config: FilterbankConfig, kernel: int, sample_rate: int) -> Tensor:
    """[n_filters * 3, 1, kernel]: the phases of a filter stand side by side.

    A sine of amplitude 1 at a filter's frequency gives an output of amplitude 1 (times a rise of 2 dB an octave,
    since music falls towards the treble).
    """
    tonal = round(config.n_octaves * config.bins_per_octave)
    tones = [config.f_min * 2 ** (index / config.bins_per_octave) for index in range(tonal)]
    windows = [min(kernel, config.cycles * sample_rate / hertz) for hertz in tones]
    bands = librosa.mel_frequencies(config.n_bands, fmin=60.0, fmax=config.band_max_hz, htk=True)
    windows += [config.band_window_s * sample_rate] * config.n_bands
    rows = []
    for hertz, window in zip([*tones, *bands], windows, strict=True):
        gain = (hertz / 200) ** 0.33
        rows += [gain * _sinusoid(hertz / sample_rate, window, kernel, 2 * math.pi * p / PHASES) for p in range(PHASES)]
    return torch.stack(rows)[:, None]


def magnitude_weights(n_filters: int) -> Tensor:
    """[2 * n_filters, 3 * n_filters, 1]: the sum of each filter's phases, then minus that sum."""
    sums = torch.eye(n_filters).repeat_interleave(PHASES, dim=1)
    return torch.cat([sums, -sums])[..., None]


def install_filterbank(model: Any, config: FilterbankConfig, sample_rate: int) -> None:
    """Set the first two convolutions of a `HubertModel` with layer norm; the first is frozen.

    The model's `conv_dim` must start with `3 * n_filters, 2 * n_filters` and its second kernel be 1.
    """
    first, second = model.feature_extractor.conv_layers[:2]
    kernel = first.conv.weight.shape[-1]
    with torch.no_grad():
        first.conv.weight.copy_(filter_kernels(config, kernel, sample_rate))
        first.layer_norm.weight.fill_(6.0)
        second.conv.weight.copy_(magnitude_weights(config.n_filters))
        second.layer_norm.bias[config.n_filters :] = 0.7
    first.conv.weight.requires_grad_(False)
    model.feature_extractor._requires_grad = False  # spares the gradient of the waveform


def _sinusoid(frequency: float, window: float, kernel: int, phase: float) -> Tensor:
    time = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    taper = torch.where(time.abs() < window / 2, 0.5 + 0.5 * torch.cos(2 * math.pi * time / window), 0.0)
    wave = taper * torch.cos(2 * math.pi * frequency * time + phase)
    return (2 * wave / taper.sum()).float()
