"""Effect of each control: its own metric in takes with and without it, and side effects on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from accompany import audio
from accompany.evaluation import chord_metrics, metrics
from accompany.evaluation.clip_metrics import obedience, requested_instruments
from accompany.evaluation.judge import SAMPLE_RATE as JUDGE_RATE
from accompany.evaluation.metrics import Signal
from accompany.evaluation.rows import other_clip
from accompany.evaluation.studies.setup import StudySetup, chosen, mono
from accompany.evaluation.studies.table import Study
from accompany.evaluation.testset import Clip
from accompany.generation.given import lay_chords
from accompany.generation.scores import score
from accompany.generation.take import Take
from accompany.music.harmony import key_index, key_label
from accompany.music.plan import Plan

_FASTER = 1.15
_FIFTH = 7
_LOUD, _SOFT = "full band, loud drums", "solo piano, no drums"
_TEMPI = (40.0, 220.0)
_ELSE = ("harmony", "rhythm", "prompt")

DEFINITIONS = {
    "without, with": "the row's metric in takes without and with the control; same vocals, prompts and seed",
    "truth": "the same metric of the true band against what is true of it: as high as the metric goes; for `like` "
    "the likeness of the vocal's own true band to that reference: the chance level",
    "+harmony, +rhythm, +prompt": "side effects: change of the band's fit to its own plan's chords and beats, and "
    "of the CLAP score of its prompt",
}

Measure = Callable[[int, Take], float | None]


@dataclass(frozen=True)
class Trial:
    """One control.

    Attributes:
        text: its metric.
        metric: of the take of a clip by its number.
        takes: with the control.
        without: takes without it; None for those of the prompt alone.
        truth: the metric of the true bands, where it has one.
    """

    text: str
    metric: Measure
    takes: Sequence[Take]
    without: Sequence[Take] | None = None
    truth: Sequence[float | None] = field(default_factory=tuple)


class ControlTrials:
    """The trials of a set of clips, each made when it is asked for."""

    def __init__(self, setup: StudySetup) -> None:
        """The trials of these clips; nothing is played yet."""
        self._kept: dict[str, list[Take]] = {}
        self.setup, self.clips = setup, setup.clips
        self.prompts = [clip.prompt for clip in setup.clips]

    @cached_property
    def base(self) -> list[Take]:
        """Takes of all clips without controls."""
        return self.setup.play(self.prompts, [{}] * len(self.prompts))

    def trials(self) -> dict[str, Callable[[], Trial]]:
        """All of them, by name."""
        found: dict[str, Callable[[], Trial]] = {
            "bpm": self.bpm,
            "taps": self.taps,
            "key": self.key,
            "chords": self.chords,
            "follow": lambda: self.follow(1.0),
            "follow 2": lambda: self.follow(2.0),
            "temperature 0.4": lambda: self.temperature(0.4),
            "temperature 2": lambda: self.temperature(2.0),
            "like": lambda: self.like(None),
            "like 0.5": lambda: self.like(0.5),
            "vary 0.3": lambda: self.vary(0.3),
            "vary 0.8": lambda: self.vary(0.8),
        }
        if all(len(clip.beats_s) > 1 for clip in self.clips):
            found |= {"true bpm": self.true_bpm}
        if all(clip.key for clip in self.clips):
            found |= {"true key": self.true_key}
        if self.setup.judge is not None:
            found |= {"prompt": self.prompt, "guidance 6": self.guidance, "prompt with times": self.times}
        return found

    def bpm(self) -> Trial:
        """A tempo other than the predicted one."""
        asked = [float(np.clip(_FASTER * (take.plan.tempo_bpm or 100.0), *_TEMPI)) for take in self.base]

        def metric(i: int, take: Take) -> float:
            return _tempo_fit(self.setup.beats(mono(take)), asked[i])

        truth = [_tempo_fit(self.setup.beats(clip.truth), _tempo(clip.beats_s)) for clip in self.clips]
        text = f"1 where the band's tempo is within 4% of the one asked for, {_FASTER:g} times the predicted one"
        return Trial(text, metric, self._play([{"bpm": bpm} for bpm in asked]), truth=truth)

    def taps(self) -> Trial:
        """Beats halfway between the predicted ones."""
        asked = [_between(take.plan.beats_s, clip.seconds) for take, clip in zip(self.base, self.clips, strict=True)]

        def metric(i: int, take: Take) -> float:
            return metrics.beat_f(self.setup.beats(mono(take)), np.array(asked[i]))

        truth = [self.setup.beat_f(clip.truth, clip) for clip in self.clips]
        text = "F of the band's beats against the taps, which lie halfway between the predicted beats"
        return Trial(text, metric, self._play([{"taps": taps} for taps in asked]), truth=truth)

    def key(self) -> Trial:
        """The key a fifth above the predicted one."""
        asked = [_fifth_above(take.plan.key or "C:maj") for take in self.base]
        truth = [
            chord_metrics.key_fit(metrics.chroma(clip.truth, clip.sample_rate), clip.key) if clip.key else None
            for clip in self.clips
        ]
        text = "Pearson r of the band's mean chroma and the profile of the given key, a fifth above the predicted one"
        return Trial(text, lambda i, take: _key_fit(take, asked[i]), self._play([{"key": key} for key in asked]),
                     truth=truth)  # fmt: skip

    def true_bpm(self) -> Trial:
        """The tempo that the song has."""
        takes = self._play([{"bpm": float(np.clip(_tempo(clip.beats_s), *_TEMPI))} for clip in self.clips])
        truth = [self.setup.beat_f(clip.truth, clip) for clip in self.clips]
        text = "F of the band's beats against the song's, with its tempo given"
        return Trial(text, lambda i, take: self.setup.beat_f(mono(take), self.clips[i]), takes, truth=truth)

    def true_key(self) -> Trial:
        """The key that the song has."""
        takes = self._play([{"key": key_label(key_index(clip.key))} for clip in self.clips])
        text = "Pearson r of the band's smoothed chroma and the true band's, with the song's key given"
        return Trial(text, lambda i, take: self.setup.harmony(mono(take), self.clips[i]), takes, truth=[1.0])

    def chords(self) -> Trial:
        """I, V, vi, IV in the predicted key, one a bar."""
        asked = [_four_chords(take.plan.key or "C:maj") for take in self.base]

        def metric(i: int, take: Take) -> float:
            laid = lay_chords(asked[i], take.plan, take.seconds)
            return self._fit(mono(take), self.clips[i], Plan(take.plan.beats_s, chords=laid))["harmony"]

        truth = [
            self._fit(clip.truth, clip, Plan(clip.beats_s, chords=clip.chords))["harmony"] if clip.chords else None
            for clip in self.clips
        ]
        text = "Pearson r of the band's chroma and the chords asked for: I, V, vi, IV of the predicted key, one a bar"
        return Trial(text, metric, self._play([{"chords": chords} for chords in asked]), truth=truth)

    def follow(self, weight: float) -> Trial:
        """The plan followed, against not at all."""
        without = self._play([{"follow": 0.0}] * len(self.clips), "follow 0")
        takes = self.base if weight == 1.0 else self._play([{"follow": weight}] * len(self.clips))

        def metric(i: int, take: Take) -> float:
            found = self._fit(mono(take), self.clips[i], take.plan)
            return (found["harmony"] + found["rhythm"]) / 2

        text = "mean of harmony and rhythm of the band against its own plan; without is 0"
        return Trial(text, metric, takes, without)

    def temperature(self, value: float) -> Trial:
        """Difference between two seeds."""
        others = {
            each: self._play([{"temperature": each, "seed": self.setup.seed + 1}] * len(self.clips), f"again {each}")
            for each in (value, None)
        }
        takes = self._play([{"temperature": value}] * len(self.clips))
        again = zip((*takes, *self.base), (*others[value], *others[None]), strict=True)
        pairs = {id(take): other for take, other in again}

        def metric(i: int, take: Take) -> float:
            return _changed(take, pairs[id(take)])

        text = "share of the semantic codes in which two seeds differ; without is the model's own temperature"
        return Trial(text, metric, takes)

    def like(self, strength: float | None) -> Trial:
        """The true band of another song as the style."""
        clips = self.clips
        references = [clips[other_clip(i, len(clips))].truth for i in range(len(clips))]
        styles = [self._embedded(reference) for reference in references]
        rate = clips[0].sample_rate
        options: list[dict[str, Any]] = [{"like": (reference, rate)} for reference in references]
        prompts = self.prompts
        without: Sequence[Take] | None = None
        if strength is None:
            prompts, without = [""] * len(clips), self._play([{}] * len(clips), "silent", [""] * len(clips))
        else:
            options = [{**each, "like_strength": strength} for each in options]
        takes = self.setup.play(prompts, options)
        truth = [float(self._embedded(clip.truth) @ styles[i]) for i, clip in enumerate(clips)]
        text = "cosine of the CLAP embeddings of the band and the reference, another song's true band; "
        text += "without a prompt" if strength is None else f"halfway between it and the prompt (strength {strength:g})"
        return Trial(text, lambda i, take: float(self._embedded(mono(take)) @ styles[i]), takes, without, truth)

    def vary(self, strength: float) -> Trial:
        """A part of the beats composed anew."""
        band = self.setup.band
        takes, still = ([band.vary(take, each) for take in self.base] for each in (strength, 0.0))
        text = "1 minus the correlation of the onsets with those of the take that was varied; without is strength 0"
        rate = band.sample_rate

        def metric(i: int, take: Take) -> float:
            return 1 - metrics.onset_correlation(mono(take), mono(self.base[i]), rate)

        return Trial(text, metric, takes, still)

    def prompt(self) -> Trial:
        """The clip's own prompt, against none."""
        without = self._play([{}] * len(self.clips), "silent", [""] * len(self.clips))
        truth = [self._obeyed(i, clip.truth) for i, clip in enumerate(self.clips)]
        text = "share of the prompt's requests met, by the judge; without is no prompt"
        return Trial(text, lambda i, take: self._obeyed(i, mono(take)), self.base, without, truth)

    def guidance(self) -> Trial:
        """The prompt's weight, against none."""
        without = self._play([{"guidance": 1.0}] * len(self.clips))
        truth = [self._obeyed(i, clip.truth) for i, clip in enumerate(self.clips)]
        text = "the same with guidance 6; without is guidance 1 (the prompt is given, its weight is not raised)"
        takes = self._play([{"guidance": 6.0}] * len(self.clips))
        return Trial(text, lambda i, take: self._obeyed(i, mono(take)), takes, without, truth)

    def times(self) -> Trial:
        """Drums from the middle on, against drums throughout."""
        half_s = self.clips[0].seconds / 2
        changing, steady = (
            self._play([{}] * len(self.clips), prompt, [prompt] * len(self.clips))
            for prompt in (f"0: {_SOFT}; {half_s:g}: {_LOUD}", _LOUD)
        )

        def metric(i: int, take: Take) -> float:
            cut = round(half_s * take.sample_rate)
            return self._drums(mono(take)[cut:]) - self._drums(mono(take)[:cut])

        text = f"how much surer the judge is of drums in the second half: '{_SOFT}', then '{_LOUD}'; "
        return Trial(text + f"without is '{_LOUD}' throughout", metric, changing, steady)

    def _play(self, options: list[dict[str, Any]], name: str = "", prompts: list[str] | None = None) -> list[Take]:
        """Takes with options; those that have a name are made once."""
        if name in self._kept:
            return self._kept[name]
        takes = self.setup.play(self.prompts if prompts is None else prompts, options)
        if name:
            self._kept[name] = takes
        return takes

    def _fit(self, sound: Signal, clip: Clip, plan: Plan) -> dict[str, float]:
        return score(self.setup.bundle, sound[None], clip.vocal[None], plan)

    def _obeyed(self, index: int, sound: Signal) -> float | None:
        judge = self.setup.judge
        assert judge is not None
        return obedience(
            sound, self.setup.band.sample_rate, *requested_instruments(self.clips[index], judge), judge
        ).get("obedience")

    def _drums(self, sound: Signal) -> float:
        judge = self.setup.judge
        assert judge is not None
        at_rate = audio.resample(sound, self.setup.band.sample_rate, JUDGE_RATE)
        tags = judge.tag(torch.from_numpy(np.ascontiguousarray(at_rate, np.float32))[None])[0]
        return float(tags[judge.config.families.index("drums")])

    def _embedded(self, sound: Signal) -> np.ndarray:
        return np.asarray(self.setup.band.settings(like=(sound, self.setup.band.sample_rate)).like)


def control(setup: StudySetup, only: Sequence[str] = ()) -> Study:
    """All trials as a table, or only those of some controls. InputError for a control that there is not."""
    played = ControlTrials(setup)
    trials = chosen(played.trials(), only)
    beside = _beside(played, played.base)
    rows: dict[str, dict[str, Sequence[float | None]]] = {}
    definitions = dict(DEFINITIONS)
    for name, make in trials.items():
        trial = make()
        definitions[name] = trial.text
        with_, without = (
            [trial.metric(i, take) for i, take in enumerate(takes)]
            for takes in (trial.takes, played.base if trial.without is None else trial.without)
        )
        rows[name] = {"without": without, "with": with_, "change": _minus(with_, without), "truth": trial.truth}
        moved = _beside(played, trial.takes)
        rows[name] |= {f"+{key}": _minus(moved[key], beside[key]) for key in _ELSE}
    return Study(f"Each control against its absence: {len(setup.clips)} vocals", rows, definitions)


def _beside(played: ControlTrials, takes: Sequence[Take]) -> dict[str, list[float | None]]:
    """Metrics of each take that a control should leave unchanged."""
    scores = [
        score(played.setup.bundle, take.samples, take.vocals, take.plan, prompt)
        for take, prompt in zip(takes, played.prompts, strict=True)
    ]
    return {key: [each.get(key) for each in scores] for key in _ELSE}


def _minus(a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
    return [None if x is None or y is None else x - y for x, y in zip(a, b, strict=True)]


def _tempo(beats_s: Sequence[float]) -> float:
    return 60.0 / float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else 0.0


def _tempo_fit(beats_s: np.ndarray, asked_bpm: float) -> float:
    return float(asked_bpm > 0 and abs(_tempo(beats_s.tolist()) / asked_bpm - 1) <= 0.04)


def _between(beats_s: Sequence[float], seconds: float) -> tuple[float, ...]:
    beats = np.asarray(beats_s) if len(beats_s) > 2 else np.arange(0.25, seconds, 0.5)
    return tuple(((beats[1:] + beats[:-1]) / 2).tolist())


def _fifth_above(key: str) -> str:
    index = key_index(key)
    return key_label(12 * (index // 12) + (index + _FIFTH) % 12)


def _four_chords(key: str) -> str:
    """I, V, vi, IV of a major key; of a minor one those of its relative major."""
    index = key_index(key)
    tonic = index if index < 12 else (index + 3) % 12
    names = [key_label(step % 12).split(":")[0] for step in (tonic, tonic + 7, tonic + 9, tonic + 5)]
    return f"{names[0]} {names[1]} {names[2]}m {names[3]}"


def _key_fit(take: Take, key: str) -> float:
    return chord_metrics.key_fit(metrics.chroma(mono(take), take.sample_rate), key)


def _changed(take: Take, other: Take) -> float:
    assert take.draft is not None and other.draft is not None
    return float((take.draft.codes != other.draft.codes).mean())
