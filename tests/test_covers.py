"""Covers: the voice of a song taken out, and a band made for it."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import sing

pytest.importorskip("demucs")

from accompany import InputError, audio
from accompany.cli import main
from accompany.evaluation.arranger import arrange
from accompany.sound.covers import separate_vocal, vocal_of
from accompany.sound.separation import VocalSeparator

pytestmark = pytest.mark.usefixtures("loaded_once")

RATE = 24000
SONG = Path(__file__).parents[1].parent / "shared" / "songs" / "demucs_test.mp3"


@pytest.fixture(scope="module")
def separator():
    return VocalSeparator("tiny")


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Four seconds of voice over a band, stereo at 44.1 kHz."""
    rate, seconds = 44100, 4.0
    voice = sing(seconds, rate)
    band = arrange(((0.0, 4.0, "C:maj"),), tuple(np.arange(0, 4, 0.5)), round(seconds * rate), rate)
    path = tmp_path_factory.mktemp("song") / "song.wav"
    audio.write(path, np.stack([voice + 0.5 * band, voice + 0.4 * band]), rate)
    return path


def test_the_voice_of_a_song_is_written_as_long_as_the_song(song, separator, tmp_path):
    shares = []
    path = separate_vocal(song, tmp_path / "voice.wav", separator, shares.append)
    voice = audio.read(path)
    assert voice.sample_rate == separator.sample_rate and voice.samples.shape == (separator.channels, 4 * RATE)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0, abs=1e-3)
    whole = audio.read(song).samples.mean(axis=0, keepdims=True)
    in_memory = vocal_of(audio.resample(whole, 44100, RATE), RATE, separator, "song")
    assert in_memory.shape == (1, 4 * RATE)
    assert np.corrcoef(in_memory[0], voice.samples.mean(axis=0))[0, 1] > 0.99


@pytest.mark.skipif(not SONG.exists(), reason="the test song is not here")
def test_a_real_song_gives_a_voice_that_is_not_the_song(separator, tmp_path):
    voice = audio.read(separate_vocal(SONG, tmp_path / "voice.flac", separator)).samples.mean(axis=0)
    song = audio.read_mono(SONG, RATE)[0].samples[0][: len(voice)]
    assert 0.02 < np.square(voice).mean() / np.square(song).mean() < 0.9
    assert abs(len(voice) - len(song)) <= 1


def test_a_song_of_silence_is_refused(separator, tmp_path):
    audio.write(tmp_path / "nothing.wav", np.zeros((1, RATE)), RATE)
    with pytest.raises(InputError, match="no voice"):
        separate_vocal(tmp_path / "nothing.wav", tmp_path / "voice.wav", separator)
    assert not (tmp_path / "voice.wav").exists()


def test_generate_makes_a_cover_and_keeps_the_voice(song, random_bundle_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["generate", str(song), "--separate", "--mix", "--settings", "--json", "--model", str(random_bundle_dir)]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["files"][0]
    assert (told["song"], told["vocals"], told["mix"]) == (str(song), "song.vocals.wav", "song.mix.wav")
    band, mix, voice = (audio.read(told[name]).samples for name in ("accompaniment", "mix", "vocals"))
    assert band.shape == mix.shape == voice.shape == (1, 4 * RATE)
    np.testing.assert_allclose(mix, band + voice, atol=2e-4 + max(0.0, float(np.abs(band + voice).max()) - 0.98))
    assert main(["remake", "song.settings.json", "-o", "again.wav"]) == 0
    np.testing.assert_array_equal(audio.read("again.wav").samples, band)


def test_a_cover_as_a_project_can_be_edited(song, random_bundle_dir, tmp_path):
    project = tmp_path / "cover"
    model = ["--model", str(random_bundle_dir)]
    assert main(["generate", str(song), "--separate", "--project", str(project), "--mix", *model]) == 0
    assert audio.info(project / "vocal.wav").sample_rate == RATE and (project / "song.mix.wav").exists()
    assert main(["retake", str(project), "--from", "1", "--to", "2"]) == 0


def test_a_separator_alone_is_refused(song, capsys):
    assert main(["generate", str(song), "--separator", "htdemucs"]) == 2
    assert "--separate" in capsys.readouterr().err
