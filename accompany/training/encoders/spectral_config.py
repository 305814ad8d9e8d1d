"""Configs of the training of the spectral codec."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from accompany.common.config import MOST_SEED, check_range
from accompany.encoders.spectral_codec import SpectralCodecConfig
from accompany.training.encoders.loop import LoopConfig
from accompany.training.encoders.spectral_losses import SpectralLossConfig


@dataclass(frozen=True)
class PhaseConfig:
    """One phase: crops in a batch, frames (not codes) in a crop, and its loop."""

    batch_size: int
    frames: int
    loop: LoopConfig

    def __post_init__(self) -> None:
        check_range(self, "batch_size frames", least=1, most=10**6)


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

    def __post_init__(self) -> None:
        check_range(self, "windows periods channels", least=1, most=10**6)
        check_range(self, "fool features", least=0)


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
        decoder_codebooks: codebooks that the decoder learns with, for stages that predict no more; 0 for all.
        start_frames: frames whose principal components and k-means encoder and codebooks start from.
        commitment: weight of what lies between latents and codes, as a share of the latents' variance.
        code_decay: of the codebooks' averages.
        average_decay: of the averaged weights of the decoder, which are exported.
        adversarial: the third phase.
        init: folder of a spectral codec to go on from, with its sizes: its codes stay, and its decoder learns on.
    """

    songs: list[str] = field(default_factory=lambda: ["songs"])
    out: str = "runs/spectral_codec"
    model: SpectralCodecConfig = field(default_factory=SpectralCodecConfig)
    losses: SpectralLossConfig = field(default_factory=SpectralLossConfig)
    shares: dict[str, float] = field(default_factory=lambda: {"mix": 0.4, "drums": 0.2, "bass": 0.12, "other": 0.28})
    varied: float = 0.0
    held_out: int = 16
    codes: PhaseConfig = field(default_factory=lambda: PhaseConfig(16, 60, LoopConfig(steps=6000)))
    decoder: PhaseConfig = field(default_factory=lambda: PhaseConfig(6, 40, LoopConfig(steps=20_000)))
    full_depth_share: float = 0.6
    decoder_codebooks: int = 0
    start_frames: int = 40_000
    commitment: float = 0.5
    code_decay: float = 0.99
    average_decay: float = 0.998
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    seed: int = 0
    init: str = ""

    def __post_init__(self) -> None:
        if not self.songs:
            raise ValueError("songs must name at least one folder of songs")
        check_range(self, "varied full_depth_share code_decay average_decay", least=0, most=1)
        check_range(self, "commitment", least=0)
        check_range(self, "held_out", least=0, most=10**6)
        check_range(self, "decoder_codebooks", least=0, most=self.model.n_codebooks)
        check_range(self, "start_frames", least=1, most=10**9)
        check_range(self, "seed", least=0, most=MOST_SEED)
        if min(self.shares.values(), default=0.0) < 0 or not 0 < sum(self.shares.values()) < math.inf:
            raise ValueError(f"shares must be at least 0, and not all 0, not {self.shares}")
        for phase in (self.codes, self.decoder, self.adversarial.phase):
            if phase.frames % self.model.stack:
                raise ValueError(f"frames must be a multiple of stack, {self.model.stack}, not {phase.frames}")
