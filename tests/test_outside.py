"""Figures of packages in other environments: jobs, answers, failures; the real ones where ACCOMPANY_OUTSIDE names them.

The packages are small ones of `small_tools.py` in a child process of this Python. ACCOMPANY_OUTSIDE holds `--outside`
options, with spaces between, such as `fadtk=envs/fadtk/bin/python`.
"""

import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("librosa")
pytest.importorskip("mir_eval")

from conftest import sing
from small_tools import write_tools

from accompany.cli import main
from accompany.errors import InputError
from accompany.evaluation.outside.asking import ask_all
from accompany.evaluation.outside.tools import TOOLS, Outside, read_outside
from accompany.evaluation.rows import Output
from accompany.evaluation.testset import Clip

RATE, SECONDS, CLIPS = 24000, 5.0, 4
FADS = ("fad_clap_inf", "fad_vggish_inf")
FIGURES = {"fadtk": FADS, "audio-metrics": ("apa",), "cocola": ("cocola",)}


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """The small packages, where a child process finds them."""
    folder = write_tools(tmp_path / "tools")
    monkeypatch.setenv("PYTHONPATH", str(folder / "packages"))
    return folder


@pytest.fixture(scope="module")
def contest():
    """Four clips in five rows; one row lacks a clip, one is silent."""
    rng = np.random.default_rng(0)
    vocals = [sing(SECONDS, RATE, seed) for seed in range(CLIPS)]
    truths = [0.6 * vocal + 0.1 * rng.standard_normal(len(vocal)).astype(np.float32) for vocal in vocals]
    clips = [Clip(f"set/{i}", RATE, vocals[i], truths[i], "") for i in range(CLIPS)]
    sounds = {
        "theirs": [0.3 * truths[0], None, 0.3 * truths[2], 0.3 * truths[3]],
        "truth": truths,
        "shuffled": truths[2:] + truths[:2],
        "vocal copy": vocals,
        "silence": [0 * vocal for vocal in vocals],
    }
    outputs = {
        name: [None if sound is None else Output(clip, sound) for clip, sound in zip(clips, row, strict=True)]
        for name, row in sounds.items()
    }
    return SimpleNamespace(clips=clips, rows=lambda: dict.fromkeys(sounds, ""), output=lambda row, i: outputs[row][i])


def option(tools, tool, python=sys.executable):
    more = f",checkpoint={tools / 'cocola.ckpt'},repo={tools / 'repo'}" if tool == "cocola" else ""
    return f"{tool}={python}{more}"


def ask(tools, contest, tmp_path, *names):
    return ask_all(read_outside([option(tools, name) for name in names], SECONDS), contest, tmp_path)


def test_distances_of_every_row_but_the_truth(tools, contest, tmp_path):
    heard = ask(tools, contest, tmp_path, "fadtk")
    assert set(heard.rows) == {"theirs", "shuffled", "vocal copy"}
    for figure in FADS:
        mean = {name: figures[figure]["mean"] for name, figures in heard.rows.items()}
        assert mean["theirs"] > mean["shuffled"] >= 0.0
        theirs = heard.rows["theirs"][figure]
        assert theirs["low"] < theirs["mean"] < theirs["high"] and theirs["clips"] == 3
    silent = [f"{figure} of silence (LinAlgError: singular matrix)" for figure in FADS]
    assert heard.notes == [f"fadtk gives no {'; '.join(silent)}."]
    assert heard.clips == {} and list(tmp_path.glob(".outside-*")) == []
    again = ask(tools, contest, tmp_path, "fadtk")
    assert again.rows == heard.rows  # the package's draws are seeded


def test_adherence_of_pairs_has_no_interval(tools, contest, tmp_path):
    heard = ask(tools, contest, tmp_path, "audio-metrics")
    apa = {name: figures["apa"] for name, figures in heard.rows.items()}
    assert apa["truth"] == {"mean": pytest.approx(1.0), "clips": 4}
    assert apa["shuffled"]["mean"] < 0.7 < 1.05 < apa["vocal copy"]["mean"]
    assert apa["theirs"] == {"mean": pytest.approx(1.0, abs=0.1), "clips": 3}
    assert heard.notes == ["audio-metrics gives no apa of silence (the result is nan)."]


def test_adherence_of_one_clip_means_nothing_and_is_left_out(tools, contest, tmp_path):
    alone = SimpleNamespace(clips=contest.clips[:1], rows=contest.rows, output=contest.output)
    heard = ask(tools, alone, tmp_path, "audio-metrics", "fadtk")
    assert not any("apa" in figures for figures in heard.rows.values()) and "fad_clap_inf" in heard.rows["shuffled"]
    assert "audio-metrics failed, its figures are left out: ValueError: too few clips to draw" in heard.notes[0]


def test_coherence_of_each_clip(tools, contest, tmp_path):
    heard = ask(tools, contest, tmp_path, "cocola")
    columns = {name: figures["cocola"] for name, figures in heard.clips.items()}
    assert columns["vocal copy"] == pytest.approx([3.0] * CLIPS)
    assert [len(column) for column in columns.values()] == [3, 4, 4, 4, 4]
    assert max(columns["shuffled"]) < 2.0 < min(columns["truth"])
    assert columns["silence"] == [None] * CLIPS
    assert heard.rows == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("fadtk", "must be TOOL=PYTHON"),
        ("fad={python}", "a TOOL of fadtk, audio-metrics, cocola"),
        ("fadtk=no/such/python", "there is no Python at no/such/python"),
        ("fadtk={python},checkpoint=x", "takes nothing after the Python, not 'checkpoint=x'"),
        ("cocola={python}", "needs its checkpoint"),
        ("cocola={python},checkpoint=missing.ckpt", "there is no checkpoint at missing.ckpt"),
        ("cocola={python},checkpoint={file},weights={file}", "takes checkpoint=PATH and repo=PATH"),
        ("cocola={python},checkpoint={file}", "cannot load it .ModuleNotFoundError: No module named 'contrastive_mod"),
        ("fadtk={file}", "cannot load it .*Exec format error"),
    ],
)
def test_wrong_options_are_told_before_anything_is_generated(tools, given, says):
    with pytest.raises(InputError, match=says):
        read_outside([given.format(python=sys.executable, file=_executable(tools))], SECONDS)


def _executable(tools):
    """A file that looks like a program and is none."""
    path = tools / "cocola.ckpt"
    path.chmod(0o755)
    return path


def test_packages_that_cannot_be_loaded_or_hear_are_told(tools, monkeypatch):
    with pytest.raises(InputError, match="is given twice"):
        read_outside([option(tools, "fadtk")] * 2, SECONDS)
    with pytest.raises(InputError, match="hears 5 s at a time; give --seconds 5 or more"):
        read_outside([option(tools, "audio-metrics")], 4.0)
    monkeypatch.setenv("FAIL_AT", "load")
    with pytest.raises(InputError, match=r"cannot load it \(RuntimeError: the weights are broken\); in that"):
        read_outside([option(tools, "fadtk")], SECONDS)
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(InputError, match=r"No module named 'fadtk'.*pip install fadtk"):
        read_outside([option(tools, "fadtk")], SECONDS)


def test_a_python_that_is_gone_by_then_costs_its_figures_only(contest, tmp_path):
    heard = ask_all((Outside("fadtk", str(tmp_path / "gone")),), contest, tmp_path)
    assert heard.rows == {} and "fadtk failed, its figures are left out: [Errno 2]" in heard.notes[0]


def test_a_full_disk_costs_these_figures_only(tools, contest, tmp_path, monkeypatch):
    found = read_outside([option(tools, "fadtk")], SECONDS)
    monkeypatch.setattr("accompany.audio.write", _no_space)
    heard = ask_all(found, contest, tmp_path)
    assert heard.rows == {} and heard.notes == ["fadtk could not be asked: No space left on device."]


def _no_space(*_, **__):
    raise InputError("No space left on device.")


def command(tools, contest, bundle_dir, tmp_path, *names):
    """`accompany evaluate` of one song with these packages."""
    from accompany import audio

    song = tmp_path / "songs" / "one"
    song.mkdir(parents=True)
    audio.write(song / "vocals.flac", contest.clips[0].vocal, RATE)
    audio.write(song / "accompaniment.flac", contest.clips[0].truth, RATE)
    asked = [word for name in names for word in ("--outside", option(tools, name))]
    model = ["--model", str(bundle_dir), "--device", "cpu"]
    return ["evaluate", str(tmp_path / "songs"), "--seconds", "5", "--report", str(tmp_path / "report"), *asked, *model]


def test_who_stops_while_a_package_listens_keeps_the_rest(tools, contest, random_bundle_dir, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("accompany.evaluation.report.ask_all", stopped)
    assert main(command(tools, contest, random_bundle_dir, tmp_path, "fadtk")) == 130
    assert "harmony" in json.loads((tmp_path / "report" / "report.json").read_text())["rows"]["accompany"]
    assert (tmp_path / "report" / "report.html").is_file()


def test_the_report_has_what_was_found_and_says_what_failed(
    tools, contest, random_bundle_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FAIL_AT", "run")
    assert main(command(tools, contest, random_bundle_dir, tmp_path, *TOOLS)) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert "audio-metrics failed, its figures are left out: RuntimeError: out of memory." in report["notes"]
    rows = report["rows"]
    assert {"fad_clap_inf", "fad_vggish_inf", "cocola"} <= set(rows["accompany"]) and "apa" not in rows["accompany"]
    assert rows["vocal copy"]["cocola"]["mean"] == pytest.approx(3.0)
    assert report["per_clip"]["vocal copy"][0]["cocola"] == pytest.approx(3.0)
    assert "fad_vggish_inf" not in rows["truth"]
    assert report["degenerate"]["cocola"]["row"] == "vocal copy"
    table = (tmp_path / "report" / "report.md").read_text()
    assert "| cocola ↑ |" in table and "audio-metrics failed" in table
    assert "fadtk listens to" in capsys.readouterr().err


@pytest.mark.timeout(1800)
def test_the_real_packages(contest, tmp_path):
    options = os.environ.get("ACCOMPANY_OUTSIDE", "").split()
    if not options:
        pytest.skip("ACCOMPANY_OUTSIDE names no Python that has fadtk, audio-metrics or COCOLA")
    tools = read_outside(options, SECONDS)
    heard = ask_all(tools, contest, tmp_path)
    for tool in tools:
        for figure in FIGURES[tool.tool]:
            found = [row[figure]["mean"] for row in heard.rows.values() if figure in row]
            found += [value for row in heard.clips.values() for value in row.get(figure, ())]
            assert len(found) >= 3 and np.isfinite(found).all(), heard.notes
            assert len(set(found)) > 1
    if "apa" in heard.rows.get("truth", {}):
        assert heard.rows["truth"]["apa"]["mean"] == pytest.approx(1.0, abs=0.01)
