"""Given notes and recordings that stand for a vocal, or for a style."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from accompany.encoders.tones import render_notes
from accompany.models.pretrained import Bundle
from accompany.music.sung_notes import read_notes
from accompany.stages.conditions import Conditions


def melody_features(bundle: Bundle, notes: Any, features: Tensor) -> Tensor:
    """Melody features [1, F, 54] of given notes, as many frames as the features [1, F, Dv] of their vocal have."""
    n_frames, rate = features.shape[1], bundle.melody.sample_rate
    n_samples = round(n_frames * rate / bundle.melody.frame_rate)
    tones = torch.from_numpy(render_notes(read_notes(notes), n_samples, rate))
    return bundle.melody.encode(tones.to(features.device), n_frames)


def blend_style(conditions: Conditions, like: Tensor, strength: float | None) -> Conditions:
    """Conditions whose text is blended with the CLAP embedding [Dt] of a recording, or is that where there is none."""
    share = 1.0 if strength is None else strength
    like = like.to(conditions.text)
    is_set = conditions.text_mask[..., None]
    blended = functional.normalize((1 - share) * conditions.text + share * like, dim=-1)
    text = torch.where(is_set, blended, like)
    return dataclasses.replace(conditions, text=text, text_mask=torch.ones_like(conditions.text_mask))
