"""Setup of a study: model, judge and clips, with batched generation and metrics against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from accompany.errors import InputError
from accompany.evaluation import metrics
from accompany.evaluation.clip_metrics import judged_beats
from accompany.evaluation.metrics import Signal
from accompany.evaluation.testset import Clip

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.evaluation.judge import Judge
    from accompany.generation.take import Take
    from accompany.models.pretrained import Bundle

T = TypeVar("T")

_BATCH = 8


@dataclass(frozen=True)
class StudySetup:
    """Model, judge, clips and seed of a study.

    Attributes:
        band: the model under test.
        judge: detects beats and instruments; None tracks beats with librosa.
        clips: what is played to.
        seed: of the generations.
    """

    band: Band
    judge: Judge | None
    clips: Sequence[Clip]
    seed: int = 0

    @property
    def bundle(self) -> Bundle:
        """The parts of the model; InputError for one that plans nothing."""
        from accompany.models.pretrained import Bundle

        if not isinstance(self.band.bundle, Bundle):
            raise InputError(
                f"{self.band.name} plans nothing, so there is nothing to study; choose a model such as tiny."
            )
        return self.band.bundle

    def beats(self, sound: Signal) -> np.ndarray:
        """Beat times in s of a sound [T] at the band's rate."""
        rate = self.band.sample_rate
        return metrics.track_beats(sound, rate) if self.judge is None else judged_beats(sound, rate, self.judge)

    def play(
        self, prompts: Sequence[str], options: Sequence[dict[str, Any]], vocals: Sequence[Signal] | None = None
    ) -> list[Take]:
        """A take of each clip (or of other vocals), in batches; options beyond what is known are equal for all."""
        sung = [clip.vocal for clip in self.clips] if vocals is None else vocals
        settings = [
            self.band.settings(prompt, **{"seed": self.seed, **each})
            for prompt, each in zip(prompts, options, strict=True)
        ]
        rate, made = self.band.sample_rate, []
        for first in range(0, len(sung), _BATCH):
            part = slice(first, first + _BATCH)
            made += self.band.perform([(each, rate) for each in sung[part]], settings[part])
        return made

    def harmony(self, sound: Signal, clip: Clip) -> float:
        """Harmony of a sound against the clip's truth."""
        return metrics.harmony(sound, clip.truth, clip.sample_rate)

    def beat_f(self, sound: Signal, clip: Clip) -> float | None:
        """Beat F of a sound against the clip's grid; None where that is not known."""
        return metrics.beat_f(self.beats(sound), np.array(clip.beats_s)) if clip.beats_s else None


def chosen(rows: Mapping[str, T], only: Sequence[str]) -> dict[str, T]:
    """The rows called so, all of them without names. InputError for a name that is none."""
    for name in only:
        if name not in rows:
            raise InputError(f"This study has no row '{name}'; there are: {', '.join(rows)}.")
    return {name: row for name, row in rows.items() if not only or name in only}


def mono(take: Take) -> Signal:
    """A take [T]."""
    return np.asarray(take.samples.mean(0), np.float32)
