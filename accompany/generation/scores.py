"""Scores of how well a take fits its vocal and plan, without a reference, to rank takes.

No truth is needed, so a wrong plan is not seen: these say how well the band plays what was decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from accompany.audio import resample
from accompany.encoders import targets
from accompany.encoders.correlation import pearson, smooth
from accompany.encoders.melody import Melody
from accompany.generation.pipeline import VocalAnalysis, build_conditions, extract_features
from accompany.generation.prompts import is_timed
from accompany.generation.settings import Settings
from accompany.generation.take import Draft
from accompany.models.pretrained import Bundle
from accompany.music.plan import CHORD_SLICE, Plan, control_track
from accompany.stages.likelihood import log_likelihood_long

if TYPE_CHECKING:
    from accompany.generation.take import Take

_ONSET_RATE = 100.0
_PULSE_S = 0.03
_SMOOTHING_S = 1.0
WEIGHTS = {"harmony": 1.0, "rhythm": 0.25, "consonance": 0.5, "whistle": -2.0, "likelihood": 0.05, "reading": 1.0}
"""Chosen on four takes of 40 synthetic vocals whose truth was known: takes of one vocal share a plan and differ little,
and neither rhythm nor likelihood says which of them has the truer beat (see notes/experiments.md, "Sessions")."""

_WHISTLE_FROM_HZ = 300.0
_CHORD_TONES = slice(CHORD_SLICE.start + 12, CHORD_SLICE.start + 24)

SCORES = ("fit", *WEIGHTS, "prompt")


@torch.inference_mode()
def score(bundle: Bundle, samples: np.ndarray, voice: np.ndarray, plan: Plan, prompt: str = "") -> dict[str, float]:
    """Scores of an accompaniment [C, T] of a voice [1, T], both at the codec's rate.

    Returns:
        `harmony`: mean over frames of Pearson's r between the band's chroma, smoothed over a second, and the tones of
        the plan's chords, -1 to 1. `rhythm`: r between its onsets and pulses on the plan's beats. `consonance`: log2 of
        its energy at the sung pitch class over the mean of the twelve. `whistle`: share of one narrow band above 300 Hz
        in the spectrum of the whole: high when a tone locks in. `prompt`: cosine of the CLAP embeddings of sound and
        prompt, where there is one. `fit`: all but the last in one (`WEIGHTS`), to rank by; higher is better.
    """
    band = torch.from_numpy(np.ascontiguousarray(samples.mean(axis=0, keepdims=True)))
    rate = bundle.codec.sample_rate
    chroma = targets.chroma(band, rate, bundle.melody.frame_rate)[0]
    scores = {
        "harmony": _harmony(chroma, plan, bundle.melody.frame_rate),
        "rhythm": _rhythm(targets.onset_envelope(band, rate, _ONSET_RATE)[0], plan),
        "consonance": _consonance(chroma, _melody(bundle, voice, len(chroma))),
        "whistle": _whistle(band[0], rate),
    }
    if prompt:
        at_rate = torch.from_numpy(resample(band.numpy(), rate, bundle.clap.sample_rate)).to(bundle.device)
        scores["prompt"] = float((bundle.clap.embed_audio(at_rate) * bundle.clap.embed_text([prompt])).sum())
    return ranked(scores)


def score_take(bundle: Bundle, take: Take, features: Tensor | None = None) -> dict[str, float]:
    """The scores of `score` for a take, with `likelihood` where the codes that were written are known.

    `features` [1, F, Dv] are those of its vocal, where they are known already.
    """
    prompt = "" if is_timed(take.settings.prompt) else take.settings.prompt
    scores = score(bundle, take.samples, take.vocals, take.plan, prompt)
    if take.reading is not None:
        scores["reading"] = take.reading.probability
    if take.draft is None:
        return scores
    found = likelihood(bundle, take.vocals, take.plan, take.settings, take.draft, features)
    return ranked({**scores, "likelihood": found})


@torch.inference_mode()
def likelihood(
    bundle: Bundle, voice: np.ndarray, plan: Plan, settings: Settings, draft: Draft, features: Tensor | None = None
) -> float:
    """Likelihood of the codes under the semantic stage: mean log probability of a code in nats, at most 0.

    Teacher forced, with all conditions of the stage and without guidance or temperature. Extracts the features
    [1, F, Dv] of the voice [1, T] again where they are not given.
    """
    analysis = VocalAnalysis(extract_features(bundle, voice) if features is None else features, plan)
    codes = torch.from_numpy(draft.codes).long()[None].to(bundle.device)
    conditions = build_conditions(bundle, analysis, settings)
    return float(log_likelihood_long(bundle.semantic, codes, conditions).mean())


def ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores in order, rounded, with `fit`, the one number to rank by: their weighted sum."""
    fit = sum(weight * scores[name] for name, weight in WEIGHTS.items() if name in scores)
    every = {**scores, "fit": fit}
    return {name: round(every[name], 4) for name in SCORES if name in every}


def _melody(bundle: Bundle, voice: np.ndarray, n_frames: int) -> Tensor:
    """Melody features [F, d] of a voice [1, T] at the codec's rate."""
    at_rate = torch.from_numpy(resample(voice, bundle.codec.sample_rate, bundle.melody.sample_rate))
    return bundle.melody.encode(at_rate.to(bundle.device), n_frames)[0].float().cpu()


def _harmony(chroma: Tensor, plan: Plan, frame_rate: float) -> float:
    control, mask = control_track(plan, len(chroma), frame_rate)
    tones = control[:, _CHORD_TONES]
    known = mask[:, 1] & (tones.sum(dim=1) > 0)
    if not bool(known.any()):
        return 0.0
    smoothed = smooth(chroma[None], round(_SMOOTHING_S * frame_rate))[0]
    return float(pearson(smoothed[known], tones[known].to(chroma), dim=1).mean())


def _rhythm(envelope: Tensor, plan: Plan) -> float:
    if not plan.beats_s:
        return 0.0
    times_s = (torch.arange(len(envelope), dtype=torch.float64) + 0.5) / _ONSET_RATE
    beats = torch.tensor(plan.beats_s, dtype=torch.float64)
    after = torch.searchsorted(beats, times_s)
    near = torch.minimum(
        (times_s - beats[(after - 1).clamp_min(0)]).abs(), (beats[after.clamp_max(len(beats) - 1)] - times_s).abs()
    )
    pulses = torch.exp(-0.5 * (near / _PULSE_S) ** 2).float()
    return float(pearson(envelope, pulses.to(envelope), dim=0))


def _consonance(chroma: Tensor, features: Tensor) -> float:
    sung = features[:, Melody.SALIENCE].unflatten(1, (12, 3)).sum(dim=2)
    sung = sung / sung.sum(dim=1, keepdim=True).clamp_min(1e-6)
    weight = features[:, Melody.VOICING][:, 0] * (chroma.sum(dim=1) > 1e-3)
    if float(weight.sum()) < 1e-6:
        return 0.0
    energy = chroma.square()
    at_sung = (weight * (sung * energy).sum(dim=1)).sum() / weight.sum()
    mean = (weight * energy.mean(dim=1)).sum() / weight.sum()
    return float(torch.log2((at_sung / mean.clamp_min(1e-9)).clamp_min(2.0**-6)))


def _whistle(band: Tensor, rate: int) -> float:
    size = 1 << (int(0.17 * rate) - 1).bit_length()
    if len(band) < size:
        return 0.0
    total = torch.zeros(size // 2 + 1)
    window, count = torch.hann_window(size), 0
    for start in range(0, len(band) - size + 1, size // 2):
        power = torch.fft.rfft(band[start : start + size] * window).abs().square()
        if float(power.sum()) > 1e-8 * size:
            total += power / power.sum()
            count += 1
    first = int(_WHISTLE_FROM_HZ * size / rate)
    return float(total[first:].max() / max(count, 1))
