"""Backing singer: voice, pan and level of a song's harmony part beside the lead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from accompany.data.songs.compose import VOICES
from accompany.data.songs.contours import rubato
from accompany.data.songs.mix import loudness_db, pan_gains
from accompany.data.songs.score import Note, Score, VoiceSpec
from accompany.data.songs.voice import sing

if TYPE_CHECKING:
    from accompany.data.speech.bank import Bank, Speaker

_PEAK = 0.7
_LANE = 0x5EC0
_CAST = 0xCA57
_DOUBLED = 0.15


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


@dataclass(frozen=True)
class Cast:
    """Recorded voices of a song, with the timing that comes with them.

    Attributes:
        lead: sings the melody; second: the backing, None without one.
        doubled_db: level of the lead's second recording of the same melody under the first; None for a single one.
        melody: with free timing; backing: likewise, by the same singer's feeling for time.
    """

    lead: Speaker
    second: Speaker | None
    doubled_db: float | None
    melody: tuple[Note, ...]
    backing: tuple[Note, ...]

    @property
    def facts(self) -> dict[str, object]:
        """Description for `song.json`."""
        second = None if self.second is None else self.second.name
        return {"lead": self.lead.name, "second": second, "doubled_db": self.doubled_db}


def cast(score: Score, bank: Bank) -> Cast:
    """Draw the voices of a song from a bank, by its seed."""
    rng = np.random.default_rng([score.seed, _CAST])
    doubled_db = round(rng.uniform(-12.0, -2.0), 2) if rng.random() < _DOUBLED else None
    singer = second_singer(score)
    second = None if singer is None else bank.speaker(singer.voice.kind, singer.voice.seed)
    # Both voices of a song wait for each other: one draw of timing, from the same state.
    melody, backing = (
        rubato(notes, np.random.default_rng([score.seed, _CAST, 1])) for notes in (score.melody, score.backing)
    )
    return Cast(bank.speaker(score.voice.kind, score.voice.seed), second, doubled_db, melody, backing)


def sing_all(score: Score, sample_rate: int, cast: Cast | None = None) -> np.ndarray:
    """The vocals of a song, dry, peak 0.7, float32: the lead alone [1, T], or the second voice beside it [2, T]."""
    lead = _lead(score, sample_rate, cast)
    singer = second_singer(score)
    if singer is None:
        return lead[None]
    notes, recorded = (score.backing, None) if cast is None else (cast.backing, cast.second)
    second = sing(notes, singer.voice, score.duration_s, sample_rate, recorded)
    level_db = loudness_db(lead, sample_rate) + singer.gain_db - loudness_db(second, sample_rate)
    return _to_peak(lead + pan_gains(singer.pan) * second * np.float32(10 ** (level_db / 20)))


def _lead(score: Score, sample_rate: int, cast: Cast | None) -> np.ndarray:
    if cast is None:
        return sing(score.melody, score.voice, score.duration_s, sample_rate)
    lead = sing(cast.melody, score.voice, score.duration_s, sample_rate, cast.lead)
    if cast.doubled_db is None:
        return lead
    again = sing(cast.melody, replace(score.voice, seed=score.voice.seed + 1), score.duration_s, sample_rate, cast.lead)
    return _to_peak(lead + np.float32(10 ** (cast.doubled_db / 20)) * again)


def _to_peak(vocals: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vocals * np.float32(_PEAK / max(float(np.abs(vocals).max()), 1e-6))
    return scaled


def _fitting_kind(notes: tuple[Note, ...]) -> str:
    """The kind of voice with the fewest of these notes out of its range, and they nearest to its middle."""
    pitches = np.array([note.pitch for note in notes])

    def misfit(kind: str) -> tuple[int, float]:
        _, low, high = VOICES[kind]
        return int(((pitches < low) | (pitches > high)).sum()), abs(float(pitches.mean()) - (low + high) / 2)

    return min(VOICES, key=misfit)
