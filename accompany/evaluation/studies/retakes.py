"""Seams of retakes: the ends of regenerated regions, against the same points of the original take."""

from __future__ import annotations

import numpy as np

from accompany.evaluation.seams import Edge, edges
from accompany.evaluation.studies.setup import StudySetup
from accompany.evaluation.studies.table import Study
from accompany.generation.take import Take

_SHORTEST_S, _LONGEST_S = 1.5, 4.0
_MARGIN_S = 0.5
_NEAR_BEAT_S = 0.05

DEFINITIONS = {
    "left end, right end": "where the region begins and ends, in the retake",
    "... before": "the same places in the take that was changed: what music does there without any seam",
    "flux": "largest rise of the log spectrum within 30 ms, over the mean of the same at all places; 1 is as elsewhere",
    "level": "largest step of the level (100 ms before and after), likewise",
    "flux rank, level rank": "share of all places of that sound with less; 0.5 is the median",
    "on a beat": "1 where a beat of the plan lies within 50 ms",
    "outside": "largest difference of a sample outside of the region: 0 is bit by bit",
    "changed": "share of the samples inside that differ by more than 1e-4",
}


def retakes(setup: StudySetup, n_regions: int = 2) -> Study:
    """Regions of takes made again, `n_regions` of each clip, drawn by the seed."""
    rng = np.random.default_rng([setup.seed, 0x5EA])
    takes = setup.play([clip.prompt for clip in setup.clips], [{}] * len(setup.clips))
    names = ("left end", "left end before", "right end", "right end before")
    ends: dict[str, list[tuple[Edge, float]]] = {name: [] for name in names}
    outside: list[float | None] = []
    changed: list[float | None] = []
    for take in takes:
        for _ in range(n_regions):
            first, last = _region(take, rng)
            made = setup.band.retake(take, first, last)
            for sound, more in ((made, ""), (take, " before")):
                found = edges(sound.samples, sound.sample_rate, (first, last))
                for name, place, edge in zip(("left end", "right end"), (first, last), found, strict=True):
                    ends[name + more].append((edge, _on_beat(take, place)))
            difference = np.abs(made.samples - take.samples).max(axis=0)
            inside = slice(round(first * take.sample_rate), round(last * take.sample_rate))
            changed.append(float((difference[inside] > 1e-4).mean()))
            difference[inside] = 0
            outside.append(float(difference.max()))
    title = f"{len(outside)} regions of {_SHORTEST_S:g} to {_LONGEST_S:g} s made again"
    rows = {name: _columns(found) for name, found in ends.items()}
    return Study(title, {**rows, "region": {"outside": outside, "changed": changed}}, DEFINITIONS)


def _columns(found: list[tuple[Edge, float]]) -> dict[str, list[float | None]]:
    return {
        "flux": [edge.flux for edge, _ in found],
        "flux rank": [edge.flux_rank for edge, _ in found],
        "level": [edge.level for edge, _ in found],
        "level rank": [edge.level_rank for edge, _ in found],
        "on a beat": [beat for _, beat in found],
    }


def _region(take: Take, rng: np.random.Generator) -> tuple[float, float]:
    length = rng.uniform(_SHORTEST_S, min(_LONGEST_S, take.seconds - 2 * _MARGIN_S - 0.1))
    first = rng.uniform(_MARGIN_S, take.seconds - _MARGIN_S - length)
    return round(first, 3), round(first + length, 3)


def _on_beat(take: Take, place_s: float) -> float:
    beats = np.asarray(take.plan.beats_s)
    return float(len(beats) > 0 and float(np.abs(beats - place_s).min()) <= _NEAR_BEAT_S)
