"""The commands that work on takes: files, JSON, projects, completion, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import shtab
import soundfile
from conftest import sing

import accompany
from accompany import audio
from accompany.cli import main
from accompany.commands.completion import SHELLS
from accompany.commands.parser import build_parser
from accompany.sound.files import start_of, write

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture
def run(random_bundle_dir, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    audio.write("song.wav", sing(2.0, 44100), 44100)

    def run_(command: str, *args: object) -> tuple[int, str, str]:
        model = ["--model", str(random_bundle_dir)] if command in ("generate", "analyse") else []
        code = main([command, *map(str, args), *model])
        return code, *capsys.readouterr()

    return run_


def test_generate_writes_everything_that_is_asked_for(run, tmp_path):
    code, stdout, stderr = run(
        "generate", "song.wav", "--takes", 2, "--midi", "--settings", "--mix", "--json", "--chords", "C G",
        "--lufs", -20, "--rate", 48000, "--bits", 16, "--format", "flac",
    )  # fmt: skip
    assert code == 0, stderr
    (file,) = json.loads(stdout)["files"]
    assert [take["accompaniment"] for take in file["takes"]] == [
        "song.accompaniment.flac",
        "song.2.accompaniment.flac",
    ]
    fits = [take["scores"]["fit"] for take in file["takes"]]
    assert fits == sorted(fits, reverse=True) and f"fit {fits[0]:.2f}" in stderr
    assert file["midi"] == "song.mid" and file["settings"] == "song.settings.json"
    for name in ("song.accompaniment.flac", "song.mix.flac", "song.2.mix.flac"):
        info = soundfile.info(name)
        assert (info.frames, info.samplerate, info.subtype) == (96000, 48000, "PCM_16")
    assert run("remake", "song.settings.json", "-o", "again.flac")[0] == 0
    assert (tmp_path / "again.flac").read_bytes() == (tmp_path / "song.accompaniment.flac").read_bytes()


def test_a_plot_of_any_result(run, tmp_path):
    pytest.importorskip("matplotlib")
    code, stdout, stderr = run("generate", "song.wav", "--plot", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["files"][0]["plot"] == "song.png"
    assert (tmp_path / "song.png").read_bytes()[:4] == b"\x89PNG"


def test_a_plot_of_an_analysis(run, tmp_path):
    pytest.importorskip("matplotlib")
    code, _, stderr = run("analyse", "song.wav", "-o", "heard.json")
    assert code == 0, stderr
    assert (tmp_path / "heard.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heard.json", "heard.png", "song.wav"]


def test_the_time_stamp_of_the_vocal_is_kept(run, tmp_path):
    write("stamped.wav", sing(1.0, 48000)[None], 48000, 24, start_s=61.5)
    assert run("generate", "stamped.wav", "--start", "vocal", "--rate", 48000)[0] == 0
    assert start_of("stamped.accompaniment.wav") == 61.5
    code, _, stderr = run("generate", "song.wav", "--start", "vocal")
    assert code == 2 and "time stamp" in stderr


def test_a_project_from_first_take_to_undo(run, tmp_path):
    code, stdout, stderr = run("generate", "song.wav", "--project", "p", "--takes", 2, "--mix", "--json")
    assert code == 0, stderr
    (file,) = json.loads(stdout)["files"]
    assert file["accompaniment"] == "p/song.accompaniment.wav" and file["mix"] == "p/song.mix.wav"
    first = audio.read(file["accompaniment"]).samples
    assert run("retake", "p", "--from", 0.5, "--to", 1.5, "--seed", 5)[0] == 0
    second = audio.read(file["accompaniment"]).samples
    np.testing.assert_array_equal(first[:, :12000], second[:, :12000])
    np.testing.assert_array_equal(first[:, 36000:], second[:, 36000:])
    assert not np.array_equal(first, second)
    assert run("vary", "p", "--strength", 0.5)[0] == 0 and run("extend", "p", "--after", 1)[0] == 0
    assert audio.info(file["accompaniment"]).n_samples == 72000
    told = json.loads(run("takes", "p", "--json")[1])
    assert told["current"] == "0005" and [take["kind"] for take in told["takes"]] == [
        "generate", "generate", "retake", "vary", "extend"]  # fmt: skip
    assert run("undo", "p")[0] == run("undo", "p")[0] == run("undo", "p")[0] == 0
    np.testing.assert_array_equal(audio.read(file["accompaniment"]).samples, first)
    assert run("undo", "p")[0] == 2
    assert run("takes", "p", "--choose", "0003")[0] == 0
    np.testing.assert_array_equal(audio.read(file["accompaniment"]).samples, second)


def test_what_was_made_in_a_precision_is_made_again_in_it(run, tmp_path, monkeypatch):
    real, asked = accompany.load, []

    def load(*args, **options):
        asked.append(options["precision"])
        return real(*args, **options)

    monkeypatch.setattr(accompany, "load", load)
    assert run("generate", "song.wav", "--precision", "int8", "--settings")[0] == 0
    assert run("remake", "song.settings.json", "-o", "again.wav")[0] == 0
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "song.accompaniment.wav").read_bytes()
    assert run("generate", "song.wav", "--precision", "bfloat16", "--project", "p")[0] == 0
    assert run("vary", "p", "--strength", 1)[0] == 0
    assert asked == ["int8", "int8", "bfloat16", "bfloat16"]


def test_analyse_writes_what_generate_takes(run, tmp_path):
    code, stdout, stderr = run("analyse", "song.wav", "--json", "--no-picture")
    assert code == 0 and "sections" in stderr
    told = json.loads(stdout)
    assert told == json.loads((tmp_path / "song.analysis.json").read_text()) and told["beats"]["times"]
    told["chords"] = [{"start": 0.0, "end": 2.0, "chord": "Eb:min", "locked": True}]
    (tmp_path / "song.analysis.json").write_text(json.dumps(told))
    assert run("generate", "song.wav", "--chords", "song.analysis.json", "--midi")[0] == 0
    assert b"Eb:min" in (tmp_path / "song.mid").read_bytes()
    assert run("generate", "song.wav", "--chords", "song.analysis.json", "--bpm", 90)[0] == 2


def test_the_analysis_of_another_vocal_is_refused_before_the_model_loads(run, tmp_path, monkeypatch):
    assert run("analyse", "song.wav", "--no-picture")[0] == 0
    seconds = audio.info("song.wav").seconds
    audio.write("other.wav", sing(seconds, 24000, 9), 24000)
    audio.write("longer.wav", sing(seconds + 0.5, 24000), 24000)
    Path("copy.wav").write_bytes(Path("song.wav").read_bytes())
    content = json.loads(Path("song.analysis.json").read_text())
    content["key"]["locked"] = False
    Path("open.json").write_text(json.dumps(content))
    with monkeypatch.context() as patched:
        patched.setattr(accompany, "load", None)
        for vocal, says in (("other.wav", "another recording than other.wav"), ("longer.wav", "longer.wav has 2.50 s")):
            for chords in ("song.analysis.json", "open.json"):
                for command in ("generate", "analyse"):
                    code, _, err = run(command, vocal, "--chords", chords)
                    assert code == 2 and says in err
        code, _, err = run("generate", "copy.wav", "longer.wav", "-o", "both/", "--chords", "open.json")
        assert code == 2 and "longer.wav" in err and not Path("both").exists()
    assert run("generate", "copy.wav", "--chords", "open.json")[0] == 0
    del content["vocal_sha256"]
    Path("open.json").write_text(json.dumps(content))
    assert run("generate", "other.wav", "--chords", "open.json")[0] == 0


def test_a_plan_beyond_the_end_is_refused(run, tmp_path):
    assert run("analyse", "song.wav", "--no-picture")[0] == 0
    content = json.loads(Path("song.analysis.json").read_text())
    content["chords"] = [{"start": 0.0, "end": 2.0, "chord": "C:maj"}, {"start": 60.0, "end": 62.0, "chord": "C:maj"}]
    Path("late.json").write_text(json.dumps(content))
    code, _, err = run("generate", "song.wav", "--chords", "late.json")
    assert code == 2 and "The plan's last chord at 60 s lies beyond the end of song.wav (2.00 s)" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("generate song.wav --chords blues", "blues"),
        ("generate song.wav --taps a,b", "taps"),
        ("generate song.wav --like none.wav", "none.wav"),
        ("generate song.wav --bits 20", "bits"),
        ("generate song.wav --lufs 3", "loudness"),
        ("generate song.wav --format mp3 --rate 96000", "96000"),
        ("generate song.wav --format mp3 -o a.wav", "agree"),
        ("generate song.wav --project . ", "there already"),
        ("generate song.wav --project p --plot", "--plot"),
        ("generate song.wav --lora a --settings", "--settings does not go with --lora"),
        ("generate song.wav --lora a --project p", "--project does not go with --lora"),
        ("generate song.wav --model nowhere --takes 65", "number of takes 65"),
        ("generate song.wav --lora a --lora-scale 11", "LoRA scale 11"),
        ("generate song.wav --start soon", "seconds"),
        ("generate song.wav --chords song.json", "song.json"),
        ("generate song.wav --taps 0.5,1 --bpm 90", "Taps"),
        ("retake nowhere --from 1 --to 2", "no project"),
        ("retake nowhere --from 1", "region"),
        ("remake nothing.json", "nothing.json"),
        ("undo nowhere", "no project"),
    ],
)
def test_wrong_input_is_one_sentence(run, tmp_path, words, says):
    before = sorted(tmp_path.iterdir())
    code, stdout, stderr = run(*words.split())
    assert code == 2 and stdout == "" and says in stderr and stderr.strip().count("\n") == 0
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command_and_option(shell, capsys):
    assert main(["completion", shell]) == 0
    told = capsys.readouterr().out
    for word in ("generate", "retake", "doctor", "chords", "follow"):
        assert word in told
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=told, text=True, check=True)


def test_bash_completes():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    ask = "\n" + 'COMP_WORDS=(accompany {}); COMP_CWORD={}; _shtab_accompany; echo "${{COMPREPLY[@]}}"'
    for words, place, expected in (("re", 1, "retake"), ("generate --fol", 2, "--follow")):
        text = shtab.complete(build_parser(), shell="bash") + ask.format(words, place)
        told = subprocess.run([bash, "-c", text], capture_output=True, text=True, check=True).stdout
        assert expected in told.split()
    text = shtab.complete(build_parser(), shell="bash") + ask.format("generate --device c", 3)
    assert subprocess.run([bash, "-c", text], capture_output=True, text=True, check=True).stdout.split() == [
        "cpu",
        "cuda",
    ]


def test_stems_of_the_band_sum_up_to_it(run, tmp_path):
    pytest.importorskip("demucs")
    from small_separator import small_htdemucs, write_separator

    (tmp_path / "separator").mkdir()
    separator = write_separator(small_htdemucs(), tmp_path / "separator")
    code, stdout, stderr = run("generate", "song.wav", "--stems", "--separator", separator, "--json")
    assert code == 0, stderr
    (file,) = json.loads(stdout)["files"]
    assert file["stems"] == [f"song.{name}.wav" for name in ("drums", "bass", "other")]
    band, *stems = (audio.read(name).samples for name in (file["accompaniment"], *file["stems"]))
    assert all(stem.shape == band.shape and np.abs(stem).max() > 0 for stem in stems)
    np.testing.assert_allclose(sum(stems), band, atol=3e-5)
    code, _, stderr = run("generate", "song.wav", "--stems", "--separator", "tiny", "-o", "two.wav")
    assert code == 2 and "drums" in stderr and not (tmp_path / "two.wav").exists()
    code, _, stderr = run("generate", "song.wav", "--stems", "-o", "two.wav")
    assert code == 2 and "plays the band as one" in stderr and not (tmp_path / "two.wav").exists()
    code, _, stderr = run("generate", "song.wav", "--mute", "drums", "-o", "two.wav")
    assert code == 2 and "no stem of it can be muted" in stderr and not (tmp_path / "two.wav").exists()
