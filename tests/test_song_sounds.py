"""Soundfonts, drum kits, amplifiers and rooms that songs draw their sounds from."""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompany.data.songs.compose import compose
from accompany.data.songs.make import render_song
from accompany.data.songs.mix import draw_mix_settings, mix_band
from accompany.data.songs.score import Note, Part
from accompany.data.songs.soundfont import find_soundfont
from accompany.data.songs.sounds import Sounds, amplify, find_sounds, read_presets, read_response
from accompany.errors import InputError

RATE = 16_000
DRUMS = Part("drums", "drums", 0, True, (Note(0.1, 0.2, 36, 110),), 0.0, -3.0, 0.1)
GUITAR = Part("distorted guitar", "comp", 30, False, (Note(0.1, 0.9, 52, 100),), 0.3, -9.0, 0.2)


def _soundfont(path: Path, presets: list[tuple[int, int]]) -> Path:
    """A file with the chunks of a soundfont and nothing that could sound."""
    headers = b"".join(struct.pack("<20sHH14x", b"name", program, bank) for bank, program in [*presets, (0, 0)])
    data = struct.pack("<4sI4s4sI2x", b"LIST", 14, b"sdta", b"smpl", 2)
    presets_list = struct.pack("<4sI4s4sI", b"LIST", 12 + len(headers), b"pdta", b"phdr", len(headers)) + headers
    info = struct.pack("<4sI4s4sI3sx", b"LIST", 16, b"INFO", b"isng", 3, b"EMU")
    body = b"sfbk" + info + data + presets_list
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    return path


def _response(path: Path, seconds: float, rate: int = 44_100) -> Path:
    noise = np.random.default_rng(0).standard_normal(round(seconds * rate))
    soundfile.write(path, 0.3 * noise * np.exp(-6 * np.arange(len(noise)) / len(noise)), rate)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _soundfont(tmp_path / "band.sf2", [*((0, program) for program in range(128)), (128, 0)])
    _soundfont(tmp_path / "Kit.SF2", [(0, 0)])
    _soundfont(tmp_path / "few.sf2", [(0, 0), (0, 1)])
    (tmp_path / "rooms").mkdir()
    _response(tmp_path / "rooms" / "hall.wav", 1.5)
    _response(tmp_path / "amp.wav", 0.1)
    (tmp_path / "readme.txt").write_text("not a sound")
    return tmp_path


def test_sounds_are_sorted_by_what_they_are(folder: Path) -> None:
    found = find_sounds([folder])
    names = {
        kind: [path.name for path in getattr(found, kind)] for kind in ("soundfonts", "kits", "amplifiers", "rooms")
    }
    assert names == {"soundfonts": ["band.sf2"], "kits": ["Kit.SF2"], "amplifiers": ["amp.wav"], "rooms": ["hall.wav"]}
    assert find_sounds([folder / "band.sf2", folder]).soundfonts == (folder / "band.sf2",)
    assert read_presets(folder / "few.sf2") == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nowhere"], "There is no '.*nowhere'"),
        (["few.sf2"], "neither a General MIDI soundfont nor one drum kit"),
        (["rooms"], "no General MIDI soundfont"),
        (["Kit.SF2", "amp.wav"], "no General MIDI soundfont"),
        (["broken.sf2"], "is it a complete file"),
        (["cut.sf2"], "is it a complete file"),
        (["empty.wav"], "empty.wav"),
    ],
)
def test_unusable_sounds_are_refused(folder: Path, names: list[str], message: str) -> None:
    (folder / "broken.sf2").write_bytes(b"not a soundfont at all")
    (folder / "cut.sf2").write_bytes((folder / "band.sf2").read_bytes()[:60])
    (folder / "empty.wav").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        find_sounds([folder / name for name in names])


def test_rigs_follow_the_seed_and_use_all_there_is(folder: Path) -> None:
    sounds = replace(find_sounds([folder]), soundfonts=(Path("a.sf2"), Path("b.sf2")))
    rigs = [sounds.draw_rig(DRUMS, "drums", np.random.default_rng(seed)) for seed in range(60)]
    assert rigs == [sounds.draw_rig(DRUMS, "drums", np.random.default_rng(seed)) for seed in range(60)]
    assert {rig.soundfont.name for rig in rigs} == {"a.sf2", "b.sf2", "Kit.SF2"}
    assert all(rig.is_kit == (rig.soundfont.name == "Kit.SF2") and rig.amplifier is None for rig in rigs)
    guitars = [sounds.draw_rig(GUITAR, "guitar", np.random.default_rng(seed)) for seed in range(60)]
    assert not any(rig.is_kit for rig in guitars)
    amplified = [rig for rig in guitars if rig.amplifier is not None]
    assert 20 < len(amplified) < 50 and all(6 <= rig.drive_db <= 24 for rig in amplified)
    rooms = [sounds.draw_room(np.random.default_rng(seed)) for seed in range(60)]
    assert 8 < sum(room is not None for room in rooms) < 35
    assert Sounds(sounds.soundfonts).draw_room(np.random.default_rng(0)) is None


def test_a_response_is_brought_to_rate_energy_and_start(folder: Path) -> None:
    samples = np.zeros(8000)
    samples[2000:2400] = np.hanning(400)
    soundfile.write(folder / "late.wav", samples, 8000)
    response = read_response(folder / "late.wav", RATE)
    assert response.shape[0] == 2 and 11_800 < response.shape[1] < 12_100
    assert np.square(response[0]).sum() == pytest.approx(1.0, abs=1e-3)


def test_an_amplifier_clips_softly_and_sounds_of_its_cabinet() -> None:
    time_s = np.arange(RATE) / RATE
    tone = np.stack([np.sin(2 * np.pi * 200 * time_s)] * 2).astype(np.float32) * 0.5
    dry = np.zeros((2, 64), np.float32)
    dry[:, 0] = 1.0
    assert np.allclose(amplify(tone, dry, 0.0), tone, atol=1e-5)
    driven = amplify(tone, dry, 20.0)
    spectrum = np.abs(np.fft.rfft(driven[0]))
    assert spectrum[600] > 0.1 * spectrum[200] and np.abs(driven).max() <= 0.501
    delayed = np.roll(dry, 10, axis=1)
    assert np.allclose(amplify(tone, delayed, 0.0)[:, 10:], tone[:, :-10], atol=1e-5)


def test_a_recorded_room_is_at_the_level_of_the_mix() -> None:
    settings = draw_mix_settings(np.random.default_rng(3))
    click = np.zeros((2, RATE), np.float32)
    click[:, 100] = 0.5
    room = np.zeros((2, 400), np.float32)
    room[:, 50] = 7.0
    part = replace(GUITAR, pan=0.0, gain_db=0.0, reverb=1.0)
    dry, _ = mix_band([replace(part, reverb=0.0)], [click], RATE, RATE, settings, stems=False, room_response=room)
    wet, _ = mix_band([part], [click], RATE, RATE, settings, stems=False, room_response=room)
    added = np.abs(wet - dry)
    assert added.argmax(axis=1).tolist() == [150, 150]
    assert added.max() / np.abs(dry).max() == pytest.approx(10 ** (settings.room_db / 20), rel=0.01)


def _can_render() -> bool:
    try:
        find_soundfont()
        return importlib.util.find_spec("fluidsynth") is not None and bool(importlib.import_module("fluidsynth"))
    except (InputError, ImportError):
        return False


@pytest.mark.skipif(not _can_render(), reason="FluidSynth or a soundfont is not installed")
def test_a_song_of_drawn_sounds_is_the_sum_of_its_stems_and_made_again(folder: Path) -> None:
    sounds = Sounds((find_soundfont(),), (), (folder / "amp.wav",), (folder / "rooms" / "hall.wav",))
    try:
        song = render_song(compose(11, seconds=6.0), sample_rate=RATE, sounds=sounds)
    except InputError as error:
        pytest.skip(str(error))
    assert song.accompaniment is not None and song.soundfont is None
    assert np.allclose(sum(song.stems.values()), song.accompaniment, atol=1e-4)
    assert set(song.sounds["parts"]) == set(song.stems)
    again = render_song(compose(11, seconds=6.0), sample_rate=RATE, sounds=sounds)
    assert np.array_equal(song.accompaniment, again.accompaniment) and song.sounds == again.sounds
    assert not np.allclose(song.accompaniment, render_song(compose(11, seconds=6.0), sample_rate=RATE).accompaniment)
