"""The acoustic stage: codec tokens from semantic codes, vocal, prompt and plan.

Two ways behind one door, chosen in the config: autoregressive, frame by frame with a depth decoder (RQ-Transformer,
Lee et al., 2022), or masked parallel decoding codebook by codebook (SoundStorm, Borsos et al., 2023; schedule of
MaskGIT, Chang et al., 2022). Conditions stand on the semantic grid (F frames), tokens on the codec's (A = ratio * F
frames).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from accompany.stages.conditions import ConditionConfig, ConditionEmbedding, Conditions, DropRates, stack
from accompany.stages.decoding import (
    Progress,
    Round,
    check_seeds,
    gather,
    guide,
    rounds,
    windows,
)
from accompany.stages.depth import DepthConfig, DepthDecoder
from accompany.stages.sampling import MaskedSamplingConfig, uniform_noise
from accompany.stages.steps import suited_threads
from accompany.stages.transformer import Transformer, TransformerConfig, init_weights

if TYPE_CHECKING:
    from accompany.stages.batch import Batch
    from accompany.stages.masked import MaskedDecoder

MODES = ("masked", "depth")


@dataclass(frozen=True)
class AcousticConfig:
    """Sizes of an `AcousticStage`.

    Attributes:
        mode: `masked` or `depth`.
        conditions: widths of the conditions; its code sizes are those of the semantic codes, and `known` in its drop
            rates hides these.
        codebooks: Kc.
        codebook_size: V.
        ratio: codec frames per semantic frame.
        encoder_depth: blocks of a bidirectional transformer over the conditions, like the decoder's otherwise. Without
            it (0) a causal decoder does not see which notes and attacks are about to come.
        transformer: bidirectional for `masked`, else causal.
        depth: of the network over codebooks in mode `depth`.
        window_frames: longest stretch made in one go, in semantic frames, about the length trained on.
        context_frames: semantic frames of what was made before that a window of a long piece sees.
        lookahead_frames: semantic frames of the conditions that a window sees beyond what it makes.
        coarse_weight: how much likelier training picks a codebook than the next finer one (1: all alike).
        sampling: how tokens are drawn unless `generate` is given another; `depth` needs no passes.
    """

    mode: str = "masked"
    conditions: ConditionConfig = field(
        default_factory=lambda: ConditionConfig(drop=DropRates(vocal=0.2, mert=0.3, text=0.1, known=0.05))
    )
    codebooks: int = 8
    codebook_size: int = 1024
    ratio: int = 2
    encoder_depth: int = 0
    transformer: TransformerConfig = field(default_factory=lambda: TransformerConfig(depth=6, causal=False))
    depth: DepthConfig = field(default_factory=DepthConfig)
    window_frames: int = 300
    context_frames: int = 50
    lookahead_frames: int = 10
    coarse_weight: float = 1.3
    sampling: MaskedSamplingConfig = field(default_factory=MaskedSamplingConfig)

    def __post_init__(self) -> None:
        """Raise ValueError for parts that do not fit together."""
        if self.mode not in MODES:
            raise ValueError(f"mode '{self.mode}' must be one of {', '.join(MODES)}")
        if self.transformer.causal != (self.mode != "masked"):
            raise ValueError(f"mode {self.mode} needs causal={self.mode != 'masked'} in the transformer")
        if min(self.codebooks, self.ratio) < 1 or self.codebook_size < 2 or self.coarse_weight <= 0:
            raise ValueError("codebooks and ratio must be at least 1, codebook_size 2, coarse_weight above 0")
        if self.encoder_depth < 0:
            raise ValueError("encoder_depth must be at least 0")
        if self.window_frames * self.ratio + self.codebooks > self.transformer.max_frames:
            raise ValueError(f"window_frames {self.window_frames} is more than the transformer's max_frames can hold")
        windows(1, self.window_frames, self.context_frames, self.lookahead_frames)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The codebook size for each codebook."""
        return (self.codebook_size,) * self.codebooks


class AcousticStage(nn.Module):
    """Semantic codes, vocal, prompt and plan to codec tokens."""

    config_class = AcousticConfig

    def __init__(self, config: AcousticConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.embedding = ConditionEmbedding(config.conditions, config.transformer.width)
        self.phase = nn.Embedding(config.ratio, config.transformer.width)
        self.apply(init_weights)
        self.encoder = _condition_encoder(config) if config.encoder_depth else None
        self.decoder: MaskedDecoder | DepthDecoder
        if config.mode == "masked":
            from accompany.stages.masked import MaskedDecoder  # the other mode does without

            self.decoder = MaskedDecoder(config.transformer, config.sizes, config.coarse_weight)
        else:
            self.decoder = DepthDecoder(config.transformer, config.sizes, config.depth)

    def encode(self, conditions: Conditions, stems: Sequence[int] = ()) -> Tensor:
        """Condition embedding of the decoder in each codec frame, zero in padding: [B, A, D], or with stems
        [B * S, A, D], where only the stem differs within an item."""
        mask = _for_each(conditions.frame_mask, stems)
        embedded = self.embedding(conditions, stems)
        if self.encoder is not None:
            embedded = embedded + self.encoder(embedded, mask)
        frames = embedded[:, :, None] + self.phase.weight
        return (frames * mask[..., None, None]).flatten(1, 2)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Losses of a training batch (`accompany.stages.losses`)."""
        from accompany.stages.losses import acoustic_losses

        return acoustic_losses(self, batch, generator)

    @torch.inference_mode()
    def generate(
        self,
        conditions: Conditions,
        codes: Tensor,
        sampling: MaskedSamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
        *,
        stems: Sequence[int] = (),
        known: Tensor | None = None,
        n_frames: int | None = None,
        noise: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Make the tokens of one window.

        Args:
            conditions: F semantic frames.
            codes: [B, K, F] semantic codes, -1 where unknown.
            sampling: None takes the config's.
            seeds: one for each item; an item's result depends on its own seed only.
            stems: S of `STEM_TAGS`, which are all made of each item, in one batch: B is then B * S for seeds, known,
                noise and result, the stems of an item side by side. None: the one that the conditions say.
            known: [B, Kc, A] tokens that stay as they are, -1 for those to make.
            n_frames: make this many semantic frames only and see the others' conditions as what comes after.
            noise: [B, ratio * n_frames, n] uniform with n of `noise_per_frame`, in place of the seeds' own.
            progress: called with (passes done, passes in all).

        Returns:
            [B, Kc, ratio * n_frames] tokens.
        """
        sampling = sampling or self.config.sampling
        n_tokens = self.config.ratio * (conditions.n_frames if n_frames is None else n_frames)
        check_seeds(seeds, conditions.batch_size * max(len(stems), 1))
        if noise is None:
            noise = uniform_noise(seeds, n_tokens, self.noise_per_frame(sampling))
        conditions = conditions.with_known(codes)
        guidance = guide(conditions, sampling)
        condition = self.encode(guidance.conditions, stems)
        shape = (len(seeds), self.config.codebooks, n_tokens)
        forced = condition.new_full(shape, -1, dtype=torch.long) if known is None else known[..., :n_tokens]
        frames = _for_each(conditions.frame_mask.repeat_interleave(self.config.ratio, dim=1), stems)
        noise = noise.to(condition.device)
        if self.config.mode == "masked":
            made = cast("MaskedDecoder", self.decoder).generate(
                guidance, condition, forced, frames, noise, sampling, progress
            )
        else:
            decoder = cast(DepthDecoder, self.decoder)
            forced = forced.masked_fill(~frames[:, None, :n_tokens], decoder.none)
            with suited_threads(decoder.transformer, len(condition)):
                made = decoder.generate(guidance, condition, forced, noise, sampling, progress)
        return made.masked_fill(~frames[:, None, :n_tokens], 0)

    @torch.inference_mode()
    def generate_long(
        self,
        conditions: Conditions,
        codes: Tensor,
        sampling: MaskedSamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
        *,
        stems: Sequence[int] = (),
        known: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Make tokens for any length, window by window with carried tokens, in bounded memory.

        Arguments and result are as in `generate`; a piece of one window comes out the same. Each item has its own
        length, given by its `frame_mask`, and comes out as it does alone. `progress` counts codec frames.
        """
        shape = (len(seeds), self.config.codebooks, self.config.ratio * conditions.n_frames)
        tokens = codes.new_full(shape, -1) if known is None else known.clone()
        for _ in self.generate_into(tokens, conditions, codes, sampling, seeds, stems=stems, progress=progress):
            pass
        return tokens.clamp_min(0)

    @torch.inference_mode()
    def generate_into(
        self,
        tokens: Tensor,
        conditions: Conditions,
        codes: Tensor,
        sampling: MaskedSamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
        *,
        stems: Sequence[int] = (),
        progress: Progress | None = None,
    ) -> Iterator[Round]:
        """The work of `generate_long`, which fills `tokens` [B, Kc, A] where they are -1; yields each round once made.

        The codes that the windows of a round look at need not be there before that round is asked for.
        """
        config, ratio, each_item = self.config, self.config.ratio, (conditions.batch_size, max(len(stems), 1))
        check_seeds(seeds, each_item[0] * each_item[1])
        total, spare = ratio * conditions.n_frames, ratio * config.window_frames
        noise = uniform_noise(seeds, total + spare, self.noise_per_frame(sampling or config.sampling))
        noise, tokens = noise.unflatten(0, each_item), tokens.unflatten(0, each_item)
        lengths = conditions.frame_mask.sum(dim=1).tolist()
        spans = config.window_frames, config.context_frames, config.lookahead_frames
        # Masked decoding divides a window's frames among passes, so a longer neighbour would change the division.
        for each in rounds(lengths, *spans, alike=config.mode == "masked"):
            parts = list(zip(each.items, each.windows, strict=True))
            seen = [(item, slice(part.start, part.stop)) for item, part in parts]
            seen_tokens = [(item, slice(ratio * part.start, ratio * part.stop)) for item, part in parts]
            widest, n_tokens = max(part.stop - part.start for part in each.windows), ratio * each.n_frames
            noises = torch.stack([noise[item, :, ratio * part.start :][:, :n_tokens] for item, part in parts])
            made = self.generate(
                stack([conditions.item(item).window(part.start, part.stop) for item, part in parts]),
                gather(codes, seen, widest, -1),
                sampling,
                [0] * (len(parts) * each_item[1]),
                stems=stems,
                known=gather(tokens, seen_tokens, ratio * widest, -1).flatten(0, 1),
                n_frames=each.n_frames,
                noise=noises.flatten(0, 1),
                progress=each.report(progress, ratio),
            ).unflatten(0, (-1, each_item[1]))
            for row, (item, part) in enumerate(parts):
                new = slice(ratio * part.keep_from, ratio * part.keep_to)
                tokens[item, ..., new] = made[row, ..., new.start - ratio * part.start : new.stop - ratio * part.start]
            yield each

    def noise_per_frame(self, sampling: MaskedSamplingConfig) -> int:
        """Uniform numbers that `generate` uses up in each codec frame."""
        if self.config.mode != "masked":
            return self.config.codebooks
        return 2 * sum(sampling.steps_of(level) for level in range(self.config.codebooks))


def _condition_encoder(config: AcousticConfig) -> Transformer:
    """What is added to the embedded conditions: nothing at first, so that a stage without it can learn on."""
    encoder = Transformer(dataclasses.replace(config.transformer, depth=config.encoder_depth, causal=False))
    nn.init.zeros_(encoder.norm.weight)
    return encoder


def _for_each(values: Tensor, stems: Sequence[int]) -> Tensor:
    """[B, ...] once for each stem of an item: [B * S, ...]; as they are without stems."""
    return values.repeat_interleave(len(stems), dim=0) if len(stems) > 1 else values
