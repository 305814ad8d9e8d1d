"""Projects and settings files: plain files, undo, and takes that are made again bit by bit."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import sing

from accompany import InputError, audio
from accompany.cli import main
from accompany.commands.settings_file import TakeRecipe
from accompany.common.config import read_json, write_json
from accompany.generation import project as project_module
from accompany.generation.project import Project
from accompany.sound.options import Sound

RATE = 24000


@pytest.fixture
def vocal(tmp_path):
    path = tmp_path / "song.flac"
    audio.write(path, sing(3.0, 44100), 44100)
    return path


def test_a_project_keeps_takes_and_goes_back(band, vocal, tmp_path):
    project = Project.create(tmp_path / "p", vocal, "random")
    take = band.scored(band.generate(vocal, "warm piano", seed=4))
    assert project.add(take) == "0001"
    made = band.retake(project.take(), 1.0, 2.0)
    assert project.add(made, "0001") == "0002" and project.current == "0002"
    back = Project.open(tmp_path / "p")
    for name, one in (("0001", take), ("0002", made)):
        read = back.take(name)
        np.testing.assert_array_equal(read.samples, one.samples)
        np.testing.assert_array_equal(read.draft.codes, one.draft.codes)
        assert (read.plan, read.settings, read.edits, dict(read.scores)) == (
            one.plan, one.settings, one.edits, dict(one.scores))  # fmt: skip
        np.testing.assert_array_equal(read.vocals, one.vocals)
    np.testing.assert_array_equal(back.take().samples[:, 2 * RATE :], take.samples[:, 2 * RATE :])
    assert [(e.name, e.parent, e.kind) for e in back.entries()] == [
        ("0001", None, "generate"),
        ("0002", "0001", "retake"),
    ]
    assert back.undo() == "0001" and Project.open(tmp_path / "p").current == "0001"
    with pytest.raises(InputError, match="nothing to undo"):
        back.undo()
    np.testing.assert_array_equal(band.retake(back.take(), 1.0, 2.0).samples, made.samples)


def test_an_extended_take_comes_back_with_its_rests(band, vocal, tmp_path):
    project = Project.create(tmp_path / "p", vocal, "random")
    made = band.extend(band.generate(vocal), before_s=1.0, after_s=0.5)
    project.add(made)
    read = project.take()
    np.testing.assert_array_equal(read.vocals, made.vocals)
    project.write_with(Sound(sample_rate=48000), ".flac", mix=True)
    files = project.write_files()
    assert [file.name for file in files] == ["song.accompaniment.flac", "song.mix.flac"]
    assert all(audio.info(file).n_samples == round(4.5 * 48000) for file in files)


def test_what_is_no_project_is_refused(vocal, tmp_path):
    with pytest.raises(InputError, match="no project"):
        Project.open(tmp_path)
    with pytest.raises(InputError, match="there already"):
        Project.create(tmp_path, vocal, "random")
    project = Project.create(tmp_path / "p", vocal, "random")
    with pytest.raises(InputError, match="no take yet"):
        project.take()
    for name in ("0009", "../../x"):
        with pytest.raises(InputError, match="no take"):
            project.choose(name)


def test_what_a_file_manager_copies_is_no_take(band, vocal, tmp_path):
    project = Project.create(tmp_path / "p", vocal, "random")
    project.add(band.generate(vocal))
    shutil.copytree(tmp_path / "p" / "takes" / "0001", tmp_path / "p" / "takes" / "0001 copy")
    assert [entry.name for entry in project.entries()] == ["0001"]
    assert project.add(band.generate(vocal, seed=1)) == "0002"


def test_files_broken_by_hand_are_one_sentence(band, vocal, tmp_path):
    project = Project.create(tmp_path / "p", vocal, "random")
    project.add(band.generate(vocal))
    content = read_json(tmp_path / "p" / "project.json")
    for wrong, says in (
        ({"sound": {"loud": 1}}, "loud"),
        ({"sound": {"bits": 7}}, "bits 7"),
        ({"sound": None}, "how files are written"),
    ):
        write_json(tmp_path / "p" / "project.json", {**content, **wrong})
        with pytest.raises(InputError, match=says):
            Project.open(tmp_path / "p").write_files()
    write_json(tmp_path / "p" / "project.json", {"format": content["format"]})
    with pytest.raises(InputError, match="lacks model, vocal, current"):
        Project.open(tmp_path / "p")
    (tmp_path / "p" / "takes" / "0001" / "draft.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"Take 0001 of .* cannot be read"):
        project.take()


def test_a_project_that_fails_leaves_nothing(vocal, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("accompany.generation.project.write_json", fail)
        for name in ("p", "empty"):
            with pytest.raises(KeyboardInterrupt):
                Project.create(tmp_path / name, vocal, "random")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "song.flac"]
    assert list((tmp_path / "empty").iterdir()) == []
    for name in ("p", "empty"):
        Project.create(tmp_path / name, vocal, "random", "int8")
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["project.json", "takes", "vocal.flac"]
        assert Project.open(tmp_path / name).precision == "int8"


def test_a_take_that_fails_leaves_nothing(band, vocal, tmp_path, monkeypatch):
    project = Project.create(tmp_path / "p", vocal, "random")
    take = band.generate(vocal)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("accompany.generation.project.write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        project.add(take)
    assert list((tmp_path / "p" / "takes").iterdir()) == [] and project.entries() == []


def test_a_settings_file_makes_the_same_files_again(band, vocal, tmp_path):
    take = band.generate(vocal, "warm piano; 1: rock drums", seed=8, bpm=90, chords="C G")
    take = band.vary(band.retake(take, 0.5, 1.5), 0.5)
    sound = Sound(loudness_lufs=-18, bits=16, sample_rate=44100, reverb=0.2)
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "song.settings.json"
    TakeRecipe.of(take, band, vocal, "random", sound).save(path)
    assert read_json(path)["vocals"]["path"] == "../song.flac"
    recipe = TakeRecipe.load(path)
    again = recipe.make(band)
    np.testing.assert_array_equal(again.samples, take.samples)
    for name, one in (("a.wav", take), ("b.wav", again)):
        one.save_mix(tmp_path / name, recipe.sound)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert audio.info(tmp_path / "a.wav").n_samples == 3 * 44100


def test_a_model_with_an_adapter_is_not_written_down_by_its_name(band, vocal, tmp_path):
    take = band.generate(vocal)
    adapted = type(band)(dataclasses.replace(band.bundle, adapted={"semantic"}))
    with pytest.raises(InputError, match="adapters"):
        TakeRecipe.of(take, adapted, vocal, "random")


def test_another_vocal_or_a_broken_file_is_refused(band, vocal, tmp_path):
    path = tmp_path / "s.json"
    TakeRecipe.of(band.generate(vocal), band, vocal, "random").save(path)
    recipe = TakeRecipe.load(path)
    audio.write(vocal, sing(3.0, 44100, 9), 44100)
    with pytest.raises(InputError, match="another recording"):
        recipe.make(band)
    content = read_json(path)
    for wrong in ({"format": "?"}, {"settings": {"seed": -1}}, {"edits": [{"kind": "x"}]}, {"sound": {"bits": 7}}):
        write_json(path, {**content, **wrong})
        with pytest.raises(InputError):
            TakeRecipe.load(path)


def test_a_project_whose_vocal_was_replaced_is_refused(sent):
    for seconds in (1.0, 2.0):
        audio.write(sent / "vocal.flac", sing(seconds, 44100, 9), 44100)
        with pytest.raises(InputError, match=r"vocal\.flac is another recording than the takes were made from"):
            Project.open(sent)
    content = read_json(sent / "project.json")
    del content["vocal_sha256"]  # as older versions wrote it
    write_json(sent / "project.json", content)
    with pytest.raises(InputError, match=r"Take 0002 .* differ in length"):
        Project.open(sent).take()


@pytest.mark.parametrize("seconds", [0.75, 1.5])
def test_a_take_of_another_vocal_is_refused(sent, seconds):
    audio.write(sent / "takes" / "0001" / "band.wav", sing(seconds, 24000), 24000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"Take 0001 .* differ in length"):
        Project.open(sent).take("0001")


@pytest.fixture(scope="module")
def two_takes(band, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent")
    vocal = folder / "song.flac"
    audio.write(vocal, sing(1.0, 44100), 44100)
    project = Project.create(folder / "p", vocal, "random")
    project.add(band.generate(vocal))
    project.add(band.generate(vocal, seed=1), "0001")
    project.write_files()
    return project.folder


@pytest.fixture
def sent(two_takes, tmp_path):
    """A project with two takes, as somebody may have sent it."""
    return Path(shutil.copytree(two_takes, tmp_path / "p"))


def change(path, **values):
    write_json(path, {**read_json(path), **values})


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


NAMES = ["../evil", "/tmp/evil", "a/../../evil", "..", ".", "", " ", "..\\evil", "C:\\evil", "C:evil", "\\\\host\\evil",
         "a\0b", "a\nb", "x" * 300, "\ud800", 7, None, ["evil"], {"a": 1}]  # fmt: skip


@pytest.mark.parametrize("field", ["name", "vocal"])
@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_the_folder_are_refused(name, field, vocal, tmp_path, capsys):
    folder = Project.create(tmp_path / "a" / "p", vocal, "random").folder
    content = {**read_json(folder / "project.json"), field: name}
    (folder / "project.json").write_text(json.dumps(content))
    before = files_of(tmp_path)
    assert main(["takes", str(folder), "--choose", "1"]) == 2
    error = capsys.readouterr().err
    assert f"'{field}' is" in error and error.count("\n") == 1 and len(error) < 400
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("project.json", "suffix", "/../../evil.wav"),
        ("project.json", "suffix", ".exe"),
        ("project.json", "suffix", ["a"]),
        ("project.json", "current", "../0001"),
        ("project.json", "current", 1),
        ("project.json", "current", "\u0663"),
        ("project.json", "mix", "no"),
        ("project.json", "model", 3),
        ("project.json", "sound", [1]),
        ("project.json", "sond", {}),
        ("take.json", "parent", "../.."),
        ("take.json", "parent", 1),
        ("take.json", "settings", {}),
        ("take.json", "settings", {"seed": "x", "prompt": ""}),
        ("take.json", "scores", {"beat": "x"}),
        ("take.json", "scores", [1]),
        ("take.json", "before_s", float("nan")),
        ("take.json", "before_s", -1),
        ("take.json", "before_s", 1e12),
        ("take.json", "gain", "loud"),
        ("take.json", "edits", {"a": 1}),
        ("take.json", "edits", [5]),
        ("take.json", "edits", [{"kind": "x", "arguments": 3, "settings": {}}]),
        ("take.json", "plan", {"beats_s": 3}),
        ("take.json", "plan", []),
        ("take.json", "wall_s", None),
    ],
)
def test_values_of_the_wrong_kind_are_one_sentence(file, field, value, sent, capsys):
    path = sent / file if file == "project.json" else sent / "takes" / "0002" / file
    path.write_text(json.dumps({**read_json(path), field: value}))
    with pytest.raises(InputError) as error:
        project = Project.open(sent)
        project.entries()
        project.take()
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("command", ["takes", "undo"])
@pytest.mark.parametrize("file", ["project.json", "take.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "5", "null", "[" * 100_000, '{"a":' * 50_000, "\xff"])
def test_broken_files_end_in_no_traceback(content, file, command, sent, capsys):
    path = sent / file if file == "project.json" else sent / "takes" / "0002" / file
    path.write_bytes(content.encode("latin-1"))
    assert main([command, str(sent)]) == 2
    assert str(path.name) in capsys.readouterr().err


@pytest.mark.parametrize("file", ["project.json", "take.json"])
def test_a_missing_field_is_named(file, sent):
    path = sent / file if file == "project.json" else sent / "takes" / "0002" / file
    content = read_json(path)
    for field in content.keys() - {"format", "precision", "written", "vocal_sha256"}:
        write_json(path, {name: value for name, value in content.items() if name != field})
        with pytest.raises(InputError, match=f"lacks {field};"):
            Project.open(sent).entries()
    write_json(path, content)
    assert Project.open(sent).current == "0002"


@pytest.mark.parametrize(
    "link", ["song.accompaniment.wav", "vocal.flac", "project.json", "takes", "takes/0001", "takes/0001/band.wav",
             "takes/0001/take.json", "takes/0001/draft.safetensors"]
)  # fmt: skip
def test_links_that_leave_the_folder_are_refused(link, sent, tmp_path, capsys):
    moved = tmp_path / "outside" / Path(link).name
    moved.parent.mkdir()
    (sent / link).rename(moved)
    (sent / link).symlink_to(moved)
    before = files_of(tmp_path / "outside")
    assert main(["takes", str(sent), "--choose", "0001"]) == 2
    assert "is a link or leads out of the project" in capsys.readouterr().err
    assert files_of(tmp_path / "outside") == before
    if link == "takes":  # the folder of a project itself may be anywhere
        moved.rename(sent / "moved")
        (sent / link).unlink()
        (sent / "moved").rename(sent / link)
        (tmp_path / "link").symlink_to(sent)
        assert Project.open(tmp_path / "link").write_files()


@pytest.mark.parametrize("stem", ["a\\b", "C:take", "line\nline", "x" * 240])
def test_odd_names_of_recordings_make_good_projects(stem, vocal, tmp_path):
    try:
        recording = vocal.rename(tmp_path / f"{stem}.flac")
    except OSError:
        pytest.skip("this file system has no such names")
    Project.create(tmp_path / "p", recording, "random")
    assert Project.open(tmp_path / "p").vocals.is_file()


def test_files_are_written_after_a_kill(sent):
    """A run was killed when the new take was current, and its files were not written yet."""
    first, second = ((sent / "takes" / name / "band.wav") for name in ("0001", "0002"))
    file = sent / "song.accompaniment.wav"
    assert not np.array_equal(audio.read(first).samples, audio.read(second).samples)
    change(sent / "project.json", current="0001")
    project = Project.open(sent)
    assert read_json(sent / "project.json")["written"] == "0001"
    np.testing.assert_allclose(audio.read(file).samples, audio.read(first).samples, atol=1e-6)
    before = file.stat().st_mtime_ns
    Project.open(sent)
    assert file.stat().st_mtime_ns == before and project.current == "0001"


@pytest.mark.parametrize("fails", ["band.wav", "draft.safetensors", "take.json", "project.json"])
def test_a_full_disk_leaves_a_project_as_it_was(fails, sent, monkeypatch):
    before, project = files_of(sent), Project.open(sent)
    take = project.take()

    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def failing(write):
        return lambda path, content: (full if path.name == fails else write)(path, content)

    monkeypatch.setattr(project_module, "write_json", failing(write_json))
    monkeypatch.setattr(Path, "write_bytes", failing(Path.write_bytes))
    if fails == "band.wav":  # libsndfile leaves a shorter file and says nothing
        monkeypatch.setattr(audio, "write", lambda path, *_, **__: path.touch())
    with pytest.raises(InputError, match="The disk is full"):
        project.add(take, "0002")
    monkeypatch.undo()
    assert files_of(sent) == before and project.current == "0002"
    assert Project.open(sent).take().seed == take.seed and project.add(take, "0002") == "0003"


def test_two_edits_at_once_get_names_of_their_own(sent):
    one, other = Project.open(sent), Project.open(sent)
    take = one.take()
    names = other._names()
    assert one.add(take, "0002") == "0003"
    other._names = lambda: names if len(calls.append(1) or calls) == 1 else Project._names(other)
    calls = []
    assert other.add(take, "0002") == "0004" and Project.open(sent).current == "0004"
