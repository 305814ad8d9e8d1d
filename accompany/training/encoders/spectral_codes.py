"""First phase of the spectral codec: encoder and codebooks, without a waveform."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accompany.encoders.spectral_analysis import stacked
from accompany.encoders.spectral_codec import SpectralCodec
from accompany.encoders.spectral_features import LOG_SPREAD
from accompany.training.encoders.spectral_config import SpectralCodecTrainingConfig
from accompany.training.encoders.spectral_losses import FeaturePredictor, true_tones
from accompany.training.encoders.stem_crops import StemCrops

_SIDE_WEIGHT, _DEVIATION_WEIGHT = 0.5, 0.4
_LINEAR_SCALE = 0.03
"""Of the learning rate, for the projections: their weights are small and right from the start."""
_DEAD_SHARE = 0.05
"""Entries used less often than this share of the mean start anew; many more, and codebooks never settle."""
_EVERYWHERE_LOW, _EVERYWHERE_MEL = 0.3, 0.6
"""What a bin of the long window and a mel band count where they are quiet; loud ones count more."""


class CodesTraining(nn.Module):
    """Encoder and codebooks: features, latents, codes, features again."""

    lr_scales: ClassVar = {"encoder.project": _LINEAR_SCALE, "predictor.project": _LINEAR_SCALE}

    def __init__(self, codec: SpectralCodec, config: SpectralCodecTrainingConfig, crops: StemCrops) -> None:
        from vector_quantize_pytorch import ResidualVQ

        super().__init__()
        self._config, self._crops, shape = config, crops, config.model
        self._latents_a_batch = config.codes.batch_size * config.codes.frames // shape.stack
        self._codec = [codec]  # not a submodule: the decoder has no part in this
        self.encoder = codec.encoder
        self._n_shown = shape.analysis.n_features
        n_tones = sum(band.n_bins for band in codec.decoder.bands)
        self.predictor = FeaturePredictor(shape.latent, self._n_shown + n_tones, shape.stack)
        self.quantizer = ResidualVQ(
            dim=shape.latent,
            num_quantizers=shape.n_codebooks,
            codebook_size=shape.codebook_size,
            decay=config.code_decay,
            kmeans_init=True,
            kmeans_iters=8,
            threshold_ema_dead_code=_DEAD_SHARE * self._latents_a_batch / shape.codebook_size,
        )
        sizes = shape.analysis.group_sizes
        self._groups = [*((size, 1.0) for size in sizes[:-1]), (sizes[-1], _SIDE_WEIGHT)]

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
        analysis = config.model.analysis
        names = [*(f"mel_{window}" for window in analysis.windows), *(f"low_{w}" for w in analysis.low_windows), "side"]
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
            quantized, codes, _ = self.quantizer(given)
            # Of what all codebooks leave: counted after each of them, the latents shrink and the features suffer.
            commitment = F.mse_loss(given, quantized.detach()) / given.detach().var().clamp_min(1e-6)
            most = self._config.model.n_codebooks
            used = int(torch.randint(1, most + 1, ())) if torch.rand(()) > self._config.full_depth_share else most
            if used < most:
                with torch.no_grad():
                    coarse = self.quantizer.get_codes_from_indices(codes)[:used].sum(0)
                quantized = given + (coarse - given).detach()
        return quantized.transpose(1, 2), commitment

    @torch.no_grad()
    def start(self) -> None:
        """Encoder and predictor as principal components of the features, codebooks as k-means of the latents.

        What the networks add to the projections starts at zero.
        """
        stack = self._config.model.stack
        per_batch = self._config.codes.batch_size * self._config.codes.frames
        shown = torch.cat(
            [
                stacked(self._features(-1 - index), stack).transpose(1, 2).flatten(0, 1)
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
        # Of each frame of a code the predictor gives what was shown, and others, which start at zero.
        n_others = len(predictor.project.weight) // stack - self._n_shown
        weight = F.pad(axes.unflatten(0, (stack, -1)), (0, 0, 0, n_others)).flatten(0, 1)
        bias = F.pad(middle.unflatten(0, (stack, -1)), (0, n_others)).flatten()
        predictor.project.load_state_dict({"weight": weight[:, :, None], "bias": bias})
        self.quantizer(((shown - middle) @ axes)[None])

    def _errors(self, predicted: Tensor, shown: Tensor) -> list[Tensor]:
        sizes = [size for size, _ in self._groups]
        errors = (predicted - shown).abs().split(sizes, dim=1)
        analysis = self._config.model.analysis
        counts = [(_EVERYWHERE_MEL, 1.0)] * len(analysis.mels) + [(_EVERYWHERE_LOW, analysis.low_gain)] * len(
            analysis.low_bins
        )
        loud = [
            (_loudness_weights(values / gain, floor) * error).mean()
            for values, error, (floor, gain) in zip(shown.split(sizes, dim=1), errors, counts, strict=False)
        ]
        return [*loud, errors[-1].mean()]


def _loudness_weights(logs: Tensor, floor: float) -> Tensor:
    """Of scaled log magnitudes [B, F, A]: `floor` where it is quiet, more where it is loud; 1 in the mean."""
    loudness = (LOG_SPREAD / 2 * logs).exp()
    return floor + (1 - floor) * loudness / loudness.mean((1, 2), keepdim=True).clamp_min(1e-6)
