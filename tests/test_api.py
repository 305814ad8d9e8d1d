"""The one door: lengths, seeds, options that bite, levels, saving."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import sing

import accompany
from accompany import InputError, audio
from accompany.api import choose_device, read_vocal
from accompany.generation.settings import Settings

SHORT = (sing(1.0, 24000), 24000)


@pytest.mark.parametrize(("sample_rate", "n_samples"), [(8000, 5001), (44100, 48511), (192000, 100003)])
def test_the_band_is_as_long_as_the_voice(band, sample_rate, n_samples):
    take = band.generate((sing(n_samples / sample_rate + 0.1, sample_rate)[:n_samples], sample_rate))
    assert take.samples.shape == (1, round(n_samples * 24000 / sample_rate)) == take.vocals.shape
    assert take.sample_rate == band.sample_rate == 24000 and take.samples.dtype == np.float32
    assert np.isfinite(take.samples).all() and 0.01 < np.abs(take.samples).max() < 1
    assert take.seconds == pytest.approx(n_samples / sample_rate, abs=1e-4)


def test_a_take_depends_on_arguments_and_seed_only(band):
    first = band.generate(SHORT, "warm piano", seed=3)
    assert first.seed == 3 and first.settings == Settings(prompt="warm piano", seed=3)
    band.generate(SHORT, "rock drums", seed=9)
    again = band.generate(SHORT, "warm piano", seed=3)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.plan == again.plan


def test_a_plan_is_played_as_it_is_given(band):
    heard = band.generate(SHORT, "warm piano", seed=3)
    np.testing.assert_array_equal(band.generate(SHORT, "warm piano", seed=3, plan=heard.plan).samples, heard.samples)
    changed = replace(heard.plan, chords=((0.0, heard.seconds, "F#:min"),))
    other = band.generate(SHORT, "warm piano", seed=3, plan=changed)
    assert other.plan == changed and not np.array_equal(other.samples, heard.samples)
    with pytest.raises(InputError, match="plan"):
        band.generate(SHORT, plan=changed, bpm=100)


def test_a_file_and_its_samples_give_the_same_take(band, vocal_path):
    read = audio.read(vocal_path, max_seconds=1.0)
    audio_take = band.generate((read.samples, read.sample_rate), seed=1)
    stereo = np.concatenate([read.samples, read.samples])
    np.testing.assert_allclose(band.generate((stereo, 44100), seed=1).samples, audio_take.samples, atol=1e-4)
    with_path = band.generate(vocal_path, seed=1)
    assert with_path.samples.shape == (1, 72000)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"prompt": "rock drums"}, {"bpm": 67.0}, {"key": "C#:min"}, {"temperature": 0.2}, {"guidance": 6.0}],
    ids=lambda change: next(iter(change)),
)
def test_every_option_changes_the_result(band, change):
    options: dict[str, Any] = {"prompt": "warm piano", "seed": 0}
    before, after = band.generate(SHORT, **options), band.generate(SHORT, **{**options, **change})
    assert not np.array_equal(before.samples, after.samples)
    if "bpm" in change:
        assert after.plan.tempo_bpm == pytest.approx(67, rel=0.1)
    if "key" in change:
        assert after.plan.key == "C#:min"


def test_the_level_follows_the_voice(band):
    from accompany.sound.level import loudness_db

    take = band.generate(SHORT, level_db=-12.0)
    difference = loudness_db(take.samples, 24000) - loudness_db(take.vocals, 24000)
    assert difference == pytest.approx(-12, abs=0.1)


def test_peaks_stay_below_full_scale():
    from accompany.sound.level import mix, set_level

    spiky = np.zeros((1, 24000), np.float32)
    spiky[0, ::1000] = 1.0
    loud = set_level(spiky, np.ones((1, 24000), np.float32), 24000, 20.0)
    assert np.abs(loud).max() == pytest.approx(0.98)
    both = mix(np.full((1, 8), 0.7, np.float32), np.array([[0.7, -0.7] * 4, [0.7] * 8], np.float32))
    assert both.shape == (2, 8) and np.abs(both).max() == pytest.approx(0.98) and both[0, 1] == 0
    assert not set_level(np.zeros((1, 100), np.float32), spiky, 24000, 0.0).any()


def test_progress_rises_to_one(band):
    shares: list[float] = []
    band.generate(SHORT, progress=shares.append)
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1 and len(shares) > 10


def test_a_long_vocal_is_played_window_by_window(band):
    """Nine seconds are more than three windows of this small model."""
    take = band.generate((sing(9.0, 24000), 24000), seed=2)
    assert take.samples.shape == (1, 9 * 24000)
    quarters = np.abs(take.samples).reshape(9, -1).max(axis=1)
    assert (quarters > 0.01).all()


def test_takes_are_saved(band, tmp_path):
    take = band.generate(SHORT, seed=5)
    take.save(tmp_path / "band.wav")
    take.save_mix(tmp_path / "both.flac")
    np.testing.assert_allclose(audio.read(tmp_path / "band.wav").samples, take.samples, atol=1e-6)
    both = audio.read(tmp_path / "both.flac")
    np.testing.assert_allclose(both.samples, take.mix, atol=1e-6)
    assert both.sample_rate == 24000


def test_several_vocals_are_made_as_each_on_its_own(band):
    long, other = (sing(9.0, 24000), 24000), (sing(1.3, 44100, seed=1), 44100)
    vocals, prompts = [SHORT, long, other], ["jazz", "", "slow piano"]
    shares: list[float] = []
    takes = band.generate(vocals, prompts, seed=4, progress=shares.append)
    for take, vocal, prompt in zip(takes, vocals, prompts, strict=True):
        alone = band.generate(vocal, prompt, seed=4)
        np.testing.assert_allclose(take.samples, alone.samples, atol=1e-5)
        assert take.plan == alone.plan and take.settings == alone.settings
    assert shares == sorted(shares) and shares[-1] == 1
    same = band.generate([SHORT, other], "jazz", seed=4)
    np.testing.assert_allclose(same[0].samples, takes[0].samples, atol=1e-5)
    assert band.generate([]) == []


def test_prompts_are_one_or_as_many_as_vocals(band):
    with pytest.raises(InputError, match="2 prompts for 1 vocals"):
        band.generate([SHORT], ["a", "b"])


def test_a_saved_model_plays_the_same(band, tmp_path):
    band.save(tmp_path / "copy")
    copy = accompany.load(tmp_path / "copy", device="cpu")
    assert copy.name == band.name and copy.device == "cpu"
    np.testing.assert_array_equal(copy.generate(SHORT, seed=1).samples, band.generate(SHORT, seed=1).samples)


def test_loading_and_playing_touch_no_network(random_bundle_dir, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    accompany.load(random_bundle_dir).generate(SHORT)


@pytest.mark.parametrize(
    ("samples", "sample_rate", "says"),
    [
        (np.zeros(0), 24000, "at least 0.5 s"),
        (np.ones(1), 24000, "at least 0.5 s"),
        (np.zeros(24000), 24000, "silent"),
        (np.full(24000, np.nan), 24000, "not numbers"),
        (np.full(24000, np.inf), 24000, "not numbers"),
        (np.zeros((24000, 2)), 24000, "[channels, T]"),
        (np.zeros((2, 2, 24000)), 24000, "[channels, T]"),
        (np.ones(24000), 0, "sample rate"),
    ],
)
def test_unusable_samples_are_refused(samples, sample_rate, says):
    with pytest.raises(InputError) as refusal:
        read_vocal((samples, sample_rate), 24000)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": -1}, "seed -1"),
        ({"bpm": 0}, "bpm 0 must be from 30 to 300"),
        ({"bpm": float("nan")}, "bpm nan"),
        ({"key": "H major"}, "'H major' must be a key such as C:maj"),
        ({"temperature": -0.1}, "temperature"),
        ({"guidance": 1e9}, "guidance"),
        ({"level_db": 99}, "level_db"),
    ],
)
def test_options_out_of_range_are_named(options, says):
    with pytest.raises(InputError) as refusal:
        Settings(**options)
    assert says in str(refusal.value)


@pytest.mark.parametrize("prompt", ["", "   ", "piano " * 200_000, "温かいピアノ 🎹", "\x00\udcff\n"])
def test_any_prompt_is_taken(band, prompt):
    assert np.isfinite(band.generate(SHORT, prompt).samples).all()
    assert len(Settings(prompt=prompt).prompt) <= 2000


def test_an_empty_prompt_is_no_prompt(band):
    np.testing.assert_array_equal(band.generate(SHORT, "  ").samples, band.generate(SHORT).samples)
    assert replace(Settings(), prompt=" a  b ").prompt == "a b"


def test_devices():
    assert choose_device("cpu") == "cpu" and choose_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(InputError, match="'tpu' is not available"):
        choose_device("tpu")


@pytest.mark.parametrize("name", ["no_such_model", "missing/folder/of/model"])
def test_an_unknown_model_is_named(name):
    with pytest.raises(InputError, match=name):
        accompany.load(name)


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"bundle\.json"):
        accompany.load(tmp_path)
