"""Dataset of mel spectrograms and captions of accompaniments, for training the small CLAP."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accompany import audio
from accompany.common.config import read_json
from accompany.common.folders import save_array
from accompany.errors import InputError

log = logging.getLogger(__name__)

WINDOW_S = 10
SILENCE_DB = -100.0
"""Padding value of the extractor for short clips."""


def mel_extractor(sample_rate: int, hop: int) -> Any:
    """The `ClapFeatureExtractor` of the small CLAP: 64 mel bands to just below Nyquist, 10 s windows."""
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=sample_rate,
        hop_length=hop,
        max_length_s=WINDOW_S,
        fft_window_size=1024,
        frequency_min=30,
        frequency_max=0.46 * sample_rate,
        truncation="rand_trunc",
        padding="repeatpad",
    )


def song_captions(folder: Path) -> list[list[str]]:
    """The captions of each song of a folder.

    Raises:
        InputError: no song in `folder`.
    """
    captions = [list(read_json(path)["captions"]) for path in _songs(folder)]
    if not captions:
        raise InputError(f"There is no song with captions in {folder}; run accompany synth first.")
    return captions


def _songs(folder: Path) -> list[Path]:
    # Folders with a leading dot are songs that `accompany synth` has not finished.
    return sorted(folder.glob("[!.]*/song.json"))


class CaptionedSongs:
    """Songs of a folder: a decibel mel spectrogram [frames, 64] and the captions of each.

    Args:
        folder: song folders with accompaniment.flac and song.json.
        sample_rate: Hz of the model's input.
        hop: samples between two mel frames.
        cache: folder that keeps the spectrograms between runs.

    Raises:
        InputError: no usable song in `folder`.
    """

    def __init__(self, folder: Path, sample_rate: int, hop: int, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        extractor = mel_extractor(sample_rate, hop)
        self.window = WINDOW_S * sample_rate // hop + 1
        self.mels: list[np.ndarray] = []
        self.captions: list[list[str]] = []
        for path in _songs(folder):
            mel = _cached_mel(path.parent, extractor, cache)
            if len(mel) >= self.window:
                self.mels.append(mel)
                self.captions.append(list(read_json(path)["captions"]))
        if not self.mels:
            raise InputError(f"There is no song of {WINDOW_S} s with captions in {folder}; run accompany synth first.")

    def __len__(self) -> int:
        """Number of songs."""
        return len(self.mels)

    def split(self, n_last: int) -> tuple[CaptionedSongs, CaptionedSongs]:
        """The songs but the last `n_last` (at most a fifth), and those."""
        cut = len(self) - min(n_last, max(1, len(self) // 5))
        return self._part(slice(None, cut)), self._part(slice(cut, None))

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, np.ndarray]:
        """Random windows [B, 1, frames, 64] of B different songs, and the songs' indices [B].

        Level and tilt are drawn at random, and some windows end early in the extractor's padding.
        """
        rows = rng.choice(len(self), size=min(size, len(self)), replace=False)
        windows = []
        for row in rows:
            start = rng.integers(len(self.mels[row]) - self.window + 1)
            window = self.mels[row][start : start + self.window].astype(np.float32) + _tone_change(rng)
            if rng.random() < 0.3:
                window[rng.integers(self.window // 3, self.window) :] = SILENCE_DB
            windows.append(window)
        return torch.from_numpy(np.stack(windows))[:, None], rows

    def windows(self, index: int) -> Tensor:
        """All whole windows of a song, [W, 1, frames, 64]."""
        mel = self.mels[index].astype(np.float32)
        starts = range(0, len(mel) - self.window + 1, self.window)
        return torch.from_numpy(np.stack([mel[start : start + self.window] for start in starts]))[:, None]

    def _part(self, rows: slice) -> CaptionedSongs:
        part = object.__new__(CaptionedSongs)
        part.window, part.mels, part.captions = self.window, self.mels[rows], self.captions[rows]
        return part


def _tone_change(rng: np.random.Generator) -> np.ndarray:
    tilt = rng.uniform(-6, 6) * np.linspace(-1, 1, 64)
    return (rng.uniform(-12, 6) + tilt).astype(np.float32)


def _cached_mel(song: Path, extractor: Any, cache: Path) -> np.ndarray:
    path = cache / f"{song.name}.npy"
    if path.is_file():
        kept: np.ndarray = np.load(path)
        return kept
    sound, _ = audio.read_mono(song / "accompaniment.flac", extractor.sampling_rate)
    mel = song_mel(sound.samples[0], extractor)
    save_array(path, mel)
    return mel


def song_mel(samples: np.ndarray, extractor: Any) -> np.ndarray:
    """[frames, 64] float16 decibel mel of a whole song [T], as the extractor makes for each window of it."""
    features = extractor(
        samples, sampling_rate=extractor.sampling_rate, max_length=len(samples), padding="pad", return_tensors="np"
    )
    mel: np.ndarray = features["input_features"][0][0]
    return mel.astype(np.float16)
