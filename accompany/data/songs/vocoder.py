"""Source-filter synthesis: pulses and noise shaped by a path through envelope frames.

Like WORLD's synthesis, but over fixed 10 ms frames, so that the whole song is three batches of FFTs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

HOP_S = 0.01
_TAPS = 16


@dataclass(frozen=True)
class FilterBank:
    """Frames that the path runs through.

    response: [frames, bins] complex64, minimum phase; noisiness: [frames, bins] float32 in 0..1;
    tilt: [bins] float32, the log amplitude that one unit of the path's effort adds to the tone (not to the noise).
    """

    response: np.ndarray
    noisiness: np.ndarray
    tilt: np.ndarray


@dataclass(frozen=True)
class FramePath:
    """Position in the filter bank every `HOP_S`: frame [hops] (fractions allowed), effort [hops]."""

    frame: np.ndarray
    effort: np.ndarray


@dataclass(frozen=True)
class Excitation:
    """Pulses and noise before the filter, at sample rate.

    f0_hz: [T]; gain: [T] amplitude, 0 where nothing sounds; pulse_shimmer: relative spread of pulse sizes;
    growl: 0..1, how much every second pulse is weaker.
    """

    f0_hz: np.ndarray
    gain: np.ndarray
    pulse_shimmer: float = 0.03
    growl: float = 0.0


def frame_sizes(sample_rate: int) -> tuple[int, int]:
    """(hop, FFT size) in samples: four hops an FFT, so bins are 25 Hz apart at every usual rate."""
    hop = round(sample_rate * HOP_S)
    return hop, 4 * hop


def minimum_phase(log_envelope: np.ndarray) -> np.ndarray:
    """Complex response with the given log amplitude, [frames, bins] to complex64 of the same shape."""
    n_fft = 2 * (log_envelope.shape[1] - 1)
    cepstrum = scipy.fft.irfft(log_envelope.astype(np.float32), n_fft, axis=1)
    cepstrum[:, 1 : n_fft // 2] *= 2.0
    cepstrum[:, n_fft // 2 + 1 :] = 0.0
    response: np.ndarray = np.exp(scipy.fft.rfft(cepstrum, axis=1))
    return response


def vocode(
    bank: FilterBank, path: FramePath, excitation: Excitation, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Sound of a path through the bank, [T] float32 of unit loudness where gain is one.

    Args:
        bank: its frames.
        path: through them, at least T / hop + 2 hops long.
        excitation: excitation; its length T is the output's.
        rng: for noise and shimmer.
    """
    hop, n_fft = frame_sizes(sample_rate)
    n_samples = len(excitation.gain)
    pulses = _windowed(pulse_train(excitation, sample_rate, rng) * excitation.gain, hop)
    noise = _windowed(rng.standard_normal(n_samples, dtype=np.float32) * excitation.gain, hop)
    active = np.flatnonzero(np.abs(noise).max(axis=1) > 0)
    output = np.zeros((len(noise) + 4, hop), np.float32)
    for block in np.array_split(active, max(1, len(active) // 256)):
        step = FramePath(path.frame[block], path.effort[block])
        frames = _filter(bank, step, pulses[block], noise[block], n_fft)
        quarters = frames.reshape(len(block), 4, hop)
        for quarter in range(4):
            output[block + quarter] += quarters[:, quarter]
    return output.reshape(-1)[hop : hop + n_samples]


def _windowed(signal: np.ndarray, hop: int) -> np.ndarray:
    """Frames of two hops under a Hann window, frame i centred on sample i * hop, [frames, 2 * hop]."""
    n_frames = -(-len(signal) // hop) + 1
    padded = np.zeros((n_frames + 1) * hop, np.float32)
    padded[hop : hop + len(signal)] = signal
    rows = padded.reshape(n_frames + 1, hop)
    window = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)).astype(np.float32)
    return np.concatenate([rows[:-1], rows[1:]], axis=1) * window


def _filter(bank: FilterBank, path: FramePath, pulses: np.ndarray, noise: np.ndarray, n_fft: int) -> np.ndarray:
    low = np.clip(path.frame.astype(int), 0, len(bank.response) - 2)
    share = np.clip(path.frame - low, 0.0, 1.0).astype(np.float32)[:, None]
    response = bank.response[low] * (1 - share) + bank.response[low + 1] * share
    noisy = bank.noisiness[low] * (1 - share) + bank.noisiness[low + 1] * share
    tone = np.sqrt(np.maximum(1.0 - noisy * noisy, 0.0))
    tone *= np.exp(path.effort.astype(np.float32)[:, None] * bank.tilt)
    spectrum = tone * scipy.fft.rfft(pulses, n_fft, axis=1)
    spectrum += noisy * scipy.fft.rfft(noise, n_fft, axis=1)
    spectrum *= response
    frames: np.ndarray = scipy.fft.irfft(spectrum, n_fft, axis=1, overwrite_x=True)
    return frames


def pulse_train(excitation: Excitation, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Band-limited pulses at every period of f0, of unit power, [T] float32."""
    phase = np.cumsum(excitation.f0_hz / sample_rate)
    turns = np.flatnonzero(np.diff(np.floor(phase))) + 1
    turns = turns[excitation.gain[turns] > 0]
    step = phase[turns] - phase[turns - 1]
    position = turns - (phase[turns] - np.floor(phase[turns])) / step
    size = np.sqrt(sample_rate / excitation.f0_hz[turns])
    size *= 1.0 + excitation.pulse_shimmer * rng.standard_normal(len(turns))
    size *= np.where(np.arange(len(turns)) % 2 == 0, 1.0 + excitation.growl, 1.0 - excitation.growl)
    first = np.floor(position).astype(int) - _TAPS // 2 + 1
    taps = first[:, None] + np.arange(_TAPS)
    distance = taps - position[:, None]
    kernel = np.sinc(distance) * (0.5 + 0.5 * np.cos(np.pi * distance / (_TAPS // 2)))
    weights = (kernel * size[:, None]).ravel()
    inside = np.clip(taps, 0, len(excitation.gain) - 1).ravel()
    return np.bincount(inside, weights, minlength=len(excitation.gain)).astype(np.float32)
