"""Training: every task steps, resumes exactly, learns two items by heart, and exports what inference loads."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_parts import save_bundle, small_parts, write_songs

from accompany.common.config import CONFIGS_DIR, read_json
from accompany.common.overrides import load_config, load_yaml
from accompany.common.weights import load_module
from accompany.data.tokens.store import Manifest
from accompany.data.tokens.tokenize import tokenize
from accompany.errors import InputError
from accompany.stages.batch import Batch
from accompany.training.stages.module import StageTraining
from accompany.training.train import TASKS, config_named, export, fit_to_tokens, train

TINY = {
    "listener": ["model.transformer.width=32", "model.transformer.heads=2", "model.transformer.depth=1"],
    "semantic": [
        "model.encoder.width=32", "model.encoder.heads=2", "model.encoder.depth=1",
        "model.decoder.width=32", "model.decoder.heads=2", "model.decoder.depth=1",
    ],
    "acoustic": [
        "model.transformer.width=32", "model.transformer.heads=2", "model.transformer.depth=1",
        "model.depth.code_width=8", "model.depth.hidden=16",
    ],
}  # fmt: skip
COMMON = ["loading.crop_s=3", "loading.batch_size=4", "device=cpu", "precision=float32", "log_every=1"]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("training")
    write_songs(root / "songs", 5, seconds=4.0)
    tokenize(root / "songs", root / "tokens", small_parts(root / "clap"), variants=2, val_share=0.2, progress=False)
    return root / "tokens"


def run(task: str, tokens: Path, run_dir: Path, *overrides: str) -> Path:
    items = [f"tokens={tokens}", f"run_dir={run_dir}", *COMMON, *TINY[task], *overrides]
    return train(task, None, items, progress=False)


def losses(run_dir: Path) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "logs"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("train/loss")}


@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_trains_and_exports(task: str, tokens: Path, tmp_path: Path) -> None:
    folder = run(task, tokens, tmp_path / "run", "max_steps=2", "val_every=2", "checkpoint_every=1")
    model = load_module(TASKS[task].model, folder)
    assert sum(parameter.numel() for parameter in model.parameters()) > 1000
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    logged = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert logged["step"] == 2 and logged["val/loss"] > 0
    again = export(tmp_path / "run", tmp_path / "elsewhere", "last")
    assert read_json(again / "config.json") == read_json(folder / "config.json")


class Stop(Exception):
    """A fault in the middle of a run."""


@pytest.mark.parametrize("task", ["semantic", "acoustic"])
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(
    task: str, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("checkpoint_every=2", "val_every=3", "accumulate=2", "max_steps=6")
    run(task, tokens, tmp_path / "whole", *options)
    whole_step = StageTraining.training_step

    def step(self: StageTraining, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 5:
            raise Stop
        return whole_step(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(StageTraining, "training_step", step)
        run(task, tokens, tmp_path / "parts", *options)
    last = Path("checkpoints") / "last.ckpt"
    assert torch.load(tmp_path / "parts" / last, weights_only=True)["global_step"] == 4
    run(task, tokens, tmp_path / "parts", *options)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    first, second = (torch.load(tmp_path / name / last, weights_only=True)["state_dict"] for name in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("part", [0, 1])
def test_a_run_stopped_after_either_part_of_a_step_does_that_step_again_in_full(
    part: int, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("checkpoint_every=100", "val_every=100", "accumulate=2", "max_steps=4")
    run("semantic", tokens, tmp_path / "whole", *options)
    whole_step = StageTraining.training_step

    def step(self: StageTraining, batch: Batch, batch_idx: int) -> torch.Tensor:
        if batch_idx == 2 + part:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole_step(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(StageTraining, "training_step", step)
        run("semantic", tokens, tmp_path / "parts", *options)
    assert torch.load(tmp_path / "parts/checkpoints/last.ckpt", weights_only=True)["global_step"] == 1 + part
    run("semantic", tokens, tmp_path / "parts", *options)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.timeout(600)
def test_a_killed_run_goes_on(tokens: Path, tmp_path: Path) -> None:
    options = ["max_steps=100000", "checkpoint_every=1", "val_every=2", "val_items=2"]
    process = multiprocessing.get_context("fork").Process(target=run, args=("listener", tokens, tmp_path, *options))
    process.start()
    deadline = time.monotonic() + 280
    while len(list(tmp_path.glob("checkpoints/*.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.join()
    reached = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    run("listener", tokens, tmp_path, f"max_steps={reached + 2}", *options[1:])
    run("listener", tokens, tmp_path / "whole", f"max_steps={reached + 2}", *options[1:])
    whole, parts = losses(tmp_path / "whole"), losses(tmp_path)
    assert [parts[step] for step in (reached, reached + 1)] == [whole[step] for step in (reached, reached + 1)]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == reached + 2


def test_two_songs_are_learnt_by_heart(tmp_path: Path) -> None:
    """By the listener; what the stages learn by heart is in test_overfit.py."""
    write_songs(tmp_path / "songs", 2, seconds=3.0)
    parts = small_parts(tmp_path / "clap")
    tokenize(tmp_path / "songs", tmp_path / "tokens", parts, variants=1, val_share=0.0, progress=False)
    steps = ["max_steps=60", "optimizer.lr=1e-2", "optimizer.warmup_steps=5", "checkpoint_every=60"]
    run("listener", tmp_path / "tokens", tmp_path / "run", *steps)
    curve = losses(tmp_path / "run")
    last = [curve[step] for step in sorted(curve)[-5:]]
    assert sum(last) / 5 < 0.75 * curve[min(curve)]


def test_a_broken_checkpoint_is_passed_over(tokens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run("listener", tokens, tmp_path, "max_steps=2", "val_every=1", "checkpoint_every=1")
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    run("listener", tokens, tmp_path, "max_steps=3", "val_every=1", "checkpoint_every=1")
    assert "broken checkpoint" in caplog.text
    assert torch.load(last, weights_only=True)["global_step"] == 3


def test_validation_listens_with_a_bundle(tokens: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle")
    for task, wanted in (
        ("semantic", {"val/made_harmony", "val/made_rhythm", "val/made_chords", "val/true_chords", "val/accuracy"}),
        ("acoustic", {"val/made_chroma", "val/made_onsets", "val/accuracy_0", "val/accuracy_5"}),
    ):
        options = (f"bundle={bundle}", "max_steps=1", "val_every=1", "listen_items=1")
        run(task, tokens, tmp_path / task, *options)
        logged = json.loads((tmp_path / task / "metrics.jsonl").read_text())
        assert wanted <= logged.keys()
        assert all(-1.001 <= logged[name] <= 1.001 for name in wanted)


def test_autocast_and_options_change_the_run(tokens: Path, tmp_path: Path) -> None:
    base = ("max_steps=3", "optimizer.warmup_steps=0")
    variants = {
        "plain": (), "bfloat16": ("precision=bfloat16",), "lr": ("optimizer.lr=3e-3",), "seed": ("seed=1",),
        "clip": ("optimizer.clip_norm=0.01",), "decay": ("optimizer.weight_decay=10",),
        "betas": ("optimizer.betas=[0.5,0.6]",), "warmup": ("optimizer.warmup_steps=9",),
        "final": ("optimizer.final_lr=1.0",),
    }  # fmt: skip
    ends = {}
    for name, extra in variants.items():
        run("listener", tokens, tmp_path / name, *base, *extra)
        ends[name] = losses(tmp_path / name)[2]
    assert len(set(ends.values())) == len(ends), ends
    assert ends["bfloat16"] == pytest.approx(ends["plain"], rel=0.02)


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("semantics", [], "no task 'semantics'"),
        ("semantic", ["max_step=3"], "did you mean 'max_steps'"),
        ("semantic", ["max_steps=many"], "max_steps"),
        ("semantic", ["precision=float8"], "float32, bfloat16"),
        ("semantic", ["optimizer.lr=-1"], "lr must be above 0"),
        ("semantic", ["tokens=/nowhere"], "accompany tokenize"),
    ],
)
def test_wrong_input_is_named(task: str, overrides: list[str], message: str, tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train(task, None, [f"tokens={tokens}", f"run_dir={tmp_path}", *overrides], progress=False)


def test_a_run_of_another_model_is_refused(tokens: Path, tmp_path: Path) -> None:
    run("listener", tokens, tmp_path, "max_steps=1", "checkpoint_every=1", "val_every=1")
    with pytest.raises(InputError, match=r"another model"):
        run("listener", tokens, tmp_path, "max_steps=2", "model.transformer.depth=2")
    with pytest.raises(InputError, match=r"not the folder"):
        export(tmp_path / "logs")


def test_a_checkpoint_of_another_config_is_refused(tokens: Path, tmp_path: Path) -> None:
    options = ("max_steps=1", "checkpoint_every=1", "val_every=1")
    run("listener", tokens, tmp_path / "one", *options)
    run("listener", tokens, tmp_path / "two", *options, "model.transformer.depth=2")
    for name in ("last", "best"):
        shutil.copy(tmp_path / "two" / "checkpoints" / f"{name}.ckpt", tmp_path / "one" / "checkpoints")
    with pytest.raises(InputError, match=r"of another config \(they differ in transformer.blocks"):
        run("listener", tokens, tmp_path / "one", "max_steps=2")


def test_a_run_goes_on_with_other_beliefs(tokens: Path, tmp_path: Path) -> None:
    run("listener", tokens, tmp_path, "max_steps=1", "checkpoint_every=1", "val_every=1")
    run("listener", tokens, tmp_path, "max_steps=2", "checkpoint_every=1", "val_every=1", "model.beats.centre_bpm=90")
    assert read_json(export(tmp_path) / "config.json")["beats"]["centre_bpm"] == 90


def test_a_loss_that_is_no_number_stops_with_the_last_checkpoint_kept(tokens: Path, tmp_path: Path) -> None:
    wild = ("optimizer.lr=1e30", "optimizer.clip_norm=0", "optimizer.warmup_steps=0", "max_steps=50")
    with pytest.raises(InputError, match=r"lower optimizer\.lr"):
        run("listener", tokens, tmp_path, *wild, "checkpoint_every=1")
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


SHIPPED = [*((task, task) for task in TASKS), ("acoustic", "acoustic_masked")]
SHIPPED += [(task, f"{task}_{size}") for size in ("base", "large") for task in ("semantic", "acoustic")]


@pytest.mark.parametrize(("task", "name"), SHIPPED)
def test_the_shipped_configs_fill_every_key_of_their_runs(task: str, name: str) -> None:
    config = load_config(TASKS[task].config, name)
    written = load_yaml(CONFIGS_DIR / f"{name}.yaml")
    for key in ("", "loading", "optimizer", "lora"):
        section = getattr(config, key) if key else config
        assert set(section.__dataclass_fields__) == set(written[key] if key else written)
    if task == "acoustic" and config.model.mode == "depth":
        assert set(config.model.depth.__dataclass_fields__) == set(written["model"]["depth"])


def test_a_config_lies_over_its_base(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("base: semantic\nmodel:\n  decoder:\n    depth: 3\n")
    (tmp_path / "smaller.yaml").write_text("base: small.yaml\nmodel:\n  decoder:\n    dropout: 0.2\n")
    config = load_config(TASKS["semantic"].config, tmp_path / "smaller.yaml")
    assert (config.model.decoder.dropout, config.model.decoder.depth, config.model.decoder.width) == (0.2, 3, 256)
    (tmp_path / "small.yaml").write_text("base: smaller.yaml\n")
    with pytest.raises(InputError, match="its own base"):
        load_config(TASKS["semantic"].config, tmp_path / "smaller.yaml")
    (tmp_path / "small.yaml").write_text("base: semantics\n")
    with pytest.raises(InputError, match="did you mean 'semantic'"):
        load_config(TASKS["semantic"].config, tmp_path / "smaller.yaml")


def test_a_run_of_an_older_version_goes_on(tokens: Path, tmp_path: Path) -> None:
    run("listener", tokens, tmp_path, "max_steps=1", "checkpoint_every=1", "val_every=1")
    content = json.loads((tmp_path / "run.json").read_text())
    del content["model"]["transformer"]["norm_eps"]  # as if it had been added since
    (tmp_path / "run.json").write_text(json.dumps(content))
    run("listener", tokens, tmp_path, "max_steps=2", "checkpoint_every=1", "val_every=1")
    assert sorted(losses(tmp_path)) == [0, 1]


def test_base_has_about_200_million_parameters() -> None:
    """With the published encoders: MERT of 768 values, CLAP of 512, EnCodec of 8 codebooks at 75 Hz."""
    sizes = {"melody_dim": 54, "vocal_dim": 54 + 768, "text_dim": 512, "tokens": 8, "token_size": 1024}
    manifest = Manifest({}, {}, sizes, frame_rate=25.0, codec_frame_rate=75.0, code_sizes=(1024, 1024, 1024))
    total = 0
    for task in ("semantic", "acoustic"):
        config: Any = load_config(TASKS[task].config, config_named("base", task))
        with torch.device("meta"):
            model = TASKS[task].model(fit_to_tokens(config.model, manifest))  # type: ignore[call-arg]
        total += sum(parameter.numel() for parameter in model.parameters())
    assert 190e6 < total < 230e6


def test_sizes_are_names_of_configs() -> None:
    named = {size: config_named(size, "acoustic") for size in (None, "tiny", "base", "acoustic_masked")}
    assert list(named.values()) == ["acoustic", "acoustic", "acoustic_base", "acoustic_masked"]
