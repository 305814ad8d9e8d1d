"""A walk over every option and argument of every command, with values that nobody means.

Each command runs in earnest until its work would begin: until then a value is refused by one sentence and exit code 2,
with nothing written, or it is among those of `RIGHT`, of which a person looked at each.
"""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import soundfile
from conftest import sing

pytest.importorskip("sklearn")
pytest.importorskip("librosa")
pytest.importorskip("lightning")
pytest.importorskip("demucs")
pytest.importorskip("fastapi")
pytest.importorskip("mido")
from small_parts import write_songs

from accompany.cli import main
from accompany.commands.parser import build_parser
from accompany.commands.settings_file import TakeRecipe
from accompany.commands.values import Number, Whole
from accompany.common.config import write_json
from accompany.data.tokens.tokenize import tokenize
from accompany.generation.project import Project
from accompany.music.sung_notes import SungNote
from accompany.sound.midi import write_midi

NUMBERS = {
    "nan": "nan",
    "inf": "inf",
    "minus": "-1",
    "half": "0.5",
    "huge": "99999999999",
    "digits": "9" * 400,
    "empty": "",
    "lines": "1\n2",
    "time": "0:60",
    "unicode": "٣",
}
TEXTS = {
    "nan": "nan",
    "minus": "-1",
    "empty": "",
    "blank": "  ",
    "nul": "a\0b",
    "long": "x" * 300,
    "lines": "a\nb",
    "time": "0:60",
    "url": "nosuch://x",
    "web": "https://example.invalid/x",
    "unicode": "日本語🎹",
    "no_utf8": "caf\udce9",
    "deep": "deep.json",
    "json": '{"a": [1',
    "equals": "=",
    "dots": "../..",
    "option": "--nosuch",
    "folder": "folder",
    "missing": "none.wav",
    "junk": "file",
    "device": "/dev/null",
    "kernel": "/proc/self/x",
    "home": "~nosuch/x",
}
PARSERS: dict[str, Any] = next(a for a in build_parser()._actions if a.choices and "generate" in a.choices).choices
LINES = {
    "generate": "generate song.wav --model model",
    "demo": "demo --no-page --out demo --model model",
    "analyse": "analyse song.wav --no-picture --model model",
    "retake": "retake p --from 0.25 --to 0.75",
    "vary": "vary p --strength 0.5",
    "extend": "extend p --after 1",
    "undo": "undo p",
    "takes": "takes p",
    "remake": "remake song.settings.json",
    "synth": "synth songs_made --songs 1",
    "prepare": "prepare songs pairs_made --clap none",
    "tokenize": "tokenize pairs tokens_made --melody-only",
    "train": "train listener tokens=tokens run_dir=run_made device=cpu",
    "tune": "tune model=model tokens=tokens run_dir=run_made",
    "export": "export run model_made --from model",
    "bundle": "bundle model_made --from model",
    "push": "push model me/mine",
    "import": "import llambada folder model_made",
    "evaluate": "evaluate pairs --report report_made --seconds 4 --model model",
    "recipe": "recipe tiny --work work",
    "bench": "bench --lengths 1 --model model",
    "serve": "serve --port 0 --model model",
}
"""A line of each command that is right."""
NEEDED = {
    "like_strength": "--like song.wav",
    "melody_track": "--melody song.mid",
    "generate separator": "--separate",
    "bench separator": "--separation songs",
    "only": "--study controls",
    "codec": "--coding song.wav",
}
"""What an option goes with."""


RIGHT = """
generate demo retake vary extend: prompt = PROMPTS
generate demo retake vary extend synth tokenize evaluate: seed = huge
generate retake vary extend: temperature guidance follow = half unicode
generate retake vary extend: like_strength = half
generate: level_db balance lora_scale = half minus unicode
generate: compress reverb = half
generate: peak = minus
generate: eq = blank empty
generate remake: out = dots folder missing
generate: project = NEW option
analyse: out = deep
vary: strength = half
retake: first = half
retake: last = half unicode
extend: before after = half unicode
synth: out_dir voices = NEW dots
synth: voices = option
prepare: pairs_dir = NEW dots
prepare: songs_dir = dots
prepare: segment = unicode
prepare: min_voiced = half
tokenize: tokens_dir = NEW dots
tokenize: pairs_dir = dots
tokenize: val_share = half
prepare tokenize train: ray = NAMES
export bundle import: out_dir = NEW
export bundle: name = LINES
bundle: license = LINES
push: data = PROMPTS time
push: card = deep device
bundle: card = deep
import: checkpoint_dir = dots folder
demo: out = NEW dots option
evaluate: report = NEW dots option
evaluate: save_clips = NEW option
evaluate: songs = dots folder
evaluate: only = NAMES
evaluate: seconds = unicode
recipe: work = NEW dots option
recipe: scale = half unicode
bench: lengths = half unicode
bench: coding = deep dots junk
serve: max_mb max_minutes job_minutes keep_minutes = half unicode
serve: token = deep device empty home kernel missing option url web
"""
"""Commands, their arguments, and the values that are right; each was looked at, and of all others there are none.

An address of a cluster, a folder without songs or checkpoints and a row of a study are seen when the work begins.
"""
SETS = {
    "PROMPTS": TEXTS.keys() - {"time"},
    "NAMES": TEXTS.keys() - {"empty", "blank", "nul", "long"},
    "LINES": TEXTS.keys() - {"empty", "blank", "nul", "long", "lines", "no_utf8"},
    "NEW": {"equals", "folder", "home", "json", "lines", "minus", "missing", "nan", "no_utf8", "time", "unicode"},
}
"""Sets of values; NEW are the names of folders that can be made, however odd."""


def right_of(command: str, argument: str) -> set[str]:
    found: set[str] = set()
    for line in RIGHT.strip().splitlines():
        commands, arguments, values = (part.split() for part in re.split(": | = ", line))
        if command in commands and argument in arguments:
            found.update(*(SETS.get(value, {value}) for value in values))
    return found


class Begun(BaseException):
    """The work would begin."""


def begin(*_: Any, **__: Any) -> NoReturn:
    raise Begun


BORDERS = (
    "accompany.models.pretrained.load_bundle",
    "accompany.training.tune.load_bundle",
    "accompany.data.songs.write.sung_sample",
    "accompany.data.songs.write._make_all",
    "accompany.data.songs.write.make_bank",
    "accompany.data.prepare.pair_making.PairMaker.make",
    "accompany.data.tokens.tokenize.run_stages",
    "accompany.data.cluster.connect",
    "accompany.training.cluster.connect",
    "accompany.training.train._fit",
    "accompany.training.export.export",
    "accompany.models.writing._fill",
    "accompany.models.publishing.upload",
    "accompany.models.importing.llambada._convert",
    "accompany.evaluation.report.play",
    "accompany.evaluation.coding.measure_coding",
)


@pytest.fixture(scope="module")
def prepared(band, random_bundle_dir, tmp_path_factory) -> Path:
    """What the lines name: a recording, a project, a settings file, MIDI, songs, pairs, tokens, a run, a model."""
    root = tmp_path_factory.mktemp("walk")
    soundfile.write(root / "song.wav", sing(1.0, 24000), 24000)
    write_songs(root / "pairs", 2, seconds=4.0)
    tokenize(root / "pairs", root / "tokens", str(random_bundle_dir), val_share=0.5, progress=False)
    (root / "songs").mkdir()
    soundfile.write(root / "songs" / "song.flac", np.tile(sing(4.0, 8000)[:, None], 2), 8000)
    take = band.generate(root / "song.wav")
    project = Project.create(root / "p", root / "song.wav", str(random_bundle_dir))
    project.add(take)
    project.add(take, "0001")
    project.write_files()
    TakeRecipe.of(take, band, root / "song.wav", str(random_bundle_dir)).save(root / "song.settings.json")
    write_midi(root / "song.mid", take.plan, 1.0, (SungNote(0.1, 0.5, 60.0, 1.0), SungNote(0.5, 0.9, 62.0, 1.0)))
    (root / "model").symlink_to(random_bundle_dir)
    (root / "run").mkdir()
    write_json(root / "run" / "run.json", {"task": "listener", "config": {}})
    (root / "file").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe" + bytes(50))
    (root / "deep.json").write_text("[" * 100_000)
    (root / "folder").mkdir()
    return root


@pytest.fixture
def here(prepared, tmp_path, monkeypatch) -> Callable[[], None]:
    """Makes the folder that the lines run in anew."""
    folder = tmp_path / "of" / "its" / "own" / "here"  # for ../.. must not lead to what other tests left
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "none that is one")
    monkeypatch.setattr("accompany.models.publishing.create", lambda *_, **__: "address")
    for border in BORDERS:
        monkeypatch.setattr(border, begin)
    monkeypatch.setattr("accompany.commands.recipe.run_recipe.__defaults__", (begin,))
    monkeypatch.setattr(socket, "getaddrinfo", partial(without_network, socket.getaddrinfo))

    as_made: dict[str, int] | None = None

    def fresh() -> None:
        nonlocal as_made
        if files() == as_made:
            return
        for path in Path().iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(prepared, Path(), symlinks=True, dirs_exist_ok=True)
        as_made = files()

    fresh()
    return fresh


def without_network(real: Any, host: Any, *args: Any, **options: Any) -> Any:
    if host in ("127.0.0.1", "localhost", "0.0.0.0", "::"):
        return real(host, *args, **options)
    raise socket.gaierror(-2, "Name or service not known")


def files() -> dict[str, int]:
    """All files and folders here, links not followed, with the time of their last change."""
    return {str(path): path.lstat().st_mtime_ns for path in Path().rglob("*")}


def words_of(command: str, action: Any, value: str) -> list[str]:
    """The line of a command with a value in the place of an argument or option."""
    name, *rest = LINES[command].split()
    fixed = [each.dest for each in PARSERS[command]._actions if not each.option_strings and each.nargs != "*"]
    if action.dest in fixed:
        rest[fixed.index(action.dest)] = value
        return [name, *rest]
    if not action.option_strings:
        return [name, *rest[: len(fixed)], value, *rest[len(fixed) :]]
    if action.dest == "bars":
        return ["retake", "p", "--bars", value, value]
    if (command, action.dest) == ("tokenize", "model"):
        rest.remove("--melody-only")
    needed = NEEDED.get(f"{command} {action.dest}", NEEDED.get(action.dest, ""))
    return [name, *rest, *needed.split(), f"{action.option_strings[-1]}={value}"]


def outcome(words: list[str], capsys: Any) -> str:
    """How a line ended: "refused", "right", or what is wrong with it."""
    before = files()
    try:
        code = main(words)
    except Begun:
        code = 0
    out, err = capsys.readouterr()
    if code == 0:
        return "right"
    *said, last = re.sub(r"\r.*it/s]|\r.*song/s]", "", err).splitlines()
    if code != 2 or "Traceback" in err:
        return f"ends with code {code}: {err[-500:]}"
    if [line for line in said if line and not line.startswith("1 songs, 0 of them")]:
        return f"says more than a sentence: {err[-600:]!r}"
    if not (last.startswith("accompany: ") and last[-1] in ".?" and len(last) < 450 + max(map(len, words))):
        return f"says no sentence: {err[-600:]!r}"
    if out or files() != before:
        return f"leaves {sorted(files().items() ^ before.items())[:4]} {out!r}"
    return "refused"


ARGUMENTS = [
    pytest.param(command, action, id=f"{command} {action.dest}")
    for command in LINES
    for action in PARSERS[command]._actions
    if action.nargs != 0
]


@pytest.mark.parametrize(("command", "action"), ARGUMENTS)
def test_each_value_is_refused_in_a_sentence_or_is_right(command, action, here, capsys, monkeypatch):
    separator = SimpleNamespace(sample_rate=44100)
    if command == "prepare" and action.dest != "separator":  # whose networks take half a second to load
        monkeypatch.setattr("accompany.data.prepare.prepare.VocalSeparator", lambda *_: separator)
    values = NUMBERS if isinstance(action.type, (Number, Whole)) else TEXTS
    right, wrong = set(), {}
    for name, value in values.items():
        found = outcome(words_of(command, action, value), capsys)
        if found == "right":
            right.add(name)
        elif found != "refused":
            wrong[name] = found
        if found != "refused":
            here()
    assert wrong == {} and right == right_of(command, action.dest)


def test_the_lines_are_right(here, capsys):
    assert set(PARSERS) == {*LINES, "completion", "models", "doctor"}  # which take none but their choices
    found = {}
    for line in LINES.values():
        found[line] = outcome(line.split(), capsys)
        here()
    assert {line: how for line, how in found.items() if how != "right"} == {}
