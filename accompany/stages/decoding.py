"""Decoding shared by the stages: streams with a delay, guidance, windows over long pieces.

Shape letters: B items, G branches of guidance, K streams, F frames, S = F + K - 1 steps, V codes, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.conditions import Conditions, join
from accompany.stages.sampling import SamplingConfig, sample
from accompany.stages.steps import start
from accompany.stages.transformer import Transformer, TransformerConfig, init_weights

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Window:
    """A stretch of a long piece: frames `start..stop` are looked at, `keep_from..keep_to` are made and kept."""

    start: int
    keep_from: int
    keep_to: int
    stop: int


@dataclass(frozen=True)
class Round:
    """Windows of several pieces that are made together: `items` are the places of the pieces in their batch.

    `done` of the `total` frames of all pieces were made in earlier rounds.
    """

    items: tuple[int, ...]
    windows: tuple[Window, ...]
    done: int
    total: int

    @property
    def n_frames(self) -> int:
        """Frames that the longest of the windows makes, with those that it goes on from."""
        return max(part.keep_to - part.start for part in self.windows)

    def report(self, progress: Progress | None, scale: int = 1) -> Progress | None:
        """A callback for (steps done, steps in all) of this round that reports frames * scale to `progress`."""
        if progress is None:
            return None
        making = sum(part.keep_to - part.keep_from for part in self.windows)

        def scaled(step: int, n_steps: int) -> None:
            progress(scale * (self.done + making * step // n_steps), scale * self.total)

        return scaled


def rounds(lengths: Sequence[int], window: int, context: int, lookahead: int, *, alike: bool = False) -> list[Round]:
    """The windows (`windows`) of pieces of these lengths, first ones first, so that each piece is made as if alone.

    Args:
        alike: put windows into one round only if they look at and make the same number of frames.
    """
    parts = [windows(length, window, context, lookahead) for length in lengths]
    made: list[Round] = []
    done = 0
    for turn in range(max(map(len, parts), default=0)):
        groups: dict[tuple[int, ...], list[int]] = {}
        for item in (item for item, part in enumerate(parts) if turn < len(part)):
            each = parts[item][turn]
            shape = (each.stop - each.start, each.keep_to - each.start) if alike else ()
            groups.setdefault(shape, []).append(item)
        for items in groups.values():
            made.append(Round(tuple(items), tuple(parts[item][turn] for item in items), done, sum(lengths)))
            done += sum(part.keep_to - part.keep_from for part in made[-1].windows)
    return made


def gather(values: Tensor, parts: Sequence[tuple[int, slice]], n_frames: int, fill: int | float) -> Tensor:
    """Stretches of the items of [B, ..., F] as one batch [len(parts), ..., n_frames], `fill` behind shorter ones."""
    cut = [values[item, ..., frames] for item, frames in parts]
    return torch.stack([functional.pad(each, (0, n_frames - each.shape[-1]), value=fill) for each in cut])


def windows(n_frames: int, window: int, context: int, lookahead: int) -> list[Window]:
    """Cover `n_frames` by windows of at most `window` frames.

    Each keeps at least `context` frames of what came before in view (the last one as many as fit) and, but for
    the last, `lookahead` frames of what will come.

    Raises:
        ValueError: nothing of a window would be left to make.
    """
    if context < 0 or lookahead < 0 or window <= context + lookahead:
        raise ValueError(f"a window of {window} must be longer than context {context} plus lookahead {lookahead}")
    made, done = [], 0
    while done < n_frames:
        start = max(done - context, 0)
        if start + window >= n_frames:
            start = max(n_frames - window, 0)
            made.append(Window(start, done, n_frames, n_frames))
        else:
            made.append(Window(start, done, start + window - lookahead, start + window))
        done = made[-1].keep_to
    return made


def delay(codes: Tensor, fill: int | float) -> Tensor:
    """[B, K, F] to [B, K, S]: stream k is delayed by k frames (MusicGen, Copet et al., 2023); `fill` around it."""
    last = codes.shape[1] - 1
    return torch.stack([functional.pad(codes[:, k], (k, last - k), value=fill) for k in range(codes.shape[1])], dim=1)


def undelay(steps: Tensor) -> Tensor:
    """[B, K, S, ...] back to [B, K, F, ...]."""
    frames = steps.shape[2] - steps.shape[1] + 1
    return torch.stack([steps[:, k, k : k + frames] for k in range(steps.shape[1])], dim=1)


@dataclass(frozen=True)
class Guidance:
    """Branches of classifier-free guidance that run as one batch [G * B], and the weight of each."""

    conditions: Conditions
    weights: tuple[float, ...]

    def mix(self, logits: Tensor) -> Tensor:
        """[G * B, ...] to [B, ...]: the weighted sum of the branches."""
        if len(self.weights) == 1:
            return logits
        branches = logits.chunk(len(self.weights))
        return sum((weight * part for weight, part in zip(self.weights[1:], branches[1:], strict=True)),
                   start=self.weights[0] * branches[0])  # fmt: skip

    def spread(self, items: Tensor) -> Tensor:
        """[B, ...] to [G * B, ...]: the same for every branch."""
        return torch.cat([items] * len(self.weights)) if len(self.weights) > 1 else items


def guide(conditions: Conditions, sampling: SamplingConfig) -> Guidance:
    """The branches that `sampling` asks for: without the prompt, without vocal and control; none when both are 1."""
    branches, weights = [conditions], [1.0]
    for scale, names in ((sampling.guidance, ("text", "instruments")), (sampling.guidance_vocal, ("vocal", "control"))):
        if scale != 1:
            branches.append(conditions.without(*names))
            weights.append(1.0 - scale)
            weights[0] += scale - 1.0
    return Guidance(join(branches), tuple(weights))


class StreamDecoder(nn.Module):
    """A causal transformer that writes K streams of codes, all in one pass a frame.

    Stream k runs k frames behind stream 0, so that it knows the streams before it in the same frame.
    """

    offsets: Tensor
    beyond: Tensor

    def __init__(self, config: TransformerConfig, sizes: tuple[int, ...]) -> None:
        """For streams of `sizes` codes each; `config` is causal."""
        super().__init__()
        if not config.causal:
            raise ValueError("a decoder needs causal=True")
        self.sizes, self.vocabulary = sizes, max(sizes)
        self.none = self.vocabulary
        self.embed = nn.Embedding(len(sizes) * (self.vocabulary + 1), config.width)
        self.head = nn.Linear(config.width, len(sizes) * self.vocabulary)
        self.apply(init_weights)
        self.transformer = Transformer(config)
        offsets = torch.arange(len(sizes)) * (self.vocabulary + 1)
        self.register_buffer("offsets", offsets[:, None], persistent=False)
        beyond = torch.arange(self.vocabulary) >= torch.tensor(sizes)[:, None]
        self.register_buffer("beyond", beyond, persistent=False)

    def forward(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Logits for every code, given those before it.

        Args:
            codes: [B, K, F], -1 where unknown.
            condition: [B, F, D] added to the frames.

        Returns:
            [B, K, F, V], aligned to `codes`.
        """
        steps = functional.pad(delay(self._or_none(codes), self.none), (1, -1), value=self.none)
        hidden = self.transformer(self._inputs(steps) + self._to_steps(condition))
        return undelay(self._logits(hidden).transpose(1, 2))

    def generate(
        self,
        guidance: Guidance,
        condition: Tensor,
        forced: Tensor,
        noise: Tensor,
        sampling: SamplingConfig,
        progress: Progress | None = None,
    ) -> Tensor:
        """Write the codes that are not given, frame by frame with a cache.

        Args:
            guidance: how the branches mix.
            condition: [G * B, F, D] or longer; frames beyond F are seen by the delayed streams.
            forced: [B, K, F] codes that are given, -1 for those to write.
            noise: [B, F, K] uniform in [0, 1).
            sampling: how to draw.
            progress: called with (steps done, steps in all).

        Returns:
            [B, K, F] codes.
        """
        given = delay(forced, self.none)
        drawn_by = delay(noise.transpose(1, 2), 0.0).unbind(-1)
        n_steps = given.shape[-1]
        condition = self._to_steps(condition)[:, :n_steps]
        steps = functional.pad(self._or_none(given), (1, 0), value=self.none)
        is_given = (given >= 0).flatten(0, 1).any(dim=0).tolist()
        bias = self.head.bias.masked_fill(self.beyond.flatten(), -1e9)
        first = first_open(given)
        run = start(self.transformer, condition.shape[0], n_steps)
        if 0 < first < n_steps:
            run(guidance.spread(self._inputs(steps[..., :first])) + condition[:, :first])
        last = steps[..., first] + self.offsets[:, 0]
        for step in range(first, n_steps):
            embedded = guidance.spread(self.embed.weight[last].sum(dim=1, keepdim=True))
            hidden = run(embedded + condition[:, step : step + 1])
            logits = functional.linear(hidden[:, 0], self.head.weight, bias).unflatten(-1, self.beyond.shape)
            drawn = sample(guidance.mix(logits), sampling, drawn_by[step])
            if is_given[step]:
                drawn = torch.where(given[..., step] < 0, drawn, given[..., step])
            steps[..., step + 1] = drawn
            last = drawn + self.offsets[:, 0]
            if progress is not None:
                progress(step + 1, n_steps)
        return undelay(steps[..., 1:])

    def _inputs(self, steps: Tensor) -> Tensor:
        """[B, K, S] to [B, S, D]."""
        return self.embed(steps + self.offsets).sum(dim=1)

    def _logits(self, hidden: Tensor) -> Tensor:
        """[B, S, D] to [B, S, K, V]; codes that a smaller stream does not have are ruled out."""
        logits = self.head(hidden).unflatten(-1, (len(self.sizes), self.vocabulary))
        return logits.masked_fill(self.beyond, -1e9) if len(set(self.sizes)) > 1 else logits

    def _or_none(self, codes: Tensor) -> Tensor:
        return torch.where(codes < 0, self.none, codes)

    def _to_steps(self, condition: Tensor) -> Tensor:
        return functional.pad(condition, (0, 0, 0, len(self.sizes) - 1))


def check_seeds(seeds: Sequence[int], batch_size: int) -> None:
    """ValueError unless there is one seed for each item."""
    if len(seeds) != batch_size:
        raise ValueError(f"{len(seeds)} seeds for {batch_size} items; give one for each")


def first_open(given: Tensor) -> int:
    """The first of the steps [B, K, S] in which a code (-1) has to be written; S if there is none."""
    is_open = (given < 0).flatten(0, 1).any(dim=0)
    return int(is_open.int().argmax()) if bool(is_open.any()) else is_open.shape[0]
