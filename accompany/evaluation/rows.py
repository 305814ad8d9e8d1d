"""Systems compared on the same clips: the model under test, its floors and its ceilings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from accompany import audio
from accompany.errors import InputError
from accompany.evaluation.arranger import arrange
from accompany.evaluation.beat_metrics import tempo_bpm
from accompany.evaluation.chord_metrics import Chords, estimate_key
from accompany.evaluation.folders import Against
from accompany.evaluation.metrics import Signal, chroma, track_beats
from accompany.evaluation.testset import Clip
from accompany.music.harmony import key_index
from accompany.music.plan import Plan

if TYPE_CHECKING:
    from accompany.api import Band, Take

ROWS = {
    "accompany": "the model under test",
    "oracle plan": "the model under test given the true chords and beats: what its two stages and its codec lose",
    "truth": "the true accompaniment: ceiling",
    "codec": "the true accompaniment through the model's codec: what the codec leaves",
    "true chords": "true chords and beats played by a rule-based arranger: what perfect analysis gives",
    "predicted chords": "the chords and beats predicted by the model's listener, played by the same arranger",
    "retrieval": "the true accompaniment of the other song of the test that is nearest in key and tempo, unchanged",
    "shuffled": "the true accompaniment of another song: floor",
    "vocal copy": "the vocal itself, as a degenerate answer",
    "flat": "noise with an even spectrum, as a degenerate answer",
    "cluster": "all twelve notes, struck twice a second, as a degenerate answer",
    "silence": "silence, as a degenerate answer",
}

DEGENERATE = ("vocal copy", "flat", "cluster", "silence")
"""Rows that play no music: what they score shows which metrics can be gamed."""

_CLUSTER_S = 0.5
_SEED_STEP = 100_003
"""Between the seeds of one clip: clip i has seed + i, and no test is as long."""


@dataclass(frozen=True)
class RowOutput:
    """Output of one row for one clip: mono `sound` [T] at the clip's rate, and our own `take` where it is one."""

    clip: Clip
    sound: Signal
    take: Take | None = None


@dataclass(frozen=True)
class Played:
    """Takes of one clip: from the predicted plan, from the oracle plan, and with other seeds."""

    take: Take
    oracle: Take | None = None
    again: tuple[Take, ...] = ()


def play(band: Band, clip: Clip, seed: int, *, oracle: bool, seeds: int = 1) -> Played:
    """Generate takes of a clip with `seeds` seeds, and one with the clip's own plan where `oracle` is set."""
    vocal = clip.vocal, clip.sample_rate
    take = band.generate(vocal, clip.prompt, seed=seed)
    again = tuple(band.generate(vocal, clip.prompt, seed=seed + _SEED_STEP * more) for more in range(1, seeds))
    if not oracle:
        return Played(take, None, again)
    plan = Plan(clip.beats_s, clip.downbeats_s, clip.chords, clip.key or None)
    return Played(take, band.generate(vocal, clip.prompt, seed=seed, plan=plan), again)


@dataclass(frozen=True)
class Contest:
    """Inputs of all rows: the clips, the takes of each, and outputs of others by name.

    `nearest` is, for each clip, the other one that retrieval answers with; see `nearest_clips`.
    """

    band: Band
    clips: Sequence[Clip]
    played: Sequence[Played]
    against: Mapping[str, Against]
    nearest: Sequence[int]

    def rows(self) -> dict[str, str]:
        """The rows that there are, with what they mean: ours first, then those of others."""
        names = applicable_rows(self.clips, plans=self.band.bundle.plans)
        others = {name: "outputs of another system, read from its folder" for name in self.against}
        return {names[0]: ROWS[names[0]], **others, **{name: ROWS[name] for name in names[1:]}}

    def output(self, name: str, index: int) -> RowOutput | None:
        """Output of row `name` for clip `index`; None where another system has no file."""
        if name not in self.against:
            return make_output(name, index, self)
        sound = self.against[name].sound(index, self.clips[index])
        return None if sound is None else RowOutput(self.clips[index], sound)


def make_output(name: str, index: int, contest: Contest) -> RowOutput:
    """Output of row `name` (a key of `ROWS`) for clip `index`, mono at the clip's sample rate."""
    clips, band = contest.clips, contest.band
    clip, take, oracle = clips[index], contest.played[index].take, contest.played[index].oracle
    makers: dict[str, Callable[[], Signal]] = {
        "accompany": lambda: take.samples.mean(0),
        "oracle plan": lambda: oracle.samples.mean(0) if oracle is not None else np.zeros(0, np.float32),
        "truth": lambda: clip.truth,
        "codec": lambda: through_codec(band, clip),
        "true chords": lambda: _arranged(clip, clip.chords, clip.beats_s),
        "predicted chords": lambda: _arranged(clip, take.plan.chords, take.plan.beats_s),
        "retrieval": lambda: clips[contest.nearest[index]].truth,
        "shuffled": lambda: clips[other_clip(index, len(clips))].truth,
        "vocal copy": lambda: clip.vocal,
        "flat": lambda: _noise(index, len(clip.vocal)),
        "cluster": lambda: _cluster(clip),
        "silence": lambda: np.zeros_like(clip.vocal),
    }
    sound = audio.fit_length(np.asarray(makers[name](), dtype=np.float32), len(clip.vocal))
    return RowOutput(clip, sound, take if name == "accompany" else None)


def other_clip(index: int, n_clips: int) -> int:
    """The unrelated clip that stands in for this one: half of the set away."""
    return (index + n_clips // 2) % n_clips


def nearest_clips(clips: Sequence[Clip]) -> list[int]:
    """For each clip the other one that is nearest in key (circle of fifths) and tempo, annotated or estimated.

    Six fifths count as much as an octave of tempo; a minor key stands where its relative major does, a step away.
    A single clip has itself.
    """
    traits = [_traits(clip) for clip in clips]
    others = [[other for other in range(len(clips)) if other != index] or [index] for index in range(len(clips))]
    return [
        min(rest, key=lambda other, here=here: _distance(here, traits[other]))  # type: ignore[misc]
        for here, rest in zip(traits, others, strict=True)
    ]


def _traits(clip: Clip) -> tuple[int | None, float]:
    """Key (0..23; None of a sound or a label without one) and tempo in beats a minute."""
    label = clip.key or estimate_key(chroma(clip.truth, clip.sample_rate))
    try:
        key = key_index(label) if label else None
    except InputError:
        key = None
    beats = np.array(clip.beats_s) if len(clip.beats_s) > 1 else track_beats(clip.truth, clip.sample_rate)
    return key, tempo_bpm(beats) or 120.0


def _distance(a: tuple[int | None, float], b: tuple[int | None, float]) -> float:
    tempo = abs(float(np.log2(a[1] / b[1])))
    if a[0] is None or b[0] is None:
        return 1.0 + tempo
    fifths_up = [(key + 3 * (key >= 12)) % 12 * 7 % 12 for key in (a[0], b[0])]
    fifths = min((fifths_up[0] - fifths_up[1]) % 12, (fifths_up[1] - fifths_up[0]) % 12)
    return (fifths + ((a[0] >= 12) != (b[0] >= 12))) / 6 + tempo


def applicable_rows(clips: Sequence[Clip], *, plans: bool) -> list[str]:
    """The rows that there are: some need known chords, a model that plans what it plays, or a second clip."""
    skipped = set()
    if not plans:
        skipped |= {"oracle plan", "predicted chords"}
    if not plans_known(clips):
        skipped |= {"oracle plan", "true chords"}
    if len(clips) < 2:
        skipped |= {"shuffled", "retrieval"}
    return [name for name in ROWS if name not in skipped]


def plans_known(clips: Sequence[Clip]) -> bool:
    """Whether beats and chords of all clips are annotated, the beats not merely tracked."""
    return all(clip.chords and clip.beats_s and not clip.beats_by for clip in clips)


def through_codec(band: Band, clip: Clip) -> Signal:
    """The clip's true accompaniment, encoded and decoded by the band's codec."""
    codec = band.bundle.codec
    with torch.inference_mode():
        sound = torch.from_numpy(clip.truth)[None, None].expand(1, codec.channels, -1)
        decoded = codec.decode(codec.encode(sound), n_samples=len(clip.truth))
    return decoded[0].mean(0).cpu().numpy()


def _arranged(clip: Clip, chords: Chords, beats_s: tuple[float, ...]) -> Signal:
    return arrange(chords, beats_s, len(clip.vocal), clip.sample_rate)


def _noise(seed: int, n_samples: int) -> Signal:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)


def _cluster(clip: Clip) -> Signal:
    """Twelve notes from middle C on, decaying, struck every half second."""
    time_s = np.arange(len(clip.vocal)) / clip.sample_rate
    notes = np.sum([np.sin(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * time_s) for midi in range(60, 72)], axis=0)
    return (0.02 * notes * np.exp(-4 * (time_s % _CLUSTER_S))).astype(np.float32)
