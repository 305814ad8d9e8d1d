"""Controls: chords, taps, timed prompts, a recording to be like, strengths, and analyses that are edited."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import sing

from accompany import InputError
from accompany.common.config import read_json, write_json
from accompany.generation.analysis import Analysis
from accompany.generation.given import key_of, lay_chords, tapped_grid
from accompany.generation.pipeline import VocalAnalysis, build_conditions, embed_frames, extract_features
from accompany.generation.prompts import Cue, is_timed, read_cues, texts_per_frame
from accompany.generation.sections import find_sections
from accompany.generation.settings import Settings
from accompany.music.chord_text import read_chords
from accompany.music.instrumentation import Instrumentation, read_instrumentation
from accompany.music.plan import Plan

SHORT = (sing(2.0, 24000), 24000)
PLAN = Plan(beats_s=tuple(0.5 + 0.5 * np.arange(15)), downbeats_s=(0.5, 2.5, 4.5, 6.5), tempo_bpm=120.0, key="C:maj")


def test_chords_lie_one_a_bar_and_round_again():
    chords = lay_chords("C G Am", PLAN, 8.0)
    assert chords == ((0.0, 0.5, "Am"), (0.5, 2.5, "C"), (2.5, 4.5, "G"), (4.5, 6.5, "Am"), (6.5, 8.0, "C"))
    halves = lay_chords("C G | % F", PLAN, 8.0)
    assert halves[1:5] == ((0.5, 1.5, "C"), (1.5, 3.5, "G"), (3.5, 4.5, "F"), (4.5, 5.5, "C"))
    assert lay_chords("Dm", PLAN, 8.0) == ((0.0, 8.0, "Dm"),)
    assert read_chords("C | G Am") == [["C"], ["G", "Am"]]
    for wrong in ("", "H", "C | blues"):
        with pytest.raises(InputError, match="chord"):
            read_chords(wrong)


@pytest.mark.parametrize(("chords", "key"), [("C G Am F", "C:maj"), ("Am F C G Am", "A:min"), ("D A Bm G", "D:maj")])
def test_the_key_of_chords_is_the_one_they_belong_to(chords, key):
    assert key_of(lay_chords(chords, PLAN, 8.0)) == key


def test_taps_become_a_grid_of_the_whole_song():
    beats, downbeats = tapped_grid((2.1, 2.7, 3.3, 3.9, 4.5), 8.0)
    np.testing.assert_allclose(np.diff(beats), 0.6, atol=1e-9)
    assert 0 <= beats[0] < 0.6 and 8.0 - 0.6 < beats[-1] <= 8.0
    np.testing.assert_allclose([time for time in downbeats if time in beats], downbeats)
    assert any(abs(time - 2.1) < 1e-9 for time in downbeats)


def test_bars_have_as_many_beats_as_the_metre_says(band):
    beats, downbeats = tapped_grid((2.1, 2.7, 3.3), 8.0, 3)
    assert [beats.index(time) - beats.index(downbeats[0]) for time in downbeats] == [0, 3, 6, 9, 12]
    assert any(abs(time - 2.1) < 1e-9 for time in downbeats)
    vocal = 0.1 * np.sin(2 * np.pi * 220 * np.arange(6 * 24_000) / 24_000).astype(np.float32), 24_000
    for metre in (2, 3, 5):
        for known in ({}, {"bpm": 120.0}, {"taps": (0.5, 1.0, 1.5)}):
            plan = band.analyse(vocal, metre=metre, **known).plan
            assert plan.beats_per_bar == metre
            places = [plan.beats_s.index(time) for time in plan.downbeats_s]
            assert len(places) > 1 and np.diff(places).tolist().count(metre) >= (len(places) - 1) / 2, (metre, known)
    with pytest.raises(InputError, match="metre"):
        Settings(metre=1)
    with pytest.raises(InputError, match="give a plan, or the metre"):
        Settings(plan=plan, metre=3)


@pytest.mark.parametrize("taps", [(1.0,), (2.0, 1.0), (0.0, 0.01)])
def test_taps_that_are_no_beats_are_refused(taps):
    with pytest.raises(InputError, match="taps"):
        Settings(taps=taps)


def test_cues_have_times_or_sections():
    assert read_cues("0: solo piano; 1:05: full band; [Chorus] loud drums; and brass") == [
        Cue("solo piano", 0.0),
        Cue("full band", 65.0),
        Cue("loud drums; and brass", section="chorus"),
    ]
    assert not is_timed("warm piano; no drums") and is_timed("2: drums") and read_cues("a; b") == [Cue("a; b")]
    texts = texts_per_frame("soft; 2: loud; [break]", [(3.0, 4.0, "break")], 10, 2.0)
    assert texts == ["soft"] * 4 + ["loud"] * 2 + [""] * 2 + ["loud"] * 2


def test_texts_are_embedded_frame_by_frame():
    vectors, mask = embed_frames(["a", "", "b"], lambda texts: torch.eye(2)[: len(texts)])
    assert vectors[0].tolist() == [[1, 0], [0, 0], [0, 1]] and mask.tolist() == [[True, False, True]]
    vectors, mask = embed_frames(["", ""], lambda texts: torch.eye(2)[: len(texts)])
    assert vectors.tolist() == [[[0, 0], [0, 0]]] and not mask.any()


@pytest.mark.parametrize("prompt", ["12.5: full band", "[chorus] loud drums"])
def test_a_cue_that_never_comes_asks_for_nothing(band, prompt):
    vocal = sing(1.0, band.sample_rate), band.sample_rate
    np.testing.assert_array_equal(band.generate(vocal, prompt).samples, band.generate(vocal, "").samples)


def test_the_stages_are_told_each_cue_in_its_frames(band):
    vocal = SHORT[0][None]
    with torch.inference_mode():
        analysis = VocalAnalysis(extract_features(band.bundle, vocal), PLAN)
        conditions = build_conditions(band.bundle, analysis, Settings("warm piano; 1: rock drums"))
        plain = build_conditions(band.bundle, analysis, Settings("warm piano"))
    torch.testing.assert_close(conditions.text[0, :25], plain.text[0, :25])
    assert (conditions.text[0, 25:] - plain.text[0, 25:]).abs().max() > 0.01


def melody_of(bars: str, frame_rate: float = 25.0, bar_s: float = 2.0) -> np.ndarray:
    """Features of a voice that sings one pitch class a bar, 'a' to 'l', or rests ('.')."""
    per_bar = round(bar_s * frame_rate)
    melody = np.zeros((len(bars) * per_bar, 54), np.float32)
    for bar, letter in enumerate(bars):
        if letter != ".":
            rows = slice(bar * per_bar, (bar + 1) * per_bar)
            melody[rows, 3 * (ord(letter) - ord("a")) + 1] = 1.0
            melody[rows, 36] = 1.0
            melody[rows, 53] = 0.9
    return melody


def test_sections_are_found_by_rests_and_returns():
    form = "..abcdabcd" + "hijkhijk" + "..." + "abcdabcd" + "hijkhijk" + "hijkhijk" + ".."
    count = len(form)
    plan = Plan(beats_s=tuple(0.5 * np.arange(4 * count)), downbeats_s=tuple(2.0 * np.arange(count)))
    found = find_sections(melody_of(form), 25.0, plan)
    names = [name for _, _, name in found]
    assert names[0] == "intro" and names[-1] == "outro" and "break" in names
    at = {time: next(name for start, end, name in found if start <= time < end) for time in (8, 26, 39, 50, 66)}
    assert at == {8: "verse", 26: "chorus", 39: "break", 50: "verse", 66: "chorus"}
    assert found[0][0] == 0 and found[-1][1] == 2.0 * count
    assert all(first[1] == second[0] for first, second in zip(found, found[1:], strict=False))  # noqa: RUF007


@pytest.mark.parametrize(
    "change",
    [{"chords": "F# C#"}, {"taps": (0.2, 0.9, 1.6)}, {"follow": 0.0}, {"like": (sing(2.0, 24000, 5), 24000)},
     {"prompt": "warm piano; 1: rock drums"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_control_changes_the_result(band, change):
    options = {"prompt": "warm piano", "seed": 0}
    before, after = band.generate(SHORT, **options), band.generate(SHORT, **{**options, **change})
    assert not np.array_equal(before.samples, after.samples)
    again = band.generate(SHORT, **{**options, **change})
    np.testing.assert_array_equal(again.samples, after.samples)
    if "chords" in change:
        assert {label for _, _, label in after.plan.chords} <= {"F#", "C#"} and after.plan.key == "F#:maj"
        assert after.plan.beats_s == before.plan.beats_s
    if "taps" in change:
        assert np.median(np.diff(after.plan.beats_s)) == pytest.approx(0.7) and 0.2 in after.plan.downbeats_s


def test_the_words_of_each_cue_state_its_instrumentation(band):
    with torch.inference_mode():
        analysis = VocalAnalysis(extract_features(band.bundle, sing(2.0, 24000)[None]), PLAN)
        conditions = build_conditions(band.bundle, analysis, Settings("solo piano; 1: piano and drums, no bass"))
        without = build_conditions(band.bundle, analysis, Settings(""))
    first, second = (conditions.instruments[0, frame].numpy() for frame in (0, 40))
    np.testing.assert_array_equal(first, read_instrumentation("solo piano").vector())
    np.testing.assert_array_equal(second, Instrumentation(("piano", "drums"), ("bass",)).vector())
    assert conditions.instruments_mask.all() and not without.instruments_mask.any()


def test_the_strength_of_a_recording_goes_from_prompt_to_recording(band):
    like = (sing(2.0, 24000, 5), 24000)
    with torch.inference_mode():
        analysis = VocalAnalysis(extract_features(band.bundle, SHORT[0][None]), PLAN)
        conditions = {
            s: build_conditions(band.bundle, analysis, band.settings("piano", like=like, like_strength=s))
            for s in (0.0, 0.5, 1.0)
        }
        plain = build_conditions(band.bundle, analysis, Settings("piano"))
    torch.testing.assert_close(conditions[0.0].text, plain.text)
    near = [float((conditions[s].text[0, 0] * conditions[1.0].text[0, 0]).sum()) for s in (0.0, 0.5, 1.0)]
    assert near == sorted(near) and near[2] == pytest.approx(1)
    with pytest.raises(InputError, match="recording"):
        Settings("piano", like_strength=0.5)


def test_an_analysis_is_saved_edited_and_locked(band, tmp_path):
    analysis = band.analyse(SHORT)
    assert analysis.plan == band.generate(SHORT).plan and analysis.seconds == 2.0
    path = tmp_path / "a.json"
    analysis.save(path)
    back = Analysis.load(path)
    assert back.is_locked and back.plan.key == analysis.plan.key
    np.testing.assert_allclose(back.plan.beats_s, analysis.plan.beats_s, atol=1e-4)
    content = read_json(path)
    content["chords"] = [{"start": 0.5, "end": 1.0, "chord": "Eb:min"}]
    content["key"] = {"name": "Eb:min", "locked": True}
    content["beats"]["locked"] = False
    write_json(path, content)
    edited = Analysis.load(path)
    assert not edited.is_locked and edited.known.beats_s == () and edited.known.bpm == edited.plan.tempo_bpm
    again = band.analyse(SHORT, edited=edited).plan
    assert again.key == "Eb:min" and (0.5, 1.0, "Eb:min") in again.chords and len(again.chords) >= 2
    unlocked = dataclasses.replace(edited, open_parts=frozenset({"tempo"}))
    assert band.analyse(SHORT, edited=unlocked).plan.beats_s == edited.plan.beats_s


@pytest.mark.parametrize(
    "change",
    [{"chords": [{"start": 1, "end": 0, "chord": "C"}]}, {"chords": [{"start": 0, "end": 1, "chord": "H"}]},
     {"beats": {"times": [2, 1], "downbeats": []}}, {"beats": {"times": [1, float("nan")], "downbeats": []}},
     {"chords": [{"start": float("nan"), "end": 1, "chord": "C"}]},
     {"key": {"name": "H"}}, {"format": "?"}, {"tempo": 3}],
    ids=str,
)  # fmt: skip
def test_a_broken_chord_file_is_refused(change, tmp_path):
    good = Analysis(PLAN, (), 8.0).as_dict()
    write_json(tmp_path / "a.json", {**good, **change})
    with pytest.raises(InputError, match=r"a\.json"):
        Analysis.load(tmp_path / "a.json")


def test_settings_survive_json(band, tmp_path):
    settings = band.settings("piano", like=(sing(2.0, 24000, 5), 24000), like_strength=0.3, temperature=0.7)
    settings = settings.playing(dataclasses.replace(PLAN, chords=((0.0, 8.0, "A:min7"),)))
    write_json(tmp_path / "s.json", settings.as_dict())
    assert Settings.from_dict(read_json(tmp_path / "s.json")) == settings
    for wrong in ({"seeds": 3}, {"plan": {"beats_s": "x"}}):
        with pytest.raises(InputError, match="read"):
            Settings.from_dict(wrong)
