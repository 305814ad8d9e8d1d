"""Source separation by Demucs: a mix to vocals and accompaniment."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.config import CHECKPOINTS_DIR
from accompany.common.extras import require
from accompany.errors import InputError
from accompany.sound.separator_files import read_networks

VOCALS = "vocals"
BUNDLED = "tiny"
OVERLAP = 0.25
"""Share of a segment that it has in common with the next, as Demucs' own default."""


class Stopwatch:
    """Adds up the wall seconds of the blocks that it is held around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started


class SongSeparator:
    """A Demucs model (Rouard et al., arXiv 2211.08553) that splits songs into stems.

    Args:
        name: "tiny", the small one that the package carries; a Demucs name ("htdemucs"), `hf://namespace/name`, or a
            folder in the layout of a Demucs repository: NAME.yaml with SIGNATURE.safetensors (as on the hub) or
            SIGNATURE.th (as `demucs --repo`).
        device: torch device.
        needed: stems that it must know.

    Raises:
        InputError: no such model, or one without a stem that is needed.
    """

    def __init__(self, name: str, device: str = "cpu", needed: Sequence[str] = ()) -> None:
        self.name = name
        self.watch = Stopwatch()
        self._device = device
        self._separator = _load(bundled_folder() if name == BUNDLED else name, device)
        for stem in needed:
            if stem not in self._separator.model.sources:
                raise InputError(f"--separator {name} has no '{stem}' among its sources; choose another model.")

    @property
    def sample_rate(self) -> int:
        """Of the stems, in Hz."""
        return int(self._separator.samplerate)

    @property
    def channels(self) -> int:
        """Of the stems."""
        return int(self._separator.audio_channels)

    def stems(self, samples: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """The stems of [C, T] by name, each float32 [C', round(T * own rate / sample_rate)], aligned with it."""
        import torch

        samples = audio.resample(samples, sample_rate, self.sample_rate)
        samples = _with_channels(samples, int(self._separator.audio_channels))
        with self._running(), torch.inference_mode():
            _, stems = self._separator.separate_tensor(torch.from_numpy(np.ascontiguousarray(samples)))
        made = {name: stem.cpu().numpy() for name, stem in stems.items()}
        if not all(np.isfinite(stem).all() for stem in made.values()):
            raise InputError(f"The separator '{self.name}' gave values that are not numbers; choose another.")
        return made

    @contextmanager
    def _running(self) -> Iterator[None]:
        """A network of odd sizes loads, and fails where it is run."""
        try:
            yield
        except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
            raise InputError(
                f"The separator '{self.name}' cannot run ({_first_line(error)}); choose another, or another --device."
            ) from error


class VocalSeparator(SongSeparator):
    """A `SongSeparator` with two outputs: the voice and everything else."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        super().__init__(name, device, (VOCALS,))

    def split(self, song: audio.Audio) -> tuple[np.ndarray, np.ndarray]:
        """Vocals and accompaniment of a song, each float32 [C, round(T * sample_rate / rate)], aligned with it."""
        stems = self.stems(song.samples, song.sample_rate)
        others = [stem for name, stem in stems.items() if name != VOCALS]
        return stems[VOCALS], np.sum(others, axis=0)

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vocals and accompaniment [C, n] of a song that comes in blocks [C, n] at `sample_rate`, in bounded memory.

        The same overlapping segments, weighted in the same way, as Demucs takes for a whole song; only the level that
        they are brought to is that of the song up to there.

        Raises:
            InputError: the model says something that is no sound.
        """
        import torch
        from demucs.apply import TensorChunk, apply_model

        model = self._separator.model
        segment = int(_segment_s(model) * self.sample_rate)
        stride = int((1 - OVERLAP) * segment)
        weight = _triangle(segment)
        source = _Ahead(blocks, int(self._separator.audio_channels))
        made, weights = np.zeros((2, source.channels, segment), np.float32), np.zeros(segment, np.float32)
        while (length := source.fill(segment)) > 0:
            scale = source.scale()
            chunk = TensorChunk(torch.from_numpy(source.buffer / scale)[None], source.past, length)
            with self._running(), self.watch, torch.inference_mode():
                out = apply_model(model, chunk, shifts=0, split=False, device=self._device)[0]
            two = self._two(out) * scale
            made[..., :length] += weight[:length] * two
            weights[:length] += weight[:length]
            done = min(stride, length)
            ready = made[..., :done] / weights[:done]
            if not np.isfinite(ready).all():
                raise InputError(f"The separator '{self.name}' gave values that are not numbers; choose another.")
            yield ready[0], ready[1]
            made = np.concatenate([made[..., done:], np.zeros((*made.shape[:2], done), np.float32)], axis=-1)
            weights = np.concatenate([weights[done:], np.zeros(done, np.float32)])
            source.skip(done, keep=segment)

    def _two(self, out: Any) -> np.ndarray:
        """Sources [S, C, n] as vocals and the sum of the others: [2, C, n]."""
        sources = dict(zip(self._separator.model.sources, out.cpu().numpy(), strict=True))
        others = [sound for name, sound in sources.items() if name != VOCALS]
        two: np.ndarray = np.stack([sources[VOCALS], np.sum(others, axis=0)])
        return two


class _Ahead:
    """The part of a song that a segment needs: what is left of it in front, and a segment's length behind."""

    def __init__(self, blocks: Iterable[np.ndarray], channels: int) -> None:
        self._blocks = iter(blocks)
        self.channels = channels
        self.buffer = np.zeros((channels, 0), np.float32)
        self.past = 0
        self._energy, self._count = 0.0, 0

    def fill(self, length: int) -> int:
        """Read until `length` samples lie ahead, or the song ends; returns how many do."""
        pieces = [self.buffer]
        ahead = self.buffer.shape[-1] - self.past
        while ahead < length and (block := next(self._blocks, None)) is not None:
            piece = _with_channels(block, self.channels)
            mono = audio.to_mono(piece)[0]
            self._energy += float(np.dot(mono, mono))
            self._count += piece.shape[-1]
            ahead += piece.shape[-1]
            pieces.append(piece)
        self.buffer = np.concatenate(pieces, axis=-1)
        return min(ahead, length)

    def scale(self) -> np.float32:
        """The level of all that was read, which the network takes as 1."""
        return np.float32((self._energy / max(self._count, 1)) ** 0.5 + 1e-8)

    def skip(self, count: int, *, keep: int) -> None:
        """Go on by `count` samples; the last `keep` of the past stay as context for the song's end."""
        self.past += count
        drop = max(self.past - keep, 0)
        self.buffer, self.past = self.buffer[:, drop:], self.past - drop


def bundled_folder() -> str:
    """The folder of the separator that the package carries."""
    return str(CHECKPOINTS_DIR / "separator")


def _segment_s(model: Any) -> float:
    """Seconds that a network takes at once: the shortest of a bag's."""
    return min(float(each.segment) for each in getattr(model, "models", [model]))


def _triangle(length: int) -> np.ndarray:
    """The weight of a segment in the overlap: rising to 1 in its middle."""
    rising = np.arange(1, length // 2 + 1)
    whole = np.concatenate([rising, np.arange(length - length // 2, 0, -1)])
    return (whole / whole.max()).astype(np.float32)


def _with_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    if samples.shape[0] == channels:
        return samples
    mono = audio.to_mono(samples)
    return np.repeat(mono, channels, axis=0)


def _load(name: str, device: str) -> Any:
    require("data", "demucs", what="Separation")
    try:
        from demucs.api import LoadModelError, Separator
    except ImportError as error:
        raise InputError(f"Demucs is installed but broken ({error}); accompany doctor says what to do.") from error
    try:
        bag = read_networks(name)
        # No random shift: the same song gives the same pair.
        return _with_networks(Separator, bag)(device=device, shifts=0, progress=False)
    except (OSError, LoadModelError, KeyError, RuntimeError, ValueError, SystemExit) as error:
        raise InputError(
            f"Cannot load the separator '{name}' ({_first_line(error)}); give a Demucs name such as htdemucs "
            "(needs the network once), hf://namespace/name, or a folder with its weights."
        ) from error


def _with_networks(base: type, bag: Any) -> type:
    """A `demucs.api.Separator` of networks that are loaded already; its own loader would run code that files name."""

    class LoadedSeparator(base):  # type: ignore[misc]
        def _load_model(self) -> None:
            self._model = bag
            self._audio_channels = bag.audio_channels
            self._samplerate = bag.samplerate

    return LoadedSeparator


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
