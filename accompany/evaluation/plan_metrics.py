"""Metrics of plans against the annotations of a clip, and of the calibration of their confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from accompany import audio
from accompany.evaluation.beat_metrics import TEMPO_TOLERANCE
from accompany.evaluation.chord_metrics import compare_chords, compare_keys
from accompany.evaluation.metrics import beat_f
from accompany.evaluation.testset import Clip
from accompany.generation.pipeline import extract_features
from accompany.music.harmony import key_index
from accompany.music.plan import Plan

if TYPE_CHECKING:
    from accompany.models.pretrained import Bundle
    from accompany.stages.listener import ListenerOutput

_FEWEST_IN_BIN, _MOST_BINS = 12, 10


@torch.inference_mode()
def analysed(bundle: Bundle, clip: Clip) -> ListenerOutput:
    """What the listener of a model says of a clip's vocal, frame by frame."""
    if bundle.listener.config.mert_dim:
        return bundle.listener.analyze(extract_features(bundle, clip.vocal[None]))
    n_frames = audio.frame_count(len(clip.vocal), clip.sample_rate, bundle.melody.frame_rate)
    vocal = audio.resample(clip.vocal[None], clip.sample_rate, bundle.melody.sample_rate)
    return bundle.listener.analyze(bundle.melody.encode(torch.from_numpy(vocal).to(bundle.device), n_frames))


def readings_of(bundle: Bundle, output: ListenerOutput) -> list[Plan]:
    """The plans of all readings, the likeliest first."""
    first = bundle.listener.plan(output)
    return [first, *(bundle.listener.plan(output, reading=n) for n in range(2, len(first.readings) + 1))]


def plan_scores(plan: Plan, clip: Clip) -> dict[str, float | None]:
    """Scores of a plan; None where the clip does not say what is right.

    `beat_f`, `downbeat_f` (70 ms); `amlt`, mir_eval's continuity with half, double and off-beat tempo allowed;
    `phase`, agreement with the true grid less agreement with the grid half a beat off; `chord_majmin`; `key`.
    """
    import mir_eval

    beats, truth = np.array(plan.beats_s), np.array(clip.beats_s)
    scores: dict[str, float | None] = {name: None for name in SCORES}
    if len(truth) > 1:
        scores["beat_f"] = beat_f(beats, truth)
        scores["amlt"] = float(mir_eval.beat.continuity(truth, beats)[3]) if len(beats) > 1 else 0.0
        scores["phase"] = beat_f(beats, truth) - beat_f(beats, half_off(truth))
    if len(clip.downbeats_s) > 1:
        scores["downbeat_f"] = beat_f(np.array(plan.downbeats_s), np.array(clip.downbeats_s))
    scores["chord_majmin"] = compare_chords(plan.chords, clip.chords).get("chord_majmin")
    scores["key"] = compare_keys(plan.key, clip.key) if clip.key else None
    return scores


SCORES = ("beat_f", "amlt", "phase", "downbeat_f", "chord_majmin", "key")


def half_off(beats_s: np.ndarray) -> np.ndarray:
    """The grid half a beat later than one of at least two beats."""
    return np.asarray((beats_s[1:] + beats_s[:-1]) / 2)


def told_and_right(plan: Plan, clip: Clip) -> dict[str, tuple[float, float]]:
    """What a plan says of its confidence, and whether it is right (0 or 1, or the share that is), where it is known.

    `tempo`: within 4%; `phase`: nearer to the true beats than to those half a beat off, where the tempo is right;
    `key`: the same of 24; `chords`: `chord_majmin`.
    """
    found: dict[str, tuple[float, float]] = {}
    truth, beats = np.array(clip.beats_s), np.array(plan.beats_s)
    if min(len(truth), len(beats)) > 2 and plan.tempo_confidence is not None and plan.beat_confidence is not None:
        ratio = float(np.median(np.diff(truth)) / np.median(np.diff(beats)))
        right = abs(ratio - 1) <= TEMPO_TOLERANCE
        found["tempo"] = plan.tempo_confidence, float(right)
        if right:
            ahead = beat_f(beats, truth) > beat_f(beats, half_off(truth))
            found["phase"] = plan.beat_confidence / max(plan.tempo_confidence, 1e-9), float(ahead)
    if clip.key and plan.key and plan.key_confidence is not None:
        found["key"] = plan.key_confidence, float(key_index(plan.key) == key_index(clip.key))
    majmin = compare_chords(plan.chords, clip.chords).get("chord_majmin")
    if majmin is not None and plan.chord_confidence is not None:
        found["chords"] = plan.chord_confidence, majmin
    return found


def calibration_error(told: Sequence[float], right: Sequence[float]) -> float:
    """Expected calibration error: the mean distance of what is told from what is right, in bins of equally many.

    At most ten bins (Naeini et al., AAAI 2015, with bins as in Nguyen and O'Connor, EMNLP 2015), and at least a dozen
    items in each, since a bin of few is far from its mean by chance.
    """
    order = np.argsort(told, kind="stable")
    bins = np.array_split(order, int(np.clip(len(order) // _FEWEST_IN_BIN, 1, _MOST_BINS)))
    said, true = np.asarray(told, float), np.asarray(right, float)
    return float(sum(len(each) * abs(said[each].mean() - true[each].mean()) for each in bins if len(each)) / len(order))
