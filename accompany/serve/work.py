"""What the jobs do: listen to a vocal, make takes of it, and make a stretch of a take again."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from accompany import audio
from accompany.api import Band
from accompany.errors import InputError
from accompany.serve.pitch import outline, track_pitch
from accompany.serve.store import Store, StoredTake, Vocal
from accompany.settings import Settings

Progress = Callable[[float], None]

OUTLINE_POINTS = 3000
_PITCH_FRAMES, _PITCH_HOP_S = 6000, 0.02
_FADE_S = 0.03
_SHORTEST_RETAKE_S = 0.25


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a visitor asks for: how many takes, and the settings of the first; the others have the next seeds."""

    settings: Settings
    n_takes: int = 1

    def __post_init__(self) -> None:
        """Raise InputError for a number of takes out of range."""
        if not 1 <= self.n_takes <= 8:
            raise InputError(f"The number of takes {self.n_takes} must be from 1 to 8.")


@dataclasses.dataclass(frozen=True)
class Region:
    """A stretch of a song in seconds."""

    start_s: float
    end_s: float

    def fitted(self, seconds: float) -> Region:
        """The region inside a song of this length. InputError when too little of it is."""
        inside = Region(max(self.start_s, 0.0), min(self.end_s, seconds))
        if not inside.end_s - inside.start_s >= _SHORTEST_RETAKE_S:
            raise InputError(
                f"The region {self.start_s:g} to {self.end_s:g} s must cover at least {_SHORTEST_RETAKE_S:g} s of the "
                f"{seconds:.2f} s of the song."
            )
        return inside


def any_seed() -> int:
    """A seed for those who give none."""
    return secrets.randbelow(2**31)


def listen(band: Band, vocal: Vocal, report: Progress) -> None:
    """Find pitch, and for a model that plans beats, bars, chords and key; the vocal keeps them as `heard`."""
    samples = _read(vocal)
    hop_s = max(_PITCH_HOP_S, vocal.seconds / _PITCH_FRAMES)
    pitch_hz = track_pitch(samples, vocal.sample_rate, hop_s)
    report(0.5)
    heard: dict[str, Any] = {"pitch": {"hop_s": hop_s, "hz": [round(float(hz), 1) for hz in pitch_hz]}, "plan": None}
    if band.bundle.plans:
        heard["plan"] = told_plan(_plan(band, samples))
    vocal.heard = heard


def make_takes(band: Band, store: Store, vocal: Vocal, wish: Wish, made: list[str], report: Progress) -> None:
    """Make the takes one after the other; each is kept, and told in `made`, as soon as it is complete."""
    sung = _read(vocal)
    for index in range(wish.n_takes):
        settings = dataclasses.replace(wish.settings, seed=wish.settings.seed + index)
        take = band.generate(
            (sung, vocal.sample_rate),
            **dataclasses.asdict(settings),
            progress=_part(report, index, wish.n_takes),
        )
        made.append(_keep(store, vocal, take.samples, take.plan, settings, {"wall_s": round(take.wall_s, 2)}))


def make_retake(
    band: Band,
    store: Store,
    vocal: Vocal,
    parent: StoredTake,
    region: Region,
    settings: Settings,
    made: list[str],
    report: Progress,
) -> None:
    """Make a new take that differs from its parent inside the region only, on the same beats and chords.

    Outside the region its samples are the parent's, bit by bit; it fades over 30 ms at either end.
    """
    started = time.perf_counter()
    options = dataclasses.asdict(settings)
    if parent.plan is not None and band.bundle.plans:
        options.update(plan=parent.plan, bpm=None, key=None)
    take = band.generate((_read(vocal), vocal.sample_rate), **options, progress=report)
    old = audio.read(parent.path).samples
    joined = splice(old, take.samples, region, vocal.sample_rate)
    facts = {
        "wall_s": round(time.perf_counter() - started, 2),
        "parent": parent.id,
        "region": dataclasses.asdict(region),
    }
    made.append(_keep(store, vocal, joined, take.plan, settings, facts))


def splice(old: np.ndarray, new: np.ndarray, region: Region, sample_rate: int) -> np.ndarray:
    """`old` [C, T] with `new` [C, T] in the region: an equal-power fade inside it at either end, no change outside."""
    first, last = round(region.start_s * sample_rate), min(round(region.end_s * sample_rate), old.shape[-1])
    fade = min(round(_FADE_S * sample_rate), (last - first) // 2)
    rising = np.sin(0.5 * np.pi * (np.arange(fade) + 0.5) / max(fade, 1)).astype(np.float32)
    # A region at an end of the song has no sound beyond it to fade from.
    into = rising if first > 0 else np.ones_like(rising)
    out_of = rising[::-1] if last < old.shape[-1] else np.ones_like(rising)
    weight = np.concatenate([into, np.ones(last - first - 2 * fade, np.float32), out_of])
    rest = np.sqrt(np.maximum(1 - weight**2, 0))
    joined = old.copy()
    joined[:, first:last] = weight * new[:, first:last] + rest * old[:, first:last]
    return joined


def told_plan(plan: Any) -> dict[str, Any]:
    """A plan as JSON."""
    told = dataclasses.asdict(plan)
    told["beats_s"] = [round(beat, 4) for beat in plan.beats_s]
    told["downbeats_s"] = [round(beat, 4) for beat in plan.downbeats_s]
    told["chords"] = [
        {"start_s": round(start, 4), "end_s": round(end, 4), "label": label} for start, end, label in plan.chords
    ]
    return told


@torch.inference_mode()
def _plan(band: Band, samples: np.ndarray) -> Any:
    from accompany.generation import listen as hear
    from accompany.generation import plan_song

    return plan_song(band.bundle, hear(band.bundle, samples), Settings())  # type: ignore[arg-type]


def _read(vocal: Vocal) -> np.ndarray:
    return audio.read(vocal.path).samples


def _part(report: Progress, index: int, total: int) -> Progress:
    return lambda share: report((index + share) / total)


def _keep(store: Store, vocal: Vocal, samples: np.ndarray, plan: Any, settings: Settings, more: dict[str, Any]) -> str:
    """Write a take beside its vocal and tell the store; returns its id."""
    path = vocal.path.with_name(f"{secrets.token_hex(8)}.wav")
    audio.write(path, samples, vocal.sample_rate, subtype="FLOAT")
    facts = {
        **dataclasses.asdict(settings),
        "seconds": round(samples.shape[-1] / vocal.sample_rate, 3),
        "plan": told_plan(plan) if plan is not None else None,
        "waveform": outline(samples, OUTLINE_POINTS),
        "parent": None,
        "region": None,
        **more,
    }
    return store.add_take(vocal, path, facts, plan).id
