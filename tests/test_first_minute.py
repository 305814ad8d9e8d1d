"""The first minute: what a generation loads, what it says, hints, the demo, and missing packages by name."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import sing
from test_writing import needs_voice

from accompany import audio
from accompany.cli import main
from accompany.commands.console import next_step
from accompany.commands.projects import next_edit
from accompany.common.extras import is_installed, require
from accompany.errors import InputError
from accompany.generation.settings import Settings
from accompany.generation.take import Take
from accompany.music.plan import Plan

UNUSED = "librosa numba onnxruntime sklearn matplotlib demucs lightning mido pyloudnorm tensorboard fastapi swift_f0"
BPS = {"beats_s": (0.0, 0.5, 1.0), "tempo_bpm": 120.0}


@pytest.fixture
def song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    audio.write("song.wav", sing(2.0), 44100)
    return tmp_path / "song.wav"


def test_a_generation_loads_no_library_of_an_extra(song: Path) -> None:
    code = (
        "import sys, json; from accompany.cli import main\n"
        "code = main(['generate', 'song.wav', '--mix'])\n"
        "print(json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code_, loaded = json.loads(done.stdout)
    assert code_ == 0 and not set(UNUSED.split()) & set(loaded)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 3, lines  # the model, the result, a hint
    assert lines[0].startswith("tiny: ") and "beats a minute" in lines[1] and lines[2].startswith("Next: ")


def take_of(**plan: object) -> Take:
    silence = np.zeros((1, 24000), np.float32)
    return Take(silence, 24000, silence, Plan(**plan), Settings(), 0.1)  # type: ignore[arg-type]


def args_of(**given: object) -> argparse.Namespace:
    names = ("bpm", "taps", "chords", "key", "melody", "mix", "project")
    return argparse.Namespace(**{**dict.fromkeys(names), "vocals": ["my song.wav"], "takes": 1, **given})


@pytest.mark.parametrize(
    ("given", "plan", "says"),
    [
        ({}, {**BPS, "beat_confidence": 0.2}, "--bpm X"),
        ({"taps": "0 1"}, {**BPS, "beat_confidence": 0.2}, "--mix"),
        ({}, {**BPS, "beat_confidence": 0.9}, "--mix"),
        ({}, {**BPS, "chords": ((0.0, 1.0, "C:maj"),), "chord_confidence": 0.3}, "--chords"),
        ({"key": "C:maj"}, {**BPS, "chords": ((0.0, 1.0, "C:maj"),), "chord_confidence": 0.3}, "--mix"),
        ({"mix": True}, {}, "--takes 4"),
        ({"mix": True, "takes": 3}, {}, "--project song"),
    ],
)
def test_the_hint_is_the_first_thing_that_lacks(given: dict, plan: dict, says: str) -> None:
    hint = next_step(args_of(**given), take_of(**plan))
    assert hint.startswith("Next: ") and says in hint
    assert "generate 'my song.wav'" in hint and "\n" not in hint


def test_there_is_no_hint_when_all_is_used() -> None:
    assert next_step(args_of(mix=True, takes=2, project="p"), take_of()) == ""


@pytest.mark.parametrize(("downbeats", "region"), [((), "--from 0 --to 1"), ((0.0, 0.2, 0.4, 0.6), "--bars 1 4")])
def test_a_project_is_followed_by_an_edit(downbeats: tuple[float, ...], region: str) -> None:
    hint = next_edit("my song", take_of(beats_s=(0.0, 0.2, 0.4, 0.6), downbeats_s=downbeats))
    assert f"accompany retake 'my song' {region}" in hint


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        ("generate song.wav --midi", "mido", "sound"),
        ("generate song.wav --lufs -14", "pyloudnorm", "sound"),
        ("generate song.wav --reverb 0.2", "scipy", "sound"),
        ("generate song.wav --mix --rate 48000", "scipy", "sound"),
        ("generate song.wav --project p --mix --eq 80:-6", "scipy", "sound"),
        ("generate song.wav --plot", "matplotlib", "eval"),
        ("generate song.wav --stems --separator htdemucs", "demucs", "data"),
        ("generate song.wav --separate", "demucs", "data"),
        ("generate song.wav --melody song.mid", "mido", "sound"),
        ("analyse song.wav", "swift_f0", "eval"),
        ("analyse song.wav", "matplotlib", "eval"),
        ("analyse song.wav --midi --no-picture", "mido", "eval"),
        ("demo", "uvicorn", "synth,ui"),
    ],
)
def test_a_missing_package_is_one_sentence_before_the_work(
    words: str, package: str, extra: str, song: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The model is none, so that what comes later would be another sentence."""
    monkeypatch.setitem(sys.modules, package, None)
    Path("song.mid").write_bytes(b"MThd")
    before = sorted(song.parent.iterdir())
    assert main([*words.split(), "--model", "nowhere"]) == 2
    stderr = capsys.readouterr().err
    assert f"package {package}" in stderr and f'pip install "accompany[{extra}]"' in stderr
    assert stderr.count("\n") == 1 and sorted(song.parent.iterdir()) == before


def test_the_rate_alone_needs_no_scipy(band, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = band.generate(str(song), seed=1)
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    from accompany import Sound

    take.save("wide.wav", Sound(sample_rate=48000, bits=16))
    with pytest.raises(InputError, match=r"accompany\[sound\]"):
        take.save("wet.wav", Sound(reverb=0.3))
    assert not Path("wet.wav").exists()


def test_packages_are_looked_for_without_importing_them() -> None:
    assert is_installed("numpy") and not is_installed("no_such_package_here")
    require("sound", "numpy")
    with pytest.raises(InputError, match=r'--x needs the package no_such_package_here.*"accompany\[sound\]"'):
        require("sound", "numpy", "no_such_package_here", what="--x")


@needs_voice
def test_the_demo_makes_its_files(random_bundle_dir: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--no-page", "--model", str(random_bundle_dir), "--out", "d"]) == 0
    assert sorted(path.name for path in Path("d").iterdir()) == [
        "accompaniment.mix.wav", "accompaniment.wav", "vocals.wav",
    ]  # fmt: skip
    assert audio.info("d/accompaniment.wav").seconds == pytest.approx(12.0)
    assert "Next: your own voice" in capsys.readouterr().err


@needs_voice
@pytest.mark.parametrize("more", [[], ["--no-browser"]])
def test_the_demo_opens_the_page_unless_told_not_to(more: list[str], band, tmp_path, monkeypatch) -> None:
    uvicorn, _ = pytest.importorskip("uvicorn"), pytest.importorskip("fastapi")
    from accompany.commands import demo

    visited: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: visited.append(url) or True)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: visited.append("served"))
    monkeypatch.setattr(demo, "load", lambda args: band)
    assert main(["demo", "--out", str(tmp_path / "d"), "--port", "0", *more]) == 0
    assert visited[-1] == "served" and len(visited) == (1 if more else 2)
    assert more or visited[0].startswith("http://127.0.0.1:")


def test_a_taken_port_is_refused_before_the_song_is_made(tmp_path, capsys) -> None:
    pytest.importorskip("fastapi")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["demo", "--out", str(tmp_path / "d"), "--port", port]) == 2
    assert "Cannot listen" in capsys.readouterr().err and not (tmp_path / "d").exists()
