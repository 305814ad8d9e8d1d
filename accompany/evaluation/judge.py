"""The judge: a small classifier of instruments, beats and style.

It is trained on true renders alone and never on a model's output, and it is no part of any model that it
measures. Its own scores on true renders stand beside every metric that it gives.
"""

from __future__ import annotations

import re
import typing
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
        n_mels: bands of its log-mel input.
        width, depth: channels and number of its blocks.
        threshold: for each family, the probability from which on it counts as present; empty: 0.5 for all.
        styles: classes of its style classifier, in order; empty: it has none.
    """

    families: tuple[str, ...] = ()
    n_mels: int = 64
    width: int = 96
    depth: int = 6
    threshold: tuple[float, ...] = ()
    styles: tuple[str, ...] = ()


class Judge(nn.Module):
    """Dilated residual convolutions over a log-mel at 50 Hz; tags and styles pooled over the clip, beats by frame."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.inlet = nn.Conv1d(config.n_mels, width, 5, padding=2)
        self.blocks = nn.ModuleList(_DilatedBlock(width, 2 ** (i % 6)) for i in range(config.depth))
        self.tags = nn.Linear(2 * width, len(config.families))
        self.beats = nn.Conv1d(width, 1, 1)
        n_features = 3 * width + 2 * config.n_mels
        self.style = StyleHead(n_features, len(config.styles)) if config.styles else None

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel [B, frames, n_mels] to tag logits [B, families] and beat logits [B, frames]."""
        x = self._states(mel)
        pooled = torch.cat([x.mean(-1), x.amax(-1)], dim=-1)
        return self.tags(pooled), self.beats(x).squeeze(1)

    def impression(self, mel: Tensor) -> Tensor:
        """Features of the style classifier, [B, 3 width + 2 n_mels], of a log-mel [B, frames, n_mels].

        Mean, maximum and deviation of the hidden states over time, mean and deviation of the log-mel itself.
        """
        x = self._states(mel)
        pooled = x.mean(-1), x.amax(-1), x.std(-1, correction=0), mel.mean(1), mel.std(1, correction=0)
        return torch.cat(pooled, dim=-1)

    def _states(self, mel: Tensor) -> Tensor:
        """Hidden states of each frame, [B, width, frames]."""
        x = self.inlet(mel.transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return typing.cast(Tensor, x)

    @torch.inference_mode()
    def tag(self, audio: Tensor) -> Tensor:
        """Probability [B, families] that each family sounds in audio [B, T] at 24 kHz."""
        return torch.sigmoid(self(judge_mel(audio, self.config.n_mels))[0])

    @torch.inference_mode()
    def beat_logits(self, audio: Tensor) -> Tensor:
        """Logits [B, frames] of a beat in each frame of 20 ms of audio [B, T] at 24 kHz."""
        logits: Tensor = self(judge_mel(audio, self.config.n_mels))[1]
        return logits

    def instruments(self, audio: Tensor) -> list[frozenset[str]]:
        """The families present in each item of audio [B, T] at 24 kHz, by each tag's own threshold."""
        thresholds = torch.tensor(self.config.threshold or (0.5,) * len(self.config.families))
        present = self.tag(audio) > thresholds
        return [frozenset(f for f, p in zip(self.config.families, row, strict=True) if p) for row in present.tolist()]

    @torch.inference_mode()
    def classify_styles(self, audio: Tensor) -> list[str]:
        """The likeliest style of each item of audio [B, T] at 24 kHz; the judge must have a style classifier."""
        assert self.style is not None, "this judge has no styles"
        logits = self.style(self.impression(judge_mel(audio, self.config.n_mels)))
        return [self.config.styles[index] for index in logits.argmax(-1).tolist()]


class StyleHead(nn.Module):
    """From an impression of a clip to its style: linear, on inputs that are brought to one scale."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_features: int, n_styles: int) -> None:
        super().__init__()
        self.forget = nn.Dropout(0.3)
        self.outlet = nn.Linear(n_features, n_styles)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("deviation", torch.ones(n_features))

    @torch.no_grad()
    def normalise(self, impressions: Tensor) -> None:
        """Take mean and deviation of the inputs from impressions [N, n_features]."""
        self.mean.copy_(impressions.mean(0))
        self.deviation.copy_(impressions.std(0) + 1e-3)

    def forward(self, impressions: Tensor) -> Tensor:
        """Impressions [B, n_features] to logits [B, n_styles]."""
        logits: Tensor = self.outlet(self.forget((impressions - self.mean) / self.deviation))
        return logits


class _DilatedBlock(nn.Module):
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
