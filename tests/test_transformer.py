"""The transformer: the cached path is the full forward, items do not see each other, the future stays unseen."""

from __future__ import annotations

import pytest
import torch

from accompany.stages.token_steps import decode_one, new_cache, prefill
from accompany.stages.transformer import Transformer, TransformerConfig


def small(causal: bool = True, **changes: float) -> Transformer:
    torch.manual_seed(0)
    sizes = {"width": 32, "depth": 3, "heads": 4, "max_frames": 256}
    model = Transformer(TransformerConfig(**{**sizes, **changes}, causal=causal))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0 if parameter.dim() == 2 else 1.0)  # as far from linear as after training
    return model.eval()


@pytest.mark.parametrize("n_first", [0, 1, 40, 64, 99])
@torch.inference_mode()
def test_cached_decoding_equals_the_full_forward(n_first: int) -> None:
    model, x = small(), torch.randn(2, 130, 32)
    cache = new_cache(model, 2, 130)
    parts = [prefill(model, x[:, :n_first], cache)] if n_first else []
    for frame in range(n_first, 130):
        parts.append(decode_one(model, x[:, frame : frame + 1], cache.slots[frame : frame + 1], cache, frame + 1))
    torch.testing.assert_close(torch.cat(parts, dim=1), model(x), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_larger_count_of_filled_slots_changes_nothing() -> None:
    model, x = small(), torch.randn(1, 20, 32)
    cache = new_cache(model, 1, 200)
    prefill(model, x, cache)
    frame = torch.randn(1, 1, 32)
    outputs = [decode_one(model, frame, cache.slots[20:21], cache, n) for n in (21, 150, 200)]
    torch.testing.assert_close(outputs[0], outputs[1])
    torch.testing.assert_close(outputs[0], outputs[2])


@pytest.mark.parametrize("causal", [True, False])
@torch.inference_mode()
def test_a_batch_of_two_is_two_singles(causal: bool) -> None:
    model, x = small(causal), torch.randn(2, 50, 32)
    torch.testing.assert_close(model(x), torch.cat([model(x[:1]), model(x[1:])]), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_padding_is_unseen() -> None:
    model, x = small(causal=False), torch.randn(2, 50, 32)
    mask = torch.arange(50) < torch.tensor([[50], [30]])
    padded = model(x, mask)
    torch.testing.assert_close(padded[1, :30], model(x[1:, :30])[0], atol=1e-5, rtol=1e-4)
    assert torch.isfinite(model(x, torch.zeros(2, 50, dtype=torch.bool))).all()


@torch.inference_mode()
def test_only_a_bidirectional_model_sees_the_future() -> None:
    x = torch.randn(1, 40, 32)
    changed = x.clone()
    changed[:, 30:] += torch.randn(1, 10, 32)
    torch.testing.assert_close(small()(x)[:, :30], small()(changed)[:, :30])
    assert (small(causal=False)(x)[:, :30] - small(causal=False)(changed)[:, :30]).abs().max() > 1e-3


@torch.inference_mode()
def test_positions_are_relative() -> None:
    """What a frame attends to depends on distances, so a window may start anywhere in a piece."""
    model, x = small(), torch.randn(1, 30, 32)
    rotation = model.cos[100:130], model.sin[100:130]
    y = x
    for block in model.blocks:
        y = block(y, rotation, None, True, None)
    torch.testing.assert_close(model.norm(y), model(x), atol=1e-5, rtol=1e-4)


def test_autocast_keeps_the_stream_and_the_norms_in_float32() -> None:
    model, x = small(), torch.randn(2, 40, 32)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, model(x), atol=0.1, rtol=0.1)
    low.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_dropout_acts_in_training_only() -> None:
    model, x = small(dropout=0.5), torch.randn(1, 10, 32)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_too_long_a_sequence_says_so() -> None:
    with pytest.raises(ValueError, match="max_frames=256"):
        small()(torch.zeros(1, 257, 32))
    with pytest.raises(ValueError, match="max_frames=256"):
        new_cache(small(), 1, 257)


@pytest.mark.parametrize("changes", [{"width": 36}, {"heads": 0}, {"dropout": 1.0}, {"ff_mult": 0.0}, {"depth": 0}])
def test_impossible_sizes_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        TransformerConfig(**{"width": 32, "heads": 4, **changes})  # type: ignore[arg-type]
