"""The bench of training: both sides are timed, its options act, wrong ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_parts import small_parts, write_songs
from torch.nn.attention import SDPBackend, sdpa_kernel

from accompany.cli import main
from accompany.common.config import load_config
from accompany.data.loading.crops import TokenDataset, train_loader
from accompany.data.tokens.tokenize import tokenize
from accompany.evaluation.speed.training_plan import crop_flops
from accompany.training.stages.callbacks import forward_flops
from accompany.training.train import TASKS, fit_to_tokens

SMALL = [
    "model.encoder.width=32", "model.encoder.heads=2", "model.encoder.depth=1", "model.decoder.width=32",
    "model.decoder.heads=2", "model.decoder.depth=1", "loading.crop_s=2", "precision=float32", "threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    write_songs(root / "songs", 3, seconds=3.0)
    tokenize(root / "songs", root / "tokens", small_parts(root / "clap"), variants=1, val_share=0.4, progress=False)
    return root / "tokens"


def bench(tokens: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    words = ["bench", "--training", str(tokens), "--train", "semantic", "--device", "cpu", "--json"]
    assert main([*words, *options, "--set", *SMALL, "loading.batch_size=2", "accumulate=2"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return said


def test_training_is_timed_against_a_plain_loop(tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = bench(tokens, capsys, "--steps", "3")
    (row,) = report["rows"]
    assert (row["training"], row["batch_size"], row["crop_s"]) == ("semantic", 2, 2.0)
    assert row["of_plain"] == pytest.approx(row["steps_per_s"] / row["plain_steps_per_s"])
    assert row["tokens_per_s"] / row["steps_per_s"] == pytest.approx(2 * 2 * 50), "items, streams, frames of a step"
    assert 0 <= row["waiting"] < 1 and 1000 < row["parameters"] < 1e6
    # Six for each weight and frame, and as much again at most: attention, and streams that are written in turns.
    assert 0.5 < row["flops_per_step"] / (6 * row["parameters"] * 2 * 50) < 3
    assert 50 < row["peak_mb"] < 20000


def plans(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["bench", "--plan", "--train", "semantic_base", "--json", *options]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return said


def test_a_training_is_counted_before_it_is_begun(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = plans(capsys, "--gpu", "A100", "--of-peak", "0.5", "--price", "2")["rows"]
    assert 110e6 < row["parameters"] < 120e6 and row["state_gb"] == pytest.approx(20e-9 * row["parameters"])
    assert (row["steps"], row["batch_size"], row["crop_s"]) == (100_000, 128, 10.0)
    assert 0.9 < row["flops_per_step"] / (6 * row["parameters"] * 128 * 250) < 1.3
    assert row["hours"] == pytest.approx(row["steps"] * row["flops_per_step"] / (0.5 * 312e12) / 3600)
    assert row["cost"] == pytest.approx(2 * row["hours"])
    (faster,) = plans(capsys, "--gpu", "H100", "--of-peak", "0.5", "--price", "2")["rows"]
    assert faster["hours"] == pytest.approx(row["hours"] * 312 / 989)


def test_counted_without_content_as_with_it(tokens: Path) -> None:
    """What the plan counts on shapes alone is what a run's log counts, where the loss hides nothing."""
    config: Any = load_config(
        TASKS["semantic"].config, "semantic", [f"tokens={tokens}", *SMALL, "loading.batch_size=2"]
    )
    data = TokenDataset(tokens, "train", config.loading, needs_band=True)
    model = TASKS["semantic"].model(fit_to_tokens(config.model, data.manifest))  # type: ignore[call-arg]
    with sdpa_kernel(SDPBackend.MATH):
        real = forward_flops(model, next(iter(train_loader(data))))
    assert crop_flops(model, data.manifest, 2.0) == pytest.approx(3 * real / 2, rel=0.02)


def test_wrong_options_are_named(tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--plan", "--gpu", "abacus"]) == 2
    assert "peak of 'abacus' is not known" in capsys.readouterr().err
    assert main(["bench", "--plan", "--train", "semantic"]) == 2
    assert "'semantic' cannot be counted" in capsys.readouterr().err
    assert main(["bench", "--training", str(tokens), "--train", "singing"]) == 2
    assert "'singing' is no config of a training" in capsys.readouterr().err
    assert main(["bench", "--training", str(tokens), "--train", "semantic", "--set", "loading.batchsize=2"]) == 2
    assert "did you mean 'batch_size'" in capsys.readouterr().err
