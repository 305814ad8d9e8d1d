"""Framed spectra on a fixed time grid, and the filter banks that turn them into features.

Frame `i` of a grid at `frame_rate` covers the time [i, i + 1) / frame_rate; every analysis window is centred
on the middle of its frame, so features of different window lengths and sample rates line up. Long audio goes
through in chunks of frames: the spectra of one chunk are all that is held in memory, and the result does not
depend on the chunk size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

CHUNK_FRAMES = 1024
_LOWEST_EXPONENT = -60.0

usable_in_training = torch.inference_mode(mode=False)
"""Filters are made once: those made while a model generates must serve a later training too."""


def map_spectra(
    audio: Tensor,
    function: Callable[[Tensor], Tensor],
    *,
    sample_rate: int,
    frame_rate: float,
    n_frames: int,
    window: int,
    fft_size: int | None = None,
    n_bins: int | None = None,
    chunk_frames: int = CHUNK_FRAMES,
) -> Tensor:
    """Apply `function` to the magnitude spectra of a grid, chunk by chunk, and join the results along time.

    Args:
        audio: [B, T], any level.
        function: magnitudes [B, f, bins] of a chunk to features [B, f, ...], or so many times fewer frames.
        n_frames: frames to compute; windows reach past either end into zeros.
        window: Hann window length in samples; a full-scale sine gives a magnitude of about 0.5.
        fft_size: transform length, at least `window` (default: `window`).
        n_bins: keep only the lowest bins.

    Returns:
        [B, n_frames, ...], or as many as the function leaves.
    """
    taper = torch.hann_window(window, periodic=False, device=audio.device, dtype=audio.dtype)
    taper = taper / taper.sum()
    joined: Tensor | None = None
    filled = 0
    for first in range(0, max(n_frames, 1), chunk_frames):
        count = min(chunk_frames, n_frames - first)
        frames = cut_frames(audio, sample_rate, frame_rate, first, count, window)
        spectra = torch.fft.rfft(frames * taper, n=fft_size or window)[..., :n_bins].abs()
        part = function(spectra)
        if joined is None:
            # One tensor from the start: many small ones would keep the allocator from reusing what a chunk frees.
            whole = part.shape[1] * n_frames // max(count, 1)
            joined = part.new_empty(part.shape[0], whole, *part.shape[2:])
        joined[:, filled : filled + part.shape[1]] = part
        filled += part.shape[1]
    assert joined is not None
    return joined


def cut_frames(audio: Tensor, sample_rate: int, frame_rate: float, first: int, count: int, window: int) -> Tensor:
    """Windows [B, count, window] centred on grid frames from `first` on, zeros outside the audio."""
    hop = sample_rate / frame_rate
    centres = torch.arange(first, first + count, dtype=torch.float64).add(0.5).mul(hop).round().long()
    starts = centres - window // 2
    begin, end = int(starts[0]), int(starts[-1]) + window if count else int(0.5 * hop) + window
    piece = padded_slice(audio, begin, end)
    if hop == int(hop):
        return piece.unfold(-1, window, int(hop))
    index = (starts - begin)[:, None] + torch.arange(window)
    return piece[:, index.to(audio.device)]


def padded_slice(audio: Tensor, begin: int, end: int) -> Tensor:
    """`audio[..., begin:end]` with zeros where the range leaves the audio; `begin` may be negative."""
    inside = audio[..., max(begin, 0) : max(end, 0)]
    left = min(max(-begin, 0), end - begin)
    return torch.nn.functional.pad(inside, (left, end - begin - left - inside.shape[-1]))


@lru_cache(maxsize=32)
@usable_in_training
def harmonic_bank(
    sample_rate: int,
    fft_size: int,
    window: int,
    f_min: float,
    n_candidates: int,
    bins_per_octave: int,
    n_harmonics: int,
    decay: float,
    rejection: float,
) -> Tensor:
    """Comb filters [bins, n_candidates], one for each pitch `f_min * 2 ** (k / bins_per_octave)`.

    A comb has teeth at the harmonics, falling by `decay` from one to the next, and negative teeth at halves
    and thirds between them, `rejection` as deep: a candidate an octave or a twelfth above the sung pitch
    finds energy there and is pushed down (after SWIPE, Camacho and Harris 2008). Positive teeth sum to 1.
    """
    frequencies = bin_frequencies(sample_rate, fft_size)[:, None]
    candidates = f_min * 2 ** (torch.arange(n_candidates, dtype=torch.float64) / bins_per_octave)
    comb = torch.zeros(len(frequencies), n_candidates, dtype=torch.float64)
    total = torch.zeros(n_candidates, dtype=torch.float64)
    for harmonic in range(1, n_harmonics + 1):
        weight = decay ** (harmonic - 1)
        comb.add_(_tooth(frequencies, candidates * harmonic, sample_rate, window, bins_per_octave), alpha=weight)
        total += weight * (candidates * harmonic < 0.5 * sample_rate)
        for part in (1 / 2, 1 / 3, 2 / 3):
            between = candidates * (harmonic - part)
            depth = weight * rejection * (1.0 if part == 1 / 2 else 0.5)
            comb.sub_(_tooth(frequencies, between, sample_rate, window, bins_per_octave), alpha=depth)
    return (comb / total).float()


def _tooth(frequencies: Tensor, centres: Tensor, sample_rate: int, window: int, bins_per_octave: int) -> Tensor:
    widths = torch.clamp(centres * (2 ** (0.5 / bins_per_octave) - 1), min=0.7 * sample_rate / window)
    # Forty of these are a noticeable part of a start: in place, and no exponents so low that exp falls out of range,
    # where it is seven times slower.
    tooth = (frequencies - centres).div_(widths).square_().mul_(-0.5).clamp_min_(_LOWEST_EXPONENT).exp_()
    return tooth.mul_((centres < 0.5 * sample_rate) / tooth.sum(0).clamp_min(1.0))


@lru_cache(maxsize=32)
@usable_in_training
def mel_bank(sample_rate: int, fft_size: int, n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Triangular HTK mel filters [bins, n_mels]; columns sum to 1."""

    def to_mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    mels = torch.linspace(to_mel(f_min), to_mel(f_max), n_mels + 2, dtype=torch.float64)
    points = 700 * (10 ** (mels / 2595) - 1)
    frequencies = bin_frequencies(sample_rate, fft_size)[:, None]
    resolution = sample_rate / fft_size
    rise = (frequencies - points[:-2]) / (points[1:-1] - points[:-2]).clamp_min(resolution)
    fall = (points[2:] - frequencies) / (points[2:] - points[1:-1]).clamp_min(resolution)
    bank = torch.minimum(rise, fall).clamp_min(0)
    return (bank / bank.sum(0).clamp_min(1e-9)).float()


def bin_frequencies(sample_rate: int, fft_size: int) -> Tensor:
    """Centres of the bins of a transform, in Hz."""
    return torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)
