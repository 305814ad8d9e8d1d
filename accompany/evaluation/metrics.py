"""Metrics of harmony, rhythm and level between a vocal, its accompaniment and the truth.

Every function takes mono float arrays and a sample rate, and is written so that its degenerate scores are
known: `harmony` of a flat chroma is 0, of another song's accompaniment about 0; `consonance` is reached by
copying the voice, so it is never reported without `voice_likeness`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import correlate

from accompany.audio import resample

Signal = NDArray[np.float32]
Matrix = NDArray[np.float64]

CHROMA_RATE = 22050
CHROMA_HOP = 512
ONSET_HOP = 256
ONSET_RATE = CHROMA_RATE / ONSET_HOP
BEAT_TOLERANCE_S = 0.07
SILENCE_DBFS = -60.0
_TINY = 1e-10


def chroma(signal: Signal, sample_rate: int) -> Matrix:
    """Constant-Q chroma, `[12, frames]` at 22050/512 = 43 frames a second (librosa's `chroma_cqt`, A = 440 Hz)."""
    import librosa

    resampled = _resample(signal, sample_rate, CHROMA_RATE)
    return np.asarray(
        librosa.feature.chroma_cqt(y=resampled, sr=CHROMA_RATE, hop_length=CHROMA_HOP, tuning=0.0, norm=None),
        dtype=np.float64,
    )


def harmony(result: Signal, truth: Signal, sample_rate: int, smoothing_s: float = 1.0) -> float:
    """Mean over frames of Pearson's r between the twelve smoothed chroma bins of result and truth, in -1..1.

    Both chromas are averaged over `smoothing_s` seconds. Frames where either side is silent score 0, so silence
    and a flat chroma earn nothing. Shuffled pairs score about 0, true chords played again about 0.7.
    """
    return chroma_correlation(chroma(result, sample_rate), chroma(truth, sample_rate), smoothing_s)


def chroma_correlation(a: Matrix, b: Matrix, smoothing_s: float = 1.0) -> float:
    """`harmony` on chromas `[12, frames]` that are already computed."""
    n = min(a.shape[1], b.shape[1])
    a, b = _smooth(a[:, :n], smoothing_s), _smooth(b[:, :n], smoothing_s)
    a, b = a - a.mean(0), b - b.mean(0)
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    floor = 1e-4 * max(float(norms.max(initial=0.0)), _TINY)
    return float(np.mean(np.where(norms > floor, (a * b).sum(0) / np.maximum(norms, floor), 0.0)))


def chroma_cosine(result: Signal, truth: Signal, sample_rate: int) -> float:
    """Mean cosine of unsmoothed chromas: a codec metric (1 is perfect), never one of fit: a flat chroma scores 0.77."""
    return mean_cosine(chroma(result, sample_rate), chroma(truth, sample_rate))


def mean_cosine(a: Matrix, b: Matrix) -> float:
    """`chroma_cosine` of result and truth on chromas `[12, frames]` that are already computed."""
    n = min(a.shape[1], b.shape[1])
    a, b = a[:, :n], b[:, :n]
    loud = np.linalg.norm(b, axis=0) > 0.05 * max(float(np.linalg.norm(b, axis=0).max()), _TINY)
    cosine = (a * b).sum(0) / np.maximum(np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0), _TINY)
    return float(cosine[loud].mean()) if loud.any() else 0.0


def onset_envelope(signal: Signal, sample_rate: int) -> Matrix:
    """Spectral-flux onset strength, `[frames]` at 22050/256 = 86 frames a second (librosa's `onset_strength`)."""
    import librosa

    resampled = _resample(signal, sample_rate, CHROMA_RATE)
    return np.asarray(librosa.onset.onset_strength(y=resampled, sr=CHROMA_RATE, hop_length=ONSET_HOP), dtype=np.float64)


def onset_correlation(result: Signal, truth: Signal, sample_rate: int) -> float:
    """Pearson's r between the onset envelopes of result and truth, in -1..1."""
    a, b = onset_envelope(result, sample_rate), onset_envelope(truth, sample_rate)
    n = min(len(a), len(b))
    if np.std(a[:n]) < _TINY or np.std(b[:n]) < _TINY:
        return 0.0
    return float(np.corrcoef(a[:n], b[:n])[0, 1])


def track_beats(signal: Signal, sample_rate: int) -> NDArray[np.float64]:
    """Beat times in s, found by dynamic programming (Ellis 2007, librosa's `beat_track`) on the onset envelope."""
    import librosa

    envelope = onset_envelope(signal, sample_rate)
    if envelope.max(initial=0.0) < _TINY:
        return np.zeros(0)
    _, beats = librosa.beat.beat_track(
        onset_envelope=envelope, sr=CHROMA_RATE, hop_length=ONSET_HOP, units="time", trim=False
    )
    return np.asarray(beats, dtype=np.float64)


def beat_f(
    estimated_s: NDArray[np.float64], truth_s: NDArray[np.float64], tolerance_s: float = BEAT_TOLERANCE_S
) -> float:
    """F-measure of beat times, each true beat matched once within `tolerance_s` (mir_eval's `beat.f_measure`)."""
    import mir_eval

    if len(estimated_s) == 0 or len(truth_s) == 0:
        return 0.0
    return float(mir_eval.beat.f_measure(np.sort(truth_s), np.sort(estimated_s), f_measure_threshold=tolerance_s))


def consonance(energy: Matrix, pitch: Matrix, voiced: NDArray[np.bool_]) -> float:
    """log2 of the accompaniment's chroma energy at the sung pitch class over the mean of the twelve, over sung frames.

    0 when the band ignores the singer; a copy of the voice scores highest, so read it beside `voice_likeness`.

    Args:
        energy: chroma `[12, frames]` of the accompaniment.
        pitch, voiced: of the vocal, by `sung_pitch`.
    """
    n = min(energy.shape[1], len(pitch))
    energy, pitch, voiced = energy[:, :n], pitch[:n], voiced[:n]
    audible = voiced & (energy.sum(0) > 0.02 * max(float(energy.sum(0).max(initial=0.0)), _TINY))
    if not audible.any():
        return 0.0
    sung = energy[np.mod(np.round(pitch[audible]).astype(int), 12), np.flatnonzero(audible)]
    ratio = sung.mean() / max(float(energy[:, audible].mean()), _TINY)
    return float(np.log2(max(ratio, 2.0**-6)))


def sung_pitch(vocal: Signal, sample_rate: int) -> tuple[Matrix, NDArray[np.bool_]]:
    """Pitch of a voice as MIDI numbers `[frames]` (43 a second) and where it is voiced (pYIN, Mauch and Dixon 2014)."""
    import librosa

    resampled = _resample(vocal, sample_rate, CHROMA_RATE)
    f0, voiced, _ = librosa.pyin(
        resampled, fmin=65.0, fmax=1050.0, sr=CHROMA_RATE, hop_length=CHROMA_HOP, resolution=0.25
    )
    return librosa.hz_to_midi(np.where(np.isfinite(f0), f0, 440.0)), np.asarray(voiced, dtype=bool)


def voice_likeness(accompaniment: Signal, vocal: Signal, sample_rate: int) -> float:
    """Largest normalised cross-correlation with the vocal within 50 ms: 1 for a copy, near 0 without voice."""
    n = min(len(accompaniment), len(vocal))
    a, b = accompaniment[:n].astype(np.float64), vocal[:n].astype(np.float64)
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    if norm < _TINY:
        return 0.0
    reach = min(int(0.05 * sample_rate), n - 1)
    correlation = correlate(a, b, mode="full", method="fft")  # lag 0 at n - 1
    return float(np.abs(correlation[n - 1 - reach : n + reach]).max() / norm)


def si_sdr(result: Signal, truth: Signal) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019)."""
    n = min(len(result), len(truth))
    a, b = result[:n].astype(np.float64), truth[:n].astype(np.float64)
    target = b * ((a @ b) / max(float(b @ b), _TINY))
    return float(10 * np.log10(max(float(target @ target), _TINY) / max(float(((a - target) ** 2).sum()), _TINY)))


@dataclass(frozen=True)
class Levels:
    """Level readings: `peak` (linear), `rms_dbfs`, `clipped_share` and `silent_share` of the signal, in 0..1."""

    peak: float
    rms_dbfs: float
    clipped_share: float
    silent_share: float


def levels(signal: Signal, sample_rate: int) -> Levels:
    """Peak, level, share of clipped samples (at or above 0.999) and of silent 50 ms blocks (below -60 dBFS)."""
    block = max(1, int(0.05 * sample_rate))
    n = max(1, len(signal) // block)
    padded = np.resize(signal, n * block) if len(signal) < block else signal[: n * block]
    block_db = 10 * np.log10(np.mean(padded.reshape(n, block).astype(np.float64) ** 2, axis=1) + _TINY)
    return Levels(
        peak=float(np.abs(signal).max(initial=0.0)),
        rms_dbfs=float(10 * np.log10(np.mean(signal.astype(np.float64) ** 2) + _TINY)) if len(signal) else -100.0,
        clipped_share=float(np.mean(np.abs(signal) >= 0.999)) if len(signal) else 0.0,
        silent_share=float(np.mean(block_db < SILENCE_DBFS)),
    )


def _smooth(matrix: Matrix, seconds: float) -> Matrix:
    width = max(1, round(seconds * CHROMA_RATE / CHROMA_HOP))
    return np.asarray(uniform_filter1d(matrix, width, axis=1, mode="nearest"))


def _resample(signal: Signal, from_rate: int, to_rate: int) -> Signal:
    return signal if from_rate == to_rate else resample(signal, from_rate, to_rate).astype(np.float32)
