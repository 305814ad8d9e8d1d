"""Does the band play the style that the prompt names? As the judge hears it, for every row and clip."""

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
    """The styles that a prompt names, as far as the judge knows them; none without a judge that hears styles."""
    return named_styles(prompt) & frozenset(judge.config.styles) if judge is not None else frozenset()


def hear_style(sound: Signal, sample_rate: int, judge: Judge) -> str:
    """The style of a mono sound `[T]`; empty in silence, which the judge's level-blind ear would fill."""
    if not sound.any():
        return ""
    at_rate = np.asarray(audio.resample(sound, sample_rate, SAMPLE_RATE), np.float32)
    return judge.heard_style(torch.from_numpy(at_rate)[None])[0]


def grants_style(asked: frozenset[str], heard: str) -> dict[str, float]:
    """`style`: 1.0 where the style heard is (one of) those asked for, else 0.0; empty where none was asked for."""
    return {"style": float(heard in asked)} if asked else {}


class StylesHeard:
    """Which style the judge hears in each row of each clip: all that the figure `style` is made of."""

    def __init__(self, judge: Judge | None) -> None:
        self._judge = judge if judge is not None and judge.config.styles else None
        self._asked: dict[str, frozenset[str]] = {}
        self._heard: dict[str, dict[str, str]] = defaultdict(dict)

    def add(self, row: str, clip: Clip, sound: Signal) -> dict[str, float]:
        """Hear what a row gives for a clip; returns its figure."""
        if self._judge is None:
            return {}
        self._asked[clip.name] = asked_styles(clip.prompt, self._judge)
        self._heard[row][clip.name] = hear_style(sound, clip.sample_rate, self._judge)
        return self.granted(row, clip, clip)

    def granted(self, row: str, clip: Clip, prompted: Clip) -> dict[str, float]:
        """The figure of what was heard in a row of `clip` by the prompt of the clip `prompted`."""
        if self._judge is None:
            return {}
        return grants_style(asked_styles(prompted.prompt, self._judge), self._heard[row][clip.name])

    def report(self) -> dict[str, Any]:
        """What was asked for by clip, and what was heard by row and clip; empty of a judge without styles."""
        if self._judge is None:
            return {}
        asked = {clip: sorted(styles) for clip, styles in self._asked.items()}
        return {"asked": asked, "heard": {row: dict(heard) for row, heard in self._heard.items()}}
