"""Depth decoding of residual codes: a transformer over frames, a small network over codebooks.

The split is that of the RQ-Transformer (Lee et al., "Autoregressive image generation using residual quantization",
2022). Against the delay pattern, a frame is written with all codes of every earlier frame in view. That matters for
codecs whose codes carry the phase of the waveform: the next frame is then to a good part a linear prediction from the
last ones, and a prediction needs them in full.

Shape letters: B items, G branches of guidance, K codebooks, F frames, J frames of the past, V codes, D width, E width
of a code's vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.decoding import Guidance, Progress, first_open
from accompany.stages.sampling import SamplingConfig, sample
from accompany.stages.steps import start
from accompany.stages.transformer import Transformer, TransformerConfig, init_weights

SURE = 0.2
"""Initial confidence of predictions: 1 for no error, 0 for no information."""


@dataclass(frozen=True)
class DepthConfig:
    """Sizes of what a `DepthDecoder` has beside its transformer.

    Attributes:
        code_width: E, the width of the codec's codebook vectors.
        past_frames: J, frames before a frame that its linear prediction sees.
        hidden: width of the network that corrects the prediction from codebook to codebook.
        history_noise: training adds normal noise to the frames that lie before, of a deviation drawn for each item
            between 0 and this share of their own. In use a frame stands on frames that the model wrote itself: one
            that was only ever shown true ones trusts them too much, and a tone that once sounds goes on for ever.
        history_hidden: share of the items of which training shows no frames before a random one, half of these none at
            all. What lies before tells so well which stem and instruments play that these conditions would hardly be
            learnt; where a stem begins, nothing lies before.
        history_swapped: share of the items of which training shows a stretch of the history of another item in place of
            their own. Frames that go astray look right by themselves, as those do; what tells is the conditions.
        damping: in generation the frame j back counts damping ** j in what the next is predicted from. This is the
            bandwidth expansion of linear prediction (Tohkura, Itakura and Hashimoto, 1978): it shifts the poles of the
            prediction inwards, so that a tone dies away where nothing asks for it.
    """

    code_width: int = 128
    past_frames: int = 6
    hidden: int = 512
    history_noise: float = 0.0
    history_hidden: float = 0.0
    history_swapped: float = 0.0
    damping: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for sizes below 1, negative noise, and damping that is none."""
        if min(self.code_width, self.past_frames, self.hidden) < 1:
            raise ValueError("code_width, past_frames and hidden must be at least 1")
        if self.history_noise < 0:
            raise ValueError("history_noise must be at least 0")
        if not (0.0 <= self.history_hidden <= 1.0 and 0.0 <= self.history_swapped <= 1.0):
            raise ValueError("history_hidden and history_swapped must lie between 0 and 1")
        if not 0.0 < self.damping <= 1.0:
            raise ValueError("damping must lie above 0 and up to 1")


class DepthDecoder(nn.Module):
    """A causal transformer that writes frames, each codebook by codebook."""

    offsets: Tensor
    weights_of_past: Tensor

    def __init__(self, config: TransformerConfig, sizes: tuple[int, ...], depth: DepthConfig) -> None:
        """For codebooks of `sizes` codes each, all alike; `config` is causal."""
        super().__init__()
        if not config.causal:
            raise ValueError("a decoder needs causal=True")
        if len(set(sizes)) != 1:
            raise ValueError("a depth decoder takes codebooks of one size")
        self.levels, self.vocabulary, self.past_frames = len(sizes), sizes[0], depth.past_frames
        self.none, self.settings = self.vocabulary, depth
        width, past = depth.code_width, depth.code_width * depth.past_frames
        self.embed = nn.Embedding(self.levels * (self.vocabulary + 1), width)
        self.past_in = nn.Linear(past, config.width, bias=False)
        self.past_out = nn.Linear(past, width, bias=False)
        self.to_code = nn.Linear(config.width, width)
        self.depth_in = nn.Linear(config.width, depth.hidden)
        self.depth_code = nn.ModuleList(nn.Linear(width, depth.hidden) for _ in sizes)
        self.depth_out = nn.ModuleList(nn.Linear(depth.hidden, width, bias=False) for _ in sizes)
        self.heads = nn.ModuleList(nn.Linear(width, self.vocabulary) for _ in sizes)
        self.rest = nn.Parameter(torch.full((self.levels, width), SURE))
        self.apply(init_weights)
        nn.init.normal_(self.past_in.weight, std=past**-0.5)
        self.transformer = Transformer(config)
        offsets = torch.arange(self.levels) * (self.vocabulary + 1)
        self.register_buffer("offsets", offsets[:, None], persistent=False)
        weights_of_past = depth.damping ** (1 + torch.arange(depth.past_frames).repeat_interleave(width))
        self.register_buffer("weights_of_past", weights_of_past, persistent=False)

    def forward(self, codes: Tensor, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Logits for every code given those before it.

        Args:
            codes: [B, K, F], -1 where unknown.
            condition: [B, F, D] added to the frames.
            generator: of the noise on the history in training mode, on the CPU.

        Returns:
            [B, K, F, V], aligned to `codes`.
        """
        vectors = self._vectors(codes)
        frames = vectors.sum(dim=1)
        if self.training:
            from accompany.stages.dropping import disturb

            rates = {name: getattr(self.settings, f"history_{name}") for name in ("noise", "hidden", "swapped")}
            frames = disturb(frames, generator, **rates)
        past = self._past(frames)
        hidden = self.transformer(self.past_in(past) + condition)
        guess, context = self._guess(hidden, past), self.depth_in(hidden)
        written = torch.zeros_like(guess)
        logits = []
        for level in range(self.levels):
            logits.append(self._logits(level, guess, context, written))
            written = written + vectors[:, level]
        return torch.stack(logits, dim=1)

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
            condition: [G * B, F, D] or longer.
            forced: [B, K, F] codes that are given, -1 for those to write.
            noise: [B, F, K] uniform in [0, 1).
            sampling: how to draw.
            progress: called with (frames done, frames in all).

        Returns:
            [B, K, F] codes.
        """
        n_frames = forced.shape[-1]
        codes = torch.where(forced < 0, self.none, forced)
        is_given = (forced >= 0).flatten(0, 1).any(dim=0).tolist()
        first = first_open(forced)
        run = start(self.transformer, condition.shape[0], n_frames)
        frames = self._vectors(codes[..., :first]).sum(dim=1)
        if 0 < first < n_frames:
            run(guidance.spread(self.past_in(self._past(frames) * self.weights_of_past)) + condition[:, :first])
        recent = functional.pad(frames, (0, 0, self.past_frames, 0))[:, first:].flip(1)
        writer = _FrameWriter(self, guidance, sampling)
        for frame in range(first, n_frames):
            into, guess = writer.recall(recent.flatten(1))
            hidden = run((into + condition[:, frame])[:, None])[:, 0]
            given = forced[..., frame] if is_given[frame] else None
            drawn, written = writer.write(hidden, guess, given, noise[:, frame])
            codes[..., frame] = torch.stack(drawn, dim=1)
            recent = torch.cat([written[:, None], recent[:, :-1]], dim=1)
            if progress is not None:
                progress(frame + 1, n_frames)
        return codes

    def _vectors(self, codes: Tensor) -> Tensor:
        """[B, K, F] to [B, K, F, E]."""
        return self.embed(torch.where(codes < 0, self.none, codes) + self.offsets)

    def _past(self, frames: Tensor) -> Tensor:
        """[B, F, E] to [B, F, J * E]: the frames before each, the last one first."""
        padded = functional.pad(frames, (0, 0, self.past_frames, 0))
        n_frames = frames.shape[1]
        before = range(self.past_frames - 1, -1, -1)
        return torch.cat([padded[:, start : start + n_frames] for start in before], dim=-1)

    def _guess(self, hidden: Tensor, past: Tensor) -> Tensor:
        """The predicted vector of each frame [B, F, E], in float32."""
        return self.to_code(hidden).float() + self.past_out(past).float()

    def _logits(self, level: int, guess: Tensor, context: Tensor, written: Tensor) -> Tensor:
        """[B, F, V] of a codebook, when `written` [B, F, E] is the sum of the codes before it."""
        correction = self.depth_out[level](functional.gelu(context + self.depth_code[level](written)))
        return self.heads[level](guess - self.rest[level] * written + correction)


class _FrameWriter:
    """Draws the codes of one frame after another with few operations: what reads the same input is one matrix."""

    def __init__(self, decoder: DepthDecoder, guidance: Guidance, sampling: SamplingConfig) -> None:
        self._guidance, self._sampling = guidance, sampling
        self._recall = torch.cat([decoder.past_in.weight, decoder.past_out.weight]) * decoder.weights_of_past
        self._context = torch.cat([decoder.to_code.weight, decoder.depth_in.weight])
        self._context_bias = torch.cat([decoder.to_code.bias, decoder.depth_in.bias])
        self._widths = decoder.past_in.out_features, decoder.to_code.out_features
        self._vectors = decoder.embed.weight.unflatten(0, (decoder.levels, decoder.vocabulary + 1)).unbind()
        self._levels = [_DepthLevel.of(decoder, number) for number in range(decoder.levels)]

    def recall(self, past: Tensor) -> tuple[Tensor, Tensor]:
        """The past [B, J * E] as the transformer's input [G * B, D] and as a first guess [G * B, E] of the frame."""
        made = self._guidance.spread(functional.linear(past, self._recall))
        return made[:, : self._widths[0]], made[:, self._widths[0] :]

    def write(self, hidden: Tensor, guess: Tensor, given: Tensor | None, noise: Tensor) -> tuple[list[Tensor], Tensor]:
        """Codes of one frame, K of [B], some of them `given` (-1 for the others), and the frame's vector [B, E].

        Args:
            hidden: [G * B, D] of the transformer.
            guess: [G * B, E] of `recall`.
            given: [B, K], None for none.
            noise: [B, K] uniform in [0, 1).
        """
        context = functional.linear(hidden, self._context, self._context_bias)
        guess, context = guess + context[:, : self._widths[1]], context[:, self._widths[1] :]
        codes: list[Tensor] = []
        written: Tensor | None = None
        for number, (level, vectors) in enumerate(zip(self._levels, self._vectors, strict=True)):
            logits = level.logits(guess, context, None if written is None else self._guidance.spread(written))
            drawn = sample(self._guidance.mix(logits), self._sampling, noise[:, number])
            if given is not None:
                drawn = torch.where(given[:, number] < 0, drawn, given[:, number])
            codes.append(drawn)
            vector = functional.embedding(drawn, vectors)
            written = vector if written is None else written + vector
        assert written is not None
        return codes, written


@dataclass(frozen=True)
class _DepthLevel:
    """The weights of one codebook: `DepthDecoder._logits` for single frames; matrices [in, out] but for the head."""

    code: Tensor
    code_bias: Tensor
    out: Tensor
    head: Tensor
    head_bias: Tensor
    rest: Tensor

    @classmethod
    def of(cls, decoder: DepthDecoder, number: int) -> _DepthLevel:
        code, out, head = (
            cast(nn.Linear, parts[number]) for parts in (decoder.depth_code, decoder.depth_out, decoder.heads)
        )
        return cls(code.weight.T, code.bias, out.weight.T, head.weight, head.bias, -decoder.rest[number])

    def logits(self, guess: Tensor, context: Tensor, written: Tensor | None) -> Tensor:
        """[B, V] from the guess [B, E], the transformer's context [B, hidden] and the codes before [B, E], if any."""
        context = context + self.code_bias
        if written is not None:
            context = torch.addmm(context, written, self.code)
            guess = torch.addcmul(guess, written, self.rest)
        corrected = torch.addmm(guess, functional.gelu(context), self.out)
        return functional.linear(corrected, self.head, self.head_bias)
