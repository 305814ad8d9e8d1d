"""The judge: a small network that hears which instruments play and where the beats are.

It is trained on true renders alone and never on a model's output, and it is no part of any model that it
measures. Its own scores on true renders stand beside every figure that it gives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.encoders.targets import log_mel

SAMPLE_RATE = 24000
BEATS_FRAME_RATE = 50.0


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes of the judge.

    Attributes:
        families: its tags, in order.
        n_mels: bands of the log-mel that it hears.
        width, depth: channels and number of its blocks.
        threshold: for each family, the probability from which on it counts as heard; empty: 0.5 for all.
    """

    families: tuple[str, ...] = ()
    n_mels: int = 64
    width: int = 96
    depth: int = 6
    threshold: tuple[float, ...] = ()


class Judge(nn.Module):
    """Dilated residual convolutions over a log-mel at 50 Hz; tags pooled over the clip, beats for each frame."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.inlet = nn.Conv1d(config.n_mels, width, 5, padding=2)
        self.blocks = nn.ModuleList(_Block(width, 2 ** (i % 6)) for i in range(config.depth))
        self.tags = nn.Linear(2 * width, len(config.families))
        self.beats = nn.Conv1d(width, 1, 1)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel [B, frames, n_mels] to tag logits [B, families] and beat logits [B, frames]."""
        x = self.inlet(mel.transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        pooled = torch.cat([x.mean(-1), x.amax(-1)], dim=-1)
        return self.tags(pooled), self.beats(x).squeeze(1)

    @torch.inference_mode()
    def tag(self, audio: Tensor) -> Tensor:
        """Probability [B, families] that each family sounds in audio [B, T] at 24 kHz."""
        return torch.sigmoid(self(judge_mel(audio, self.config.n_mels))[0])

    @torch.inference_mode()
    def beat_logits(self, audio: Tensor) -> Tensor:
        """Logits [B, frames] of a beat in each frame of 20 ms of audio [B, T] at 24 kHz."""
        logits: Tensor = self(judge_mel(audio, self.config.n_mels))[1]
        return logits

    def heard(self, audio: Tensor) -> list[frozenset[str]]:
        """The families heard in each item of audio [B, T] at 24 kHz, by each tag's own threshold."""
        thresholds = torch.tensor(self.config.threshold or (0.5,) * len(self.config.families))
        present = self.tag(audio) > thresholds
        return [frozenset(f for f, p in zip(self.config.families, row, strict=True) if p) for row in present.tolist()]


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.spread = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(functional.gelu(self.spread(self.norm(x))))
        return x + mixed


def judge_mel(audio: Tensor, n_mels: int) -> Tensor:
    """The judge's input: log-mel [B, frames, n_mels] at 50 Hz of audio [B, T], with its loudest level at 0."""
    mel = log_mel(audio, SAMPLE_RATE, BEATS_FRAME_RATE, n_mels=n_mels)
    return mel - mel.amax(dim=(1, 2), keepdim=True)


def best_thresholds(probabilities: Tensor, present: Tensor) -> tuple[float, ...]:
    """For each tag the threshold of the best balanced accuracy; probabilities and present are [N, families]."""
    grid = torch.linspace(0.05, 0.95, 19)
    best: list[float] = []
    for tag in range(probabilities.shape[1]):
        truth = present[:, tag].bool()
        if truth.all() or not truth.any():
            best.append(0.5)
            continue
        said = probabilities[:, tag, None] > grid
        score = said[truth].float().mean(0) + (~said[~truth]).float().mean(0)
        best.append(float(grid[int(score.argmax())]))
    return tuple(best)


def named_families(
    prompt: str, instruments: Sequence[str], absent: Sequence[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """The families that a prompt asks for and those that it forbids, as far as the song's own facts confirm them.

    Args:
        prompt: the caption.
        instruments: names of the instruments that really play (`song.json`).
        absent: families that the song says are missing.
    """
    from accompany.data.songs.instruments import INSTRUMENTS

    text = prompt.lower()
    asked = {
        INSTRUMENTS[name].family
        for name in instruments
        if any(word.lower() in text for word in (name, *INSTRUMENTS[name].words))
    }
    return frozenset(asked), frozenset(family for family in absent if _denies(text, family)) - asked


def _denies(text: str, family: str) -> bool:
    """Whether a caption in lower case says that a family is missing, in the words of the synthetic captions."""
    if family == "drums" and re.search(r"\b(drumless|unplugged)\b", text):
        return True
    return re.search(rf"\b(no|without|without any) {re.escape(family)}\b", text) is not None
