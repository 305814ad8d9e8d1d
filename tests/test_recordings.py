"""Recordings as they come: what other programs wrote, cut, joined, turned round or scaled; the sound is compared."""

from __future__ import annotations

import io
import math
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import sing

from accompany import audio
from accompany.common import decoding, encoding, ffmpeg
from accompany.data.prepare.sources import find_songs
from accompany.errors import InputError
from accompany.generation.vocals import read_vocal, read_with_source
from accompany.sound.blocks import stream
from accompany.sound.files import start_of
from accompany.sound.files import write as write_sound
from accompany.sound.options import Sound

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
RATE = 16000


def correlation(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """How alike two sounds [T] are at the best shift, and the level of the first against the second, in dB."""
    size = len(found) + len(true)
    crossed = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(true, size).conj())
    energy, expected = float(found @ found), float(true @ true)
    return float(crossed.max()) / math.sqrt(energy * expected), 10 * math.log10(energy / expected)


def assert_alike(back, sound, rate, least, most_db):
    """Each channel of sound [T, C] that is not silent has come back, at its level."""
    assert len(back.samples) == sound.shape[1]
    for channel in np.flatnonzero(sound.any(axis=0)):
        found = audio.resample(back.samples[channel : channel + 1], back.sample_rate, rate)[0]
        alike, level_db = correlation(found, sound[:, channel])
        assert alike > least and abs(level_db) < most_db


def convert(source: Path, target: Path, *options: str) -> Path:
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", source, *options, target], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot write {target.name}: {done.stderr[-200:]!r}")
    return target


HANDED_OVER = {
    "aac.m4a": (),
    "alac.m4a": ("-c:a", "alac"),
    "aac.mov": ("-c:a", "aac"),
    "opus.webm": ("-c:a", "libopus"),
    "deep.mka": ("-c:a", "pcm_s24le"),
}


@needs_ffmpeg
@pytest.mark.parametrize(("rate", "channels"), [(8000, 2), (44100, 1), (192000, 6)])
@pytest.mark.parametrize("name", HANDED_OVER)
def test_what_ffmpeg_hands_over_is_the_sound(tmp_path, name, rate, channels):
    voice = 0.25 * sing(0.8, rate)
    sound = np.stack([voice * (1 - 0.1 * channel) for channel in range(channels)], 1)
    if "aac" in name and channels == 6:
        sound[:, 3] = 0  # AAC keeps the lowest bass only of this channel
    soundfile.write(tmp_path / "voice.wav", sound, rate, subtype="PCM_24")
    options = HANDED_OVER[name] + (("-mapping_family", "255") if "opus" in name and channels == 6 else ())
    back = audio.read(convert(tmp_path / "voice.wav", tmp_path / name, *options))
    assert_alike(back, sound, rate, 0.96, 0.5)
    mono = read_vocal(tmp_path / name, 24000)[0]
    alike, level_db = correlation(mono, audio.resample(sound.mean(axis=1)[None].astype(np.float32), rate, 24000)[0])
    assert alike > 0.95 and abs(level_db) < 1.0


WRITTEN = {
    "x.wma": (2, "-c:a", "wmav2"),
    "v1.wma": (2, "-c:a", "wmav1"),
    "x.asf": (2, "-c:a", "wmav2"),
    "x.amr": (1, "-c:a", "libopencore_amrnb"),
    "amr.3gp": (1, "-c:a", "libopencore_amrnb"),
    "aac.3gp": (6, "-c:a", "aac"),
    "x.aac": (6,),
    "x.ac3": (6,),
    "x.eac3": (6,),
    "x.dts": (6, "-strict", "-2"),
    "x.mp2": (2,),
    "mp3.avi": (2, "-c:a", "libmp3lame"),
    "aac.ts": (6, "-c:a", "aac"),
    "aac.flv": (6, "-c:a", "aac"),
    "x.wv": (6,),
    "x.tta": (6,),
    "x.voc": (2,),
    "x.caf": (6,),
    "float.caf": (6, "-c:a", "pcm_f32be"),
    "alac.caf": (6, "-c:a", "alac"),
    "x.au": (6,),
    "float.au": (6, "-c:a", "pcm_f32be"),
    "mulaw.au": (6, "-c:a", "pcm_mulaw"),
    "x.w64": (6,),
    "float.w64": (6, "-c:a", "pcm_f32le"),
    "int.w64": (6, "-c:a", "pcm_s32le"),
    "float.aifc": (6, "-c:a", "pcm_f32be", "-f", "aiff"),
    "sowt.aifc": (6, "-c:a", "pcm_s16le", "-f", "aiff"),
    "alaw.aifc": (6, "-c:a", "pcm_alaw", "-f", "aiff"),
    "bytes.wav": (6, "-c:a", "pcm_u8"),
    "int.wav": (6, "-c:a", "pcm_s32le"),
    "double.wav": (6, "-c:a", "pcm_f64le"),
    "alaw.wav": (6, "-c:a", "pcm_alaw"),
    "ima.wav": (2, "-c:a", "adpcm_ima_wav"),
    "mp3.wav": (2, "-c:a", "libmp3lame"),
    "rf64.wav": (6, "-rf64", "always"),
    "flac.ogg": (6, "-c:a", "flac"),
    "flac.mp4": (6, "-c:a", "flac", "-strict", "-2"),
}
"""Most channels of a format, and how ffmpeg is asked for it."""


@needs_ffmpeg
@pytest.mark.parametrize("is_least", [True, False])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_other_programs_write_is_the_sound(tmp_path, name, is_least):
    """One channel at 8 kHz, and the most that the format holds."""
    most, *options = WRITTEN[name]
    rate, channels = (8000, 1) if is_least else (44100 if most < 6 else 48000, most)
    if most == 1 and not is_least:
        pytest.skip(f"{name} is of one channel at 8 kHz only")
    sound = np.stack([0.25 * sing(0.8, rate) * (1 - 0.1 * channel) for channel in range(channels)], 1)
    sound[:, 3:4] = 0  # many coders keep the lowest bass only of this channel
    soundfile.write(tmp_path / "voice.wav", sound, rate, subtype="PCM_24")
    back = audio.read(convert(tmp_path / "voice.wav", tmp_path / name, *options))
    assert_alike(back, sound, rate, 0.8 if "amr" in name else 0.96, 0.6)


@needs_ffmpeg
@pytest.mark.parametrize("coding", ["pcm_s16le", "pcm_f32le"])
@pytest.mark.parametrize("kind", ["w64", "wav", "au", "aiff", "caf", "flac", "matroska"])
def test_what_is_written_to_a_pipe_is_the_sound(tmp_path, kind, coding):
    voice = 0.25 * sing(1.0, 44100)
    soundfile.write(tmp_path / "voice.wav", voice, 44100, subtype="PCM_24")
    options = [] if kind == "flac" else ["-c:a", coding.replace("le", "be") if kind in ("au", "aiff") else coding]
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "voice.wav", *options, "-f", kind, "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot write {kind} to a pipe: {done.stderr[-200:]!r}")
    (tmp_path / "x").write_bytes(done.stdout)
    np.testing.assert_allclose(audio.read(tmp_path / "x").samples[0], voice, atol=2**-14)


@needs_ffmpeg
def test_a_voc_file_needs_ffmpeg(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "x.voc", sing(1.0, RATE), RATE)
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"x\.voc as audio \(VOC files are not read without ffmpeg\); convert"):
        audio.read(tmp_path / "x.voc")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile other.ts\n",
    "sdp": "v=0\nm=audio 5004 RTP/AVP 0\nc=IN IP4 127.0.0.1\n",
}


@needs_ffmpeg
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_reads_no_other_file(tmp_path, kind):
    soundfile.write(tmp_path / "voice.wav", sing(1.0, RATE), RATE)
    convert(tmp_path / "voice.wav", tmp_path / "other.ts", "-c:a", "aac")
    assert audio.info(tmp_path / "other.ts").sample_rate == RATE
    for suffix in ("wav", "m4a", "m3u8", "ffconcat", "mka"):
        (tmp_path / f"list.{suffix}").write_text(PLAYLISTS[kind])
        with pytest.raises(InputError, match=rf"Cannot read .*list\.{suffix} as audio"):
            audio.read(tmp_path / f"list.{suffix}")


@needs_ffmpeg
@pytest.mark.parametrize("name", ["aac.m4a", "opus.webm"])
def test_the_server_reads_the_same_sound(tmp_path, name):
    uploads = pytest.importorskip("accompany.serve.uploads")
    from accompany.serve.limits import Limits

    voice = 0.25 * sing(1.0, 48000)
    soundfile.write(tmp_path / "voice.wav", np.stack([voice, -0.98 * voice], 1), 48000)
    upload = convert(tmp_path / "voice.wav", tmp_path / name, *HANDED_OVER[name])
    np.testing.assert_array_equal(uploads.decode(upload, "song", 24000, Limits()).samples, read_vocal(upload, 24000))
    alike, level_db = correlation(read_vocal(upload, 24000)[0], audio.resample(0.99 * voice[None], 48000, 24000)[0])
    assert alike > 0.98 and abs(level_db) < 0.5
    with pytest.raises(uploads.TooLargeError, match="song is longer than"):
        uploads.decode(upload, "song", 24000, Limits(max_minutes=0.01))


@needs_ffmpeg
def test_the_first_of_several_streams_is_read_with_a_word_about_the_others(tmp_path, caplog):
    voice = 0.3 * sing(1.0, 48000)
    soundfile.write(tmp_path / "voice.wav", voice, 48000)
    soundfile.write(tmp_path / "other.wav", np.zeros(48000), 48000)
    picture = ("-f", "lavfi", "-i", "color=size=64x64:rate=10:duration=1", "-i", tmp_path / "other.wav")
    streams = ("-map", "1:v", "-map", "0:a", "-map", "2:a", "-c:v", "mpeg4", "-c:a", "aac")
    convert(tmp_path / "voice.wav", tmp_path / "clip.mov", *map(str, picture), *streams)
    alike, level_db = correlation(audio.read(tmp_path / "clip.mov").samples[0], voice)
    assert alike > 0.98 and abs(level_db) < 0.5 and "2 audio streams" in caplog.text


def size_field(data: bytes, kind: str) -> tuple[int, str]:
    """Where the length of the samples stands, and how."""
    if kind == "AU":
        return 8, ">I"
    if kind == "AIFF":
        return data.index(b"SSND") + 4, ">I"
    return (28, "<Q") if kind == "RF64" else (data.index(b"data") + 4, "<I")


FORMATS = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "DOUBLE"), ("WAVEX", "FLOAT"), ("WAV", "MS_ADPCM"),
           ("RF64", "PCM_24"), ("AIFF", "PCM_16"), ("AU", "FLOAT")]  # fmt: skip


@pytest.mark.parametrize("lie", ["0", "half", "0x7FFFEFFF", "0xFFFFFFFF", "double"])
@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_a_header_with_a_wrong_length_does_not_hide_the_sound(tmp_path, kind, subtype, lie, caplog):
    path = tmp_path / "x.wav"
    soundfile.write(path, sing(2.0, RATE), RATE, format=kind, subtype=subtype)
    true = audio.read(path).samples
    data = bytearray(path.read_bytes())
    at, form = size_field(data, kind)
    length = struct.unpack_from(form, data, at)[0]
    wrong = {"half": length // 2, "double": 2 * length}.get(lie) if lie in ("half", "double") else int(lie, 16)
    if kind == "RF64" and lie.startswith("0x"):
        wrong = 2**64 - 1
    struct.pack_into(form, data, at, wrong)
    path.with_name("y.wav").write_bytes(data)
    np.testing.assert_array_equal(audio.read(path.with_name("y.wav")).samples, true)
    assert audio.info(path.with_name("y.wav")).n_samples == true.shape[1]
    if lie in ("0", "half"):
        assert caplog.text.count("wrong length") == 1


def with_lengths(path: Path, outer: int, samples: int) -> bytes:
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 4, outer)
    struct.pack_into("<I", data, data.index(b"data") + 4, samples)
    return bytes(data)


def test_a_recorder_that_crashed_leaves_an_old_length_in_both_fields(tmp_path):
    voice = sing(2.0, RATE)
    soundfile.write(tmp_path / "x.wav", voice, RATE)
    (tmp_path / "x.wav").write_bytes(with_lengths(tmp_path / "x.wav", 16036, 16000))
    np.testing.assert_allclose(audio.read(tmp_path / "x.wav").samples[0], voice, atol=2**-15)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_tags_behind_samples_of_unknown_length_are_not_played(tmp_path, length):
    voice = sing(1.0, RATE)
    soundfile.write(tmp_path / "x.wav", voice, RATE)
    tags = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Some recorder\0"
    (tmp_path / "x.wav").write_bytes(with_lengths(tmp_path / "x.wav", length, length) + tags)
    assert audio.read(tmp_path / "x.wav").samples.shape == (1, RATE)


@pytest.mark.parametrize("stray", [b"\0", b"\x01\x02\x03", b"TAG" + bytes(125), b"\n" * 999])
def test_stray_bytes_behind_the_samples_are_not_played(tmp_path, stray, caplog):
    soundfile.write(tmp_path / "x.wav", sing(1.0, RATE), RATE, subtype="PCM_24")
    (tmp_path / "x.wav").write_bytes((tmp_path / "x.wav").read_bytes() + stray)
    assert audio.read(tmp_path / "x.wav").samples.shape == (1, RATE) and not caplog.text


def test_a_recording_of_more_than_4_gb_with_an_open_length_is_read(tmp_path):
    soundfile.write(tmp_path / "x.wav", sing(1.0, RATE), RATE)
    (tmp_path / "x.wav").write_bytes(with_lengths(tmp_path / "x.wav", 0xFFFFFFFF, 0xFFFFFFFF))
    with (tmp_path / "x.wav").open("r+b") as file:
        file.truncate(5 << 30)  # takes no room on the disk
    assert audio.info(tmp_path / "x.wav").n_samples == ((5 << 30) - 44) // 2


GROWING = [("wav", "PCM_16", "0"), ("wav", "FLOAT", "0xFFFFFFFF"), ("au", "PCM_16", "0xFFFFFFFF"),
           ("flac", None, ""), ("ogg", None, ""), ("mp3", None, "")]  # fmt: skip


@pytest.mark.parametrize(("suffix", "subtype", "length"), GROWING)
def test_a_recording_that_is_still_being_written_is_read_as_far_as_it_goes(
    tmp_path, suffix, subtype, length, monkeypatch, caplog
):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, np.tile(0.25 * sing(8.0, RATE)[:, None], 2), RATE, subtype=subtype)
    true = audio.read(path).samples
    data = bytearray(path.read_bytes())
    if length:
        at, form = size_field(data, suffix.upper())
        struct.pack_into(form, data, at, int(length, 16))
    if suffix == "flac":
        data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])  # the number of samples, which the encoder fills in last
    there = int(0.6 * len(data)) | 1  # not at the edge of a sample
    path.write_bytes(data[:there])
    reading = decoding.Recording.read

    def read(self: Any, n_samples: int) -> np.ndarray:
        size = path.stat().st_size
        with path.open("ab") as recorder:
            recorder.write(data[size : size + 999])
        return reading(self, min(n_samples, 1 << 14))

    monkeypatch.setattr(decoding.Recording, "read", read)
    for door in (audio.read, lambda path: audio.read_mono(path, RATE)[0]):
        path.write_bytes(data[:there])
        caplog.clear()
        found = door(path).samples
        part = true[: len(found), : found.shape[1]]
        assert 0.3 * true.shape[1] < found.shape[1] < 0.8 * true.shape[1]
        assert correlation(found[0], part[0])[0] > 0.99 and "still being written" in caplog.text


def test_a_take_of_a_recording_that_goes_on_is_that_of_its_beginning(band, tmp_path, caplog):
    voice = sing(2.0, 24000)
    path = tmp_path / "x.wav"
    audio.write(path, voice[:24000], 24000)
    take = band.generate(path)
    audio.write(path, voice, 24000)
    take.save_mix(tmp_path / "mix.wav", Sound(sample_rate=48000))
    take.save(tmp_path / "band.wav", Sound(sample_rate=48000))
    for name in ("mix.wav", "band.wav"):
        assert audio.info(tmp_path / name).n_samples == 48000
    assert "has grown since it was read" in caplog.text
    audio.write(path, voice[:12000], 24000)
    with pytest.raises(InputError, match="another recording now"):
        take.save_mix(tmp_path / "mix.wav", Sound(sample_rate=48000))


@needs_ffmpeg
def test_a_flac_stream_that_does_not_say_its_length_is_counted(tmp_path):
    voice = sing(2.0, RATE)
    soundfile.write(tmp_path / "x.wav", voice, RATE)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "x.wav", "-f", "flac", "-"]
    (tmp_path / "x.flac").write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    assert audio.info(tmp_path / "x.flac").n_samples == len(voice)
    np.testing.assert_allclose(audio.read(tmp_path / "x.flac").samples[0], voice, atol=2**-15)
    assert read_vocal(tmp_path / "x.flac", 24000).shape == (1, 48000)


JOINED = [("ogg", None), ("opus", "OPUS"), ("mp3", None), ("flac", None), ("wav", "PCM_24")]


@pytest.mark.parametrize(("suffix", "subtype"), JOINED)
def test_joined_recordings_are_read_to_the_end(tmp_path, suffix, subtype):
    kind = "OGG" if suffix == "opus" else None
    parts = [tmp_path / f"{number}.{suffix}" for number in range(3)]
    for number, part in enumerate(parts):
        soundfile.write(part, sing(1.0 + 0.25 * number, 48000, number), 48000, format=kind, subtype=subtype)
    joined = tmp_path / f"x.{suffix}"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    whole = np.concatenate([audio.read(part).samples for part in parts], axis=1)
    np.testing.assert_array_equal(audio.read(joined).samples, whole)
    assert audio.info(joined).n_samples == whole.shape[1]
    mono, source = audio.read_mono(joined, 24000)
    assert source.n_samples == whole.shape[1] and mono.samples.shape[1] == round(whole.shape[1] / 2)


def test_joined_recordings_of_two_rates_are_refused(tmp_path):
    for rate in (44100, 22050):
        soundfile.write(tmp_path / f"{rate}.ogg", sing(1.0, rate), rate)
    (tmp_path / "x.ogg").write_bytes((tmp_path / "44100.ogg").read_bytes() + (tmp_path / "22050.ogg").read_bytes())
    with pytest.raises(InputError, match=r"x\.ogg joins recordings of different rates"):
        audio.read(tmp_path / "x.ogg")


@pytest.mark.parametrize("count", [0, 10, 99999])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x02\x00" + bytes(256)])
def test_an_mp3_with_a_wrong_number_of_frames_is_read_to_the_end(tmp_path, count, tag):
    soundfile.write(tmp_path / "x.mp3", sing(2.0, 44100), 44100)
    true = audio.read(tmp_path / "x.mp3").samples
    data = bytearray((tmp_path / "x.mp3").read_bytes())
    info_at = max(data.find(b"Info", 0, 999), data.find(b"Xing", 0, 999))
    struct.pack_into(">I", data, info_at + 8, count)
    (tmp_path / "y.mp3").write_bytes(tag + data + b"TAG" + bytes(125))
    assert audio.info(tmp_path / "y.mp3").n_samples == true.shape[1]
    np.testing.assert_array_equal(audio.read(tmp_path / "y.mp3").samples, true)


CANCELLING = {
    "inverted": [1, -1],
    "nearly inverted": [1, -0.98],
    "inverted and softer": [1, -0.5],
    "three, one inverted": [1, 1, -1],
    "six, three inverted": [1, -1, 1, -1, 1, -1],
}


@pytest.mark.parametrize("case", CANCELLING)
def test_channels_that_cancel_are_turned_round(tmp_path, case, caplog):
    gains = np.array(CANCELLING[case], np.float32)
    voice = 0.3 * sing(2.0, 24000)
    soundfile.write(tmp_path / "x.wav", np.outer(voice, gains), 24000, subtype="FLOAT")
    mono, array = read_vocal(tmp_path / "x.wav", 24000)[0], read_vocal((np.outer(gains, voice), 24000), 24000)[0]
    streamed = audio.to_mono(np.concatenate(list(stream(tmp_path / "x.wav", 24000)), axis=1))[0]
    for found in (mono, array, streamed):
        np.testing.assert_allclose(np.abs(found), np.abs(voice) * np.abs(gains).mean(), atol=1e-6)
    assert "cancel each other" in caplog.text


def test_channels_that_cancel_half_of_the_time_give_way_to_the_strongest(tmp_path, caplog):
    voice = 0.3 * sing(40.0, 24000)
    second = 0.9 * voice * np.where(np.arange(len(voice)) < len(voice) // 2, 1, -1)
    soundfile.write(tmp_path / "x.wav", np.stack([voice, second], 1), 24000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read_mono(tmp_path / "x.wav", 24000)[0].samples[0], voice, atol=1e-6)
    assert "channel 1 is used alone" in caplog.text


@pytest.mark.parametrize("gains", [[1], [1, 1], [1, 0], [0, 0, 1], [1, -0.1], [0.5, 1, 0.2]])
def test_other_channels_are_averaged_without_a_word(tmp_path, gains, caplog):
    voice = 0.3 * sing(1.0, 24000)
    soundfile.write(tmp_path / "x.wav", np.outer(voice, gains), 24000, subtype="FLOAT")
    np.testing.assert_allclose(read_vocal(tmp_path / "x.wav", 24000)[0], voice * np.mean(gains), atol=1e-6)
    assert not caplog.text


def test_unrelated_channels_are_averaged(tmp_path, caplog):
    noise = 0.1 * np.random.default_rng(0).standard_normal((24000, 6)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", noise, 24000, subtype="FLOAT")
    np.testing.assert_allclose(read_vocal(tmp_path / "x.wav", 24000)[0], noise.mean(axis=1), atol=1e-6)
    assert not caplog.text


@pytest.mark.parametrize("offsets", [[0.02], [0.02, 0], [-0.1, 0.1], [0.3, 0.3]])
def test_an_offset_is_taken_out(tmp_path, offsets, caplog):
    voice = 0.3 * sing(2.0, 44100)
    voice -= voice.mean()
    soundfile.write(tmp_path / "x.wav", voice[:, None] + np.array(offsets), 44100, subtype="FLOAT")
    clean = audio.resample(voice[None], 44100, 24000)
    np.testing.assert_allclose(read_vocal(tmp_path / "x.wav", 24000), clean, atol=2e-5)
    streamed = np.concatenate(list(stream(tmp_path / "x.wav", 24000)), axis=1)
    np.testing.assert_allclose(streamed.mean(axis=0), clean[0], atol=2e-5)
    samples = voice[None] + np.array(offsets, np.float32)[:, None]
    np.testing.assert_allclose(read_vocal((samples, 44100), 24000), clean, atol=2e-5)
    assert "offset" in caplog.text


def test_an_offset_alone_is_silence(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.full(24000, 0.2), 24000)
    with pytest.raises(InputError, match="is silent"):
        read_vocal(tmp_path / "x.wav", 24000)


@pytest.mark.parametrize("rate", [1, 1999, 768001, 2**31 - 1])
def test_a_rate_that_nobody_records_at_is_refused_at_every_door(tmp_path, rate):
    soundfile.write(tmp_path / "x.wav", sing(1.0, RATE), rate)
    doors: tuple[Any, ...] = (
        audio.info,
        audio.read,
        lambda path: audio.read_mono(path, 24000),
        lambda path: list(stream(path, 24000)),
        lambda path: read_vocal(path, 24000),
        lambda path: read_vocal((np.zeros(9999), rate), 24000),
    )
    for door in doors:
        with pytest.raises(InputError, match=f"sample rate of {rate} Hz; it must be from 2000 to 768000"):
            door(tmp_path / "x.wav")


@pytest.mark.parametrize("rate", [decoding.LOWEST_RATE, decoding.HIGHEST_RATE])
def test_the_lowest_and_the_highest_rate_are_read(tmp_path, rate):
    soundfile.write(tmp_path / "x.wav", sing(0.6, rate), rate)
    assert read_vocal(tmp_path / "x.wav", 24000).shape == (1, 14400)


@pytest.mark.parametrize("level", [1e12, 1.2e6, 32768.0])
def test_a_level_that_no_recording_has_is_refused_at_every_door(tmp_path, level):
    loud = (sing(1.0, 24000) * level).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", loud, 24000, subtype="FLOAT")
    doors: tuple[Any, ...] = (
        audio.read,
        lambda path: audio.read_mono(path, 24000),
        lambda path: list(stream(path, 24000)),
        lambda path: read_vocal((loud, 24000), 24000),
    )
    for door in doors:
        with pytest.raises(InputError, match="full scale is 1"):
            door(tmp_path / "x.wav")


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac", "wav"])
def test_sound_is_bounded_before_an_encoder(tmp_path, suffix):
    audio.write(tmp_path / f"x.{suffix}", 1e12 * sing(1.0, 24000), 24000)
    assert 0.9 < np.abs(audio.read(tmp_path / f"x.{suffix}").samples).max() < 2
    with pytest.raises(InputError, match="not numbers"):
        audio.write(tmp_path / f"y.{suffix}", np.full(24000, np.nan), 24000)
    assert len(list(tmp_path.iterdir())) == 1


def test_above_full_scale_is_not_called_clipped(tmp_path, caplog):
    soundfile.write(tmp_path / "x.wav", 6 * sing(1.0, 24000), 24000, subtype="FLOAT")
    assert float(np.abs(audio.read(tmp_path / "x.wav").samples).max()) == pytest.approx(3.0)
    assert "9.5 dB above full scale" in caplog.text and "clipped" not in caplog.text


def test_a_very_quiet_voice_is_said(tmp_path, caplog):
    soundfile.write(tmp_path / "x.wav", 0.004 * sing(1.0, 24000), 24000, subtype="FLOAT")
    read_vocal(tmp_path / "x.wav", 24000)
    assert "very quiet (-54 dB)" in caplog.text


VOICE = sing(1.0, 24000)
ARRAYS: dict[str, Any] = {
    "float64": VOICE.astype(np.float64),
    "float16": VOICE.astype(np.float16),
    "int16": (VOICE * 32768).astype(np.int16),
    "int32": (VOICE.astype(np.float64) * 2**31).astype(np.int32),
    "uint8": (VOICE * 128 + 128).round().astype(np.uint8),
    "big-endian int16": (VOICE * 32768).astype(">i2"),
    "one row": VOICE[None],
    "two rows backwards": np.stack([VOICE[::-1], VOICE[::-1]])[:, ::-1],
    "list": VOICE.tolist(),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_scaled_by_their_type(name):
    found = read_vocal((ARRAYS[name], 24000), 24000)
    np.testing.assert_allclose(found[0], VOICE, atol=0.01 if name == "uint8" else 1e-3)
    source = read_with_source((ARRAYS[name], np.int64(24000)), 24000)[1]
    assert source.n_samples == 24000 and source.sample_rate == 24000
    np.testing.assert_allclose(source.read()[0], VOICE, atol=0.01 if name == "uint8" else 1e-3)


def test_tensors_are_arrays():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(VOICE).requires_grad_()
    np.testing.assert_array_equal(read_vocal((tensor, 24000.0), 24000)[0], VOICE)


REFUSED: dict[str, tuple[Any, str]] = {
    "swapped": ((24000, VOICE), r"give \(samples, sample_rate\)"),
    "no rate": (VOICE, "file name or"),
    "three": ((VOICE, 24000, 1), "file name or"),
    "nothing": (None, "file name or"),
    "bytes": (b"voice.wav", "file name or"),
    "int64": (((VOICE * 32768).astype(np.int64), 24000), "int64"),
    "bool": ((VOICE > 0, 24000), "bool"),
    "complex": ((VOICE + 0j, 24000), "complex64"),
    "words": ((["la", "la"], 24000), "<U2"),
    "ragged": (([[0.0, 1.0], [2.0]], 24000), "array"),
    "number": ((0.5, 24000), r"shape \[\]"),
    "three axes": ((VOICE[None, None], 24000), "shape"),
    "columns": ((np.stack([VOICE, VOICE], 1), 24000), r"transpose \[T, channels\]"),
    "empty": ((np.zeros((0, 24000)), 24000), "shape"),
    "no samples": ((np.zeros(0), 24000), "lasts 0.000 s"),
    "rate of 0": ((VOICE, 0), "sample rate of 0 Hz"),
    "half a Hz": ((VOICE, 24000.5), "whole number"),
    "rate of nan": ((VOICE, math.nan), "whole number"),
    "rate of words": ((VOICE, "24000"), "whole number"),
    "no rate at all": ((VOICE, None), "whole number"),
    "nan": ((np.where(VOICE > 0.4, np.nan, VOICE), 24000), "not numbers"),
    "beyond float32": ((VOICE.astype(np.float64) * 1e300, 24000), "full scale"),
    "whole numbers in floats": (((VOICE * 32768).round(), 24000), "full scale"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_vocals_are_refused_in_a_sentence(name):
    vocal, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        read_vocal(vocal, 24000)


@pytest.mark.parametrize("name", [b"\xe9t\xe9.wav", "日本.wav".encode("euc-jp"), b"x.raw"])
def test_a_name_that_is_no_utf8_is_read_and_written(tmp_path, name):
    path = Path(tmp_path, name.decode("utf-8", "surrogateescape"))
    try:
        path.touch()
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    soundfile.write(tmp_path / "x.wav", sing(1.0, RATE), RATE)
    (tmp_path / "x.wav").replace(path)
    assert read_vocal(path, 24000).shape == (1, 24000)
    assert path.suffix == ".raw" or len(find_songs(tmp_path, stems=False).songs) == 1
    audio.write(path.with_suffix(".flac"), VOICE, 24000)
    write_sound(path.with_suffix(".mp3"), VOICE[None], 24000)
    assert audio.info(path.with_suffix(".flac")).n_samples == audio.info(path.with_suffix(".mp3")).n_samples == 24000


@pytest.mark.parametrize("kind", ["RIFF", "RF64", "BW64"])
def test_the_time_stamp_is_found_in_every_kind_of_wave_file(tmp_path, kind):
    write_sound(tmp_path / "x.wav", VOICE[None], 24000, start_s=12.5)
    data = (tmp_path / "x.wav").read_bytes()
    if kind != "RIFF":
        data_at = data.index(b"data")
        large = b"ds64" + struct.pack("<IQQQI", 28, len(data) + 28, len(VOICE) * 3, len(VOICE), 0)
        samples = data[12 : data_at + 4] + b"\xff" * 4 + data[data_at + 8 :]
        data = kind.encode() + b"\xff\xff\xff\xffWAVE" + large + samples
        (tmp_path / "x.wav").write_bytes(data)
        assert audio.info(tmp_path / "x.wav").n_samples == 24000 or kind == "BW64"
    assert start_of(tmp_path / "x.wav") == pytest.approx(12.5)
    soundfile.write(tmp_path / "y.wav", VOICE, 24000, format="RF64")
    assert start_of(tmp_path / "y.wav") is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.wav", "no file"), (".", "not a file"), ("x" * 999, "Cannot read")],
)
def test_the_time_stamp_of_no_file_is_refused(tmp_path, name, words):
    with pytest.raises(InputError, match=words):
        start_of(tmp_path / name)


WRITERS = {"write": audio.write, "write_sound": lambda path, sound, rate: write_sound(path, sound[None], rate)}


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "aiff"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("room", [0, 20_000, -1])
def test_a_disk_that_fills_up_leaves_no_file(tmp_path, monkeypatch, suffix, writer, room):
    """`room` counts from the end where it is negative: only the last bytes are missing."""
    path = tmp_path / f"x.{suffix}"
    sound = sing(3.0, 24000)
    WRITERS[writer](path, sound, 24000)
    left = room if room >= 0 else path.stat().st_size + room
    path.unlink()
    opening = encoding._open

    class Full:
        def __init__(self, path: Path) -> None:
            self._file = opening(path)

        def write(self, data: Any) -> int:
            if self._file.tell() + len(data) > left:
                raise OSError(28, "No space left on device")
            return self._file.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    monkeypatch.setattr(encoding, "_open", Full)
    with pytest.raises(InputError, match="The disk is full"):
        WRITERS[writer](path, sound, 24000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_device_that_is_always_full_is_seen(tmp_path, monkeypatch, suffix):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr(encoding, "_open", lambda path: io.FileIO("/dev/full", "w+"))
    with pytest.raises(InputError, match="The disk is full"):
        audio.write(tmp_path / f"x.{suffix}", VOICE, 24000)
    assert not list(tmp_path.iterdir())


REPEATED = {"a.ogg": None, "b.wav": 32, "c.aiff": 32, "d.wav": 24, "e.flac": 16, "f.mp3": None}
"""Files, and the bits of their samples."""


def test_the_same_sound_is_the_same_file_at_any_time(tmp_path):
    sound = np.stack([sing(2.0, 24000), sing(2.0, 24000, 1)])
    for name, bits in REPEATED.items():
        write_sound(tmp_path / name, sound, 24000, bits)
    later = (  # libsndfile takes the time in seconds
        "import sys, time, numpy as np; time.sleep(1.1); from accompany.sound.files import write\n"
        f"for name, bits in {REPEATED}.items(): write(f'{{sys.argv[1]}}/{{name}}', np.load(sys.argv[2]), 24000, bits)"
    )
    np.save(tmp_path / "sound.npy", sound)
    (tmp_path / "later").mkdir()
    subprocess.run([sys.executable, "-c", later, str(tmp_path / "later"), str(tmp_path / "sound.npy")], check=True)
    for name in REPEATED:
        assert (tmp_path / name).read_bytes() == (tmp_path / "later" / name).read_bytes(), name
        back = audio.read(tmp_path / "later" / name).samples
        assert back.shape == sound.shape and correlation(back[0], sound[0])[0] > 0.99


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    for target in ("there/old.wav", "there/dangling.wav"):
        link = tmp_path / "link.wav"
        link.symlink_to(target)
        audio.write(link, VOICE, 24000)
        assert link.is_symlink() and audio.info(tmp_path / target).n_samples == 24000
        link.unlink()
    for target, words in (("link.wav", "Cannot write"), ("none/x.wav", "Cannot write"), ("there", "folder")):
        link = tmp_path / "link.wav"
        link.symlink_to(target)
        with pytest.raises(InputError, match=words):
            audio.write(link, VOICE, 24000)
        link.unlink()


def test_a_device_is_not_replaced(tmp_path):
    if not Path("/dev/null").exists():
        pytest.skip("needs /dev/null")
    (tmp_path / "x.wav").symlink_to("/dev/null")
    with pytest.raises(InputError, match="no ordinary file"):
        audio.write(tmp_path / "x.wav", VOICE, 24000)
    assert Path("/dev/null").is_char_device()
