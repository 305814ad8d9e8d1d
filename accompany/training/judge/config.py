"""Config of the judge's training."""

from __future__ import annotations

from dataclasses import dataclass

from accompany.common.config import MOST_SEED, check_range


@dataclass(frozen=True)
class JudgeTrainingConfig:
    """Training of the judge.

    Attributes:
        songs: folder that `accompany synth` wrote, with stems.
        out: folder for the judge's config.json and model.safetensors.
        steps: optimiser steps; batch_size: clips of 10 s in each.
        learning_rate: peak of the one-cycle schedule.
        validation_share: share of the songs held out to set thresholds and to measure the judge's own accuracy.
        min_songs: a family with fewer training songs than this gets no tag; a style with fewer than a third of it is
            not among the styles.
        remix: share of crops mixed anew; worsen: share of crops in worse sound.
        crops: clips that the style classifier is fitted to.
        judge: folder of a trained judge; only its style classifier is fitted again, all else stays as it is.
        seed: for the split, the crops and the weights.
    """

    songs: str = "songs"
    out: str = "runs/judge"
    steps: int = 1500
    batch_size: int = 16
    learning_rate: float = 2e-3
    validation_share: float = 0.15
    min_songs: int = 12
    remix: float = 0.7
    worsen: float = 0.6
    width: int = 96
    depth: int = 6
    crops: int = 10000
    judge: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "steps batch_size crops min_songs", least=1, most=10**9)
        check_range(self, "width depth", least=1, most=10**5)
        check_range(self, "learning_rate", above=0)
        check_range(self, "validation_share", above=0, below=1)
        check_range(self, "remix worsen", least=0, most=1)
        check_range(self, "seed", least=0, most=MOST_SEED)
