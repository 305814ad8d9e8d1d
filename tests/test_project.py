"""Projects and settings files: plain files, undo, and takes that are made again bit by bit."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from conftest import sing

from accompany import InputError, audio
from accompany.commands.remake import Recipe
from accompany.common.config import read_json, write_json
from accompany.generation.project import Project
from accompany.sound import Sound

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
    Recipe.of(take, band, vocal, "random", sound).save(path)
    assert read_json(path)["vocals"]["path"] == "../song.flac"
    recipe = Recipe.load(path)
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
        Recipe.of(take, adapted, vocal, "random")


def test_another_vocal_or_a_broken_file_is_refused(band, vocal, tmp_path):
    path = tmp_path / "s.json"
    Recipe.of(band.generate(vocal), band, vocal, "random").save(path)
    recipe = Recipe.load(path)
    audio.write(vocal, sing(3.0, 44100, 9), 44100)
    with pytest.raises(InputError, match="another recording"):
        recipe.make(band)
    content = read_json(path)
    for wrong in ({"format": "?"}, {"settings": {"seed": -1}}, {"edits": [{"kind": "x"}]}, {"sound": {"bits": 7}}):
        write_json(path, {**content, **wrong})
        with pytest.raises(InputError):
            Recipe.load(path)
