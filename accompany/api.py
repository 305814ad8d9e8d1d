"""The one door: `accompany.load(name).generate(vocals, prompt)`. The command line, notebooks and tests use it too."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from accompany.common.checks import check_whole
from accompany.common.devices import choose_device, choose_precision
from accompany.common.progress import Progress
from accompany.errors import InputError
from accompany.generation.settings import MOST_SEED, MOST_TAKES, Options, Settings
from accompany.generation.take import Made, Source, Take
from accompany.generation.vocals import Vocals, read_vocal, read_with_source
from accompany.sound.options import Sound

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack

    from accompany.generation.analysis import Analysis
    from accompany.generation.edit import Edit
    from accompany.generation.streaming import Stream
    from accompany.models.llambada import LlambadaBundle
    from accompany.models.pretrained import Bundle
    from accompany.music.sung_notes import SungNote

_log = logging.getLogger(__name__)

__all__ = [
    "Band",
    "Settings",
    "Sound",
    "Source",
    "Take",
    "choose_device",
    "load",
    "read_vocal",
]


class Band:
    """A loaded model. It keeps no state between calls: a take depends on its arguments only."""

    def __init__(self, bundle: Bundle | LlambadaBundle, precision: str = "auto", source: str = "") -> None:
        """Wrap the built parts; `load` builds them from a `source`, in a precision, which files of takes name."""
        self.bundle = bundle
        self.precision = precision
        self.source = source or bundle.name

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.name

    def describe(self) -> str:
        """The model in one line: name, size, licence (and those of parts that have others), and device."""
        info = self.bundle.info
        others = [f"{part.license} ({part.name})" for part in info.parts if part.license != info.license]
        size = f"{info.bytes / 1e6:.0f} MB of weights"
        return f"{info.name}: {size}, {', '.join([info.license, *others])}, on {self.device}"

    @property
    def device(self) -> str:
        """Where the stages run: "cpu", "cuda" or "mps"."""
        return str(self.bundle.device)

    @property
    def sample_rate(self) -> int:
        """Hz of what the band plays."""
        return self.bundle.codec.sample_rate

    @overload
    def generate(
        self, vocals: Vocals, prompt: str = ..., *, progress: Progress | None = ..., **options: Unpack[Options]
    ) -> Take: ...

    @overload
    def generate(
        self,
        vocals: list[Any],
        prompt: str | list[str] = ...,
        *,
        progress: Progress | None = ...,
        **options: Unpack[Options],
    ) -> list[Take]: ...

    def generate(
        self,
        vocals: Vocals | list[Any],
        prompt: str | list[str] = "",
        *,
        progress: Progress | None = None,
        **options: Unpack[Options],
    ) -> Take | list[Take]:
        """Accompany one vocal of any length from half a second, or a list of them together.

        Args:
            vocals: an audio file, or `(samples, sample_rate)` with samples [T] or [C, T]; or a list of such, which
                are made in one batch: faster than one by one, and each as it is on its own.
            prompt: style and instruments in plain English, which may change with the time
                (`accompany.generation.prompts`); empty leaves the choice to the model. For a list of vocals also a
                list, one for each.
            progress: called with the share done, 0 to 1.
            options: by name.
                seed: the same seed, arguments and model give the same take (default 0).
                bpm, key, chords, taps, melody: what is known of the song.
                reading: which of the likeliest readings of beat and key to play (`Plan.readings`), from 1.
                temperature, guidance, follow, level_db: how it is played.
                mute: stems to leave out, such as "drums, bass", of a model that has them (`Take.stems`).
                like: a recording whose style is wanted, as a file or `(samples, sample_rate)`; like_strength: how much.
                plan: beats, bars, chords and key in place of those predicted, such as the `plan` of another take with
                    some chords changed (`dataclasses.replace`).
                See `accompany.generation.settings.Settings` for all of them.

        Raises:
            InputError: an unusable vocal (missing, broken, silent, too short), an option out of range, prompts that
                are more or fewer than the vocals, a plan together with `bpm` or `key`, or for a model without plans.
        """
        several = vocals if isinstance(vocals, list) else [vocals]
        prompts = [prompt] * len(several) if isinstance(prompt, str) else prompt
        if len(prompts) != len(several):
            raise InputError(f"{len(prompts)} prompts for {len(several)} vocals; give one for each, or one for all.")
        settings = [self.settings(each, **options) for each in prompts[:1]]
        settings += [replace(settings[0], prompt=each) for each in prompts[1:]]
        takes = self.perform(several, settings, progress)
        return takes if isinstance(vocals, list) else takes[0]

    def check_mute(self, settings: Settings) -> None:
        """InputError where `settings` mute stems of a model that has none."""
        if settings.mute and not self.bundle.has_stems:
            raise InputError(f"{self.name} plays the band as one, so no stem of it can be muted; leave mute out.")

    def settings(self, prompt: str = "", **options: Unpack[Options]) -> Settings:
        """Prompt and options of `generate` as one value; a recording to be like as its embedding. Errors as there."""
        given: dict[str, Any] = dict(options)
        if given.get("like") is not None:
            given["like"] = self.embed(given["like"])
        return Settings(prompt, **given)

    def perform(self, vocals: list[Any], settings: list[Settings], progress: Progress | None = None) -> list[Take]:
        """As `generate` for a list of vocals, each with its settings.

        These may differ in what is asked for and known (prompt, like, bpm, key, chords, taps, plan), not in how it is
        drawn (seed, temperature, guidance, follow) or its level: the first one's count for all. Vocals, progress and
        errors are as in `generate`; InputError also for more or fewer settings than vocals.
        """
        from accompany.generation.pipeline import perform

        if not vocals:
            return []
        started = time.perf_counter()
        sung = [self._read(vocal, wanted) for vocal, wanted in zip(vocals, settings, strict=True)]
        made = perform(self.bundle, [voice for voice, _ in sung], settings, progress)
        wall_s = time.perf_counter() - started
        total = sum(voice.shape[-1] for voice, _ in sung)
        parts = zip(made, sung, settings, strict=True)
        return [
            self._take(each, voice, wanted, wall_s * voice.shape[-1] / total, source)
            for each, (voice, source), wanted in parts
        ]

    def takes(
        self,
        vocals: Vocals,
        prompt: str = "",
        count: int = 3,
        *,
        progress: Progress | None = None,
        **options: Unpack[Options],
    ) -> list[Take]:
        """`count` takes (1 to 64) of one vocal, with the seeds from `seed` on, the best fit first (`Take.scores`).

        Where the likeliest reading of the vocal is doubtful and `reading` is left out, some play the others. Each is
        what `generate` gives for its seed and reading. Vocals, prompt, progress, options and errors are as there.
        """
        settings = self.settings(prompt, **options)
        return self.best_first(self.each_take(vocals, settings, count, progress))

    def each_take(
        self, vocals: Vocals, settings: Settings, count: int, progress: Progress | None = None
    ) -> Iterator[Take]:
        """Takes of one vocal with their scores, each as soon as it is made, with the seeds from that of `settings` on.

        The vocal is read and analyzed once; `count` is 1 to 64. Vocals, progress and errors are as in `generate`.
        """
        from accompany.generation.several import perform_each

        check_takes(count, settings.seed)
        voice, source = self._read(vocals, settings)
        each = [replace(settings, seed=settings.seed + index) for index in range(count)]
        started = time.perf_counter()
        for own, (made, features) in zip(each, perform_each(self.bundle, voice, each, progress), strict=True):
            own = replace(own, reading=made.plan.reading) if made.plan.reading > 1 else own
            take = self._take(made, voice, own, time.perf_counter() - started, source)
            yield self.scored(take, features)
            started = time.perf_counter()

    @staticmethod
    def best_first(takes: Iterable[Take]) -> list[Take]:
        """Takes in the order of their scores, the best `Take.scores["fit"]` first; nothing is raised."""
        return sorted(takes, key=lambda take: -take.scores.get("fit", 0.0))

    def scored(self, take: Take, features: Tensor | None = None) -> Take:
        """The take with its scores (`accompany.generation.scores`); of a model that plans nothing none, and no error.

        `features` [1, F, Dv] are those of its vocal, where they are known already.
        """
        if not self.bundle.plans:
            return take
        from accompany.generation.scores import score_take

        return replace(take, scores=score_take(self._own(), take, features))

    def analyse(self, vocals: Vocals, *, edited: Analysis | None = None, **options: Unpack[Options]) -> Analysis:
        """The analysis of a vocal: beats, bars, chords, key and sections.

        Args:
            vocals: a file, or `(samples, sample_rate)`.
            edited: an analysis whose locked parts stay as they are.
            options: bpm, key, chords, taps, melody and reading as in `generate`.

        Raises:
            InputError: as `generate`, or for a model that plans nothing.
        """
        from accompany.generation.analysis import analyze_vocal

        settings = self.settings(**options)
        recording = None if isinstance(vocals, tuple) else vocals
        return analyze_vocal(self._own(), self._read(vocals, settings)[0], settings, edited, recording)

    def transcribe(self, vocals: Vocals) -> tuple[SungNote, ...]:
        """The sung notes of a vocal: `start_s` and `end_s` in seconds and MIDI `pitch` of each, one at a time.

        Args:
            vocals: a file, or `(samples, sample_rate)`.

        Raises:
            InputError: an unusable vocal, as in `generate`, or the package swift_f0 is not installed.
        """
        from accompany.common.extras import require
        from accompany.encoders.notes import transcribe

        require("eval", "swift_f0", what="The transcription of sung notes")
        return transcribe(read_vocal(vocals, self.sample_rate), self.sample_rate)

    def stream(self, vocals: Vocals, prompt: str = "", **options: Unpack[Options]) -> Stream:
        """Play while the song is being made: an iterable of pieces, float32 [C, t] (`accompany.generation.streaming`).

        Vocals, prompt, options and errors are as in `generate`.
        """
        from accompany.generation.streaming import Stream

        settings = self.settings(prompt, **options)
        return Stream(self._own(), self._read(vocals, settings)[0], settings)

    def retake(
        self,
        take: Take,
        from_s: float,
        to_s: float,
        prompt: str | None = None,
        *,
        progress: Progress | None = None,
        **options: Unpack[Options],
    ) -> Take:
        """The same take with the region from `from_s` to `to_s` (seconds) made again, every other sample as it was.

        Without prompt and options the next seed plays the same plan with the same settings. Progress is as in
        `generate`.

        Raises:
            InputError: a region outside of the song or shorter than a quarter of a second, an option out of range, or
                a take without draft.
        """
        arguments = {"from_s": from_s, "to_s": to_s}
        return self._edited(take, "retake", arguments, self._changed(take, prompt, options), progress)

    def vary(
        self,
        take: Take,
        strength: float,
        prompt: str | None = None,
        *,
        progress: Progress | None = None,
        **options: Unpack[Options],
    ) -> Take:
        """A take like this one: a share `strength` (0 to 1) of its beats composed anew, all of it played anew.

        Prompt, options, progress and errors are as in `retake`.
        """
        return self._edited(take, "vary", {"strength": strength}, self._changed(take, prompt, options), progress)

    def extend(
        self,
        take: Take,
        before_s: float = 0.0,
        after_s: float = 0.0,
        prompt: str | None = None,
        *,
        progress: Progress | None = None,
        **options: Unpack[Options],
    ) -> Take:
        """The take with `before_s` and `after_s` (0 to 600) seconds of band around it, while the voice rests.

        Prompt, options, progress and errors are as in `retake`; InputError also where both are 0.
        """
        arguments = {"before_s": before_s, "after_s": after_s}
        return self._edited(take, "extend", arguments, self._changed(take, prompt, options), progress)

    def _edited(
        self, take: Take, kind: str, arguments: dict[str, float], settings: Settings, progress: Progress | None
    ) -> Take:
        from accompany.generation.edit import Edit

        return self.edit(take, Edit(kind, arguments, settings), progress)

    def edit(self, take: Take, edit: Edit, progress: Progress | None = None) -> Take:
        """Do to a take what an edit says, as it was done before; progress and errors as in the method of its kind."""
        from accompany.generation.edits import edited_take

        self.check_mute(edit.settings)
        return edited_take(self._own(), take, edit, progress)

    def embed(self, recording: Vocals) -> tuple[float, ...]:
        """The CLAP embedding of a recording, a file or `(samples, sample_rate)`. InputError as in `generate`."""
        import torch

        clap = self.bundle.clap
        mono = torch.from_numpy(read_vocal(recording, clap.sample_rate))
        return tuple(clap.embed_audio(mono.to(self.bundle.device))[0].tolist())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a folder that `load` takes. InputError where it cannot be, or holds something else."""
        from accompany.models.writing import save_bundle

        save_bundle(self.bundle, folder)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Upload the model to the hub as `repo_id` (owner/name), which `load` takes; returns its address.

        A new one is visible to all unless `private`. InputError: no such name, no token (`HF_TOKEN`), or no network.
        """
        from accompany.models.publishing import push_loaded

        return push_loaded(self.bundle, repo_id, private)

    def _read(self, vocals: Vocals, settings: Settings) -> tuple[np.ndarray, Source]:
        """A vocal [1, T] that goes on as long as the taps of the settings, and its source."""
        self.check_mute(settings)
        voice, source = read_with_source(vocals, self.sample_rate)
        name = "the vocal" if isinstance(vocals, tuple) else str(vocals)
        settings.check_within(voice.shape[-1] / self.sample_rate, name)
        return voice, source

    def _take(self, made: Made, voice: np.ndarray, settings: Settings, wall_s: float, source: Source | None) -> Take:
        rate, stems = self.sample_rate, made.stems
        return Take(made.samples, rate, voice, made.plan, settings, wall_s, source, made.draft, stems=stems)

    def _own(self) -> Bundle:
        """The parts of a model of this package's own kind; InputError for another kind."""
        from accompany.models.pretrained import Bundle

        if not isinstance(self.bundle, Bundle):
            raise InputError(f"{self.name} plans nothing, so it can only generate; choose a model such as tiny.")
        return self.bundle

    def _changed(self, take: Take, prompt: str | None, options: Options) -> Settings:
        """The settings of an edit: those of the take with its plan, the next seed, and what is given."""
        given: dict[str, Any] = dict(options)
        if given.get("like") is not None:
            given["like"] = self.embed(given["like"])
        seed = (take.seed + 1 + len(take.edits)) % (MOST_SEED + 1)
        base = replace(take.settings.playing(take.plan), seed=seed)
        if prompt is not None:
            given["prompt"] = prompt
        return replace(base, **given)


def check_takes(count: int, seed: int = 0) -> None:
    """InputError for a number of takes out of range, or whose last seed would be."""
    check_whole("number of takes", count, 1, MOST_TAKES)
    if seed + count - 1 > MOST_SEED:
        raise InputError(f"The seed {seed} leaves no seeds for {count} takes; give a smaller one.")


def load(
    model: str | os.PathLike[str] = "tiny",
    *,
    device: str = "auto",
    precision: str = "auto",
    lora: Sequence[str | os.PathLike[str]] = (),
    lora_scale: float = 1.0,
) -> Band:
    """Load a model.

    Args:
        model: the name of a bundled model, a folder, or a hub id (`owner/name`; only this may use the network).
        device: "auto", "cpu", "cuda" or "mps".
        precision: of the stages' transformers: "float32", "bfloat16", "float16" or "int8" (weights only, on the CPU);
            "auto" is bfloat16 on a CUDA GPU (float16 where it has none) and float32 elsewhere.
        lora: folders of adapters that were trained on this model.
        lora_scale: how much of them, -10 to 10; 0 is none.

    Raises:
        InputError: no such model, weights or adapters that do not fit, or a device or precision that is not there.
    """
    from accompany.models.pretrained import find_bundle, lasting_name, load_bundle

    device = choose_device(device)
    chosen = choose_precision(precision, device)
    bundle = load_bundle(find_bundle(model), device)
    if lora:
        from accompany.models.adapters import add_adapter

        for folder in lora:
            _log.info("The %s stage plays with the adapter %s.", add_adapter(bundle, folder, lora_scale), folder)
    if chosen != "float32":
        from accompany.stages.precision import set_precision

        for stage in bundle.stages:
            set_precision(stage, chosen)
    return Band(bundle, precision, lasting_name(model))
