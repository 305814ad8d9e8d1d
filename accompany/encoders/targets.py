"""Signal features of audio: teachers of the small encoders, training targets, and input of metrics.

All take audio [B, T] and a grid (`frame_rate`, frame i covering [i, i + 1) / frame_rate), work in chunks of
frames, and are differentiable. Levels are not normalised unless said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from accompany.audio import frame_count
from accompany.encoders.spectral import (
    bin_frequencies,
    harmonic_bank,
    map_spectra,
    mel_bank,
    usable_in_training,
)

ONSET_EDGES_HZ = (30.0, 120.0, 400.0, 1600.0, 5000.0, 11_000.0)
"""Edges of the onset bands: kick, low, voice, snare, hats."""

_CHROMA_LOWEST_HZ = 440.0 * 2 ** ((40 - 1 / 3 - 69) / 12)
_BASS_LOWEST_HZ = 440.0 * 2 ** ((24 - 1 / 3 - 69) / 12)


def chroma(audio: Tensor, sample_rate: int, frame_rate: float, n_frames: int | None = None) -> Tensor:
    """Energy of the twelve pitch classes from E2 (82 Hz) to E7.

    Returns:
        [B, F, 12], C first; square root of magnitude, summed over octaves, Euclidean norm 1 (0 in silence).
    """
    window = _window(sample_rate, 0.3)
    bank = log_frequency_bank(sample_rate, window, window, _CHROMA_LOWEST_HZ, 180, 36).to(audio)

    def fold(magnitudes: Tensor) -> Tensor:
        third_tones = _soft_sqrt(magnitudes @ bank).roll(12, dims=-1)
        return _unit(third_tones.unflatten(-1, (-1, 12, 3)).sum((-3, -1)))

    return _map(audio, fold, sample_rate, frame_rate, n_frames, window)


def bass_chroma(audio: Tensor, sample_rate: int, frame_rate: float, n_frames: int | None = None) -> Tensor:
    """Pitch class of the lowest voice: fundamentals from C1 (33 Hz) to B3, found by their first harmonics.

    Returns:
        [B, F, 12], C first, Euclidean norm 1 (0 in silence).
    """
    window = _window(sample_rate, 0.5)
    comb = harmonic_bank(
        sample_rate, window, window, _BASS_LOWEST_HZ, 108, 36, n_harmonics=4, decay=0.7, rejection=0.5
    ).to(audio)
    n_bins = int(800 * window / sample_rate) + 1
    lower_is_bass = torch.linspace(1.0, 0.3, 108, device=audio.device, dtype=audio.dtype)

    def fold(magnitudes: Tensor) -> Tensor:
        strength = functional.relu(_soft_sqrt(magnitudes) @ comb[:n_bins]) * lower_is_bass
        peak = strength.amax(-1, keepdim=True).clamp_min(1e-9)
        sharp = strength * (strength / peak) ** 3
        return _unit(sharp.unflatten(-1, (-1, 12, 3)).sum((-3, -1)))

    return _map(audio, fold, sample_rate, frame_rate, n_frames, window, n_bins)


def cqt(
    audio: Tensor,
    sample_rate: int,
    frame_rate: float,
    n_frames: int | None = None,
    *,
    bins_per_octave: int = 12,
    n_octaves: int = 8,
    f_min: float = 32.703,
) -> Tensor:
    """Log magnitudes on a log-frequency axis: a constant-Q transform in three window lengths.

    0.34 s serve the lowest three octaves, 0.17 s the next two, 0.085 s the rest.

    Returns:
        [B, F, n_octaves * bins_per_octave], log1p(1000 * magnitude): 0 in silence, at most about 6.
    """
    parts, first = [], 0
    for window_s, octaves in ((0.34, 3), (0.17, 2), (0.085, n_octaves)):
        count = min(octaves, n_octaves - first)
        if count <= 0:
            break
        window = _window(sample_rate, window_s)
        bank = log_frequency_bank(
            sample_rate, window, window, f_min * 2**first, count * bins_per_octave, bins_per_octave
        ).to(audio)
        parts.append(_map(audio, _log_through(bank), sample_rate, frame_rate, n_frames, window))
        first += count
    return torch.cat(parts, dim=-1)


def log_mel(
    audio: Tensor,
    sample_rate: int,
    frame_rate: float,
    n_frames: int | None = None,
    *,
    n_mels: int = 64,
    window_s: float = 0.06,
    f_max: float = 11_000.0,
) -> Tensor:
    """Log mel spectrum [B, F, n_mels] from 30 Hz to `f_max`: log1p(1000 * magnitude)."""
    window = _window(sample_rate, window_s)
    bank = mel_bank(sample_rate, window, n_mels, 30.0, min(f_max, sample_rate / 2)).to(audio)
    return _map(audio, _log_through(bank), sample_rate, frame_rate, n_frames, window)


def onset_flux(
    audio: Tensor, sample_rate: int, frame_rate: float, n_frames: int | None = None, *, steps: int = 4
) -> Tensor:
    """Rise of the log spectrum in five bands (`ONSET_EDGES_HZ`), in `steps` steps a frame.

    Returns:
        [B, F, 5 * steps], band by band, time inside a band; 0 where nothing starts.
    """
    frames = frame_count(audio.shape[-1], sample_rate, frame_rate) if n_frames is None else n_frames
    window = _window(sample_rate, 0.04)
    bank = mel_bank(sample_rate, window, 40, 30.0, min(11_000.0, sample_rate / 2)).to(audio)
    groups = _mel_groups(bank, sample_rate, window)
    levels = _map(audio, _log_through(bank), sample_rate, steps * frame_rate, steps * frames, window)
    lag = max(1, round(0.02 * steps * frame_rate))
    rise = functional.relu(levels - functional.pad(levels, (0, 0, lag, 0))[:, : levels.shape[1]])
    return (rise @ groups).unflatten(1, (frames, steps)).transpose(2, 3).flatten(2)


def onset_envelope(audio: Tensor, sample_rate: int, rate: float = 100.0) -> Tensor:
    """One onset strength [B, N] at `rate` Hz: the mean of `onset_flux` over its bands."""
    return onset_flux(audio, sample_rate, rate, steps=1).mean(-1)


def _map(
    audio: Tensor,
    function: Callable[[Tensor], Tensor],
    sample_rate: int,
    frame_rate: float,
    n_frames: int | None,
    window: int,
    n_bins: int | None = None,
) -> Tensor:
    frames = frame_count(audio.shape[-1], sample_rate, frame_rate) if n_frames is None else n_frames
    return map_spectra(
        audio,
        function,
        sample_rate=sample_rate,
        frame_rate=frame_rate,
        n_frames=frames,
        window=window,
        n_bins=n_bins,
    )


def _window(sample_rate: int, seconds: float) -> int:
    """An even number of samples whose transform is fast (a multiple of 64)."""
    return max(64, round(seconds * sample_rate / 64) * 64)


def _log_through(bank: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda magnitudes: torch.log1p(1000 * (magnitudes @ bank))


def _soft_sqrt(values: Tensor) -> Tensor:
    """Square root with a finite slope at 0."""
    return values.clamp_min(1e-8).sqrt() - 1e-4


def _unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=-1, keepdim=True).clamp_min(1e-3)


def _mel_groups(bank: Tensor, sample_rate: int, window: int) -> Tensor:
    """[mels, 5]: averages the mel bands whose peaks fall between two of `ONSET_EDGES_HZ`."""
    peaks_hz = bank.argmax(0) * (sample_rate / window)
    edges = torch.tensor(ONSET_EDGES_HZ, device=bank.device)
    member = (peaks_hz[:, None] >= edges[:-1]) & (peaks_hz[:, None] < edges[1:])
    groups = member.to(bank.dtype)
    return groups / groups.sum(0).clamp_min(1.0)


@lru_cache(maxsize=32)
@usable_in_training
def log_frequency_bank(
    sample_rate: int, fft_size: int, window: int, f_min: float, n_bins: int, bins_per_octave: int
) -> Tensor:
    """Gaussian filters [bins, n_bins] at `f_min * 2 ** (k / bins_per_octave)`.

    Each is one bin wide, or as wide as the window resolves. Columns sum to 1, so that a filter reads the mean
    magnitude near its frequency.
    """
    frequencies = bin_frequencies(sample_rate, fft_size)[:, None]
    centres = f_min * 2 ** (torch.arange(n_bins, dtype=torch.float64) / bins_per_octave)
    widths = torch.clamp(centres * (2 ** (0.5 / bins_per_octave) - 1), min=0.5 * sample_rate / window)
    bank = torch.exp(-0.5 * ((frequencies - centres) / widths) ** 2)
    bank = bank * (centres < 0.5 * sample_rate)
    return (bank / bank.sum(0).clamp_min(1e-9)).float()
