"""Quality measures of windows: levels, voicing and separation of both stems, and the reasons for dropping one.

Every drop has one named measure. Thresholds were set on true stems, on what separators make of synthetic songs, and on
failures made on purpose (a mix split in two halves, a band alone).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from accompany import audio
from accompany.data.prepare.windows import StemWindow
from accompany.encoders import targets
from accompany.encoders.melody import Melody
from accompany.sound.separation import Stopwatch

REASONS = {
    "short": "what is left at the end of the song is too short",
    "silence": "level_db: RMS of both stems together",
    "clipping": "clipped_share: samples of the source at full scale",
    "no accompaniment": "band_db: level of the accompaniment against both stems together",
    "no vocals": "vocals_db: level of the vocals, where they sound, against the accompaniment",
    "little singing": "voiced_share: frames in which the vocals sound, with a pitch",
    "failed separation": "likeness: correlation of the two stems' spectrograms over time",
    "near-duplicate": "bit error rate of acoustic fingerprints against a window that is kept",
}
"""Each reason, in the order of the checks, and the measure behind it."""

_FRAME_RATE, _LIKENESS_RATE = 25.0, 12.5
_AUDIBLE_DBFS = -55.0
_VOICING = 0.1
_TINY = 1e-10


@dataclass(frozen=True)
class PairLimits:
    """Limits below or above which windows are dropped; a measure on its limit is kept.

    Attributes:
        segment_s: length of a window in seconds, 2 to 120.
        min_s: a shorter rest of a song is left out, unless it is all of the song: then 1 s is enough, or less where
            this is less.
        min_level_db: dBFS.
        max_clipped_share: of the samples.
        min_band_db: accompaniment against the sum, dB.
        min_vocals_db: vocals against the accompaniment, where the vocals sound, dB.
        min_voiced_share: of the frames.
        max_likeness: 1 where both stems rise and fall together in every band, 0 where they do not.
    """

    segment_s: float = 30.0
    min_s: float = 5.0
    min_level_db: float = -50.0
    max_clipped_share: float = 0.005
    min_band_db: float = -14.0
    min_vocals_db: float = -18.0
    min_voiced_share: float = 0.15
    max_likeness: float = 0.9

    def __post_init__(self) -> None:
        """Refuse windows that are too short to learn from or too long to hold."""
        if not 2 <= self.segment_s <= 120:
            raise ValueError(f"segment_s {self.segment_s:g} must lie in 2..120")
        if not 0 <= self.min_voiced_share <= 1:
            raise ValueError(f"min_voiced_share {self.min_voiced_share:g} must lie in 0..1")


@dataclass(frozen=True)
class Measures:
    """Measures of a window; levels in dB, shares in 0..1."""

    level_db: float
    peak: float
    clipped_share: float
    band_db: float
    vocals_db: float
    voiced_share: float
    likeness: float


class Measurer:
    """Measures windows; holds the network-free vocal features."""

    def __init__(self) -> None:
        self._melody = Melody()
        self.watch = Stopwatch()

    def measure(self, window: StemWindow) -> Measures:
        """All measures of one window."""
        vocals, band = window.vocals[0], audio.to_mono(window.band)[0]
        energies = _energy(vocals), _energy(band), _energy(vocals + band)
        sung = self._sung(window, energies[1])
        frames = [_frame_energy(stem, window.sample_rate, len(sung)) for stem in (vocals, band)]
        sung_energies = [float(energy[sung].mean()) if sung.any() else 0.0 for energy in frames]
        return Measures(
            level_db=_db(energies[2]),
            peak=round(float(max(np.abs(window.vocals).max(initial=0), np.abs(window.band).max(initial=0))), 4),
            clipped_share=round(window.clipped_share, 6),
            band_db=_db(energies[1] / (energies[0] + energies[1] + _TINY)),
            vocals_db=_db(sung_energies[0] / (sung_energies[1] + _TINY)),
            voiced_share=round(float(sung.mean()), 4) if len(sung) else 0.0,
            likeness=round(likeness(vocals, band, window.sample_rate), 4),
        )

    def _sung(self, window: StemWindow, band_energy: float) -> np.ndarray:
        """Frames [F] in which the vocals have a pitch and are no whisper below the band."""
        at_rate = audio.resample(window.vocals, window.sample_rate, self._melody.sample_rate)
        with self.watch:
            features = self._melody.encode(torch.from_numpy(np.ascontiguousarray(at_rate)))[0]
        voicing = features[:, Melody.VOICING][:, 0].numpy()
        level = _frame_energy(window.vocals[0], window.sample_rate, len(voicing))
        floor = max(10 ** (_AUDIBLE_DBFS / 10), band_energy * 1e-2)
        sung: np.ndarray = (voicing >= _VOICING) & (level >= floor)
        return sung


def reason_to_drop(window: StemWindow, measures: Measures, limits: PairLimits) -> str | None:
    """The first of `REASONS` that holds for a window, or None when it is worth keeping."""
    shortest = min(limits.min_s, 1.0 if window.start == 0 else limits.segment_s)
    checks = (
        ("short", window.seconds < shortest),
        ("silence", measures.level_db < limits.min_level_db),
        ("clipping", measures.clipped_share > limits.max_clipped_share),
        ("no accompaniment", measures.band_db < limits.min_band_db),
        ("no vocals", measures.vocals_db < limits.min_vocals_db),
        ("little singing", measures.voiced_share < limits.min_voiced_share),
        ("failed separation", measures.likeness > limits.max_likeness),
    )
    return next((reason for reason, holds in checks if holds), None)


def likeness(vocals: np.ndarray, band: np.ndarray, sample_rate: int) -> float:
    """Correlation of the log-mel spectra of two stems [T] along time.

    A separator that gives up writes a copy of the mix, louder or softer, to both stems: 1 at any ratio. What two stems
    have in common at all times, such as their timbre, does not count.
    """
    both = np.stack([0.1 * stem / (_energy(stem) + _TINY) ** 0.5 for stem in (vocals, band)])
    spectra = targets.log_mel(torch.from_numpy(both.astype(np.float32)), sample_rate, _LIKENESS_RATE, n_mels=40).numpy()
    centred = spectra - spectra.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred.reshape(2, -1), axis=1)
    return float((centred[0] * centred[1]).sum() / max(float(norms.prod()), _TINY))


def _energy(samples: np.ndarray) -> float:
    flat = np.ascontiguousarray(samples).reshape(-1)
    return float(np.dot(flat, flat)) / flat.size if flat.size else 0.0


def _frame_energy(samples: np.ndarray, sample_rate: int, n_frames: int) -> np.ndarray:
    """Mean square [n_frames] of frames of 40 ms."""
    hop = round(sample_rate / _FRAME_RATE)
    fitted = audio.fit_length(samples, hop * n_frames).reshape(n_frames, hop)
    energy: np.ndarray = np.einsum("fn,fn->f", fitted, fitted) / hop
    return energy


def _db(ratio: float) -> float:
    return round(float(10 * np.log10(ratio + _TINY)), 2)
