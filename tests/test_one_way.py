"""One way through generate: a file a command, a control declared once, a vocal analyzed once, few modules."""

from __future__ import annotations

import json
import subprocess
import sys
import typing
from dataclasses import fields

import numpy as np
import pytest
from conftest import sing

from accompany import audio
from accompany.cli import main
from accompany.commands.parser import COMMANDS, build_parser
from accompany.errors import InputError
from accompany.generation import pipeline
from accompany.generation.settings import CONTROLS, Options, Settings
from accompany.generation.vocals import read_vocal

NUMBERS = [name for name, control in CONTROLS.items() if control.low is not None]
MOST_FILES, MOST_LINES = 58, 9_920
"""Of the modules that one `accompany generate` imports; those of one line, which name rooms, do not count."""

COUNT = """
import sys
from pathlib import Path
from accompany.cli import main
assert main(sys.argv[1:]) == 0
names = [name for name in sys.modules if name.split(".")[0] == "accompany"]
lines = {name: len(Path(sys.modules[name].__file__).read_text().splitlines()) for name in names}
import json
print(json.dumps({name: n for name, n in lines.items() if n > 1}))
"""


def parser_of(command: str):
    return next(action for action in build_parser([command])._actions if action.choices).choices[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_only_the_file_of_a_command_is_imported(command):
    code = (
        f"import sys; from accompany.commands.parser import COMMANDS, build_parser; build_parser(['{command}'])\n"
        "loaded = {n.rpartition('.')[2] for n in sys.modules if n.startswith('accompany.commands.')}\n"
        f"assert loaded & set(COMMANDS.values()) == {{COMMANDS['{command}']}}, loaded"
    )
    if command in ("generate", "retake", "recipe"):  # one process each would take long; these three have most to import
        subprocess.run([sys.executable, "-c", code], check=True)
    assert command in next(action for action in build_parser([command])._actions if action.choices).choices


def test_the_way_of_one_generate_is_short(tmp_path):
    pytest.importorskip("transformers")
    audio.write(tmp_path / "voice.wav", sing(1.0, 16000), 16000)
    command = ["generate", str(tmp_path / "voice.wav"), "-p", "warm piano", "-o", str(tmp_path / "band.wav")]
    done = subprocess.run([sys.executable, "-c", COUNT, *command], capture_output=True, text=True, check=True)
    lines = json.loads(done.stdout.splitlines()[-1])
    assert len(lines) <= MOST_FILES and sum(lines.values()) <= MOST_LINES, sorted(lines)
    unneeded = (
        "originals",
        "pickles",
        "hub",
        "mpeg",
        "dropping",
        "masked",
        "separation",
        "midi",
        "project",
        "prompts",
        "sections",
        "overrides",
        "saving",
        "writing",
        "losses",
        "batch",
        "precision",
        "token_steps",
        "cache",
        "code_fitting",
        "chord_path",
        "given",
        "semantic_codes",
        "arrays",
        "clap_audio",
        "licenses",
        "job_values",
        "rates",
        "single_parts",
        "llambada",
        "ffmpeg",
        "ogg",
        "published",
    )
    assert not [name for name in lines if name.endswith(tuple(f".{each}" for each in unneeded))]
    model, band, hint = [line for line in done.stderr.splitlines() if "%|" not in line]
    assert model.startswith("tiny: ") and " MB" in model and "Apache-2.0" in model
    assert band.startswith(f"{tmp_path / 'band.wav'}: 1.0 s in ") and "beats a minute" in band and "% sure" in band
    assert hint.startswith("Next: ")


def test_the_options_of_python_are_the_fields_of_the_settings():
    assert {*CONTROLS, "plan"} == {field.name for field in fields(Settings)}
    assert {"prompt", *Options.__annotations__} == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_range_is_the_same_at_every_door(name):
    control = CONTROLS[name]
    option = next(action for action in parser_of("generate")._actions if action.dest == name)
    assert (option.type.low, option.type.high) == (control.low, control.high)
    assert control.help in option.help
    needed = {"like": (1.0,)} if name == "like_strength" else {}
    with pytest.raises(InputError) as refused:
        Settings(**{name: control.high + 1}, **needed)
    with pytest.raises(Exception) as typed:
        option.type(str(control.high + 1))
    assert str(refused.value) == str(typed.value)


def test_the_http_schema_follows_the_controls():
    pytest.importorskip("fastapi")
    from accompany.serve.schemas import TakeRequest
    from accompany.serve.work import REQUESTED

    properties = TakeRequest.model_json_schema()["properties"]
    assert set(properties) == {*REQUESTED, "takes"}
    for name in REQUESTED:
        assert properties[name]["description"] == CONTROLS[name].help
        assert properties[name].get("maximum") == CONTROLS[name].high


def test_several_takes_read_and_analyze_the_vocal_once(band, vocal_path, monkeypatch):
    calls: list[str] = []

    def counted(module: typing.Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: (calls.append(name), real(*a, **k))[1])

    alone = {seed: band.generate(vocal_path, "jazz", seed=seed).samples for seed in (5, 6, 7)}
    counted(pipeline, "extract_features")
    counted(pipeline, "make_plan")
    counted(audio, "read_mono")
    takes = band.takes(vocal_path, "jazz", 3, seed=5, reading=1)
    assert sorted(calls) == ["extract_features", "make_plan", "read_mono"]
    assert sorted(take.seed for take in takes) == [5, 6, 7] and all(take.scores for take in takes)
    for take in takes:
        np.testing.assert_array_equal(take.samples, alone[take.seed])


@pytest.mark.parametrize(("offset", "is_said"), [(0.006, False), (0.05, True)])
def test_a_constant_offset_is_removed_and_said_where_it_matters(offset, is_said, caplog):
    voice = 0.1 * sing(2.0, 16000) / np.abs(sing(2.0, 16000)).max()
    read = read_vocal((voice + np.float32(offset), 16000), 16000)
    assert abs(float(read.mean())) < 0.001
    assert ("constant offset" in caplog.text) == is_said


def test_an_unknown_command_is_named(capsys):
    assert main(["generat"]) == 2
    assert "'generat'" in capsys.readouterr().err
