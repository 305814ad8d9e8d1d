"""Windows of sound as CLAP's network takes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import ClapFeatureExtractor


def mel_windows(extractor: ClapFeatureExtractor, audio: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Mel spectra of the windows of audio [B, T], as the extractor makes them, and the samples of each window."""
    sample_rate = int(extractor.sampling_rate)
    for piece in _windows(audio, round(float(extractor.max_length_s) * sample_rate)):
        clips = [clip.cpu().numpy() for clip in piece]
        features = extractor(clips, sampling_rate=sample_rate, return_tensors="pt")
        yield torch.as_tensor(features["input_features"]).float(), piece.shape[-1]


def _windows(audio: Tensor, window: int) -> Iterator[Tensor]:
    """Pieces [B, t] of equal length, none longer than `window`; at least one sample."""
    if audio.shape[-1] == 0:
        audio = functional.pad(audio, (0, 1))
    count = math.ceil(audio.shape[-1] / window)
    yield from audio.split(math.ceil(audio.shape[-1] / count), dim=-1)
