"""Synthetic songs as sound: the voice, the band, the mix and the folders that they are written to."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from needs import needs

from accompany.data.songs import make, write
from accompany.data.songs.compose import compose
from accompany.data.songs.espeak import speak
from accompany.data.songs.mix import balance, draw_mix_settings, loudness_db, mix_band, pan_gains
from accompany.data.songs.render import render_part
from accompany.data.songs.score import Note, Part, VoiceSpec
from accompany.data.songs.second import second_singer, sing_all
from accompany.data.songs.soundfont import VARIABLE, find_soundfont
from accompany.data.songs.voice import sing
from accompany.errors import InputError

RATE = 16_000
STEADY = VoiceSpec("tenor", (50, 70), 5.5, 0.0, 0.1, 0.0, 0.0, 0.0, 0.05, 0.5, "en-us", 3)
TUNE = (
    Note(0.5, 1.4, 57, 90, "la"),
    Note(1.4, 2.4, 61, 90, "love"),
    Note(2.4, 3.2, 64, 90, None),
    Note(3.8, 4.8, 59, 80, "shine"),
)
DRUMS = Part("drums", "drums", 0, True, tuple(Note(t, t + 0.1, 36, 110) for t in (0.5, 1.0, 1.5)), 0.0, -3.0, 0.1)
PIANO = Part("piano", "comp", 0, False, (Note(0.25, 1.5, 60, 90), Note(0.25, 1.5, 64, 90)), -0.8, -6.0, 0.5)


needs_voice, needs_band = needs("espeak"), needs("fluidsynth")


def _pitch(audio: np.ndarray, start_s: float, rate: int = RATE) -> float:
    """MIDI pitch of a 0.2 s piece, by autocorrelation."""
    piece = audio[round(start_s * rate) : round((start_s + 0.2) * rate)]
    likeness = np.correlate(piece, piece, mode="full")[len(piece) - 1 :]
    first = rate // 600
    peak = first + int(np.argmax(likeness[first : rate // 70]))
    left, top, right = likeness[peak - 1 : peak + 2]
    exact = peak + 0.5 * (left - right) / (left - 2 * top + right)
    return float(69 + 12 * np.log2(rate / exact / 440))


@needs_voice
def test_a_spoken_syllable_does_not_depend_on_what_was_said_before() -> None:
    first = speak("shine", "en-us")
    speak("something else entirely", "it")
    again = speak("shine", "en-us")
    assert np.array_equal(first.samples, again.samples)
    assert 0.02 < first.vowel_start_s < first.vowel_end_s < len(first.samples) / first.sample_rate


@needs_voice
def test_the_voice_sings_the_melody_in_tune_and_in_time() -> None:
    voice = sing(TUNE, STEADY, 5.5, RATE)
    assert voice.shape == (88_000,) and voice.dtype == np.float32
    assert np.abs(voice).max() == pytest.approx(0.7, abs=1e-3)
    for note in TUNE:
        assert _pitch(voice, note.start_s + 0.35) == pytest.approx(note.pitch, abs=0.5), note
    loud, rest = voice[round(0.8 * RATE) : round(1.2 * RATE)], voice[round(3.45 * RATE) : round(3.5 * RATE)]
    assert np.square(loud).mean() > 100 * np.square(rest).mean()


@needs_voice
def test_the_voice_is_the_same_again_and_without_notes_silent() -> None:
    first = sing(TUNE, STEADY, 5.5, RATE)
    sing(TUNE[:2], replace(STEADY, language="es"), 4.0, 24_000)
    assert np.array_equal(first, sing(TUNE, STEADY, 5.5, RATE))
    assert not sing((), STEADY, 1.0, RATE).any()


@needs_voice
@pytest.mark.parametrize(
    "change",
    [
        {"kind": "child"},
        {"vibrato_depth_cents": 50.0},
        {"vibrato_rate_hz": 6.5, "vibrato_depth_cents": 50.0},
        {"breath": 0.9},
        {"detune_cents": 30.0},
        {"pitch_offset_cents": 40.0},
        {"timing_jitter_s": 0.03},
        {"glide_s": 0.15},
        {"brightness": 1.0},
        {"language": "it"},
        {"seed": 4},
    ],
)
def test_every_trait_of_a_singer_changes_the_sound(change: dict[str, object]) -> None:
    plain, changed = (sing(TUNE[:2], spec, 3.0, RATE) for spec in (STEADY, replace(STEADY, **change)))  # type: ignore[arg-type]
    assert np.abs(plain - changed).max() > 0.01


@needs_voice
def test_vibrato_swings_the_pitch_of_a_held_note() -> None:
    held = (Note(0.2, 3.0, 60, 90, "ah"),)
    swings = []
    for depth in (0.0, 60.0):
        voice = sing(held, replace(STEADY, vibrato_depth_cents=depth), 3.2, RATE)
        track = [_pitch_short(voice, start) for start in np.arange(1.4, 2.6, 0.02)]
        swings.append(float(np.std(track)))
    assert swings[0] < 0.15 and swings[1] > swings[0] + 0.15


def _pitch_short(audio: np.ndarray, start_s: float) -> float:
    return _pitch(audio[round(start_s * RATE) : round((start_s + 0.05) * RATE)], 0.0)


@needs_voice
def test_unknown_voices_are_one_sentence() -> None:
    with pytest.raises(InputError, match="no voice 'klingon-opera'"):
        sing(TUNE, replace(STEADY, language="klingon-opera"), 2.0, RATE)


@needs_band
@pytest.mark.parametrize("sample_rate", [24_000, 44_100])
def test_a_drum_sounds_where_it_is_written(sample_rate: int) -> None:
    audio = render_part(DRUMS, 2.0, sample_rate, find_soundfont())
    assert audio.shape == (2, 2 * sample_rate) and audio.dtype == np.float32
    level = np.abs(audio).max(axis=0)
    for note in DRUMS.notes:
        start = round(note.start_s * sample_rate)
        before = level[start - sample_rate // 50 : start - sample_rate // 200].max()
        assert level[start : start + sample_rate // 50].max() > 3 * before + 0.01


@needs_band
def test_a_part_sounds_the_same_whatever_was_rendered_before() -> None:
    font = find_soundfont()
    piano = render_part(PIANO, 1.0, RATE, font)
    render_part(DRUMS, 1.0, RATE, font)
    render_part(replace(PIANO, program=48), 1.0, RATE, font)
    assert np.array_equal(piano, render_part(PIANO, 1.0, RATE, font))


@needs_band
def test_the_desk_places_balances_and_never_clips() -> None:
    font, rng = find_soundfont(), np.random.default_rng(0)
    parts = (DRUMS, PIANO)
    dry = [render_part(part, 2.0, RATE, font) for part in parts]
    settings = draw_mix_settings(rng)
    band, stems = mix_band(parts, dry, 2 * RATE, RATE, settings, stems=True)
    assert list(stems) == ["drums", "piano"]
    assert np.allclose(sum(stems.values()), band, atol=1e-5)
    left, right = np.square(stems["piano"]).mean(axis=1)
    assert left > 2 * right
    vocals = 0.3 * rng.standard_normal(2 * RATE).astype(np.float32)
    voice_gain, band_gain = balance(vocals, band, RATE, settings)
    ratio = loudness_db(vocals * voice_gain, RATE) - loudness_db(band * band_gain, RATE)
    assert ratio == pytest.approx(settings.voice_over_band_db, abs=0.1)
    assert np.abs(vocals * voice_gain + band * band_gain).max() <= 0.951


@needs_voice
def test_a_second_voice_is_sung_beside_the_lead() -> None:
    score = replace(compose(1, seconds=8.0), melody=TUNE, voice=STEADY, duration_s=5.5)
    backing = tuple(replace(note, pitch=note.pitch + 7) for note in TUNE)
    alone, both = sing_all(score, RATE), sing_all(replace(score, backing=backing), RATE)
    assert alone.shape == (1, 88_000) and both.shape == (2, 88_000) and both.dtype == np.float32
    assert np.array_equal(both, sing_all(replace(score, backing=backing), RATE)) and second_singer(score) is None
    assert np.abs(both).max() == pytest.approx(0.7, abs=1e-3)
    singer = second_singer(replace(score, backing=backing))
    assert singer is not None and singer.voice.seed != STEADY.seed
    # The lead stands in the middle, so the difference of the channels is the second voice alone.
    left, right = pan_gains(singer.pan)[:, 0]
    second = (both[0] - both[1]) / (left - right)
    lead = (left * both[1] - right * both[0]) / (left - right)
    for note in TUNE:
        assert _pitch(second, note.start_s + 0.35) == pytest.approx(note.pitch + 7, abs=0.7), note
        assert _pitch(lead, note.start_s + 0.35) == pytest.approx(note.pitch, abs=0.5), note
    heard_db = loudness_db(second, RATE) - loudness_db(lead, RATE)
    assert heard_db == pytest.approx(singer.gain_db, abs=0.1) and -12 <= singer.gain_db <= -4


def test_second_singers_differ_from_song_to_song_and_suit_their_notes() -> None:
    singers = [second_singer(replace(compose(seed, seconds=4.0), backing=TUNE)) for seed in range(24)]
    assert all(singer is not None for singer in singers)
    assert {singer.pan > 0 for singer in singers if singer} == {True, False}
    assert len({singer.voice.seed for singer in singers if singer}) == 24
    low = tuple(replace(note, pitch=44) for note in TUNE)
    kinds = {
        s.voice.kind for seed in range(24) if (s := second_singer(replace(compose(seed, seconds=4.0), backing=low)))
    }
    assert "bass" in kinds and len(kinds) > 2


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short songs by one process."""
    root = tmp_path_factory.mktemp("songs")
    report = write.synthesise(root, 2, 7, seconds=8.0, sample_rate=RATE)
    assert (report.n_made, report.n_kept) == (2, 0) and report.songs_per_hour > 0
    return root


def _samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16", always_2d=True)[0]


@needs_voice
@needs_band
def test_a_song_folder_holds_what_it_promises(songs: Path) -> None:
    for index in range(2):
        folder = songs / f"{index:06d}"
        facts = json.loads((folder / "song.json").read_text())
        assert facts["seed"] == write.song_seed(7, index) and facts["n_samples"] == 8 * RATE
        vocals, band, mix = (_samples(folder / f"{name}.flac") for name in ("vocals", "accompaniment", "mix"))
        assert vocals.shape == (8 * RATE, 2 if facts["backing"] else 1) and band.shape == mix.shape == (8 * RATE, 2)
        assert np.array_equal(mix, vocals + band)
        stems = {path.stem: _samples(path) for path in (folder / "stems").iterdir()}
        assert set(stems) == set(facts["instruments"])
        assert np.abs(sum(stem.astype(int) for stem in stems.values()) - band).max() <= len(stems)
        assert np.abs(mix).max() < 32_000 and band.any() and vocals.any()
        assert facts["chords"][0][0] == 0 and len(facts["captions"]) >= 6 and facts["soundfont"].endswith(".sf2")
        assert set(facts["drums"]) == {"kick", "snare", "hat"}
    lines = [json.loads(line) for line in (songs / "manifest.jsonl").read_text().splitlines()]
    assert lines == [{"id": f"{i:06d}", "seed": write.song_seed(7, i), "seconds": 8.0} for i in range(2)]


@needs_voice
@needs_band
def test_a_song_is_remade_exactly_by_other_processes(songs: Path, tmp_path: Path) -> None:
    write.synthesise(tmp_path, 2, 7, seconds=8.0, sample_rate=RATE, workers=2, stems=False)
    for index in range(2):
        for name in ("vocals", "accompaniment", "mix"):
            file = f"{index:06d}/{name}.flac"
            assert np.array_equal(_samples(songs / file), _samples(tmp_path / file)), file
        assert not (tmp_path / f"{index:06d}" / "stems").exists()
    with pytest.raises(InputError, match="without stems"):
        write.synthesise(tmp_path, 2, 7, seconds=8.0, sample_rate=RATE)
    assert write.synthesise(songs, 2, 7, seconds=8.0, sample_rate=RATE, stems=False).n_kept == 2


@needs_voice
@needs_band
def test_a_stopped_run_goes_on_and_keeps_what_is_finished(songs: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(songs, root)
    before = (root / "000000" / "mix.flac").stat().st_mtime_ns
    wanted = _samples(root / "000001" / "mix.flac")
    (root / "000001").rename(root / ".000001.part")
    (root / ".000001.part" / "song.json").unlink()
    (root / "manifest.jsonl").write_text("")
    report = write.synthesise(root, 2, 7, seconds=8.0, sample_rate=RATE)
    assert (report.n_made, report.n_kept) == (1, 1)
    assert (root / "000000" / "mix.flac").stat().st_mtime_ns == before
    assert np.array_equal(_samples(root / "000001" / "mix.flac"), wanted)
    assert sorted(p.name for p in root.iterdir()) == ["000000", "000001", "manifest.jsonl"]
    assert len((root / "manifest.jsonl").read_text().splitlines()) == 2


@needs_voice
@needs_band
def test_songs_of_another_run_are_never_overwritten(songs: Path) -> None:
    with pytest.raises(InputError, match="another seed"):
        write.synthesise(songs, 1, 8, seconds=8.0, sample_rate=RATE)
    with pytest.raises(InputError, match="another seed, length"):
        write.synthesise(songs, 1, 7, seconds=9.0, sample_rate=RATE)


@needs_voice
def test_a_voice_alone_needs_no_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.sf2"))
    write.synthesise(tmp_path / "voices", 1, 7, seconds=8.0, sample_rate=RATE, voice_only=True)
    folder = tmp_path / "voices" / "000000"
    assert sorted(path.name for path in folder.iterdir()) == ["song.json", "vocals.flac"]
    with pytest.raises(InputError, match="voice alone"):
        write.synthesise(tmp_path / "voices", 1, 7, seconds=8.0, sample_rate=RATE)
    with pytest.raises(InputError, match=VARIABLE):
        make.render_song(compose(1, seconds=4.0), sample_rate=RATE)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"n_songs": 0}, "number of songs"), ({"seconds": float("nan")}, "length"), ({"sample_rate": 100}, "sample rate")],
)
def test_senseless_orders_are_refused(change: dict[str, float], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        write.synthesise(tmp_path, **{"n_songs": 1, **change})  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_a_file_in_the_folders_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write into"):
        write.synthesise(tmp_path / "file", 1)


@needs_voice
def test_the_sample_for_a_first_try_starts_singing_soon(tmp_path: Path) -> None:
    path = write.sung_sample(tmp_path / "demo" / "vocals.wav", seconds=6.0)
    audio, rate = soundfile.read(path)
    assert len(audio) == 6 * rate
    assert np.abs(audio[: round(1.5 * rate)]).max() > 0.05
