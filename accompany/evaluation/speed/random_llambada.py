"""LLambada at its published sizes with random weights: the cost of its tokens, without its checkpoints or encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from accompany.evaluation.speed.subjects import Loop, TimedPart, matrices_of
from accompany.generation.llambada import FrameGrid, cover
from accompany.stages.decoding import Progress, Window
from accompany.stages.llambada import TokenStage, TokenStageConfig, published_stages
from accompany.stages.precision import set_precision

_GRID = FrameGrid(rate=25, semantic=2, codec=3)
"""MERT-v0's 50 frames a second, and the 75 of EnCodec at 24 kHz."""


class RandomLlambada:
    """Both stages; conditions, and what earlier windows wrote, are random codes."""

    def __init__(
        self, device: str, precision: str, sizes: tuple[TokenStageConfig, TokenStageConfig] | None = None
    ) -> None:
        """Build the stages; `sizes` are the published ones unless given."""
        self.name, self.device = "llambada-random", device
        torch.manual_seed(0)
        self._semantic, self._coarse = (TokenStage(config).eval().to(device) for config in sizes or published_stages())
        for stage in (self._semantic, self._coarse):
            set_precision(stage, precision)

    def parts(self, length_s: float, batch: int) -> list[TimedPart]:
        """`semantic` and `acoustic`, window by window as a generation goes; see `Subject`."""
        n_codes = round(length_s * _GRID.rate * _GRID.codec)
        semantic: list[tuple[list[Tensor], Tensor, int]] = []
        acoustic: list[tuple[list[Tensor], Tensor, int]] = []
        for part in cover(_GRID, n_codes):
            frames = _GRID.semantic * (part.stop - part.start)
            # MERT's convolutions return one frame less than a window has.
            prompt = [self._codes(self._semantic, 0, batch, frames - 1), self._codes(self._semantic, 1, batch, 1)]
            semantic.append((prompt, self._written(self._semantic, part, _GRID.semantic, batch), frames))
            sounding = _GRID.codec * (part.stop - part.start)
            prompt = [self._codes(self._coarse, 0, batch, frames), self._codes(self._coarse, 1, batch, sounding)]
            stop = min(_GRID.codec * part.stop, n_codes) - _GRID.codec * part.start
            acoustic.append((prompt, self._written(self._coarse, part, _GRID.codec, batch), stop))
        return [
            _part("semantic", self._semantic, semantic, batch),
            _part("acoustic", self._coarse, acoustic, batch),
        ]

    def _written(self, stage: TokenStage, part: Window, frames: int, batch: int) -> Tensor:
        return self._codes(stage, -1, batch, frames * (part.keep_from - part.start))

    def _codes(self, stage: TokenStage, sequence: int, batch: int, n_frames: int) -> Tensor:
        config = stage.config
        shape = (batch, config.codebooks[sequence], n_frames)
        return torch.randint(config.codes[sequence], shape, device=self.device)


def _part(name: str, stage: TokenStage, work: Sequence[tuple[list[Tensor], Tensor, int]], batch: int) -> TimedPart:
    seeds = list(range(batch))

    def run(progress: Progress | None) -> None:
        for prompt, written, n_frames in work:
            stage.generate(prompt, n_frames, seeds=seeds, prefix=written, progress=progress)

    books = stage.config.codebooks[-1]
    frames, calls = [], []
    for prompt, written, n_frames in work:
        given = written.numel() // batch
        # A start vector before each sequence, an end token behind each condition.
        read = sum(codes.numel() // batch + 2 for codes in prompt) + 1 + given
        frames += [read + step for step in range(books * n_frames - given)]
        calls.append(n_frames - given // books)
    sizes, vocabulary = stage.config.transformer, stage.config.codes[-1]
    matrices = (*matrices_of(stage.transformer.blocks), stage.head[-1][0, :-1])
    loop = Loop(matrices, tuple(frames), tuple(calls), batch, sizes, vocabulary, _uncached(stage, batch), books)
    return TimedPart(name, run, batch * len(frames), loop)


def _uncached(stage: TokenStage, batch: int) -> Callable[[int], object]:
    def run(count: int) -> object:
        x = torch.zeros(batch, count, stage.config.transformer.width, device=stage.start.device)
        return stage.transformer(x)[:, -1] @ stage.head[-1][0].T

    return run
