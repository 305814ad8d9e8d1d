"""Musical metrics of a stage's generated output during training, beside the likelihood of the true codes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.data.tokens.store import Manifest
from accompany.data.tokens.tokenize import load_parts
from accompany.encoders import targets
from accompany.encoders.codec import Codec
from accompany.encoders.correlation import pearson, smooth
from accompany.encoders.semantic_codes import SemanticCodes
from accompany.errors import InputError
from accompany.evaluation.chord_metrics import triad_templates
from accompany.music.harmony import NO_CHORD
from accompany.stages.acoustic import AcousticStage
from accompany.stages.batch import Batch, conditions_of
from accompany.stages.listener import Listener
from accompany.stages.masked import MaskedDecoder
from accompany.stages.semantic import SemanticStage
from accompany.training.stages.analysis_scores import score_analysis
from accompany.training.stages.module import BatchMetrics

_SMOOTHING_S = 1.0


def metrics_for(task: str, bundle: str | os.PathLike[str], manifest: Manifest) -> BatchMetrics | None:
    """The musical metrics of a task; None where they need a bundle and there is none.

    Args:
        task: "listener", "semantic" or "acoustic".
        bundle: name or folder of a model with the frozen parts that made the tokens.
        manifest: of the tokens, to check that.

    Raises:
        InputError: the bundle's parts are not those of the tokens.
    """
    if task == "listener":
        return lambda model, batch: score_analysis(cast(Listener, model), batch, batch.size)
    if not bundle:
        return None
    parts = load_parts(bundle)
    needed = "semantic_codes" if task == "semantic" else "codec"
    if parts.fingerprints().get(needed) != manifest.parts.get(needed):
        raise InputError(f"The {needed} of {bundle} did not make these tokens; name the bundle that tokenize used.")
    if task == "semantic":
        return SemanticMetrics(cast(SemanticCodes, parts.semantic_codes), manifest.frame_rate)
    return AcousticMetrics(cast(Codec, parts.codec), manifest.frame_rate)


class SemanticMetrics:
    """Metrics of a semantic stage: features decoded from its generated codes, against those of the true codes."""

    def __init__(self, codes: SemanticCodes, frame_rate: float) -> None:
        self.codes = codes
        self.frame_rate = frame_rate

    def __call__(self, model: nn.Module, batch: Batch) -> Mapping[str, float]:
        """Generate for the batch's conditions.

        Returns:
            `made_harmony`: Pearson's r over the harmony stream's bins, smoothed over a second, mean over frames;
            `made_rhythm`: r over time of the rhythm stream's rises; and where the harmony stream holds chromas
            `made_chords` and `true_chords`: share of frames whose chord, read off the made (true) codes by
            templates, is the labelled one.
        """
        stage = cast(SemanticStage, model)
        truth = batch.need("codes").clamp_min(0)
        conditions = conditions_of(stage.config.conditions, batch, truth.shape[-1])
        made = stage.generate(conditions, seeds=tuple(range(batch.size)))
        made_streams, true_streams = self._streams(made), self._streams(truth)
        window = round(_SMOOTHING_S * self.frame_rate)
        metrics = {
            "made_harmony": bin_correlation(smooth(made_streams[0], window), smooth(true_streams[0], window)),
            "made_rhythm": rise_correlation(made_streams[-1], true_streams[-1]),
        }
        chords = batch.chord_target
        if chords is not None and made_streams[0].shape[-1] % 12 == 0:
            metrics["made_chords"] = template_accuracy(made_streams[0], chords, window // 2)
            metrics["true_chords"] = template_accuracy(true_streams[0], chords, window // 2)
        return metrics

    def _streams(self, codes: Tensor) -> list[Tensor]:
        """Decoded streams [B, F, d]; residual streams are decoded together."""
        device = next(self.codes.buffers()).device  # not where the stage is
        decoded = self.codes.decode(codes.to(device)).to(codes.device)
        widths = self.codes.config.widths
        return [decoded] if self.codes.residual else list(decoded.split(list(widths), dim=-1))


class AcousticMetrics:
    """Metrics of an acoustic stage: audio generated from the true codes, against the codec's own reconstruction."""

    def __init__(self, codec: Codec, frame_rate: float) -> None:
        self.codec = codec
        self.frame_rate = frame_rate

    def __call__(self, model: nn.Module, batch: Batch) -> Mapping[str, float]:
        """Generate for the batch's conditions and codes.

        Returns:
            `made_chroma`: mean cosine of the chromas; `made_harmony`: Pearson's r of the smoothed ones;
            `made_onsets`: r over time of the onset envelopes; `made_level_db`: louder (above 0) or softer.
        """
        stage = cast(AcousticStage, model)
        codes = batch.need("codes").clamp_min(0)
        conditions = conditions_of(stage.config.conditions, batch, codes.shape[-1])
        tokens = stage.generate(conditions, codes, seeds=tuple(range(batch.size)))
        made, truth = (self._sound(value) for value in (tokens, batch.need("tokens").clamp_min(0)))
        rate = self.codec.sample_rate
        a, b = (targets.chroma(sound, rate, self.frame_rate) for sound in (made, truth))
        window = round(_SMOOTHING_S * self.frame_rate)
        envelopes = [targets.onset_envelope(sound, rate) for sound in (made, truth)]
        level = 10 * torch.log10(made.square().mean() / truth.square().mean().clamp_min(1e-12) + 1e-12)
        return {
            "made_chroma": float(functional.cosine_similarity(a, b, dim=-1).mean()),
            "made_harmony": bin_correlation(smooth(a, window), smooth(b, window)),
            "made_onsets": float(pearson(envelopes[0], envelopes[1], dim=-1).mean()),
            "made_level_db": float(level),
            **token_accuracy(stage, batch),
        }

    def _sound(self, tokens: Tensor) -> Tensor:
        return self.codec.decode(tokens).mean(dim=1)


@torch.no_grad()
def token_accuracy(stage: AcousticStage, batch: Batch) -> dict[str, float]:
    """Share of the true tokens that come first, for each codebook, given all coarser ones: `accuracy_0`, ..."""
    codes, tokens = batch.need("codes"), batch.need("tokens")[:, : stage.config.codebooks]
    condition = stage.encode(conditions_of(stage.config.conditions, batch, codes.shape[-1]).with_known(codes))
    if isinstance(stage.decoder, MaskedDecoder):
        logits = [_level_logits(stage.decoder, tokens, condition, level) for level in range(tokens.shape[1])]
    else:
        logits = list(stage.decoder(tokens, condition).unbind(dim=1))
    known = tokens >= 0
    hits = [(logit.argmax(dim=-1) == tokens[:, k])[known[:, k]] for k, logit in enumerate(logits)]
    return {f"accuracy_{k}": float(hit.float().mean()) for k, hit in enumerate(hits)}


def _level_logits(decoder: MaskedDecoder, tokens: Tensor, condition: Tensor, level: int) -> Tensor:
    """Logits [B, A, V] of a codebook that is wholly masked, as are the finer ones."""
    seen = tokens.clone()
    seen[:, level:] = -1
    hidden = decoder(seen, condition, torch.full((len(tokens),), level, device=tokens.device))
    logits: Tensor = decoder.heads[level](hidden)
    return logits


def bin_correlation(a: Tensor, b: Tensor) -> float:
    """Mean over frames of Pearson's r over the bins of [B, F, d]."""
    return float(pearson(a, b, dim=-1).mean())


def rise_correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r over time of how much [B, F, d] rises from frame to frame, summed over bins; mean over items."""
    first, second = (functional.relu(x.diff(dim=1)).sum(dim=-1) for x in (a, b))
    return float(pearson(first, second, dim=-1).mean())


def template_accuracy(chromas: Tensor, chords: Tensor, window: int) -> float:
    """Share of the labelled frames [B, F] whose triad fits [B, F, 12 n] chromas best, smoothed over `window`."""
    folded = smooth(chromas, window).unflatten(-1, (-1, 12)).sum(dim=-2)
    found = (folded @ triads().to(folded).T).argmax(dim=-1)
    known = (chords >= 0) & (chords < NO_CHORD)
    return float((found == chords)[known].float().mean()) if known.any() else 0.0


def triads() -> Tensor:
    """Triad templates [24, 12] in the order of majmin chords, of mean 0, as float32."""
    return torch.from_numpy(triad_templates()).float()
