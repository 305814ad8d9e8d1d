"""Paths and names of Windows and macOS, faked where this system has others; the codec on Apple's GPU."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import sing

from accompany import audio
from accompany.cli import main
from accompany.commands import values
from accompany.commands.outputs import plan_outputs
from accompany.common import files, portable
from accompany.errors import InputError
from accompany.models import parts
from accompany.models.pretrained import read_bundle


@pytest.mark.parametrize(
    "name", ["CON.wav", "nul.accompaniment.wav", "aux", "Com1.mix.flac", "lpt¹.wav", "PRN .wav", "conin$"]
)
def test_names_of_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="device on Windows"):
        portable.check_windows_name(name)


@pytest.mark.parametrize("name", ["a:b.wav", "what?.wav", "a\\b.wav", "a\x07.wav", "song.", "song "])
def test_names_that_windows_has_not_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="give another one"):
        portable.check_windows_name(name)


@pytest.mark.parametrize(
    "name", ["console.wav", "com10.wav", "노래.wav", "song.v2.wav", "..", ".hidden", "nul-set.mp3"]
)
def test_other_names_are_taken(name: str) -> None:
    portable.check_windows_name(name)


def test_an_output_named_as_a_device_is_refused_before_the_work(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write("voice.wav", sing(1.0), 44100)
    generate = ["generate", "voice.wav", "--model", "nowhere", "--out"]
    assert main([*generate, "nul.wav"]) == 2 and "There is no model" in capsys.readouterr().err
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    assert main([*generate, "nul.wav"]) == 2
    stderr = capsys.readouterr().err
    assert "nul.wav" in stderr and "device on Windows" in stderr and stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["voice.wav"]


def test_outputs_that_a_disk_takes_for_one_are_refused(tmp_path: Path, monkeypatch) -> None:
    vocals = [tmp_path / "a" / "Song.wav", tmp_path / "b" / "song.wav"]
    assert not portable.folds_names(tmp_path) and not list(tmp_path.iterdir())
    first, second = plan_outputs(vocals, f"{tmp_path}/out/", mix=True)
    assert first.mix != second.mix
    monkeypatch.setattr(portable, "folds_names", lambda folder: True)
    with pytest.raises(InputError, match=r"would both become .*song\.accompaniment\.wav on this disk"):
        plan_outputs(vocals, f"{tmp_path}/out/", mix=True)
    composed, decomposed = "caf\u00e9.wav", "cafe\u0301.wav"
    with pytest.raises(InputError, match="on this disk"):
        plan_outputs([tmp_path / "a" / composed, tmp_path / "b" / decomposed], f"{tmp_path}/out/", mix=False)
    plan_outputs([tmp_path / "a.wav", tmp_path / "b.wav"], f"{tmp_path}/out/", mix=False)


def test_a_vocal_is_not_overwritten_under_another_spelling(tmp_path: Path) -> None:
    """Two names of one file, as `Voice.wav` and `voice.wav` are on a disk that folds names."""
    audio.write(tmp_path / "voice.wav", sing(1.0), 44100)
    os.link(tmp_path / "voice.wav", tmp_path / "Voice.wav")
    with pytest.raises(InputError, match="would overwrite a vocal"):
        plan_outputs([tmp_path / "voice.wav"], str(tmp_path / "Voice.wav"), mix=False)


def test_a_long_path_with_backslashes_is_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "C:\\" + "\\".join(["a folder of many"] * 30) + "\\voice.wav"
    with pytest.raises(Exception, match="longer than a name can be"):
        values.RECORDING(path)
    monkeypatch.setattr(values, "_SEPARATORS", values.separators("\\"))
    assert values.RECORDING(path) == path and values.RECORDING("D:\\takes") == "D:\\takes"
    with pytest.raises(Exception, match="longer than a name can be"):
        values.RECORDING("C:\\" + "a" * 300)


@pytest.mark.parametrize(
    "place", ["C:\\secret", "C:secret", "\\secret", "..\\secret", "parts\\..\\..\\x", "\\\\host\\share", "/etc", "../x"]
)
def test_a_part_outside_of_its_model_is_refused_on_every_system(place: str, tmp_path: Path) -> None:
    part = {"path": place, "license": "MIT", "options": {}}
    content = {"format": 1, "name": "x", "license": "MIT", "parts": {"codec": part}}
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="outside the model"):
        read_bundle(tmp_path)


def test_the_codec_stays_off_the_gpu_of_apple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EnCodec garbles its output there without an error."""

    class Module:
        place = ""

        def to(self, device: str) -> Module:
            self.place = device
            return self

    def load(source: Path, *, license: str) -> Module:
        return Module()

    monkeypatch.setattr(parts, "_loaders", lambda to_play: dict.fromkeys(parts.PARTS, load))
    places = {name: parts.load_part_of(parts.PartInfo(name, tmp_path, "MIT"), "mps").place for name in parts.PARTS}
    assert places.pop("codec") == "cpu" and set(places.values()) == {"mps"}
    assert parts.load_part_of(parts.PartInfo("codec", tmp_path, "MIT"), "cuda").place == "cuda"
