"""Small discriminators for sound: of complex spectrograms at several windows, and of samples folded at several periods.

After EnCodec (arXiv 2210.13438) and HiFi-GAN (arXiv 2010.05646). Each gives scores where the sound is judged, positive
for true, and the features of its layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.1
_COMPRESSION = 0.3
_FLOOR = 1e-4

Judgement = tuple[Tensor, list[Tensor]]


class SpectrogramDiscriminator(nn.Module):
    """Of a complex spectrogram whose magnitudes are compressed, so that quiet parts count."""

    taper: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        shapes = [(2, (1, 1)), (channels, (1, 2)), (channels, (1, 2)), (channels, (1, 2)), (channels, (1, 1))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(given, channels, (3, 9), stride=stride, padding=(1, 4))) for given, stride in shapes
        )
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Judgement:
        """Scores and features of audio [B, T]."""
        spectrum = torch.stft(audio, self.window, self.window // 4, window=self.taper, return_complex=True)
        parts = torch.view_as_real(spectrum).permute(0, 3, 2, 1)
        magnitudes = (parts.square().sum(1, keepdim=True) + _FLOOR**2).sqrt()
        return _judged(parts * magnitudes ** (_COMPRESSION - 1), self.layers, self.score)


class PeriodDiscriminator(nn.Module):
    """Of samples folded at a period: [B, T] as [B, 1, T / period, period]."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, channels, 2 * channels, 4 * channels, 4 * channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(given, made, (5, 1), stride=(3, 1), padding=(2, 0)))
            for given, made in pairwise(widths)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> Judgement:
        """Scores and features of audio [B, T]."""
        padded = F.pad(audio, (0, -audio.shape[-1] % self.period), mode="reflect")
        return _judged(padded.view(len(audio), 1, -1, self.period), self.layers, self.score)


def _judged(inner: Tensor, layers: nn.ModuleList, score: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        inner = F.leaky_relu(layer(inner), _SLOPE)
        features.append(inner)
    return score(inner), features


class Discriminators(nn.Module):
    """All of them, and their losses (hinge)."""

    def __init__(self, windows: Sequence[int], periods: Sequence[int], channels: int) -> None:
        super().__init__()
        spectral = [SpectrogramDiscriminator(window, channels) for window in windows]
        self.judges = nn.ModuleList([*spectral, *(PeriodDiscriminator(period, channels) for period in periods)])

    def losses(self, made: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the discriminators learn from, what the maker of the sound does, and how far features are apart.

        The first has no gradient in `made`, the others none in the discriminators, so that their sum can be followed
        by one optimizer.
        """
        learn = fool = apart = made.new_zeros(())
        for judge in self.judges:
            scores, features = judge(truth)
            learn = learn + F.relu(1 - scores.float()).mean() + F.relu(1 + judge(made.detach())[0].float()).mean()
            fixed = {name: value.detach() for name, value in judge.state_dict(keep_vars=True).items()}
            fake, inner = functional_call(judge, fixed, (made,))
            fool = fool - fake.float().mean()
            gaps = [F.l1_loss(a.float(), b.detach().float()) for a, b in zip(inner, features, strict=True)]
            apart = apart + torch.stack(gaps).mean()
        n_judges = len(self.judges)
        return learn / n_judges, fool / n_judges, apart / n_judges
