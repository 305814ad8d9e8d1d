"""The one door: `accompany.load(name).generate(vocals, prompt)`. The command line, notebooks and tests use it too."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union, overload

import numpy as np

from accompany import audio
from accompany.errors import InputError
from accompany.settings import Settings

if TYPE_CHECKING:
    from accompany.bundles import Bundle, LlambadaBundle
    from accompany.pretrained import BundleInfo
    from accompany.stages.plan import Plan

_log = logging.getLogger(__name__)

Vocals = Union[str, "os.PathLike[str]", "tuple[np.ndarray, int]"]
Progress = Callable[[float], None]

_MIN_SECONDS = 0.5
_SILENT_PEAK = 1e-4
_MAX_CHANNELS = 64


@dataclass(frozen=True)
class Take:
    """One accompaniment, sample-aligned with its vocal.

    Attributes:
        samples: the band, float32 [C, T], peaks below 1.
        sample_rate: Hz, of `samples` and `vocals`.
        vocals: the voice, mono float32 [1, T].
        plan: the beats, bars, chords and key that the band played; empty for a model that plans nothing.
        settings: what it was asked for.
        wall_s: seconds that it took; of takes made together, a share by length.
    """

    samples: np.ndarray
    sample_rate: int
    vocals: np.ndarray
    plan: Plan
    settings: Settings
    wall_s: float = field(compare=False)

    @property
    def seed(self) -> int:
        """The seed that makes this take again."""
        return self.settings.seed

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate

    @property
    def mix(self) -> np.ndarray:
        """Voice and band together, float32 [C, T], peaks below 1."""
        from accompany.generation import mix

        return mix(self.vocals, self.samples)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the accompaniment; the suffix chooses the format. InputError when that is impossible."""
        audio.write(path, self.samples, self.sample_rate)

    def save_mix(self, path: str | os.PathLike[str]) -> None:
        """Write voice and band together; the suffix chooses the format. InputError when that is impossible."""
        audio.write(path, self.mix, self.sample_rate)


class Band:
    """A loaded model. It keeps no state between calls: a take depends on its arguments only."""

    def __init__(self, bundle: Bundle | LlambadaBundle) -> None:
        """Wrap the built parts; `load` builds them from a folder."""
        self.bundle = bundle

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.name

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
        self,
        vocals: Vocals,
        prompt: str = ...,
        *,
        seed: int = ...,
        bpm: float | None = ...,
        key: str | None = ...,
        temperature: float | None = ...,
        guidance: float | None = ...,
        level_db: float = ...,
        plan: Plan | None = ...,
        progress: Progress | None = ...,
    ) -> Take: ...

    @overload
    def generate(
        self,
        vocals: list[Any],
        prompt: str | list[str] = ...,
        *,
        seed: int = ...,
        bpm: float | None = ...,
        key: str | None = ...,
        temperature: float | None = ...,
        guidance: float | None = ...,
        level_db: float = ...,
        plan: Plan | None = ...,
        progress: Progress | None = ...,
    ) -> list[Take]: ...

    def generate(
        self,
        vocals: Vocals | list[Any],
        prompt: str | list[str] = "",
        *,
        seed: int = 0,
        bpm: float | None = None,
        key: str | None = None,
        temperature: float | None = None,
        guidance: float | None = None,
        level_db: float = Settings.level_db,
        plan: Plan | None = None,
        progress: Progress | None = None,
    ) -> Take | list[Take]:
        """Accompany one vocal of any length from half a second, or a list of them together.

        Args:
            vocals: an audio file, or `(samples, sample_rate)` with samples [T] or [C, T]; or a list of such, which
                are made in one batch: faster than one by one, and each as it is on its own.
            prompt: style and instruments in plain English; empty leaves the choice to the model. For a list of vocals
                also a list, one for each.
            seed: the same seed, arguments and model give the same take.
            bpm, key, temperature, guidance, level_db: see `accompany.settings.Settings`.
            plan: beats, bars, chords and key to play in place of what is heard, such as the `plan` of another take
                with some chords changed (`dataclasses.replace`).
            progress: called with the share done, 0 to 1.

        Raises:
            InputError: an unusable vocal (missing, broken, silent, too short), an option out of range, prompts that
                are more or fewer than the vocals, a plan together with `bpm` or `key`, or for a model without plans.
        """
        if plan is not None and (bpm is not None or key is not None):
            raise InputError("A plan says tempo and key already; give a plan, or bpm and key.")
        several = vocals if isinstance(vocals, list) else [vocals]
        prompts = [prompt] * len(several) if isinstance(prompt, str) else prompt
        if len(prompts) != len(several):
            raise InputError(f"{len(prompts)} prompts for {len(several)} vocals; give one for each, or one for all.")
        settings = [Settings(each, seed, bpm, key, temperature, guidance, level_db) for each in prompts]
        takes = self._takes(several, settings, plan, progress)
        return takes if isinstance(vocals, list) else takes[0]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a folder that `load` takes."""
        from accompany.pretrained import save_bundle

        save_bundle(self.bundle, folder)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Upload the model to the hub as `owner/name`, which `load` takes; returns its address. Needs a login."""
        from accompany.pretrained import push_to_hub

        if not self.bundle.adapted:
            return push_to_hub(self.bundle.path, repo_id, private=private)
        with tempfile.TemporaryDirectory() as scratch:  # the folder it was loaded from lacks the adapters
            self.save(os.path.join(scratch, self.name))
            return push_to_hub(os.path.join(scratch, self.name), repo_id, private=private)

    def _takes(
        self, vocals: list[Any], settings: list[Settings], plan: Plan | None, progress: Progress | None
    ) -> list[Take]:
        if not vocals:
            return []
        started = time.perf_counter()
        sung = [read_vocal(vocal, self.sample_rate) for vocal in vocals]
        made = self.bundle.generate(sung, settings, plan, progress)
        wall_s = time.perf_counter() - started
        total = sum(vocal.shape[-1] for vocal in sung)
        return [
            Take(samples, self.sample_rate, vocal, played, each, wall_s * vocal.shape[-1] / total)
            for (samples, played), vocal, each in zip(made, sung, settings, strict=True)
        ]


def load(
    model: str | os.PathLike[str] = "tiny",
    *,
    device: str = "auto",
    lora: Sequence[str | os.PathLike[str]] = (),
    lora_scale: float = 1.0,
) -> Band:
    """Load a model.

    Args:
        model: the name of a bundled model, a folder, or a hub id (`owner/name`; only this may use the network).
        device: "auto", "cpu", "cuda" or "mps".
        lora: folders of adapters that were trained on this model.
        lora_scale: how much of them, -10 to 10; 0 is none.

    Raises:
        InputError: no such model, weights or adapters that do not fit, or a device that is not there.
    """
    from accompany.pretrained import find_bundle, load_bundle

    bundle = load_bundle(find_bundle(model), choose_device(device))
    if lora:
        from accompany.adapters import add_adapter

        for folder in lora:
            _log.info("The %s stage plays with the adapter %s.", add_adapter(bundle, folder, lora_scale), folder)
    return Band(bundle)


def choose_device(name: str) -> str:
    """The device for `name`; "auto" takes a GPU where there is one. InputError when it is not there."""
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if present[device])
    if not present.get(name):
        there = ", ".join(["auto", *(device for device, is_there in present.items() if is_there)])
        raise InputError(f"The device '{name}' is not available here; use one of {there}.")
    return name


def read_vocal(vocals: Vocals, sample_rate: int) -> np.ndarray:
    """A vocal as mono float32 [1, round(N * sample_rate / its rate)], checked.

    Raises:
        InputError: unreadable, shorter than half a second, silent, or with samples that are not numbers.
    """
    if isinstance(vocals, tuple):
        mono, seconds, name = *_from_array(*vocals, sample_rate), "The vocal"
    else:
        read, source = audio.read_mono(vocals, sample_rate)
        mono, seconds, name = read.samples, source.seconds, str(vocals)
    if seconds < _MIN_SECONDS:
        raise InputError(f"{name} lasts {seconds:.3f} s; sing for at least {_MIN_SECONDS:g} s.")
    if np.abs(mono).max() < _SILENT_PEAK:
        raise InputError(f"{name} is silent; record it again with more gain, or choose another track.")
    return mono


def _from_array(samples: Any, from_rate: int, to_rate: int) -> tuple[np.ndarray, float]:
    values = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    if values.ndim != 2 or len(values) > _MAX_CHANNELS:
        raise InputError(f"The vocal has shape {list(values.shape)}; give samples as [T] or [channels, T].")
    if not np.isfinite(values).all():
        raise InputError("The vocal has samples that are not numbers (NaN or infinite); repair them first.")
    if from_rate < 1:
        raise InputError(f"The vocal's sample rate {from_rate} must be a whole number of Hz above 0.")
    mono = audio.resample(audio.to_mono(values), from_rate, to_rate)
    return np.ascontiguousarray(mono), values.shape[-1] / from_rate


def describe_models() -> list[dict[str, Any]]:
    """The bundled models: name, licence, bytes, and for each part its licence, bytes and rates."""
    from accompany.pretrained import find_bundle, list_bundles, read_bundle

    return [_describe(read_bundle(find_bundle(name))) for name in list_bundles()]


def _describe(info: BundleInfo) -> dict[str, Any]:
    names = ("name", "license", "bytes", "rates")
    parts = [{name: getattr(part, name) for name in names} for part in info.parts]
    return {"name": info.name, "license": info.license, "bytes": info.bytes, "parts": parts}
