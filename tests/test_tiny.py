"""The bundled model: what every user hears first."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import sing

import accompany
from accompany import audio
from accompany.encoders.targets import chroma
from accompany.models.parts import PARTS
from accompany.models.pretrained import find_bundle, read_bundle
from accompany.music.harmony import chord_pitch_classes

VOCADITO = Path(__file__).parent.parent.parent / "shared" / "vocals" / "vocadito_14.flac"
RATE = 24000


@pytest.fixture(scope="module")
def tiny():
    return accompany.load("tiny", device="cpu")


@pytest.fixture(scope="module")
def take(tiny):
    return tiny.generate((sing(3.0, RATE), RATE), "piano and drums", seed=1)


@pytest.fixture(scope="module")
def without_drums(tiny):
    return tiny.generate((sing(3.0, RATE), RATE), "solo piano, no drums", seed=1)


def test_every_part_is_there_with_a_licence_within_80_mb():
    info = read_bundle(find_bundle("tiny"))
    assert {part.name for part in info.parts} == set(PARTS)
    assert all(part.license == "Apache-2.0" for part in info.parts)
    assert info.bytes <= 80_000_000
    assert "# tiny" in (info.path / "README.md").read_text(encoding="utf-8")


def test_the_band_is_as_long_as_the_voice_and_neither_silent_nor_clipped(take):
    assert take.samples.shape == (2, 3 * take.sample_rate)
    blocks = take.samples.mean(0).reshape(30, -1)
    level_db = 20 * np.log10(np.sqrt(np.mean(blocks**2, axis=1)) + 1e-9)
    assert np.mean(level_db < -60) < 0.3
    assert np.abs(take.samples).max() < 0.999


def test_the_plan_covers_the_clip(tiny):
    plan = tiny.analyse((sing(4.0, RATE), RATE)).plan
    assert 40 <= plan.tempo_bpm <= 240
    assert len(plan.beats_s) >= 4
    assert plan.chords[0][0] <= 0.1
    assert plan.chords[-1][1] >= 3.9


def test_seed_and_prompt_change_the_take_and_the_same_ones_do_not(tiny, take, without_drums):
    vocal = (sing(3.0, RATE), RATE)
    again = tiny.generate(vocal, "piano and drums", seed=1)
    assert np.array_equal(again.samples, take.samples)
    assert not np.array_equal(tiny.generate(vocal, "piano and drums", seed=2).samples, take.samples)
    assert not np.array_equal(without_drums.samples, take.samples)


def test_a_known_tempo_is_kept(tiny):
    plan = tiny.analyse((sing(4.0, RATE), RATE), bpm=96).plan
    assert np.median(np.diff(plan.beats_s)) == pytest.approx(60 / 96, rel=0.05)


def test_no_network_is_touched(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    band = accompany.load("tiny", device="cpu")
    assert band.generate((sing(1.0, RATE), RATE), "guitar").seconds == pytest.approx(1.0)


SONGS = {"A D E": tuple(0.5 * np.arange(12)), "Bb Ebm F#": tuple(0.25 + 0.5 * np.arange(11))}
"""Chords, one a bar of 2 s, and beats, of two songs of 6 s: far from each other in key, and off each other's beat."""


def harmony(sound: np.ndarray, rate: int, chords: str, first_s: float) -> float:
    """Pearson r over the twelve pitch classes of what sounds [T] and the chords, both over 1 s, mean over frames."""
    heard = chroma(torch.from_numpy(sound)[None], rate, 25.0)[0].numpy()
    wanted = np.zeros_like(heard)
    for bar, label in enumerate(chords.split()):
        start, stop = (round(25 * (first_s + 2 * edge)) for edge in (bar, bar + 1))
        wanted[start:stop, sorted(chord_pitch_classes(label)[1])] = 1.0

    def smooth(values: np.ndarray) -> np.ndarray:
        means = np.stack([np.convolve(column, np.ones(25) / 25, "same") for column in values.T], axis=1)
        return means - means.mean(axis=1, keepdims=True)

    heard, wanted = smooth(heard), smooth(wanted)
    norms = np.linalg.norm(heard, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((heard * wanted).sum(axis=1) / np.maximum(norms, 1e-9)).mean())


def on_the_beat(sound: np.ndarray, rate: int, beats_s: tuple[float, ...]) -> float:
    """Onset strength within 40 ms of the beats, as a share of that and the strength halfway between them."""
    window = torch.hann_window(1024)
    levels = torch.stft(torch.from_numpy(sound), 1024, rate // 100, window=window, return_complex=True).abs()
    rise = torch.log1p(100 * levels / levels.max().clamp(min=1e-9)).diff(dim=1).clamp(min=0).sum(dim=0).numpy()
    beats = np.asarray(beats_s[1:-1])
    on, off = (
        np.mean([rise[round(100 * at) - 5 : round(100 * at) + 4].max() for at in times])
        for times in (beats, beats[:-1] + 0.5 * np.diff(beats))
    )
    return float(on / max(on + off, 1e-9))


def test_the_band_plays_the_chords_and_beats_that_are_given(tiny):
    """What noise, silence and the band of another song reach is far below."""
    voice, prompt = (sing(6.0, RATE), RATE), "piano and drums"
    given = [tiny.settings(prompt, chords=chords, taps=beats, seed=1) for chords, beats in SONGS.items()]
    bands = [take.samples.mean(axis=0) for take in tiny.perform([voice, voice], given)]
    noise, rate = np.random.default_rng(0).standard_normal((3, bands[0].size)).astype(np.float32), tiny.sample_rate
    for own, other, (chords, beats) in zip(bands, bands[::-1], SONGS.items(), strict=True):
        others = [np.zeros_like(own), other, *(own.std() * each for each in noise)]
        ours, theirs = harmony(own, rate, chords, beats[0]), [harmony(each, rate, chords, beats[0]) for each in others]
        assert ours > 0.4 and ours > max(theirs) + 0.3, theirs
        ours, theirs = on_the_beat(own, rate, beats), [on_the_beat(each, rate, beats) for each in others]
        assert ours > 0.6 and ours > max(theirs) + 0.08, theirs


@pytest.mark.skipif(not VOCADITO.is_file(), reason="no shared recordings here")
def test_real_singing_gets_a_band_without_the_voice_in_it(tiny):
    pytest.importorskip("librosa")
    from accompany.evaluation.metrics import levels, voice_likeness

    sung = audio.read(VOCADITO)
    begun = (sung.samples[:, : 6 * sung.sample_rate], sung.sample_rate)
    take = tiny.generate(begun, "warm acoustic guitar, brushed drums", seed=0)
    band, voice = take.samples.mean(0), take.vocals[0]
    found = levels(band, take.sample_rate)
    assert voice_likeness(band, voice, take.sample_rate) < 0.3
    assert found.silent_share < 0.3
    assert found.clipped_share == 0.0


def test_stems_sum_to_the_band_and_no_drums_are_no_drums(take, without_drums):
    assert set(take.stems) == {"drums", "bass", "other"}
    total = sum(take.stems.values())
    assert np.abs(total - take.samples).max() < 1e-3 * np.abs(take.samples).max() + 1e-4
    assert "drums" in without_drums.muted and not without_drums.stems["drums"].any()
    loud = np.square(take.stems["drums"]).mean()
    assert loud > 1e-3 * np.square(take.samples).mean()
