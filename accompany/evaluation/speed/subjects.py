"""Subjects of the benchmark: one generation as timed parts, each a function and the amount of its work.

Shape letters: B items, G branches of guidance, F semantic frames, A codec frames, K streams of codes, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from accompany.errors import InputError
from accompany.stages.decoding import Progress, StreamDecoder, windows
from accompany.stages.depth import DepthDecoder
from accompany.stages.precision import Int8Linear

if TYPE_CHECKING:
    from accompany.api import Band
    from accompany.stages.acoustic import AcousticStage
    from accompany.stages.sampling import SamplingConfig
    from accompany.stages.semantic import SemanticStage
    from accompany.stages.transformer import TransformerConfig

_PROMPT = "warm acoustic guitar, bass, brushed drums"


@dataclass(frozen=True)
class Loop:
    """A part that writes its codes step by step: what a step reads, and what it would be without a cache.

    Attributes:
        matrices: those [out, in] of a step, each used once.
        frames: for each step, frames that it sees, itself included.
        windows: how often each window of a piece calls `progress`.
        steps_per_call: steps from one such call to the next.
        rows: sequences that run together, G * B.
        transformer: sizes of the stack that does most of the work.
        vocabulary: codes that a step chooses among, of all streams together.
        uncached: runs one step without a cache, over this many frames.
    """

    matrices: tuple[Tensor | Int8Linear, ...]
    frames: tuple[int, ...]
    windows: tuple[int, ...]
    rows: int
    transformer: TransformerConfig
    vocabulary: int
    uncached: Callable[[int], object]
    steps_per_call: int = 1

    @property
    def step_bytes(self) -> float:
        """Bytes of weights, and of cached keys and values, that an average step reads."""
        sizes = self.transformer
        weights = [matrix.weight if isinstance(matrix, Int8Linear) else matrix for matrix in self.matrices]
        cached = 2 * sizes.depth * sizes.n_kv_heads * sizes.width_of_head * self.rows
        item = 2 if weights[0].element_size() == 2 else 4
        return sum(weight.nbytes for weight in weights) + item * cached * sum(self.frames) / len(self.frames)


@dataclass(frozen=True)
class TimedPart:
    """One part of a generation, for a batch of vocals of one length.

    Attributes:
        name: such as `semantic`.
        run: does it once; a part with a loop reports its progress.
        codes: how many it writes; 0 where it writes none.
        loop: None where it does not go step by step.
    """

    name: str
    run: Callable[[Progress | None], object]
    codes: int = 0
    loop: Loop | None = None


class Subject(Protocol):
    """A loaded model to time; where it runs is `device`."""

    name: str
    device: str

    def parts(self, length_s: float, batch: int) -> Sequence[TimedPart]:
        """The parts of a generation in order, with inputs made: B = `batch` vocals of `length_s` seconds."""


class BandSubject:
    """The model that `accompany generate` plays with."""

    def __init__(self, band: Band) -> None:
        """Time this one; InputError unless its stages are this package's own."""
        from accompany.models.pretrained import Bundle

        if not isinstance(band.bundle, Bundle):
            raise InputError(f"bench times models of this package's own stages, and {band.name} is of another kind.")
        self.name, self.device = band.name, band.device
        self._bundle: Bundle = band.bundle

    def parts(self, length_s: float, batch: int) -> list[TimedPart]:
        """`encode`, `semantic`, `acoustic` and `decode`; see `Subject`."""
        from accompany.generation import pipeline
        from accompany.generation.planning import make_plan
        from accompany.generation.settings import Settings
        from accompany.stages.conditions import join

        bundle, seeds = self._bundle, list(range(batch))
        rate = bundle.codec.sample_rate
        vocal = np.random.default_rng(0).normal(0, 0.1, (1, round(length_s * rate))).astype(np.float32)

        @torch.inference_mode()
        def encode() -> object:
            features = pipeline.extract_features(bundle, vocal)
            plan = make_plan(bundle.listener, features, Settings())
            return pipeline.build_conditions(bundle, pipeline.VocalAnalysis(features, plan), Settings(_PROMPT))

        with torch.inference_mode():
            conditions = join([encode()] * batch)  # type: ignore[list-item]
        semantic, acoustic = bundle.semantic, bundle.acoustic
        codes = torch.zeros_like(conditions.known)
        tokens = codes.new_zeros((batch, acoustic.config.codebooks, acoustic.config.ratio * conditions.n_frames))
        return [
            TimedPart("encode", lambda progress: [encode() for _ in seeds]),
            TimedPart(
                "semantic",
                lambda progress: semantic.generate_long(conditions, seeds=seeds, progress=progress),
                codes.numel(),
                stage_loop(semantic, semantic.config.sampling, conditions.n_frames, batch),
            ),
            TimedPart(
                "acoustic",
                lambda progress: acoustic.generate_long(conditions, codes, seeds=seeds, progress=progress),
                tokens.numel(),
                stage_loop(acoustic, acoustic.config.sampling, conditions.n_frames, batch, acoustic.config.ratio),
            ),
            TimedPart("decode", lambda progress: [bundle.codec.decode(tokens[item : item + 1]) for item in seeds]),
        ]


def stage_loop(
    stage: SemanticStage | AcousticStage, sampling: SamplingConfig, n_frames: int, batch: int, ratio: int = 1
) -> Loop | None:
    """The loop of a stage over a piece of `n_frames` semantic frames, `ratio` steps each; None for masked decoding."""
    decoder, config = stage.decoder, stage.config
    if not isinstance(decoder, StreamDecoder | DepthDecoder):
        return None
    parts = windows(n_frames, config.window_frames, config.context_frames, config.lookahead_frames)
    frames = [
        frame - ratio * part.start + 1
        for part in parts
        for frame in range(ratio * part.keep_from, ratio * part.keep_to)
    ]
    # The last of delayed streams ends so many steps after the first.
    extra = len(decoder.sizes) - 1 if isinstance(decoder, StreamDecoder) else 0
    calls = tuple(ratio * (part.keep_to - part.keep_from) + extra for part in parts)
    branches = 1 + (sampling.guidance != 1) + (sampling.guidance_vocal != 1)
    streams = len(decoder.sizes) if isinstance(decoder, StreamDecoder) else decoder.levels
    device = decoder.embed.weight.device

    def uncached(count: int) -> object:
        codes = torch.zeros(branches * batch, streams, count, dtype=torch.long, device=device)
        return decoder(codes, torch.zeros(branches * batch, count, decoder.transformer.config.width, device=device))

    config_of_steps, vocabulary = decoder.transformer.config, streams * decoder.vocabulary
    return Loop(matrices_of(decoder), tuple(frames), calls, branches * batch, config_of_steps, vocabulary, uncached)


def matrices_of(module: nn.Module) -> tuple[Tensor | Int8Linear, ...]:
    """The matrices of all linear layers."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Linear | Int8Linear))
    return tuple(layer if isinstance(layer, Int8Linear) else layer.weight for layer in layers)
