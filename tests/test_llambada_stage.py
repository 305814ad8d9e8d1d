"""LLambada's transformers: the published code's logits and tokens, and the options of ours that they use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accompany.common.saving import save_module
from accompany.common.weights import load_module, read_state
from accompany.errors import InputError
from accompany.models.importing.token_stage import convert_token_stage
from accompany.stages.llambada import TokenStage, TokenStageConfig, to_tokens
from accompany.stages.sampling import SamplingConfig
from accompany.stages.token_steps import decode_one, new_cache, prefill
from accompany.stages.transformer import Transformer, TransformerConfig

FIXTURE = Path(__file__).parents[2] / "shared" / "fixtures" / "llambada"
SEQUENCES = {
    "semantic": (("vocal_semantic", "clap"), "accomp_semantic"),
    "coarse": (("accomp_semantic", "vocal_coarse"), "accomp_coarse"),
}
GREEDY = SamplingConfig(temperature=0)

published = pytest.mark.skipif(not FIXTURE.is_dir(), reason="the published code's outputs are not here")


def profile(**changes: Any) -> TransformerConfig:
    sizes: dict[str, Any] = {
        "width": 32, "depth": 3, "heads": 4, "max_frames": 256, "positions": "bias", "head_width": 16, "kv_heads": 1,
        "qk_scale": 8.0, "norm_kv": False, "gate": "gelu", "ff_width": 44, "ff_conv": 3, "ff_norm": True,
    }  # fmt: skip
    return TransformerConfig(**{**sizes, **changes})


def shaken(module: torch.nn.Module) -> Any:
    """Every parameter away from where it starts, so that one which is skipped shows."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.3))
    return module.eval().requires_grad_(False)


def small_stage(**changes: Any) -> TokenStage:
    torch.manual_seed(0)
    config = TokenStageConfig(codes=(9, 7, 11), codebooks=(1, 4, 3), transformer=profile(**changes))
    return shaken(TokenStage(config))


def small_conditions(batch: int = 2) -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randint(9, (batch, 1, 30)), torch.randint(7, (batch, 4, 5))]


@published
@pytest.mark.parametrize("name", SEQUENCES)
@torch.inference_mode()
def test_the_published_logits(name: str) -> None:
    stage, given = _published(name)
    (before, written) = SEQUENCES[name]
    sequences = [torch.cat([given[key], torch.full((2, 1), 1024)], dim=1) for key in before]
    logits = stage([*sequences, given[written]])
    assert [part.shape[1] for part in logits] == [given[key].shape[1] + 2 for key in before] + [
        given[written].shape[1] + 1
    ]
    torch.testing.assert_close(logits[-1], given["logits"], atol=1e-4, rtol=0)


@published
@pytest.mark.parametrize("name", SEQUENCES)
def test_the_published_tokens_by_the_cached_path(name: str) -> None:
    stage, given = _published(name)
    books = stage.config.codebooks
    conditions = [_by_book(given[key], count) for key, count in zip(SEQUENCES[name][0], books, strict=False)]
    written = stage.generate(conditions, given["greedy"].shape[1] // books[-1], GREEDY, seeds=(0, 0))
    assert torch.equal(to_tokens(written), given["greedy"])


def _published(name: str) -> tuple[TokenStage, dict[str, Tensor]]:
    state = read_state(FIXTURE / f"{name}_weights.safetensors")
    return (
        convert_token_stage(state, name),
        read_state(FIXTURE / f"{name}_io.safetensors"),
    )


def _by_book(tokens: Tensor, books: int) -> Tensor:
    return tokens.unflatten(1, (-1, books)).transpose(1, 2)


@published
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: state.pop("transformer.layers.1.0.to_kv.weight"),
            "missing: transformer.layers.1.0.to_kv.weight",
        ),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected: extra"),
        (lambda state: state.update({"start_tokens.1": torch.zeros(3)}), "of another shape: start_tokens.1"),
        (lambda state: state["transformer.norm.beta"].fill_(1), "transformer.norm.beta"),
        (lambda state: state.clear(), "no LLambada transformer"),
    ],
)
def test_a_state_that_does_not_fit_is_named(change: Any, words: str) -> None:
    state = read_state(FIXTURE / "semantic_weights.safetensors")
    change(state)
    with pytest.raises(InputError, match=words):
        convert_token_stage(state, "some.pt")


@torch.inference_mode()
def test_writing_follows_the_logits_of_the_whole() -> None:
    """Greedy tokens by the cache are the likeliest of one pass over everything."""
    stage, conditions = small_stage(), small_conditions()
    written = stage.generate(conditions, 12, GREEDY, seeds=(0, 0))
    assert written.shape == (2, 3, 12) and len(written.unique()) > 3
    ended = [
        torch.cat([to_tokens(codes), torch.full((2, 1), size)], dim=1)
        for codes, size in zip(conditions, (9, 7), strict=True)
    ]
    logits = stage([*ended, to_tokens(written)])[-1][:, :-1, :-1]
    written_logits = logits.gather(-1, to_tokens(written)[..., None])[..., 0]
    torch.testing.assert_close(written_logits, logits.amax(-1), atol=1e-4, rtol=0)


def test_a_prefix_is_kept_and_gone_on_from() -> None:
    stage, conditions = small_stage(), small_conditions()
    whole = stage.generate(conditions, 12, GREEDY, seeds=(0, 0))
    rest = stage.generate(conditions, 12, GREEDY, seeds=(0, 0), prefix=whole[..., :7])
    assert torch.equal(rest, whole)
    other = (whole[..., :7] + 1) % 11
    changed = stage.generate(conditions, 12, GREEDY, seeds=(0, 0), prefix=other)
    assert torch.equal(changed[..., :7], other) and not torch.equal(changed[..., 7:], whole[..., 7:])


def test_items_are_on_their_own_and_seeds_tell() -> None:
    stage, conditions = small_stage(), small_conditions()
    sampling = SamplingConfig(temperature=1.5)
    heard: list[tuple[int, int]] = []
    both = stage.generate(conditions, 6, sampling, seeds=(3, 4), progress=lambda *done: heard.append(done))
    alone = stage.generate([codes[1:] for codes in conditions], 6, sampling, seeds=(4,))
    assert torch.equal(both[1:], alone)
    assert heard == [(done, 6) for done in range(1, 7)]
    assert not torch.equal(stage.generate(conditions, 6, sampling, seeds=(5, 6)), both)
    assert int(both.max()) < 11


def test_a_long_condition_goes_in_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, conditions = small_stage(), small_conditions()
    whole = stage.generate(conditions, 8, GREEDY, seeds=(0, 0))
    monkeypatch.setattr("accompany.stages.token_steps._PREFILL", 7)
    assert torch.equal(stage.generate(conditions, 8, GREEDY, seeds=(0, 0)), whole)


def test_a_saved_stage_is_the_same(tmp_path: Path) -> None:
    stage = small_stage()
    save_module(stage, stage.config, tmp_path, half=False)
    again = load_module(TokenStage, tmp_path)
    conditions = small_conditions()
    assert torch.equal(again.generate(conditions, 5, seeds=(1, 2)), stage.generate(conditions, 5, seeds=(1, 2)))


@pytest.mark.parametrize("n_first", [0, 1, 2, 40, 64])
@torch.inference_mode()
def test_the_cache_holds_what_the_convolution_saw(n_first: int) -> None:
    model: Transformer = shaken(Transformer(profile()))
    x = torch.randn(2, 90, 32)
    cache = new_cache(model, 2, 90)
    parts = [prefill(model, x[:, :n_first], cache)] if n_first else []
    parts.append(prefill(model, x[:, n_first : n_first + 3], cache, n_first))
    for frame in range(n_first + 3, 90):
        parts.append(decode_one(model, x[:, frame : frame + 1], cache.slots[frame : frame + 1], cache, frame + 1))
    torch.testing.assert_close(torch.cat(parts, dim=1), model(x), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_profile_does_not_see_the_future() -> None:
    model: Transformer = shaken(Transformer(profile()))
    x = torch.randn(1, 40, 32)
    changed = x.clone()
    changed[:, 30:] += 1
    torch.testing.assert_close(model(x)[:, :30], model(changed)[:, :30])
    assert (model(x) - model(changed))[:, 30:].abs().max() > 1e-2


@pytest.mark.parametrize(
    "change",
    [
        {"positions": "rotary"},
        {"kv_heads": 2},
        {"qk_scale": 0.0},
        {"qk_scale": 4.0},
        {"norm_kv": True},
        {"gate": "silu"},
        {"ff_conv": 0},
        {"ff_norm": False},
        {"norm_eps": 0.1},
        {"head_width": 8},
        {"ff_width": 40},
    ],
)
@torch.inference_mode()
def test_every_option_changes_the_output(change: dict[str, Any]) -> None:
    x = torch.randn(1, 20, 32)
    plain, other = (shaken(Transformer(config)) for config in (profile(), profile(**change)))
    shared = {name: value for name, value in plain.state_dict().items() if name in other.state_dict()}
    shared = {name: value for name, value in shared.items() if value.shape == other.state_dict()[name].shape}
    other.load_state_dict(shared, strict=False)
    assert (plain(x) - other(x)).abs().max() > 1e-3


def test_training_reaches_every_parameter() -> None:
    stage = TokenStage(small_stage().config)
    conditions = [to_tokens(codes) for codes in small_conditions()]
    logits = stage([*conditions, torch.randint(11, (2, 9))])
    torch.stack([part.square().mean() for part in logits]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())


@pytest.mark.parametrize(
    "change",
    [
        {"positions": "none"}, {"gate": "relu"}, {"kv_heads": 3}, {"head_width": 15}, {"ff_conv": -1},
        {"causal": False}, {"causal": False, "positions": "rotary"},
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        profile(**change)


@pytest.mark.parametrize(
    "change",
    [{"codes": (5, 5)}, {"codes": (1, 0), "codebooks": (1, 1)}, {"transformer": TransformerConfig(causal=False)}],
)
def test_stages_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        TokenStageConfig(**{"codes": (5,), "codebooks": (2,), **change})
