"""Metrics of one output against its clip, and their means with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accompany import audio
from accompany.evaluation import beat_metrics, chord_metrics, metrics
from accompany.evaluation.definitions import FROM_ALL_CLIPS, METRICS
from accompany.evaluation.judge import BEATS_FRAME_RATE, Judge, named_families
from accompany.evaluation.judge import SAMPLE_RATE as JUDGE_RATE
from accompany.evaluation.rows import RowOutput
from accompany.evaluation.seams import seams, window_borders
from accompany.evaluation.tempo_words import grants_tempo
from accompany.evaluation.testset import Clip
from accompany.music.single_grid import track_beats

if TYPE_CHECKING:
    from accompany.models.llambada import LlambadaBundle
    from accompany.models.pretrained import Bundle


@dataclass(frozen=True)
class ReferenceClip:
    """Features of a clip that all rows share: sung pitch, chroma of the truth, requested and forbidden families."""

    pitch: metrics.Matrix
    voiced: np.ndarray
    truth_chroma: metrics.Matrix
    requested: frozenset[str]
    forbidden: frozenset[str]


def prepare_reference(clip: Clip, judge: Judge | None) -> ReferenceClip:
    """Pitch of the vocal, chroma of the truth, and the instruments that the clip's prompt asks for."""
    pitch, voiced = metrics.sung_pitch(clip.vocal, clip.sample_rate)
    requested, forbidden = requested_instruments(clip, judge) if judge is not None else (frozenset(), frozenset())
    return ReferenceClip(pitch, voiced, metrics.chroma(clip.truth, clip.sample_rate), requested, forbidden)


def requested_instruments(clip: Clip, judge: Judge) -> tuple[frozenset[str], frozenset[str]]:
    """The families that the clip's prompt names and forbids, as far as the judge knows them."""
    requested, forbidden = named_families(clip.prompt, clip.instruments, clip.absent)
    known = frozenset(judge.config.families)
    return requested & known, forbidden & known


def obedience(
    sound: metrics.Signal, sample_rate: int, requested: frozenset[str], forbidden: frozenset[str], judge: Judge
) -> dict[str, float]:
    """`named`, `forbidden` and `obedience` of one sound, as far as the prompt makes requests."""
    families = _families(sound, sample_rate, judge)
    named = [family in families for family in sorted(requested)]
    obeyed = [family not in families for family in sorted(forbidden)]
    parts = {"named": named, "forbidden": obeyed, "obedience": named + obeyed}
    return {name: float(np.mean(part)) for name, part in parts.items() if part}


def granted_by_family(
    sound: metrics.Signal, sample_rate: int, reference: ReferenceClip, judge: Judge
) -> dict[tuple[str, str], bool]:
    """For each request, ("named" or "forbidden", family), whether the judge finds it met."""
    families = _families(sound, sample_rate, judge)
    return {("named", family): family in families for family in reference.requested} | {
        ("forbidden", family): family not in families for family in reference.forbidden
    }


def measure(output: RowOutput, reference: ReferenceClip, judge: Judge | None) -> dict[str, float]:
    """Every metric that this output allows by signal processing and the judge; those without truth are skipped."""
    clip, sound, rate = output.clip, output.sound, output.clip.sample_rate
    level = metrics.levels(sound, rate)
    chroma = metrics.chroma(sound, rate)
    values = {
        "harmony": metrics.chroma_correlation(chroma, reference.truth_chroma),
        **chord_metrics.chord_scores(chroma, clip.chords),
        "consonance": metrics.consonance(chroma, reference.pitch, reference.voiced),
        "voice_likeness": metrics.voice_likeness(sound, clip.vocal, rate),
        "chroma_cosine": metrics.mean_cosine(chroma, reference.truth_chroma),
        "onset_correlation": metrics.onset_correlation(sound, clip.truth, rate),
        "clipped_share": level.clipped_share,
        "silent_share": level.silent_share,
        **_rhythm(sound, chroma, clip, judge),
    }
    if level.peak > 0:  # of silence against anything there is no ratio
        values["si_sdr_db"] = metrics.si_sdr(sound, clip.truth)
    key = chord_metrics.key_score(chroma, clip.key) if clip.key else None
    if key is not None:
        values["key"] = key
    if output.take is not None and output.take.wall_s is not None:
        values["rtf"] = output.take.wall_s / clip.seconds
    if judge is not None:
        values |= obedience(sound, rate, reference.requested, reference.forbidden, judge)
    return values


def seam_metrics(sound: metrics.Signal, sample_rate: int, bundle: Bundle | LlambadaBundle) -> dict[str, float]:
    """`seam_flux` and `seam_level` at the borders of the stages' windows; empty of a sound that fits into one."""
    from accompany.models.pretrained import Bundle

    if not isinstance(bundle, Bundle):
        return {}
    borders = stage_borders(bundle, len(sound) / sample_rate)
    if not borders:
        return {}
    found = seams(sound[None], sample_rate, borders)
    return {"seam_flux": found.flux_ratio, "seam_level": found.level_ratio}


def stage_borders(bundle: Bundle, seconds: float) -> list[float]:
    """Borders between windows of either stage in a song, in seconds."""
    rate = bundle.semantic_codes.frame_rate
    n_frames = int(np.ceil(seconds * rate))
    borders: set[float] = set()
    for config in (bundle.semantic.config, bundle.acoustic.config):
        spans = config.window_frames, config.context_frames, config.lookahead_frames
        borders |= set(window_borders(n_frames, *spans, rate))
    return sorted(borders)


def _rhythm(sound: metrics.Signal, chroma: metrics.Matrix, clip: Clip, judge: Judge | None) -> dict[str, float]:
    """Beat metrics, by the judge where there is one, and by librosa's tracker."""
    found = metrics.track_beats(sound, clip.sample_rate)
    truth = np.array(clip.beats_s)
    values = {"beat_f": metrics.beat_f(found, truth)} if clip.beats_s else {}
    if judge is not None:
        found = judged_beats(sound, clip.sample_rate, judge)
        values |= {"judge_beat_f": metrics.beat_f(found, truth)} if clip.beats_s else {}
    granted = grants_tempo(clip.prompt, beat_metrics.tempo_bpm(found))
    if granted is not None:
        values["tempo_word"] = granted
    if not clip.beats_s:
        return values
    values |= beat_metrics.tempo_metrics(found, truth)
    drift = beat_metrics.drift_ms(found, truth, clip.seconds)
    if drift is not None:
        values["drift_ms"] = drift
    bar = beat_metrics.bar_length(clip.beats_s, clip.downbeats_s)
    if bar is not None:
        onsets = metrics.onset_envelope(sound, clip.sample_rate)
        downbeats = beat_metrics.estimate_downbeats(found, chroma, onsets, metrics.ONSET_RATE, bar)
        values["downbeat_f"] = metrics.beat_f(downbeats, np.array(clip.downbeats_s))
    return values


def judged_beats(sound: metrics.Signal, sample_rate: int, judge: Judge) -> np.ndarray:
    """Beat times in s detected by the judge, `[N]`; none in silence, since the judge normalises the level."""
    if not sound.any():
        return np.zeros(0)
    logits = judge.beat_logits(_at_judge_rate(sound, sample_rate))[0].numpy()
    return np.asarray(track_beats(logits, BEATS_FRAME_RATE).beats_s, dtype=np.float64)


def _families(sound: metrics.Signal, sample_rate: int, judge: Judge) -> frozenset[str]:
    """The families detected by the judge; none in silence."""
    return judge.instruments(_at_judge_rate(sound, sample_rate))[0] if sound.any() else frozenset()


def _at_judge_rate(sound: metrics.Signal, sample_rate: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(audio.resample(sound, sample_rate, JUDGE_RATE), np.float32))[None]


def summarise(values: list[dict[str, float]], seed: int = 0) -> dict[str, dict[str, Any]]:
    """For every metric: mean over songs, 95% bootstrap interval (1,000 resamples of songs) and number of songs."""
    summary: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        column = np.array([v[name] for v in values if name in v and name not in FROM_ALL_CLIPS])
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
