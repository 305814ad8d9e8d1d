"""Odd files on the command line: names, links, time stamps, taps and values that are no numbers."""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import sing

from accompany import audio
from accompany.cli import main
from accompany.commands.given_files import read_taps
from accompany.commands.outputs import plan_outputs
from accompany.common.config import read_json
from accompany.common.folders import save_json
from accompany.errors import InputError
from accompany.generation.analysis import Analysis
from accompany.music.plan import Plan
from accompany.sound.files import start_of
from accompany.sound.files import write as write_sound

pytestmark = pytest.mark.usefixtures("loaded_once")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(random_bundle_dir, capsys, monkeypatch, tmp_path) -> Run:
    monkeypatch.chdir(tmp_path)
    audio.write("song.wav", sing(1.0, 24000), 24000)

    def run_(command: str, *args: object) -> tuple[int, str, str]:
        model = ["--model", str(random_bundle_dir)] if command in ("generate", "analyse") else []
        code = main([command, *map(str, args), *model])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run_


def strict(line: str) -> object:
    """JSON that has no NaN and no infinity, which it does not know."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(line, parse_constant=refuse)


def test_a_name_that_is_no_utf8_goes_through_every_file(run, tmp_path):
    name = Path(b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    try:
        shutil.copy("song.wav", name)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    code, out, err = run("generate", name, "--mix", "--settings", "--midi", "--json")
    assert code == 0, err
    (file,) = json.loads(out)["files"]
    assert file["vocals"] == str(name) and Path(file["accompaniment"]).is_file() and r"caf\udce9" in err
    code, _, err = run("remake", name.with_suffix(".settings.json"), "-o", "again.wav")
    assert code == 0, err
    assert Path("again.wav").read_bytes() == Path(file["accompaniment"]).read_bytes()
    code, out, err = run("analyse", name, "--no-picture", "--json")
    assert code == 0 and strict(out) and name.with_suffix(".analysis.json").is_file(), err
    assert run("generate", name, "--project", "project", "--mix")[0] == 0
    assert run("undo", "project")[0] == 2
    missing = b"nix\xe9.wav".decode("utf-8", "surrogateescape")
    assert run("generate", missing)[0] == 2


@pytest.mark.parametrize("options", [(), ("--mix",), ("--takes", "2"), ("--project", "p"), ("--settings",)])
def test_a_name_that_becomes_too_long_is_refused_before_the_work(run, tmp_path, options):
    shutil.copy("song.wav", f"{'x' * 246}.wav")
    code, _, err = run("generate", f"{'x' * 246}.wav", *options)
    assert code == 2 and "longer than the 255 bytes" in err and "loaded" not in err
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_that_just_fits_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (output,) = plan_outputs([f"{'x' * 237}.wav"], None, mix=False)
    audio.write(output.accompaniment, sing(0.1, 24000), 24000)
    with pytest.raises(InputError, match="longer than"):
        plan_outputs([f"{'x' * 238}.wav"], None, mix=False)


def test_a_tilde_is_the_home_folder(run, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert run("generate", "song.wav", "--out=~/x.wav")[0] == 0
    assert run("analyse", "song.wav", "--out=~/x.json", "--no-picture")[0] == 0
    assert run("generate", "song.wav", "--project=~/p")[0] == 0
    assert sorted(path.name for path in home.iterdir()) == ["p", "x.json", "x.wav"]
    assert not (tmp_path / "~").exists()


def test_out_may_be_a_link(run, tmp_path):
    (tmp_path / "there").mkdir()
    Path("link.wav").symlink_to("there/x.wav")
    Path("folder").symlink_to("there")
    Path("nowhere").symlink_to("none/x.wav")
    assert run("generate", "song.wav", "-o", "link.wav")[0] == 0
    assert Path("link.wav").is_symlink() and audio.info("there/x.wav").n_samples == 24000
    assert run("generate", "song.wav", "-o", "folder")[0] == 0
    assert (tmp_path / "there/song.accompaniment.wav").is_file()
    Path("vocal.wav").symlink_to("song.wav")
    code, _, err = run("generate", "song.wav", "-o", "vocal.wav")
    assert code == 2 and "overwrite a vocal" in err
    Path("circle.wav").symlink_to("circle.wav")
    code, _, err = run("generate", "song.wav", "-o", "circle.wav")
    assert code == 2 and "Cannot write circle.wav" in err and "loaded" not in err


@pytest.mark.parametrize("vocal", ["missing.wav", "."])
def test_a_start_like_that_of_no_file_is_refused(run, vocal):
    code, _, err = run("generate", vocal, "--start", "vocal")
    assert code == 2 and vocal in err


def test_a_start_like_that_of_an_rf64_file(run):
    write_sound("stamped.wav", sing(1.0, 24000)[None], 24000, start_s=3.25)
    data = Path("stamped.wav").read_bytes()
    at = data.index(b"data")
    large = b"ds64" + struct.pack("<IQQQI", 28, len(data) + 28, 72000, 24000, 0)
    header = b"RF64\xff\xff\xff\xffWAVE" + large + data[12 : at + 4] + b"\xff\xff\xff\xff"
    Path("large.wav").write_bytes(header + data[at + 8 :])
    code, _, err = run("generate", "large.wav", "--start", "vocal", "-o", "out.wav")
    assert code == 0 and start_of("out.wav") == pytest.approx(3.25), err


TAPS = (0.5, 1.0, 1.5, 2.0)
ENCODINGS = {
    "utf-8": b"0.5\n1.0, 1.5\n2\n",
    "utf-8 with a mark": codecs.BOM_UTF8 + b"0.5\n1.0, 1.5\n2\n",
    "utf-16 of PowerShell": codecs.BOM_UTF16_LE + "0.5\r\n1.0, 1.5\r\n2\r\n".encode("utf-16-le"),
    "utf-16 the other way": codecs.BOM_UTF16_BE + "0.5\n1.0, 1.5\n2\n".encode("utf-16-be"),
    "utf-16 without a mark": "0.5\n1.0, 1.5\n2\n".encode("utf-16-le"),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_taps_in_any_encoding(tmp_path, name):
    (tmp_path / "taps.txt").write_bytes(ENCODINGS[name])
    assert read_taps(str(tmp_path / "taps.txt")) == TAPS


def test_a_long_list_of_taps_on_the_command_line():
    times = [0.5 * beat for beat in range(2000)]
    assert read_taps(" ".join(map(str, times))) == tuple(times)
    assert read_taps("0.5 1 1.5 2") == TAPS


@pytest.mark.parametrize("text", ["x" * 300, "missing.txt", "0.5 nul\0", "0.5 " * 300 + "x", "."])
def test_taps_that_are_none_are_refused_shortly(text):
    with pytest.raises(InputError, match="must be times in seconds") as raised:
        read_taps(text)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", codecs.BOM_UTF16_LE + b"0", b"\xff\xfa0.5"])
def test_taps_in_a_file_that_is_no_text_are_refused(tmp_path, content):
    (tmp_path / "taps.txt").write_bytes(content)
    with pytest.raises(InputError, match="must be times in seconds"):
        read_taps(str(tmp_path / "taps.txt"))


def test_json_has_null_for_what_is_no_number(run, monkeypatch):
    from accompany.api import Band

    plan = Plan((0.0, 0.5), (0.0,), ((0.0, 1.0, "C:maj"),), "C:maj", 120.0, beat_confidence=math.nan)
    found = Analysis(dataclasses.replace(plan, chord_confidence=math.inf), (), 1.0)
    monkeypatch.setattr(Band, "analyse", lambda *args, **options: found)
    code, out, err = run("analyse", "song.wav", "--no-picture", "--json")
    assert code == 0, err
    for content in (strict(out), strict(Path("song.analysis.json").read_text())):
        assert content["beats"]["confidence"] is None and content["chord_confidence"] is None
    assert Analysis.load("song.analysis.json").plan.beat_confidence is None
    save_json("x.json", {"a": [math.nan, 1.5, np.inf], "b": (1, "\udce9")})
    assert read_json("x.json") == {"a": [None, 1.5, None], "b": [1, "\udce9"]}


@pytest.mark.parametrize(("suffix", "bits"), [("ogg", None), ("wav", 32), ("aiff", 32)])
def test_a_remake_is_the_same_file(run, suffix, bits, monkeypatch):
    import time

    depth = ("--bits", bits) if bits else ("--reverb", "0.1")
    code, _, err = run("generate", "song.wav", "--mix", "--settings", "--format", suffix, *depth)
    assert code == 0, err
    time.sleep(1.1)  # libsndfile takes the time in seconds
    assert run("remake", "song.settings.json", "-o", f"again.{suffix}", "--mix")[0] == 0
    assert Path(f"again.{suffix}").read_bytes() == Path(f"song.accompaniment.{suffix}").read_bytes()
    assert Path(f"again.mix.{suffix}").read_bytes() == Path(f"song.mix.{suffix}").read_bytes()


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_a_rate_that_nobody_records_at_ends_no_command(run, rate):
    soundfile.write("odd.wav", sing(1.0, 24000), rate)
    for command in ("generate", "analyse"):
        code, _, err = run(command, "odd.wav")
        assert code == 2 and f"sample rate of {rate} Hz" in err


def test_a_mix_keeps_no_offset_and_no_cancelling_channels(run):
    voice = 0.3 * sing(1.0, 24000)
    voice -= voice.mean()
    soundfile.write("odd.wav", np.stack([voice, -voice], 1) + 0.05, 24000, subtype="FLOAT")
    code, _, err = run("generate", "odd.wav", "--mix", "--bits", "24", "--balance", "40", "--level", "-40")
    assert code == 0 and "cancel each other" in err and "offset" in err
    mixed = audio.read("odd.mix.wav").samples
    assert abs(mixed.mean()) < 0.005 * np.abs(mixed).max()
    assert np.corrcoef(mixed[0], mixed[1])[0, 1] > 0.99 and np.corrcoef(mixed[0], voice)[0, 1] > 0.95
