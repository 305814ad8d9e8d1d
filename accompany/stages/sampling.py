"""Sampling of codes from logits: temperature, top-k, top-p and guidance, with noise drawn beforehand.

Nothing here waits for the host, and an item's noise depends on its own seed only, so a result does not
depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_BELOW_ONE = 1.0 - 2.0**-24
"""The largest float32 below 1."""


@dataclass(frozen=True)
class SamplingConfig:
    """Options for the sampling of codes.

    Attributes:
        temperature: above 0 flattens or sharpens the distribution; 0 takes the likeliest code.
        top_k: draw among the k likeliest only; 0 means all.
        top_p: draw among the likeliest codes that hold this much probability (Holtzman et al., 2020), in (0, 1].
        guidance: weight of the prompt, classifier-free guidance (Ho and Salimans, 2022); 1 is off and saves half
            the work, 0 ignores the prompt.
        guidance_vocal: the same for the vocal and the control track together.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0
    guidance_vocal: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.temperature < 0:
            raise ValueError(f"temperature {self.temperature} must be at least 0")
        if self.top_k < 0:
            raise ValueError(f"top_k {self.top_k} must be at least 0 (0 means all)")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p} must be above 0 and at most 1")
        if min(self.guidance, self.guidance_vocal) < 0:
            raise ValueError("guidance and guidance_vocal must be at least 0")


@dataclass(frozen=True)
class MaskedSamplingConfig(SamplingConfig):
    """Options for masked parallel decoding (SoundStorm, Borsos et al., 2023).

    Attributes:
        steps: passes per codebook, coarse to fine; the last entry serves all further codebooks.
        choice_noise: scale of the Gumbel noise on the confidences, annealed to 0 over a codebook's passes; 0
            always keeps the surest codes, which sounds flat.
        guided_levels: guidance is applied to this many coarse codebooks.
    """

    steps: tuple[int, ...] = (8, 4, 2, 2, 1)
    choice_noise: float = 4.0
    guided_levels: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        super().__post_init__()
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"steps {self.steps} must be whole numbers of at least 1")
        if self.choice_noise < 0 or self.guided_levels < 0:
            raise ValueError("choice_noise and guided_levels must be at least 0")

    def steps_of(self, level: int) -> int:
        """Passes for codebook `level`."""
        return self.steps[min(level, len(self.steps) - 1)]


def sample(logits: Tensor, config: SamplingConfig, noise: Tensor) -> Tensor:
    """Draw codes by inverting the cumulative distribution.

    Args:
        logits: [..., V].
        config: temperature, top_k and top_p; guidance has been applied before.
        noise: [...] uniform in [0, 1).

    Returns:
        [...] int64 codes.
    """
    if config.temperature == 0:
        return logits.argmax(dim=-1)
    if not config.top_k and config.top_p == 1:
        return _invert(torch.softmax(_tempered(logits.float(), config), dim=-1), noise)
    probabilities, order = likeliest(logits, config)
    return order.gather(-1, _invert(probabilities, noise)[..., None])[..., 0]


def likeliest(logits: Tensor, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Mask logits by top-k and top-p.

    Returns:
        Probabilities [..., n] after temperature, likeliest first (those cut off are 0, the rest is not
        renormalised), and the codes [..., n] they are of.
    """
    count = min(config.top_k, logits.shape[-1]) or logits.shape[-1]
    logits, order = logits.float().topk(count, dim=-1)
    probabilities = torch.softmax(_tempered(logits, config), dim=-1)
    if config.top_p < 1:
        held_before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities * (held_before < config.top_p)
    return probabilities, order


def _tempered(logits: Tensor, config: SamplingConfig) -> Tensor:
    return logits if config.temperature == 1 else logits / config.temperature


def _invert(probabilities: Tensor, noise: Tensor) -> Tensor:
    """The index [...] at which the cumulative sum of [..., n] passes `noise` [...] times the whole.

    A product with at most 1 - 2**-24 rounds to less than the whole, so what is found has a probability above 0.
    """
    total = probabilities.cumsum(dim=-1)
    passed = noise.to(total.dtype).clamp(max=_BELOW_ONE)[..., None] * total[..., -1:]
    return torch.searchsorted(total, passed, right=True)[..., 0]


def uniform_noise(seeds: Sequence[int], n_frames: int, per_frame: int, device: torch.device | str = "cpu") -> Tensor:
    """Uniform noise [B, F, per_frame], each item from its own seed; a longer draw starts with the shorter one."""
    draws = [torch.rand(n_frames, per_frame, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws).to(device)


def seed_for(seed: int, stage: int) -> int:
    """A seed for each stage, so that the two do not draw the same numbers."""
    low, high = np.random.SeedSequence([seed, stage]).generate_state(2)
    return int(low) | (int(high) >> 1) << 32
