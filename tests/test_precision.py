"""Weights of 8 bits and halves: near to what they stand for, chosen by device, refused where they cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import accompany
from accompany.common.devices import choose_precision
from accompany.errors import InputError
from accompany.stages.precision import Int8Linear, products_of, set_precision
from accompany.stages.transformer import Dense, Transformer, TransformerConfig, product_of


@pytest.mark.parametrize(("outputs", "inputs"), [(7, 5), (64, 32), (33, 100), (256, 342)])
@pytest.mark.parametrize("rows", [1, 3, 32, 33, 100])
def test_eight_bits_are_near_to_the_weights_they_stand_for(outputs: int, inputs: int, rows: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(outputs, inputs) * torch.rand(outputs, 1), torch.randn(rows, inputs)
    layer = Int8Linear.of(weight)
    exact = x @ weight.T
    made = layer(x)
    assert made.dtype == torch.float32 and layer.weight.dtype == torch.int8
    assert 1e-4 < float((made - exact).norm() / exact.norm()) < 0.02
    torch.testing.assert_close(made, x @ layer.widened().T, atol=0.02 * float(exact.abs().max()), rtol=0)
    torch.testing.assert_close(layer.add(torch.ones_like(exact), x), made + 1)
    torch.testing.assert_close(layer(x[None]), made[None])


def test_each_weight_is_about_half_a_step_off_at_most() -> None:
    torch.manual_seed(0)
    weight = torch.randn(20, 40)
    weight[3] = 0
    layer = Int8Linear.of(weight)
    steps = layer.scale.float()[:, None]
    # The scale has 8 bits itself, so the largest weight of a row may be cut by half a percent.
    assert ((layer.widened() - weight).abs() <= 0.5 * steps + 0.005 * weight.abs() + 1e-30).all()
    assert not layer(torch.randn(2, 40))[:, 3].any()


def test_parts_of_a_layer_give_parts_of_its_result() -> None:
    torch.manual_seed(0)
    dense, x = torch.nn.Linear(40, 50, bias=False).requires_grad_(False), torch.randn(2, 40)
    for layer in (dense, Int8Linear.of(dense.weight)):
        parts = [part(x) for part in products_of(layer, [30, 20])]
        torch.testing.assert_close(torch.cat(parts, dim=1), product_of(layer)(x))
    assert isinstance(product_of(dense), Dense)
    torch.testing.assert_close(product_of(dense).add(torch.ones(2, 50), x), dense(x) + 1)


def test_a_precision_changes_the_transformers_only() -> None:
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)):
        model = torch.nn.ModuleDict({"a": Transformer(TransformerConfig(32, 1, 2)), "b": torch.nn.Linear(4, 4)})
        set_precision(model, precision)
        assert {p.dtype for p in model["a"].parameters()} == {dtype} and model["b"].weight.dtype == torch.float32
        assert model["a"].cos.dtype == torch.float32
    rounded = Transformer(TransformerConfig(32, 2, 2)).eval()
    set_precision(rounded, "int8")
    assert sum(isinstance(module, Int8Linear) for module in rounded.modules()) == 8
    assert not any(isinstance(module, torch.nn.Linear) for module in rounded.modules())


def test_auto_is_half_on_a_gpu_and_whole_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [choose_precision("auto", device) for device in ("cpu", "mps")] == ["float32"] * 2
    for has_bfloat16, expected in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda answer=has_bfloat16: answer)
        assert choose_precision("auto", "cuda") == expected
    assert choose_precision("int8", "cpu") == "int8" and choose_precision("float32", "cuda") == "float32"


@pytest.mark.parametrize(("name", "device", "says"), [("int4", "cpu", "no precision 'int4'"), ("int8", "cuda", "CPU")])
def test_a_precision_that_cannot_be_is_named(name: str, device: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        choose_precision(name, device)


def test_a_band_plays_in_any_precision(random_bundle_dir: Any) -> None:
    vocal = (np.sin(np.arange(24000) / 20).astype(np.float32) * 0.3, 24000)
    made, rounded = {}, {}
    for precision in ("auto", "float32", "bfloat16", "int8"):
        band = accompany.load(random_bundle_dir, device="cpu", precision=precision)
        takes = [band.generate(vocal, "jazz", seed=2) for _ in range(2)]
        assert np.isfinite(takes[0].samples).all() and np.array_equal(takes[0].samples, takes[1].samples)
        made[precision] = takes[0].samples
        rounded[precision] = [any(isinstance(m, Int8Linear) for m in stage.modules()) for stage in band.bundle.stages]
    assert np.array_equal(made["auto"], made["float32"])
    assert rounded == {"auto": [False] * 2, "float32": [False] * 2, "bfloat16": [False] * 2, "int8": [True] * 2}
