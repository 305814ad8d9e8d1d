"""The bundled model: what every user hears first."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from conftest import sing

import accompany
from accompany.models.pretrained import PARTS, find_bundle, read_bundle

VOCADITO = Path(__file__).parent.parent.parent / "shared" / "vocals" / "vocadito_14.flac"
RATE = 24000


@pytest.fixture(scope="module")
def tiny():
    return accompany.load("tiny", device="cpu")


@pytest.fixture(scope="module")
def take(tiny):
    return tiny.generate((sing(5.0, RATE), RATE), "piano and drums", seed=1)


def test_every_part_is_there_with_a_licence_within_60_mb():
    info = read_bundle(find_bundle("tiny"))
    assert {part.name for part in info.parts} == set(PARTS)
    assert all(part.license == "Apache-2.0" for part in info.parts)
    assert info.bytes <= 60_000_000
    assert "# tiny" in (info.path / "README.md").read_text(encoding="utf-8")


def test_the_band_is_as_long_as_the_voice_and_neither_silent_nor_clipped(take):
    assert take.samples.shape[-1] == 5 * RATE
    blocks = take.samples.mean(0)[: 5 * RATE].reshape(50, -1)
    level_db = 20 * np.log10(np.sqrt(np.mean(blocks**2, axis=1)) + 1e-9)
    assert np.mean(level_db < -60) < 0.3
    assert np.abs(take.samples).max() < 0.999


def test_the_plan_covers_the_clip(take):
    assert 40 <= take.plan.tempo_bpm <= 240
    assert len(take.plan.beats_s) >= 4
    assert take.plan.chords[0][0] <= 0.1
    assert take.plan.chords[-1][1] >= 4.9


def test_seed_and_prompt_change_the_take_and_the_same_ones_do_not(tiny, take):
    vocal = (sing(5.0, RATE), RATE)
    again = tiny.generate(vocal, "piano and drums", seed=1)
    assert np.array_equal(again.samples, take.samples)
    assert not np.array_equal(tiny.generate(vocal, "piano and drums", seed=2).samples, take.samples)
    assert not np.array_equal(tiny.generate(vocal, "strings, no drums", seed=1).samples, take.samples)


def test_a_known_tempo_is_kept(tiny):
    plan = tiny.generate((sing(5.0, RATE), RATE), "", bpm=96).plan
    assert np.median(np.diff(plan.beats_s)) == pytest.approx(60 / 96, rel=0.05)


def test_no_network_is_touched(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    band = accompany.load("tiny", device="cpu")
    assert band.generate((sing(2.0, RATE), RATE), "guitar").seconds == pytest.approx(2.0)


@pytest.mark.skipif(not VOCADITO.is_file(), reason="no shared recordings here")
def test_real_singing_gets_a_band_without_the_voice_in_it(tiny):
    pytest.importorskip("librosa")
    from accompany.evaluation.metrics import levels, voice_likeness

    take = tiny.generate(VOCADITO, "warm acoustic guitar, brushed drums", seed=0)
    band, voice = take.samples.mean(0), take.vocals[0]
    found = levels(band, take.sample_rate)
    assert voice_likeness(band, voice, take.sample_rate) < 0.3
    assert found.silent_share < 0.3
    assert found.clipped_share == 0.0
