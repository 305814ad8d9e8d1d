"""Musical metrics of a listener on clips whose beats, chords and key are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from accompany.music.harmony import key_index, majmin
from accompany.music.plan import Plan
from accompany.stages.batch import Batch
from accompany.stages.listener import BEATS_PER_FRAME, Listener


def score_analysis(listener: Listener, batch: Batch, max_items: int = 8) -> dict[str, float]:
    """Musical metrics on a validation batch: `beat_f` and `downbeat_f` (70 ms), `chord_accuracy`, `key_accuracy`.

    Beats are decoded for the first `max_items`; chord accuracy is of the decoded chords, over known frames.
    """
    batch = batch.float().select(slice(0, max_items))
    training = listener.training
    listener.eval()
    try:
        output = listener.analyze(batch.need("vocal"), batch.vocal_mask)
        # Parts of the listener decide on the plan too, so their dropout has to rest as well.
        plans = [listener.plan(output, item=item) for item in range(batch.size)]
    finally:
        listener.train(training)
    return _scores(plans, batch, listener.config.frame_rate)


def f_measure(found_s: np.ndarray, true_s: np.ndarray, tolerance_s: float = 0.07) -> float:
    """F of two rising lists of times in seconds, each matched at most once (greedy in time, as in mir_eval.beat)."""
    if not len(found_s) or not len(true_s):
        return float(not len(found_s) and not len(true_s))
    hits, i, j = 0, 0, 0
    while i < len(found_s) and j < len(true_s):
        gap = found_s[i] - true_s[j]
        if abs(gap) <= tolerance_s:
            hits, i, j = hits + 1, i + 1, j + 1
        elif gap < 0:
            i += 1
        else:
            j += 1
    return 2.0 * hits / (len(found_s) + len(true_s))


def true_beats_s(target: torch.Tensor, frame_rate: float) -> np.ndarray:
    """Seconds of the pulses of a target [n], rising; each stands in the middle of its frame."""
    return np.asarray((torch.nonzero(target > 0)[:, 0].cpu().numpy() + 0.5) / frame_rate)


def _scores(plans: Sequence[Plan], batch: Batch, frame_rate: float) -> dict[str, float]:
    metrics: dict[str, list[float]] = {}
    beat_rate = frame_rate * BEATS_PER_FRAME
    for item, plan in enumerate(plans):
        for name, times_s, target in (
            ("beat_f", plan.beats_s, batch.beat_target),
            ("downbeat_f", plan.downbeats_s, batch.downbeat_target),
        ):
            if target is not None and bool((target[item] > 0).any()):
                true_s = true_beats_s(target[item], beat_rate)
                metrics.setdefault(name, []).append(f_measure(np.array(times_s), true_s))
        if batch.chord_target is not None:
            target_chords = batch.chord_target[item].cpu().numpy()
            centres_s = (np.arange(len(target_chords)) + 0.5) / frame_rate
            ends_s = [end_s for _, end_s, _ in plan.chords]
            chords = np.array([majmin(label) for *_, label in plan.chords])
            found = chords[np.minimum(np.searchsorted(ends_s, centres_s), len(chords) - 1)]
            known = target_chords >= 0
            if known.any():
                metrics.setdefault("chord_accuracy", []).append(float((found == target_chords)[known].mean()))
        if batch.key_target is not None and int(batch.key_target[item]) >= 0 and plan.key is not None:
            metrics.setdefault("key_accuracy", []).append(float(key_index(plan.key) == int(batch.key_target[item])))
    return {name: float(np.mean(values)) for name, values in metrics.items()}
