"""Melody features of a voice: sung pitch classes, voicing, onsets and energy on the semantic grid.

No weights and no pitch tracker: a comb filter bank over short-time spectra (in the line of SWIPE, Camacho
and Harris 2008, and of the salience function of Salamon and Gomez 2012) says how strongly each pitch sounds,
folded to one octave. Such features survive the jump from synthetic to real voices.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.audio import frame_count
from accompany.encoders.spectral import harmonic_bank, map_spectra, mel_bank

SILENCE_RMS = 3e-5
"""Root mean square (about -90 dBFS) below which a clip counts as silent."""

_BINS_PER_OCTAVE = 36
_OCTAVES = 5
_LOWEST_HZ = 440.0 * 2 ** ((36 - 1 / 3 - 69) / 12)
_CANDIDATES = 4 * _BINS_PER_OCTAVE + 18
_SALIENCE_WINDOW, _SALIENCE_FFT, _SALIENCE_TOP_HZ = 3072, 4096, 5000
_ONSET_WINDOW, _ONSET_MELS, _ONSET_LAG = 1024, 24, 2
_VOICING_FLOOR, _VOICING_FULL = 1.2, 4.5
_RANGE_DB = 60.0


class Melody(nn.Module):
    """Features [B, F, 54] of a vocal at 25 Hz, independent of its recording level.

    | slice | width | content | range |
    |---|---|---|---|
    | `SALIENCE` | 36 | pitch classes from C, 3 bins each (33 cents flat, in tune, sharp) | 0 to 1 |
    | `VOICING` | 1 | how harmonic the frame is | 0 to 1 |
    | `ONSETS` | 16 | rise of the log spectrum, 4 bands (low first) x 4 steps of 10 ms | 0 to about 1 |
    | `ENERGY` | 1 | level: 1 at the clip's loud frames, 0 at 60 dB below | 0 to 1.5 |

    Pitches from 65 Hz (C2) to 1300 Hz (E6). A silent clip gives zeros; no input gives NaN.
    """

    SALIENCE: ClassVar[slice] = slice(0, 36)
    VOICING: ClassVar[slice] = slice(36, 37)
    ONSETS: ClassVar[slice] = slice(37, 53)
    ENERGY: ClassVar[slice] = slice(53, 54)
    ONSET_BANDS: ClassVar[int] = 4
    ONSET_STEPS: ClassVar[int] = 4

    sample_rate: ClassVar[int] = 24_000
    frame_rate: ClassVar[float] = 25.0
    dim: ClassVar[int] = 54

    comb: Tensor
    mels: Tensor

    def __init__(self) -> None:
        super().__init__()
        n_bins = _SALIENCE_TOP_HZ * _SALIENCE_FFT // self.sample_rate + 1
        comb = harmonic_bank(
            self.sample_rate,
            _SALIENCE_FFT,
            _SALIENCE_WINDOW,
            _LOWEST_HZ,
            _CANDIDATES,
            _BINS_PER_OCTAVE,
            n_harmonics=10,
            decay=0.84,
            rejection=0.5,
        )
        mels = mel_bank(self.sample_rate, _ONSET_WINDOW, _ONSET_MELS, 80.0, 11_500.0)
        self.register_buffer("comb", comb[:n_bins].contiguous(), persistent=False)
        self.register_buffer("mels", mels, persistent=False)

    @torch.no_grad()
    def encode(self, audio: Tensor, n_frames: int | None = None) -> Tensor:
        """Features of a vocal.

        Args:
            audio: [B, T] at `sample_rate`; values that are not finite count as zero.
            n_frames: frames wanted (default: all that the audio covers); more than that are silence.

        Returns:
            [B, F, 54] float32. Memory grows by about 30 MB an hour of audio beyond the result.
        """
        audio = audio.float()
        if not torch.isfinite(audio.sum()):
            audio = torch.nan_to_num(audio, posinf=0.0, neginf=0.0)
        frames = frame_count(audio.shape[-1], self.sample_rate, self.frame_rate) if n_frames is None else n_frames
        if frames == 0:
            return audio.new_zeros(audio.shape[0], 0, self.dim)
        rms = self._frame_rms(audio, frames)
        loud = _loud_rms(rms)
        scale = torch.where(loud > SILENCE_RMS, 1 / loud.clamp_min(SILENCE_RMS), 0.0)
        energy = 1 + 20 * torch.log10((rms * scale[:, None]).clamp_min(1e-9)) / _RANGE_DB
        energy = energy.clamp(0, 1.5)[..., None]
        salience, voicing = self._salience(audio, frames).split([36, 1], dim=-1)
        audible = (energy * 4).clamp(0, 1)
        onsets = self._onsets(audio, scale, frames)
        return torch.cat([salience * audible, voicing * audible, onsets, energy], dim=-1)

    def _frame_rms(self, audio: Tensor, n_frames: int) -> Tensor:
        hop = round(self.sample_rate / self.frame_rate)
        length = n_frames * hop
        fitted = functional.pad(audio[:, :length], (0, max(length - audio.shape[-1], 0)))
        return torch.linalg.vector_norm(fitted.view(-1, n_frames, hop), dim=-1) / hop**0.5

    def _salience(self, audio: Tensor, n_frames: int) -> Tensor:
        """[B, F, 37]: folded salience scaled by voicing, and voicing."""

        def features(magnitudes: Tensor) -> Tensor:
            compressed = magnitudes.sqrt()
            strength = functional.relu(compressed @ self.comb)
            return torch.cat([strength, compressed.mean(-1, keepdim=True)], dim=-1)

        def fold(magnitudes: Tensor) -> Tensor:
            """[B, 2 F, bins] of half frames to [B, F, 37]."""
            halves = features(magnitudes)
            strength, level = halves.unflatten(1, (-1, 2)).mean(2).split([_CANDIDATES, 1], dim=-1)
            peak = strength.amax(-1, keepdim=True)
            voicing = (peak / level.clamp_min(1e-9) - _VOICING_FLOOR) / (_VOICING_FULL - _VOICING_FLOOR)
            voicing = voicing.clamp(0, 1)
            sharp = (strength / peak.clamp_min(1e-9)) ** 4
            padded = functional.pad(sharp, (0, _OCTAVES * _BINS_PER_OCTAVE - _CANDIDATES))
            folded = padded.unflatten(-1, (_OCTAVES, _BINS_PER_OCTAVE)).sum(-2)
            folded = folded / folded.amax(-1, keepdim=True).clamp_min(1e-9)
            return torch.cat([folded * voicing, voicing], dim=-1)

        return map_spectra(
            audio,
            fold,
            sample_rate=self.sample_rate,
            frame_rate=2 * self.frame_rate,
            n_frames=2 * n_frames,
            window=_SALIENCE_WINDOW,
            fft_size=_SALIENCE_FFT,
            n_bins=self.comb.shape[0],
        )

    def _onsets(self, audio: Tensor, scale: Tensor, n_frames: int) -> Tensor:
        """[B, F, 16]: rise of each band over 20 ms, on a grid of 100 Hz."""
        loudness = map_spectra(
            audio,
            lambda magnitudes: torch.log1p(1000 * scale[:, None, None] * (magnitudes @ self.mels)),
            sample_rate=self.sample_rate,
            frame_rate=self.ONSET_STEPS * self.frame_rate,
            n_frames=self.ONSET_STEPS * n_frames,
            window=_ONSET_WINDOW,
        )
        rise = functional.relu(loudness - functional.pad(loudness, (0, 0, _ONSET_LAG, 0))[:, :-_ONSET_LAG])
        bands = rise.unflatten(-1, (self.ONSET_BANDS, -1)).mean(-1)
        steps = bands.unflatten(1, (n_frames, self.ONSET_STEPS)).transpose(2, 3)
        return steps.flatten(2) / 2


def _loud_rms(rms: Tensor) -> Tensor:
    """[B]: level of the loud frames of `rms` [B, F]: its mean weighted by energy; a click hardly changes it."""
    power = rms.square()
    return (power * rms).sum(-1) / power.sum(-1).clamp_min(1e-20)
