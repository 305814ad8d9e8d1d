"""From vocals to their accompaniments, as a straight line: listen, plan, compose, play, decode, set the level.

After LLambada (Sing-On-Your-Beat, arXiv 2411.01661). Shape letters: B items, T samples, F semantic frames,
A codec frames, K streams of codes.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from accompany import audio
from accompany.bundles import Bundle, Progress
from accompany.settings import Settings
from accompany.stages.conditions import Conditions, make_conditions, stack
from accompany.stages.plan import Plan, control_track
from accompany.stages.sampling import SamplingConfig

_LISTENED, _COMPOSED, _PLAYED = 0.1, 0.5, 0.9
_DECODED_S = 5.0
_PEAK = 0.98
_LEVEL_BLOCK_S = 0.05
_QUIETEST_DB = -45.0


@torch.inference_mode()
def accompany_vocals(
    bundle: Bundle,
    vocals: Sequence[np.ndarray],
    prompts: Sequence[str],
    settings: Settings,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> list[tuple[np.ndarray, Plan]]:
    """Make the accompaniments of vocals of any lengths, the stages' codes in one batch.

    Args:
        bundle: the model.
        vocals: each mono float32 [1, T] at the codec's rate.
        prompts: one for each, in place of that of the settings.
        settings: the options; a result depends on these, its prompt, its vocal, the plan and the model only.
        plan: what to play with every vocal; None plays what the listener hears.
        progress: called with the share done, 0 to 1.

    Returns:
        For each float32 [C, T] at the codec's rate, peaks below 1, and the plan that was played.
    """
    report = progress or (lambda share: None)
    plans, told = [], []
    for vocal, prompt in zip(vocals, prompts, strict=True):
        features = listen(bundle, vocal)
        plans.append(plan or plan_song(bundle, features, settings))
        told.append(condition(bundle, features, plans[-1], prompt))
        report(_LISTENED * len(told) / len(vocals))
    n_frames, conditions = [each.n_frames for each in told], stack(told)
    codes = bundle.semantic.generate_long(
        conditions,
        _sampling(bundle.semantic.config.sampling, settings),
        [seed_for(settings.seed, 0)] * len(vocals),
        progress=part_of(report, _LISTENED, _COMPOSED),
    )
    tokens = bundle.acoustic.generate_long(
        conditions,
        codes,
        seeds=[seed_for(settings.seed, 1)] * len(vocals),
        progress=part_of(report, _COMPOSED, _PLAYED),
    )
    del features, told, conditions
    give_memory_back()
    made = []
    for item, (vocal, plan) in enumerate(zip(vocals, plans, strict=True)):
        own = tokens[item : item + 1, :, : bundle.acoustic.config.ratio * n_frames[item]]
        sound = bundle.codec.decode(own, vocal.shape[-1], chunk_s=_DECODED_S)[0].float().cpu().numpy()
        made.append((set_level(sound, vocal, bundle.codec.sample_rate, settings.level_db), plan))
        report(_PLAYED + (1.0 - _PLAYED) * len(made) / len(vocals))
    return made


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
    return bundle.listener.plan(bundle.listener.listen(features), bpm=settings.bpm, key=settings.key)


def condition(bundle: Bundle, features: Tensor, plan: Plan, prompt: str) -> Conditions:
    """Everything that both stages are told, on the semantic grid."""
    n_frames = features.shape[1]
    control, mask = control_track(plan, n_frames, bundle.melody.frame_rate)
    return make_conditions(
        bundle.semantic.config.conditions,
        n_frames,
        vocal=features,
        text=bundle.clap.embed_text([prompt]).to(features.device) if prompt else None,
        control=control[None].to(features.device),
        control_mask=mask[None].to(features.device),
    )


def set_level(sound: np.ndarray, vocal: np.ndarray, sample_rate: int, level_db: float) -> np.ndarray:
    """Bring `sound` [C, T] to `level_db` against the vocal [1, T], as far as its peaks allow; changes it in place."""
    wanted = max(loudness_db(vocal, sample_rate) + level_db, _QUIETEST_DB)
    gain = 10 ** ((wanted - loudness_db(sound, sample_rate)) / 20)
    peak = max(-float(sound.min(initial=0.0)), float(sound.max(initial=0.0)))
    if 0.0 < peak < np.inf:
        sound *= np.float32(min(gain, _PEAK / peak))
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
    return both * np.float32(_PEAK / peak) if peak > _PEAK else both


def _sampling(own: SamplingConfig, settings: Settings) -> SamplingConfig:
    return dataclasses.replace(
        own,
        temperature=own.temperature if settings.temperature is None else settings.temperature,
        guidance=own.guidance if settings.guidance is None else settings.guidance,
    )


def seed_for(seed: int, stage: int) -> int:
    """A seed for each stage, so that the two do not draw the same numbers."""
    low, high = np.random.SeedSequence([seed, stage]).generate_state(2)
    return int(low) | (int(high) >> 1) << 32


def part_of(report: Progress, low: float, high: float) -> Callable[[int, int], None]:
    """A counter of steps that fills the share from `low` to `high`."""
    return lambda done, total: report(low + (high - low) * done / max(total, 1))
