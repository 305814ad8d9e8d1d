"""From vocals to their accompaniments, as a straight line: listen, plan, compose, play, decode, set the level.

After LLambada (Sing-On-Your-Beat, arXiv 2411.01661). Shape letters: B items, T samples, F semantic frames,
A codec frames, K streams of codes.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from accompany import audio
from accompany.bundles import Bundle, Progress
from accompany.planning import make_plan
from accompany.prompts import embed_frames, is_timed, names_sections, texts_per_frame
from accompany.sections import find_sections
from accompany.settings import Settings
from accompany.stages.conditions import Conditions, make_conditions, stack
from accompany.stages.plan import Plan, control_track
from accompany.stages.sampling import MaskedSamplingConfig, SamplingConfig

_LISTENED, _COMPOSED, _PLAYED = 0.1, 0.5, 0.9
_DECODED_S = 5.0
PEAK = 0.98
_LEVEL_BLOCK_S = 0.05
_QUIETEST_DB = -45.0


@dataclass(frozen=True)
class Draft:
    """What the stages wrote of one song, from which parts of it can be written again.

    Attributes:
        codes: semantic codes int32 [K, F].
        tokens: codec tokens int32 [Kc, A].
        gain: what the decoded sound was multiplied with.
    """

    codes: np.ndarray
    tokens: np.ndarray
    gain: float


@dataclass(frozen=True)
class Made:
    """An accompaniment: `samples` float32 [C, T] with peaks below 1, the plan that was played, and its draft."""

    samples: np.ndarray
    plan: Plan
    draft: Draft | None = None


@dataclass(frozen=True)
class Heard:
    """What is heard in a vocal: its features [1, F, Dv], and the plan."""

    features: Tensor
    plan: Plan


def accompany_vocals(
    bundle: Bundle,
    vocals: Sequence[np.ndarray],
    settings: Sequence[Settings],
    progress: Progress | None = None,
) -> list[Made]:
    """Make the accompaniments of vocals of any lengths, the stages' codes in one batch.

    Args:
        bundle: the model.
        vocals: each mono float32 [1, T] at the codec's rate.
        settings: one for each, which differ in their prompts only; a result depends on these, its vocal and the model.
        progress: called with the share done, 0 to 1.
    """
    report = progress or (lambda share: None)
    heard = []
    for vocal, each in zip(vocals, settings, strict=True):
        heard.append(hear(bundle, vocal, each))
        report(_LISTENED * len(heard) / len(vocals))
    return accompany_heard(bundle, vocals, heard, settings, report)


@torch.inference_mode()
def hear(bundle: Bundle, vocal: np.ndarray, settings: Settings) -> Heard:
    """Listen to a vocal [1, T] and decide on the plan."""
    features = listen(bundle, vocal)
    return Heard(features, plan_song(bundle, features, settings))


@torch.inference_mode()
def accompany_heard(
    bundle: Bundle,
    vocals: Sequence[np.ndarray],
    heard: list[Heard],
    settings: Sequence[Settings],
    progress: Progress | None = None,
) -> list[Made]:
    """As `accompany_vocals`, for vocals that were listened to before; empties `heard`, to hold less of long ones."""
    report = progress or (lambda share: None)
    first, plans = settings[0], [each.plan for each in heard]
    told = [tell(bundle, each, wanted) for each, wanted in zip(heard, settings, strict=True)]
    heard.clear()
    n_frames, conditions = [each.n_frames for each in told], stack(told)
    codes = bundle.semantic.generate_long(
        conditions,
        sampling_for(bundle.semantic.config.sampling, first),
        [seed_for(first.seed, 0)] * len(vocals),
        progress=part_of(report, _LISTENED, _COMPOSED),
    )
    tokens = bundle.acoustic.generate_long(
        conditions,
        codes,
        acoustic_sampling(bundle, first),
        [seed_for(first.seed, 1)] * len(vocals),
        progress=part_of(report, _COMPOSED, _PLAYED),
    )
    del told, conditions
    give_memory_back()
    made = []
    for item, (vocal, plan) in enumerate(zip(vocals, plans, strict=True)):
        own = tokens[item : item + 1, :, : bundle.acoustic.config.ratio * n_frames[item]]
        sound = bundle.codec.decode(own, vocal.shape[-1], chunk_s=_DECODED_S)[0].float().cpu().numpy()
        gain = gain_for(sound, vocal, bundle.codec.sample_rate, first.level_db)
        sound *= np.float32(gain)
        draft = Draft(as_array(codes[item, :, : n_frames[item]]), as_array(own[0]), gain)
        made.append(Made(sound, plan, draft))
        report(_PLAYED + (1.0 - _PLAYED) * len(made) / len(vocals))
    return made


def as_array(codes: Tensor) -> np.ndarray:
    """Codes of any shape as int32."""
    return codes.to(torch.int32).cpu().numpy()


def listen(bundle: Bundle, vocal: np.ndarray) -> Tensor:
    """Features [1, F, Dv] of a vocal [1, T] at the codec's rate: melody features, then MERT states."""
    rate = bundle.codec.sample_rate
    n_frames = audio.frame_count(vocal.shape[-1], rate, bundle.melody.frame_rate)
    for_melody = torch.from_numpy(audio.resample(vocal, rate, bundle.melody.sample_rate))
    for_mert = torch.from_numpy(audio.resample(vocal, rate, bundle.mert.sample_rate))
    device = bundle.device
    melody = bundle.melody.encode(for_melody.to(device), n_frames)
    states = bundle.mert.encode(for_mert.to(device), n_frames)
    return torch.cat([melody, states], dim=-1)


def plan_song(bundle: Bundle, features: Tensor, settings: Settings) -> Plan:
    """What the listener hears in the features [1, F, Dv]: beats, bars, chords and key, as far as not given."""
    return make_plan(bundle.listener, features, settings)


def tell(bundle: Bundle, heard: Heard, settings: Settings) -> Conditions:
    """What both stages are told by what was heard and the settings."""
    told = condition(bundle, heard.features, heard.plan, settings.prompt)
    if settings.like is None:
        return told
    return lean(told, torch.tensor(settings.like), settings.like_strength)


def condition(bundle: Bundle, features: Tensor, plan: Plan, prompt: str) -> Conditions:
    """Everything that both stages are told, on the semantic grid; the prompt may hold cues (`accompany.prompts`)."""
    n_frames, frame_rate = features.shape[1], bundle.melody.frame_rate
    control, mask = control_track(plan, n_frames, frame_rate)
    told = make_conditions(
        bundle.semantic.config.conditions,
        n_frames,
        vocal=features,
        text=bundle.clap.embed_text([prompt]).to(features.device) if prompt and not is_timed(prompt) else None,
        control=control[None].to(features.device),
        control_mask=mask[None].to(features.device),
    )
    if not is_timed(prompt):
        return told
    melody = features[0, :, : bundle.melody.dim].float().cpu().numpy()
    sections = find_sections(melody, frame_rate, plan) if names_sections(prompt) else ()
    text, asked = embed_frames(texts_per_frame(prompt, sections, n_frames, frame_rate), bundle.clap.embed_text)
    return dataclasses.replace(told, text=text.to(features.device), text_mask=asked.to(features.device))


def lean(told: Conditions, like: Tensor, strength: float | None) -> Conditions:
    """Conditions whose prompt leans towards the embedding [Dt] of a recording, or is that where there is none."""
    share = 1.0 if strength is None else strength
    like = like.to(told.text)
    asked = told.text_mask[..., None]
    leaning = functional.normalize((1 - share) * told.text + share * like, dim=-1)
    return dataclasses.replace(told, text=torch.where(asked, leaning, like), text_mask=torch.ones_like(told.text_mask))


def gain_for(sound: np.ndarray, vocal: np.ndarray, sample_rate: int, level_db: float) -> float:
    """What brings `sound` [C, T] to `level_db` against the vocal [1, T], as far as its peaks allow; 1 for silence."""
    wanted = max(loudness_db(vocal, sample_rate) + level_db, _QUIETEST_DB)
    gain = 10 ** ((wanted - loudness_db(sound, sample_rate)) / 20)
    peak = max(-float(sound.min(initial=0.0)), float(sound.max(initial=0.0)))
    return min(gain, PEAK / peak) if 0.0 < peak < np.inf else 1.0


def set_level(sound: np.ndarray, vocal: np.ndarray, sample_rate: int, level_db: float) -> np.ndarray:
    """Bring `sound` [C, T] to `level_db` against the vocal [1, T], as `gain_for` says; changes it in place."""
    sound *= np.float32(gain_for(sound, vocal, sample_rate, level_db))
    return sound


def loudness_db(sound: np.ndarray, sample_rate: int) -> float:
    """Level in dBFS of the loud parts of [C, T]: RMS of short blocks, averaged with their energy as weight.

    Pauses count for nothing, so a voice that sings half of the time is as loud as one that never rests.
    """
    block = max(round(_LEVEL_BLOCK_S * sample_rate), 1)
    mono = sound[0] if len(sound) == 1 else sound.mean(axis=0)
    whole = len(mono) // block * block
    blocks, rest = mono[:whole].reshape(-1, block), mono[whole:]
    # Products of a block with itself, so that an hour of sound is not copied.
    energy = np.append(np.einsum("nt,nt->n", blocks, blocks), rest @ rest).astype(np.float64) / block
    return float(20 * np.log10(max((energy * np.sqrt(energy)).sum() / max(energy.sum(), 1e-20), 1e-9)))


def give_memory_back() -> None:
    """Return what was freed to the system, where the C library can (glibc).

    Left alone, it keeps small pieces for later, and the sound of a long vocal would come on top of them.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def mix(vocals: np.ndarray, accompaniment: np.ndarray) -> np.ndarray:
    """Voice [1, T] and band [C, T] together [C, T], turned down as a whole if the peaks would clip."""
    both = vocals + accompaniment
    peak = float(np.abs(both).max(initial=0.0))
    return both * np.float32(PEAK / peak) if peak > PEAK else both


def sampling_for(own: SamplingConfig, settings: Settings) -> SamplingConfig:
    """How the semantic stage draws: its own way, as far as the settings do not say otherwise."""
    return dataclasses.replace(
        own,
        temperature=own.temperature if settings.temperature is None else settings.temperature,
        guidance=own.guidance if settings.guidance is None else settings.guidance,
        guidance_vocal=_following(own, settings),
    )


def acoustic_sampling(bundle: Bundle, settings: Settings) -> MaskedSamplingConfig:
    """How the acoustic stage draws."""
    own = bundle.acoustic.config.sampling
    return dataclasses.replace(own, guidance_vocal=_following(own, settings))


def _following(own: SamplingConfig, settings: Settings) -> float:
    return own.guidance_vocal * (1.0 if settings.follow is None else settings.follow)


def seed_for(seed: int, stage: int) -> int:
    """A seed for each stage, so that the two do not draw the same numbers."""
    low, high = np.random.SeedSequence([seed, stage]).generate_state(2)
    return int(low) | (int(high) >> 1) << 32


def part_of(report: Progress, low: float, high: float) -> Callable[[int, int], None]:
    """A counter of steps that fills the share from `low` to `high`."""
    return lambda done, total: report(low + (high - low) * done / max(total, 1))


def share_of(progress: Progress | None, done: int, total: int) -> Progress | None:
    """What reports a share of one part out of `total`, of which `done` are over, as a share of all; None for None."""
    return None if progress is None else lambda share: progress((done + share) / total)
