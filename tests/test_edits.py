"""Edits of a take: a region, a share of its beats, time before and after; and playing while it is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import sing

from accompany import InputError
from accompany.evaluation.seams import Seams, edges, seams
from accompany.generation.pipeline import analyze, build_conditions
from accompany.generation.scores import WEIGHTS, likelihood, score
from accompany.generation.streaming import _played, _StreamLevel
from accompany.music.bars import bars_as_seconds, longer_plan
from accompany.music.plan import Plan

RATE = 24000
VOCAL = (sing(6.0, RATE), RATE)
PLAN = Plan(
    beats_s=tuple(0.5 * np.arange(12)),
    downbeats_s=(0.0, 2.0, 4.0),
    chords=((0.0, 2.0, "C"), (2.0, 4.0, "F"), (4.0, 6.0, "G")),
    key="C:maj",
    tempo_bpm=120.0,
)


@pytest.fixture(scope="module")
def take(band):
    return band.generate(VOCAL, "warm piano", seed=3)


def test_a_retake_changes_its_region_and_not_one_sample_outside(band, take):
    first, last = 2.0, 3.5
    shares: list[float] = []
    made = band.retake(take, first, last, progress=shares.append)
    a, b = round(first * RATE), round(last * RATE)
    np.testing.assert_array_equal(made.samples[:, :a], take.samples[:, :a])
    np.testing.assert_array_equal(made.samples[:, b:], take.samples[:, b:])
    inside = np.abs(made.samples[:, a:b] - take.samples[:, a:b])
    assert np.mean(inside > 1e-4) > 0.9 and made.samples.shape == take.samples.shape
    assert shares == sorted(shares) and shares[-1] == 1 and made.plan == take.plan
    np.testing.assert_array_equal(made.draft.codes[:, :50], take.draft.codes[:, :50])
    np.testing.assert_array_equal(made.draft.tokens[:, 176:], take.draft.tokens[:, 176:])
    again = band.retake(take, first, last)
    np.testing.assert_array_equal(again.samples, made.samples)
    assert not np.array_equal(band.retake(take, first, last, "rock drums").samples, made.samples)
    assert not np.array_equal(band.retake(take, first, last, seed=99).samples, made.samples)
    assert [edit.kind for edit in band.retake(made, 0.0, 1.0).edits] == ["retake", "retake"]


def test_a_retake_of_everything_and_of_the_ends(band, take):
    for first, last in ((0.0, 6.0), (0.0, 1.0), (5.0, 9.0)):
        made = band.retake(take, first, last)
        assert made.samples.shape == take.samples.shape and not np.array_equal(made.samples, take.samples)


@pytest.mark.parametrize(("first", "last"), [(1.0, 1.1), (3.0, 2.0), (7.0, 9.0)])
def test_regions_that_are_none_are_refused(band, take, first, last):
    with pytest.raises(InputError, match="region"):
        band.retake(take, first, last)


def test_a_take_without_draft_is_not_edited(band, take):
    with pytest.raises(InputError, match="draft"):
        band.retake(replace(take, draft=None), 1.0, 2.0)


def test_variation_grows_with_its_strength(band, take):
    changed = []
    for strength in (0.0, 0.4, 1.0):
        made = band.vary(take, strength)
        changed.append(float((made.draft.codes != take.draft.codes).any(axis=0).mean()))
        assert made.samples.shape == take.samples.shape and not np.array_equal(made.samples, take.samples)
    assert changed[0] == 0 and 0 < changed[1] < changed[2] and changed[2] > 0.8
    with pytest.raises(InputError, match="strength"):
        band.vary(take, 1.5)


def test_an_extension_keeps_what_was_there(band, take):
    made = band.extend(take, before_s=2.0, after_s=1.5)
    assert made.samples.shape[-1] == made.vocals.shape[-1] == round(9.5 * RATE)
    fade = round(0.06 * RATE)
    kept = slice(2 * RATE + fade, 8 * RATE - fade)
    np.testing.assert_array_equal(made.samples[:, kept], take.samples[:, fade:-fade])
    assert np.abs(made.samples[:, : 2 * RATE]).max() > 0.01 and np.abs(made.samples[:, 8 * RATE :]).max() > 0.01
    assert not made.vocals[:, : 2 * RATE].any() and not made.vocals[:, 8 * RATE :].any()
    np.testing.assert_allclose(made.plan.beats_s[0], 0, atol=1.0)
    shifted = np.asarray(take.plan.beats_s) + 2.0
    assert all(np.abs(np.asarray(made.plan.beats_s) - beat).min() < 1e-6 for beat in shifted)
    assert made.source.before_s == 2.0
    with pytest.raises(InputError, match="nothing"):
        band.extend(take)


def test_a_longer_plan_goes_on_steadily():
    plan = longer_plan(PLAN, 6.0, 2.0, 2.0)
    np.testing.assert_allclose(plan.beats_s, 0.5 * np.arange(20), atol=1e-9)
    np.testing.assert_allclose(plan.downbeats_s, [0, 2, 4, 6, 8], atol=1e-9)
    assert [label for _, _, label in plan.chords] == ["C", "C", "F", "G", "G"]
    assert plan.chords[0][0] == 0 and plan.chords[-1][1] == 10


def test_bars_are_counted_from_one():
    assert bars_as_seconds(PLAN, 1, 1) == (0.0, 2.0) and bars_as_seconds(PLAN, 2, 3) == (2.0, 6.0)
    for wrong in ((0, 1), (3, 2), (1, 9)):
        with pytest.raises(InputError, match="bars"):
            bars_as_seconds(PLAN, *wrong)


def test_takes_are_ranked_by_fit(band):
    takes = band.takes(VOCAL, "warm piano", 3, seed=5)
    fits = [take.scores["fit"] for take in takes]
    assert fits == sorted(fits, reverse=True) and {take.seed for take in takes} == {5, 6, 7}
    best = takes[0]
    assert best.scores["likelihood"] < 0
    strange = replace(best.draft, codes=np.roll(best.draft.codes, 1, axis=1))
    likely = [likelihood(band.bundle, best.vocals, best.plan, best.settings, each) for each in (best.draft, strange)]
    assert likely[0] == pytest.approx(best.scores["likelihood"], abs=1e-3) and likely[0] > likely[1]
    again = band.generate(VOCAL, "warm piano", seed=best.seed, reading=best.settings.reading)
    np.testing.assert_array_equal(best.samples, again.samples)
    with pytest.raises(InputError, match="takes"):
        band.takes(VOCAL, count=0)


def pulses(chords: str = "right") -> np.ndarray:
    """A band that strikes the chords of PLAN on its beats."""
    time_s = np.arange(6 * RATE) / RATE
    tones = {"right": ((0, 4, 7), (5, 9, 0), (7, 11, 2)), "wrong": ((1, 5, 8), (6, 10, 1), (8, 0, 3))}[chords]
    sound = np.zeros_like(time_s)
    for start_s, _, chord in ((start, end, tones[i]) for i, (start, end, _) in enumerate(PLAN.chords)):
        inside = (time_s >= start_s) & (time_s < start_s + 2)
        for tone in chord:
            sound += inside * np.sin(2 * np.pi * 261.63 * 2 ** (tone / 12) * time_s)
    return (0.2 * sound * np.exp(-6 * (time_s % 0.5)))[None].astype(np.float32)


def test_scores_prefer_the_right_chords_and_beats(band):
    voice = VOCAL[0][None]
    good = score(band.bundle, pulses(), voice, PLAN)
    wrong_chords = score(band.bundle, pulses("wrong"), voice, PLAN)
    late = score(band.bundle, np.roll(pulses(), RATE // 4, axis=1), voice, PLAN)
    assert good["harmony"] > 0.6 > 0.2 > wrong_chords["harmony"] and good["fit"] > wrong_chords["fit"]
    assert good["rhythm"] > 0.4 > late["rhythm"] + 0.3 and good["fit"] > late["fit"]
    assert good["fit"] == pytest.approx(sum(weight * good.get(name, 0) for name, weight in WEIGHTS.items()), abs=1e-3)
    whistling = pulses() + 0.3 * np.sin(2 * np.pi * 1500 * np.arange(6 * RATE) / RATE).astype(np.float32)
    assert score(band.bundle, whistling, voice, PLAN)["whistle"] > good["whistle"] + 0.2


def test_a_stream_plays_what_generate_makes(band):
    """Nine seconds are several windows of both stages; only the level, set by the first sound, may differ."""
    vocal = (sing(9.0, RATE), RATE)
    whole = band.generate(vocal, "warm piano", seed=2)
    stream = band.stream(vocal, "warm piano", seed=2)
    assert stream.first_sound_s is None
    pieces = list(stream)
    joined = np.concatenate(pieces, axis=1)
    assert len(pieces) > 2 and joined.shape == whole.samples.shape and stream.plan == whole.plan
    assert stream.first_sound_s > 0 and np.abs(joined).max() < 1
    for start in range(0, 9 * RATE, RATE):
        a, b = joined[0, start : start + RATE], whole.samples[0, start : start + RATE]
        assert np.corrcoef(a, b)[0, 1] > 0.999
    conditions = build_conditions(band.bundle, analyze(band.bundle, whole.vocals, whole.settings), whole.settings)
    *_, (tokens, n_written) = _played(band.bundle, conditions, whole.settings, ["mix"])
    np.testing.assert_array_equal(tokens[0, :, :n_written].numpy(), whole.draft.tokens)


def test_a_stream_gets_softer_without_a_cut_peak(band):
    time_s = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 220 * time_s).astype(np.float32)[None]
    level = _StreamLevel(band.bundle, sing(1.0, RATE)[None], 0.0)
    soft = level.set(0.05 * tone)
    gain = soft[0, 1000] / (0.05 * tone[0, 1000])
    loud = level.set(3 / gain * tone)
    audible = np.abs(tone[0]) > 0.2
    played = loud[0, audible] / (3 / gain * tone[0, audible])
    n = round(0.05 * RATE)
    assert played[0] <= gain and np.abs(loud).max() <= 0.98 + 1e-6
    line = np.polynomial.Polynomial.fit(np.flatnonzero(audible)[: n // 2], played[: n // 2], 1)
    np.testing.assert_allclose(played[: n // 2], line(np.flatnonzero(audible)[: n // 2]), rtol=1e-3)
    again = level.set(0.05 * tone)  # nothing is in the way of a slow return
    assert again[0, 5] / (0.05 * tone[0, 5]) == pytest.approx(played[-1], rel=0.05)


def test_sounds_too_short_to_have_seams_have_none():
    rng = np.random.default_rng(0)
    assert seams(np.zeros((1, 100), np.float32), RATE, [0.001]) == Seams(1.0, 1.0)
    assert edges(np.zeros((1, 100), np.float32), RATE, [0.001]) == []
    noise = rng.standard_normal((1, round(0.3 * RATE))).astype(np.float32)
    assert seams(noise, RATE, [0.12, 0.15, 0.18]) == Seams(1.0, 1.0), "no place is away from all borders"


def test_a_seam_is_seen_where_there_is_one():
    rng = np.random.default_rng(0)
    time_s = np.arange(8 * RATE) / RATE
    smooth = (np.sin(2 * np.pi * 220 * time_s) + 0.01 * rng.standard_normal(len(time_s))).astype(np.float32)[None]
    borders = [2.01, 4.03, 5.97]
    fine = seams(smooth, RATE, borders)
    broken = smooth.copy()
    for border in borders:
        broken[:, round(border * RATE) :] *= -0.7
    found = seams(broken, RATE, borders)
    assert fine.flux_ratio < 1.5 and found.flux_ratio > 3 and found.level_ratio > 3 > fine.level_ratio
