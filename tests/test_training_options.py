"""Options of training that are seldom on: compiled blocks, Weights & Biases, the share of a device's peak."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from small_parts import small_parts, write_songs
from torch._dynamo.utils import counters

from accompany.data.tokens.tokenize import tokenize
from accompany.training.stages import callbacks
from accompany.training.train import train

SMALL = [
    "model.encoder.width=32", "model.encoder.heads=2", "model.encoder.depth=1", "model.decoder.width=32",
    "model.decoder.heads=2", "model.decoder.depth=1",
]  # fmt: skip
RUN = ["loading.crop_s=2", "loading.batch_size=2", "device=cpu", "precision=float32"]
RUN += ["log_every=1", "val_every=100", "max_steps=2"]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("options")
    write_songs(root / "songs", 3, seconds=3.0)
    tokenize(root / "songs", root / "tokens", small_parts(root / "clap"), variants=1, val_share=0.4, progress=False)
    return root / "tokens"


def logged(tokens: Path, run_dir: Path, name: str, *options: str, task: str = "semantic") -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = (
        SMALL if task == "semantic" else [f"model.transformer.{size}" for size in ("width=32", "heads=2", "depth=1")]
    )
    train(task, None, [f"tokens={tokens}", f"run_dir={run_dir}", *sizes, *RUN, *options], progress=False)
    events = EventAccumulator(str(run_dir / "logs"))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def test_compiled_blocks_learn_the_same(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as their graphs, forwards and backwards: code for the processor is PyTorch's, and takes half a minute."""
    compiled_by = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", compiled_by)
    stats = counters["stats"]
    before = stats["unique_graphs"]
    plain = logged(tokens, tmp_path / "plain", "train/loss", task="listener")
    compiled = logged(tokens, tmp_path / "compiled", "train/loss", "compile=true", task="listener")
    assert compiled == pytest.approx(plain, rel=1e-4) and len(plain) == 2
    assert stats["unique_graphs"] > before, "blocks were compiled"


def test_the_share_of_the_peak_is_logged(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "PEAK_BF16_TFLOPS", {"cpu": 0.01})
    once = logged(tokens, tmp_path / "once", "speed/of_peak", "max_steps=4")
    assert len(once) >= 2 and all(share > 0 for share in once)
    monkeypatch.setattr(callbacks, "PEAK_BF16_TFLOPS", {"cpu": 1e6})
    assert max(logged(tokens, tmp_path / "more", "speed/of_peak", "max_steps=4")) < 1e-3 * min(once)


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA RTX A1000", None),
    ],
)
def test_devices_are_known_by_whole_names(device: str, tflops: float | None) -> None:
    assert callbacks.peak_flops(device) == (None if tflops is None else tflops * 1e12)


def test_speed_is_of_whole_steps(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    real = callbacks.RunProgress._show

    def show(progress: callbacks.RunProgress, trainer: Any, module: Any) -> None:
        shown.append(trainer.global_step)
        assert 0 <= progress._waited_s < progress._seconds and progress._batches <= 2
        real(progress, trainer, module)

    monkeypatch.setattr(callbacks.RunProgress, "_show", show)
    speeds = logged(tokens, tmp_path, "speed/tokens_s", "accumulate=2", "max_steps=3")
    assert shown == [1, 2, 3] and len(speeds) >= 2


def test_weights_and_biases_get_the_metrics(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="needs wandb: pip install 'accompany[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("semantic", None, [f"tokens={tokens}", f"run_dir={tmp_path}", *SMALL, *RUN, "wandb=songs"], progress=False)
    wandb.finish()
    (kept,) = tmp_path.rglob("run-*.wandb")
    assert b"train/loss" in kept.read_bytes()
