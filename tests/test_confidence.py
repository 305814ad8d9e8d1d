"""Confidence: its fit on songs whose truth is known, its error, the study of plans, and the command that fits it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("librosa")
pytest.importorskip("mir_eval")

from test_studies import BEATS, run, songs  # noqa: F401  (a fixture)

from accompany import InputError
from accompany.common.weights import load_module
from accompany.evaluation.plan_metrics import calibration_error, half_off, plan_scores, told_and_right
from accompany.evaluation.testset import Clip, load_clips
from accompany.music.plan import Plan
from accompany.stages.grids import KINDS, Calibration
from accompany.stages.listener import Listener
from accompany.training.confidence import ConfidenceConfig, Evidence, fit, fit_confidence

SILENCE = np.zeros(24000, np.float32)
CHORDS = ((0.0, 4.0, "C:maj"), (4.0, 8.0, "G:maj"))
BEATS_S = tuple(np.arange(0.1, 8, 0.5).tolist())
CLIP = Clip("song", 24000, SILENCE, SILENCE, "", beats_s=BEATS_S, downbeats_s=BEATS_S[::4], chords=CHORDS, key="C:maj")
PLAN = Plan(CLIP.beats_s, CLIP.downbeats_s, CHORDS, "C:maj", 120.0, tempo_confidence=0.8, beat_confidence=0.4,
            key_confidence=0.7, chord_confidence=0.6)  # fmt: skip


def test_a_true_plan_scores_full_and_one_half_a_beat_off_does_not() -> None:
    assert plan_scores(PLAN, CLIP) == pytest.approx(
        {"beat_f": 1.0, "amlt": 1.0, "phase": 1.0, "downbeat_f": 1.0, "chord_majmin": 1.0, "key": 1.0}
    )
    off = dataclasses.replace(PLAN, beats_s=tuple(half_off(np.array(CLIP.beats_s))), key="A:min")
    scores = plan_scores(off, CLIP)
    assert scores["beat_f"] == 0 and scores["phase"] == -1 and scores["amlt"] > 0.9 and scores["key"] == 0.3
    nothing = plan_scores(PLAN, dataclasses.replace(CLIP, beats_s=(), downbeats_s=(), chords=(), key=""))
    assert set(nothing.values()) == {None}


def test_what_is_told_is_compared_with_what_is_right() -> None:
    assert told_and_right(PLAN, CLIP) == {
        "tempo": (0.8, 1.0), "phase": (0.5, 1.0), "key": (0.7, 1.0), "chords": (0.6, 1.0),
    }  # fmt: skip
    twice = dataclasses.replace(PLAN, beats_s=tuple(np.arange(0.1, 8, 0.25)), key="F:maj", chords=())
    assert told_and_right(twice, CLIP) == {"tempo": (0.8, 0.0), "key": (0.7, 0.0)}
    given = dataclasses.replace(PLAN, tempo_confidence=None, beat_confidence=None, key_confidence=None)
    assert set(told_and_right(given, CLIP)) == {"chords"}


def test_calibration_error_is_the_distance_of_the_two() -> None:
    rng = np.random.default_rng(0)
    told = rng.uniform(0, 1, 4000)
    right = (rng.uniform(0, 1, 4000) < told).astype(float)
    assert calibration_error(told, right) < 0.03
    assert calibration_error(told, np.ones(4000)) == pytest.approx(0.5, abs=0.02)
    assert calibration_error([0.9, 0.9], [1.0, 0.0]) == pytest.approx(0.4)


def evidence(n: int, truth: Calibration, seed: int = 0) -> list[Evidence]:
    """Clips drawn so that a calibration is right of them."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        shares, keys, odds = np.log(rng.dirichlet([0.5] * KINDS) + 1e-3), rng.normal(0, 2, 24), rng.normal(0, 1)
        grid_nats, key_nats = truth.grid_slope * shares + truth.grid_prior, truth.key_slope * keys
        kind, key = (int(rng.choice(len(x), p=np.exp(x) / np.exp(x).sum())) for x in (grid_nats, key_nats))
        right = 1 / (1 + np.exp(-truth.chord_slope * odds - truth.chord_offset))
        made.append(Evidence(shares, kind, bool(rng.random() < truth.other_share), keys, key, odds, right))
    return made


def test_a_calibration_is_found_again() -> None:
    truth = Calibration(0.7, (0.0, 0.4, -1.0, -0.5, -0.7, -1.2), 0.3, 0.4, 0.6, -0.5)
    found = fit(evidence(1500, truth))
    for field in dataclasses.fields(Calibration):
        np.testing.assert_allclose(
            getattr(found, field.name), getattr(truth, field.name), atol=0.35, err_msg=field.name
        )
    assert fit([]) == Calibration(), "what no song tells of stays as it is"
    held = fit(evidence(20, truth), hold=1e6)
    np.testing.assert_allclose(held.grid_prior, Calibration().grid_prior, atol=0.01)


def test_the_study_of_plans_has_a_floor_and_a_ceiling(band, songs, tmp_path) -> None:  # noqa: F811
    found = run(band, songs, tmp_path, "plans")
    assert {"reading 1", "best of two", "best of all readings", "another song", "told", "right"} < found.rows.keys()
    summary = found.summary()
    assert summary["best of all readings"]["beat_f"]["mean"] >= summary["best of two"]["beat_f"]["mean"]
    assert summary["best of two"]["beat_f"]["mean"] >= summary["reading 1"]["beat_f"]["mean"]
    assert 0 <= summary["calibration error"]["p_key"]["mean"] <= 1
    assert all(len(values) == 2 for values in found.rows["reading 1"].values())


def test_the_command_fits_the_confidence_of_a_model(random_bundle_dir: Path, songs, tmp_path: Path) -> None:  # noqa: F811
    config = ConfidenceConfig([str(songs)], str(random_bundle_dir), str(tmp_path / "out"), clips=2, seconds=4.0)
    folder = fit_confidence(config)
    before, after = load_module(Listener, random_bundle_dir / "listener"), load_module(Listener, folder)
    assert (
        json.loads((folder / "config.json").read_text())["calibration"]["key_slope"]
        == after.config.calibration.key_slope
    )
    assert after.config.calibration != before.config.calibration
    assert dataclasses.replace(after.config, calibration=before.config.calibration) == before.config
    assert all((a == b).all() for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True))
    assert BEATS and load_clips([str(songs)], sample_rate=24000, seconds=4.0)
    with pytest.raises(InputError, match=r"songs=\[DIR\]"):
        fit_confidence(ConfidenceConfig(out=str(tmp_path / "out")))
