"""Second and third phase of the spectral codec: the decoder on settled codes, alone and beside discriminators."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accompany.encoders.spectral_codec import SpectralCodec
from accompany.encoders.spectral_synthesis import Decoder, NoiseBand, ToneBand, ToneControls
from accompany.training.encoders.discriminators import Discriminators
from accompany.training.encoders.spectral_config import SpectralCodecTrainingConfig
from accompany.training.encoders.spectral_losses import SpectralLoss, log_magnitudes, one_view, tone_terms
from accompany.training.encoders.stem_crops import StemCrops

_CROSSOVER_HZ, _CROSSOVER_WIDTH_HZ = 4500.0, 800.0
_TONES_BELOW, _NOISE_BELOW = (0.0, 0.8), (1.5, 0.2)
"""How far below the truth log magnitudes start, under and over the crossover: most of the lows begin as tones."""
_RIDGE = 1e-4


class DecoderTraining(nn.Module):
    """The decoder on settled codes, and the average of its weights."""

    def __init__(self, codec: SpectralCodec, config: SpectralCodecTrainingConfig, crops: StemCrops) -> None:
        super().__init__()
        self._config, self._crops, self._phase = config, crops, config.decoder
        self._codec = [codec.requires_grad_(False)]
        self.decoder = codec.decoder.requires_grad_(True)
        self.average = copy.deepcopy(self.decoder).requires_grad_(False)
        self.loss = SpectralLoss(config.losses, config.model.sample_rate)

    def step(self, number: int) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one step; the batch depends on its number alone."""
        config, weights = self._config, self._config.losses
        self._follow(number)
        truth = self._crops.batch(self._phase.batch_size, config.seed, 2, number)
        decoded, controls = decode_latents(self.decoder, self.latents(truth, number))
        generator = torch.Generator().manual_seed(number)
        with torch.autocast("cpu", enabled=False):
            made, true = one_view(decoded.float(), truth, generator)
            loss, figures = self.loss(made, true)
            fading = self._fading(number)
            for band, given in zip(self.decoder.bands, controls, strict=True):
                deviation, magnitude = tone_terms(band, given, truth)
                loss = loss + weights.deviation * deviation + fading * weights.magnitude * magnitude
                figures[f"deviation_{band.config.window}"] = float(deviation.detach())
                figures[f"magnitude_{band.config.window}"] = float(magnitude.detach())
        extra, more = self.judged(made, true)
        return loss + extra, figures | more

    def judged(self, made: Tensor, true: Tensor) -> tuple[Tensor, dict[str, float]]:
        """A further loss of one view [B, T] of the sound, and its figures: none here."""
        return made.new_zeros(()), {}

    def _fading(self, number: int) -> float:
        return max(0.0, 1 - 2 * number / self._phase.loop.steps)

    @torch.no_grad()
    def start(self) -> None:
        """The outline of the log magnitudes as a linear regression from the latents of three frames."""
        decoder, phase = self.decoder, self._phase
        products: list[Tensor] = []
        for index in range(-(-self._config.start_frames // (phase.batch_size * phase.frames))):
            truth = self._crops.batch(phase.batch_size, self._config.seed, 2, index, 1)
            given = F.unfold(self.latents(truth, index)[:, :, None], (1, 3), padding=(0, 1)).transpose(1, 2)
            noise = log_magnitudes(decoder.noise, truth) - self._below(_frequencies(decoder.noise), _NOISE_BELOW)
            tones = [
                log_magnitudes(band, truth) - self._below(_frequencies(band), _TONES_BELOW) for band in decoder.bands
            ]
            wanted = [part.reshape(*given.shape[:2], -1) for part in (torch.cat(tones, dim=-1), noise)]
            # At either end of a crop windows reach into nothing.
            inside = slice(decoder.edge, -decoder.edge)
            x = F.pad(given[:, inside], (0, 1), value=1.0).flatten(0, 1)
            y = torch.cat(wanted, dim=-1)[:, inside].flatten(0, 1)
            found = [x.T @ x, x.T @ y]
            products = [a + b for a, b in zip(products, found, strict=True)] if products else found
        # Columns of unfolded latents: each latent at the code before, the code itself and the one after, then one.
        everywhere = torch.arange(len(products[0]))
        alone = torch.cat([everywhere[1:-1:3], everywhere[-1:]])
        n_tones = decoder.outline.out_channels
        _solve(decoder.outline, products, everywhere, slice(0, n_tones))
        _solve(decoder.noise_outline, products, alone, slice(n_tones, None))
        self.average.load_state_dict(decoder.state_dict())

    def _below(self, frequencies: Tensor, amounts: tuple[float, float]) -> Tensor:
        hz = frequencies * self._config.model.sample_rate
        share = torch.sigmoid((hz - _CROSSOVER_HZ) / _CROSSOVER_WIDTH_HZ)
        return amounts[0] + (amounts[1] - amounts[0]) * share

    @torch.no_grad()
    def latents(self, truth: Tensor, number: int) -> Tensor:
        """Latents of the codes of sound [B, 2, T], of all codebooks that it learns with or of the first few."""
        codec = self._codec[0]
        with torch.autocast("cpu", enabled=False):
            shown = codec.features(truth, 0, truth.shape[-1] // codec.config.hop)
        codes = codec.quantize(codec.encoder(shown))[:, : self._config.decoder_codebooks or None]
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


def _frequencies(band: ToneBand | NoiseBand) -> Tensor:
    """Centres [K] of the bins of a band, in cycles a sample."""
    if isinstance(band, NoiseBand):
        return torch.arange(band.n_bins) / band.overlap.size
    return torch.arange(band.config.first_bin, band.config.end_bin) / band.config.window


def _solve(layer: nn.Conv1d, products: list[Tensor], columns: Tensor, outputs: slice) -> None:
    """Weights and bias of a layer by ridge regression from the sums of products of inputs, and with outputs."""
    inputs = products[0][columns][:, columns]
    ridge = _RIDGE * inputs.diagonal().mean() * torch.eye(len(columns))
    solved = torch.linalg.solve(inputs + ridge, products[1][columns, outputs])
    layer.load_state_dict({"weight": solved[:-1].T.reshape(layer.weight.shape), "bias": solved[-1]})


class AdversarialTraining(DecoderTraining):
    """The decoder goes on beside discriminators; one optimizer serves both."""

    def __init__(self, codec: SpectralCodec, config: SpectralCodecTrainingConfig, crops: StemCrops) -> None:
        super().__init__(codec, config, crops)
        self._phase = config.adversarial.phase
        shape = config.adversarial
        self.discriminators = Discriminators(shape.windows, shape.periods, shape.channels)

    def judged(self, made: Tensor, true: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The losses of decoder and discriminators."""
        learn, fool, apart = self.discriminators.losses(made, true)
        weights = self._config.adversarial
        figures = {"learn": learn, "fool": fool, "apart": apart}
        loss = learn + weights.fool * fool + weights.features * apart
        return loss, {name: float(value.detach()) for name, value in figures.items()}

    def _fading(self, number: int) -> float:
        return 0.0


def decode_latents(decoder: Decoder, latents: Tensor, *, under_way: bool = True) -> tuple[Tensor, list[ToneControls]]:
    """Sound [B, 2, T] of whole latents, and the controls of each band of tones without the edges.

    under_way: the latents are from the middle of something, so tones start at random phases.
    """
    padded = F.pad(latents, (decoder.edge, decoder.edge), mode="replicate")
    trunk, outlines = decoder.trunk(padded), decoder.outlines(padded)
    controls = [band.controls(trunk, outline) for band, outline in zip(decoder.bands, outlines[1:], strict=True)]
    states = [None] * len(decoder.bands) if under_way else decoder.start(len(latents))
    tones = [band.spectra(given, state)[0] for band, given, state in zip(decoder.bands, controls, states, strict=True)]
    edge = decoder.edge * decoder.stack
    inside = [ToneControls(*(value[:, edge:-edge] for value in given)) for given in controls]
    return _sound(decoder, decoder.noise.spectra(trunk, outlines[0]), tones, latents.shape[-1]), inside


def _sound(decoder: Decoder, noise: Tensor, tones: list[Tensor], n_codes: int) -> Tensor:
    """Left and right [B, 2, T] of spectra that begin `edge` codes before and end as far after."""
    n_samples, before = n_codes * decoder.code_hop, decoder.edge * decoder.code_hop
    total = noise.new_zeros((), dtype=torch.float32)
    overlaps = [decoder.noise.overlap, *(band.overlap for band in decoder.bands)]
    for overlap, spectra in zip(overlaps, [noise, *tones], strict=True):
        begin = before + overlap.before
        total = total + overlap(spectra)[:, begin : begin + n_samples]
    mid, side = total.chunk(2)
    return torch.stack([mid + side, mid - side], dim=1)
