"""Gates of stems that are heard in some frames of a song only."""

from __future__ import annotations

import numpy as np

from accompany.models.pretrained import Bundle

_FADE_S = 0.02


def gated(sound: np.ndarray, heard: np.ndarray, bundle: Bundle, start_s: float = 0.0) -> np.ndarray:
    """A sound [C, T] that begins at `start_s`, with silence where it is not `heard` [F]; it fades inside of what is."""
    if heard.all():
        return sound
    rate, reach = bundle.codec.sample_rate, round(_FADE_S * bundle.codec.sample_rate)
    times_s = start_s + np.arange(-reach, sound.shape[-1] + reach) / rate
    frames = (times_s * bundle.melody.frame_rate).astype(int).clip(0, len(heard) - 1)
    count = np.cumsum(np.insert(heard[frames].astype(np.int64), 0, 0))
    share = (count[2 * reach + 1 :] - count[: -2 * reach - 1]) / (2 * reach + 1)
    return np.asarray(sound * np.clip(2 * share - 1, 0, 1).astype(np.float32))
