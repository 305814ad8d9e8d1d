"""The bench of training: both sides are timed, its options act, wrong ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_parts import small_parts, write_songs

from accompany.cli import main
from accompany.data.tokenize import tokenize

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


def test_wrong_options_are_named(tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--training", str(tokens), "--train", "singing"]) == 2
    assert "'singing' is no config of a training" in capsys.readouterr().err
    assert main(["bench", "--training", str(tokens), "--train", "semantic", "--set", "loading.batchsize=2"]) == 2
    assert "did you mean 'batch_size'" in capsys.readouterr().err
