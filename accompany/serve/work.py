"""The work of the jobs: analyze a vocal, make takes of it, and make a region of a take again."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import numpy as np

from accompany import audio
from accompany.api import Band
from accompany.common.progress import Progress
from accompany.errors import InputError
from accompany.generation.edits import SHORTEST_S
from accompany.generation.settings import Settings
from accompany.generation.take import Take
from accompany.music.instrumentation import STEMS
from accompany.serve import disk
from accompany.serve.pitch import outline, track_pitch
from accompany.serve.store import StoredTake, VisitorStore, Vocal

OUTLINE_POINTS = 3000
MOST_TAKES = 8
"""That one job may make."""

REQUESTED = ("prompt", "seed", "bpm", "key", "chords", "taps", "metre", "reading", "temperature", "guidance", "mute")
"""Controls that a visitor may set."""

_PITCH_FRAMES, _PITCH_HOP_S = 6000, 0.02


@dataclasses.dataclass(frozen=True)
class Region:
    """A region of a song in seconds."""

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


def analyze(band: Band, vocal: Vocal, report: Progress) -> None:
    """Find pitch, notes, and for a model that plans beats, bars, chords and key: the `analysis` of the vocal."""
    samples = disk.read(vocal.path)
    hop_s = max(_PITCH_HOP_S, vocal.seconds / _PITCH_FRAMES)
    pitch_hz = track_pitch(samples, vocal.sample_rate, hop_s)
    report(0.5)
    analysis: dict[str, Any] = {"pitch": {"hop_s": hop_s, "hz": [round(float(hz), 1) for hz in pitch_hz]}, "plan": None}
    if band.bundle.plans:
        analysis["plan"] = plan_as_json(band.analyse((samples, vocal.sample_rate)).plan)
    analysis["notes"] = [note.row for note in band.transcribe((samples, vocal.sample_rate))]
    vocal.analysis = analysis


def make_takes(
    band: Band, store: VisitorStore, vocal: Vocal, settings: Settings, n_takes: int, made: list[str], report: Progress
) -> None:
    """Make takes with one seed after the other; each is kept, and its id put into `made`, as soon as it is complete."""
    sung = disk.read(vocal.path)
    for take in band.each_take((sung, vocal.sample_rate), settings, n_takes, report):
        made.append(_keep(store, vocal, take, {}))


def make_retake(
    band: Band,
    store: VisitorStore,
    vocal: Vocal,
    parent: StoredTake,
    region: Region,
    options: dict[str, Any],
    made: list[str],
    report: Progress,
) -> None:
    """Make a new take that differs from its parent inside the region only; `options` are those of `Band.retake`."""
    take = band.retake(whole(parent, vocal), region.start_s, region.end_s, progress=report, **options)
    facts = {
        "prompt": options.get("prompt", parent.facts["prompt"]),
        "seed": options["seed"],
        "parent": parent.id,
        "region": dataclasses.asdict(region),
    }
    made.append(_keep(store, vocal, band.scored(take), facts))


def whole(take: StoredTake, vocal: Vocal) -> Take:
    """A take with its sound, which lies in files."""
    samples, stems = disk.read(take.path), None
    if take.facts["stems"]:
        silence = np.zeros_like(samples)
        playing = {name: disk.read(take.stem_path(name)) for name in take.facts["stems"]}
        stems = {name: playing.get(name, silence) for name in STEMS}
    return dataclasses.replace(take.made, samples=samples, vocals=disk.read(vocal.path), stems=stems)


def plan_as_json(plan: Any) -> dict[str, Any]:
    """A plan as JSON."""
    values = dataclasses.asdict(plan)
    values["beats_s"] = [round(beat, 4) for beat in plan.beats_s]
    values["downbeats_s"] = [round(beat, 4) for beat in plan.downbeats_s]
    values["chords"] = [
        {"start_s": round(start, 4), "end_s": round(end, 4), "label": label} for start, end, label in plan.chords
    ]
    return values


def _keep(store: VisitorStore, vocal: Vocal, take: Take, more: dict[str, Any]) -> str:
    """Write a take beside its vocal and add it to the store; returns its id."""
    path = vocal.path.with_name(f"{secrets.token_hex(8)}.wav")
    stems = {name: sound for name, sound in (take.stems or {}).items() if name not in take.muted}
    facts = {
        **{name: getattr(take.settings, name) for name in REQUESTED},
        "seconds": round(take.seconds, 3),
        "wall_s": round(take.wall_s, 2),
        "plan": plan_as_json(take.plan) if take.draft is not None else None,
        "scores": {name: round(float(value), 3) for name, value in take.scores.items()},
        "waveform": outline(take.samples, OUTLINE_POINTS),
        "stems": list(stems),
        "parent": None,
        "region": None,
        **more,
    }
    # The sound is in the file; what a retake needs besides is small.
    nothing = np.zeros((1, 0), np.float32)
    rest = dataclasses.replace(take, samples=nothing, vocals=nothing, source=None, stems=None)
    kept = StoredTake("", 0, path, facts, rest)
    with disk.storing():
        for file, samples in ((path, take.samples), *((kept.stem_path(name), sound) for name, sound in stems.items())):
            audio.write(file, samples, vocal.sample_rate, subtype="FLOAT")
    return store.add_take(vocal, path, facts, rest).id
