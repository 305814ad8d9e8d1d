"""The semantic stage: cached generation, prefixes, known codes, guidance, long pieces, training."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from accompany.common.config import from_dict, to_dict
from accompany.common.overrides import load_config
from accompany.errors import InputError
from accompany.music.plan import CONTROL_DIM
from accompany.stages.batch import Batch
from accompany.stages.conditions import (
    ConditionConfig,
    ConditionEmbedding,
    Conditions,
    DropRates,
    make_conditions,
    stack,
)
from accompany.stages.decoding import delay, undelay, windows
from accompany.stages.dropping import draw_splice, drop, drop_history, swap_history
from accompany.stages.likelihood import log_likelihood_long
from accompany.stages.sampling import SamplingConfig
from accompany.stages.semantic import SemanticConfig, SemanticStage
from accompany.stages.transformer import TransformerConfig

WIDTHS = ConditionConfig(melody_dim=6, mert_dim=5, text_dim=4, code_sizes=(16, 12))
CONFIG = SemanticConfig(
    conditions=WIDTHS,
    encoder=TransformerConfig(width=32, depth=1, heads=2, max_frames=128, causal=False),
    decoder=TransformerConfig(width=32, depth=2, heads=2, max_frames=128),
    window_frames=40,
    context_frames=16,
    lookahead_frames=4,
    sampling=SamplingConfig(),
)


def lively(module: torch.nn.Module, seed: int = 0) -> Any:
    """Weights large enough that conditions and history matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 2 / parameter.shape[1] ** 0.5)
    return module.eval()


@pytest.fixture(scope="module")
def stage() -> SemanticStage:
    return lively(SemanticStage(CONFIG))


def conditions(n_frames: int = 30, batch: int = 1, seed: int = 0) -> Conditions:
    generator = torch.Generator().manual_seed(seed)
    return make_conditions(
        WIDTHS,
        n_frames,
        batch,
        vocal=torch.randn(batch, n_frames, 11, generator=generator),
        text=torch.randn(batch, 4, generator=generator),
        control=torch.randn(batch, n_frames, CONTROL_DIM, generator=generator),
    )


def test_delay_and_undelay_are_inverse() -> None:
    codes = torch.arange(24).view(1, 3, 8)
    steps = delay(codes, -7)
    assert steps.shape == (1, 3, 10)
    assert steps[0, 2].tolist() == [-7, -7, *range(16, 24)]
    assert steps[0, 0].tolist() == [*range(8), -7, -7]
    assert torch.equal(undelay(steps), codes)


@pytest.mark.parametrize("total", [1, 39, 40, 41, 60, 400])
def test_windows_cover_a_piece_without_gaps(total: int) -> None:
    parts = windows(total, 40, 16, 4)
    assert [part.keep_from for part in parts] == [0, *(part.keep_to for part in parts[:-1])]
    assert parts[-1].keep_to == parts[-1].stop == total
    for part in parts:
        assert part.stop - part.start <= 40
        assert part.keep_from - part.start >= min(16, part.keep_from)
        assert part.stop - part.keep_to == (0 if part is parts[-1] else 4)
    with pytest.raises(ValueError, match="longer than"):
        windows(total, 20, 16, 4)


def test_a_code_depends_on_the_codes_before_it_only(stage: SemanticStage) -> None:
    codes = torch.randint(0, 12, (1, 2, 30))
    logits = stage(codes, conditions())
    assert logits.shape == (1, 2, 30, 16)
    changed = codes.clone()
    changed[0, 0, 10] = (changed[0, 0, 10] + 1) % 12
    difference = (stage(changed, conditions()) - logits).abs().amax(dim=-1)[0]
    assert difference[0, :11].max() < 1e-5
    assert difference[1, :10].max() < 1e-5
    assert difference[1, 10] > 1e-3, "the second stream knows the first stream's code of the same frame"
    assert difference[0, 11] > 1e-3


def test_all_of_the_vocal_is_used(stage: SemanticStage) -> None:
    given = conditions()
    later = given.vocal.clone()
    later[:, 25] += 1.0
    codes = torch.randint(0, 12, (1, 2, 30))
    difference = stage(codes, dataclasses.replace(given, vocal=later)) - stage(codes, given)
    assert difference[:, :, 5].abs().max() > 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_cached_generation_is_the_argmax_of_the_full_forward(stage: SemanticStage, guidance: float) -> None:
    config = SamplingConfig(temperature=0.0, guidance=guidance, guidance_vocal=guidance)
    given = conditions()
    codes = stage.generate(given, config)
    full = stage(codes, given)
    if guidance != 1.0:
        deaf = stage(codes, given.without("vocal", "control"))
        full = full + (guidance - 1) * (2 * full - stage(codes, given.without("text")) - deaf)
    torch.testing.assert_close(full.gather(-1, codes[..., None])[..., 0], full.amax(dim=-1), atol=1e-4, rtol=0)
    assert codes[:, 1].max() < 12, "the second stream has 12 codes only"


def test_items_do_not_depend_on_their_batch(stage: SemanticStage) -> None:
    long, short = conditions(30, seed=1), conditions(19, seed=2)
    for sampling in (SamplingConfig(), SamplingConfig(guidance=2.0)):
        both = stage.generate(stack([long, short]), sampling, [5, 6])
        assert torch.equal(both[:1], stage.generate(long, sampling, [5]))
        assert torch.equal(both[1:, :, :19], stage.generate(short, sampling, [6]))


def test_a_prefix_is_continued(stage: SemanticStage) -> None:
    whole = stage.generate(conditions(), seeds=[3])
    noise = torch.rand(1, 30, 2, generator=torch.Generator().manual_seed(3))
    for n_prefix in (1, 12, 29, 30):
        again = stage.generate(conditions(), prefix=whole[..., :n_prefix], noise=noise[:, :30])
        assert torch.equal(again, whole)
    other = stage.generate(conditions(), seeds=[3], prefix=(whole[..., :12] + 1) % 12)
    assert torch.equal(other[..., :12], (whole[..., :12] + 1) % 12)
    assert not torch.equal(other[..., 12:], whole[..., 12:])


def test_known_codes_are_kept_and_seen_ahead(stage: SemanticStage) -> None:
    known = torch.full((1, 2, 30), -1)
    known[..., :5] = 3
    known[..., 20:] = 7
    known[:, 1, 20:25] = -1
    made = stage.generate(conditions().with_known(known), seeds=[1])
    assert torch.equal(made[known >= 0], known[known >= 0])
    assert (made >= 0).all()
    left_only = known.clone()
    left_only[..., 20:] = -1
    assert not torch.equal(made[..., 5:20], stage.generate(conditions().with_known(left_only), seeds=[1])[..., 5:20])


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0.3}, {"top_k": 2}, {"top_p": 0.3}, {"guidance": 3.0}, {"guidance_vocal": 3.0}, {"guidance": 0.0}],
)
def test_every_sampling_option_bites(stage: SemanticStage, changes: dict[str, float]) -> None:
    plain = stage.generate(conditions(), SamplingConfig(), [1])
    assert torch.equal(plain, stage.generate(conditions(), SamplingConfig(), [1]))
    assert not torch.equal(plain, stage.generate(conditions(), SamplingConfig(), [2]))
    assert not torch.equal(plain, stage.generate(conditions(), SamplingConfig(**changes), [1]))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["vocal", "text", "control"])
def test_every_condition_bites(stage: SemanticStage, name: str) -> None:
    plain = stage.generate(conditions(), seeds=[1])
    assert not torch.equal(plain, stage.generate(conditions().without(name), seeds=[1]))


def test_no_guidance_to_the_prompt_is_no_prompt(stage: SemanticStage) -> None:
    ignored = stage.generate(conditions(), SamplingConfig(guidance=0.0), [4])
    assert torch.equal(ignored, stage.generate(conditions().without("text"), SamplingConfig(), [4]))


def test_a_long_piece_carries_its_context(stage: SemanticStage) -> None:
    reports: list[tuple[int, int]] = []
    given = conditions(150)
    long = stage.generate_long(given, seeds=[8], progress=lambda done, total: reports.append((done, total)))
    assert long.shape == (1, 2, 150)
    assert ((long >= 0) & (long < 16)).all()
    assert reports[-1] == (150, 150)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    second = windows(150, 40, 16, 4)[1]
    noise = torch.rand(150, 2, generator=torch.Generator().manual_seed(8))[None]
    again = stage.generate(
        given.window(second.start, second.stop),
        prefix=long[..., second.start : second.keep_from],
        n_frames=second.keep_to - second.start,
        noise=noise[:, second.start : second.keep_to],
    )
    assert torch.equal(again, long[..., second.start : second.keep_to])


def test_a_long_piece_is_there_window_by_window(stage: SemanticStage) -> None:
    long, written = stage.generate_long(conditions(90), seeds=[8]), 0
    codes = torch.zeros_like(long)
    for each in stage.generate_into(codes, conditions(90), seeds=[8]):
        (part,) = each.windows
        assert part.keep_from == written and not codes[..., part.keep_to :].any()
        written = part.keep_to
        assert torch.equal(codes[..., :written], long[..., :written])
    assert written == 90


def test_a_long_piece_of_one_window_is_that_window(stage: SemanticStage) -> None:
    assert torch.equal(stage.generate_long(conditions(40), seeds=[8]), stage.generate(conditions(40), seeds=[8]))


def test_long_pieces_in_a_batch_are_as_alone(stage: SemanticStage) -> None:
    long, short = conditions(90, seed=1), conditions(33, seed=2)
    both = stage.generate_long(stack([long, short]), seeds=[5, 6])
    assert torch.equal(both[:1], stage.generate_long(long, seeds=[5]))
    assert torch.equal(both[1:, :, :33], stage.generate_long(short, seeds=[6]))
    longer = conditions(71, seed=3)
    three = stage.generate_long(stack([short, long, longer]), seeds=[6, 5, 7])
    assert torch.equal(three[1:2], both[:1])
    assert torch.equal(three[2:, :, :71], stage.generate_long(longer, seeds=[7]))


def test_one_frame_is_enough(stage: SemanticStage) -> None:
    assert stage.generate(conditions(1)).shape == (1, 2, 1)


def test_the_number_of_seeds_is_checked(stage: SemanticStage) -> None:
    with pytest.raises(ValueError, match="one for each"):
        stage.generate(conditions(5, batch=2), seeds=[1])


def batch(n: int = 4, n_frames: int = 24) -> Batch:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 12, (n, 2, n_frames), generator=generator)
    control = torch.zeros(n, n_frames, CONTROL_DIM)
    control[..., 7:19] = torch.nn.functional.one_hot(codes[:, 0], 12).float()
    return Batch(
        vocal=torch.nn.functional.one_hot(codes[:, 1], 12)[..., :11].half(),
        text=torch.randn(n, 4, generator=generator).half(),
        control=control,
        control_mask=torch.ones(n, n_frames, 3, dtype=torch.bool),
        codes=codes.short(),
    )


def test_training_learns_what_the_conditions_say() -> None:
    torch.manual_seed(0)
    sure = dataclasses.replace(WIDTHS, drop=DropRates(*[0.0] * 8, known=1.0))
    model = SemanticStage(dataclasses.replace(CONFIG, conditions=sure)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16):
            parts = model.loss(batch(), generator)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        losses.append(float(parts["loss"].detach()))
    assert set(parts) == {"loss", "stream_0", "stream_1", "accuracy"}
    assert losses[0] > 2.0
    assert losses[-1] < 1.0
    assert parts["accuracy"] > 0.6


def test_the_loss_is_deterministic_and_ignores_unknown_codes(stage: SemanticStage) -> None:
    stage.eval()
    first = stage.loss(batch())
    assert torch.equal(first["loss"], stage.loss(batch())["loss"])
    wrong = batch()
    some = dataclasses.replace(wrong, codes=torch.where(torch.arange(24) < 12, wrong.need("codes").long(), -1))
    assert torch.isfinite(stage.loss(some)["loss"])
    assert not torch.equal(stage.loss(some)["loss"], first["loss"])
    with pytest.raises(ValueError, match="needs 'codes'"):
        stage.loss(Batch(vocal=wrong.vocal))


def test_drops_hide_each_condition_at_its_rate() -> None:
    given = conditions(20, batch=4000).with_known(torch.zeros(4000, 2, 20, dtype=torch.long))
    rates = DropRates(vocal=0.2, mert=0.3, text=0.4, beat=0.2, chord=0.4, key=0.6, phase=0.1, bar=0.2, known=0.7)
    hidden = drop(given, rates, torch.Generator().manual_seed(0))

    def share(mask: torch.Tensor) -> float:
        """Items in which nothing is hidden."""
        return float(mask.flatten(1).all(dim=1).float().mean())

    assert share(hidden.text_mask) == pytest.approx(0.6, abs=0.03)
    assert share(hidden.mert_mask) == pytest.approx(0.7, abs=0.03)
    assert share(hidden.vocal_mask) == pytest.approx(0.8, abs=0.03)
    assert [share(hidden.control_mask[..., k]) for k in range(3)] == pytest.approx([0.8, 0.6, 0.4], abs=0.03)
    assert share(hidden.control[..., :1] != 0) == pytest.approx(0.9, abs=0.03)
    assert share(hidden.control[..., 2:3] != 0) == pytest.approx(0.72, abs=0.03)
    assert share(hidden.control[..., 6:7] != 0) == 1.0
    some_known = (hidden.known >= 0).flatten(1).any(dim=1).float().mean()
    assert 0.15 < float(some_known) < 0.3
    assert not bool((hidden.known >= 0).flatten(1).all(dim=1).float().mean() > 0.02)
    nothing = drop(given, DropRates(*[0.0] * 8, known=1.0), torch.Generator().manual_seed(0))
    assert nothing.vocal_mask.all()
    assert (nothing.known == -1).all()


def test_parts_of_the_history_are_hidden_at_each_items_own_rate() -> None:
    codes = torch.arange(200 * 2 * 50).view(200, 2, 50)
    hidden = drop_history(codes, 0.3, torch.Generator().manual_seed(0)) == -1
    rates = hidden.float().mean(dim=(1, 2))
    assert 0.26 < rates.mean() < 0.34
    assert rates.min() < 0.05 and rates.max() > 0.5
    assert drop_history(codes, 0.0) is codes


def test_swapped_histories_are_stretches_of_the_neighbour() -> None:
    codes = torch.arange(64)[:, None, None].expand(64, 3, 200)  # each item is its number
    made = swap_history(codes, 0.5, torch.Generator().manual_seed(0))
    neighbour = (torch.arange(64) - 1) % 64
    swapped = made[:, 0] != codes[:, 0]
    assert (made == torch.where(swapped[:, None], neighbour[:, None, None], codes)).all(), "all streams alike"
    assert 0.3 < swapped.any(dim=1).float().mean() < 0.7
    edges = (swapped[:, 1:] != swapped[:, :-1]).sum(dim=1)
    assert (edges <= 2).all(), "one stretch each"
    assert swap_history(codes, 0.0) is codes


def seen_in_training(stage: SemanticStage, drops: DropRates) -> torch.Tensor:
    """The codes that the decoder is shown in training with these rates, which must change nothing in validation."""
    config = dataclasses.replace(stage.config, conditions=dataclasses.replace(stage.config.conditions, drop=drops))
    other = SemanticStage(config)
    other.load_state_dict(stage.state_dict())
    first, second = (model.eval().loss(batch())["loss"] for model in (stage, other))
    assert torch.equal(first, second)
    shown: list[torch.Tensor] = []
    other.train().decoder.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    other.loss(batch(), torch.Generator().manual_seed(0))
    return shown[0]


def test_a_history_with_gaps_is_trained_on_and_not_validated_on(stage: SemanticStage) -> None:
    shown = seen_in_training(stage, dataclasses.replace(stage.config.conditions.drop, history=0.5))
    assert (shown == -1).any() and (shown >= 0).any()


def test_items_are_spliced_with_all_their_conditions() -> None:
    given = conditions(40, batch=400)
    codes = torch.arange(400 * 2 * 80).view(400, 2, 80)
    splice = draw_splice(given.frame_mask, 0.5, torch.Generator().manual_seed(0))
    own = torch.arange(400)[:, None]
    moved = splice.source != own
    assert 0.42 < float(moved.any(dim=1).float().mean()) < 0.58
    assert torch.equal(splice.source[moved], ((own + 1) % 400).expand(-1, 40)[moved])
    assert not moved[:, :10].any() and moved.any(dim=1).equal(moved[:, 30:].all(dim=1))
    spliced = splice.conditions(given)
    for item, frame in ((0, 39), (1, 39), (2, 39), (3, 39), (5, 0)):
        source = splice.source[item, frame]
        assert torch.equal(spliced.vocal[item, frame], given.vocal[source, frame])
        assert torch.equal(spliced.text[item, frame], given.text[source, frame])
        both = slice(2 * frame, 2 * frame + 2)
        assert torch.equal(splice.streams(codes)[item, :, both], codes[source, :, both])
    short = given.frame_mask & (torch.arange(40) < 8)
    assert torch.equal(draw_splice(short, 1.0).source, own.expand(-1, 40))


def test_splices_are_trained_on_and_not_validated_on(stage: SemanticStage) -> None:
    shown = seen_in_training(stage, DropRates(*[0.0] * 8, known=1.0, splice=1.0))
    codes = batch().need("codes")
    assert torch.equal(shown[..., 0], codes[..., 0]) and torch.equal(shown[..., -1], codes.roll(-1, 0)[..., -1])


def test_absent_conditions_are_the_same_whatever_they_hold() -> None:
    embedding = lively(ConditionEmbedding(WIDTHS, 32))
    a, b = conditions(seed=1), conditions(seed=2)
    for names in (("vocal", "text", "control"),):
        torch.testing.assert_close(embedding(a.without(*names)), embedding(b.without(*names)))
    melody_only = make_conditions(WIDTHS, 30, vocal=a.vocal[..., :6])
    torch.testing.assert_close(
        embedding(melody_only),
        embedding(dataclasses.replace(make_conditions(WIDTHS, 30, vocal=a.vocal), mert_mask=melody_only.mert_mask)),
    )


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match="vocal has shape"):
        make_conditions(WIDTHS, 10, vocal=torch.zeros(1, 10, 3))
    with pytest.raises(ValueError, match="control has shape"):
        make_conditions(WIDTHS, 10, control=torch.zeros(1, 9, CONTROL_DIM))


def test_the_config_survives_json_and_checks_itself() -> None:
    assert from_dict(SemanticConfig, to_dict(CONFIG)) == CONFIG
    with pytest.raises(InputError, match="did you mean 'window_frames'"):
        load_config(SemanticConfig, overrides=["windowframes=3"])
    for changes in ({"window_frames": 500}, {"context_frames": 40}, {"encoder": CONFIG.decoder}):
        with pytest.raises(ValueError):
            dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]


@torch.inference_mode()
def test_the_likelihood_is_that_of_the_forward_pass_window_by_window(stage: SemanticStage) -> None:
    given = conditions(100, batch=2)
    codes = stage.generate_long(given, SamplingConfig(), [1, 2])
    likely = log_likelihood_long(stage, codes, given)
    assert likely.shape == codes.shape and bool((likely <= 0).all())
    first = windows(100, CONFIG.window_frames, CONFIG.context_frames, CONFIG.lookahead_frames)[0]
    part = given.window(first.start, first.stop)
    logits = stage(codes[..., first.start : first.stop], part).log_softmax(dim=-1)
    expected = logits.gather(-1, codes[..., first.start : first.stop, None])[..., 0][..., : first.keep_to]
    torch.testing.assert_close(likely[..., : first.keep_to], expected)
    strangers = codes.roll(1, dims=0)
    assert float(log_likelihood_long(stage, strangers, given).mean()) < float(likely.mean())
