"""Frame by frame through bare weights: what the whole forward gives, and what the modules give."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from accompany.stages import steps, token_steps
from accompany.stages.llambada import token_profile
from accompany.stages.precision import set_precision
from accompany.stages.token_steps import ModuleSteps, TokenSteps, is_token_profile
from accompany.stages.transformer import Transformer, TransformerConfig


def lively(**sizes: int) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(**{"width": 32, "depth": 3, "heads": 4, "max_frames": 256, **sizes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0 if parameter.dim() == 2 else 1.0).add_(0.1 if parameter.dim() == 1 else 0.0)
    return model.eval()


def of_tokens() -> Transformer:
    torch.manual_seed(1)
    model = Transformer(token_profile(32, 2, 3, head_width=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0 if parameter.dim() == 2 else 1.0).add_(0.1 if parameter.dim() == 1 else 0.0)
    return model.eval()


@pytest.mark.parametrize("kind", [steps.PackedSteps, ModuleSteps])
@pytest.mark.parametrize("n_first", [1, 2, 64, 99, 130])
@torch.inference_mode()
def test_steps_give_what_the_whole_forward_gives(kind: type, n_first: int) -> None:
    model, x = lively(), torch.randn(3, 130, 32)
    run = kind(model, 3, 130)
    parts = [run(x[:, :n_first])]
    parts += [run(x[:, frame : frame + 1]) for frame in range(n_first, 130)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(x), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_an_odd_number_of_heads_and_one_block() -> None:
    model, x = lively(width=24, heads=3, depth=1), torch.randn(1, 9, 24)
    run = steps.start(model, 1, 9)
    made = torch.cat([run(x[:, frame : frame + 1]) for frame in range(9)], dim=1)
    torch.testing.assert_close(made, model(x), atol=1e-5, rtol=1e-4)


def test_plain_transformers_run_on_bare_weights() -> None:
    plain = TransformerConfig(width=64, depth=2, heads=2, ff_mult=3.0, dropout=0.1, max_frames=99, rope_base=500.0)
    assert steps.is_plain(plain)
    assert not steps.is_plain(dataclasses.replace(plain, causal=False))
    assert isinstance(steps.start(lively(), 1, 4), steps.PackedSteps)


@pytest.mark.parametrize("n_first", [1, 2, 3, 9, 29])
@torch.inference_mode()
def test_token_steps_give_what_the_whole_forward_gives(n_first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = of_tokens(), torch.randn(3, 30, 32)
    monkeypatch.setattr(token_steps, "_PREFILL", 7)
    run = steps.start(model, 3, 30)
    assert isinstance(run, TokenSteps)
    parts = [run(x[:, :n_first])]
    parts += [run(x[:, frame : frame + 1]) for frame in range(n_first, 30)]
    made = torch.cat(parts, dim=1)
    torch.testing.assert_close(made, model(x)[:, -made.shape[1] :], atol=1e-4, rtol=1e-4)


def test_only_the_whole_profile_runs_as_tokens() -> None:
    profile = of_tokens().config
    assert is_token_profile(profile) and is_token_profile(dataclasses.replace(profile, ff_conv=1, heads=4))
    for change in ({"gate": "silu"}, {"norm_kv": True}, {"ff_norm": False}, {"kv_heads": 3}, {"qk_scale": 0.0}):
        changed = dataclasses.replace(profile, **change)
        assert not is_token_profile(changed)
        torch.manual_seed(0)
        assert isinstance(steps.start(Transformer(changed).eval(), 1, 4), ModuleSteps)


@pytest.mark.parametrize("make", [lively, lambda: of_tokens()])
@pytest.mark.parametrize(("precision", "nearness"), [("bfloat16", 0.05), ("float16", 0.01), ("int8", 0.05)])
@torch.inference_mode()
def test_steps_in_another_precision_are_near(make: Any, precision: str, nearness: float) -> None:
    exact, model, x = make(), make(), torch.randn(2, 40, 32)
    set_precision(model, precision)
    run = steps.start(model, 2, 40)
    made = torch.cat([run(x[:, :1]), *(run(x[:, frame : frame + 1]) for frame in range(1, 40))], dim=1)
    whole = exact(x)
    assert made.dtype == torch.float32
    for found in (made, model(x)):
        error = float((found - whole).norm() / whole.norm())
        assert 1e-4 < error < nearness, "near, and not the same"


def test_too_many_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="257 frames are more than max_frames=256"):
        steps.start(lively(), 1, 257)


def test_small_steps_keep_to_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with steps.suited_threads(lively(), rows=2):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with steps.suited_threads(lively(), rows=100_000):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
