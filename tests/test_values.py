"""Values that cannot be: every option of every command, the API's options, and files that people send each other.

Each is refused in one sentence, before any work, or is taken as it was meant.
"""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import sing

import accompany
from accompany import audio
from accompany.cli import main
from accompany.commands.job_values import FolderOrUrl
from accompany.commands.parser import build_parser
from accompany.commands.settings_file import FORMAT as SETTINGS_FORMAT
from accompany.commands.settings_file import TakeRecipe
from accompany.commands.values import Name, Number, Place, Whole
from accompany.data.storage import Store
from accompany.errors import InputError
from accompany.generation.analysis import FORMAT, Analysis
from accompany.generation.edits import region_samples
from accompany.generation.prompts import read_cues
from accompany.generation.settings import Settings
from accompany.music.plan import control_track
from accompany.sound.options import Sound

PARSER = build_parser()
PARSERS = next(a for a in PARSER._actions if a.choices and "generate" in a.choices).choices
FREE = {"prompt", "key", "chords", "taps", "mute", "eq", "start", "token", "data", "overrides", "set"}
"""Lines of text: what they may say is checked where they are read."""
NO_NUMBERS = ("nan", "inf", "-inf", "1e999", str(10**30), "1e30", "", " ", "x", "1_0", "0x10", "\0", "one", "9" * 300)
NO_NAMES = ("", "  ", "a\0b", "x" * 300, f"folder/{'ß' * 150}", "x/" * 3000)


def values(kind: type | tuple[type, ...]) -> list[Any]:
    """(command, action) of every argument of a type."""
    return [
        pytest.param(action, id=f"{command} {action.dest}")
        for command, parser in PARSERS.items()
        for action in parser._actions
        if isinstance(action.type, kind)
    ]


def sentence(action: Any, text: str) -> str:
    """What the parser says to a value."""
    with pytest.raises(InputError) as refused:
        parser = next(each for each in PARSERS.values() if action in each._actions)
        try:
            parser._get_value(action, text)
        except Exception as error:  # as argparse itself tells it
            parser.error(f"argument {action.dest}: {error}")
    said = str(refused.value)
    assert "\n" not in said and len(said) < 400 and said.endswith(".")
    return said


def test_every_value_has_a_type_that_knows_what_is_allowed():
    for command, parser in PARSERS.items():
        for action in parser._actions:
            if action.nargs != 0 and not action.choices and action.dest not in FREE:
                assert isinstance(action.type, (Number, Whole, Name)), f"{command} {action.dest}"


@pytest.mark.parametrize("action", values((Number, Whole)))
def test_what_is_no_number_in_range_is_refused(action):
    kind = action.type
    step = 1 if isinstance(kind, Whole) else 0.001
    for text in (*NO_NUMBERS, str(kind.low - step), str(kind.high + step)):
        assert kind.name in sentence(action, text)
    if isinstance(kind, Whole):
        assert "must be a whole number" in sentence(action, "1.5")
    low, high = (kind.low, kind.high) if not getattr(kind, "above", False) else (kind.high / 2, kind.high)
    high = high if not getattr(kind, "below", False) else 0.5
    assert (kind(str(low)), kind(str(high))) == (low, high)


@pytest.mark.parametrize("action", values(Name))
def test_what_is_no_name_is_refused(action, tmp_path, monkeypatch):
    kind = action.type
    for text in NO_NAMES:
        assert kind.name in sentence(action, text)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kind("~/x") == os.path.expanduser("~/x") == str(tmp_path / "x")
    if isinstance(kind, Place):
        assert "is a URL" in sentence(action, "nosuch://bucket/x")
    if isinstance(kind, FolderOrUrl):
        assert "no place to write" in sentence(action, "https://example.org/x") and kind("s3://bucket/x")
    if isinstance(kind, FolderOrUrl) or getattr(kind, "folder", False):
        (tmp_path / "file").touch()
        assert "is a file" in sentence(action, str(tmp_path / "file"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with three seconds of singing; no model is loaded in it."""
    monkeypatch.chdir(tmp_path)
    audio.write("song.wav", sing(3.0, 8000), 8000)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "latin.txt").write_bytes(b"0.5 1\xe9")

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded before its input was checked")

    monkeypatch.setattr(accompany, "load", load)
    return tmp_path


LINES = {
    "generate song.wav -o=": "output is empty",
    "generate song.wav --project=": "project is empty",
    "generate song.wav --project file": "is a file",
    "generate song.wav --project nosuch://p": "is a URL",
    "generate song.wav -o nosuch://b/x.wav": "is a URL",
    "generate song.wav -o file/x.wav": "is a file",
    "generate song.wav --key=": "must be a key",
    "generate song.wav --chords=": "chords are empty",
    "generate song.wav --chords nan": "nan",
    "generate song.wav --chords no.json": "no.json",
    "generate song.wav --chords deep.json": "deep.json",
    "generate song.wav --chords folder.json": "folder.json",
    "generate song.wav --taps=": "taps",
    "generate song.wav --taps 0.5,nan": "taps",
    "generate song.wav --taps 0.5,inf": "taps",
    "generate song.wav --taps 1,0.5": "taps",
    "generate song.wav --taps -1,0.5": "taps",
    "generate song.wav --taps 0:30,1:00": "taps",
    "generate song.wav --taps latin.txt": "latin.txt",
    "generate song.wav --taps 0.5,1,99": "tempo of the taps",
    "generate song.wav --taps 50,50.5": "tap at 50.5 s lies beyond the end of song.wav (3.00 s)",
    "generate song.wav -p 99:_drums": "cue at 99 s lies beyond the end of song.wav (3.00 s)",
    "generate song.wav -p 0:60:_drums": "'0:60: drums' must begin with a time",
    "generate song.wav -p 0:60_drums": "must begin with a time",
    "generate song.wav -p=-4:_drums": "must begin with a time",
    "generate song.wav -p nan:_drums": "must begin with a time",
    "generate song.wav -p 0:_piano;1:02:03:_drums": "must begin with a time",
    "generate song.wav --start nan": "start_s nan",
    "generate song.wav --start=": "must be seconds",
    "generate none.wav --start vocal": "none.wav",
    "generate folder --start vocal": "folder",
    "generate song.wav --eq x": "filter 'x'",
    "generate song.wav --eq 80:nan": "filter '80:nan'",
    "generate song.wav --eq 80:99": "filter '80:99'",
    "generate song.wav --seed 9223372036854775807 --takes 2": "leaves no seeds",
    "generate song.wav --bits 12": "bits 12",
    "generate song.wav --like none.wav": "none.wav",
    "generate song.wav --like-strength 0.5": "like_strength",
    "generate song.wav --separator tiny": "--separate",
    "analyse song.wav -o x.txt": ".json",
    "analyse song.wav -o no/x.json": "no/x.json",
    "analyse song.wav -o song.json/x.json": "song.json/x.json",
    "analyse song.wav --taps 50,50.5": "beyond the end",
    "retake folder --from 1 --to 2": "no project",
    "retake folder --bars 2": "--bars",
    "extend folder": "nothing to add",
    "takes folder --choose=": "take is empty",
    "remake deep.json": "deep.json",
    "remake folder": "folder",
    "synth nosuch://songs --songs 1": "is a URL",
    "synth file --songs 1": "is a file",
    "prepare nosuch://songs pairs": "is a URL",
    "prepare folder file": "is a file",
    "tokenize folder folder/ --melody-only": "holds the pairs themselves",
    "tokenize folder out --val-share 1": "share 1",
    "tokenize folder out --device abacus": "abacus",
    "train semantic --config=": "config is empty",
    "bundle out semantic": "write part=DIR",
    "bundle out semantic=": "write part=DIR",
    "bundle out =folder": "write part=DIR",
    "bundle out semantic=folder semantic=folder": "given twice",
    "bundle out semantic=folder": "no config.json",
    "bundle out --from tiny --card none.md": "none.md",
    "import llambada none out": "none",
    "import llambada folder /proc/self/x": "/proc/self",
    "import llambada folder /dev/null": "is a file",
    "tokenize folder out": "folder",
    "bundle /proc/self/x --from tiny": "/proc/self",
    "evaluate folder --report=": "folder is empty",
    "evaluate folder --report file": "is a file",
    "evaluate folder --report r --only nosuch": "--study",
    "evaluate folder --report r --study length --only nosuch": "no rows to choose",
    "evaluate folder --report /proc/self/r": "/proc/self",
    "recipe tiny --steps nosuch --dry-run": "nosuch",
    "recipe nosuch": "nosuch",
    "recipe tiny --scale inf --dry-run": "scale inf",
    "serve --max-mb inf": "--max-mb inf must be above 0 and at most 1e+06 MB",
    "serve --port 65536": "port 65536",
    "serve --token short": "token",
    "serve --host=": "host is empty",
}


@pytest.mark.parametrize("line", LINES)
def test_wrong_lines_end_in_a_sentence_before_any_work(line, here, capsys):
    words = [word.replace("_", " ") if word.endswith("_drums") else word for word in line.split()]
    before = sorted(here.rglob("*"))
    code, (stdout, stderr) = main(words), capsys.readouterr()
    assert code == 2 and stdout == "", stderr
    assert stderr.startswith("accompany: ") and stderr.count("\n") == 1 and LINES[line] in stderr
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_taps_are_read_as_any_shell_writes_them(encoding, tmp_path):
    from accompany.commands.given_files import read_taps

    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "taps.txt").write_bytes((mark + "0.5\r\n1.0, 1.5\r\n").encode(encoding))
    assert read_taps(str(tmp_path / "taps.txt")) == (0.5, 1.0, 1.5)
    many = tuple(0.5 * n for n in range(400))
    assert read_taps(" ".join(map(str, many))) == many


HUGE = 10**400
WRONG_SETTINGS = [
    *({"seed": value} for value in (-1, 2**63, 1.5, True, "1", None, math.nan, HUGE, 10**5000)),
    *(
        {name: value}
        for name in ("bpm", "temperature", "guidance", "level_db", "follow")
        for value in (math.nan, math.inf, -math.inf, -1000, 1e30, HUGE, "90", True, [90])
    ),
    *({"key": value} for value in ("", "H", "C:maj\0", "x" * 300, 5)),
    *({"chords": value} for value in ("", "C | nosuch", "\0", 5, ["C"])),
    *({"taps": value} for value in ((), (1,), (0, math.nan), (0, math.inf), (1, 0), (-1, 1), "0 1", 5, (0, HUGE))),
    *({"like": value} for value in ((), (math.nan,), "song.wav", 5)),
    *({"prompt": value} for value in (None, 5, b"piano", "0:60: piano", "inf: piano", "9" * 1999 + ":")),
    {"like_strength": 0.5},
    {"level_db": None},
]


@pytest.mark.parametrize("given", WRONG_SETTINGS, ids=lambda given: next(iter(given)))
def test_settings_refuse_what_cannot_be(given):
    with pytest.raises(InputError) as refused:
        Settings(**given)
    assert len(str(refused.value)) < 400


def test_numbers_of_numpy_are_numbers():
    given = Settings(seed=np.int64(3), bpm=np.float32(90), taps=None)
    assert json.loads(json.dumps(given.as_dict())) == {"prompt": "", "seed": 3, "bpm": 90.0}


@pytest.mark.parametrize(
    "given",
    [
        *(
            {name: value}
            for name in ("loudness_lufs", "peak_dbtp", "balance_db", "compression", "reverb", "sample_rate", "start_s")
            for value in (math.nan, math.inf, -1e30, HUGE, "1", True, [1])
        ),
        *({"bits": value} for value in (0, 20, math.nan, "16", [16])),
        *({"eq": value} for value in (None, 5, "x", "80", "80:nan", "1e3:3", "0:3", f"{'9' * 400}:3")),
        {"sample_rate": 44100.5},
    ],
    ids=lambda given: next(iter(given)),
)
def test_sound_refuses_what_cannot_be(given):
    with pytest.raises(InputError):
        Sound(**given)


@pytest.mark.parametrize(
    ("prompt", "starts"),
    [
        ("4:4 rock beat", [0]),
        ("12:8 blues shuffle", [0]),
        ("80s: synth pop", [0]),
        ("0: piano; 1:05: drums", [0, 65]),
        ("12.5: drums", [12.5]),
        ("120 bpm: fast", [0]),
    ],
)
def test_meters_and_years_are_no_times(prompt, starts):
    assert [cue.start_s for cue in read_cues(prompt)] == starts


@pytest.mark.parametrize("edges", [(math.nan, 2), (1, math.nan), (1, math.inf), (-1, 2), (2, 1), (1, 1), (9, 10)])
def test_a_region_lies_inside_of_its_song(edges):
    with pytest.raises(InputError, match="region"):
        region_samples(*edges, 48000, 8000)


ANALYSIS: dict[str, Any] = {
    "format": FORMAT,
    "seconds": 4.0,
    "tempo": {"bpm": 120.0, "beats_per_bar": 4, "confidence": 0.9, "locked": True},
    "beats": {"times": [0.0, 0.5, 1.0, 1.5, 2.0], "downbeats": [0.0, 2.0], "confidence": 0.8, "locked": True},
    "key": {"name": "C:maj", "confidence": None, "locked": True},
    "chords": [{"start": 0.0, "end": 4.0, "chord": "C:maj", "locked": True}],
    "chord_confidence": 0.9,
    "sections": [{"start": 0.0, "end": 4.0, "name": "verse"}],
    "notes": [[0.5, 1.0, 60.12, 0.9], [1.0, 1.75, 62.0, 1.0]],
    "reading": 1,
    "readings": [{"name": "the likeliest", "tempo_bpm": 120.0, "key": "C:maj", "probability": 0.5}],
}
PLAN = {"beats_s": [0.0, 0.5, 1.0], "downbeats_s": [0.0], "chords": [[0.0, 2.0, "C:maj"]], "key": "A:min"}
RECIPE: dict[str, Any] = {
    "format": SETTINGS_FORMAT,
    "vocals": {"path": "song.wav", "sha256": "0" * 64},
    "model": {"name": "tiny", "sha256": "0" * 64, "precision": "auto"},
    "settings": {"prompt": "piano", "seed": 1, "plan": PLAN},
    "edits": [{"kind": "retake", "arguments": {"from_s": 1.0, "to_s": 2.0}, "settings": {"prompt": "", "seed": 2}}],
    "sound": {"bits": 16},
}


def changed(content: Any, path: str, value: Any) -> Any:
    """A copy with the value at `a.b.0` put in place."""
    made = copy.deepcopy(content)
    *keys, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    inner = made
    for key in keys:
        inner = inner[key]
    inner[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seconds", -1), ("seconds", math.nan), ("seconds", HUGE), ("seconds", None), ("tempo.bpm", math.inf),
        ("tempo.bpm", 0), ("tempo.bpm", 1e30), ("tempo.beats_per_bar", 0), ("tempo.beats_per_bar", 10**30),
        ("tempo.beats_per_bar", math.nan), ("beats.times", [0.0, math.nan]), ("beats.times", [0.0, 1e-9, 1.0]),
        ("beats.times", [1.0, 0.5]), ("beats.times", [0.5]), ("beats.times", "0 1"), ("beats.times", []),
        ("beats.downbeats", [0, 1e300]), ("beats.confidence", "sure"), ("beats.locked", "no"), ("key.name", "H"),
        ("key.name", 5), ("chords", 5), ("chords.0.end", 0.0), ("chords.0.end", math.nan), ("chords.0.chord", "H"),
        ("chords.0", []), ("sections.0.end", -1), ("sections", [5]), ("chord_confidence", [1]), ("tempo", []),
        ("reading", 2), ("reading", "1"), ("readings", 5), ("readings.0", {}), ("readings.0.probability", 2),
        ("readings.0.tempo_bpm", -1), ("readings.0.key", 5), ("readings.0.name", None), ("key.confidence", "high"),
        ("notes", 5), ("notes", None), ("notes.0", 5), ("notes.0", [0, 1]), ("notes.0", [0, 2, 60, 1]),
        ("notes.1.2", HUGE), ("notes.1.1", math.nan), ("notes.0.0", "x"),
    ],
)  # fmt: skip
def test_a_chord_file_that_cannot_be_played_is_refused(path, value, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(changed(ANALYSIS, path, value)))
    with pytest.raises(InputError, match=r"a\.json"):
        Analysis.load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("vocals", []), ("vocals.path", 5), ("vocals.path", None), ("model.name", {}), ("settings", []),
        ("settings.seed", -1), ("settings.seed", "x"), ("settings.nosuch", 1), ("settings.bpm", "fast"),
        ("settings.plan", 5), ("settings.plan.beats_s", [0, 1e-9]), ("settings.plan.beats_per_bar", "4"),
        ("settings.plan.chords", [[0, 1]]), ("settings.plan.key", "H"), ("settings.plan.nosuch", 1),
        ("edits", {"a": 1}), ("edits.0.settings.melody", [[1, 0, 60]]), ("edits.0.settings.melody", 5),
        ("edits.0.arguments", []), ("edits.0.arguments.to_s", "end"), ("edits.0.settings", 5), ("sound", []),
        ("sound.bits", 20), ("sound.nosuch", 1), ("sound.eq", 5),
    ],
)  # fmt: skip
def test_a_settings_file_that_cannot_be_made_again_is_refused(path, value, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(changed(RECIPE, path, value)))
    with pytest.raises(InputError, match=r"s\.json"):
        TakeRecipe.load(tmp_path / "s.json")


def test_a_settings_file_of_a_vocal_that_cannot_be_is_refused(tmp_path):
    for path in ("a\0b.wav", "x" * 300, "none.wav", "."):
        (tmp_path / "s.json").write_text(json.dumps(changed(RECIPE, "vocals.path", path)))
        with pytest.raises(InputError, match="Cannot read"):
            TakeRecipe.load(tmp_path / "s.json").check_vocal()


@pytest.mark.parametrize(
    ("part", "folder"), [("semantic", "listener"), ("codec", "semantic"), ("acoustic", "semantic")]
)
def test_a_part_of_another_kind_is_no_part(part, folder, random_bundle_dir, tmp_path, capsys):
    words = ["bundle", str(tmp_path / "out"), "--from", str(random_bundle_dir), f"{part}={random_bundle_dir / folder}"]
    assert main(words) == 2 and "is no part of this kind" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_row_that_is_none_is_found_before_anything_is_played():
    pytest.importorskip("librosa")
    from accompany.evaluation.studies.controls import control

    clip = SimpleNamespace(prompt="piano", beats_s=(), key="")
    with pytest.raises(InputError, match="no row 'nosuch'"):
        control(SimpleNamespace(clips=[clip, clip], judge=None), ("nosuch",))


def test_a_url_of_an_unknown_kind_is_no_place():
    with pytest.raises(InputError, match="nosuch://bucket"):
        Store.at("nosuch://bucket/pairs")


def test_the_good_files_are_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ANALYSIS))
    assert Analysis.load(tmp_path / "a.json").as_dict() == ANALYSIS
    (tmp_path / "s.json").write_text(json.dumps(RECIPE))
    assert TakeRecipe.load(tmp_path / "s.json").settings.plan.key == "A:min"


def test_a_place_that_nobody_can_use_is_not_our_fault(monkeypatch, capsys, vocal_path, tmp_path):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/mnt/theirs/x.wav")

    monkeypatch.setattr(accompany, "load", refuse)
    assert main(["generate", str(vocal_path), "-o", str(tmp_path / "x.wav")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "/mnt/theirs/x.wav: Permission denied" in said[0]


hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis: pip install 'accompany[test]'")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

BOUNDED = settings(
    max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([*NO_NUMBERS, *NO_NAMES[:4], "-1", "0", "1", "tiny", "0:60", "a=b", "nosuch://x", "~", "."]),
    st.floats().map(str),
    st.integers().map(str),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["C:maj", HUGE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def command_lines(draw):
    command = draw(st.sampled_from(sorted(PARSERS)))
    options = [word for action in PARSERS[command]._actions for word in action.option_strings if word != "--help"]
    line = [command]
    for _ in range(draw(st.integers(0, 6))):
        name = draw(st.sampled_from([*options, ""]) if options else st.just(""))
        word = draw(WORDS)
        line += [f"{name}={word}"] if name.startswith("--") and draw(st.booleans()) else [name, word]
    return [word for word in line if word]


@BOUNDED
@given(command_lines())
def test_any_command_line_is_parsed_or_refused(line):
    try:
        PARSER.parse_known_args(line)
    except InputError as error:
        assert "\n" not in str(error).replace("\\n", "") or "\n" in " ".join(line)
    except SystemExit as end:
        assert end.code == 0  # -h and its abbreviations


def leaves(content: Any, path: str = "") -> list[str]:
    """The paths of everything in a file."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [name for key, value in pairs for name in (f"{path}{key}", *leaves(value, f"{path}{key}."))]


@BOUNDED
@given(st.sampled_from(leaves(ANALYSIS)), JSON)
def test_any_chord_file_is_playable_or_refused(tmp_path_factory, path, value):
    try:
        found = read(tmp_path_factory, Analysis.load, changed(ANALYSIS, path, value))
    except InputError:
        return
    control, _ = control_track(found.plan, 50, 25.0)
    assert control.isfinite().all()
    json.dumps(found.as_dict(), allow_nan=False)


@BOUNDED
@given(st.sampled_from(leaves(RECIPE)), JSON)
def test_any_settings_file_is_playable_or_refused(tmp_path_factory, path, value):
    try:
        found = read(tmp_path_factory, TakeRecipe.load, changed(RECIPE, path, value))
        found.check_vocal()
    except InputError:
        return
    raise AssertionError("there is no such vocal")


@BOUNDED
@given(st.dictionaries(st.sampled_from(sorted(Settings.__dataclass_fields__)), JSON, max_size=3))
def test_any_settings_are_settings_or_refused(values_):
    try:
        found = Settings.from_dict(values_)
    except InputError:
        return
    assert Settings.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found


def read(factory: Any, load: Any, content: Any) -> Any:
    """A file of this content, loaded."""
    path = factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    return load(Path(path))
