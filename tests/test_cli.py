"""The command line: names, options, JSON, exit codes, files."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import sing

import accompany
from accompany import audio
from accompany.cli import main
from accompany.commands.parser import build_parser
from accompany.commands.train import RECIPES
from accompany.common.config import CONFIGS_DIR
from accompany.common.overrides import load_yaml

pytestmark = pytest.mark.usefixtures("loaded_once")

COMMANDS = {
    "generate": "vocals -p --prompt -o --out --mix --seed --model --bpm --device --json --key --chords --taps --like "
    "--like-strength --follow --takes --project --settings --plot --midi --daw --separate --separator --stems --lufs "
    "--mute --rate --bits --format --start --melody --melody-track",
    "demo": "--prompt --out --seed --no-browser --no-page --port --model",
    "analyse": "vocals --out --no-picture --bpm --key --chords --taps --melody --melody-track --midi --json",
    "retake": "project --from --to --bars --prompt --seed",
    "vary": "project --strength --prompt --seed",
    "extend": "project --before --after --prompt --seed",
    "undo": "project",
    "takes": "project --choose --json",
    "remake": "file --out --mix",
    "completion": "shell",
    "synth": "out_dir --songs --seed --voice-only --no-stems --scores --split --variants",
    "prepare": "songs_dir pairs_dir --separator --workers",
    "tokenize": "pairs_dir tokens_dir --model --melody-only --variants --token-variants",
    "train": "task --config --lora overrides",
    "tune": "--config overrides",
    "export": "runs out_dir --from --which --name",
    "bundle": "out_dir parts --from --name --license --card",
    "push": "model repo --private --card --data --report --examples",
    "import": "format checkpoint_dir out_dir",
    "evaluate": "--report --judge --against --seeds --study --only --save-clips",
    "recipe": "recipe --work --scale --steps --from --dry-run",
    "bench": "--lengths --batches --runs --against --notes --model --device --json",
    "serve": "--host --port --token --open --embed --max-mb --max-minutes --max-queue --job-minutes --keep-minutes "
    "--model --device",
    "models": "",
    "doctor": "",
}


@pytest.fixture
def generate(random_bundle_dir, capsys, monkeypatch, tmp_path):
    """Run `accompany generate` in a folder of its own; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, str, str]:
        code = main(["generate", *map(str, args), "--model", str(random_bundle_dir), "--device", "cpu"])
        return code, *capsys.readouterr()

    return run


def test_generate_writes_band_and_mix_and_tells_json(generate, vocal_path, tmp_path, random_bundle_dir):
    out = tmp_path / "band.wav"
    code, stdout, stderr = generate(vocal_path, "-p", "warm piano", "-o", out, "--mix", "--seed", 7, "--json")
    assert code == 0 and stdout.count("\n") == 1
    told = json.loads(stdout.splitlines()[-1])
    assert list(told) == ["files", "model", "device", "load_s", "peak_rss_mb"]
    # A small bundle loads in less than the half millisecond that rounding leaves of it.
    assert (told["model"], told["device"]) == ("random", "cpu") and told["load_s"] >= 0 and told["peak_rss_mb"] > 50
    (file,) = told["files"]
    assert list(file) == ["vocals", "accompaniment", "mix", "seconds", "wall_s", "rtf", "seed", "reading", "readings"]
    assert file["vocals"] == str(vocal_path) and file["accompaniment"] == str(out) and file["seed"] == 7
    assert file["mix"] == str(tmp_path / "band.mix.wav") and file["seconds"] == 3.0
    assert file["rtf"] == pytest.approx(file["wall_s"] / 3, rel=0.01)
    for written in (file["accompaniment"], file["mix"]):
        assert audio.info(written).n_samples == 72000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["band.mix.wav", "band.wav"]
    assert "band.wav" in stderr and "random: " in stderr and "Apache-2.0" in stderr


def test_the_command_gives_what_the_api_gives(generate, band, vocal_path, tmp_path):
    assert generate(vocal_path, "-p", "jazz", "--seed", 3, "--bpm", 90, "--key", "D:min")[0] == 0
    take = band.generate(vocal_path, "jazz", seed=3, bpm=90, key="D:min")
    take.save(tmp_path / "api.wav")
    assert (tmp_path / "api.wav").read_bytes() == (tmp_path / "vocal.accompaniment.wav").read_bytes()


def test_several_vocals_go_into_a_folder(generate, vocal_path, tmp_path):
    other = tmp_path / "other.flac"
    audio.write(other, sing(1.0, 22050), 22050)
    code, stdout, _ = generate(vocal_path, "-o", tmp_path / "new" / "takes", "--json", other)
    assert code == 0 and len(json.loads(stdout)["files"]) == 2 and json.loads(stdout)["files"][0]["mix"] is None
    names = sorted(path.name for path in (tmp_path / "new" / "takes").iterdir())
    assert names == ["other.accompaniment.wav", "vocal.accompaniment.wav"]
    assert audio.info(tmp_path / "new" / "takes" / "other.accompaniment.wav").n_samples == 24000


def test_one_vocal_may_go_into_a_folder_too(generate, vocal_path, tmp_path):
    assert generate(vocal_path, "-o", tmp_path)[0] == 0
    assert (tmp_path / "vocal.accompaniment.wav").is_file()


def test_without_json_stdout_is_empty(generate, vocal_path):
    code, stdout, stderr = generate(vocal_path)
    assert code == 0 and stdout == "" and "vocal.accompaniment.wav" in stderr


def test_the_options_are_those_that_are_promised():
    parsers = next(a for a in build_parser()._actions if a.choices and "generate" in a.choices).choices
    assert list(parsers) == list(COMMANDS)
    for name, promised in COMMANDS.items():
        offered = {word for action in parsers[name]._actions for word in (action.dest, *action.option_strings)}
        assert set(promised.split()) <= offered, name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0 and f"example:\n  accompany {command}" in capsys.readouterr().out


def test_models_and_doctor(capsys):
    assert main(["models", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    for model in models:
        assert model["license"] and model["bytes"] == sum(part["bytes"] for part in model["parts"])
        assert all(part["license"] for part in model["parts"])
    main(["doctor", "--json"])
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert {"python", "torch", "transformers", "models", "ffmpeg", "libfluidsynth", "soundfont", "disk"} <= set(found)
    assert all(finding["advice"] for finding in found.values() if finding["status"] != "ok")


@pytest.mark.parametrize("part", [*RECIPES, "tune"])
def test_the_configs_of_the_other_parts_have_every_key(part):
    pytest.importorskip("lightning")
    from omegaconf import OmegaConf

    module, _, name = RECIPES.get(part, ("accompany.training.tune", "tune", "TuneConfig"))

    def keys(config, prefix=""):
        for key in config:
            yield prefix + key
            if not OmegaConf.is_missing(config, key) and OmegaConf.is_dict(config[key]):
                yield from keys(config[key], f"{prefix}{key}.")

    known = set(keys(OmegaConf.structured(getattr(importlib.import_module(module), name))))
    written = load_yaml(CONFIGS_DIR / f"{part}.yaml")
    assert known == set(keys(written))


@pytest.mark.parametrize("config", ["typo_sizes", "missing.yaml"])
def test_a_missing_config_is_named(config, capsys):
    pytest.importorskip("lightning")
    assert main(["train", "semantic", "--config", config]) == 2
    assert config in capsys.readouterr().err


def test_a_misspelt_override_is_named(capsys):
    pytest.importorskip("lightning")
    assert main(["train", "semantic", "optimizer.lrr=1"]) == 2
    assert "did you mean 'lr'" in capsys.readouterr().err


def test_a_missing_extra_is_named(monkeypatch, capsys, tmp_path):
    for name in [name for name in sys.modules if name.startswith(("accompany.data.songs",))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "accompany.data.songs.write", None)
    monkeypatch.setitem(sys.modules, "lightning", None)
    for name in ("accompany.training.train", "accompany.training.stages.module"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["train", "semantic"]) == 2
    assert 'pip install "accompany[train]"' in capsys.readouterr().err


def test_a_fault_of_ours_is_exit_code_one(monkeypatch, capsys, vocal_path, tmp_path):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(accompany, "load", fail, raising=False)
    assert main(["generate", str(vocal_path), "-o", str(tmp_path / "x.wav")]) == 1
    assert "boom" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_fault():
    code = f"{sys.executable} -m accompany doctor --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_version_and_module_entry():
    done = subprocess.run([sys.executable, "-m", "accompany", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"accompany {accompany.__version__}"


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_nothing_half_written(tmp_path, number):
    vocal = tmp_path / "long.wav"
    audio.write(vocal, sing(120.0, 8000), 8000)
    out = tmp_path / "out"
    out.mkdir()
    command = [
        sys.executable,
        "-m",
        "accompany",
        "generate",
        vocal,
        "--out",
        out,
        "--mix",
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # A shell ignores SIGINT in what it runs in the background, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("tiny: "):
            break
    time.sleep(0.3)
    process.send_signal(number)
    told = process.stderr.read()
    assert process.wait(60) == 128 + number, told
    assert list(out.iterdir()) == [] and sorted(Path(tmp_path).iterdir()) == [vocal, out]
    assert "Traceback" not in told
    if number == signal.SIGINT:
        assert told.strip() == "accompany: stopped."
