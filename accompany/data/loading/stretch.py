"""Time stretching in feature space: tempo augmentation with unchanged pitch."""

from __future__ import annotations

import numpy as np

from accompany.data.loading import targets
from accompany.encoders.melody import Melody

Item = dict[str, np.ndarray]


def stretched(item: Item, speed: float) -> Item:
    """A listener's crop sung `speed` times faster (above 1 it gets shorter, below 1 its end is cut).

    Frames are interpolated; onsets, which are finer than frames, on their own grid. Targets follow.
    """
    vocal = item["vocal"].astype(np.float32)
    n_frames = vocal.shape[0]
    n_out = min(int(n_frames / speed), n_frames)
    source = np.minimum((np.arange(n_out) + 0.5) * speed - 0.5, n_frames - 1)
    out = _interpolated(vocal, source)
    steps, bands = Melody.ONSET_STEPS, Melody.ONSET_BANDS
    onsets = vocal[:, Melody.ONSETS].reshape(n_frames, bands, steps).transpose(0, 2, 1).reshape(-1, bands)
    fine = np.clip((np.arange(n_out * steps) + 0.5) * speed - 0.5, 0, n_frames * steps - 1)
    stretched_onsets = _interpolated(onsets, fine).reshape(n_out, steps, bands).transpose(0, 2, 1)
    out[:, Melody.ONSETS] = stretched_onsets.reshape(n_out, bands * steps)
    nearest = np.clip(np.round(source).astype(np.int64), 0, n_frames - 1)
    changed = {"vocal": out.astype(np.float16), "vocal_mask": item["vocal_mask"][nearest]}
    changed["chord_target"] = item["chord_target"][nearest]
    for name in ("beat_target", "downbeat_target"):
        changed[name] = _stretched_pulses(item[name], speed, targets.BEAT_STEPS * n_out)
    return item | changed


def _interpolated(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    low = np.clip(np.floor(places).astype(np.int64), 0, len(values) - 1)
    high = np.minimum(low + 1, len(values) - 1)
    weight = np.clip(places - low, 0, 1)[:, None].astype(np.float32)
    mixed: np.ndarray = values[low] * (1 - weight) + values[high] * weight
    return mixed


def _stretched_pulses(track: np.ndarray, speed: float, n_steps: int) -> np.ndarray:
    if (track == targets.UNKNOWN).all():
        return track[:n_steps]
    out = np.zeros(n_steps, np.int64)
    places = ((np.flatnonzero(track == 1) + 0.5) / speed).astype(np.int64)
    out[places[places < n_steps]] = 1
    return out
