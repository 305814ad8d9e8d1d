"""LLambada's stages: a transformer over several token sequences that writes the last one.

After TokenConditionedTransformer, the form in which AudioLM's open implementations train (Borsos et al., 2022,
arXiv 2209.03143) and which LLambada uses (arXiv 2411.01661, section 3): the semantic stage reads the voice's semantic
codes and the codes of the prompt, then writes the band's semantic codes; the coarse stage reads these and the codec
tokens of the voice, then writes the band's codec tokens.

What the transformer sees is

    start 0, sequence 0, end, start 1, sequence 1, end, start 2, sequence 2

in which each sequence has its own start vector, embedding table and output weights. A sequence of Q codebooks goes
frame by frame: position n is of codebook n mod Q, with its own rows of the table and its own output weights. The end
token follows the last code and counts as a position like any other.

Shape letters: B items, S sequences, N positions of a sequence, Q codebooks, V codes without the end token, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.stages.decoding import Progress, check_seeds
from accompany.stages.sampling import SamplingConfig, sample, uniform_noise
from accompany.stages.steps import start
from accompany.stages.transformer import Transformer, TransformerConfig, init_weights

WINDOW_S = 10.0
"""Seconds of sound that LLambada was trained on, and reads and writes at once."""
_QK_SCALE = 8.0
_NORM_EPS = 1e-5
_MAX_FRAMES = 8192  # ten seconds of LLambada's coarse stage take 5,005
_TEMPERATURE, _KEPT_SHARE = 0.95, 0.1  # of the published generation


@dataclass(frozen=True)
class TokenStageConfig:
    """Sizes of a `TokenStage`.

    Attributes:
        codes: V of each sequence, the one to write last.
        codebooks: Q of each sequence.
        transformer: its sizes; causal, and `max_frames` bounds the positions of all sequences together.
        sampling: how codes are drawn when a call does not say.
    """

    codes: tuple[int, ...] = (1024, 1024, 1024)
    codebooks: tuple[int, ...] = (1, 12, 1)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that do not fit together."""
        if len(self.codes) != len(self.codebooks) or not self.codes:
            raise ValueError("codes and codebooks need one entry for each sequence")
        if min(*self.codes, *self.codebooks) < 1:
            raise ValueError("codes and codebooks must be at least 1")
        if not self.transformer.causal:
            raise ValueError("a stage that writes tokens needs causal=True")


class TokenStage(nn.Module):
    """Writes the last of S sequences of tokens, given the others."""

    def __init__(self, config: TokenStageConfig) -> None:
        """Build with small random weights."""
        super().__init__()
        self.config = config
        width = config.transformer.width
        sizes = list(zip(config.codes, config.codebooks, strict=True))
        self.start = nn.Parameter(0.02 * torch.randn(len(sizes), width))
        self.embed = nn.ModuleList(nn.Embedding((codes + 1) * books, width) for codes, books in sizes)
        self.head = nn.ParameterList(0.02 * torch.randn(books, codes + 1, width) for codes, books in sizes)
        self.embed.apply(init_weights)
        self.transformer = Transformer(config.transformer)

    def forward(self, sequences: Sequence[Tensor]) -> list[Tensor]:
        """Logits for every token given those before it.

        Args:
            sequences: S of them, [B, N_s] each, with end tokens where there should be some.

        Returns:
            For each sequence [B, N_s + 1, V + 1]: the last ones are for what would follow it.
        """
        parts = [self._embedded(index, tokens) for index, tokens in enumerate(sequences)]
        hidden = self.transformer(torch.cat(parts, dim=1))
        pieces = hidden.split([part.shape[1] for part in parts], dim=1)
        return [self._logits(index, piece) for index, piece in enumerate(pieces)]

    @torch.inference_mode()
    def generate(
        self,
        conditions: Sequence[Tensor],
        n_frames: int,
        sampling: SamplingConfig | None = None,
        seeds: Sequence[int] = (0,),
        *,
        prefix: Tensor | None = None,
        noise: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Write the last sequence token by token with a cache; its end token is never drawn.

        Args:
            conditions: the other sequences, [B, Q, F] each, without end tokens.
            n_frames: F of the result.
            sampling: None takes the config's; its guidance is not used.
            seeds: one for each item; an item's result depends on its own seed only.
            prefix: [B, Q, F0] codes to go on from, the first frames of the result.
            noise: [B, F, Q] uniform, in place of the seeds' own.
            progress: called with (frames done, frames in all).

        Returns:
            [B, Q, F] codes.
        """
        sampling = sampling or self.config.sampling
        batch, books = conditions[0].shape[0], self.config.codebooks[-1]
        check_seeds(seeds, batch)
        if noise is None:
            noise = uniform_noise(seeds, n_frames, books)
        drawn_by = noise.to(self.start.device).flatten(1)
        parts = [self._embedded(index, self._ended(index, codes)) for index, codes in enumerate(conditions)]
        given = to_tokens(prefix) if prefix is not None else conditions[0].new_zeros(batch, 0)
        read = torch.cat([*parts, self._embedded(len(parts), given)], dim=1)
        tokens = torch.cat([given, given.new_zeros(batch, n_frames * books - given.shape[1])], dim=1)
        run = start(self.transformer, batch, read.shape[1] + tokens.shape[1] - given.shape[1])
        hidden = run(read)
        for position in range(given.shape[1], tokens.shape[1]):
            logits = hidden[:, -1] @ self.head[-1][position % books, :-1].T
            tokens[:, position] = sample(logits, sampling, drawn_by[:, position])
            if progress is not None and (position + 1) % books == 0:
                progress((position + 1) // books, n_frames)
            if position + 1 < tokens.shape[1]:
                hidden = run(self._tokens(len(parts), tokens[:, position : position + 1], position))
        return tokens.unflatten(1, (n_frames, books)).transpose(1, 2)

    def _embedded(self, index: int, tokens: Tensor) -> Tensor:
        """A sequence [B, N] behind its start vector [B, N + 1, D]."""
        start = self.start[index].expand(tokens.shape[0], 1, -1)
        return torch.cat([start, self._tokens(index, tokens, 0)], dim=1)

    def _tokens(self, index: int, tokens: Tensor, first: int) -> Tensor:
        """Embeddings [B, N, D] of tokens [B, N] that stand from position `first` on."""
        return self.embed[index](tokens + self.config.codes[index] * self._books(index, tokens.shape[1], first))

    def _logits(self, index: int, hidden: Tensor) -> Tensor:
        """Logits [B, N, V + 1] of the tokens from position 0 on, from what predicts them [B, N, D]."""
        head, length = self.head[index], hidden.shape[1]
        books = head.shape[0]
        frames = functional.pad(hidden, (0, 0, 0, -length % books)).unflatten(1, (-1, books))
        return torch.einsum("bfqd,qvd->bfqv", frames, head).flatten(1, 2)[:, :length]

    def _books(self, index: int, count: int, first: int) -> Tensor:
        """The codebook [N] of each position."""
        return torch.arange(first, first + count, device=self.start.device) % self.config.codebooks[index]

    def _ended(self, index: int, codes: Tensor) -> Tensor:
        """Codes [B, Q, F] frame by frame, then the end token."""
        return torch.cat([to_tokens(codes), codes.new_full((codes.shape[0], 1), self.config.codes[index])], dim=1)


def token_profile(
    width: int, depth: int, heads: int, *, head_width: int = 64, ff_width: int = 0, ff_conv: int = 3
) -> TransformerConfig:
    """The transformer of TokenConditionedTransformer; by default with inner widths as the published code has them."""
    return TransformerConfig(
        width=width,
        depth=depth,
        heads=heads,
        max_frames=_MAX_FRAMES,
        positions="bias",
        head_width=head_width,
        kv_heads=1,
        qk_scale=_QK_SCALE,
        norm_kv=False,
        gate="gelu",
        ff_width=ff_width or width * 8 // 3,
        ff_conv=ff_conv,
        ff_norm=True,
        norm_eps=_NORM_EPS,
    )


def published_sampling(codes: int) -> SamplingConfig:
    """Sampling of the published generation: from the likeliest tenth of the codes, the end token counted."""
    return SamplingConfig(temperature=_TEMPERATURE, top_k=max(int(_KEPT_SHARE * (codes + 1)), 1))


def published_stages() -> tuple[TokenStageConfig, TokenStageConfig]:
    """Sizes of LLambada's semantic and coarse stage, as published."""
    semantic, prompt, sound = (1024, 1), (1024, 12), (1024, 3)

    def stage(transformer: TransformerConfig, *sequences: tuple[int, int]) -> TokenStageConfig:
        codes, books = zip(*sequences, strict=True)
        return TokenStageConfig(codes, books, transformer, published_sampling(codes[-1]))

    return (
        stage(token_profile(768, 16, 16), semantic, prompt, semantic),
        stage(token_profile(1024, 6, 8), semantic, sound, sound),
    )


def to_tokens(codes: Tensor) -> Tensor:
    """Codes [B, Q, F] frame by frame: [B, F * Q]."""
    return codes.transpose(1, 2).flatten(1)
