"""The bench: every part is timed, its numbers agree, wrong options are named."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch

from accompany.cli import main
from accompany.errors import InputError
from accompany.evaluation.speed import clock, measure
from accompany.evaluation.speed.find import SUBJECTS, find_subject
from accompany.evaluation.speed.random_llambada import RandomLlambada
from accompany.evaluation.speed.run import BenchConfig, as_table, bench
from accompany.evaluation.speed.subjects import BandSubject, Loop, TimedPart, stage_loop
from accompany.stages.acoustic import AcousticConfig, AcousticStage
from accompany.stages.conditions import ConditionConfig
from accompany.stages.depth import DepthConfig
from accompany.stages.llambada import TokenStageConfig, published_stages, token_profile
from accompany.stages.sampling import MaskedSamplingConfig
from accompany.stages.transformer import TransformerConfig

PARTS = ["encode", "semantic", "acoustic", "decode"]


def depth_stage() -> AcousticStage:
    return AcousticStage(
        AcousticConfig(
            mode="depth",
            conditions=ConditionConfig(melody_dim=6, mert_dim=5, text_dim=4, code_sizes=(16, 12)),
            codebooks=3,
            codebook_size=20,
            transformer=TransformerConfig(width=32, depth=2, heads=2, max_frames=128),
            depth=DepthConfig(code_width=8, past_frames=3, hidden=16),
            window_frames=20,
            context_frames=6,
            lookahead_frames=2,
            sampling=MaskedSamplingConfig(guidance=2.0),
        )
    ).eval()


@pytest.fixture(scope="module")
def report(band: Any) -> dict[str, Any]:
    config = BenchConfig(lengths_s=(1.0, 4.0), batches=(1, 2), runs=1, against=("full",))
    return bench(BandSubject(band), config)


def test_every_part_and_case_has_its_row(report: dict[str, Any]) -> None:
    cases = [(row["part"], row["length_s"], row["batch"]) for row in report["rows"]]
    assert cases == [(part, length, batch) for length in (1.0, 4.0) for batch in (1, 2) for part in PARTS]
    assert report["device"] == "cpu" and report["model"] == "random"
    assert report["wall_s"] == pytest.approx(sum(row["wall_s"] for row in report["rows"]))
    json.dumps(report)


def test_the_figures_of_a_row_fit_together(report: dict[str, Any]) -> None:
    for row in report["rows"]:
        assert row["rtf"] == pytest.approx(row["wall_s"] / row["length_s"] / row["batch"])
        assert 50 < row["peak_mb"] < 1e5
    loops = [row for row in report["rows"] if row["part"] == "semantic"]
    for row in loops:
        assert row["steps"] == 25 * row["length_s"]
        assert row["codes_per_s"] == pytest.approx(2 * row["steps"] * row["batch"] / row["wall_s"])
        assert 0 < row["step_ms"] * row["steps"] < 1000 * row["wall_s"], "what comes before the steps is not theirs"
        assert row["floor_share"] == pytest.approx(row["floor_ms"] / row["step_ms"])
        assert 0 < row["floor_ms"] < row["step_ms"]
        assert row["full_s"] > 0
    assert not any("steps" in row for row in report["rows"] if row["part"] != "semantic"), "the others have no steps"
    total = sum(row["wall_s"] for row in loops)
    assert report["speedup_against_full"] == pytest.approx(sum(row["full_s"] for row in loops) / total)
    assert not any("late_share" in row for row in loops), "the pieces are too short for it"


def test_the_table_has_a_line_for_each_row(report: dict[str, Any]) -> None:
    lines = as_table(report).splitlines()
    assert len(lines) == 2 + len(report["rows"]) + 1
    assert len({len(line) for line in lines[1:-1]}) == 1, "columns line up"
    assert "floor" in lines[1] and "uncached" in lines[1]
    plain = {**report, "rows": [{key: row[key] for key in row if key != "full_s"} for row in report["rows"]]}
    assert "uncached" not in as_table(plain).splitlines()[1]


def test_a_loop_counts_its_windows_weights_and_bytes() -> None:
    stage = depth_stage()
    loop = stage_loop(stage, stage.config.sampling, 30, batch=2, ratio=2)
    assert isinstance(loop, Loop) and loop.rows == 4 and loop.vocabulary == 3 * 20
    # Two windows: frames 0 to 17 of 0 to 19, then 18 to 29 of 10 to 29.
    assert loop.frames == (*range(1, 37), *range(17, 41)) and loop.windows == (36, 24)
    counted = sum(weight.numel() for weight in loop.matrices)
    transformer = sum(p.numel() for p in stage.decoder.transformer.parameters() if p.dim() == 2)
    assert counted == transformer + 24 * 32 + 24 * 8 + 32 * 8 + 32 * 16 + 3 * (8 * 16 + 16 * 8 + 8 * 20)
    cached = 2 * 2 * 32 * 4 * sum(loop.frames) / 60
    assert loop.step_bytes == pytest.approx(4 * (counted + cached))
    assert loop.uncached(7).shape == (4, 3, 7, 20)


def test_the_clock_leaves_out_what_comes_before_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    watch = clock.StepClock((1500, 1000), lambda: waits.append(now[0]))
    for call in range(2500):
        now[0] += 5.0 if call in (0, 1500) else 0.001 + 1e-6 * call  # windows begin slowly, steps become slower
        watch(call, 2500)
    counted = [call for call in range(2500) if call not in (0, 1500)]
    assert watch.mean_s() == pytest.approx(0.001 + 1e-6 * sum(counted) / len(counted))
    assert watch.near_s(100) == pytest.approx(0.0011, rel=1e-3) and watch.near_s(2000) == pytest.approx(0.003, rel=1e-3)
    assert len(waits) == 2 * 2 + 2 * 2, "at both ends of windows and places only"


def test_a_clock_of_a_short_piece_knows_no_late_steps() -> None:
    watch = clock.StepClock((1,), lambda: None)
    watch(1, 1)
    assert watch.mean_s() is None and watch.near_s(100) is None


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_stages_call_as_often_as_their_loops_say(band: Any, seconds: float) -> None:
    for part in BandSubject(band).parts(seconds, 2):
        if part.loop is not None:
            reported: list[int] = []
            part.run(lambda done, total, reported=reported: reported.append(done))
            assert len(reported) == sum(part.loop.windows)


def test_no_cache_costs_more_the_longer_the_piece() -> None:
    seen: list[int] = []

    def uncached(frames: int) -> None:
        seen.append(frames)

    stage = depth_stage()
    loop = stage_loop(stage, stage.config.sampling, 20, batch=1)
    assert loop is not None
    measure.uncached_s(dataclasses.replace(loop, frames=tuple(range(1, 101)), uncached=uncached), "cpu")
    assert seen == [1, 12, 51, 89], "three places spread over all steps, after a short one for warmth"


def test_three_places_tell_the_time_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward's time grows with its length and the square of it; two windows make the lengths uneven."""
    stage = depth_stage()
    loop = stage_loop(stage, stage.config.sampling, 20, batch=1)
    assert loop is not None

    def cost_s(frames: int) -> float:
        return 1.0 + 0.01 * frames + 1e-5 * frames**2

    seen: list[int] = []
    monkeypatch.setattr(measure, "_once_s", lambda run, device: cost_s(run.args[0]))
    for frames in (tuple(range(2755, 5005)), (*range(766, 1266), *range(1166, 1266))):
        timed = dataclasses.replace(loop, frames=frames, uncached=seen.append)
        assert measure.uncached_s(timed, "cpu") == pytest.approx(sum(map(cost_s, frames)), rel=0.01)


def test_the_floor_under_a_step_off_the_cpu_is_the_reading_of_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = depth_stage()
    loop = stage_loop(stage, stage.config.sampling, 20, batch=1)
    assert loop is not None
    monkeypatch.setattr(measure, "copied_bytes_per_s", lambda device: 1e9)
    assert measure.floor_s(loop, "cuda") == pytest.approx(loop.step_bytes / 1e9)
    monkeypatch.undo()
    assert 1e7 < measure.copied_bytes_per_s("cpu") < 1e13


def test_a_larger_matrix_has_a_higher_floor() -> None:
    threads = torch.get_num_threads()
    small, large = (measure.products_s([torch.zeros(size, size)]) for size in (64, 2048))
    assert 0 < 4 * small < large
    assert torch.get_num_threads() == threads


def test_peak_memory_sees_what_was_freed_again() -> None:
    with measure.peak_memory("cpu") as peak_mb:
        before = peak_mb()
        large = torch.ones(50_000_000)
        del large
        assert peak_mb() - before > 100


def test_a_named_subject_is_built_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting:
        name = "counting"

        def __init__(self, device: str, precision: str) -> None:
            assert precision == "float32"
            self.device, self.runs = device, 0

        def parts(self, length_s: float, batch: int) -> list[TimedPart]:
            return [TimedPart("count", self.count, codes=batch)]

        def count(self, progress: Any) -> None:
            self.runs += 1

    monkeypatch.setitem(SUBJECTS, "counting", Counting)
    subject = find_subject("counting", "cpu")
    report = bench(subject, BenchConfig((1.0,), (3,), runs=4))
    assert isinstance(subject, Counting) and subject.runs == 5, "once for warmth, then as asked"
    assert report["rows"][0]["part"] == "count" and "steps" not in report["rows"][0]


def small_llambada(precision: str = "float32") -> RandomLlambada:
    semantic = TokenStageConfig((30, 20, 30), (1, 12, 1), token_profile(32, 2, 2, head_width=16))
    coarse = TokenStageConfig((30, 25, 25), (1, 3, 3), token_profile(48, 1, 3, head_width=16))
    return RandomLlambada("cpu", precision, (semantic, coarse))


def test_llambada_of_random_weights_writes_what_its_lengths_ask_for() -> None:
    parts = {part.name: part for part in small_llambada().parts(12.0, batch=2)}
    semantic, acoustic = parts["semantic"].loop, parts["acoustic"].loop
    assert semantic is not None and acoustic is not None
    # Ten seconds, then two more behind the eight before them; a condition has a start vector and an end token.
    read = 499 + 12 + 4 + 1
    assert semantic.frames == (*range(read, read + 500), *range(read + 400, read + 500))
    read = 500 + 750 * 3 + 4 + 1
    assert acoustic.frames == (*range(read, read + 2250), *range(read + 1800, read + 2250))
    assert parts["semantic"].codes == 2 * 600 and parts["acoustic"].codes == 2 * 2700
    made = semantic.uncached(9)
    assert isinstance(made, torch.Tensor) and made.shape == (2, 31)
    for part in (parts["semantic"], parts["acoustic"]):
        reported: list[int] = []
        part.run(lambda done, total, reported=reported: reported.append(done))
        assert part.loop is not None and len(reported) == sum(part.loop.windows)
        assert part.loop.steps_per_call * len(reported) == len(part.loop.frames)


def test_the_published_sizes_are_as_large_as_they_are_said_to_be() -> None:
    semantic, coarse = published_stages()
    assert (semantic.transformer.width, semantic.transformer.depth, semantic.transformer.heads) == (768, 16, 16)
    assert (coarse.transformer.width, coarse.transformer.depth, coarse.transformer.heads) == (1024, 6, 8)
    assert (semantic.transformer.width_of_feed, coarse.transformer.width_of_feed) == (2048, 2730)
    assert semantic.sampling.top_k == 102 and coarse.codebooks == (1, 3, 3)


def test_eight_bits_have_a_floor_of_their_own() -> None:
    whole, rounded = (small_llambada(precision).parts(10.0, 1)[0].loop for precision in ("float32", "int8"))
    assert whole is not None and rounded is not None
    assert len(whole.matrices) == len(rounded.matrices) == 2 * 4 + 1
    # Three of four bytes go, in both layers, but rows of 85 are filled up to 96; logits and cache stay as they are.
    saved = 2 * (3 * (64 * 32 + 32 * 32 + 170 * 32) + 32 * (4 * 85 - 96))
    assert whole.step_bytes - rounded.step_bytes == saved
    assert 0 < measure.floor_s(rounded, "cpu") < 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lengths_s": (0.1,)}, "Lengths must be"),
        ({"lengths_s": ()}, "Lengths must be"),
        ({"batches": (0,)}, "at least 1"),
        ({"runs": 0}, "at least 1"),
        ({"against": ("nothing",)}, "no comparison 'nothing'"),
    ],
)
def test_impossible_options_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        BenchConfig(**changes)


def test_the_command_prints_a_table_and_json(random_bundle_dir, capsys) -> None:
    options = ["--lengths", "1", "--batches", "1", "--runs", "1", "--device", "cpu", "--json"]
    assert main(["bench", "--model", str(random_bundle_dir), *options]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out.splitlines()[-1])
    assert [row["part"] for row in report["rows"]] == PARTS and "speedup_against_full" not in report
    assert "ms/step" in err
