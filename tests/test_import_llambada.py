"""`accompany import llambada`: the published files become a model that generates, bad ones are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accompany
from accompany.cli import main
from accompany.errors import InputError
from accompany.models.importing.llambada import import_llambada

pytest.importorskip("sklearn", reason="the k-means of the test files needs scikit-learn")
pytest.importorskip("vector_quantize_pytorch", reason="the residual codes of the test files need it")

from small_llambada import SOUND_BOOKS, residual_codes, write_kmeans, write_llambada

SEMANTIC, COARSE = "llambada.transformer.77000.pt", "coarse.transformer.17400.pt"
RVQ, CLAP, CODEC = "clap.rvq.950_no_fusion.pt", "630k-audioset-best.pt", "encodec_24khz-d7cc33bc.th"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published files. Read only."""
    return write_llambada(tmp_path_factory.mktemp("published") / "ckpts")


@pytest.fixture(scope="module")
def model_dir(files: Path) -> Path:
    """The model, by the command. Read only."""
    assert main(["import", "llambada", str(files), str(files.parent / "model")]) == 0
    return files.parent / "model"


@pytest.fixture(scope="module")
def llambada(model_dir: Path) -> Any:
    return accompany.load(model_dir, device="cpu")


def voice(seconds: float, rate: int = 24000, seed: int = 0) -> tuple[np.ndarray, int]:
    time_s = np.arange(round(seconds * rate)) / rate
    sung = np.sin(2 * np.pi * 220 * time_s) * (np.sin(2 * np.pi * 0.9 * time_s) > -0.3)
    noise = np.random.RandomState(seed).standard_normal(len(time_s))
    return (0.3 * sung + 0.05 * noise).astype(np.float32), rate


def test_the_model_says_what_it_is(model_dir: Path) -> None:
    content = json.loads((model_dir / "bundle.json").read_text())
    assert (content["kind"], content["name"], content["license"]) == ("llambada", "model", "CC-BY-NC-4.0")
    assert content["parts"]["mert"]["license"] == "CC-BY-NC-4.0"
    kinds = {path.suffix for path in model_dir.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors", ".txt"} or kinds == {".json", ".safetensors"}
    assert not list(model_dir.parent.glob(".*"))


def test_a_short_vocal_gets_a_band_of_its_length(llambada: Any) -> None:
    samples, rate = voice(0.8, 22050)
    shares: list[float] = []
    take = llambada.generate((samples, rate), "warm piano", seed=3, progress=shares.append)
    assert take.sample_rate == 24000 and take.samples.shape == (1, round(len(samples) * 24000 / rate))
    assert np.isfinite(take.samples).all() and 0.001 < np.abs(take.samples).max() < 1
    assert take.plan.key is None and take.plan.beats_s == ()
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 100
    again = llambada.generate((samples, rate), "warm piano", seed=3)
    assert np.array_equal(again.samples, take.samples)
    for other in ({"seed": 4}, {"prompt": "loud drums"}, {"temperature": 0.0}):
        options = {"prompt": "warm piano", "seed": 3, **other}
        assert not np.array_equal(llambada.generate((samples, rate), **options).samples, take.samples)
    changed = llambada.generate((np.concatenate([samples[:3000], -samples[3000:][::-1]]), rate), "warm piano", seed=3)
    assert not np.array_equal(changed.samples, take.samples)


def noted_windows(llambada: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Frames and given frames of each window that a stage writes, from now on."""
    calls: list[tuple[int, int]] = []
    for name in ("token_semantic", "token_coarse"):
        stage = getattr(llambada.bundle, name)
        whole = type(stage).generate

        def noted(conditions: Any, n_frames: int, *args: Any, prefix: Any = None, **options: Any) -> Any:
            calls.append((n_frames, prefix.shape[-1]))
            return options.pop("_whole")(conditions, n_frames, *args, prefix=prefix, **options)

        def bound(*args: Any, _stage: Any = stage, _whole: Any = whole, **options: Any) -> Any:
            return noted(*args, _whole=lambda *a, **o: _whole(_stage, *a, **o), **options)

        monkeypatch.setattr(stage, "generate", bound, raising=False)
    return calls


def test_several_vocals_are_made_as_each_on_its_own_and_a_long_one_by_windows_that_carry_on(
    llambada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocals, prompts = [voice(0.7, 22050, seed=2), voice(12.0, seed=1)], ["", "drums"]
    shares: list[float] = []
    takes = llambada.generate(vocals, prompts, seed=3, progress=shares.append)
    calls = noted_windows(llambada, monkeypatch)
    for take, vocal, prompt in zip(takes, vocals, prompts, strict=True):
        calls.clear()
        np.testing.assert_allclose(take.samples, llambada.generate(vocal, prompt, seed=3).samples, atol=1e-5)
    # Ten seconds, then the last ten of twelve, eight of which are there.
    assert calls == [(500, 0), (750, 0), (500, 400), (750, 600)] and takes[1].samples.shape == (1, 288_000)
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert llambada.generate([]) == []


def test_windows_that_go_on_from_equally_much_are_made_together() -> None:
    from accompany.generation.llambada import FrameGrid, cover, together

    grid = FrameGrid(25, 2, 3)
    covers = [cover(grid, n_codes) for n_codes in (300, 900, 2000, 750, 2000)]
    assert [len(parts) for parts in covers] == [1, 2, 5, 1, 5]
    made = [(done, part.keep_from, items) for done, part, items in together(covers)]
    # The second windows of 12 s and of 27 s look at other stretches; both of 27 s go together to their ends.
    assert made[:3] == [(0, 0, (0, 1, 2, 3, 4)), (5, 250, (1,)), (6, 250, (2, 4))]
    assert [items for _, _, items in made[3:]] == [(2, 4)] * 3 and sum(len(items) for _, _, items in made) == 14


def test_the_stages_get_the_inputs_of_their_training(llambada: Any) -> None:
    from accompany.generation.llambada import FrameGrid, common_grid, prepare
    from accompany.generation.settings import Settings

    bundle = llambada.bundle
    grid = common_grid(bundle)
    assert grid == FrameGrid(25, 2, 3)
    samples, _ = voice(2.0)
    song = prepare(bundle, samples[None], Settings("piano"), grid, 250, 150)
    assert song.for_mert.shape == (1, 160_000) and song.for_codec.shape == (1, 1, 240_000)
    louder = prepare(bundle, 0.1 * samples[None] + 0.05, Settings("piano"), grid, 250, 150)
    assert (louder.for_mert - song.for_mert).abs().max() < 1e-3
    assert song.for_mert.abs().max() == 1.0 and not song.for_mert[:, 32_000:].any()
    steps = song.for_codec * 32767
    assert torch.equal(steps.round(), steps.mul(1e3).round().div(1e3).round())
    assert bundle.mert.hidden_states(song.for_mert).shape == (1, 499, 16)
    assert song.prompt.shape == (1, 5, 1) and song.tokens.shape == (1, SOUND_BOOKS, 750)


def test_prompts_and_voices_get_the_codes_of_their_makers(llambada: Any, files: Path, tmp_path: Path) -> None:
    bundle = llambada.bundle
    embedding = bundle.clap.embed_text(["warm piano", "loud drums"])[:, None]
    theirs = residual_codes()
    theirs.load_state_dict(torch.load(files / RVQ))
    codes = bundle.clap_codes.encode(embedding)
    assert torch.equal(codes, theirs(embedding)[1].transpose(1, 2)) and not torch.equal(codes[0], codes[1])
    states = torch.randn(1, 40, 16) * 3 + 1
    normalised = (states - states.mean(-1, keepdim=True)) / (states.var(-1, keepdim=True) + 1e-7).sqrt()
    labels = write_kmeans(tmp_path / "kmeans.joblib").predict(normalised[0].numpy())
    assert bundle.semantic_codes.encode(states)[0, 0].tolist() == labels.tolist()


def test_options_without_a_condition_are_named(llambada: Any, caplog: pytest.LogCaptureFixture) -> None:
    plain = llambada.generate(voice(0.5), "piano")
    assert not [record for record in caplog.records if "changes nothing" in record.message]
    given = llambada.generate(voice(0.5), "piano", bpm=120, key="A:min", guidance=2.0)
    assert np.array_equal(given.samples, plain.samples)
    notes = [record.message for record in caplog.records if "changes nothing" in record.message]
    assert [any(f"{name}=" in note for note in notes) for name in ("bpm", "key", "guidance")] == [True] * 3


def test_the_command_line_runs_it(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accompany import audio

    samples, rate = voice(0.6)
    audio.write(tmp_path / "vocal.wav", samples, rate)
    arguments = ["generate", str(tmp_path / "vocal.wav"), "-p", "piano", "--bpm", "100", "--model", str(model_dir)]
    assert main([*arguments, "--device", "cpu", "--out", str(tmp_path / "band.wav"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "bpm=100" in printed.err and "None" not in printed.err
    assert json.loads(printed.out.splitlines()[-1])["model"] == "model"
    assert audio.info(tmp_path / "band.wav").n_samples == 14_400


def test_a_saved_copy_is_the_same(llambada: Any, tmp_path: Path) -> None:
    llambada.save(tmp_path / "copy")
    again = accompany.load(tmp_path / "copy", device="cpu")
    assert np.array_equal(again.generate(voice(0.5), "a").samples, llambada.generate(voice(0.5), "a").samples)


def test_training_and_unknown_kinds_are_refused(model_dir: Path, tmp_path: Path) -> None:
    from accompany.models.pretrained import read_bundle
    from accompany.models.single_parts import load_frozen_parts

    with pytest.raises(InputError, match="not trained here"):
        load_frozen_parts(model_dir)
    shutil.copytree(model_dir, tmp_path / "other")
    content = json.loads((model_dir / "bundle.json").read_text())
    (tmp_path / "other" / "bundle.json").write_text(json.dumps({**content, "kind": "opera"}))
    with pytest.raises(InputError, match="opera"):
        read_bundle(tmp_path / "other")


@pytest.mark.parametrize("name", [SEMANTIC, COARSE, RVQ, CLAP, "kmeans.joblib"])
def test_a_missing_file_is_named(files: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(files, tmp_path / "bad")
    (tmp_path / "bad" / name).unlink()
    _refused(tmp_path, name.split(".")[0])


@pytest.mark.parametrize("change", ["missing", "unexpected", "of another shape"])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        (SEMANTIC, "transformer.layers.1.2.2.ds_conv.weight"),
        (COARSE, "embeddings.2.weight"),
        (RVQ, "layers.3._codebook.embed"),
        (CODEC, "decoder.model.0.conv.conv.weight_v"),
    ],
)
def test_a_key_that_does_not_fit_is_named(files: Path, tmp_path: Path, name: str, key: str, change: str) -> None:
    shutil.copytree(files, tmp_path / "bad")
    state = torch.load(files / name)
    named = key
    if change == "missing":
        del state[key]
    elif change == "unexpected":
        named = f"{key}.more"
        state[named] = torch.zeros(2)
    else:
        state[key] = state[key][..., :1]
    torch.save(state, tmp_path / "bad" / name)
    _refused(tmp_path, named)


def test_a_kmeans_that_runs_code_is_refused(files: Path, tmp_path: Path) -> None:
    import joblib

    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "touched",)

    shutil.copytree(files, tmp_path / "bad")
    fitted = write_kmeans(tmp_path / "bad" / "kmeans.joblib")
    fitted.extra = Touch()
    joblib.dump(fitted, tmp_path / "bad" / "kmeans.joblib")
    _refused(tmp_path, "Path.touch")
    assert not (tmp_path / "touched").exists()


def test_parts_that_do_not_belong_together_are_refused(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "bad")
    write_kmeans(tmp_path / "bad" / "kmeans.joblib", dim=12)
    _refused(tmp_path, "made together")
    shutil.rmtree(tmp_path / "bad")
    shutil.copytree(files, tmp_path / "bad")
    shutil.copyfile(files / COARSE, tmp_path / "bad" / SEMANTIC)
    _refused(tmp_path, "token_semantic")


def test_a_folder_that_is_there_is_left_alone(files: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        import_llambada(files, tmp_path / "model")
    with pytest.raises(InputError, match="There is no folder"):
        import_llambada(tmp_path / "nothing", tmp_path / "new")
    assert (tmp_path / "model" / "mine.txt").read_text() == "mine"


def _refused(tmp_path: Path, words: str) -> None:
    """The import of `bad` names the words and leaves nothing behind."""
    with pytest.raises(InputError) as caught:
        import_llambada(tmp_path / "bad", tmp_path / "model")
    assert words in str(caught.value)
    assert not (tmp_path / "model").exists() and not list(tmp_path.glob(".*"))
