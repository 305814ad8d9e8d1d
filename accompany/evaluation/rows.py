"""What is compared on the same clips: our band, its floor and its ceilings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from accompany import audio
from accompany.evaluation.arranger import arrange
from accompany.evaluation.metrics import Signal
from accompany.evaluation.testset import Clip
from accompany.stages.plan import Plan

if TYPE_CHECKING:
    from accompany.api import Band, Take

ROWS = {
    "accompany": "the model under test",
    "told": "the model under test, told the true chords and beats: what its two stages and its codec lose",
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


@dataclass(frozen=True)
class Played:
    """What the band made of one clip: by ear, and told the truth about beats, chords and key where it is known."""

    take: Take
    told: Take | None = None


def play(band: Band, clip: Clip, seed: int, *, tell: bool) -> Played:
    """Let the band play for a clip, and again with the clip's own plan where `tell` is asked for."""
    vocal = clip.vocal, clip.sample_rate
    take = band.generate(vocal, clip.prompt, seed=seed)
    if not tell:
        return Played(take)
    plan = Plan(clip.beats_s, clip.downbeats_s, clip.chords, clip.key or None)
    return Played(take, band.generate(vocal, clip.prompt, seed=seed, plan=plan))


def make_output(name: str, index: int, clips: list[Clip], played: list[Played], band: Band) -> Output:
    """What row `name` (a key of `ROWS`) gives for clip `index`, mono at the clip's sample rate."""
    clip, take, told = clips[index], played[index].take, played[index].told
    makers: dict[str, Callable[[], Signal]] = {
        "accompany": lambda: take.samples.mean(0),
        "told": lambda: told.samples.mean(0) if told is not None else np.zeros(0, np.float32),
        "truth": lambda: clip.truth,
        "codec": lambda: through_codec(band, clip),
        "true chords": lambda: _arranged(clip, clip.chords, clip.beats_s),
        "heard chords": lambda: _arranged(clip, take.plan.chords, take.plan.beats_s),
        "shuffled": lambda: clips[other_clip(index, len(clips))].truth,
        "vocal copy": lambda: clip.vocal,
        "flat": lambda: _noise(index, len(clip.vocal)),
    }
    sound = audio.fit_length(np.asarray(makers[name](), dtype=np.float32), len(clip.vocal))
    return Output(clip, sound, take if name == "accompany" else None)


def other_clip(index: int, n_clips: int) -> int:
    """The clip that stands in for a stranger's: half of the set away."""
    return (index + n_clips // 2) % n_clips


def applicable_rows(clips: list[Clip], *, plans: bool) -> list[str]:
    """The rows that there are: some need known chords, a model that plans what it plays, or a second clip."""
    skipped = set()
    if not plans:
        skipped |= {"told", "heard chords"}
    if not plans_known(clips):
        skipped |= {"told", "true chords"}
    if len(clips) < 2:
        skipped.add("shuffled")
    return [name for name in ROWS if name not in skipped]


def plans_known(clips: list[Clip]) -> bool:
    """Whether beats and chords of all clips are known."""
    return all(clip.chords and clip.beats_s for clip in clips)


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
