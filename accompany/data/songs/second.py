"""Backing singer: voice, pan and level of a song's harmony part beside the lead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accompany.data.songs.compose import VOICES
from accompany.data.songs.mix import loudness_db, pan_gains
from accompany.data.songs.score import Note, Score, VoiceSpec
from accompany.data.songs.voice import sing

_PEAK = 0.7
_LANE = 0x5EC0


@dataclass(frozen=True)
class SecondSinger:
    """The singer of `Score.backing`, with pan and level.

    Attributes:
        voice: the singer, somebody else than the lead.
        pan: -1 (left) to 1 (right).
        gain_db: loudness against the lead's.
    """

    voice: VoiceSpec
    pan: float
    gain_db: float


def second_singer(score: Score) -> SecondSinger | None:
    """The second singer of a song, from its seed alone; None where there is no second voice.

    As on records: 4 to 12 dB under the lead and off the middle, on the lead's tuning, with less vibrato and more
    breath, often of the lead's own kind, else of the kind whose range fits best.
    """
    if not score.backing:
        return None
    rng = np.random.default_rng([score.seed, _LANE])
    lead = score.voice
    kind = lead.kind if rng.random() < 0.5 else _fitting_kind(score.backing)
    voice = VoiceSpec(
        kind=kind,
        range=VOICES[kind][1:],
        vibrato_rate_hz=rng.uniform(4.5, 6.8),
        vibrato_depth_cents=lead.vibrato_depth_cents * rng.uniform(0.2, 0.8),
        breath=min(1.0, lead.breath + rng.uniform(0.0, 0.3)),
        detune_cents=rng.uniform(3, 18),
        pitch_offset_cents=lead.pitch_offset_cents + rng.uniform(-6, 6),
        timing_jitter_s=rng.uniform(0.006, 0.03),
        glide_s=rng.uniform(0.02, 0.12),
        brightness=lead.brightness * rng.uniform(0.4, 1.0),
        language=lead.language,
        seed=int(rng.integers(2**31)),
    )
    pan = rng.uniform(0.15, 0.7) * (1 if rng.random() < 0.5 else -1)
    return SecondSinger(voice, pan, gain_db=rng.uniform(-12, -4))


def sing_all(score: Score, sample_rate: int) -> np.ndarray:
    """The vocals of a song, dry, peak 0.7, float32: the lead alone [1, T], or the second voice beside it [2, T]."""
    lead = sing(score.melody, score.voice, score.duration_s, sample_rate)
    singer = second_singer(score)
    if singer is None:
        return lead[None]
    second = sing(score.backing, singer.voice, score.duration_s, sample_rate)
    level_db = loudness_db(lead, sample_rate) + singer.gain_db - loudness_db(second, sample_rate)
    vocals = lead + pan_gains(singer.pan) * second * np.float32(10 ** (level_db / 20))
    return vocals * np.float32(_PEAK / max(float(np.abs(vocals).max()), 1e-6))


def _fitting_kind(notes: tuple[Note, ...]) -> str:
    """The kind of voice with the fewest of these notes out of its range, and they nearest to its middle."""
    pitches = np.array([note.pitch for note in notes])

    def misfit(kind: str) -> tuple[int, float]:
        _, low, high = VOICES[kind]
        return int(((pitches < low) | (pitches > high)).sum()), abs(float(pitches.mean()) - (low + high) / 2)

    return min(VOICES, key=misfit)
