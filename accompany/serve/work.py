"""What the jobs do: listen to a vocal, make takes of it, and make a stretch of a take again."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import numpy as np

from accompany import audio
from accompany.api import Band
from accompany.common.progress import Progress, share_of
from accompany.errors import InputError
from accompany.generation.edits import SHORTEST_S
from accompany.generation.settings import Settings
from accompany.generation.take import Take
from accompany.serve import disk
from accompany.serve.pitch import outline, track_pitch
from accompany.serve.store import Store, StoredTake, Vocal

OUTLINE_POINTS = 3000
_PITCH_FRAMES, _PITCH_HOP_S = 6000, 0.02
_TOLD = ("prompt", "seed", "bpm", "key", "chords", "temperature", "guidance")


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a visitor asks for: how many takes, and the settings of the first; the others have the next seeds."""

    settings: Settings
    n_takes: int = 1

    def __post_init__(self) -> None:
        """Raise InputError for a number of takes out of range."""
        if not 1 <= self.n_takes <= 8:
            raise InputError(f"The number of takes {self.n_takes} must be from 1 to 8.")
        if self.settings.seed + self.n_takes > 2**63:
            raise InputError(f"The seed {self.settings.seed} is too large for {self.n_takes} takes; give less.")


@dataclasses.dataclass(frozen=True)
class Region:
    """A stretch of a song in seconds."""

    start_s: float
    end_s: float

    def fitted(self, seconds: float) -> Region:
        """The region inside a song of this length. InputError when too little of it is."""
        inside = Region(max(self.start_s, 0.0), min(self.end_s, seconds))
        if not inside.end_s - inside.start_s >= SHORTEST_S:
            raise InputError(
                f"The region {self.start_s:g} to {self.end_s:g} s must cover at least {SHORTEST_S:g} s of the "
                f"{seconds:.2f} s of the song."
            )
        return inside


def any_seed() -> int:
    """A seed for those who give none."""
    return secrets.randbelow(2**31)


def listen(band: Band, vocal: Vocal, report: Progress) -> None:
    """Find pitch, notes, and for a model that plans beats, bars, chords and key; the vocal keeps them as `heard`."""
    samples = disk.read(vocal.path)
    hop_s = max(_PITCH_HOP_S, vocal.seconds / _PITCH_FRAMES)
    pitch_hz = track_pitch(samples, vocal.sample_rate, hop_s)
    report(0.5)
    heard: dict[str, Any] = {"pitch": {"hop_s": hop_s, "hz": [round(float(hz), 1) for hz in pitch_hz]}, "plan": None}
    if band.bundle.plans:
        heard["plan"] = told_plan(band.analyse((samples, vocal.sample_rate)).plan)
    heard["notes"] = [note.row for note in band.transcribe((samples, vocal.sample_rate))]
    vocal.heard = heard


def make_takes(band: Band, store: Store, vocal: Vocal, wish: Wish, made: list[str], report: Progress) -> None:
    """Make the takes one after the other; each is kept, and told in `made`, as soon as it is complete."""
    sung = disk.read(vocal.path)
    for index in range(wish.n_takes):
        settings = dataclasses.replace(wish.settings, seed=wish.settings.seed + index)
        (take,) = band.perform([(sung, vocal.sample_rate)], [settings], share_of(report, index, wish.n_takes))
        made.append(_keep(store, vocal, band.scored(take), {}))


def make_retake(
    band: Band,
    store: Store,
    vocal: Vocal,
    parent: StoredTake,
    region: Region,
    options: dict[str, Any],
    made: list[str],
    report: Progress,
) -> None:
    """Make a new take that differs from its parent inside the region only; `options` are those of `Band.retake`."""
    old = dataclasses.replace(parent.made, samples=disk.read(parent.path), vocals=disk.read(vocal.path))
    take = band.retake(old, region.start_s, region.end_s, progress=report, **options)
    facts = {
        "prompt": options.get("prompt", parent.facts["prompt"]),
        "seed": options["seed"],
        "parent": parent.id,
        "region": dataclasses.asdict(region),
    }
    made.append(_keep(store, vocal, band.scored(take), facts))


def told_plan(plan: Any) -> dict[str, Any]:
    """A plan as JSON."""
    told = dataclasses.asdict(plan)
    told["beats_s"] = [round(beat, 4) for beat in plan.beats_s]
    told["downbeats_s"] = [round(beat, 4) for beat in plan.downbeats_s]
    told["chords"] = [
        {"start_s": round(start, 4), "end_s": round(end, 4), "label": label} for start, end, label in plan.chords
    ]
    return told


def _keep(store: Store, vocal: Vocal, take: Take, more: dict[str, Any]) -> str:
    """Write a take beside its vocal and tell the store; returns its id."""
    path = vocal.path.with_name(f"{secrets.token_hex(8)}.wav")
    with disk.storing():
        audio.write(path, take.samples, vocal.sample_rate, subtype="FLOAT")
    facts = {
        **{name: getattr(take.settings, name) for name in _TOLD},
        "seconds": round(take.seconds, 3),
        "wall_s": round(take.wall_s, 2),
        "plan": told_plan(take.plan) if take.draft is not None else None,
        "scores": {name: round(float(value), 3) for name, value in take.scores.items()},
        "waveform": outline(take.samples, OUTLINE_POINTS),
        "parent": None,
        "region": None,
        **more,
    }
    # The sound is in the file; what a retake needs besides is small.
    nothing = np.zeros((1, 0), np.float32)
    return store.add_take(
        vocal, path, facts, dataclasses.replace(take, samples=nothing, vocals=nothing, source=None)
    ).id
