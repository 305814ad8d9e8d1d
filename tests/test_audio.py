"""Reading, resampling and writing: exact lengths, and a clear sentence for every bad file."""

from __future__ import annotations

import os
import subprocess
import tracemalloc

import numpy as np
import pytest
import soundfile
from needs import needs

from accompany import audio
from accompany.errors import InputError


@pytest.fixture
def noise() -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((2, 44100 * 2 + 13))).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_what_is_written_comes_back(tmp_path, noise, suffix):
    path = tmp_path / f"x.{suffix}"
    audio.write(path, noise, 44100)
    back = audio.read(path)
    assert back.samples.shape == noise.shape and back.samples.dtype == np.float32 and back.sample_rate == 44100
    np.testing.assert_allclose(back.samples, noise, atol=2**-22)
    assert audio.info(path) == audio.AudioInfo(path, noise.shape[1], 44100, 2)
    assert back.seconds == pytest.approx(audio.info(path).seconds)


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_lossy_formats_keep_their_length(tmp_path, noise, suffix):
    audio.write(tmp_path / f"x.{suffix}", noise, 44100)
    assert audio.read(tmp_path / f"x.{suffix}").samples.shape == noise.shape


@needs("ffmpeg")
def test_what_libsndfile_cannot_read_goes_through_ffmpeg(tmp_path, noise):
    audio.write(tmp_path / "x.wav", noise, 44100)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "x.wav", tmp_path / "x.m4a"], check=True)
    back = audio.read(tmp_path / "x.m4a")
    assert back.sample_rate == 44100 and abs(back.samples.shape[1] - noise.shape[1]) < 4096


def test_max_seconds_reads_the_beginning(tmp_path, noise):
    audio.write(tmp_path / "x.wav", noise, 44100)
    part = audio.read(tmp_path / "x.wav", max_seconds=0.5)
    np.testing.assert_allclose(part.samples, noise[:, :22050], atol=2**-22)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 24000), (8000, 24000), (192000, 24000), (24000, 44100)])
@pytest.mark.parametrize("n_samples", [1, 7, 4410, 44101])
def test_resampling_has_the_exact_length(from_rate, to_rate, n_samples):
    out = audio.resample(np.zeros((2, n_samples), np.float32), from_rate, to_rate)
    assert out.shape == (2, round(n_samples * to_rate / from_rate))


def test_resampling_keeps_a_tone_in_place():
    seconds = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 440 * seconds)[None].astype(np.float32)
    out = audio.resample(tone, 44100, 24000)
    expected = np.sin(2 * np.pi * 440 * np.arange(24000) / 24000)
    np.testing.assert_allclose(out[0, 500:-500], expected[500:-500], atol=1e-3)


@pytest.mark.parametrize("sample_rate", [8000, 24000, 44100, 192000])
def test_reading_mono_by_blocks_equals_reading_at_once(tmp_path, sample_rate, monkeypatch):
    monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 1000)
    samples = 0.1 * np.random.default_rng(1).standard_normal((3, sample_rate // 2 + 7)).astype(np.float32)
    audio.write(tmp_path / "x.wav", samples, sample_rate, subtype="FLOAT")
    mono, source = audio.read_mono(tmp_path / "x.wav", 24000)
    whole = audio.resample(audio.to_mono(samples), sample_rate, 24000)
    assert source.n_samples == samples.shape[1] and source.channels == 3
    np.testing.assert_allclose(mono.samples, whole, atol=1e-6)


def test_reading_mono_holds_the_result_and_no_more(tmp_path):
    """Four minutes of eight channels at 48 kHz are 369 MB as float32; mono at 24 kHz 23 MB."""
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 48000, 8, subtype="PCM_16") as file:
        block = np.zeros((48000 * 10, 8), np.int16)
        for _ in range(24):
            file.write(block)
    tracemalloc.start()
    mono, _ = audio.read_mono(path, 24000)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert mono.samples.shape == (1, 240 * 24000) and peak_mb < 80


def test_fit_length_and_to_mono():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert audio.fit_length(x, 2).tolist() == [[0, 1], [3, 4]]
    assert audio.fit_length(x, 4).tolist() == [[0, 1, 2, 0], [3, 4, 5, 0]]
    assert audio.to_mono(x).tolist() == [[1.5, 2.5, 3.5]]


@pytest.mark.parametrize(
    ("n_samples", "expected"), [(0, 0), (1, 1), (960, 1), (961, 2), (24000, 25), (24000 * 3600, 90000)]
)
def test_frame_count_covers_the_sound(n_samples, expected):
    assert audio.frame_count(n_samples, 24000, 25.0) == expected


def test_a_clipped_file_is_read_with_a_warning(tmp_path, caplog):
    audio.write(tmp_path / "x.wav", np.clip(np.random.default_rng(0).standard_normal((1, 8000)), -1, 1), 8000)
    assert audio.read(tmp_path / "x.wav").samples.shape == (1, 8000)
    assert "clipped" in caplog.text


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), audio.replacing(tmp_path / "x.wav") as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"old")
    with pytest.raises(ValueError, match="subtype"):
        audio.write(tmp_path / "x.wav", np.zeros((1, 8), np.float32), 8000, subtype="VORBIS")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("name", ["x.txt", "x", "missing/x.wav", "folder.wav"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(InputError, match=name):
        audio.write(tmp_path / name, np.zeros((1, 8), np.float32), 8000)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.wav"]


def test_written_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        audio.write(tmp_path / "x.wav", np.zeros((1, 8), np.float32), 8000)
    finally:
        os.umask(old)
    assert (tmp_path / "x.wav").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["x" * 251 + ".wav", "歌" * 83 + ".wav", "a b 'c'.wav"])
def test_any_name_that_the_disk_takes_can_be_written(tmp_path, name):
    audio.write(tmp_path / name, np.zeros((1, 8), np.float32), 8000)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_channels_are_kept_or_averaged():
    sound = np.array([[0.0, 1.0], [1.0, 3.0]], np.float32)
    assert audio.to_channels(sound, 2) is sound
    assert audio.to_channels(sound, 3).tolist() == [[0.5, 2.0]] * 3


def test_a_header_without_a_length_is_no_truncation(tmp_path):
    """Programs that stream to a pipe cannot know the length; ffmpeg writes 0xFFFFFFFF then."""
    audio.write(tmp_path / "x.wav", np.full((1, 800), 0.5, np.float32), 8000, subtype="PCM_16")
    data = bytearray((tmp_path / "x.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(data)
    assert audio.read(tmp_path / "x.wav").samples.shape == (1, 800)
