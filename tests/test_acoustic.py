"""The acoustic stage: masked parallel decoding and depth decoding behind one door."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch

from accompany.common.config import from_dict, to_dict
from accompany.music.instrumentation import Instrumentation
from accompany.music.plan import CONTROL_DIM
from accompany.stages.acoustic import MODES, AcousticConfig, AcousticStage
from accompany.stages.batch import Batch
from accompany.stages.codebooks import start_from
from accompany.stages.conditions import STEM_TAGS, ConditionConfig, Conditions, DropRates, join, make_conditions, stack
from accompany.stages.decoding import Guidance, windows
from accompany.stages.depth import DepthConfig, DepthDecoder, _FrameWriter
from accompany.stages.masked import MaskedDecoder, fill
from accompany.stages.sampling import MaskedSamplingConfig, uniform_noise
from accompany.stages.transformer import TransformerConfig

WIDTHS = ConditionConfig(
    melody_dim=6, mert_dim=5, text_dim=4, code_sizes=(16, 12), drop=DropRates(*[0.0] * 8, known=0.0)
)
PLAIN = MaskedSamplingConfig(steps=(4, 2, 1))


def config(mode: str) -> AcousticConfig:
    return AcousticConfig(
        mode=mode,
        conditions=WIDTHS,
        codebooks=3,
        codebook_size=20,
        ratio=2,
        transformer=TransformerConfig(width=32, depth=2, heads=2, max_frames=128, causal=mode != "masked"),
        depth=DepthConfig(code_width=8, past_frames=3, hidden=16),
        window_frames=20,
        context_frames=6,
        lookahead_frames=2,
        sampling=PLAIN,
    )


def lively(module: torch.nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5 / parameter.shape[1] ** 0.5)
    return module.eval()


STAGES = {mode: lively(AcousticStage(config(mode))) for mode in MODES}


@pytest.fixture(params=MODES)
def stage(request: pytest.FixtureRequest) -> AcousticStage:
    return STAGES[request.param]


@pytest.fixture
def masked() -> AcousticStage:
    return STAGES["masked"]


def inputs(n_frames: int = 15, seed: int = 0) -> tuple[Conditions, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    conditions = make_conditions(
        WIDTHS,
        n_frames,
        vocal=torch.randn(1, n_frames, 11, generator=generator),
        text=torch.randn(1, 4, generator=generator),
        control=torch.randn(1, n_frames, CONTROL_DIM, generator=generator),
    )
    return conditions, torch.randint(0, 12, (1, 2, n_frames), generator=generator)


def test_tokens_are_whole_and_seeded(stage: AcousticStage) -> None:
    tokens = stage.generate(*inputs(), seeds=[1])
    assert tokens.shape == (1, 3, 30)
    assert tokens.dtype == torch.int64
    assert ((tokens >= 0) & (tokens < 20)).all()
    assert torch.equal(tokens, stage.generate(*inputs(), seeds=[1]))
    assert not torch.equal(tokens, stage.generate(*inputs(), seeds=[2]))


def test_known_tokens_are_never_changed(stage: AcousticStage) -> None:
    known = torch.full((1, 3, 30), -1)
    known[..., :7], known[..., 24:], known[:, 0, 12:15] = 3, 5, 9
    tokens = stage.generate(*inputs(), seeds=[1], known=known)
    assert torch.equal(tokens[known >= 0], known[known >= 0])
    assert (tokens >= 0).all()
    assert not torch.equal(tokens[..., 15:24], stage.generate(*inputs(), seeds=[1])[..., 15:24])
    everything = torch.randint(0, 20, (1, 3, 30))
    assert torch.equal(stage.generate(*inputs(), known=everything), everything)


def test_items_do_not_depend_on_their_batch(stage: AcousticStage) -> None:
    (long, long_codes), (short, short_codes) = inputs(15, seed=1), inputs(9, seed=2)
    codes = torch.cat([long_codes, torch.nn.functional.pad(short_codes, (0, 6), value=-1)])
    for sampling in (PLAIN, dataclasses.replace(PLAIN, guidance=2.0, guided_levels=3)):
        both = stage.generate(stack([long, short]), codes, sampling, [5, 6])
        assert torch.equal(both[:1], stage.generate(long, long_codes, sampling, [5]))
        assert torch.equal(both[1:, :, :18], stage.generate(short, short_codes, sampling, [6]))


@pytest.mark.parametrize("name", ["vocal", "text", "control"])
def test_every_condition_bites(stage: AcousticStage, name: str) -> None:
    conditions, codes = inputs()
    plain = stage.generate(conditions, codes, seeds=[1])
    assert not torch.equal(plain, stage.generate(conditions.without(name), codes, seeds=[1]))
    assert not torch.equal(plain, stage.generate(conditions, (codes + 1) % 12, seeds=[1]))
    assert not torch.equal(plain, stage.generate(conditions, torch.full_like(codes, -1), seeds=[1]))


@pytest.mark.parametrize(
    "changes", [{"temperature": 0.3}, {"top_k": 2}, {"top_p": 0.3}, {"guidance": 3.0}, {"guidance_vocal": 3.0}]
)
def test_every_sampling_option_bites(stage: AcousticStage, changes: dict[str, float]) -> None:
    plain = stage.generate(*inputs(), PLAIN, [1])
    assert not torch.equal(plain, stage.generate(*inputs(), dataclasses.replace(PLAIN, **changes), [1]))


def test_masked_options_bite(masked: AcousticStage) -> None:
    guided = dataclasses.replace(PLAIN, guidance=3.0)
    plain = masked.generate(*inputs(), guided, [1])
    for changes in ({"steps": (6, 2, 1)}, {"choice_noise": 50.0}, {"guided_levels": 3}, {"guided_levels": 0}):
        assert not torch.equal(plain, masked.generate(*inputs(), dataclasses.replace(guided, **changes), [1]))


def test_a_coarse_codebook_does_not_see_the_finer_ones(masked: AcousticStage) -> None:
    plain = masked.generate(*inputs(), dataclasses.replace(PLAIN, steps=(4, 2, 3)), [1])
    other = masked.generate(*inputs(), dataclasses.replace(PLAIN, steps=(4, 3, 2)), [1])
    assert torch.equal(plain[:, 0], other[:, 0])
    assert not torch.equal(plain[:, 1:], other[:, 1:])


def test_each_pass_leaves_what_the_cosine_schedule_says() -> None:
    tokens, fillable = torch.full((2, 100), -1), torch.ones(2, 100, dtype=torch.bool)
    tokens[1, :40] = 7
    fillable[1, :40] = False
    logits, noise = torch.randn(2, 100, 20), uniform_noise([1, 2], 100, 10)
    for step in range(5):
        share = (step + 1) / 5
        before = tokens
        tokens = fill(tokens, fillable, logits, noise[..., 2 * step], noise[..., 2 * step + 1], share, PLAIN)
        left = (
            math.floor(math.cos(0.5 * math.pi * share) * 100 + 1e-6),
            math.floor(math.cos(0.5 * math.pi * share) * 60 + 1e-6),
        )
        assert (tokens < 0).sum(dim=1).tolist() == list(left)
        assert torch.equal(tokens[before >= 0], before[before >= 0])


def test_without_choice_noise_the_surest_tokens_come_first() -> None:
    logits = torch.zeros(1, 10, 4)
    logits[0, [2, 5, 7], 1] = 9.0
    sure = MaskedSamplingConfig(choice_noise=0.0)
    noise = torch.full((1, 10), 0.5)
    share = 2 / math.pi * math.acos(0.7)
    tokens = fill(torch.full((1, 10), -1), torch.ones(1, 10, dtype=torch.bool), logits, noise, noise, share, sure)
    assert (tokens[0] >= 0).nonzero()[:, 0].tolist() == [2, 5, 7]
    assert tokens[0, 2] == 1


@torch.inference_mode()
@pytest.mark.parametrize("ahead", [0, 2])
def test_autoregressive_generation_is_the_argmax_of_the_full_forward(ahead: int) -> None:
    model = lively(AcousticStage(dataclasses.replace(config("depth"), encoder_depth=ahead)))
    conditions, codes = inputs()
    tokens = model.generate(conditions, codes, dataclasses.replace(PLAIN, temperature=0.0))
    logits = model.decoder(tokens, model.encode(conditions.with_known(codes)))
    torch.testing.assert_close(logits.gather(-1, tokens[..., None])[..., 0], logits.amax(dim=-1), atol=1e-4, rtol=0)


def test_a_long_piece_carries_its_context(stage: AcousticStage) -> None:
    reports: list[tuple[int, int]] = []
    conditions, codes = inputs(70)
    tokens = stage.generate_long(conditions, codes, seeds=[3], progress=lambda *report: reports.append(report))
    assert tokens.shape == (1, 3, 140)
    assert ((tokens >= 0) & (tokens < 20)).all()
    assert reports[-1] == (140, 140)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    noise = uniform_noise([3], 140, stage.noise_per_frame(PLAIN))
    known = torch.full((1, 3, 40), -1)
    known[..., :12] = tokens[..., 24:36]
    again = stage.generate(
        conditions.window(12, 32), codes[..., 12:32], known=known, n_frames=18, noise=noise[:, 24:60]
    )
    assert torch.equal(again, tokens[..., 24:60])


def test_a_long_piece_keeps_known_tokens(stage: AcousticStage) -> None:
    conditions, codes = inputs(50)
    known = torch.full((1, 3, 100), -1)
    known[..., 30:50], known[..., 90:] = 4, 6
    tokens = stage.generate_long(conditions, codes, known=known)
    assert torch.equal(tokens[known >= 0], known[known >= 0])
    assert (known[..., 0] == -1).all(), "the caller's tensor is left alone"


def test_a_window_needs_the_codes_that_it_looks_at_only(stage: AcousticStage) -> None:
    conditions, codes = inputs(70)
    whole, coming = stage.generate_long(conditions, codes, seeds=[3]), torch.full_like(codes, -1)
    parts = windows(70, stage.config.window_frames, stage.config.context_frames, stage.config.lookahead_frames)
    tokens = torch.full((1, 3, 140), -1)
    playing = stage.generate_into(tokens, conditions, coming, seeds=[3])
    for part in parts:
        coming[..., : part.stop] = codes[..., : part.stop]
        assert next(playing).windows == (part,)
        assert torch.equal(tokens[..., : 2 * part.keep_to], whole[..., : 2 * part.keep_to])
    assert len(parts) > 3 and next(playing, None) is None


def test_a_long_piece_of_one_window_is_that_window(stage: AcousticStage) -> None:
    assert torch.equal(stage.generate_long(*inputs(20), seeds=[3]), stage.generate(*inputs(20), seeds=[3]))


def test_pieces_of_several_lengths_are_made_as_each_alone(stage: AcousticStage) -> None:
    lengths, seeds = (15, 33, 50, 20), [3, 4, 5, 6]
    pieces = [inputs(length, seed) for length, seed in zip(lengths, seeds, strict=True)]
    codes = torch.zeros(4, 2, 50, dtype=torch.long)
    for row, (_, own) in enumerate(pieces):
        codes[row, :, : own.shape[-1]] = own[0]
    together = stage.generate_long(stack([conditions for conditions, _ in pieces]), codes, seeds=seeds)
    for row, (conditions, own) in enumerate(pieces):
        alone = stage.generate_long(conditions, own, seeds=seeds[row : row + 1])
        assert torch.equal(together[row, :, : alone.shape[-1]], alone[0])
        assert (together[row, :, alone.shape[-1] :] == 0).all()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 12, (6, 2, 15), generator=generator)
    first = codes.repeat_interleave(2, dim=2)
    tokens = torch.stack([first[:, 0], first[:, 1], (first[:, 0] + first[:, 1]) % 20], dim=1)
    return Batch(codes=codes.short(), tokens=tokens.short(), vocal=torch.randn(6, 15, 11, generator=generator).half())


@pytest.mark.parametrize("mode", MODES)
def test_training_learns_what_the_codes_say(mode: str) -> None:
    torch.manual_seed(0)
    model = AcousticStage(config(mode)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(80):
        with torch.autocast("cpu", torch.bfloat16):
            parts = model.loss(batch(), generator)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        losses.append(float(parts["loss"].detach()))
    assert all(key == "loss" or key.startswith("level_") for key in parts)
    assert sum(losses[:3]) / 3 > 2.4
    assert sum(losses[-8:]) / 8 < 1.3


def test_the_loss_is_seeded_and_picks_coarse_codebooks_more_often() -> None:
    model = AcousticStage(dataclasses.replace(config("masked"), coarse_weight=3.0)).eval()
    assert isinstance(model.decoder, MaskedDecoder)
    first, again, other = (model.loss(batch(), torch.Generator().manual_seed(seed))["loss"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = torch.Generator().manual_seed(0)
    seen = [set(model.loss(batch().select(slice(0, 1)), generator)) for _ in range(60)]
    counts = [sum(f"level_{level}" in each for each in seen) for level in range(3)]
    assert counts[0] > counts[1] > counts[2]


def test_unknown_tokens_do_not_count(masked: AcousticStage) -> None:
    nothing = dataclasses.replace(batch(), tokens=torch.full((6, 3, 30), -1))
    assert float(masked.loss(nothing, torch.Generator().manual_seed(0))["loss"].detach()) == pytest.approx(
        0.0, abs=1e-6
    )


def test_a_wrong_grid_is_named(stage: AcousticStage) -> None:
    wrong = batch()
    with pytest.raises(ValueError, match=r"takes \[B, 3, 30\]"):
        stage.loss(dataclasses.replace(wrong, tokens=wrong.need("tokens")[..., :28]))


def test_the_config_survives_json_and_checks_itself() -> None:
    for mode in MODES:
        assert from_dict(AcousticConfig, to_dict(config(mode))) == config(mode)
    for changes in (
        {"mode": "diffusion"},
        {"mode": "depth"},
        {"ratio": 0},
        {"window_frames": 100},
        {"coarse_weight": 0},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(config("masked"), **changes)  # type: ignore[arg-type]


def test_a_frame_starts_as_likely_as_it_is_near_to_its_prediction() -> None:
    stage = AcousticStage(config("depth"))
    decoder = stage.decoder
    assert isinstance(decoder, DepthDecoder)
    books = [2.0 * torch.randn(20, 8), 0.5 * torch.randn(20, 8), 0.2 * torch.randn(20, 8)]
    start_from(stage, books)
    white = decoder.embed.weight[:20]
    assert torch.linalg.norm(torch.cov(white.T) - torch.eye(8)) < 1.5, "the first codebook is nearly the whole spread"
    with torch.no_grad():
        logits = decoder.heads[0](white[4])
    distances = (white - white[4] / 0.2).square().sum(dim=1)
    assert torch.equal(logits.argsort(descending=True)[:5], distances.argsort()[:5])


def test_a_depth_decoder_starts_from_codebooks_of_its_own_width() -> None:
    with pytest.raises(ValueError, match=r"6 wide, not 8; set depth\.code_width"):
        start_from(AcousticStage(config("depth")), [torch.randn(20, 6)] * 3)


def test_a_frame_of_the_depth_decoder_sees_all_codes_of_the_frame_before() -> None:
    model = STAGES["depth"]
    conditions, codes = inputs()
    condition = model.encode(conditions.with_known(codes))
    tokens = torch.randint(0, 20, (1, 3, condition.shape[1]))
    changed = tokens.clone()
    changed[0, 2, 5] = (tokens[0, 2, 5] + 1) % 20
    before, after = model.decoder(tokens, condition), model.decoder(changed, condition)
    torch.testing.assert_close(before[:, :, :6], after[:, :, :6], atol=1e-5, rtol=0)
    assert not torch.allclose(before[:, 0, 6], after[:, 0, 6])


def test_a_masked_stage_has_no_start_from_codebooks(masked: AcousticStage) -> None:
    with pytest.raises(ValueError, match="mode depth"):
        start_from(masked, [torch.randn(20, 8)] * 3)


def test_a_stage_of_fewer_codebooks_takes_the_first_ones() -> None:
    torch.manual_seed(0)
    stage = STAGES["depth"]
    tokens = torch.randint(0, 20, (2, 5, 24))
    batch = Batch(tokens=tokens, codes=torch.randint(0, 12, (2, 2, 12)), vocal=torch.randn(2, 12, 11))
    more = stage.loss(batch)
    torch.testing.assert_close(more["loss"], stage.loss(dataclasses.replace(batch, tokens=tokens[:, :3]))["loss"])


def test_splices_shift_tokens_and_codes_together_and_in_training_alone() -> None:
    drops = DropRates(*[0.0] * 8, known=0.0, splice=1.0)
    sizes = dataclasses.replace(config("depth"), conditions=dataclasses.replace(WIDTHS, drop=drops))
    stage, tokens, known = AcousticStage(sizes), [], []
    stage.decoder.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    stage.embedding.register_forward_pre_hook(lambda _, inputs: known.append(inputs[0].known))
    stage.train().loss(batch(), torch.Generator().manual_seed(0))
    stage.eval().loss(batch())
    spliced, whole = tokens
    given = batch().float().need("tokens")
    assert torch.equal(whole, given) and torch.equal(spliced[..., 0], given[..., 0])
    assert torch.equal(spliced[..., -1], given.roll(-1, 0)[..., -1])
    assert torch.equal(spliced[:, 0], known[0][:, 0].repeat_interleave(2, dim=1))  # as the batch is made


def test_training_hides_the_history_of_some_items() -> None:
    torch.manual_seed(0)
    decoder = DepthDecoder(
        TransformerConfig(width=32, depth=1, heads=2), (20, 20), DepthConfig(8, 2, 16, history_hidden=0.6)
    )
    codes = torch.randint(20, (200, 2, 12), generator=torch.Generator().manual_seed(1))
    others = codes.clone()
    others[..., 4] = (others[..., 4] + 7) % 20

    def last(given: torch.Tensor) -> torch.Tensor:
        return decoder(given, torch.zeros(200, 12, 32), torch.Generator().manual_seed(2))[:, 0, -1]

    same = (last(codes) - last(others)).abs().amax(dim=1) < 1e-6
    # Hidden are half of 0.6 everywhere, and of the others those that begin after frame 4 of 12.
    assert 0.38 < float(same.float().mean()) < 0.62
    decoder.eval()
    assert bool(((last(codes) - last(others)).abs().amax(dim=1) > 1e-6).all())
    with pytest.raises(ValueError, match="history_hidden"):
        DepthConfig(history_hidden=1.5)


def test_training_shows_some_items_a_stretch_of_the_history_of_another() -> None:
    torch.manual_seed(0)
    sizes = TransformerConfig(width=32, depth=1, heads=2), (20, 20), DepthConfig(8, 2, 16, history_swapped=0.5)
    decoder = DepthDecoder(*sizes)
    codes = torch.randint(20, (200, 2, 12), generator=torch.Generator().manual_seed(1))

    def logits(given: torch.Tensor) -> torch.Tensor:
        return decoder(given, torch.zeros(200, 12, 32), torch.Generator().manual_seed(2))[:, 0]

    trained = logits(codes)
    decoder.eval()
    changed = (trained - logits(codes)).abs().amax(dim=(1, 2)) > 1e-5
    # Half of the items, but for stretches that are shorter than a frame or lie behind the last frame that counts.
    assert 0.3 < float(changed.float().mean()) < 0.5
    decoder.train()
    others = codes.clone()
    others[1] = (others[1] + 7) % 20
    changed_too = (logits(others) - trained).abs().amax(dim=(1, 2)) > 1e-5
    assert set(changed_too.nonzero()[:, 0].tolist()) <= {1, 2}, "the other is the item before"
    with pytest.raises(ValueError, match="history_swapped"):
        DepthConfig(history_swapped=-0.1)


def test_frames_know_what_is_about_to_come_only_with_the_encoder() -> None:
    conditions, codes = inputs()
    later = codes.clone()
    later[..., -1] = (later[..., -1] + 1) % 12
    for ahead in (0, 2):
        stage = lively(AcousticStage(dataclasses.replace(config("depth"), encoder_depth=ahead)))
        stage.encoder and torch.nn.init.ones_(stage.encoder.norm.weight)
        first = [stage.encode(conditions.with_known(each))[:, 0] for each in (codes, later)]
        assert torch.allclose(*first, atol=1e-6) == (ahead == 0)
    # The encoder adds nothing until it has learnt something.
    torch.manual_seed(5)
    plain = AcousticStage(config("depth"))
    torch.manual_seed(5)
    fresh = AcousticStage(dataclasses.replace(config("depth"), encoder_depth=1))
    given = conditions.with_known(codes)
    torch.testing.assert_close(fresh.encode(given), plain.encode(given))
    with pytest.raises(ValueError, match="encoder_depth"):
        dataclasses.replace(config("depth"), encoder_depth=-1)


def test_noise_on_the_history_is_for_training_alone() -> None:
    torch.manual_seed(3)
    decoder = DepthDecoder(TransformerConfig(width=32, depth=1, heads=2), (20, 20), DepthConfig(8, 2, 16, 0.8))
    codes, condition = torch.randint(0, 20, (2, 2, 9)), torch.randn(2, 9, 32)

    def logits(seed: int) -> torch.Tensor:
        return decoder(codes, condition, torch.Generator().manual_seed(seed))

    decoder.eval()
    assert torch.equal(logits(1), logits(2))
    decoder.train()
    assert torch.equal(logits(1), logits(1))
    noisy, other = logits(1), logits(2)
    assert not torch.equal(noisy[..., 1:, :], other[..., 1:, :])
    # Nothing lies before the first frame.
    torch.testing.assert_close(noisy[..., 0, :], other[..., 0, :], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_damping_counts_frames_further_back_for_less() -> None:
    alone, config = Guidance(inputs()[0], (1.0,)), TransformerConfig(width=32, depth=1, heads=2)
    decoders = []
    for damping in (1.0, 0.5):
        torch.manual_seed(1)
        decoders.append(DepthDecoder(config, (20,), DepthConfig(8, 2, 16, damping=damping)).eval())
    frames = torch.randn(1, 2 * 8, generator=torch.Generator().manual_seed(3))
    weights = torch.tensor([0.5, 0.25]).repeat_interleave(8)
    plain, damped = (_FrameWriter(decoder, alone, MaskedSamplingConfig()) for decoder in decoders)
    for part in (0, 1):
        assert torch.allclose(damped.recall(frames)[part], plain.recall(frames * weights)[part], atol=1e-6)
    codes, condition = torch.randint(0, 20, (1, 1, 9)), torch.randn(1, 9, 32)
    # Training knows no damping.
    torch.testing.assert_close(*(decoder(codes, condition) for decoder in decoders), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_tone_dies_with_damping_and_goes_on_without() -> None:
    """Two codes that the linear prediction sends into one another for ever, and a third that is silence."""
    alone = Guidance(inputs()[0], (1.0,))
    made = []
    for damping in (1.0, 0.8):
        torch.manual_seed(1)
        decoder = DepthDecoder(
            TransformerConfig(width=32, depth=1, heads=2), (3,), DepthConfig(2, 1, 16, damping=damping)
        ).eval()
        for parameter in decoder.parameters():
            parameter.zero_()
        decoder.embed.weight[:3] = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
        decoder.past_out.weight.copy_(-torch.eye(2))
        decoder.heads[0].weight.copy_(50 * decoder.embed.weight[:3])
        decoder.heads[0].bias.copy_(torch.tensor([0.0, 0.0, 45.0]))
        forced = torch.full((1, 1, 12), -1)
        forced[..., 0] = 0
        noise = torch.full((1, 12, 1), 0.5)
        made.append(
            decoder.generate(alone, torch.zeros(1, 12, 32), forced, noise, MaskedSamplingConfig())[0, 0].tolist()
        )
    assert made[0] == [0, 1] * 6
    assert made[1] == [0] + [2] * 11


def test_the_stem_and_the_instrumentation_are_conditions() -> None:
    widths = dataclasses.replace(WIDTHS, stems=True, instruments=True)
    stage = lively(AcousticStage(dataclasses.replace(config("depth"), conditions=widths)))
    conditions, codes = inputs()
    band = dataclasses.replace(
        conditions,
        instruments=conditions.instruments + torch.from_numpy(Instrumentation(("drums",)).vector()),
        instruments_mask=torch.ones_like(conditions.instruments_mask),
    )
    each = [dataclasses.replace(band, stem=torch.full_like(band.stem, stem)) for stem in range(len(STEM_TAGS))]
    every = [stage.generate(conditions, codes, seeds=[1]) for conditions in each]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(every, 2))
    # Stems as one batch are what each is alone.
    together = stage.generate(join(each[1:]), codes.expand(3, -1, -1), seeds=[1, 1, 1])
    assert torch.equal(together, torch.cat(every[1:]))
    plain = stage.generate(conditions, codes, seeds=[1])
    assert not torch.equal(every[0], plain)
    assert torch.equal(stage.generate(band.without("instruments"), codes, seeds=[1]), plain)
    guided = dataclasses.replace(PLAIN, guidance=3.0)
    assert not torch.equal(stage.generate(band, codes, guided, [1]), stage.generate(band, codes, PLAIN, [1]))
