"""Configs of the training of the spectral codec."""

from __future__ import annotations

from dataclasses import dataclass, field

from accompany.encoders.spectral_codec import SpectralCodecConfig
from accompany.encoders.training.loop import LoopConfig
from accompany.encoders.training.spectral_losses import SpectralLossConfig


@dataclass(frozen=True)
class PhaseConfig:
    """One phase: crops in a batch, frames (not codes) in a crop, and its loop."""

    batch_size: int
    frames: int
    loop: LoopConfig

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.frames < 1:
            raise ValueError("batch_size and frames must be at least 1")


@dataclass(frozen=True)
class AdversarialConfig:
    """The third phase, left out unless `run`.

    Attributes:
        windows, periods, channels: of the discriminators.
        fool, features: weights of their verdict and of how far their features are apart.
    """

    run: bool = False
    phase: PhaseConfig = field(default_factory=lambda: PhaseConfig(4, 40, LoopConfig(steps=10_000, lr=2e-4)))
    windows: list[int] = field(default_factory=lambda: [512, 1024, 2048])
    periods: list[int] = field(default_factory=lambda: [2, 3, 5, 7, 11])
    channels: int = 12
    fool: float = 0.3
    features: float = 1.0


@dataclass(frozen=True)
class SpectralCodecTrainingConfig:
    """All of a training of the spectral codec.

    Attributes:
        songs: folders of song folders (`accompany synth`), with stems.
        out: the run folder: packed samples, checkpoints, and the result in `export`.
        shares: how often mixes, drums, bass and other are drawn.
        varied: share of the crops with another speed or colour, and of the mixes that take stems from several songs.
        held_out: songs that are never trained on.
        full_depth_share: share of the steps with all codebooks; the others use a random number of the first.
        start_frames: frames whose principal components and k-means encoder and codebooks start from.
        commitment: weight of what lies between latents and codes, as a share of the latents' variance.
        code_decay: of the codebooks' averages.
        average_decay: of the averaged weights of the decoder, which are exported.
        adversarial: the third phase.
    """

    songs: list[str]
    out: str
    model: SpectralCodecConfig = field(default_factory=SpectralCodecConfig)
    losses: SpectralLossConfig = field(default_factory=SpectralLossConfig)
    shares: dict[str, float] = field(default_factory=lambda: {"mix": 0.4, "drums": 0.2, "bass": 0.12, "other": 0.28})
    varied: float = 0.0
    held_out: int = 16
    codes: PhaseConfig = field(default_factory=lambda: PhaseConfig(16, 60, LoopConfig(steps=6000)))
    decoder: PhaseConfig = field(default_factory=lambda: PhaseConfig(6, 40, LoopConfig(steps=20_000)))
    full_depth_share: float = 0.6
    start_frames: int = 40_000
    commitment: float = 0.5
    code_decay: float = 0.99
    average_decay: float = 0.998
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.songs:
            raise ValueError("songs must name at least one folder of songs")
        if not 0.0 <= self.full_depth_share <= 1.0:
            raise ValueError("full_depth_share must lie in 0..1")
        for phase in (self.codes, self.decoder, self.adversarial.phase):
            if phase.frames % self.model.stack:
                raise ValueError(f"frames must be a multiple of stack, {self.model.stack}, not {phase.frames}")
