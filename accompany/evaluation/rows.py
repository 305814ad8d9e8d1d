"""What is compared on the same clips: our band, its floor and its ceilings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from accompany.evaluation.arranger import arrange
from accompany.evaluation.metrics import Signal
from accompany.evaluation.testset import Clip

if TYPE_CHECKING:
    from accompany.api import Band, Take

ROWS = {
    "accompany": "the model under test",
    "truth": "the true accompaniment: ceiling",
    "codec": "the true accompaniment through the model's codec: what the codec leaves",
    "true chords": "true chords and beats played by a rule-based arranger: what perfect listening gives",
    "heard chords": "the chords and beats that the model's listener hears, played by the same arranger",
    "shuffled": "the true accompaniment of another song: floor",
    "vocal copy": "the vocal itself, as a degenerate answer",
    "flat": "noise with an even spectrum, as a degenerate answer",
}


@dataclass(frozen=True)
class Output:
    """What one row gives for one clip; `prompt_clip` is the clip whose prompt it should obey."""

    clip: Clip
    sound: Signal
    take: Take | None = None


def make_row(name: str, clips: list[Clip], takes: list[Take], band: Band) -> list[Output]:
    """The outputs of row `name` (a key of `ROWS`) for every clip, mono at the clips' sample rate."""
    makers: dict[str, Callable[[int], Signal]] = {
        "accompany": lambda i: takes[i].samples.mean(0),
        "truth": lambda i: clips[i].truth,
        "codec": lambda i: through_codec(band, clips[i]),
        "true chords": lambda i: _arranged(clips[i], clips[i].chords, clips[i].beats_s),
        "heard chords": lambda i: _arranged(clips[i], takes[i].plan.chords, takes[i].plan.beats_s),
        "shuffled": lambda i: clips[(i + len(clips) // 2) % len(clips)].truth,
        "vocal copy": lambda i: clips[i].vocal,
        "flat": lambda i: _noise(i, len(clips[i].vocal)),
    }
    sounds = [np.asarray(makers[name](i), dtype=np.float32) for i in range(len(clips))]
    own = name == "accompany"
    return [
        Output(clip, sound, takes[i] if own else None)
        for i, (clip, sound) in enumerate(zip(clips, sounds, strict=True))
    ]


def applicable_rows(clips: list[Clip]) -> list[str]:
    """The rows that these clips allow: chords must be known for `true chords`, two clips for `shuffled`."""
    skipped = set()
    if not all(clip.chords and clip.beats_s for clip in clips):
        skipped.add("true chords")
    if len(clips) < 2:
        skipped.add("shuffled")
    return [name for name in ROWS if name not in skipped]


def through_codec(band: Band, clip: Clip) -> Signal:
    """The clip's true accompaniment, encoded and decoded by the band's codec."""
    codec = band.bundle.codec
    with torch.inference_mode():
        sound = torch.from_numpy(clip.truth)[None, None].expand(1, codec.channels, -1)
        decoded = codec.decode(codec.encode(sound), n_samples=len(clip.truth))
    return decoded[0].mean(0).numpy()


def _arranged(clip: Clip, chords: tuple[tuple[float, float, str], ...], beats_s: tuple[float, ...]) -> Signal:
    return arrange(chords, beats_s, len(clip.vocal), clip.sample_rate)


def _noise(seed: int, n_samples: int) -> Signal:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)
