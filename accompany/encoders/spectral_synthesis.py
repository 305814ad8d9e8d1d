"""The synthesis half of the spectral codec: latents to stereo sound through inverse STFTs.

The codes carry no phase, and a network that sees only the neighbourhood of a frame cannot know how far the phase of a
steady tone has run. So tones get theirs as in a phase vocoder: the network gives each bin of a long window a magnitude
and the deviation of its frequency from the bin's centre, phases are the running sum of frequencies, and the bins around
a peak follow the peak (identity phase locking, Laroche and Dolson 1999). Where the magnitude rises, the phase is drawn
to one that the network gives: attacks are sharp, and do not depend on what was before. A short window, whose phases the
network gives throughout, brings finer attacks and noise. Of each bin the network also says what the side is of the mid:
a complex gain. Log magnitudes begin as a linear map of the latents, to which the network adds.

Shape letters: B items, A frames, D channels of the network, K bins, T samples. A code stands for `stack` frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accompany.encoders.spectral_analysis import ConvNeXtBlock, unstacked

_LARGEST_LOG = 7.5
_LARGEST_DEVIATION = 2.0
"""Bins that a frequency may lie from the centre of its bin."""
_RISE_GAIN, _LARGEST_RISE = 4.0, 5.0
_STEADY = -7.0
"""Logit of how strongly a steady tone is drawn: a rise of the magnitude by 1.75 in its logarithm makes it a half."""
_SILENCE = -20.0
_PEAK_WIDTH = 5
"""Bins within which the largest leads: the main lobe of a Hann window."""
_SURROUNDINGS = 1 / 220
"""Width, in cycles a sample, over which log magnitudes are averaged to be sharpened: 200 Hz at 44.1 kHz."""


@dataclass(frozen=True)
class ToneBandConfig:
    """A band of tones: window in samples, and its bins from `first_bin` to before `end_bin`."""

    window: int
    first_bin: int
    end_bin: int

    def __post_init__(self) -> None:
        if self.window % 2 or not 0 <= self.first_bin < self.end_bin <= self.window // 2 + 1:
            raise ValueError(
                f"a band needs an even window and bins within 0 to {self.window // 2 + 1}, not {self.first_bin} to "
                f"{self.end_bin} of {self.window}"
            )


@dataclass(frozen=True)
class SynthesisConfig:
    """Shape of the decoder.

    Attributes:
        width, blocks: of the trunk at the rate of the frames.
        tones: bands with phases that run on, one spectrum a frame; together they cover each frequency once.
        noise_frames: spectra of the short window in a frame; noise_window: its samples.
        noise_width, noise_blocks: of its network.
        sharpness: factor on how far the log magnitudes of tones lie from their mean over some 200 Hz, their power kept.
            Codes blur tones; above 1 this undoes a part of it, as the postfilters of speech codecs do (Chen and Gersho,
            1995).
    """

    width: int = 320
    blocks: int = 6
    tones: list[ToneBandConfig] = field(
        default_factory=lambda: [ToneBandConfig(4096, 1, 105), ToneBandConfig(2048, 53, 1025)]
    )
    noise_frames: int = 3
    noise_window: int = 1176
    noise_width: int = 224
    noise_blocks: int = 2
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        if min(self.width, self.blocks, self.noise_frames, self.noise_width, self.noise_blocks) < 1:
            raise ValueError("widths, blocks and noise_frames must be at least 1")
        if not 1.0 <= self.sharpness <= 2.0:
            raise ValueError(f"sharpness must lie between 1 and 2, not {self.sharpness}")
        if self.noise_window < 2 or self.noise_window % 2:
            raise ValueError(f"noise_window must be even, not {self.noise_window}")

    @property
    def longest_window(self) -> int:
        """Samples of the longest window."""
        return max([self.noise_window, *(tones.window for tones in self.tones)])


class Overlap(nn.Module):
    """Inverse STFT by overlap-add, frames centred in hops, with the window whose overlaps sum to one."""

    window: Tensor

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.hop, self.size = hop, window
        hann = torch.hann_window(window, dtype=torch.float64)
        padded = F.pad(hann.square(), (0, -window % hop)).view(-1, hop).sum(0)
        overlaps = padded.repeat(-(-window // hop))[:window]
        self.register_buffer("window", (hann / overlaps).float(), persistent=False)

    @property
    def before(self) -> int:
        """Samples by which the first frame begins before its own hop."""
        return self.size // 2 - self.hop // 2

    def forward(self, spectra: Tensor) -> Tensor:
        """Samples [R, (n - 1) * hop + window] of spectra [R, n, window / 2 + 1], beginning `before` the first hop."""
        frames = torch.fft.irfft(spectra, self.size) * self.window
        n_hops = -(-self.size // self.hop)
        pieces = F.pad(frames, (0, n_hops * self.hop - self.size)).view(*frames.shape[:2], n_hops, self.hop)
        added = frames.new_zeros(len(frames), frames.shape[1] + n_hops - 1, self.hop)
        for index in range(n_hops):
            added[:, index : index + frames.shape[1]] += pieces[:, :, index]
        return added.flatten(1)[:, : (frames.shape[1] - 1) * self.hop + self.size]


class ToneControls(NamedTuple):
    """What the network says of the bins of a band, [B, A, K] each.

    Log magnitudes; deviations of frequency from the bins' centres in bins; complex gains of the side; phases of
    attacks; and logits of how strongly the phase is drawn to those, to which rising magnitudes add.
    """

    magnitudes: Tensor
    deviations: Tensor
    gains: Tensor
    attacks: Tensor
    pulls: Tensor


class ToneBand(nn.Module):
    """Tones of one window: trunk [B, A, D] to spectra of mid and side, phases running on from frame to frame."""

    advance: Tensor
    signs: Tensor

    def __init__(self, config: ToneBandConfig, width: int, hop: int, sharpness: float = 1.0) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.config, self.n_bins = config, config.end_bin - config.first_bin
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, 6 * self.n_bins)
        nn.init.normal_(self.leave.weight, std=0.004)
        nn.init.zeros_(self.leave.bias)
        with torch.no_grad():
            self.leave.bias[-self.n_bins :] = _STEADY
        self.overlap = Overlap(config.window, hop)
        self.per_bin = 2 * math.pi * hop / config.window
        bins = torch.arange(config.first_bin, config.end_bin)
        self.register_buffer("advance", (self.per_bin * bins.double()).remainder(2 * math.pi).float(), persistent=False)
        # Phases count from the middle of the window, where those of a tone's bins are equal.
        self.register_buffer("signs", (1 - 2 * (bins % 2)).float(), persistent=False)

    def start(self, n_items: int) -> Tensor:
        """The state [B, 2, K] before the first frame: phases, and log magnitudes, which are those of silence."""
        silence = torch.full((self.n_bins,), _SILENCE, device=self.advance.device)
        return torch.stack([torch.zeros_like(silence), silence]).expand(n_items, -1, -1)

    def controls(self, trunk: Tensor, outline: Tensor) -> ToneControls:
        """The controls; outline: [B, A, K] of the log magnitudes, to which the network adds."""
        with torch.autocast(trunk.device.type, enabled=False):
            said = self.leave(self.norm(trunk.float())).chunk(6, dim=-1)
        added, deviations, real, imaginary, attacks, pulls = said
        magnitudes = outline.float() + added
        if self.sharpness != 1.0:
            magnitudes = sharpened(magnitudes, self.sharpness, round(_SURROUNDINGS * self.config.window))
        return ToneControls(magnitudes, deviations, torch.complex(real, imaginary), attacks, pulls)

    def spectra(self, controls: ToneControls, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spectra [2B, A, window / 2 + 1], mid items then side items, and the state after the last frame.

        state: as `start` and the frames before gave it; None for tones that are under way, at random phases.
        """
        magnitudes = controls.magnitudes.clamp(max=_LARGEST_LOG).exp()
        deviations = controls.deviations.clamp(-_LARGEST_DEVIATION, _LARGEST_DEVIATION)
        advances = self.advance + self.per_bin * deviations
        logs = controls.magnitudes.detach()
        if state is None:
            state = torch.stack([2 * math.pi * torch.rand_like(logs[:, 0]), logs[:, 0]], dim=1)
        phases, before = state.unbind(1)
        rises = logs.diff(dim=1, prepend=before[:, None])
        shares = torch.sigmoid(controls.pulls + _RISE_GAIN * rises.clamp(-_LARGEST_RISE, _LARGEST_RISE))
        leaders, run = _leaders(magnitudes.detach()), []
        for frame in range(magnitudes.shape[1]):
            ran = (phases + advances[:, frame]).gather(1, leaders[:, frame])
            gap = (controls.attacks[:, frame] - ran + math.pi).remainder(2 * math.pi) - math.pi
            # Wrapped, or the phases of long audio would outgrow the precision of floats.
            phases = (ran + shares[:, frame] * gap).remainder(2 * math.pi)
            run.append(phases)
        mid = torch.polar(magnitudes, torch.stack(run, dim=1)) * self.signs
        both = torch.cat([mid, mid * controls.gains])
        above = self.config.window // 2 + 1 - self.config.end_bin
        after = torch.stack([phases.detach(), logs[:, -1]], dim=1)
        return F.pad(both, (self.config.first_bin, above)), after


def sharpened(logs: Tensor, factor: float, width: int) -> Tensor:
    """Log magnitudes [B, A, K] `factor` times as far from their mean over `width` bins, the power there kept."""
    width |= 1

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool1d(F.pad(values, (width // 2, width // 2), mode="replicate"), width, 1)

    made = logs + (factor - 1) * (logs - mean(logs))
    powers = [mean((2 * each.clamp(_SILENCE, _LARGEST_LOG)).exp()).log() for each in (logs, made)]
    return made + 0.5 * (powers[0] - powers[1])


def _leaders(magnitudes: Tensor) -> Tensor:
    """Of each bin of [B, A, K] the index of the peak that it belongs to, int64."""
    nearest = F.max_pool1d(magnitudes, _PEAK_WIDTH, 1, _PEAK_WIDTH // 2, return_indices=True)[1]
    return nearest.gather(2, nearest)


class NoiseBand(nn.Module):
    """Attacks and noise: trunk [B, A, D] to spectra of a short window, `frames` to a code, phases by the network."""

    def __init__(self, config: SynthesisConfig, hop: int) -> None:
        super().__init__()
        self.frames, self.n_bins = config.noise_frames, config.noise_window // 2 + 1
        self.enter = nn.Linear(config.width, config.noise_width * self.frames)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(config.noise_width) for _ in range(config.noise_blocks)))
        self.norm = nn.LayerNorm(config.noise_width)
        self.leave = nn.Linear(config.noise_width, 4 * self.n_bins)
        nn.init.normal_(self.leave.weight, std=0.02)
        with torch.no_grad():
            self.leave.weight[: self.n_bins] *= 0.2
        self.overlap = Overlap(config.noise_window, hop // self.frames)
        self.reach = -(-config.noise_blocks * ConvNeXtBlock.REACH // self.frames)

    def spectra(self, trunk: Tensor, outline: Tensor) -> Tensor:
        """Spectra [2B, frames * A, window / 2 + 1], mid items then side items.

        outline: [B, A, frames * K] of the log magnitudes, to which the network adds.
        """
        inner = self.enter(trunk)
        inner = inner.reshape(len(inner), inner.shape[1] * self.frames, -1)
        inner = self.blocks(inner.transpose(1, 2)).transpose(1, 2)
        with torch.autocast(trunk.device.type, enabled=False):
            added, phases, real, imaginary = self.leave(self.norm(inner.float())).chunk(4, dim=-1)
        magnitudes = outline.float().reshape(added.shape) + added
        mid = torch.polar(magnitudes.clamp(max=_LARGEST_LOG).exp(), phases)
        return torch.cat([mid, mid * torch.complex(real, imaginary)])


class Decoder(nn.Module):
    """Latents [B, latent, n] to sound, n * stack frames of `hop` samples; see the module for how."""

    _FIRST_REACH = 2

    def __init__(self, config: SynthesisConfig, latent: int, hop: int, stack: int) -> None:
        super().__init__()
        kernel = 2 * self._FIRST_REACH + 1
        self.stack, self.code_hop = stack, hop * stack
        self.enter = nn.Conv1d(latent, stack * config.width, kernel, padding=self._FIRST_REACH)
        self.norm = nn.LayerNorm(config.width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(config.width) for _ in range(config.blocks)))
        self.tones = nn.ModuleList(ToneBand(band, config.width, hop, config.sharpness) for band in config.tones)
        self.noise = NoiseBand(config, hop)
        self.outline = nn.Conv1d(latent, stack * sum(band.n_bins for band in self.bands), 3, padding=1)
        self.noise_outline = nn.Conv1d(latent, stack * self.noise.frames * self.noise.n_bins, 1)
        reach = config.blocks * ConvNeXtBlock.REACH + self.noise.reach
        self.reach = self._FIRST_REACH - (-reach // stack)
        """Codes on either side of one that count in its sound."""
        self.edge = -(-config.longest_window // (2 * self.code_hop))
        """Codes before and after a stretch whose windows reach into it."""

    @property
    def bands(self) -> list[ToneBand]:
        """The bands of tones."""
        return cast(list[ToneBand], list(self.tones))

    @property
    def before(self) -> int:
        """Samples before its own hop that any frame reaches."""
        return max([self.noise.overlap.before, *(band.overlap.before for band in self.bands)])

    def trunk(self, latents: Tensor) -> Tensor:
        """[B, stack * n, D] of latents [B, latent, n]."""
        entered = self.norm(unstacked(self.enter(latents), self.stack).transpose(1, 2)).transpose(1, 2)
        made: Tensor = self.blocks(entered).transpose(1, 2)
        return made

    def outlines(self, latents: Tensor) -> list[Tensor]:
        """What the log magnitudes begin as, [B, stack * n, ...]: of the noise and of each band of tones."""
        noise, tones = (unstacked(layer(latents), self.stack).mT for layer in (self.noise_outline, self.outline))
        return [noise, *tones.split([band.n_bins for band in self.bands], dim=-1)]

    def start(self, n_items: int) -> list[Tensor]:
        """States of the bands of tones before the first frame."""
        return [band.start(n_items) for band in self.bands]
