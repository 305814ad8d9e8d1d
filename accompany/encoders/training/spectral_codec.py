"""Train the spectral codec on a CPU, in phases, and export it.

1. codes: encoder and codebooks learn with a small network that predicts, from the codes, the features that the encoder
   was shown. Without a waveform a step costs a quarter of one through the decoder.
2. decoder: the decoder learns to make sound of the settled codes, by magnitudes at several windows.
3. adversarial: the decoder goes on beside small discriminators.

Each phase goes on from its own checkpoint when it was stopped.
"""

from __future__ import annotations

import copy
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accompany.config import to_dict, write_json
from accompany.encoders.spectral_analysis import LOG_SPREAD
from accompany.encoders.spectral_codec import SpectralCodec, SpectralCodecConfig
from accompany.encoders.training.audio_dataset import song_folders, split_songs
from accompany.encoders.training.loop import LoopConfig, run_loop
from accompany.encoders.training.spectral_losses import (
    FeaturePredictor,
    SpectralLoss,
    SpectralLossConfig,
    log_magnitudes,
    one_view,
    tone_terms,
    true_tones,
)
from accompany.encoders.training.stem_crops import StemCrops
from accompany.errors import InputError
from accompany.weights import save_module

_log = logging.getLogger(__name__)

_SIDE_WEIGHT, _DEVIATION_WEIGHT = 0.5, 0.4
_NOISE_BELOW = 1.5
"""How far below the truth the log magnitudes of the noise start: the tones begin with most of the sound."""
_RIDGE = 1e-4
_EVERYWHERE = 0.3
"""What a bin of the long window counts where it is quiet; loud ones count more, as their magnitude's square root."""


@dataclass(frozen=True)
class PhaseConfig:
    """One phase: crops in a batch, frames in a crop, and its loop; no steps leave it out."""

    batch_size: int
    frames: int
    loop: LoopConfig

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.frames < 1:
            raise ValueError("batch_size and frames must be at least 1")


@dataclass(frozen=True)
class SpectralCodecTrainingConfig:
    """All of a training of the spectral codec.

    Attributes:
        songs: folders of song folders (`accompany synth`), with stems.
        out: the run folder: packed samples, checkpoints, and the result in `export`.
        shares: how often mixes, drums, bass and other are drawn.
        held_out: songs that are never trained on.
        full_depth_share: share of the steps with all codebooks; the others use a random number of the first.
        start_frames: frames whose principal components and k-means encoder and codebooks start from.
        commitment: weight of what lies between a latent and its code; code_decay: of the codebooks' averages.
        average_decay: of the averaged weights of the decoder, which are exported.
    """

    songs: list[str]
    out: str
    model: SpectralCodecConfig = field(default_factory=SpectralCodecConfig)
    losses: SpectralLossConfig = field(default_factory=SpectralLossConfig)
    shares: dict[str, float] = field(default_factory=lambda: {"mix": 0.4, "drums": 0.2, "bass": 0.12, "other": 0.28})
    held_out: int = 16
    codes: PhaseConfig = field(default_factory=lambda: PhaseConfig(16, 60, LoopConfig(steps=6000)))
    decoder: PhaseConfig = field(default_factory=lambda: PhaseConfig(6, 40, LoopConfig(steps=20_000)))
    full_depth_share: float = 0.6
    start_frames: int = 40_000
    commitment: float = 0.3
    code_decay: float = 0.98
    average_decay: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.songs:
            raise ValueError("songs must name at least one folder of songs")
        if not 0.0 <= self.full_depth_share <= 1.0:
            raise ValueError("full_depth_share must lie in 0..1")


def train_spectral_codec(config: SpectralCodecTrainingConfig) -> Path:
    """Run or go on with the training; returns the folder of the codec in half precision.

    Raises:
        InputError: there are no songs, or too few to keep some apart, or a checkpoint is of another shape.
    """
    folder = Path(config.out)
    songs = split_songs(song_folders(config.songs), config.held_out)[0]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", to_dict(config))
    torch.manual_seed(config.seed)
    codec = SpectralCodec(config.model)
    codes = CodesTraining(codec, config, _crops(songs, config, config.codes))
    if not (folder / "codes" / "checkpoint.pt").is_file():
        codes.start()
    run_loop(codes, codes.step, config.codes.loop, folder / "codes")
    codes.export()
    decoder = DecoderTraining(codec, config, _crops(songs, config, config.decoder))
    if not (folder / "decoder" / "checkpoint.pt").is_file():
        decoder.start()
    run_loop(decoder, decoder.step, config.decoder.loop, folder / "decoder")
    codec.decoder.load_state_dict(decoder.average.state_dict())
    return export(codec, folder / "export")


def export(codec: SpectralCodec, folder: Path) -> Path:
    """Save the codec in half precision; the folder appears when complete."""
    partial = folder.with_name(f".{folder.name}.part")
    save_module(codec, codec.config, partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return folder


def _crops(songs: list[Path], config: SpectralCodecTrainingConfig, phase: PhaseConfig) -> StemCrops:
    try:
        return StemCrops(
            songs,
            Path(config.out) / "packed",
            config.shares,
            sample_rate=config.model.sample_rate,
            n_samples=phase.frames * config.model.hop,
        )
    except ValueError as error:
        raise InputError(f"The songs cannot be trained on: {error}.") from error


class CodesTraining(nn.Module):
    """Encoder and codebooks: features, latents, codes, features again."""

    def __init__(self, codec: SpectralCodec, config: SpectralCodecTrainingConfig, crops: StemCrops) -> None:
        from vector_quantize_pytorch import ResidualVQ

        super().__init__()
        self._config, self._crops, shape = config, crops, config.model
        self._codec = [codec]  # not a submodule: the decoder has no part in this
        self.encoder = codec.encoder
        self._n_shown = shape.analysis.n_features
        n_tones = sum(band.n_bins for band in codec.decoder.bands)
        self.predictor = FeaturePredictor(shape.latent, self._n_shown + n_tones)
        self.quantizer = ResidualVQ(
            dim=shape.latent,
            num_quantizers=shape.n_codebooks,
            codebook_size=shape.codebook_size,
            decay=config.code_decay,
            kmeans_init=True,
            kmeans_iters=8,
            threshold_ema_dead_code=0.2,
            commitment_weight=1.0,
        )
        analysis = shape.analysis
        n_side = 2 * analysis.side_mels
        widths = [a * b for a, b in zip(analysis.looks, analysis.mels, strict=True)]
        self._groups = [*((width, 1.0) for width in widths), (analysis.low_bins, 1.0), (n_side, _SIDE_WEIGHT)]

    def step(self, number: int) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one step; the batch depends on its number alone."""
        config = self._config
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            batch = self._batch(number)
            shown = self._codec[0].features(batch, 0, config.codes.frames)
            tones = [true_tones(band, batch) for band in self._codec[0].decoder.bands]
        passed, commitment = self._quantize(self.encoder(shown).float())
        predicted = self.predictor(passed).float()
        errors = self._errors(predicted[:, : self._n_shown], shown)
        deviations = predicted[:, self._n_shown :].transpose(1, 2).split([t[0].shape[-1] for t in tones], dim=-1)
        off = [((a - b).abs() * weight).mean() for a, (b, weight, _) in zip(deviations, tones, strict=True)]
        loss = torch.stack([error * weight for error, (_, weight) in zip(errors, self._groups, strict=True)]).sum()
        names = [*(f"mel_{window}" for window in config.model.analysis.windows), "low", "side"]
        figures = dict(zip(names, (float(error.detach()) for error in errors), strict=True))
        figures |= {f"deviation_{index}": float(value.detach()) for index, value in enumerate(off)}
        loss = loss + _DEVIATION_WEIGHT * torch.stack(off).sum()
        return loss + config.commitment * commitment, figures | {"commitment": float(commitment.detach())}

    def export(self) -> None:
        """Copy the codebooks into the codec."""
        with torch.no_grad():
            self._codec[0].codebook_vectors.copy_(self.quantizer.codebooks)

    def _batch(self, number: int) -> Tensor:
        # Steps count from 0; the batches of the start come before them.
        return self._crops.batch(self._config.codes.batch_size, self._config.seed, 1, abs(number), number < 0)

    def _features(self, number: int) -> Tensor:
        return self._codec[0].features(self._batch(number), 0, self._config.codes.frames)

    def _quantize(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of all codebooks or of the first few, with a straight-through gradient, and the commitment loss."""
        given = latents.transpose(1, 2)
        with torch.autocast("cpu", enabled=False):
            quantized, codes, losses = self.quantizer(given)
            most = self._config.model.n_codebooks
            used = int(torch.randint(1, most + 1, ())) if torch.rand(()) > self._config.full_depth_share else most
            if used < most:
                with torch.no_grad():
                    coarse = self.quantizer.get_codes_from_indices(codes)[:used].sum(0)
                quantized = given + (coarse - given).detach()
        return quantized.transpose(1, 2), losses.sum()

    @torch.no_grad()
    def start(self) -> None:
        """Encoder and predictor as principal components of the features, codebooks as k-means of the latents.

        What the networks add to the projections starts at zero.
        """
        per_batch = self._config.codes.batch_size * self._config.codes.frames
        shown = torch.cat(
            [
                self._features(-1 - index).transpose(1, 2).flatten(0, 1)
                for index in range(-(-self._config.start_frames // per_batch))
            ]
        )
        middle = shown.mean(0)
        covariance = (shown - middle).T @ (shown - middle)
        axes = torch.linalg.eigh(covariance)[1].flip(1)[:, : self._config.model.latent]
        encoder, predictor = self.encoder, self.predictor
        for layer in (encoder.leave, predictor.leave):
            layer.load_state_dict({name: torch.zeros_like(value) for name, value in layer.state_dict().items()})
        encoder.project.load_state_dict({"weight": axes.T[:, :, None], "bias": -axes.T @ middle})
        n_others = len(predictor.project.weight) - self._n_shown
        back = {"weight": F.pad(axes, (0, 0, 0, n_others))[:, :, None], "bias": F.pad(middle, (0, n_others))}
        predictor.project.load_state_dict(back)
        self.quantizer(((shown - middle) @ axes)[None])

    def _errors(self, predicted: Tensor, shown: Tensor) -> list[Tensor]:
        sizes = [size for size, _ in self._groups]
        errors = (predicted - shown).abs().split(sizes, dim=1)
        low = shown.split(sizes, dim=1)[-2]
        loudness = (LOG_SPREAD / 2 * low).exp()
        weights = _EVERYWHERE + (1 - _EVERYWHERE) * loudness / loudness.mean((1, 2), keepdim=True).clamp_min(1e-6)
        return [*(error.mean() for error in errors[:-2]), (weights * errors[-2]).mean(), errors[-1].mean()]


class DecoderTraining(nn.Module):
    """The decoder on settled codes, and the average of its weights."""

    def __init__(self, codec: SpectralCodec, config: SpectralCodecTrainingConfig, crops: StemCrops) -> None:
        super().__init__()
        self._config, self._crops = config, crops
        self._codec = [codec.requires_grad_(False)]
        self.decoder = codec.decoder.requires_grad_(True)
        self.average = copy.deepcopy(self.decoder).requires_grad_(False)
        self.loss = SpectralLoss(config.losses, config.model.sample_rate)

    def step(self, number: int) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one step; the batch depends on its number alone."""
        config, weights = self._config, self._config.losses
        self._follow(number)
        truth = self._crops.batch(config.decoder.batch_size, config.seed, 2, number)
        decoded, controls = self.decoder(self.latents(truth, number))
        generator = torch.Generator().manual_seed(number)
        with torch.autocast("cpu", enabled=False):
            loss, figures = self.loss(*one_view(decoded.float(), truth, generator))
            fading = max(0.0, 1 - 2 * number / config.decoder.loop.steps)
            for band, given in zip(self.decoder.bands, controls, strict=True):
                deviation, magnitude = tone_terms(band, given, truth)
                loss = loss + weights.deviation * deviation + fading * weights.magnitude * magnitude
                figures[f"deviation_{band.config.window}"] = float(deviation.detach())
                figures[f"magnitude_{band.config.window}"] = float(magnitude.detach())
        return loss, figures

    @torch.no_grad()
    def start(self) -> None:
        """The outline of the log magnitudes as a linear regression from the latents of three frames."""
        decoder, phase = self.decoder, self._config.decoder
        products: list[Tensor] = []
        for index in range(-(-self._config.start_frames // (phase.batch_size * phase.frames))):
            truth = self._crops.batch(phase.batch_size, self._config.seed, 2, index, 1)
            given = F.unfold(self.latents(truth, index)[:, :, None], (1, 3), padding=(0, 1)).transpose(1, 2)
            wanted = [log_magnitudes(band, truth).flatten(2) for band in decoder.bands]
            noise = log_magnitudes(decoder.noise, truth) - _NOISE_BELOW
            wanted.insert(0, noise.reshape(*given.shape[:2], -1))
            # At either end of a crop windows reach into nothing.
            inside = slice(decoder.edge, -decoder.edge)
            x = F.pad(given[:, inside], (0, 1), value=1.0).flatten(0, 1)
            y = torch.cat(wanted, dim=-1)[:, inside].flatten(0, 1)
            found = [x.T @ x, x.T @ y]
            products = [a + b for a, b in zip(products, found, strict=True)] if products else found
        ridge = _RIDGE * products[0].diagonal().mean() * torch.eye(len(products[0]))
        solved = torch.linalg.solve(products[0] + ridge, products[1])
        weight = solved[:-1].T.reshape(decoder.outline.weight.shape)
        decoder.outline.load_state_dict({"weight": weight, "bias": solved[-1]})
        self.average.load_state_dict(decoder.state_dict())

    @torch.no_grad()
    def latents(self, truth: Tensor, number: int) -> Tensor:
        """Latents of the codes of sound [B, 2, T], of all codebooks or of the first few."""
        codec = self._codec[0]
        with torch.autocast("cpu", enabled=False):
            shown = codec.features(truth, 0, truth.shape[-1] // codec.hop)
        codes = codec.quantize(codec.encoder(shown))
        generator = torch.Generator().manual_seed(number)
        if float(torch.rand((), generator=generator)) > 0.5 + 0.5 * self._config.full_depth_share:
            used = int(torch.randint(1, codes.shape[1] + 1, (), generator=generator))
            codes = codes[:, :used]
        return codec.dequantize(codes)

    @torch.no_grad()
    def _follow(self, number: int) -> None:
        # The average of few steps would be the untrained network.
        decay = min(self._config.average_decay, number / (number + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.decoder.parameters()), 1.0 - decay)
