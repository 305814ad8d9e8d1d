"""The judge's style classifier: a linear head on the features of a trained judge.

Nothing else of the judge changes by it. A style is what a whole band plays, so nearly all stems stay in every crop;
levels, equalisation and the quality of the sound vary as they do for the instruments.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from accompany.evaluation.judge import Judge, StyleHead
from accompany.training.judge.songs import (
    CLIP_FRAMES,
    JudgeSong,
    equalised,
    plain_crop,
    remixed_crop,
    worsened,
)

if TYPE_CHECKING:
    from accompany.training.judge.config import JudgeTrainingConfig

_STEM_SHARE, _SPREAD_DB = 0.9, 3.0
_FORWARD_BATCH = 16
_STEPS, _BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 600, 256, 3e-3, 0.1
_SMOOTHING = 0.1
"""Share of each label that is spread over all styles (Szegedy et al., CVPR 2016): their borders are not sharp."""


def with_styles(judge: Judge, songs: Sequence[JudgeSong], config: JudgeTrainingConfig) -> Judge:
    """The same judge with a newly fitted classifier of the training songs' styles.

    A style in less than a third of `config.min_songs` songs is dropped; with fewer than two styles left the judge
    comes back without a classifier.
    """
    counts = Counter(song.style for song in songs if song.style and len(song.mel) >= CLIP_FRAMES)
    styles = tuple(sorted(style for style, n in counts.items() if n >= max(1, config.min_songs // 3)))
    known = styles if len(styles) > 1 else ()
    made = Judge(dataclasses.replace(judge.config, styles=known))
    kept = {key: value for key, value in judge.state_dict().items() if not key.startswith("style.")}
    made.load_state_dict(made.state_dict() | kept)
    if made.style is not None:
        _fit(made.style, *_impressions(made, songs, config), config.seed)
    return made.eval()


@torch.inference_mode()
def style_metrics(judge: Judge, songs: Sequence[JudgeSong]) -> dict[str, Any]:
    """Accuracy of the style classifier on whole songs as rendered, in clips of 10 s; empty without one.

    `top1` is the share of clips, `balanced` the mean over styles, `chance` what the most frequent style would get;
    `taken_for` is the commonest error.
    """
    if judge.style is None:
        return {}
    judge.eval()
    pairs: Counter[tuple[str, str]] = Counter()
    for song in songs:
        for start in range(0, len(song.mel) - CLIP_FRAMES + 1, CLIP_FRAMES):
            logits = judge.style(judge.impression(plain_crop(song, start, [])[0][None]))
            pairs[song.style, judge.config.styles[int(logits.argmax())]] += 1
    totals = {style: sum(n for (true, _), n in pairs.items() if true == style) for style in judge.config.styles}
    clips = sum(totals.values())
    if not clips:
        return {}
    right = {style: pairs[style, style] / n for style, n in totals.items() if n}
    return {
        "held_out_clips": clips,
        "top1": round(sum(pairs[style, style] for style in right) / clips, 4),
        "balanced": round(sum(right.values()) / len(right), 4),
        "chance": round(max(totals.values()) / clips, 4),
        "by_style": {
            style: {"right": round(share, 3), "clips": totals[style], "taken_for": _error(pairs, style)}
            for style, share in right.items()
        },
    }


def _error(pairs: Counter[tuple[str, str]], style: str) -> str:
    """The style most often predicted in place of this one; empty where none is."""
    wrong = [(n, said) for (true, said), n in pairs.items() if true == style and said != style]
    return max(wrong)[1] if wrong else ""


@torch.inference_mode()
def _impressions(judge: Judge, songs: Sequence[JudgeSong], config: JudgeTrainingConfig) -> tuple[Tensor, Tensor]:
    """The judge's features of `config.crops` crops [n, features], and the styles [n] of their songs in turn."""
    judge.eval()
    songs = [song for song in songs if song.style in judge.config.styles and len(song.mel) >= CLIP_FRAMES]
    generator = torch.Generator().manual_seed(config.seed)
    chosen = [songs[i % len(songs)] for i in range(config.crops)]
    impressions = []
    for first in tqdm(range(0, config.crops, _FORWARD_BATCH), desc="Extracting style features", unit="batch"):
        mel = torch.stack([_crop(song, config.remix, generator) for song in chosen[first : first + _FORWARD_BATCH]])
        worse = torch.rand(len(mel), 1, 1, generator=generator) < config.worsen
        impressions.append(judge.impression(equalised(torch.where(worse, worsened(mel, generator), mel), generator)))
    return torch.cat(impressions), torch.tensor([judge.config.styles.index(song.style) for song in chosen])


def _crop(song: JudgeSong, remix: float, generator: torch.Generator) -> Tensor:
    """A log-mel [frames, n_mels] of the band, as rendered or balanced anew."""
    start = int(torch.randint(len(song.mel) - CLIP_FRAMES + 1, (1,), generator=generator))
    if float(torch.rand(1, generator=generator)) >= remix:
        return plain_crop(song, start, [])[0]
    return remixed_crop(song, start, [], generator, share=_STEM_SHARE, spread_db=_SPREAD_DB)[0]


def _fit(head: StyleHead, impressions: Tensor, styles: Tensor, seed: int) -> None:
    """Fit the head; rare styles weigh more, by the root of how rare they are."""
    head.normalise(impressions)
    counts = torch.bincount(styles, minlength=head.outlet.out_features).clamp(min=1)
    weights = (counts.float().mean() / counts).sqrt()
    optimizer = torch.optim.AdamW(head.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=_STEPS)
    generator = torch.Generator().manual_seed(seed)
    head.train()
    for _ in tqdm(range(_STEPS), desc="Training the style classifier", unit="step"):
        batch = torch.randint(len(impressions), (_BATCH,), generator=generator)
        loss = functional.cross_entropy(head(impressions[batch]), styles[batch], weights, label_smoothing=_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    head.eval()
