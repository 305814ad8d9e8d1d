"""Sampling: every option bites, and an item's noise is its own."""

from __future__ import annotations

import pytest
import torch

from accompany.stages.masked import gumbel
from accompany.stages.sampling import MaskedSamplingConfig, SamplingConfig, sample, uniform_noise

LOGITS = torch.tensor([2.0, 0.0, 1.0, -1.0, -3.0])


def draws(config: SamplingConfig, n: int = 20000) -> torch.Tensor:
    noise = uniform_noise([5], n, 1)[0, :, 0]
    return torch.bincount(sample(LOGITS.expand(n, -1), config, noise), minlength=5) / n


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 5])
def test_draws_follow_the_tempered_distribution(temperature: float, top_k: int) -> None:
    expected = torch.softmax(LOGITS / temperature, dim=-1)
    torch.testing.assert_close(draws(SamplingConfig(temperature=temperature, top_k=top_k)), expected, atol=0.01, rtol=0)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draws(SamplingConfig(temperature=0.0)).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_top_k_keeps_the_k_likeliest() -> None:
    shares = draws(SamplingConfig(top_k=2))
    assert (shares > 0).tolist() == [True, False, True, False, False]
    torch.testing.assert_close(shares[0], torch.softmax(LOGITS[[0, 2]], dim=-1)[0], atol=0.01, rtol=0)


def test_top_p_keeps_the_mass() -> None:
    # Softmax: 0.63, 0.09, 0.23, 0.03, 0.004.
    assert (draws(SamplingConfig(top_p=0.5)) > 0).tolist() == [True, False, False, False, False]
    assert (draws(SamplingConfig(top_p=0.7)) > 0).tolist() == [True, False, True, False, False]
    assert (draws(SamplingConfig(top_p=0.9)) > 0).tolist() == [True, True, True, False, False]
    assert (draws(SamplingConfig(top_p=0.9, top_k=2)) > 0).tolist() == [True, False, True, False, False]


def test_extreme_noise_stays_within_what_is_allowed() -> None:
    logits = torch.tensor([[0.0, 3.0, -1e9, -1e9]])
    for noise in (0.0, 1.0 - 1e-7, 1.0):
        for config in (SamplingConfig(), SamplingConfig(top_k=3), SamplingConfig(top_p=0.99)):
            assert int(sample(logits, config, torch.tensor([noise]))) in (0, 1)


def test_noise_belongs_to_the_item() -> None:
    both, longer = uniform_noise([1, 2], 10, 3), uniform_noise([2], 20, 3)
    assert torch.equal(both[1], longer[0, :10])
    assert not torch.equal(both[0], both[1])
    assert ((both >= 0) & (both < 1)).all()
    assert torch.isfinite(gumbel(torch.tensor([0.0, 0.5, 1.0]))).all()


@pytest.mark.parametrize(
    "changes", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"guidance": -0.5}]
)
def test_impossible_options_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SamplingConfig(**changes)  # type: ignore[arg-type]


def test_impossible_masked_options_are_refused() -> None:
    for changes in ({"steps": ()}, {"steps": (0,)}, {"choice_noise": -1.0}, {"guided_levels": -1}, {"top_p": 2.0}):
        with pytest.raises(ValueError):
            MaskedSamplingConfig(**changes)  # type: ignore[arg-type]
    assert [MaskedSamplingConfig(steps=(4, 2)).steps_of(level) for level in range(4)] == [4, 2, 2, 2]
