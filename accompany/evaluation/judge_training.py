"""Train the judge on true renders: `accompany train judge songs=DIR`.

Instruments are labelled by the stems (a family counts where its stem sounds), beats by the score.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from accompany import audio
from accompany.config import read_json
from accompany.errors import InputError
from accompany.evaluation.judge import (
    BEATS_FRAME_RATE,
    SAMPLE_RATE,
    Judge,
    JudgeConfig,
    best_thresholds,
    judge_mel,
)

logger = logging.getLogger(__name__)

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
        seed: for the split, the crops and the weights.
    """

    songs: str = "songs"
    out: str = "runs/judge"
    steps: int = 1500
    batch_size: int = 16
    learning_rate: float = 2e-3
    validation_share: float = 0.15
    min_songs: int = 12
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
    mel: Tensor  # [frames, n_mels] float16
    sounding: Tensor  # [families, frames] bool
    beats: Tensor  # [frames] float, 1 at a beat, 0.5 beside it


def train_judge(config: JudgeTrainingConfig) -> Path:
    """Train and save a judge; returns its folder, which also holds `figures.json` with its held-out accuracy."""
    from accompany.config import write_json
    from accompany.data.songs.instruments import FAMILIES
    from accompany.pretrained import save_module

    torch.manual_seed(config.seed)
    songs = _load_songs(Path(config.songs), FAMILIES, JudgeConfig().n_mels)
    n_held_out = max(1, round(config.validation_share * len(songs)))
    held_out, training = songs[:n_held_out], songs[n_held_out:]
    kept = [i for i in range(len(FAMILIES)) if sum(bool(s.sounding[i].any()) for s in training) >= config.min_songs]
    if not training or not kept:
        raise InputError(f"'{config.songs}' has too few songs to train a judge; make at least {4 * config.min_songs}.")
    families = tuple(FAMILIES[i] for i in kept)
    judge = Judge(JudgeConfig(families=families, width=config.width, depth=config.depth))
    _fit(judge, training, kept, config)
    probabilities, present = _held_out_tags(judge, held_out, kept)
    final = Judge(
        JudgeConfig(
            families=families,
            width=config.width,
            depth=config.depth,
            threshold=best_thresholds(probabilities, present),
        )
    )
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
    mel = judge_mel(torch.from_numpy(_mono(folder / "accompaniment.flac"))[None], n_mels)[0]
    sounding = torch.zeros(len(families), len(mel), dtype=torch.bool)
    for stem in (folder / "stems").glob("*.flac"):
        instrument = INSTRUMENTS.get(stem.stem.split("_")[0].replace("-", " ")) or INSTRUMENTS.get(stem.stem)
        if instrument is not None:
            sounding[families.index(instrument.family)] |= _sounding(_mono(stem), len(mel))
    beats = torch.zeros(len(mel))
    for time_s in song["beats"]:
        at = int(time_s * BEATS_FRAME_RATE)
        for frame, weight in ((at - 1, 0.5), (at + 1, 0.5), (at, 1.0)):
            if 0 <= frame < len(mel):
                beats[frame] = max(float(beats[frame]), weight)
    return _Song(mel.half(), sounding, beats)


def _mono(path: Path) -> np.ndarray:
    sound = audio.read(path)
    return np.ascontiguousarray(
        audio.resample(audio.to_mono(sound.samples), sound.sample_rate, SAMPLE_RATE).reshape(-1),
        dtype=np.float32,
    )


def _sounding(stem: np.ndarray, n_frames: int) -> Tensor:
    hop = int(SAMPLE_RATE / BEATS_FRAME_RATE)
    padded = np.zeros(n_frames * hop, dtype=np.float32)
    padded[: min(len(stem), len(padded))] = stem[: len(padded)]
    level_db = 10 * np.log10(np.mean(padded.reshape(n_frames, hop) ** 2, axis=1) + 1e-12)
    return torch.from_numpy(level_db > STEM_FLOOR_DB)


def _crop(song: _Song, start: int, kept: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    window = slice(start, start + CLIP_FRAMES)
    tags = song.sounding[kept, window].sum(1) >= MIN_SOUNDING_S * BEATS_FRAME_RATE
    mel = song.mel[window].float()
    return mel - mel.amax(), tags.float(), song.beats[window]


def _fit(judge: Judge, songs: list[_Song], kept: list[int], config: JudgeTrainingConfig) -> None:
    songs = [song for song in songs if len(song.mel) >= CLIP_FRAMES]
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    progress = tqdm(range(config.steps), desc="Training the judge", unit="step")
    for _ in progress:
        crops = []
        for index in torch.randint(len(songs), (config.batch_size,), generator=generator).tolist():
            last = len(songs[index].mel) - CLIP_FRAMES
            crops.append(_crop(songs[index], int(torch.randint(last + 1, (1,), generator=generator)), kept))
        mel, tags, beats = (torch.stack(parts) for parts in zip(*crops, strict=True))
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
