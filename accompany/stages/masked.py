"""Masked parallel decoding, codebook by codebook (SoundStorm, Borsos et al., 2023).

Shape letters: B items, G branches of guidance, K codebooks (levels, coarse to fine), A frames, V codes, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.decoding import Guidance, Progress
from accompany.stages.sampling import MaskedSamplingConfig, sample
from accompany.stages.transformer import Transformer, TransformerConfig, init_weights


class MaskedDecoder(nn.Module):
    """A bidirectional transformer that fills in masked tokens of one codebook, given the coarser ones."""

    def __init__(self, config: TransformerConfig, sizes: tuple[int, ...], coarse_weight: float) -> None:
        """For codebooks of `sizes`, all alike; training picks level k with a weight of coarse_weight ** -k."""
        super().__init__()
        self.levels, self.vocabulary = len(sizes), sizes[0]
        self.mask = self.vocabulary
        self.coarse_weight = coarse_weight
        self.embed = nn.ModuleList(nn.Embedding(self.vocabulary + 1, config.width) for _ in sizes)
        self.level = nn.Embedding(self.levels, config.width)
        self.heads = nn.ModuleList(nn.Linear(config.width, self.vocabulary) for _ in sizes)
        self.apply(init_weights)
        self.transformer = Transformer(config)

    def forward(self, tokens: Tensor, condition: Tensor, level: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """The last hidden states.

        Args:
            tokens: [B, K, A], -1 where masked.
            condition: [B, A, D].
            level: [B] the codebook to be filled in.
            frame_mask: [B, A], False for padding.

        Returns:
            [B, A, D]; `heads[level]` turns them into logits.
        """
        tokens = torch.where(tokens < 0, self.mask, tokens)
        x = condition + self.level(level)[:, None]
        for codebook, embed in enumerate(self.embed):
            x = x + embed(tokens[:, codebook])
        return self.transformer(x, frame_mask)

    def loss(self, tokens: Tensor, condition: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Cross entropy of masked tokens [B, K, A] (-1 unknown) of one random level an item, finer ones hidden."""
        batch, _, frames = tokens.shape
        weights = self.coarse_weight ** -torch.arange(self.levels, dtype=torch.float)
        level = torch.multinomial(weights, batch, replacement=True, generator=generator)
        ratio = torch.cos(0.5 * math.pi * torch.rand(batch, generator=generator))
        masked = torch.rand(batch, frames, generator=generator) < ratio[:, None].clamp(min=1.0 / frames)
        level, masked = level.to(tokens.device), masked.to(tokens.device)
        chosen = tokens.gather(1, level[:, None, None].expand(-1, 1, frames))[:, 0]
        above = torch.arange(self.levels, device=tokens.device) - level[:, None]
        hidden_tokens = (above > 0)[..., None] | ((above == 0)[..., None] & masked[:, None])
        hidden = self(tokens.masked_fill(hidden_tokens, -1), condition, level)
        target = torch.where(masked, chosen, -1)
        parts, total, count = {}, hidden.new_zeros(()), 0
        for each in level.unique().tolist():
            items = level == each
            losses = self._losses(hidden[items], target[items], each)
            parts[f"level_{each}"] = losses.detach().mean()
            total, count = total + losses.sum(), count + losses.numel()
        return {"loss": total / max(count, 1), **parts}

    def generate(
        self,
        guidance: Guidance,
        condition: Tensor,
        forced: Tensor,
        frame_mask: Tensor,
        noise: Tensor,
        sampling: MaskedSamplingConfig,
        progress: Progress | None = None,
    ) -> Tensor:
        """Fill in the tokens that are not given.

        Args:
            guidance: how the branches mix; it acts on the first `sampling.guided_levels` codebooks.
            condition: [G * B, A', D] with A' of at least A.
            forced: [B, K, A] tokens that are given, -1 for those to make.
            frame_mask: [B, A'], False for padding.
            noise: [B, A, n] uniform in [0, 1), two for each pass.
            sampling: how to draw and how many passes to take.
            progress: called with (passes done, passes in all).

        Returns:
            [B, K, A] tokens.
        """
        beyond = condition.shape[1] - forced.shape[-1]
        tokens = functional.pad(forced, (0, beyond), value=-1)
        fillable = functional.pad((forced < 0), (0, beyond)) & frame_mask[:, None]
        noise = functional.pad(noise, (0, 0, 0, beyond), value=0.5)
        passes = [(level, step) for level in range(self.levels) for step in range(sampling.steps_of(level))]
        for done, (level, step) in enumerate(passes):
            logits = self._logits(guidance, tokens, condition, frame_mask, level, level < sampling.guided_levels)
            share = (step + 1) / sampling.steps_of(level)
            tokens[:, level] = fill(
                tokens[:, level],
                fillable[:, level],
                logits,
                noise[..., 2 * done],
                noise[..., 2 * done + 1],
                share,
                sampling,
            )
            if progress is not None:
                progress(done + 1, len(passes))
        return tokens[..., : forced.shape[-1]]

    def _logits(
        self, guidance: Guidance, tokens: Tensor, condition: Tensor, frame_mask: Tensor, level: int, guided: bool
    ) -> Tensor:
        """[B, A, V] of one level."""
        if guided:
            tokens, frame_mask = guidance.spread(tokens), guidance.spread(frame_mask)
        else:
            condition = condition[: tokens.shape[0]]
        which = torch.full((tokens.shape[0],), level, device=tokens.device)
        logits = self.heads[level](self(tokens, condition, which, frame_mask))
        return guidance.mix(logits) if guided else logits

    def _losses(self, hidden: Tensor, target: Tensor, level: int) -> Tensor:
        """Cross entropies where `target` [B, A] is not -1, of any number."""
        known = target >= 0
        return functional.cross_entropy(self.heads[level](hidden[known]).float(), target[known], reduction="none")


def fill(
    tokens: Tensor,
    fillable: Tensor,
    logits: Tensor,
    draw_noise: Tensor,
    choice_noise: Tensor,
    share: float,
    sampling: MaskedSamplingConfig,
) -> Tensor:
    """One pass: draw all masked tokens of a codebook and keep the surest of them.

    Args:
        tokens: [B, A], -1 where masked.
        fillable: [B, A], True where a token has to be made (masked now or filled in by an earlier pass).
        logits: [B, A, V].
        draw_noise: [B, A] uniform, for the tokens.
        choice_noise: [B, A] uniform, for the choice of what to keep.
        share: how far the codebook's passes are after this one, above 0 to 1.
        sampling: temperature and so on.

    Returns:
        [B, A] with as many masked as the cosine schedule leaves, none when `share` is 1.
    """
    drawn = sample(logits, sampling, draw_noise)
    log_probability = torch.log_softmax(logits.float(), dim=-1).gather(-1, drawn[..., None])[..., 0]
    sureness = log_probability + sampling.choice_noise * (1.0 - share) * gumbel(choice_noise)
    is_open = fillable & (tokens < 0)
    sureness = sureness.masked_fill(~is_open, -torch.inf)
    left = torch.floor(math.cos(0.5 * math.pi * share) * fillable.sum(dim=1) + 1e-6)
    rank = sureness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    keep = is_open & (rank < (is_open.sum(dim=1) - left)[:, None])
    return torch.where(keep, drawn, tokens)


def gumbel(noise: Tensor) -> Tensor:
    """Standard Gumbel noise of the same shape from uniform noise in [0, 1)."""
    return -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-6)))
