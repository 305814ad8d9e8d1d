"""Readings of a vocal: grids that are mistaken for each other, keys, probabilities, takes over several readings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import sing
from test_listener import CONFIG, grid, output_of

from accompany import InputError, audio
from accompany.cli import main
from accompany.commands.console import describe
from accompany.generation.analysis import Analysis
from accompany.generation.readings import places, spread
from accompany.generation.settings import Settings
from accompany.generation.take import Take
from accompany.music.plan import Plan, Reading
from accompany.music.plan_files import plan_from_dict
from accompany.music.tracking import BeatTrack, Candidate
from accompany.stages.grids import Calibration, GridReading, likeliest, read_grids, related
from accompany.stages.listener import Listener

pytestmark = pytest.mark.usefixtures("loaded_once")

BEATS = grid(100.0, 20.0)
EVEN = Calibration(1.0, (0.0,) * 6, 1.0)
TWO = (Reading("the likeliest", 61.0, "C:maj", 0.4), Reading("twice the tempo", 122.0, "C:maj", 0.3))


def of_tempo(bpm: float, first_s: float = 0.31) -> Candidate:
    return Candidate(grid(bpm, 20.0, first_s))


def test_related_grids_cover_the_clip() -> None:
    found = related(BEATS, 20.0)
    np.testing.assert_allclose(found[1], grid(100.0, 20.0, 0.01), atol=1e-9)
    assert [round(GridReading(each).bpm) for each in found[:-1]] == [100, 100, 50, 50, 200] and not len(found[-1])
    assert not set(found[2]) & set(found[3])
    assert [len(each) > 0 for each in related(grid(70.0, 20.0), 20.0)] == [True, True, False, False, True, False]
    assert [len(each) for each in related(BEATS[:2], 1.0)] == [2, 0, 0, 0, 4, 0]


def test_candidates_count_for_the_reading_they_agree_with() -> None:
    candidates = [of_tempo(100.0), of_tempo(101.0), of_tempo(100.0, 0.02), of_tempo(50.0), of_tempo(133.0)]
    found = read_grids(candidates, np.log([0.4, 0.1, 0.25, 0.05, 0.2]), 20.0, EVEN)
    chances = {each.kind: each.probability for each in found}
    assert [each.kind for each in found[:3]] == [0, 1, 5]
    assert (chances[0], chances[1], chances[5]) == pytest.approx((0.5, 0.25, 0.2), abs=0.01)
    assert GridReading(found[2].beats_s).bpm == pytest.approx(133.0)
    flat = read_grids(candidates, np.log([0.4, 0.1, 0.25, 0.05, 0.2]), 20.0, Calibration(0.0, (0.0,) * 6, 1.0))
    assert [each.probability for each in flat] == pytest.approx([1 / 6] * 6)
    known = read_grids(candidates, np.log([0.4, 0.1, 0.25, 0.05, 0.2]), 20.0, EVEN, known_tempo=True)
    assert [each.kind for each in known] == [0, 1]
    with pytest.raises(ValueError, match="6 numbers"):
        Calibration(grid_prior=(1.0, 2.0))


def test_readings_differ_in_phase_then_in_tempo_and_key_by_probability() -> None:
    keys = np.full(24, 0.01)
    keys[[0, 21]] = 0.5, 0.28
    grids = [GridReading(BEATS, 0.6), GridReading(grid(200.0, 20.0), 0.3), GridReading(grid(100.0, 20.0, 0.01), 0.001)]
    found = [reading for _, reading in likeliest(grids, keys)]
    names = [each.name for each in found]
    assert names == ["the likeliest", "half a beat later", "in A:min", "twice the tempo"], "the phase, however unlikely"
    assert [round(each.probability, 4) for each in found] == [0.3, 0.0005, 0.168, 0.15] and found[2].key == "A:min"
    for other, name in ((grid(50.0, 20.0), "half the tempo"), (grid(133.0, 20.0), "another tempo")):
        assert likeliest([GridReading(BEATS, 0.5), GridReading(other, 0.5)], keys)[1][1].name == name
    assert len(likeliest(grids, np.eye(24)[3])) == 3, "a key that is known has no other"


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(CONFIG).eval()


def test_a_reading_is_played_as_it_is_listed(listener: Listener) -> None:
    first = listener.plan(output_of())
    assert len(first.readings) == 4 and first.reading == 1
    for number, told in enumerate(first.readings, 1):
        plan = listener.plan(output_of(), reading=number)
        assert plan.reading == number and plan.readings == first.readings
        assert plan.key == told.key and plan.tempo_bpm == pytest.approx(told.tempo_bpm)
    later = next(n for n, each in enumerate(first.readings, 1) if each.name == "half a beat later")
    beats = np.array(listener.plan(output_of(), reading=later).beats_s)
    middles = (np.array(first.beats_s)[1:] + np.array(first.beats_s)[:-1]) / 2
    assert np.abs(beats[:, None] - middles).min(axis=0).max() < 1e-6
    with pytest.raises(InputError, match="no reading 5 of this vocal; the last is 4"):
        listener.plan(output_of(), reading=5)


def test_what_is_known_is_no_reading(listener: Listener) -> None:
    plan = listener.plan(output_of(), bpm=100.0, key="C:maj")
    assert {each.key for each in plan.readings} == {"C:maj"} and plan.tempo_confidence is None
    assert [each.name for each in plan.readings] == [
        "the likeliest",
        "half a beat later",
    ] and plan.key_confidence is None
    track = BeatTrack(BEATS, BEATS[::4], 100.0, 4)
    plan = listener.plan(output_of(), grid=track, reading=2)
    assert plan.beats_s == tuple(BEATS) and plan.beat_confidence is None and plan.readings[1].name.startswith("in ")
    assert plan.key == plan.readings[1].key != plan.readings[0].key


def test_the_slopes_move_what_is_said_and_not_what_is_decided(listener: Listener) -> None:
    sure = Listener(dataclasses.replace(CONFIG, calibration=Calibration(key_slope=3.0, chord_offset=1.0))).eval()
    sure.load_state_dict(listener.state_dict())
    first, second = listener.plan(output_of()), sure.plan(output_of())
    assert (first.key, first.chords, first.beats_s) == (second.key, second.chords, second.beats_s)
    assert second.key_confidence > first.key_confidence and second.chord_confidence > first.chord_confidence


@pytest.mark.parametrize(
    ("chances", "count", "expected"),
    [([0.4, 0.3, 0.2], 4, [2, 1, 1]), ([0.5, 0.3, 0.2], 1, [1, 0, 0]), ([0.34, 0.33, 0.33], 2, [1, 1, 0]),
     ([0.2, 0.1], 3, [2, 1])],
)  # fmt: skip
def test_takes_are_shared_out(chances: list[float], count: int, expected: list[int]) -> None:
    assert places(chances, count) == expected


def test_takes_spread_only_where_it_is_in_doubt() -> None:
    unsure = Plan(beat_confidence=0.4, key_confidence=0.9, readings=TWO)
    assert [plan.reading for plan in spread(unsure, 4, lambda n: Plan(reading=n, readings=TWO))] == [1, 1, 2, 2]
    surer = dataclasses.replace(unsure, readings=(TWO[0], dataclasses.replace(TWO[1], probability=0.01)))
    assert [plan.reading for plan in spread(surer, 4, lambda n: Plan(reading=n, readings=TWO))] == [1, 1, 1, 2]
    for plan in (dataclasses.replace(unsure, beat_confidence=0.9), Plan(), Plan(readings=TWO)):
        assert spread(plan, 3, lambda n: pytest.fail("asked for")) == [plan] * 3


def test_takes_say_which_reading_they_play_and_are_made_again_by_it(band, monkeypatch) -> None:
    vocal = (sing(2.0, 24000), 24000)
    monkeypatch.setattr("accompany.generation.readings.SURE", 1.0)
    takes = band.takes(vocal, "jazz", 4, seed=3)
    assert len({take.plan.reading for take in takes}) > 1
    for take in takes:
        assert take.reading == take.plan.readings[take.plan.reading - 1]
        assert take.scores["reading"] == pytest.approx(take.reading.probability, abs=1e-4)
        again = band.generate(vocal, "jazz", seed=take.seed, reading=take.settings.reading)
        np.testing.assert_array_equal(again.samples, take.samples)
    assert {take.plan.reading for take in band.takes(vocal, "jazz", 3, reading=2)} == {2}
    edited = band.retake(takes[-1], 0.2, 0.9)
    assert edited.plan == takes[-1].plan and edited.edits[0].settings.reading is None


def test_plans_with_readings_go_through_files() -> None:
    plan = Plan((0.0, 1.0), (0.0,), (), "C:maj", 61.0, key_confidence=0.5, readings=TWO, reading=2)
    assert plan_from_dict(json.loads(json.dumps(dataclasses.asdict(plan)))) == plan
    found = Analysis.from_dict(json.loads(json.dumps(Analysis(plan, (), 2.0).as_dict())))
    assert found.plan == plan
    settings = Settings(plan=plan)
    assert Settings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
    for wrong in ({"reading": 3}, {"readings": [{**dataclasses.asdict(TWO[0]), "probability": 2}]}, {"readings": [{}]}):
        with pytest.raises((InputError, TypeError)):
            plan_from_dict({**dataclasses.asdict(plan), **wrong})


def test_a_plan_is_a_reading_already() -> None:
    with pytest.raises(InputError, match="one reading already"):
        Settings(plan=Plan(), reading=2)
    with pytest.raises(InputError, match=r"reading 1\.5 must be a whole number from 1 to 4"):
        Settings(reading=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"beat_confidence": 0.4, "readings": TWO}, "61 beats a minute (70% sure), perhaps 122: --bpm 122"),
        ({"beat_confidence": 0.9, "readings": TWO}, "61 beats a minute (70% sure), made"),
        ({"beat_confidence": 0.4, "readings": (TWO[0], Reading("half a beat later", 61.0, "C:maj", 0.3))},
         "perhaps half a beat later: --reading 2"),
        ({"key_confidence": 0.4, "readings": (*TWO, Reading("in A:min", 61.0, "A:min", 0.2))},
         "in C:maj (40% sure), perhaps in A:min: --reading 3"),
        ({"beat_confidence": 0.4, "readings": TWO, "reading": 2}, "61 beats a minute (70% sure), made"),
    ],
)  # fmt: skip
def test_the_line_of_a_take_names_what_else_it_may_be(plan: dict, says: str) -> None:
    silence = np.zeros((1, 24000), np.float32)
    whole = Plan((0.0, 1.0), key="C:maj", tempo_bpm=61.0, tempo_confidence=0.7, **plan)
    assert says in describe(Take(silence, 24000, silence, whole, Settings(), 0.1))


def test_the_command_line_plays_and_lists_readings(
    random_bundle_dir: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    pytest.importorskip("swift_f0")
    monkeypatch.chdir(tmp_path)
    audio.write("song.wav", sing(3.0), 44100)
    model = ["--model", str(random_bundle_dir)]
    assert main(["generate", "song.wav", "--reading", "2", "--json", *model]) == 0
    (file,) = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    assert file["reading"] == 2 and file["readings"][1]["name"] != "the likeliest"
    assert main(["analyse", "song.wav", "--no-picture", "--json", *model]) == 0
    done = capsys.readouterr()
    told = json.loads(done.out.splitlines()[-1])
    assert told["readings"][1]["name"] == file["readings"][1]["name"] and told["reading"] == 1
    assert "reading 2, " in done.err and ": --reading 2" in done.err
    assert main(["generate", "song.wav", "--reading", "5", *model]) == 2
    assert "The reading 5 must be a whole number from 1 to 4" in capsys.readouterr().err
