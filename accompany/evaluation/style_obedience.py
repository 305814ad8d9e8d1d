"""Style obedience: the prompt's style against the judge's style classifier, by row and clip."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from accompany import audio
from accompany.evaluation.judge import SAMPLE_RATE, Judge
from accompany.evaluation.metrics import Signal
from accompany.evaluation.style_words import named_styles
from accompany.evaluation.testset import Clip


def asked_styles(prompt: str, judge: Judge | None) -> frozenset[str]:
    """The styles that a prompt names, as far as the judge knows them; none without a style classifier."""
    return named_styles(prompt) & frozenset(judge.config.styles) if judge is not None else frozenset()


def classify_style(sound: Signal, sample_rate: int, judge: Judge) -> str:
    """The style of a mono sound `[T]`; empty in silence, since the judge normalises the level."""
    if not sound.any():
        return ""
    at_rate = np.asarray(audio.resample(sound, sample_rate, SAMPLE_RATE), np.float32)
    return judge.classify_styles(torch.from_numpy(at_rate)[None])[0]


def grants_style(asked: frozenset[str], predicted: str) -> dict[str, float]:
    """`style`: 1.0 where the predicted style is (one of) those asked for, else 0.0; empty where none was asked for."""
    return {"style": float(predicted in asked)} if asked else {}


class PredictedStyles:
    """Predicted style of each row and clip, from which the metric `style` is computed."""

    def __init__(self, judge: Judge | None) -> None:
        self._judge = judge if judge is not None and judge.config.styles else None
        self._asked: dict[str, frozenset[str]] = {}
        self._predicted: dict[str, dict[str, str]] = defaultdict(dict)

    def add(self, row: str, clip: Clip, sound: Signal) -> dict[str, float]:
        """Classify a row's output for a clip; returns its metric."""
        if self._judge is None:
            return {}
        self._asked[clip.name] = asked_styles(clip.prompt, self._judge)
        self._predicted[row][clip.name] = classify_style(sound, clip.sample_rate, self._judge)
        return self.granted(row, clip, clip)

    def granted(self, row: str, clip: Clip, prompted: Clip) -> dict[str, float]:
        """The metric of a row's prediction for `clip` against the prompt of the clip `prompted`."""
        if self._judge is None:
            return {}
        return grants_style(asked_styles(prompted.prompt, self._judge), self._predicted[row][clip.name])

    def report(self) -> dict[str, Any]:
        """Requested styles by clip, and predicted ones by row and clip; empty without a style classifier."""
        if self._judge is None:
            return {}
        asked = {clip: sorted(styles) for clip, styles in self._asked.items()}
        return {"asked": asked, "heard": {row: dict(styles) for row, styles in self._predicted.items()}}
