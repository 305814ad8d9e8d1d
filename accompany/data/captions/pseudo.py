"""Zero-shot tags: the vocabulary terms that CLAP finds nearest to a sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from accompany import audio
from accompany.data.captions.wording import Facts
from accompany.data.captions.words import QUESTIONS, VOCABULARY
from accompany.sound.separation import Stopwatch

_MOST = {"genre": 1, "instruments": 3, "mood": 1, "era": 1, "production": 1}
_CLEAR = {"genre": 1.5, "instruments": 1.2, "mood": 1.5, "era": 1.8, "production": 1.5}
"""Standard deviations above its kind's mean that a word must stand out by to be said."""


class ClapTagger:
    """Tags genre, instruments, mood, era and production with a CLAP (Wu et al. 2023, arXiv 2211.06687)."""

    def __init__(self, clap: Any) -> None:
        self._clap = clap
        self.watch = Stopwatch()
        self._words = {kind: self._embed(kind, words) for kind, words in VOCABULARY.items()}

    def tag(self, band: np.ndarray, sample_rate: int) -> Facts:
        """Clear tags of a sound [C, T]; kinds without a clear one stay empty."""
        mono = audio.resample(audio.to_mono(band), sample_rate, self._clap.sample_rate)
        with self.watch:
            sound = self._clap.embed_audio(torch.from_numpy(np.ascontiguousarray(mono)))[0].cpu()
        tags = {kind: self._nearest(kind, sound) for kind in VOCABULARY}
        genre, mood, era, production = ("".join(tags[kind]) for kind in ("genre", "mood", "era", "production"))
        return Facts(genre, mood, era, production, tags["instruments"])

    def _embed(self, kind: str, words: tuple[str, ...]) -> torch.Tensor:
        """Unit vectors [words, D], each the mean over the questions."""
        asked = [self._clap.embed_text([question.format(word) for word in words]) for question in QUESTIONS[kind]]
        return functional.normalize(torch.stack(asked).mean(0), dim=-1).cpu()

    def _nearest(self, kind: str, sound: torch.Tensor) -> tuple[str, ...]:
        scores = self._words[kind] @ sound
        scores = (scores - scores.mean()) / scores.std().clamp_min(1e-6)
        best = scores.argsort(descending=True, stable=True)[: _MOST[kind]].tolist()
        return tuple(VOCABULARY[kind][i] for i in best if scores[i] >= _CLEAR[kind])
