"""The semantic stage: the accompaniment's content and timing as K code streams at the semantic frame rate.

A small bidirectional encoder reads all conditions of a window (so the future of the vocal is known), a causal
transformer writes the codes, one pass a frame, with the encoded condition of the same frame added to its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from accompany.stages.conditions import ConditionConfig, ConditionEmbedding, Conditions, stack
from accompany.stages.decoding import (
    Progress,
    Round,
    StreamDecoder,
    check_seeds,
    gather,
    guide,
    rounds,
    windows,
)
from accompany.stages.sampling import SamplingConfig, uniform_noise
from accompany.stages.steps import suited_threads
from accompany.stages.transformer import Transformer, TransformerConfig

if TYPE_CHECKING:
    from accompany.stages.batch import Batch


@dataclass(frozen=True)
class SemanticConfig:
    """Sizes of a `SemanticStage`.

    Attributes:
        conditions: widths of the conditions, code sizes of the streams, drop rates.
        encoder: the bidirectional condition encoder.
        decoder: the causal transformer, of the same width.
        window_frames: longest stretch made in one go, about the length trained on.
        context_frames: frames of what was made before that a window of a long piece sees.
        lookahead_frames: frames of the conditions that a window sees beyond what it makes.
        sampling: how codes are drawn unless `generate` is given another.
    """

    conditions: ConditionConfig = field(default_factory=ConditionConfig)
    encoder: TransformerConfig = field(default_factory=lambda: TransformerConfig(depth=2, causal=False))
    decoder: TransformerConfig = field(default_factory=TransformerConfig)
    window_frames: int = 300
    context_frames: int = 125
    lookahead_frames: int = 25
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_k=100, guidance=2.0))

    def __post_init__(self) -> None:
        """Raise ValueError for parts that do not fit together."""
        if self.encoder.width != self.decoder.width:
            raise ValueError(f"encoder width {self.encoder.width} must equal decoder width {self.decoder.width}")
        if self.encoder.causal or not self.decoder.causal:
            raise ValueError("the encoder must have causal=False and the decoder causal=True")
        steps = self.window_frames + len(self.conditions.code_sizes) - 1
        if steps > min(self.encoder.max_frames, self.decoder.max_frames):
            raise ValueError(f"window_frames {self.window_frames} needs max_frames of at least {steps}")
        windows(1, self.window_frames, self.context_frames, self.lookahead_frames)


class SemanticStage(nn.Module):
    """Vocal, prompt and plan to semantic codes."""

    config_class = SemanticConfig

    def __init__(self, config: SemanticConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.embedding = ConditionEmbedding(config.conditions, config.encoder.width)
        self.encoder = Transformer(config.encoder)
        self.decoder = StreamDecoder(config.decoder, config.conditions.code_sizes)

    def forward(self, codes: Tensor, conditions: Conditions) -> Tensor:
        """Logits [B, K, F, V] for the codes [B, K, F] (-1 unknown), each given the conditions and the codes before."""
        return self.decoder(codes, self.encode(conditions))

    def encode(self, conditions: Conditions) -> Tensor:
        """Condition embedding of the decoder in each frame: [B, F, D], zero in padding."""
        encoded = self.encoder(self.embedding(conditions), conditions.frame_mask)
        return encoded * conditions.frame_mask[..., None]

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Losses of a training batch (`accompany.stages.losses`)."""
        from accompany.stages.losses import semantic_losses

        return semantic_losses(self, batch, generator)

    @torch.inference_mode()
    def generate(
        self,
        conditions: Conditions,
        sampling: SamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
        *,
        prefix: Tensor | None = None,
        n_frames: int | None = None,
        noise: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Write codes for one window.

        Args:
            conditions: F frames; their known codes are kept as they are.
            sampling: None takes the config's.
            seeds: one for each item; an item's result depends on its own seed only.
            prefix: [B, K, F0] codes to go on from, the first frames of the result; -1 where an item has fewer.
            n_frames: make this many frames only and see the other conditions as what comes after.
            noise: [B, n_frames, K] uniform, in place of the seeds' own.
            progress: called with (steps done, steps in all).

        Returns:
            [B, K, n_frames] codes.
        """
        sampling = sampling or self.config.sampling
        n_frames = conditions.n_frames if n_frames is None else n_frames
        check_seeds(seeds, conditions.batch_size)
        if noise is None:
            noise = uniform_noise(seeds, n_frames, len(self.config.conditions.code_sizes))
        forced = conditions.known[..., :n_frames].clone()
        if prefix is not None:
            given = forced[..., : prefix.shape[-1]]
            forced[..., : prefix.shape[-1]] = torch.where(prefix < 0, given, prefix)
        padding = ~conditions.frame_mask[:, None, :n_frames]
        guidance = guide(conditions, sampling)
        encoded = self.encode(guidance.conditions)
        forced = forced.masked_fill(padding, self.decoder.none)
        noise = noise.to(encoded.device)
        with suited_threads(self.decoder.transformer, len(encoded)):
            codes = self.decoder.generate(guidance, encoded, forced, noise, sampling, progress)
        return codes.masked_fill(padding, 0)

    @torch.inference_mode()
    def generate_long(
        self,
        conditions: Conditions,
        sampling: SamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
        *,
        progress: Progress | None = None,
    ) -> Tensor:
        """Write codes for any length, window by window with carried context, in bounded memory.

        Arguments and result are as in `generate`; a piece of one window comes out the same. Each item has its own
        length, given by its `frame_mask`, and comes out as it does alone. `progress` counts frames.
        """
        codes = torch.zeros_like(conditions.known)
        for _ in self.generate_into(codes, conditions, sampling, seeds, progress=progress):
            pass
        return codes

    @torch.inference_mode()
    def generate_into(
        self,
        codes: Tensor,
        conditions: Conditions,
        sampling: SamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
        *,
        progress: Progress | None = None,
    ) -> Iterator[Round]:
        """The work of `generate_long`, which fills `codes` [B, K, F]; yields each round once written."""
        config = self.config
        check_seeds(seeds, conditions.batch_size)
        spare = config.window_frames
        noise = uniform_noise(seeds, conditions.n_frames + spare, len(config.conditions.code_sizes))
        lengths = conditions.frame_mask.sum(dim=1).tolist()
        for each in rounds(lengths, spare, config.context_frames, config.lookahead_frames):
            parts = list(zip(each.items, each.windows, strict=True))
            before = [(item, slice(part.start, part.keep_from)) for item, part in parts]
            made = self.generate(
                stack([conditions.item(item).window(part.start, part.stop) for item, part in parts]),
                sampling,
                [seeds[item] for item in each.items],
                prefix=gather(codes, before, max(part.keep_from - part.start for part in each.windows), -1),
                n_frames=each.n_frames,
                noise=torch.stack([noise[item, part.start : part.start + each.n_frames] for item, part in parts]),
                progress=each.report(progress),
            )
            for row, (item, part) in enumerate(parts):
                codes[item, :, part.keep_from : part.keep_to] = made[
                    row, :, part.keep_from - part.start : part.keep_to - part.start
                ]
            yield each
