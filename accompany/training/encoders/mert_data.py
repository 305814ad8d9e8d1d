"""Inputs and teacher targets of the small MERT, cached song by song."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accompany.audio import frame_count
from accompany.common.folders import save_array
from accompany.encoders import targets
from accompany.training.encoders.audio_dataset import read_mono

log = logging.getLogger(__name__)

SOURCES = ("accompaniment", "mix", "vocals")
LEVEL = 0.1
"""Root mean square to which a song is brought before its targets are taken: they must not depend on loudness."""

N_MELS = 64
CQT_BINS = 96
FLUX_STEPS = 2
SMOOTH_S = 0.6
SIZES = {"cqt": CQT_BINS, "chroma": 12, "harmony": 12, "bass": 12, "flux": 5 * FLUX_STEPS}
"""Width of each musical target; `harmony` is the chroma averaged over `SMOOTH_S`."""

N_TARGETS = sum(SIZES.values())

AcousticTeacher = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Samples [T] int16 of a song and its log-mel [F, N_MELS] to codes [K, F] int16."""


def musical_targets(audio: Tensor, sample_rate: int, frame_rate: float) -> Tensor:
    """[F, N_TARGETS + N_MELS]: the musical targets in the order of `SIZES`, then the log-mel spectrum.

    Args:
        audio: [T] of one song at any level.
        frame_rate: of the result; pitch, which moves slowly, is taken at half of it.
    """
    audio = (audio * (LEVEL / audio.square().mean().sqrt().clamp_min(1e-4)))[None]
    n_frames = frame_count(audio.shape[-1], sample_rate, frame_rate)
    chroma = targets.chroma(audio, sample_rate, frame_rate / 2)
    slow = [
        targets.cqt(audio, sample_rate, frame_rate / 2, n_octaves=CQT_BINS // 12),
        chroma,
        smooth(chroma, round(SMOOTH_S * frame_rate / 2)),
        targets.bass_chroma(audio, sample_rate, frame_rate / 2),
    ]
    fast = [
        targets.onset_flux(audio, sample_rate, frame_rate, n_frames, steps=FLUX_STEPS).clamp_min(0).sqrt(),
        targets.log_mel(audio, sample_rate, frame_rate, n_frames, n_mels=N_MELS),
    ]
    pitch = torch.cat(slow, dim=-1).repeat_interleave(2, dim=1)[:, :n_frames]
    return torch.cat([pitch, *fast], dim=-1)[0]


def smooth(features: Tensor, n_frames: int) -> Tensor:
    """Mean of [B, F, D] over `n_frames` frames around each (an odd number; shorter at the ends)."""
    return torch.nn.functional.avg_pool1d(
        features.transpose(1, 2), n_frames | 1, stride=1, padding=(n_frames | 1) // 2, count_include_pad=False
    ).transpose(1, 2)


@dataclass(frozen=True)
class SongCache:
    """One song: samples [T] int16 and targets [F, N_TARGETS + N_MELS] float16 of each source, on disk."""

    samples: dict[str, np.ndarray]
    features: dict[str, np.ndarray]

    @classmethod
    def open(cls, song: Path, sources: Sequence[str], cache: Path, sample_rate: int, frame_rate: float) -> SongCache:
        """Map the cached song into memory, computing it first if it is not there yet."""
        samples, features = {}, {}
        for source in sources:
            name = f"{song.parent.name}_{song.name}_{source}"
            wave, said = cache / f"{name}.wave.npy", cache / f"{name}.npy"
            if not said.is_file():
                mono = torch.from_numpy(read_mono(song / f"{source}.flac", sample_rate))
                save_array(wave, (mono * 32767).clamp(-32767, 32767).round().short().numpy())
                save_array(said, musical_targets(mono, sample_rate, frame_rate).half().numpy())
            samples[source] = np.load(wave, mmap_mode="r")
            features[source] = np.load(said, mmap_mode="r")
        return cls(samples, features)


@dataclass(frozen=True)
class MertBatch:
    """`audio` [B, T]; `targets` [B, A, N_TARGETS]; `codes` [B, K, A] of the acoustic teacher."""

    audio: Tensor
    targets: Tensor
    codes: Tensor


class MertSongs:
    """Random crops of songs with what the teachers say about them.

    Args:
        songs: song folders.
        cache: folder for samples and targets.
        hop: samples between two frames of the model.
        weights: chance of each of `SOURCES`; those of weight 0 are not read.
    """

    def __init__(
        self, songs: Sequence[Path], cache: Path, sample_rate: int, hop: int, weights: tuple[float, float, float]
    ) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self.sample_rate, self.hop = sample_rate, hop
        self.sources = [source for source, weight in zip(SOURCES, weights, strict=True) if weight > 0]
        self.shares = np.array([weight for weight in weights if weight > 0]) / sum(weights)
        self.songs = []
        for song in songs:
            self.songs.append(SongCache.open(song, self.sources, cache, sample_rate, sample_rate / hop))
            if len(self.songs) % 20 == 0:
                log.info("%d of %d songs are encoded", len(self.songs), len(songs))
        self.codes: list[dict[str, np.ndarray]] = []

    def teach(self, teacher: AcousticTeacher) -> None:
        """Set the codes of every song."""
        self.codes = [
            {source: teacher(song.samples[source], song.features[source][:, N_TARGETS:]) for source in self.sources}
            for song in self.songs
        ]

    def sample_frames(self, n_frames: int, seed: int) -> np.ndarray:
        """[N, N_TARGETS + N_MELS] random frames of all sources, to standardise by and to cluster."""
        rng = np.random.default_rng(seed)
        each = max(1, n_frames // (len(self.songs) * len(self.sources)))
        rows = []
        for song in self.songs:
            for features in song.features.values():
                rows.append(features[np.sort(rng.integers(len(features), size=each))])
        return np.concatenate(rows).astype(np.float32)

    def batch(self, rng: np.random.Generator, size: int, crop_frames: int) -> MertBatch:
        """`size` crops of `crop_frames` frames each, with random tone and a little noise."""
        drawn = [self._crop(rng, crop_frames) for _ in range(size)]
        audio = np.stack([change_tone(samples, rng) for samples, _, _ in drawn])
        said = np.stack([features[:, :N_TARGETS] for _, features, _ in drawn]).astype(np.float32)
        codes = np.stack([codes for _, _, codes in drawn]).astype(np.int64)
        return MertBatch(torch.from_numpy(audio), torch.from_numpy(said), torch.from_numpy(codes))

    def _crop(self, rng: np.random.Generator, n_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        source = self.sources[rng.choice(len(self.sources), p=self.shares)]
        index = int(rng.integers(len(self.songs)))
        samples, features = self.songs[index].samples[source], self.songs[index].features[source]
        codes = self.codes[index][source]
        first = int(rng.integers(max(1, min(len(features), codes.shape[1]) - n_frames)))
        frames = slice(first, first + n_frames)
        piece = samples[first * self.hop : (first + n_frames) * self.hop].astype(np.float32) / 32767
        return _fit(piece, n_frames * self.hop), _fit(features[frames], n_frames), _fit(codes[:, frames].T, n_frames).T


def change_tone(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[T] float32 with a random tilt (+-3 dB an octave), two random broad bands (+-6 dB) and some noise."""
    spectrum = np.fft.rfft(samples)
    octave = np.log2(np.linspace(0, 1, len(spectrum)) + 0.002)
    gain_db = rng.uniform(-3, 3) * 0.5 * (octave + 4)
    for _ in range(2):
        gain_db = gain_db + rng.uniform(-6, 6) * np.exp(-0.5 * ((octave - rng.uniform(-8, 0)) / 0.7) ** 2)
    changed = np.fft.irfft(spectrum * 10 ** (gain_db / 20), n=len(samples))
    noise = 10 ** (rng.uniform(-70, -35) / 20) * (np.abs(changed).max() + 1e-4)
    return (changed + noise * rng.standard_normal(len(samples))).astype(np.float32)


def _fit(rows: np.ndarray, count: int) -> np.ndarray:
    missing = count - len(rows)
    return np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1)) if missing > 0 else rows
