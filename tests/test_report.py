"""`accompany evaluate` on two small songs and a model with random weights: rows, table, page and refusals."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("librosa")
pytest.importorskip("mir_eval")
pytest.importorskip("matplotlib")

from conftest import sing

from accompany import audio
from accompany.errors import InputError
from accompany.evaluation.arranger import arrange
from accompany.evaluation.clip_metrics import summarise
from accompany.evaluation.plots import plot
from accompany.evaluation.report import EvaluationConfig, evaluate

RATE = 24000
SECONDS = 4.0


def write_song(folder: Path, chords: list[list], seed: int) -> None:
    folder.mkdir(parents=True)
    beats = list(np.arange(0.1, SECONDS, 0.5))
    band = arrange(tuple(map(tuple, chords)), tuple(beats), round(SECONDS * RATE), RATE)
    audio.write(folder / "vocals.flac", sing(SECONDS, RATE, seed)[None], RATE)
    audio.write(folder / "accompaniment.flac", np.stack([band, band]), RATE)
    song = {
        "beats": beats,
        "downbeats": beats[::4],
        "chords": chords,
        "key": "C:maj",
        "captions": [f"{('rock', 'not rock')[seed % 2]}, piano, no drums"],
    }
    (folder / "song.json").write_text(json.dumps(song | {"instruments": ["piano"], "absent": ["drums"]}))


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    root = tmp_path_factory.mktemp("songs")
    write_song(root / "000000", [[0.0, 2.0, "C:maj"], [2.0, 4.0, "F:maj"]], 0)
    write_song(root / "000001", [[0.0, 2.0, "F#:maj"], [2.0, 4.0, "B:min"]], 1)
    return root


@pytest.fixture(scope="module")
def report_dir(songs, band, tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    truth = audio.read(songs / "000000" / "accompaniment.flac")
    (root / "theirs").mkdir()
    audio.write(root / "theirs" / "000000.wav", truth.samples, truth.sample_rate)
    against = (f"theirs={root / 'theirs'}",)
    evaluate(band, [songs], root / "report", EvaluationConfig(seconds=SECONDS, players=1, against=against, seeds=2))
    return root / "report"


def test_floor_and_ceiling_stand_where_they_must(report_dir):
    rows = json.loads((report_dir / "report.json").read_text())["rows"]
    mean = {name: row["harmony"]["mean"] for name, row in rows.items()}
    assert mean["truth"] > 0.99
    assert mean["true chords"] > 0.9
    assert mean["shuffled"] < 0.3
    assert abs(mean["flat"]) < 0.4
    assert rows["vocal copy"]["voice_likeness"]["mean"] > 0.99
    assert rows["truth"]["voice_likeness"]["mean"] < 0.5
    assert rows["accompany"]["rtf"]["mean"] > 0
    assert rows["oracle plan"]["harmony"]["mean"] != rows["accompany"]["harmony"]["mean"]


def test_every_kind_of_figure_and_row_is_there(report_dir):
    report = json.loads((report_dir / "report.json").read_text())
    rows = report["rows"]
    assert list(rows)[:2] == ["accompany", "theirs"]
    assert rows["theirs"]["harmony"]["clips"] == 1
    assert rows["theirs"]["harmony"]["mean"] > 0.99
    assert "theirs has no output for 1 of 2 clips" in report["notes"][0]
    assert {"retrieval", "cluster", "silence"} <= set(rows)
    ours = {"chord_majmin", "key", "downbeat_f", "tempo_acc1", "clap_score", "fd_clap", "diversity", "named"}
    assert ours <= set(rows["accompany"])
    assert rows["shuffled"]["fd_mert"]["mean"] == pytest.approx(0.0, abs=1e-6)  # the same songs in another order
    assert rows["true chords"]["chord_majmin"]["mean"] > 0.8
    assert rows["shuffled"]["chord_majmin"]["mean"] < 0.2
    assert "si_sdr_db" not in rows["silence"]
    assert rows["silence"]["tempo_acc2"]["mean"] == 0.0
    assert "named" in report["families"]["truth"]["piano"]
    asked, predicted = report["styles"]["asked"], report["styles"]["heard"]
    assert [*asked.values()] == [["rock"], []] and set(predicted) == set(rows)
    first = next(iter(asked))
    assert {row["clip"]: row.get("style") for row in report["per_clip"]["truth"]}[first] == (
        predicted["truth"][first] == "rock"
    )
    assert rows["truth"]["style"]["clips"] == 1 and rows["silence"]["style"]["mean"] == 0.0
    assert predicted["silence"][first] == "" and report["prompt of another clip"]["style"]["clips"] == 1
    assert 0.3 < report["judge"]["styles"]["top1"] <= 1.0
    assert report["degenerate"]["voice_likeness"]["row"] == "silence"
    assert report["judge"]["families"]["drums"]["present"] > 0.5


def test_table_and_page_show_every_row_and_play_the_clips(report_dir):
    table = (report_dir / "report.md").read_text()
    page = (report_dir / "report.html").read_text()
    for row in ("accompany", "truth", "codec", "shuffled", "predicted chords"):
        assert f"| {row} |" in table
        assert f"clips/000_{row.replace(' ', '_')}.flac" in page
    assert len(list((report_dir / "clips").glob("*.flac"))) == 13
    assert "Source: mir_eval" in table
    assert "style ↑" in table and "| rock | 1 |" in table and "Styles of the prompt" in page
    assert (report_dir / "clips" / "overview.png").stat().st_size > 10_000
    assert (report_dir / "clips" / "000.png").stat().st_size > 10_000


def test_drawing_leaves_the_matplotlib_of_a_notebook_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it raises
    sound = sing(1.0, RATE)
    path = plot(tmp_path / "take.png", sound, sound, RATE, beats_s=(0.2, 0.7), chords=((0.0, 1.0, "C"),))
    assert path.read_bytes()[:4] == b"\x89PNG" and list(tmp_path.iterdir()) == [path]


def test_a_report_folder_that_is_a_file_is_refused(band, songs, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        evaluate(band, [songs], tmp_path / "file")


def test_intervals_hold_the_mean_and_shrink_with_clips():
    few = summarise([{"harmony": float(v)} for v in range(4)])["harmony"]
    many = summarise([{"harmony": float(v % 4)} for v in range(400)])["harmony"]
    assert few["low"] < few["mean"] < few["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]


def test_a_judge_trains_on_stems_and_names_what_it_hears(tmp_path):
    from accompany.evaluation.report import find_judge
    from accompany.training.judge.train import JudgeTrainingConfig, train_judge

    for i in range(4):
        folder = tmp_path / "songs" / f"{i:06d}"
        write_song(folder, [[0.0, SECONDS, "C:maj"]], i)
        longer = np.tile(audio.read(folder / "accompaniment.flac").samples, 3)
        audio.write(folder / "accompaniment.flac", longer, RATE)
        (folder / "stems").mkdir()
        audio.write(folder / "stems" / "piano.flac", longer, RATE)
        audio.write(folder / "stems" / "drums.flac", 0 * longer, RATE)
    songs = str(tmp_path / "songs")
    out = train_judge(
        JudgeTrainingConfig(songs=songs, out=str(tmp_path / "judge"), steps=12, batch_size=4, min_songs=1)
    )
    judge = find_judge(str(out))
    assert judge.config.families == ("piano",)  # silent drums are no drums
    assert json.loads((out / "figures.json").read_text())["held_out_clips"] >= 1
    import torch

    assert judge.instruments(torch.randn(1, RATE)) in ([frozenset()], [frozenset({"piano"})])
