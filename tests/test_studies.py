"""Studies: what `accompany evaluate --study` measures, on a random model and on sounds whose answer is known."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("librosa")
pytest.importorskip("mir_eval")

from conftest import sing

from accompany import InputError, audio
from accompany.cli import main
from accompany.common.config import write_json
from accompany.data.songs.instruments import INSTRUMENTS
from accompany.evaluation import chord_metrics, metrics
from accompany.evaluation.arranger import arrange
from accompany.evaluation.report import find_judge
from accompany.evaluation.seams import edges
from accompany.evaluation.studies.length import load_long
from accompany.evaluation.studies.prompts import PROMPTS, prompts, true_renders
from accompany.evaluation.studies.run import StudyConfig, study
from accompany.evaluation.studies.setup import StudySetup
from accompany.evaluation.studies.table import Study
from accompany.evaluation.testset import load_clips

RATE, SECONDS = 24000, 4.0
CHORDS = ((0.0, 2.0, "C:maj"), (2.0, 4.0, "G:maj"))
BEATS = tuple(np.arange(0.0, SECONDS, 0.5).tolist())


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Two songs with everything known about them."""
    root = tmp_path_factory.mktemp("songs")
    for index in range(2):
        folder = root / f"{index:06d}"
        folder.mkdir()
        audio.write(folder / "vocals.flac", 0.5 * sing(SECONDS, RATE, seed=index), RATE)
        audio.write(folder / "accompaniment.flac", arrange(CHORDS, BEATS, round(SECONDS * RATE), RATE), RATE)
        facts = {"captions": ["warm piano"], "beats": BEATS, "downbeats": BEATS[::4], "chords": CHORDS, "key": "C:maj",
                 "notes": [[0.5 * n, 0.5 * n + 0.4, 57 + n, "la"] for n in range(8)],
                 "instruments": ["piano"], "absent": ["drums"]}  # fmt: skip
        write_json(folder / "song.json", facts)
    return root


def run(band, songs, tmp_path, name, **more):
    found = study(band, [str(songs)], tmp_path / "report", StudyConfig(name, SECONDS, **more))
    content = json.loads((tmp_path / "report" / f"study-{name}.json").read_text())
    assert content["rows"].keys() == found.rows.keys()
    assert (tmp_path / "report" / f"study-{name}.md").read_text() == found.as_table()
    return found


def test_controls_move_what_they_name(band, songs, tmp_path):
    found = run(band, songs, tmp_path, "controls")
    named = {"bpm", "taps", "key", "chords", "follow", "temperature 2", "like", "vary 0.8", "prompt", "guidance 6"}
    assert named < found.rows.keys()
    summary = found.summary()
    assert summary["temperature 2"]["with"]["mean"] > summary["temperature 0.4"]["with"]["mean"]
    assert summary["chords"]["truth"]["mean"] > 0.5  # the true band plays the true chords
    assert summary["taps"]["truth"]["mean"] > summary["taps"]["without"]["mean"]
    for row in found.rows.values():
        assert len(row["with"]) == 2 and "+rhythm" in row
    with pytest.raises(InputError, match=r"no row 'volume'; there are: bpm"):
        run(band, songs, tmp_path, "controls", only=("volume",))


def test_takes_by_rank_have_a_mean_and_a_ceiling(band, songs, tmp_path):
    found = run(band, songs, tmp_path, "takes", limit=1).rows
    for metric in ("beat_f", "chord_majmin", "harmony"):
        first, mean, best, gain = (
            found[row][metric]
            for row in ("first by ranking", "mean of the takes", "best by the truth", "gain of ranking")
        )
        np.testing.assert_allclose(gain, np.subtract(first, mean))
        assert len(first) == 1 and all(top >= each for top, each in zip(best, first, strict=True))
        assert all(top >= each for top, each in zip(best, mean, strict=True))


def test_retakes_leave_the_rest_alone(band, songs, tmp_path):
    found = run(band, songs, tmp_path, "retakes")
    assert found.rows["region"]["outside"] == [0.0] * 4
    assert all(share > 0.5 for share in found.rows["region"]["changed"])
    assert all(0 <= rank <= 1 for rank in found.rows["left end"]["flux rank"])


def test_long_songs_and_recordings_sung_again_and_again(band, tmp_path):
    audio.write(tmp_path / "voice.wav", sing(5.0, RATE), RATE)
    (clip,) = load_long([str(tmp_path)], RATE, 60.0, None)
    assert clip.seconds == 60.0
    np.testing.assert_allclose(clip.vocal[: 5 * RATE], clip.vocal[13 * RATE : 18 * RATE])
    assert not clip.vocal[5 * RATE + 10 : 13 * RATE].any()
    found = study(band, [str(tmp_path)], tmp_path / "report", StudyConfig("length", 60.0))
    row = {name: values[0] for name, values in found.rows["predicted tempo"].items()}
    assert row["first sound"] > 0 and row["seam flux"] > 0 and row["peak MB"] > 50 and row["rests"] is not None
    assert row["beat F first 30 s"] is None


def test_prompts_are_played_and_planned_for_taggers(band, songs, tmp_path):
    setup = StudySetup(band, find_judge(""), load_clips([str(songs)], sample_rate=band.sample_rate, seconds=4.0))
    earlier = tmp_path / "study-prompts" / "takes" / "piano" / "of other songs.wav"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"")
    found = prompts(setup, tmp_path, n_truth=0)
    assert len(found.rows) == len(PROMPTS)
    for row in found.rows.values():
        assert len(row["obedience"]) == 2 and len(row["of other prompts"]) == 2 * (len(PROMPTS) - 1)
    plan = json.loads((tmp_path / "study-prompts" / "takes.json").read_text())
    for tag, files in plan.items():
        assert files["yes"] and files["no"] and not set(files["yes"]) & set(files["no"]), tag
        assert all(Path(file).is_file() for file in files["yes"] + files["no"])
    assert not any("/jazz/" in file for file in plan["jamendo:piano"]["no"])  # a jazz trio has a piano too
    assert len(plan["jamendo:piano"]["yes"]) == 2  # not what an earlier study left there


def test_true_renders_that_cannot_be_made_are_refused_before_takes_are_played(band, songs, tmp_path, monkeypatch):
    clips = load_clips([str(songs)], sample_rate=band.sample_rate, seconds=4.0)
    setup = StudySetup(band, find_judge(""), clips)

    def missing(score, **options):
        raise InputError("FluidSynth is missing.")

    monkeypatch.setattr("accompany.data.songs.make.render_song", missing)
    monkeypatch.setattr(StudySetup, "play", lambda *args: pytest.fail("takes were played first"))
    with pytest.raises(InputError, match="FluidSynth"):
        prompts(setup, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PROMPTS)
def test_true_renders_play_what_the_prompt_asks_for(name, monkeypatch):
    rendered = []

    def render(score, **options):
        rendered.append(score)
        return SimpleNamespace(accompaniment=np.zeros((2, 8), np.float32))

    monkeypatch.setattr("accompany.data.songs.make.render_song", render)
    prompt = PROMPTS[name]
    assert len(list(true_renders(prompt, 2, 6.0, RATE))) == 2
    for score in rendered:
        families = {INSTRUMENTS[part.name].family for part in score.parts}
        assert families >= set(prompt.named) and not families & set(prompt.forbidden)
        assert families == set(prompt.named) or not prompt.alone
        assert prompt.style in ("", score.style)


def test_a_click_is_an_edge_and_its_surroundings_are_not():
    sound = 0.1 * np.random.default_rng(0).standard_normal((1, 4 * RATE)).astype(np.float32)
    sound[:, 2 * RATE :] *= 4
    seam, elsewhere = edges(sound, RATE, (2.0, 3.0))
    assert seam.level > 3 * elsewhere.level and seam.level_rank > 0.95 and seam.flux_rank > 0.95
    assert edges(sound, RATE, (0.01, 3.99)) == []


def test_a_key_fits_its_own_chords_best():
    cadence = ((0.0, 2.0, "C:maj"), (2.0, 4.0, "F:maj"), (4.0, 5.0, "G:maj"), (5.0, 6.0, "C:maj"))
    chroma = metrics.chroma(arrange(cadence, BEATS, round(SECONDS * RATE), RATE), RATE)
    fits = [chord_metrics.key_fit(chroma, key) for key in ("C:maj", "G:maj", "F#:maj")]
    assert fits[0] > fits[1] > fits[2] and chord_metrics.key_fit(np.zeros((12, 40)), "C:maj") == pytest.approx(
        0.0, abs=1e-9
    )


def test_tables_have_means_intervals_and_gaps():
    table = Study("title", {"a": {"x": [1.0, 3.0, None], "y": []}}, {"x": "what it is"}, ["a note"])
    assert table.summary() == {"a": {"x": {"mean": 2.0, "low": 1.0, "high": 3.0, "values": 2}}}
    assert "| a | 2.00 ± 1.00 |  |" in table.as_table() and "> a note" in table.as_table()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--study", "beauty"], "beauty"),
        (["--study", "length", "--seconds", "20"], "at least 60"),
        (["--study", "retakes", "--seconds", "2"], "at least 4"),
        (["--study", "retakes", "--only", "first"], "no rows to choose"),
    ],
)
def test_studies_that_cannot_be_are_refused(songs, tmp_path, capsys, arguments, sentence):
    assert main(["evaluate", str(songs), "--report", str(tmp_path / "r"), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_model_that_plans_nothing_is_not_studied(songs, tmp_path):
    class Other:
        name, sample_rate, bundle = "other", RATE, None

    with pytest.raises(InputError, match="plans nothing"):
        study(Other(), [str(songs)], tmp_path, StudyConfig("retakes", SECONDS))
