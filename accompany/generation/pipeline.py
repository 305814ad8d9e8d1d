"""Generation pipeline: analyze, plan, compose, play, decode, set the level.

After LLambada (Sing-On-Your-Beat, arXiv 2411.01661). Shape letters: B items, T samples, F semantic frames,
A codec frames, K streams of codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from accompany import audio
from accompany.common.devices import give_memory_back
from accompany.common.progress import Progress, one_of, part_of
from accompany.generation.planning import make_plan
from accompany.generation.settings import Settings
from accompany.generation.stems import (
    all_tokens,
    decode_tracks,
    find_tracks,
    seeds_of,
    set_levels,
    stems_of,
    tags_of,
)
from accompany.generation.take import Draft, Made
from accompany.models.pretrained import Bundle
from accompany.music.instrumentation import read_instrumentation
from accompany.music.plan import Plan, control_track
from accompany.stages.conditions import STEM_TAGS, Conditions, make_conditions, stack
from accompany.stages.sampling import MaskedSamplingConfig, SamplingConfig, seed_for

if TYPE_CHECKING:
    from accompany.models.llambada import LlambadaBundle

_ANALYZED, _COMPOSED, _PLAYED = 0.1, 0.4, 0.75


@dataclass(frozen=True)
class VocalAnalysis:
    """Analysis of a vocal: its features [1, F, Dv] and its plan."""

    features: Tensor
    plan: Plan


def perform(
    bundle: Bundle | LlambadaBundle,
    vocals: Sequence[np.ndarray],
    settings: Sequence[Settings],
    progress: Progress | None = None,
) -> list[Made]:
    """Make the accompaniments of vocals with a model of any kind; arguments as in `accompany_vocals`."""
    if isinstance(bundle, Bundle):
        return accompany_vocals(bundle, vocals, settings, progress)
    from accompany.generation import llambada  # its own way, which the bundled models need not load

    return llambada.accompany_vocals(bundle, vocals, settings, progress)


def accompany_vocals(
    bundle: Bundle, vocals: Sequence[np.ndarray], settings: Sequence[Settings], progress: Progress | None = None
) -> list[Made]:
    """Make the accompaniments of vocals of any lengths, the stages' codes in one batch.

    Args:
        bundle: the model.
        vocals: each mono float32 [1, T] at the codec's rate.
        settings: one for each, which differ in their prompts only; a result depends on these, its vocal and the model,
            and on the others of the batch by rounding alone, which may decide a draw.
        progress: called with the share done, 0 to 1.
    """
    report = progress or (lambda share: None)
    analyses = []
    for vocal, each in zip(vocals, settings, strict=True):
        analyses.append(analyze(bundle, vocal, each))
        report(_ANALYZED * len(analyses) / len(vocals))
    return accompany_analyzed(bundle, vocals, analyses, settings, report)


@torch.inference_mode()
def analyze(bundle: Bundle, vocal: np.ndarray, settings: Settings) -> VocalAnalysis:
    """Features of a vocal [1, T] at the codec's rate, and its plan: beats, chords and key, as far as not given."""
    features = extract_features(bundle, vocal)
    return VocalAnalysis(features, make_plan(bundle.listener, features_to_plan(bundle, features, settings), settings))


@torch.inference_mode()
def accompany_analyzed(
    bundle: Bundle,
    vocals: Sequence[np.ndarray],
    analyses: list[VocalAnalysis],
    settings: Sequence[Settings],
    progress: Progress | None = None,
) -> list[Made]:
    """As `accompany_vocals`, for vocals analyzed before; empties `analyses`, to hold less of long ones."""
    report = progress or (lambda share: None)
    first, plans = settings[0], [each.plan for each in analyses]
    conditions = [build_conditions(bundle, each, wanted) for each, wanted in zip(analyses, settings, strict=True)]
    tracks = [find_tracks(bundle, each, wanted) for each, wanted in zip(conditions, settings, strict=True)]
    played = [name for name in STEM_TAGS if any(name in each for each in tracks)]
    analyses.clear()
    n_frames, batch = [each.n_frames for each in conditions], stack(conditions)
    codes = bundle.semantic.generate_long(
        batch,
        sampling_for(bundle.semantic.config.sampling, first),
        [seed_for(first.seed, 0)] * len(vocals),
        progress=part_of(report, _ANALYZED, _COMPOSED),
    )
    tokens = bundle.acoustic.generate_long(
        batch,
        codes,
        acoustic_sampling(bundle, first),
        seeds_of(played, first.seed) * len(vocals),
        stems=tags_of(played),
        progress=part_of(report, _COMPOSED, _PLAYED),
    ).unflatten(0, (len(vocals), len(played)))
    del conditions, batch
    give_memory_back()
    made, decoded = [], part_of(report, _PLAYED, 1.0)
    for item, (vocal, plan) in enumerate(zip(vocals, plans, strict=True)):
        rows = [played.index(name) for name in tracks[item]]
        own = tokens[item, rows, :, : bundle.acoustic.config.ratio * n_frames[item]]
        sounds = decode_tracks(bundle, own, tracks[item], vocal.shape[-1], 0.0, one_of(decoded, item, len(vocals)))
        samples, gain = set_levels(sounds, vocal, bundle.codec.sample_rate, first.level_db)
        kept = all_tokens(bundle, tracks[item], own).flatten(0, 1)
        draft = Draft(as_array(codes[item, :, : n_frames[item]]), as_array(kept), gain)
        made.append(Made(samples, plan, draft, stems_of(sounds)))
    return made


def as_array(codes: Tensor) -> np.ndarray:
    """Codes of any shape as int32."""
    return codes.to(torch.int32).cpu().numpy()


def extract_features(bundle: Bundle, vocal: np.ndarray) -> Tensor:
    """Features [1, F, Dv] of a vocal [1, T] at the codec's rate: melody features, then MERT states."""
    rate = bundle.codec.sample_rate
    n_frames = audio.frame_count(vocal.shape[-1], rate, bundle.melody.frame_rate)
    for_melody = torch.from_numpy(audio.resample(vocal, rate, bundle.melody.sample_rate))
    for_mert = torch.from_numpy(audio.resample(vocal, rate, bundle.mert.sample_rate))
    melody = bundle.melody.encode(for_melody.to(bundle.device), n_frames)
    states = bundle.mert.encode(for_mert.to(bundle.device), n_frames)
    return torch.cat([melody, states], dim=-1)


def features_to_plan(bundle: Bundle, features: Tensor, settings: Settings) -> Tensor:
    """What a plan is predicted from: the features of a vocal, or [1, F, 54] melody features of the notes given.

    Given notes stand for the vocal altogether: there are no MERT states of them.
    """
    if settings.melody is None or settings.plan is not None:
        return features
    from accompany.generation.references import melody_features

    return melody_features(bundle, settings.melody, features)


def build_conditions(bundle: Bundle, analysis: VocalAnalysis, settings: Settings) -> Conditions:
    """Conditions of both stages on the semantic grid; the prompt may hold cues (`accompany.generation.prompts`)."""
    features = analysis.features
    n_frames = features.shape[1]
    control, mask = control_track(analysis.plan, n_frames, bundle.melody.frame_rate)
    conditions = make_conditions(
        bundle.semantic.config.conditions,
        n_frames,
        vocal=features,
        control=control[None].to(features.device),
        control_mask=mask[None].to(features.device),
    )
    texts = _texts_per_frame(bundle, analysis, settings)
    if not all(text.isascii() for text in set(texts)):
        from accompany.generation.phrasebook import in_english

        texts = [in_english(text) for text in texts]
    if any(texts):
        text, text_mask = (each.to(features.device) for each in embed_frames(texts, bundle.clap.embed_text))
        instruments, stated = (each.to(features.device) for each in embed_frames(texts, instrumentation_vectors))
        conditions = dataclasses.replace(
            conditions, text=text, text_mask=text_mask, instruments=instruments, instruments_mask=stated
        )
    if settings.like is None:
        return conditions
    from accompany.generation.references import blend_style

    return blend_style(conditions, torch.tensor(settings.like), settings.like_strength)


def _texts_per_frame(bundle: Bundle, analysis: VocalAnalysis, settings: Settings) -> list[str]:
    """The text of the prompt that holds in each frame."""
    n_frames, frame_rate = analysis.features.shape[1], bundle.melody.frame_rate
    if not settings.is_timed:
        return [settings.prompt] * n_frames
    from accompany.generation.prompts import names_sections, texts_per_frame  # few prompts change
    from accompany.generation.sections import find_sections

    melody = analysis.features[0, :, : bundle.melody.dim].float().cpu().numpy()
    sections = find_sections(melody, frame_rate, analysis.plan) if names_sections(settings.prompt) else ()
    return texts_per_frame(settings.prompt, sections, n_frames, frame_rate)


def embed_frames(texts: Sequence[str], embed: Callable[[Sequence[str]], Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings [1, F, D] of the text of each frame, and where there is any, [1, F] bool."""
    # Where no frame is asked for anything, a vector that is masked everywhere still says how wide it would be.
    different = [text for text in dict.fromkeys(texts) if text] or [""]
    vectors = embed(different)
    position = {text: index for index, text in enumerate(different)}
    index = torch.tensor([position.get(text, 0) for text in texts], device=vectors.device)
    mask = torch.tensor([bool(text) for text in texts], device=vectors.device)
    return (vectors[index] * mask[:, None])[None], mask[None]


def instrumentation_vectors(texts: Sequence[str]) -> Tensor:
    """The instrumentation that each text states in words: [n, Di]."""
    return torch.from_numpy(np.stack([read_instrumentation(text).vector() for text in texts]))


def sampling_for(own: SamplingConfig, settings: Settings) -> SamplingConfig:
    """Sampling of the semantic stage: its config, overridden by the settings."""
    return dataclasses.replace(
        own,
        temperature=own.temperature if settings.temperature is None else settings.temperature,
        guidance=own.guidance if settings.guidance is None else settings.guidance,
        guidance_vocal=_vocal_guidance(own, settings),
    )


def acoustic_sampling(bundle: Bundle, settings: Settings) -> MaskedSamplingConfig:
    """Sampling of the acoustic stage."""
    own = bundle.acoustic.config.sampling
    return dataclasses.replace(own, guidance_vocal=_vocal_guidance(own, settings))


def _vocal_guidance(own: SamplingConfig, settings: Settings) -> float:
    return own.guidance_vocal * (1.0 if settings.follow is None else settings.follow)
