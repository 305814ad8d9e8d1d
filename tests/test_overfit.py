"""Both stages learn sixteen pairs by heart: conditions, order and predictions all fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import sing
from small_parts import SAMPLE_RATE, small_parts, write_songs

from accompany import audio
from accompany.common.weights import load_module
from accompany.data.loading.crops import LoadingConfig, TokenDataset, val_loader
from accompany.data.tokens.tokenize import tokenize
from accompany.stages.batch import conditions_of
from accompany.training.metrics import token_accuracy
from accompany.training.train import TASKS, train

NOTHING_DROPPED = [
    f"model.conditions.drop.{name}=0" for name in "vocal mert text beat chord key phase bar splice".split()
]
SMALL = {
    "semantic": [
        "model.encoder.width=64", "model.encoder.heads=2", "model.encoder.depth=1", "model.encoder.dropout=0",
        "model.decoder.width=64", "model.decoder.heads=2", "model.decoder.depth=2", "model.decoder.dropout=0",
        "model.conditions.drop.known=1", "model.conditions.drop.history=0",
    ],
    "acoustic": [
        "model.transformer.width=96", "model.transformer.heads=2", "model.transformer.depth=1", "model.encoder_depth=1",
        "model.depth.code_width=32", "model.depth.hidden=128", "model.conditions.drop.known=0", "codebooks=2",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    write_songs(root / "songs", 16, seconds=1.0)
    for number in range(16):  # no two voices alike, or nothing would tell the pairs apart
        audio.write(root / "songs" / f"{number:06d}" / "vocals.flac", sing(1.0, SAMPLE_RATE, seed=number), SAMPLE_RATE)
    tokenize(root / "songs", root / "tokens", small_parts(root / "clap"), variants=1, val_share=0.0, progress=False)
    return root / "tokens"


@pytest.mark.parametrize(("task", "steps"), [("semantic", 140), ("acoustic", 100)])
def test_sixteen_pairs_are_learnt_by_heart(task: str, steps: int, pairs: Path, tmp_path: Path) -> None:
    options = [
        f"tokens={pairs}", f"run_dir={tmp_path}", f"max_steps={steps}", f"checkpoint_every={steps}", "device=cpu",
        "precision=float32", "loading.crop_s=1", "loading.batch_size=16", "loading.audio_prompt_rate=0",
        "loading.triad_rate=0", "optimizer.lr=1e-2", "optimizer.warmup_steps=20", "optimizer.weight_decay=0",
        "optimizer.ema_decay=0.9", *NOTHING_DROPPED, *SMALL[task],
    ]  # fmt: skip
    model = load_module(TASKS[task].model, train(task, None, options, progress=False))
    dataset = TokenDataset(pairs, "train", LoadingConfig(crop_s=1.0, batch_size=16, audio_prompt_rate=0.0))
    dataset.split = "val"  # the songs of the training, as they are
    (batch,) = (batch.float() for batch in val_loader(dataset, 16))
    assert batch.size == 16
    if task == "semantic":
        codes = batch.need("codes")
        with torch.inference_mode():
            hits = model(codes, conditions_of(model.config.conditions, batch, codes.shape[-1])).argmax(-1) == codes
        accuracies = {"codes": float(hits[codes >= 0].float().mean())}
    else:
        cut = batch.need("tokens")[:, :2]
        accuracies = token_accuracy(model, type(batch)(**{**vars(batch), "tokens": cut}))
    assert min(accuracies.values()) > 0.99, accuracies
