"""Train the judge on true renders: `accompany train judge songs=DIR`.

Instruments are labelled by the stems (a family counts where its stem sounds), beats by the score. Most crops are mixed
anew from a part of a song's stems, so that an instrument is known by its sound and not by its usual company; and crops
are dulled, roughened and given a noise floor, so that a tag does not hang on what a codec or a loudspeaker loses.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from accompany import audio
from accompany.config import read_json, write_json
from accompany.encoders.targets import log_mel
from accompany.errors import InputError
from accompany.evaluation.judge import (
    BEATS_FRAME_RATE,
    SAMPLE_RATE,
    Judge,
    JudgeConfig,
    best_thresholds,
)
from accompany.weights import save_module

CLIP_FRAMES = 500
STEM_FLOOR_DB = -45.0
MIN_SOUNDING_S = 1.0


@dataclass(frozen=True)
class JudgeTrainingConfig:
    """How the judge is trained.

    Attributes:
        songs: folder that `accompany synth` wrote, with stems.
        out: folder for the judge's config.json and model.safetensors.
        steps: optimiser steps; batch_size: clips of 10 s in each.
        learning_rate: peak of the one-cycle schedule.
        validation_share: share of the songs held out to set thresholds and tell the judge's own accuracy.
        min_songs: a family with fewer training songs than this gets no tag.
        remix: share of crops mixed anew; worsen: share of crops in worse sound.
        seed: for the split, the crops and the weights.
    """

    songs: str = "songs"
    out: str = "runs/judge"
    steps: int = 1500
    batch_size: int = 16
    learning_rate: float = 2e-3
    validation_share: float = 0.15
    min_songs: int = 12
    remix: float = 0.7
    worsen: float = 0.6
    width: int = 96
    depth: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError("steps and batch_size must be at least 1")
        if not 0 < self.validation_share < 1:
            raise ValueError("validation_share must lie between 0 and 1")


@dataclass(frozen=True)
class _Song:
    mel: Tensor  # [frames, n_mels] float16, of the accompaniment
    stems: Tensor  # [stems, frames, n_mels] float16
    families: Tensor  # [stems], the family of each
    sounding: Tensor  # [stems, frames] bool
    beats: Tensor  # [frames] float, 1 at a beat, 0.5 beside it


def train_judge(config: JudgeTrainingConfig) -> Path:
    """Train and save a judge; returns its folder, which also holds `figures.json` with its held-out accuracy."""
    from accompany.data.songs.instruments import FAMILIES

    torch.manual_seed(config.seed)
    songs = _load_songs(Path(config.songs), FAMILIES, JudgeConfig().n_mels)
    n_held_out = max(1, round(config.validation_share * len(songs)))
    held_out, training = songs[:n_held_out], songs[n_held_out:]
    kept = [
        i
        for i in range(len(FAMILIES))
        if sum(bool(s.sounding[s.families == i].any()) for s in training) >= config.min_songs
    ]
    if not training or not kept:
        raise InputError(f"'{config.songs}' has too few songs to train a judge; make at least {4 * config.min_songs}.")
    families = tuple(FAMILIES[i] for i in kept)
    judge = Judge(JudgeConfig(families=families, width=config.width, depth=config.depth))
    _fit(judge, training, kept, config)
    probabilities, present = _held_out_tags(judge, held_out, kept)
    final = Judge(dataclasses.replace(judge.config, threshold=best_thresholds(probabilities, present)))
    final.load_state_dict(judge.state_dict())
    out = Path(config.out)
    save_module(final, final.config, out)
    write_json(out / "figures.json", _figures(final, probabilities, present))
    return out


def _load_songs(root: Path, families: tuple[str, ...], n_mels: int) -> list[_Song]:
    folders = sorted(p.parent for p in root.glob("*/song.json") if (p.parent / "stems").is_dir())
    if not folders:
        raise InputError(f"'{root}' holds no songs with stems; make some with `accompany synth {root} --songs 200`.")
    return [_load_song(folder, families, n_mels) for folder in tqdm(folders, desc="Reading songs", unit="song")]


def _load_song(folder: Path, families: tuple[str, ...], n_mels: int) -> _Song:
    from accompany.data.songs.instruments import INSTRUMENTS

    song = read_json(folder / "song.json")
    mel = _mel(_read(folder / "accompaniment.flac"), n_mels)
    stems, of_family, sounding = [], [], []
    for path in sorted((folder / "stems").glob("*.flac")):
        instrument = INSTRUMENTS.get(path.stem.split("_")[0].replace("-", " ")) or INSTRUMENTS.get(path.stem)
        if instrument is not None:
            stem = _read(path)
            stems.append(functional.pad(_mel(stem, n_mels), (0, 0, 0, len(mel)))[: len(mel)])
            of_family.append(families.index(instrument.family))
            sounding.append(_sounding(stem, len(mel)))
    beats = torch.zeros(len(mel))
    for time_s in song["beats"]:
        at = int(time_s * BEATS_FRAME_RATE)
        for frame, weight in ((at - 1, 0.5), (at + 1, 0.5), (at, 1.0)):
            if 0 <= frame < len(mel):
                beats[frame] = max(float(beats[frame]), weight)
    if not stems:
        raise InputError(f"'{folder}' has no stem of a known instrument; make the songs with `accompany synth`.")
    return _Song(mel, torch.stack(stems), torch.tensor(of_family), torch.stack(sounding), beats)


def _mel(sound: np.ndarray, n_mels: int) -> Tensor:
    """Log-mel [frames, n_mels] float16; levels are kept, unlike in `judge_mel`, so that stems can be summed."""
    return log_mel(torch.from_numpy(sound)[None], SAMPLE_RATE, BEATS_FRAME_RATE, n_mels=n_mels)[0].half()


def _read(path: Path) -> np.ndarray:
    """A file as mono float32 [T] at the judge's rate."""
    return audio.read_mono(path, SAMPLE_RATE)[0].samples[0]


def _sounding(stem: np.ndarray, n_frames: int) -> Tensor:
    """In which frames [n_frames] a stem [T] is above the floor."""
    hop = int(SAMPLE_RATE / BEATS_FRAME_RATE)
    padded = audio.fit_length(stem, n_frames * hop)
    level_db = 10 * np.log10(np.mean(padded.reshape(n_frames, hop) ** 2, axis=1) + 1e-12)
    return torch.from_numpy(level_db > STEM_FLOOR_DB)


def _tags(song: _Song, window: slice, stems: Tensor, kept: list[int]) -> Tensor:
    """Which of the `kept` families sound in a window, when only `stems` [n] play: [len(kept)] float."""
    sounds = song.sounding[stems, window].sum(1) >= MIN_SOUNDING_S * BEATS_FRAME_RATE
    there = set(song.families[stems][sounds].tolist())
    return torch.tensor([float(family in there) for family in kept])


def _crop(song: _Song, start: int, kept: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A crop as rendered: mel [frames, n_mels], tags, beats."""
    window = slice(start, start + CLIP_FRAMES)
    mel = song.mel[window].float()
    return mel - mel.amax(), _tags(song, window, torch.arange(len(song.stems)), kept), song.beats[window]


def _remixed(song: _Song, start: int, kept: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The same of some of its stems at other levels; powers add up, as those of unrelated sounds do."""
    window = slice(start, start + CLIP_FRAMES)
    plays = torch.rand(len(song.stems), generator=generator) < 0.75
    plays[int(torch.randint(len(plays), (1,), generator=generator))] = True
    stems = plays.nonzero()[:, 0]
    gains = 10 ** (torch.randn(len(stems), 1, 1, generator=generator) * 4.0 / 20)
    magnitudes = gains * torch.expm1(song.stems[stems, window].float())
    mel = torch.log1p(magnitudes.square().sum(0).sqrt())
    return mel - mel.amax(), _tags(song, window, stems, kept), song.beats[window]


def _worsened(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mels [B, frames, n_mels] with a dull top, a floor of noise and rough levels, each to a random degree."""
    n_bands, shape = mel.shape[2], (len(mel), 1, 1)
    cut = 0.4 + 0.6 * torch.rand(shape, generator=generator)
    slope = 12.0 * torch.rand(shape, generator=generator)
    dull = mel - slope * (torch.linspace(0, 1, n_bands) - cut).clamp(min=0)
    floor = -3.0 - 5.0 * torch.rand(shape, generator=generator) + torch.randn(mel.shape, generator=generator) * 0.5
    rough = 0.5 * torch.rand(shape, generator=generator) * torch.randn(mel.shape, generator=generator)
    return torch.logaddexp(dull + rough, floor)


def _fit(judge: Judge, songs: list[_Song], kept: list[int], config: JudgeTrainingConfig) -> None:
    songs = [song for song in songs if len(song.mel) >= CLIP_FRAMES]
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    progress = tqdm(range(config.steps), desc="Training the judge", unit="step")
    for _ in progress:
        crops = []
        for index in torch.randint(len(songs), (config.batch_size,), generator=generator).tolist():
            start = int(torch.randint(len(songs[index].mel) - CLIP_FRAMES + 1, (1,), generator=generator))
            anew = float(torch.rand(1, generator=generator)) < config.remix
            song = songs[index]
            crops.append(_remixed(song, start, kept, generator) if anew else _crop(song, start, kept))
        mel, tags, beats = (torch.stack(parts) for parts in zip(*crops, strict=True))
        worse = torch.rand(len(mel), 1, 1, generator=generator) < config.worsen
        mel = torch.where(worse, _worsened(mel, generator), mel)
        mel = mel + torch.randn(mel.shape[0], 1, mel.shape[2], generator=generator).cumsum(2) * 0.05  # random EQ
        tag_logits, beat_logits = judge(mel)
        loss = functional.binary_cross_entropy_with_logits(tag_logits, tags)
        beat_loss = functional.binary_cross_entropy_with_logits(beat_logits, beats, pos_weight=torch.tensor(3.0))
        optimizer.zero_grad()
        (loss + beat_loss).backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(tags=f"{loss.item():.3f}", beats=f"{beat_loss.item():.3f}")


@torch.inference_mode()
def _held_out_tags(judge: Judge, songs: list[_Song], kept: list[int]) -> tuple[Tensor, Tensor]:
    judge.eval()
    probabilities, present = [], []
    for song in songs:
        for start in range(0, len(song.mel) - CLIP_FRAMES + 1, CLIP_FRAMES):
            mel, tags, _ = _crop(song, start, kept)
            probabilities.append(torch.sigmoid(judge(mel[None])[0][0]))
            present.append(tags)
    return torch.stack(probabilities), torch.stack(present)


def _figures(judge: Judge, probabilities: Tensor, present: Tensor) -> dict[str, object]:
    said = probabilities > torch.tensor(judge.config.threshold)
    truth = present.bool()
    per_family = {
        family: {
            "present": round(float(said[truth[:, i], i].float().mean()), 3) if truth[:, i].any() else None,
            "absent": round(float((~said)[~truth[:, i], i].float().mean()), 3) if (~truth[:, i]).any() else None,
            "clips": int(truth[:, i].sum()),
        }
        for i, family in enumerate(judge.config.families)
    }
    return {
        "held_out_clips": len(present),
        "accuracy": round(float((said == truth).float().mean()), 4),
        "families": per_family,
    }
