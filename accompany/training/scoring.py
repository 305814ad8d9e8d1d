"""Reference-free scores of takes: fit to voice, plan and prompt, and absence of noise."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from accompany.common.config import check_range
from accompany.encoders import targets
from accompany.encoders.correlation import pearson, smooth
from accompany.encoders.melody import Melody
from accompany.models.pretrained import Bundle
from accompany.music.harmony import NO_CHORD
from accompany.stages.batch import Batch, conditions_of
from accompany.training.metrics import triads

_SMOOTHING_S = 1.0
_ONSET_RATE = 50.0
"""Of the loader's beats."""
_NOT_WANTED = "a person singing, vocals"


@dataclass(frozen=True)
class ScoreWeights:
    """Weights of the scores when takes of one vocal are compared; each metric is first brought to deviation 1.

    Attributes:
        chords: Pearson's r of the band's chroma and the triads of its plan.
        voice: Pearson's r of the band's chroma and the sung pitch classes.
        beat: Pearson's r of the band's onsets and the beats of its plan.
        prompt: cosine of CLAP's embeddings of the sound and of what was asked for.
        clean: minus the spectral flatness: noise is flat, music is not.
        no_voice: minus the cosine of CLAP's embeddings of the sound and of "a person singing, vocals".
    """

    chords: float = 1.0
    voice: float = 0.5
    beat: float = 0.5
    prompt: float = 0.5
    clean: float = 0.25
    no_voice: float = 0.25

    def __post_init__(self) -> None:
        """Raise ValueError for a weight below 0."""
        check_range(self, " ".join(item.name for item in fields(self)), least=0)


FIT = ("chords", "voice", "beat")


@torch.inference_mode()
def render(bundle: Bundle, batch: Batch, codes: Tensor, seed: int = 0) -> Tensor:
    """Sound [B, T], mono at the codec's rate, of semantic codes [B, K, F]."""
    stage = bundle.acoustic
    conditions = conditions_of(stage.config.conditions, batch, codes.shape[-1])
    tokens = stage.generate(conditions, codes, seeds=[seed] * len(codes))
    return bundle.codec.decode(tokens).mean(dim=1)


@torch.inference_mode()
def score(bundle: Bundle, batch: Batch, sound: Tensor) -> dict[str, Tensor]:
    """The metrics of `ScoreWeights` for each item [B]; 0 where a plan or a prompt is not known.

    Args:
        bundle: whose CLAP and codec's rate are used.
        batch: conditions of the takes.
        sound: [B, T] mono at the codec's rate.
    """
    rate, frame_rate = bundle.codec.sample_rate, bundle.melody.frame_rate
    vocal = batch.need("vocal")
    n_frames = vocal.shape[1]
    chroma = smooth(targets.chroma(sound, rate, frame_rate, n_frames), round(_SMOOTHING_S * frame_rate))
    sung = vocal[..., Melody.SALIENCE].unflatten(-1, (12, 3)).sum(dim=-1)
    embedded = bundle.clap.embed_audio(_at(sound, rate, bundle.clap.sample_rate))
    voice = bundle.clap.embed_text([_NOT_WANTED]).to(embedded)
    return {
        "chords": _chords(chroma, batch.chord_target),
        "voice": _voice(chroma, smooth(sung, round(_SMOOTHING_S * frame_rate)), vocal[..., Melody.VOICING][..., 0]),
        "beat": _beat(targets.onset_envelope(sound, rate, _ONSET_RATE), batch.beat_target),
        "prompt": sound.new_zeros(len(sound)) if batch.text is None else (embedded * _one(batch.text)).sum(dim=-1),
        "clean": -flatness(sound),
        "no_voice": -(embedded @ voice.T)[:, 0],
    }


def total(metrics: dict[str, Tensor], weights: ScoreWeights) -> Tensor:
    """One score for each take of each vocal [N, T], from metrics [N, T]; comparable within a vocal only."""
    scores = torch.zeros_like(next(iter(metrics.values())))
    for name, values in metrics.items():
        centred = values - values.mean(dim=1, keepdim=True)
        scores += getattr(weights, name) * centred / centred.square().mean().sqrt().clamp_min(1e-6)
    return scores


def flatness(sound: Tensor) -> Tensor:
    """Spectral flatness [B] of [B, T]: geometric over arithmetic mean of the power spectrum, 1 for white noise."""
    window = torch.hann_window(1024, device=sound.device)
    power = torch.stft(sound, 1024, 512, window=window, return_complex=True).abs().square().mean(dim=-1) + 1e-10
    return power.log().mean(dim=-1).exp() / power.mean(dim=-1)


def _chords(chroma: Tensor, chords: Tensor | None) -> Tensor:
    if chords is None:
        return chroma.new_zeros(len(chroma))
    known = (chords >= 0) & (chords < NO_CHORD)
    wanted = triads().to(chroma)[chords.clamp(0, NO_CHORD - 1)]
    return _mean(pearson(chroma, wanted, dim=-1), known)


def _voice(chroma: Tensor, sung: Tensor, voicing: Tensor) -> Tensor:
    return _mean(pearson(chroma, sung, dim=-1), voicing > 0.5)


def _beat(onsets: Tensor, beats: Tensor | None) -> Tensor:
    if beats is None:
        return onsets.new_zeros(len(onsets))
    n = min(onsets.shape[-1], beats.shape[-1])
    pulses = torch.nn.functional.max_pool1d(beats[:, None, :n].clamp_min(0).float(), 3, stride=1, padding=1)[:, 0]
    return pearson(onsets[:, :n], pulses, dim=-1) * (beats >= 0).any(dim=1)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    return (values * known).sum(dim=1) / known.sum(dim=1).clamp_min(1)


def _one(text: Tensor) -> Tensor:
    """One embedding [B, Dt] of prompts that may change by frame."""
    return text if text.dim() == 2 else torch.nn.functional.normalize(text.mean(dim=1), dim=-1)


def _at(sound: Tensor, from_rate: int, to_rate: int) -> Tensor:
    from accompany.audio import resample

    if from_rate == to_rate:
        return sound
    return torch.from_numpy(resample(sound.cpu().numpy(), from_rate, to_rate)).to(sound)
