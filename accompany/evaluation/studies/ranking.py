"""What is ranking worth? Several takes of each vocal, and which of them each way to choose would have taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from accompany.evaluation.studies.play import Stage, mono
from accompany.evaluation.studies.table import Study
from accompany.generation.scores import WEIGHTS
from accompany.generation.take import Take

DEFINITIONS = {
    "first": "the take of the first seed: no choice",
    "mean": "all takes: a choice by chance",
    "by fit": "the take that `--takes` puts first",
    "by fit without likelihood": "the same without the model's own likelihood",
    "by likelihood": "the take whose codes the semantic stage finds likeliest",
    "best there is": "the take that is best against the truth in each column: more is not in these takes",
    "harmony": "Pearson r of smoothed chroma against the true band's",
    "beat F": "of the beats that the judge hears, against the known grid",
    "both": "the mean of these two",
}


def rank(stage: Stage, n_takes: int) -> Study:
    """Harmony and beat F against the truth of the takes that each way to choose takes."""
    prompts = [clip.prompt for clip in stage.clips]
    by_seed = [stage.play(prompts, [{"seed": stage.seed + n}] * len(prompts)) for n in range(n_takes)]
    takes = [[stage.band.scored(take) for take in each] for each in zip(*by_seed, strict=True)]
    truth = [[_against_truth(stage, take, i) for take in each] for i, each in enumerate(takes)]
    ways: dict[str, Callable[[list[Take]], int]] = {
        "first": lambda each: 0,
        "by fit": lambda each: _best([take.scores["fit"] for take in each]),
        "by fit without likelihood": lambda each: _best([_without_likelihood(take) for take in each]),
        "by likelihood": lambda each: _best([take.scores.get("likelihood", 0.0) for take in each]),
    }
    columns = ("harmony", "beat F", "both")
    rows: dict[str, dict[str, list[float | None]]] = {
        way: {
            column: [found[choose(each)][column] for each, found in zip(takes, truth, strict=True)]
            for column in columns
        }
        for way, choose in ways.items()
    }
    known = [{c: [value for f in found if (value := f[c]) is not None] for c in columns} for found in truth]
    rows["mean"] = {c: [float(np.mean(each[c])) if each[c] else None for each in known] for c in columns}
    rows["best there is"] = {c: [max(each[c]) if each[c] else None for each in known] for c in columns}
    title = f"{n_takes} takes of {len(takes)} vocals: which one is taken, and how good is it against the truth?"
    order = [name for name in DEFINITIONS if name in rows]
    return Study(title, {name: rows[name] for name in order}, DEFINITIONS, _weights())


def _against_truth(stage: Stage, take: Take, index: int) -> dict[str, float | None]:
    clip = stage.clips[index]
    harmony, beat_f = stage.harmony(mono(take), clip), stage.beat_f(mono(take), clip)
    return {"harmony": harmony, "beat F": beat_f, "both": None if beat_f is None else (harmony + beat_f) / 2}


def _without_likelihood(take: Take) -> float:
    return sum(weight * take.scores[name] for name, weight in WEIGHTS.items() if name != "likelihood")


def _best(scores: Sequence[float]) -> int:
    return int(np.argmax(scores))


def _weights() -> list[str]:
    return ["fit = " + " + ".join(f"{weight:g} {name}" for name, weight in WEIGHTS.items())]
