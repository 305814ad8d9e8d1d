"""Sung notes of a voice: the pitch and the segmentation of SwiftF0 (the package swift_f0, MIT, its weights with it).

A note starts with its first voiced sound, where people who annotate singing mark it, or at its vowel, which singers put
on the beat: the steepest rise of the spectrum near that start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from accompany import audio
from accompany.encoders.spectral import map_spectra, mel_bank
from accompany.music.sung_notes import SungNote

if TYPE_CHECKING:
    from swift_f0 import PitchResult

Onsets = Literal["voice", "vowel"]

_RATE = 16_000
_SILENT_PEAK = 1e-4
_PEAK = 0.25
_HOLD_MS = 80.0
_SHORTEST_S = 0.06
"""What remains of a note before its vowel is shorter: the consonant that led to it."""

_FLUX_HZ, _FLUX_WINDOW, _FLUX_LAG = 100.0, 512, 4
_MELS, _FIRST_MEL = 40, 10
_BACK_S, _AHEAD_S = 0.06, 0.10
_USUAL_SHIFT_S = 0.02
_PENALTY_PER_S = 3.75
_LEAST_S, _LEAST_LEFT_S = 0.04, 0.03


@dataclass(frozen=True)
class PitchCurve:
    """The pitch of a voice, frame by frame.

    Attributes:
        times_s: [N] middles of the frames, 16 ms apart.
        f0_hz: [N] 47 to 2094, wherever a frame is voiced or not.
        voicing: [N] 0 to 1; voiced from 0.5 on.
    """

    times_s: np.ndarray
    f0_hz: np.ndarray
    voicing: np.ndarray


class NoteTranscriber:
    """Pitch and notes of a voice of any length, on the CPU."""

    def __init__(self, threads: int = 1) -> None:
        """Load the pitch tracker.

        Args:
            threads: that it may use.

        Raises:
            ModuleNotFoundError: the package swift_f0 is not installed.
        """
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports its use to its makers otherwise.
        import swift_f0

        self._segment = swift_f0.segment_notes
        self._detector = swift_f0.SwiftF0(threads=threads, spin=False)

    def pitch(self, samples: np.ndarray, sample_rate: int) -> PitchCurve:
        """The pitch curve of samples [T] or [C, T] at any rate; of silence it has no voiced frames."""
        found = self._detect(_prepared(samples, sample_rate))
        return PitchCurve(found.timestamps, found.pitch_hz, found.confidence)

    def notes(self, samples: np.ndarray, sample_rate: int, onsets: Onsets = "voice") -> tuple[SungNote, ...]:
        """The sung notes of samples [T] or [C, T]; see `transcribe`."""
        mono = _prepared(samples, sample_rate)
        if not mono.any():
            return ()
        found = self._detect(mono)
        segments = self._segment(found, pitch_hold_ms=_HOLD_MS)
        spans = np.array([(note.start, note.end) for note in segments]).reshape(-1, 2)
        shortest_s = 0.0
        if onsets == "vowel":
            spans, shortest_s = moved_onsets(spans, onset_strength(mono)), _SHORTEST_S
        spans = np.minimum(spans, samples.shape[-1] / sample_rate)
        return tuple(
            SungNote(start_s, end_s, _midi(segment.pitch_hz), _confidence(found, start_s, end_s))
            for (start_s, end_s), segment in zip(spans.tolist(), segments, strict=True)
            if end_s - start_s > shortest_s
        )

    def _detect(self, mono: np.ndarray) -> PitchResult:
        return self._detector.detect(mono, _RATE)


def transcribe(
    samples: np.ndarray, sample_rate: int, *, onsets: Onsets = "voice", threads: int = 1
) -> tuple[SungNote, ...]:
    """The sung notes of a voice.

    Args:
        samples: [T] or [C, T], of any level.
        sample_rate: Hz.
        onsets: "voice", where a note begins to sound, or "vowel", where its vowel does.
        threads: that may be used.

    Returns:
        Notes in order, one at a time; none for silence. Equal samples give equal notes.

    Raises:
        ModuleNotFoundError: the package swift_f0 is not installed.
    """
    return NoteTranscriber(threads).notes(samples, sample_rate, onsets)


def onset_strength(mono: np.ndarray) -> np.ndarray:
    """How steeply the upper spectrum rises, [N] at 100 Hz, of samples [T] at 16 kHz; its strong onsets are about 1."""
    bank = mel_bank(_RATE, _FLUX_WINDOW, _MELS, 80.0, 7600.0)[:, _FIRST_MEL:]
    with torch.no_grad():
        mels = map_spectra(
            torch.from_numpy(mono)[None],
            lambda magnitudes: magnitudes @ bank,
            sample_rate=_RATE,
            frame_rate=_FLUX_HZ,
            n_frames=audio.frame_count(len(mono), _RATE, _FLUX_HZ),
            window=_FLUX_WINDOW,
        )[0].numpy()
    loud = np.percentile(mels.max(axis=1, initial=0.0), 95) if len(mels) else 0.0
    levels = np.log1p(mels * (100 / max(float(loud), 1e-9)))
    strength = np.zeros(len(levels))
    rises = np.maximum(levels[_FLUX_LAG:] - levels[:-_FLUX_LAG], 0.0).mean(axis=1)
    strength[_FLUX_LAG // 2 : _FLUX_LAG // 2 + len(rises)] = rises
    return strength / max(float(np.percentile(strength, 99)) if len(strength) else 0.0, 1e-9)


def moved_onsets(spans: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Notes [N, 2] (start and end in s) that start where the spectrum rises most near their old starts.

    Args:
        spans: in order, one at a time.
        strength: of `onset_strength`; a place far from where vowels usually begin must be that much stronger.
    """
    spans = spans.copy()
    for index, (start_s, end_s) in enumerate(spans):
        least_s = max(start_s - _BACK_S, spans[index - 1, 0] + _LEAST_S if index else 0.0)
        first = int(np.ceil(least_s * _FLUX_HZ - 1e-6))
        last = int(min((start_s + _AHEAD_S) * _FLUX_HZ + 0.5, (end_s - _LEAST_LEFT_S) * _FLUX_HZ, len(strength)))
        if first >= last:
            continue
        times_s = (np.arange(first, last) + 0.5) / _FLUX_HZ
        away = np.abs(times_s - start_s - _USUAL_SHIFT_S)
        spans[index, 0] = times_s[(strength[first:last] - _PENALTY_PER_S * away).argmax()]
    spans[:-1, 1] = np.minimum(spans[:-1, 1], spans[1:, 0])
    return spans


def _prepared(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mono [T'] at the tracker's rate and a usual level, so that loudness changes nothing; zeros for silence."""
    mono = audio.to_mono(np.atleast_2d(samples))  # hour-long ones are not copied before they are smaller
    if not np.isfinite(mono.sum()):
        mono = np.nan_to_num(mono, posinf=0.0, neginf=0.0)
    mono = np.array(audio.resample(mono, sample_rate, _RATE)[0], np.float32)
    if len(mono) < _FLUX_WINDOW:
        mono = np.pad(mono, (0, _FLUX_WINDOW - len(mono)))
    peak = max(float(mono.max()), -float(mono.min()))
    mono *= np.float32(_PEAK / peak if peak > _SILENT_PEAK else 0.0)
    return mono


def _midi(hz: float) -> float:
    return 69 + 12 * float(np.log2(hz / 440))


def _confidence(found: Any, start_s: float, end_s: float) -> float:
    """Mean voicing within a note."""
    first, last = np.searchsorted(found.timestamps, (start_s, end_s))
    return float(np.clip(found.confidence[first : max(last, first + 1)].mean(), 0.0, 1.0))
