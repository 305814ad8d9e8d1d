"""The nodes: load a model, generate an accompaniment, make a region of it again.

AUDIO is what the host passes between nodes: `{"waveform": float32 [B, C, T], "sample_rate": Hz}`. All outputs have the
batch, the length and the sample rate of the vocal. Shape letters: B items of a batch, C channels, T samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from accompany import InputError, Sound, audio, load
from accompany.common.devices import PRECISIONS
from accompany.generation.settings import CONTROLS, Options, Settings
from accompany.generation.several import share_of

if TYPE_CHECKING:
    from accompany import Band, Take
    from accompany.common.progress import Progress

STEMS = ("drums", "bass", "other")
_DEVICES = ("auto", "cpu", "cuda", "mps")
_MODEL, _TAKES = "ACCOMPANY_MODEL", "ACCOMPANY_TAKES"
_SOUNDS = ("mix", "band", *STEMS)
_HUNDREDTHS = 100


class Takes(NamedTuple):
    """The takes of a batch, with the model that made them and the Hz of the vocals."""

    band: Band
    takes: list[Take]
    sample_rate: int


class LoadModel:
    """A model by its bundled name, folder or hub id."""

    CATEGORY = "audio/accompany"
    DESCRIPTION = "Loads a model of accompany. The bundled one, tiny, needs no download."
    FUNCTION = "run"
    RETURN_TYPES = (_MODEL,)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs, as the host draws them."""
        tip = "A bundled name (tiny), a folder, or a hub id (owner/name), which may be downloaded"
        return {
            "required": {
                "name": ("STRING", {"default": "tiny", "tooltip": tip}),
                "device": (list(_DEVICES), {"default": "auto"}),
                "precision": (list(PRECISIONS), {"default": "auto", "tooltip": "of the transformers"}),
            }
        }

    def run(self, name: str, device: str, precision: str) -> tuple[Band]:
        """The loaded model. InputError as in `accompany.load`."""
        return (load(name.strip(), device=device, precision=precision),)


class Generate:
    """The accompaniments of a batch of vocals."""

    CATEGORY = "audio/accompany"
    DESCRIPTION = (
        "Accompanies vocals, each item of the batch on its own. Stems are silent where the model makes none apart."
    )
    FUNCTION = "run"
    RETURN_TYPES = (*["AUDIO"] * len(_SOUNDS), _TAKES)
    RETURN_NAMES = (*_SOUNDS, "takes")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs, as the host draws them."""
        return {
            "required": {
                "model": (_MODEL,),
                "vocals": ("AUDIO",),
                "prompt": _text("prompt", multiline=True),
                "seed": _seed(0),
                "bpm": _number("bpm", 0.0, step=0.1, tooltip="tempo, when you know it; 0 finds it in the voice"),
                "key": _text("key", tooltip="key, when you know it, such as C:maj or A:min; empty finds it"),
                "chords": _text("chords", tooltip="one a bar and round again, such as 'C G Am F'; empty finds them"),
                "level_db": _number("level_db", -2.0, step=0.5),
            },
            "optional": {
                "mute": _text("mute"),
                "like": ("AUDIO", {"tooltip": f"{CONTROLS['like'].help}; of a batch the first"}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        prompt: str | None = None,
        bpm: float | None = None,
        key: str | None = None,
        chords: str | None = None,
        mute: str | None = None,
    ) -> bool:
        """True, before anything runs; linked inputs are None.

        InputError for what cannot be: the host shows a returned sentence once for each of these inputs, a raised one
        once. The range of the level is left to the host.
        """
        known: dict[str, Any] = {"key": _given(key), "chords": _given(chords), "mute": _given(mute)}
        Settings(prompt or "", bpm=bpm or None, **known)
        return True

    def run(
        self,
        model: Band,
        vocals: dict[str, Any],
        prompt: str,
        seed: int,
        bpm: float,
        key: str,
        chords: str,
        level_db: float,
        mute: str = "",
        like: dict[str, Any] | None = None,
    ) -> tuple[Any, ...]:
        """Mix, band and stems as AUDIO, and the takes. InputError as in `accompany.Band.generate`."""
        rate, voices = _voices(vocals, "vocals")
        options: Options = {"seed": seed, "bpm": bpm or None, "level_db": level_db}
        options |= {"key": _given(key), "chords": _given(chords), "mute": _given(mute)}
        if like is not None:
            options["like"] = (_voices(like, "like")[1][0], _voices(like, "like")[0])
        takes = model.generate([(voice, rate) for voice in voices], prompt, progress=_progress(), **options)
        return _outputs(Takes(model, takes, rate))


class Retake:
    """A region of takes made again, every sample outside as it was."""

    CATEGORY = "audio/accompany"
    DESCRIPTION = "Makes a region of the takes again, with the codes on either side as context."
    FUNCTION = "run"
    RETURN_TYPES = Generate.RETURN_TYPES
    RETURN_NAMES = Generate.RETURN_NAMES

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs, as the host draws them."""
        seconds = {"min": 0.0, "max": 36000.0, "step": 0.01}
        return {
            "required": {
                "takes": (_TAKES,),
                "from_s": ("FLOAT", {**seconds, "default": 0.0, "tooltip": "start of the region in seconds"}),
                "to_s": (
                    "FLOAT",
                    {**seconds, "default": 4.0, "tooltip": "its end in seconds, a quarter later or more"},
                ),
                "prompt": _text("prompt", multiline=True, tooltip="of the region; empty keeps that of the take"),
                "seed": _seed(1),
            }
        }

    def run(self, takes: Takes, from_s: float, to_s: float, prompt: str, seed: int) -> tuple[Any, ...]:
        """Mix, band and stems as AUDIO, and the takes. InputError as in `accompany.Band.retake`."""
        progress = _progress()
        made = [
            takes.band.retake(
                take, from_s, to_s, _given(prompt), progress=share_of(progress, index, len(takes.takes)), seed=seed
            )
            for index, take in enumerate(takes.takes)
        ]
        return _outputs(takes._replace(takes=made))


def _outputs(made: Takes) -> tuple[Any, ...]:
    """Mix, band and stems as AUDIO at the rate of the vocals, and the takes themselves."""
    sound = Sound(sample_rate=made.sample_rate)
    mixes = [take.rendered_mix(sound) for take in made.takes]
    bands = [take.rendered(sound) for take in made.takes]
    stems = [_stems(take, band, made.sample_rate) for take, band in zip(made.takes, bands, strict=True)]
    sounds = [mixes, bands, *([each[name] for each in stems] for name in STEMS)]
    return (*(_as_audio(items, made.sample_rate) for items in sounds), made)


def _stems(take: Take, band: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """The stems of a take like its `band` [C, T] at a rate; silence where the model makes none apart."""
    sounds = {name: np.zeros_like(band) for name in STEMS}
    for name, samples in (take.stems or {}).items():
        sounds[name] = audio.fit_length(audio.resample(samples, take.sample_rate, rate), band.shape[-1])
    return sounds


def _as_audio(items: list[np.ndarray], sample_rate: int) -> dict[str, Any]:
    """Sounds [C, T] of one shape as AUDIO."""
    waveform = torch.from_numpy(np.ascontiguousarray(np.stack(items), np.float32))
    return {"waveform": waveform, "sample_rate": sample_rate}


def _voices(sound: dict[str, Any] | None, name: str) -> tuple[int, list[np.ndarray]]:
    """Sample rate and items [C, T] of an AUDIO. InputError where it is none."""
    waveform = sound.get("waveform") if isinstance(sound, dict) else None
    if not isinstance(sound, dict) or waveform is None or waveform.ndim != 3 or not len(waveform):
        shape = "nothing" if waveform is None else f"a waveform of shape {list(waveform.shape)}"
        raise InputError(
            f"The input {name} got {shape}; connect AUDIO, a waveform of shape [batch, channels, samples]."
        )
    return int(sound["sample_rate"]), list(waveform.detach().float().cpu().numpy())


def _progress() -> Progress:
    """The host's progress bar of the node that runs; raises as soon as the person stops the queue."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bar = ProgressBar(_HUNDREDTHS)

    def report(share: float) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(round(share * _HUNDREDTHS), _HUNDREDTHS)

    return report


def _given(text: str | None) -> str | None:
    """The text of a widget, or None for an empty one."""
    return (text or "").strip() or None


def _number(name: str, default: float, *, step: float, tooltip: str = "") -> tuple[str, dict[str, Any]]:
    """A number with the range that it has at every door; one that may be left out starts at 0."""
    control = CONTROLS[name]
    low = min(control.low or 0.0, default)
    tip = f"{tooltip or control.help} ({control.unit})"
    return "FLOAT", {"default": default, "min": low, "max": control.high, "step": step, "tooltip": tip}


def _text(name: str, *, multiline: bool = False, tooltip: str = "") -> tuple[str, dict[str, Any]]:
    return "STRING", {"default": "", "multiline": multiline, "tooltip": tooltip or CONTROLS[name].help}


def _seed(default: int) -> tuple[str, dict[str, Any]]:
    control = CONTROLS["seed"]
    limits = {"min": int(control.low or 0), "max": int(control.high or 0)}
    return "INT", {"default": default, **limits, "control_after_generate": True, "tooltip": control.help}


NODE_CLASS_MAPPINGS = {
    "AccompanyLoadModel": LoadModel,
    "AccompanyGenerate": Generate,
    "AccompanyRetake": Retake,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "AccompanyLoadModel": "Accompany: load model",
    "AccompanyGenerate": "Accompany: generate",
    "AccompanyRetake": "Accompany: retake",
}
