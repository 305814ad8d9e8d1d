"""Several takes of a vocal: how much better the first by ranking is than any, and than the best by the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from accompany.evaluation import chord_metrics, metrics
from accompany.evaluation.studies.setup import StudySetup, mono
from accompany.evaluation.studies.table import Study, Values
from accompany.evaluation.testset import Clip
from accompany.generation.take import Take

COUNT = 4
METRICS = ("beat_f", "chord_majmin", "harmony")

_ROWS: dict[str, Callable[[list[float]], float]] = {
    "first by ranking": lambda values: values[0],
    "mean of the takes": lambda values: float(np.mean(values)),
    "gain of ranking": lambda values: values[0] - float(np.mean(values)),
    "last by ranking": lambda values: values[-1],
    "best by the truth": max,
}
DEFINITIONS = {
    "first, last by ranking": f"of {COUNT} takes, over the readings where they are doubtful, by `Take.scores` alone",
    "best by the truth": "the take with the highest value of the column: what no ranking can exceed",
    "beat_f": "F-measure of the band's beats by the judge against the true beats, 70 ms",
    "chord_majmin": "mir_eval's score of the chords recognised in the band",
    "harmony": "Pearson r of the band's smoothed chroma and the true band's",
    "readings": "readings that the takes of a vocal play",
}


def takes(setup: StudySetup) -> Study:
    """Takes of all clips by rank."""
    played = [
        setup.band.takes((clip.vocal, clip.sample_rate), clip.prompt, COUNT, seed=setup.seed) for clip in setup.clips
    ]
    measured = [[_measured(setup, take, clip) for take in each] for each, clip in zip(played, setup.clips, strict=True)]
    rows: dict[str, Mapping[str, Values]] = {
        name: {metric: [_of([each[metric] for each in some], choose) for some in measured] for metric in METRICS}
        for name, choose in _ROWS.items()
    }
    readings = [float(len({take.plan.reading for take in each})) for each in played]
    rows["first by ranking"] = {**rows["first by ranking"], "readings": readings}
    return Study(f"{COUNT} takes of {len(setup.clips)} vocals by rank", rows, DEFINITIONS)


def _measured(setup: StudySetup, take: Take, clip: Clip) -> dict[str, float | None]:
    sound = mono(take)
    chroma = metrics.chroma(sound, take.sample_rate)
    return {
        "beat_f": setup.beat_f(sound, clip),
        "chord_majmin": chord_metrics.chord_scores(chroma, clip.chords).get("chord_majmin") if clip.chords else None,
        "harmony": setup.harmony(sound, clip),
    }


def _of(values: list[float | None], choose: Callable[[list[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if len(known) == len(values) else None
