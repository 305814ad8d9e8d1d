"""Demucs as a function: a mix in, the voice and everything else out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.errors import InputError

VOCALS = "vocals"


class SongSeparator:
    """A Demucs model (Rouard et al., arXiv 2211.08553) that splits songs into stems.

    Args:
        name: a Demucs name ("htdemucs"), `hf://namespace/name`, or a folder in the layout of a Demucs
            repository: NAME.yaml with SIGNATURE.safetensors (as on the hub) or SIGNATURE.th (as `demucs --repo`).
        device: torch device.
        needed: stems that it must know.
        option: what the user calls it, for the refusal.

    Raises:
        InputError: no such model, or one without a stem that is needed.
    """

    def __init__(self, name: str, device: str = "cpu", needed: Sequence[str] = (), option: str = "--stems") -> None:
        self.name = name
        self._separator = _load(name, device)
        for stem in needed:
            if stem not in self._separator.model.sources:
                raise InputError(f"{option} {name} has no '{stem}' among its sources; choose another model.")

    @property
    def sample_rate(self) -> int:
        """Of the stems, in Hz."""
        return int(self._separator.samplerate)

    def stems(self, samples: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """The stems of [C, T] by name, each float32 [C', round(T * own rate / sample_rate)], aligned with it."""
        import torch

        samples = audio.resample(samples, sample_rate, self.sample_rate)
        samples = _with_channels(samples, int(self._separator.audio_channels))
        with torch.inference_mode():
            _, stems = self._separator.separate_tensor(torch.from_numpy(np.ascontiguousarray(samples)))
        return {name: stem.cpu().numpy() for name, stem in stems.items()}


class VocalSeparator(SongSeparator):
    """A `SongSeparator` that splits songs in two: the voice and everything else."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        super().__init__(name, device, (VOCALS,), "--separator")

    def split(self, song: audio.Audio) -> tuple[np.ndarray, np.ndarray]:
        """Vocals and accompaniment of a song, each float32 [C, round(T * sample_rate / rate)], aligned with it."""
        stems = self.stems(song.samples, song.sample_rate)
        others = [stem for name, stem in stems.items() if name != VOCALS]
        return stems[VOCALS], np.sum(others, axis=0)


def _with_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    if samples.shape[0] == channels:
        return samples
    mono = audio.to_mono(samples)
    return np.repeat(mono, channels, axis=0)


def _load(name: str, device: str) -> Any:
    try:
        from demucs.api import LoadModelError, Separator
        from demucs.repo import ModelLoadingError
    except ImportError as error:
        raise InputError(
            f"Separation needs Demucs ({error}); install it with pip install 'accompany[data]'."
        ) from error
    # No random shift: the same song gives the same pair.
    options: dict[str, Any] = {"device": device, "shifts": 0, "progress": False}
    try:
        if not Path(name).is_dir():
            return Separator(model=name, **options)
        folder = Path(name)
        if any(folder.glob("*.safetensors")):
            return _folder_separator(Separator)(model=name, repo=folder, **options)
        return Separator(model=_only_name(folder), repo=folder, **options)
    except (OSError, LoadModelError, ModelLoadingError, KeyError, RuntimeError, ValueError, SystemExit) as error:
        raise InputError(
            f"Cannot load the separator '{name}' ({_first_line(error)}); give a Demucs name such as htdemucs "
            "(needs the network once), hf://namespace/name, or a folder with its weights."
        ) from error


def _folder_separator(base: type) -> type:
    """A `demucs.api.Separator` of a local folder in the layout of the hub, which Demucs itself only downloads."""

    class FolderSeparator(base):  # type: ignore[misc]
        def _load_model(self) -> None:
            import yaml
            from demucs.apply import BagOfModels
            from demucs.hf import load_safetensors_model

            files = sorted(self._repo.glob("*.yaml"))
            bag = yaml.safe_load(files[0].read_text()) if files else {}
            names = bag.get("models") or [path.stem for path in sorted(self._repo.glob("*.safetensors"))]
            models = [load_safetensors_model(self._repo / f"{name}.safetensors") for name in names]
            self._model = BagOfModels(models, bag.get("weights"), bag.get("segment")).eval()
            self._audio_channels = self._model.audio_channels
            self._samplerate = self._model.samplerate

    return FolderSeparator


def _only_name(folder: Path) -> str:
    """The bag of a `--repo` folder, or its only model."""
    bags, models = sorted(folder.glob("*.yaml")), sorted(folder.glob("*.th"))
    if len(bags) == 1:
        return bags[0].stem
    if len(models) == 1:
        return models[0].stem.rsplit("-", 1)[0]
    raise ValueError("the folder must hold one model or one bag of models")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
