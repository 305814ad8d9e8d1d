"""Training of the judge on true renders: `accompany train judge songs=DIR`.

Instruments are labelled by the stems (a family counts where its stem sounds), beats by the score. Most crops are mixed
anew from a part of a song's stems, so that an instrument is known by its sound and not by its usual company; and crops
are dulled, roughened and given a noise floor, so that a tag does not hang on what a codec or a loudspeaker loses. The
style classifier comes last (`judge.styles`), and can be fitted again for a judge that is there: `judge=DIR`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from accompany.common.config import read_json, write_json
from accompany.common.saving import save_module
from accompany.common.weights import load_module
from accompany.errors import InputError
from accompany.evaluation.judge import Judge, JudgeConfig, best_thresholds
from accompany.training.judge.config import JudgeTrainingConfig
from accompany.training.judge.songs import (
    CLIP_FRAMES,
    JudgeSong,
    equalised,
    load_songs,
    plain_crop,
    remixed_crop,
    worsened,
)
from accompany.training.judge.styles import style_metrics, with_styles


def train_judge(config: JudgeTrainingConfig) -> Path:
    """Train and save a judge; returns its folder, which also holds `figures.json` with its held-out accuracy."""
    from accompany.data.songs.instruments import FAMILIES

    torch.manual_seed(config.seed)
    given = load_module(Judge, config.judge) if config.judge else None
    n_mels = (given.config if given is not None else JudgeConfig()).n_mels
    songs = load_songs(Path(config.songs), FAMILIES, n_mels)
    n_held_out = max(1, round(config.validation_share * len(songs)))
    held_out, training = songs[:n_held_out], songs[n_held_out:]
    judge, metrics = (
        _train_tags(config, held_out, training) if given is None else (given, _known_metrics(Path(config.judge)))
    )
    final = with_styles(judge, training, config)
    out = Path(config.out)
    save_module(final, final.config, out)
    write_json(out / "figures.json", {**metrics, "styles": style_metrics(final, held_out)})
    return out


def _known_metrics(folder: Path) -> dict[str, Any]:
    path = folder / "figures.json"
    return dict(read_json(path)) if path.is_file() else {}


def _train_tags(
    config: JudgeTrainingConfig, held_out: list[JudgeSong], training: list[JudgeSong]
) -> tuple[Judge, dict[str, object]]:
    """A judge of instruments and beats, and its metrics."""
    from accompany.data.songs.instruments import FAMILIES

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
    return final, _metrics(final, probabilities, present)


def _fit(judge: Judge, songs: list[JudgeSong], kept: list[int], config: JudgeTrainingConfig) -> None:
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
            crops.append(remixed_crop(song, start, kept, generator) if anew else plain_crop(song, start, kept))
        mel, tags, beats = (torch.stack(parts) for parts in zip(*crops, strict=True))
        worse = torch.rand(len(mel), 1, 1, generator=generator) < config.worsen
        mel = equalised(torch.where(worse, worsened(mel, generator), mel), generator)
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
def _held_out_tags(judge: Judge, songs: list[JudgeSong], kept: list[int]) -> tuple[Tensor, Tensor]:
    judge.eval()
    probabilities, present = [], []
    for song in songs:
        for start in range(0, len(song.mel) - CLIP_FRAMES + 1, CLIP_FRAMES):
            mel, tags, _ = plain_crop(song, start, kept)
            probabilities.append(torch.sigmoid(judge(mel[None])[0][0]))
            present.append(tags)
    return torch.stack(probabilities), torch.stack(present)


def _metrics(judge: Judge, probabilities: Tensor, present: Tensor) -> dict[str, object]:
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
