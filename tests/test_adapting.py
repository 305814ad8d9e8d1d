"""A model made one's own: full fine-tuning, adapters, export as a model, samples on the way, preference tuning."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sing
from small_parts import write_songs

import accompany
from accompany.cli import main
from accompany.common.saving import save_state
from accompany.common.weights import WEIGHTS_NAME, read_state
from accompany.data.loading.crops import LoadingConfig
from accompany.data.tokens.tokenize import tokenize
from accompany.errors import InputError
from accompany.stages.batch import Batch
from accompany.stages.lora import LoraConfig, add_lora, merge, merged
from accompany.stages.transformer import Transformer, TransformerConfig
from accompany.training.export import export_bundle
from accompany.training.stages.preference import Pairs, preference_losses
from accompany.training.train import train
from accompany.training.tune import PairData, TuneConfig, tune, variety

pytest.importorskip("peft")

COMMON = ["loading.crop_s=2", "loading.batch_size=4", "device=cpu", "precision=float32", "log_every=1",
          "optimizer.warmup_steps=0", "val_every=2", "max_steps=2", "listen_items=1"]  # fmt: skip


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_songs(tmp_path_factory.mktemp("adapting") / "songs", 4, seconds=4.0)


@pytest.fixture(scope="module")
def tokens(songs: Path, random_bundle_dir: Path) -> Path:
    folder = songs.parent / "tokens"
    tokenize(songs, folder, random_bundle_dir, variants=1, val_share=0.3, progress=False)
    return folder


def run(task: str, tokens: Path, model: Path, run_dir: Path, *overrides: str) -> Path:
    items = [f"tokens={tokens}", f"run_dir={run_dir}", f"init={model}", *COMMON, *overrides]
    return train(task, None, items, progress=False)


@pytest.fixture(scope="module")
def adapter(tokens: Path, random_bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the semantic stage with an adapter that has learnt much."""
    folder = tmp_path_factory.mktemp("lora")
    more = ["lora.rank=2", "optimizer.lr=0.3", "max_steps=6", "optimizer.ema_decay=0", f"bundle={random_bundle_dir}"]
    run("semantic", tokens, random_bundle_dir, folder, *more)
    return folder


def play(model: Path, **options: Any) -> np.ndarray:
    samples: np.ndarray = accompany.load(model, device="cpu", **options).generate((sing(2.0), 44100), seed=1).samples
    return samples


def test_fine_tuning_starts_from_the_model(tokens: Path, random_bundle_dir: Path, tmp_path: Path) -> None:
    folder = run("semantic", tokens, random_bundle_dir, tmp_path, "optimizer.lr=1e-9", "model.decoder.dropout=0.1")
    before, after = (read_state(path / "model.safetensors") for path in (random_bundle_dir / "semantic", folder))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=1e-3) for name in before)
    assert json.loads((folder / "config.json").read_text())["decoder"]["dropout"] == 0.1
    # The run goes on when the model it started from has moved.
    moved = shutil.copytree(random_bundle_dir, tmp_path / "moved")
    assert run("semantic", tokens, moved, tmp_path, "model.decoder.dropout=0.1", "max_steps=3") == folder


def test_a_condition_that_the_model_has_not_starts_at_zero(
    tokens: Path, random_bundle_dir: Path, tmp_path: Path
) -> None:
    new = "model.conditions.instruments=true"
    after = read_state(run("semantic", tokens, random_bundle_dir, tmp_path, "optimizer.lr=1e-9", new) / WEIGHTS_NAME)
    before = read_state(random_bundle_dir / "semantic" / WEIGHTS_NAME)
    names = {"embedding.instruments.weight", "embedding.instruments.bias"}
    assert after.keys() - before.keys() == names
    assert all(after[name].abs().max() < 1e-4 for name in names)
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=1e-3) for name in before)


def test_an_adapter_is_small_and_changes_what_is_played(adapter: Path, random_bundle_dir: Path) -> None:
    names = {path.name for path in (adapter / "lora").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "accompany.json"} <= names
    whole = (random_bundle_dir / "semantic" / "model.safetensors").stat().st_size
    assert (adapter / "lora" / "adapter_model.safetensors").stat().st_size < whole / 3
    plain, adapted = play(random_bundle_dir), play(random_bundle_dir, lora=[adapter / "lora"])
    none = play(random_bundle_dir, lora=[adapter / "lora"], lora_scale=0.0)
    assert np.array_equal(plain, none) and not np.array_equal(plain, adapted)


def test_export_works_the_adapter_in(adapter: Path, random_bundle_dir: Path, tmp_path: Path) -> None:
    assert main(["export", str(adapter), str(tmp_path / "mine"), "--which", "last"]) == 0
    exported = read_state(tmp_path / "mine" / "semantic" / "model.safetensors")
    band = accompany.load(random_bundle_dir, device="cpu", lora=[adapter / "lora"])
    band.save(tmp_path / "saved")
    saved = read_state(tmp_path / "saved" / "semantic" / "model.safetensors")
    start = read_state(random_bundle_dir / "semantic" / "model.safetensors")
    assert exported.keys() == saved.keys() == start.keys()
    assert any(not torch.equal(exported[name], start[name]) for name in start)
    assert accompany.load(tmp_path / "mine", device="cpu").name == "mine"


def test_generate_takes_adapters(adapter: Path, random_bundle_dir: Path, vocal_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "band.wav"
    options = ["--model", str(random_bundle_dir), "--lora", str(adapter / "lora"), "--lora-scale", "0.5"]
    assert main(["generate", str(vocal_path), "-o", str(out), *options]) == 0 and out.is_file()


def test_a_merged_adapter_is_the_adapter() -> None:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(width=16, heads=2, depth=2)).eval()
    add_lora(model, LoraConfig(rank=2))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 0.5 * sum(p.numel() for p in model.parameters())
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, 5, 16)
    wanted, once = model(x), merged(model)
    assert torch.allclose(once(x), wanted, atol=1e-5) and torch.allclose(model(x), wanted)
    merge(model, 0.5)
    assert not torch.allclose(model(x), wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lora.rank=2", 'init=""'], "an adapter adapts a model"),
        (["lora.rank=2", "lora.targets=[nothing]"], "no linear layers for lora.targets"),
        (["init=tiny"], "did not make these tokens"),
        (["model.decoder.width=64", "model.encoder.width=64"], "do not fit their config"),
        (["model.decoder.widht=64"], "did you mean 'width'"),
    ],
)
def test_wrong_adaptations_are_named(
    overrides: list[str], message: str, tokens: Path, random_bundle_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        run("semantic", tokens, random_bundle_dir, tmp_path, *overrides)


def test_wrong_adapters_are_named(adapter: Path, random_bundle_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no adapter"):
        play(random_bundle_dir, lora=[adapter])
    with pytest.raises(InputError, match="scale 11 must be from -10 to 10"):
        play(random_bundle_dir, lora=[adapter / "lora"], lora_scale=11)
    shutil.copytree(adapter / "lora", tmp_path / "other")
    about = json.loads((tmp_path / "other" / "accompany.json").read_text())
    (tmp_path / "other" / "accompany.json").write_text(json.dumps({**about, "base": "0"}))
    with pytest.raises(InputError, match="use it with the model that it was trained on"):
        play(random_bundle_dir, lora=[tmp_path / "other"])
    for file, change, message in (
        ("accompany.json", [1], "says of no adapter"),
        ("adapter_config.json", [1], "describes no LoRA"),
        ("adapter_config.json", {"peft_type": "LORA", "r": 10**9}, "rank must be at least 0 and at most 65536"),
        ("adapter_config.json", {"peft_type": "LORA", "r": 2, "use_dora": True}, "use_dora"),
    ):
        broken = Path(shutil.copytree(adapter / "lora", tmp_path / f"{message.split()[-1]}-{file}"))
        (broken / file).write_text(json.dumps(change))
        with pytest.raises(InputError, match=message):
            play(random_bundle_dir, lora=[broken])
    weights = tmp_path / "other" / "adapter_model.safetensors"
    (tmp_path / "other" / "accompany.json").write_text(json.dumps(about))
    save_state({name: tensor * torch.nan for name, tensor in read_state(weights).items()}, weights)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors are broken"):
        play(random_bundle_dir, lora=[tmp_path / "other"])
    with pytest.raises(InputError, match="at most one run for each part"):
        export_bundle([adapter, adapter], tmp_path / "model")


def test_an_adapted_model_is_uploaded_from_a_folder_that_its_name_does_not_choose(
    adapter: Path, random_bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    band = accompany.load(random_bundle_dir, device="cpu", lora=[adapter / "lora"])
    object.__setattr__(band.bundle.info, "name", "../../evil")
    sent: list[Path] = []
    monkeypatch.setattr("accompany.models.publishing.push_to_hub", lambda folder, *_, **__: sent.append(Path(folder)))
    band.push_to_hub("me/mine")
    assert ".." not in sent[0].parts and sent[0].name == "model"


def test_the_model_plays_samples_while_it_trains(
    tokens: Path, songs: Path, random_bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    singing = tmp_path / "singing" / "one"
    shutil.copytree(songs / "000000", singing)
    from accompany import audio

    band = audio.read(singing / "accompaniment.flac")
    audio.write(singing / "vocals.flac", sing(4.0, band.sample_rate), band.sample_rate)
    monkeypatch.setattr("accompany.training.samples._SECONDS", 3.0)  # pitch of the voice takes longest
    more = [f"bundle={random_bundle_dir}", f"sample_songs={singing.parent}", "sample_every=2"]
    run("semantic", tokens, random_bundle_dir, tmp_path / "run", *more)
    logged = json.loads((tmp_path / "run" / "samples.jsonl").read_text())
    assert logged["step"] == 2 and {"harmony", "consonance", "beat_f"} <= logged.keys()
    assert {path.suffix for path in (tmp_path / "run" / "samples" / "0000002").iterdir()} == {".flac", ".png", ".jsonl"}
    events = EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    tags = events.Tags()
    assert "sample/0" in tags["audio"] and "sample/0" in tags["images"] and "sample/harmony" in tags["scalars"]
    assert "speed/tokens_s" in tags["scalars"] and "train/stream_1" in tags["scalars"]


def test_preferences_move_the_better_take_ahead() -> None:
    zero = torch.zeros(1)
    even, margin = preference_losses(zero, zero, zero, zero, beta=0.1)
    assert float(even) == pytest.approx(np.log(2)) and float(margin) == 0
    ahead, _ = preference_losses(zero + 5, zero - 5, zero, zero, beta=0.1)
    behind, _ = preference_losses(zero - 5, zero + 5, zero, zero, beta=0.1)
    assert float(ahead) == pytest.approx(np.log1p(np.exp(-1.0))) and float(ahead) < float(even) < float(behind)


def test_variety_is_the_distance_between_takes() -> None:
    def decode(codes: torch.Tensor) -> torch.Tensor:
        return codes.transpose(1, 2).float()

    same = torch.ones(2, 3, 1, 4, dtype=torch.long)
    assert variety(decode, same) == 0
    apart = torch.tensor([0, 2])[None, :, None, None].expand(1, 2, 1, 4)
    assert variety(decode, apart) == 2


def test_tuning_learns_the_preferences(tokens: Path, random_bundle_dir: Path, tmp_path: Path) -> None:
    items = [f"tokens={tokens}", f"model={random_bundle_dir}", f"run_dir={tmp_path}", "vocals=4", "held_out=1",
             "takes=3", "loading.crop_s=1.5", "loading.batch_size=4", "device=cpu", "max_steps=6", "log_every=1",
             "optimizer.lr=1e-3", "optimizer.ema_decay=0"]  # fmt: skip
    folder = tune(None, items, progress=False)
    report = json.loads((tmp_path / "tune.json").read_text())
    assert {"fit", "variety", "prompt"} <= report["before"].keys() == report["after"].keys()
    assert report["pairs"] == 4 and (folder / "model.safetensors").is_file()
    margins = scalars(tmp_path, "train/margin")
    assert margins[0] == pytest.approx(0, abs=1e-3) and margins[-1] > 0.5
    with pytest.raises(InputError, match="takes of another model"):
        tune(None, [*items, "takes=2"], progress=False)


def test_pairs_come_once_an_epoch_and_go_on_anywhere() -> None:
    numbers = torch.arange(5)
    pairs = Pairs(Batch(vocal=numbers[:, None, None].float()), numbers, numbers, numbers, numbers)
    config = TuneConfig(loading=LoadingConfig(batch_size=4), accumulate=2)

    def first_batches(step: int, rank: int = 0, ranks: int = 1) -> list[list[int]]:
        data = PairData(pairs, config)
        data.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=ranks)  # type: ignore[assignment]
        return [batch.better.tolist() for batch in itertools.islice(data.train_dataloader(), 10)]

    seen = first_batches(0)
    drawn = [number for batch in seen for number in batch]
    assert all(sorted(drawn[start : start + 5]) == [0, 1, 2, 3, 4] for start in (0, 5, 10, 15))
    assert first_batches(3)[:4] == seen[6:], "two batches a step"
    halves = first_batches(0, 0, 2), first_batches(0, 1, 2)
    assert [[*one, *other] for one, other in zip(*halves, strict=True)] == seen


def test_a_person_may_choose(tokens: Path, random_bundle_dir: Path, tmp_path: Path) -> None:
    items = [f"tokens={tokens}", f"model={random_bundle_dir}", f"run_dir={tmp_path}", "vocals=2", "held_out=0",
             "takes=2", "loading.crop_s=1", "loading.batch_size=2", "device=cpu", "max_steps=1"]  # fmt: skip
    folder = tune(None, [*items, "save_takes=true"], progress=False)
    assert (folder / "0001" / "1.flac").is_file()
    choices = tmp_path / "choices.json"
    choices.write_text(json.dumps({"0": {"better": 1, "worse": 0}, "1": {"better": -1, "worse": -1}}))
    tune(None, [*items, f"choices={choices}"], progress=False)
    assert json.loads((tmp_path / "tune.json").read_text())["pairs"] == 1
    choices.write_text(json.dumps({"9": {"better": 1, "worse": 0}}))
    with pytest.raises(InputError, match="there are 2 vocals"):
        tune(None, [*items, f"choices={choices}"], progress=False)
    for wrong, words in (([1], "in braces"), ({"0": {"better": 1, "worse": 1}}, "both better and worse")):
        choices.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=words):
            tune(None, [*items, f"choices={choices}"], progress=False)


def scalars(run_dir: Path, name: str) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "logs"))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def test_a_batch_that_does_not_fit_names_what_does(
    tokens: Path, random_bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accompany.stages.semantic import SemanticStage

    whole = SemanticStage.loss

    def loss(self: SemanticStage, batch: Any, generator: Any = None) -> Any:
        if batch.size > 1 and self.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, batch, generator)

    monkeypatch.setattr(SemanticStage, "loss", loss)
    with pytest.raises(InputError, match=r"4 crops at once .* 1 fit: add accumulate=4"):
        run("semantic", tokens, random_bundle_dir, tmp_path)
    assert run("semantic", tokens, random_bundle_dir, tmp_path, "accumulate=4").is_dir()


def test_a_full_disk_is_named(
    tokens: Path, random_bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from accompany.training.stages import checkpoints

    room = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="GB more, but only 1e-06 GB are free"):
        patch.setattr(checkpoints.shutil, "disk_usage", lambda _: room._replace(free=1000))
        run("semantic", tokens, random_bundle_dir, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="goes on from the checkpoint before"):
        patch.setattr(checkpoints.torch, "save", full)
        run("semantic", tokens, random_bundle_dir, tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*.part"))


def test_recomputed_activations_give_the_same_losses(tokens: Path, random_bundle_dir: Path, tmp_path: Path) -> None:
    run("semantic", tokens, random_bundle_dir, tmp_path / "plain")
    run("semantic", tokens, random_bundle_dir, tmp_path / "again", "checkpoint_activations=true")
    plain, again = (scalars(tmp_path / name, "train/loss") for name in ("plain", "again"))
    assert again == pytest.approx(plain, rel=1e-6)
