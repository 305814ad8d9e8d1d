"""Wrong input: exit code 2, one sentence that names it, nothing left behind. Odd but good input: exit code 0."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import sing

from accompany import audio
from accompany.cli import main

pytestmark = pytest.mark.usefixtures("loaded_once")

Make = Callable[[Path], None]


def _write(path: Path, samples: np.ndarray, sample_rate: int = 24000) -> None:
    soundfile.write(path, samples, sample_rate, subtype="FLOAT")


def _truncated(path: Path) -> None:
    _write(path, sing(1.0, 24000))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _truncated_flac(path: Path) -> None:
    soundfile.write(path, sing(2.0, 24000), 24000, format="FLAC")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _nan(path: Path) -> None:
    samples = sing(1.0, 24000)
    samples[12345] = np.nan
    _write(path, samples)


UNUSABLE: dict[str, tuple[Make, str]] = {
    "missing": (lambda path: None, "There is no file"),
    "folder": (lambda path: path.mkdir(), "is not a file"),
    "empty": (lambda path: path.touch(), "is empty (0 bytes)"),
    "zero-length": (lambda path: _write(path, np.zeros(0)), "at least 0.5 s"),
    "one-sample": (lambda path: _write(path, np.ones(1)), "at least 0.5 s"),
    "truncated": (_truncated, "is cut short"),
    "truncated header": (lambda path: path.write_bytes(b"RIFF\x24\x08\0\0WAVEfmt ") and None, "as audio"),
    "truncated flac": (_truncated_flac, "is cut short"),
    "text": (lambda path: path.write_text("la la la\n" * 99) and None, "as audio"),
    "NaN": (_nan, "not numbers"),
    "infinite": (lambda path: _write(path, np.full(24000, np.inf)), "not numbers"),
    "silent": (lambda path: _write(path, np.zeros(24000)), "is silent"),
}


def run(vocal: Path, model: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """Run generate on one vocal; returns the exit code and the last line of stderr."""
    code = main(["generate", str(vocal), "--model", str(model), "--device", "cpu", *more])
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    return code, captured.err.splitlines()[-1]


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_vocal_is_refused_in_one_sentence(case, random_bundle_dir, capsys, tmp_path):
    make, says = UNUSABLE[case]
    vocal, out = tmp_path / "vocal.wav", tmp_path / "out"
    make(vocal)
    before = sorted(tmp_path.rglob("*"))
    code, told = run(vocal, random_bundle_dir, capsys, "--out", str(out / "band.wav"))
    assert code == 2 and told.startswith("accompany: ") and str(vocal) in told and says in told
    assert told.endswith((".", "?")) and sorted(tmp_path.rglob("*")) == before


ODD: dict[str, tuple[Make, float]] = {
    "clipped": (lambda path: _write(path, np.clip(9 * sing(1.0, 24000), -1, 1)), 1.0),
    "8 kHz": (lambda path: _write(path, sing(1.0, 8000), 8000), 1.0),
    "192 kHz": (lambda path: _write(path, sing(0.6, 192000), 192000), 0.6),
    "8 channels": (lambda path: _write(path, np.stack([sing(1.0, 24000)] * 8, axis=1)), 1.0),
    "very soft": (lambda path: _write(path, 0.001 * sing(1.0, 24000)), 1.0),
    "mostly silence": (lambda path: _write(path, np.pad(sing(0.5, 24000), (60000, 0))), 3.0),
    "offset": (lambda path: _write(path, 0.4 + 0.1 * sing(1.0, 24000)), 1.0),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_vocal_is_accompanied(case, random_bundle_dir, capsys, tmp_path):
    make, seconds = ODD[case]
    make(tmp_path / "vocal.wav")
    assert run(tmp_path / "vocal.wav", random_bundle_dir, capsys, "--out", str(tmp_path / "band.wav"))[0] == 0
    band = audio.read(tmp_path / "band.wav")
    assert band.samples.shape[1] == round(seconds * 24000) and np.abs(band.samples).max() > 1e-4


def test_a_clipped_vocal_is_told(random_bundle_dir, capsys, tmp_path):
    ODD["clipped"][0](tmp_path / "vocal.wav")
    main(["generate", str(tmp_path / "vocal.wav"), "--model", str(random_bundle_dir), "-o", str(tmp_path / "b.wav")])
    assert "is clipped" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["", "warm piano " * 100_000, "ピアノとドラム", "\udcff\x00"])
def test_any_prompt_is_taken(prompt, random_bundle_dir, vocal_path, capsys, tmp_path):
    assert run(vocal_path, random_bundle_dir, capsys, "-p", prompt, "-o", str(tmp_path / "b.wav"))[0] == 0


PLACES = {
    "a file as folder": ("taken/band.wav", "is a file"),
    "no suffix": ("band", "no audio file name"),
    "foreign suffix": ("band.txt", "no audio file name"),
    "the vocal itself": ("vocal.wav", "would overwrite a vocal"),
}


@pytest.mark.parametrize("case", PLACES)
def test_an_impossible_place_is_refused_before_any_work(case, capsys, tmp_path):
    name, says = PLACES[case]
    (tmp_path / "taken").touch()
    audio.write(tmp_path / "vocal.wav", sing(1.0, 24000), 24000)
    before = sorted(tmp_path.rglob("*"))
    code, told = run(tmp_path / "vocal.wav", tmp_path / "no model is loaded", capsys, "--out", str(tmp_path / name))
    assert code == 2 and says in told and str(tmp_path / Path(name).parts[0]) in told
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write")
def test_a_folder_that_is_not_writable_is_refused(vocal_path, capsys, tmp_path):
    code, told = run(vocal_path, tmp_path, capsys, "--out", "/proc/self/band.wav")
    assert code == 2 and "Cannot write into /proc/self" in told


def test_several_vocals_need_a_folder_and_names_of_their_own(vocal_path, capsys, tmp_path):
    (tmp_path / "file.wav").touch()
    code = main(["generate", str(vocal_path), str(vocal_path), "--out", str(tmp_path / "file.wav")])
    assert code == 2 and "is a file; name a folder" in capsys.readouterr().err
    code = main(["generate", str(vocal_path), str(vocal_path), "--out", str(tmp_path / "folder")])
    assert code == 2 and "rename one of them" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


ARGUMENTS = {
    "no command": ([], "COMMAND"),
    "unknown command": (["generat"], "'generat'"),
    "no vocal": (["generate"], "VOCALS"),
    "unknown option": (["generate", "VOCAL", "--sed", "1"], "--sed"),
    "seed that is no number": (["generate", "VOCAL", "--seed", "x"], "--seed"),
    "negative seed": (["generate", "VOCAL", "--seed", "-1"], "seed -1"),
    "slow tempo": (["generate", "VOCAL", "--bpm", "1"], "bpm 1 must be from 30 to 300"),
    "tempo that is no number": (["generate", "VOCAL", "--bpm", "fast"], "--bpm"),
    "unknown key": (["generate", "VOCAL", "--key", "H"], "C:maj"),
    "unknown model": (["generate", "VOCAL", "--model", "tinny"], "'tinny'"),
    "unknown device": (["generate", "VOCAL", "--device", "tpu"], "--device"),
    "no songs": (["synth", "OUT", "--songs", "0"], "--songs"),
    "songs that are no number": (["synth", "OUT", "--songs", "many"], "'many' must be a whole number"),
    "no variant": (["tokenize", "IN", "OUT", "--variants", "0"], "--variants"),
    "no variant of tokens": (["tokenize", "IN", "OUT", "--token-variants", "-3"], "--token-variants"),
    "a model that is not used": (["tokenize", "IN", "OUT", "--melody-only", "--model", "mine"], "not allowed with"),
    "melody of nothing": (["tokenize", "IN", "OUT", "--melody-only"], "There is no folder IN"),
    "unknown part": (["train", "everything"], "everything"),
    "missing pairs": (["tokenize", "OUT", "OUT2"], "OUT"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_wrong_arguments_are_named(case, random_bundle_dir, vocal_path, capsys, tmp_path, monkeypatch):
    arguments, says = ARGUMENTS[case]
    monkeypatch.chdir(tmp_path)
    named = {"VOCAL": str(vocal_path)}
    given = [named.get(word, word) for word in arguments]
    model = ["--model", str(random_bundle_dir)] if "generate" in given and "--model" not in given else []
    assert main([*given, *model]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert says in told and told.startswith("accompany: ") and told.endswith((".", "?"))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_torchaudio_is_found_and_explained(monkeypatch):
    """What happens when torchaudio was built for another torch."""
    import importlib.metadata

    from accompany.commands import doctor

    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.11" if name == "torchaudio" else version(name))
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    (finding,) = [finding for finding in doctor.examine() if finding.name == "torchaudio"]
    assert finding.status == "broken" and "pip uninstall torchaudio" in finding.advice
