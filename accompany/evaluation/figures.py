"""The figures of one output against its clip, and their means with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from accompany import audio
from accompany.evaluation import metrics
from accompany.evaluation.judge import BEATS_FRAME_RATE, Judge, named_families
from accompany.evaluation.judge import SAMPLE_RATE as JUDGE_RATE
from accompany.evaluation.rows import Output
from accompany.evaluation.testset import Clip
from accompany.stages.tracking import track_beats

FIGURES = {
    "harmony": "Pearson r of the 12 mean-removed, 1 s smoothed chroma bins against the truth, mean over frames",
    "beat_f": "F-measure of beats (70 ms) found by librosa's tracker in the output, against the known grid",
    "judge_beat_f": "the same heard by the judge (its beat activation, tracked as the listener tracks)",
    "obedience": "share of the prompt's wishes (named instrument heard, forbidden one not heard) granted, by the judge",
    "named": "share of the named instruments that the judge hears",
    "forbidden": "share of the forbidden instruments that the judge does not hear",
    "consonance": "log2 of energy at the sung pitch class over the mean of the twelve (a vocal copy scores highest)",
    "voice_likeness": "largest normalised correlation with the vocal within 50 ms: 1 is a copy",
    "chroma_cosine": "mean cosine of unsmoothed chroma against the truth (a flat chroma scores about 0.8)",
    "onset_correlation": "Pearson r of the onset envelopes against the truth",
    "si_sdr_db": "scale-invariant signal-to-distortion ratio against the truth in dB (a codec figure)",
    "clipped_share": "share of samples at full scale",
    "silent_share": "share of 50 ms blocks below -60 dBFS",
    "rtf": "seconds of generation for a second of audio, loading excluded",
}


@dataclass(frozen=True)
class Heard:
    """What is computed once for a clip and used for every row."""

    pitch: metrics.Matrix
    voiced: np.ndarray
    truth_chroma: metrics.Matrix
    wanted: frozenset[str]
    forbidden: frozenset[str]


def hear(clip: Clip, judge: Judge | None) -> Heard:
    """Pitch of the vocal, chroma of the truth, and what the clip's prompt asks for."""
    pitch, voiced = metrics.sung_pitch(clip.vocal, clip.sample_rate)
    wanted, forbidden = wishes(clip, judge) if judge is not None else (frozenset(), frozenset())
    return Heard(pitch, voiced, metrics.chroma(clip.truth, clip.sample_rate), wanted, forbidden)


def wishes(clip: Clip, judge: Judge) -> tuple[frozenset[str], frozenset[str]]:
    """The families that the clip's prompt names and forbids, as far as the judge knows them."""
    wanted, forbidden = named_families(clip.prompt, clip.instruments, clip.absent)
    known = frozenset(judge.config.families)
    return wanted & known, forbidden & known


def obedience(
    sound: metrics.Signal, sample_rate: int, wanted: frozenset[str], forbidden: frozenset[str], judge: Judge
) -> dict[str, float]:
    """`named`, `forbidden` and `obedience` of one sound, as far as there are wishes."""
    families = judge.heard(_at_judge_rate(sound, sample_rate))[0]
    named = [family in families for family in sorted(wanted)]
    obeyed = [family not in families for family in sorted(forbidden)]
    parts = {"named": named, "forbidden": obeyed, "obedience": named + obeyed}
    return {name: float(np.mean(part)) for name, part in parts.items() if part}


def measure(output: Output, heard: Heard, judge: Judge | None) -> dict[str, float]:
    """Every figure that this output allows; figures whose truth is unknown are left out."""
    clip, sound, rate = output.clip, output.sound, output.clip.sample_rate
    level = metrics.levels(sound, rate)
    values = {
        "harmony": metrics.chroma_correlation(metrics.chroma(sound, rate), heard.truth_chroma),
        "consonance": metrics.consonance(sound, rate, heard.pitch, heard.voiced),
        "voice_likeness": metrics.voice_likeness(sound, clip.vocal, rate),
        "chroma_cosine": metrics.chroma_cosine(sound, clip.truth, rate),
        "onset_correlation": metrics.onset_correlation(sound, clip.truth, rate),
        "si_sdr_db": metrics.si_sdr(sound, clip.truth),
        "clipped_share": level.clipped_share,
        "silent_share": level.silent_share,
    }
    if clip.beats_s:
        values["beat_f"] = metrics.beat_f(metrics.track_beats(sound, rate), np.array(clip.beats_s))
    if output.take is not None and output.take.wall_s is not None:
        values["rtf"] = output.take.wall_s / clip.seconds
    if judge is not None:
        values |= obedience(sound, rate, heard.wanted, heard.forbidden, judge)
        if clip.beats_s:
            values["judge_beat_f"] = _judged_beats(sound, clip, judge)
    return values


def _judged_beats(sound: metrics.Signal, clip: Clip, judge: Judge) -> float:
    logits = judge.beat_logits(_at_judge_rate(sound, clip.sample_rate))[0].numpy()
    found = track_beats(logits, BEATS_FRAME_RATE).beats_s
    return metrics.beat_f(np.asarray(found, dtype=np.float64), np.array(clip.beats_s))


def _at_judge_rate(sound: metrics.Signal, sample_rate: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(audio.resample(sound, sample_rate, JUDGE_RATE), np.float32))[None]


def summarise(values: list[dict[str, float]], seed: int = 0) -> dict[str, dict[str, Any]]:
    """For every figure: mean over clips, 95% bootstrap interval (1,000 resamples of clips) and number of clips."""
    summary: dict[str, dict[str, Any]] = {}
    for name in FIGURES:
        column = np.array([v[name] for v in values if name in v])
        if len(column) == 0:
            continue
        resampled = np.random.default_rng(seed).choice(column, (1000, len(column))).mean(1)
        low, high = np.percentile(resampled, [2.5, 97.5])
        summary[name] = {
            "mean": float(column.mean()),
            "low": float(low),
            "high": float(high),
            "clips": len(column),
        }
    return summary
