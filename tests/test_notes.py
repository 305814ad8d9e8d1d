"""Sung notes: transcription, MIDI out and in, melodies that are given, and the measure of it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import accompany
from accompany import audio
from accompany.cli import main
from accompany.encoders.melody import Melody
from accompany.encoders.tones import render_notes
from accompany.errors import InputError
from accompany.generation.analysis import Analysis
from accompany.generation.settings import Settings
from accompany.music.plan import Plan
from accompany.music.sung_notes import SungNote, read_notes
from tests.needs import need

mido = pytest.importorskip("mido")

RATE = 16_000
TUNE = [(0.5, 0.9, 60.0), (0.9, 1.3, 62.0), (1.5, 1.8, 64.0), (1.8, 2.1, 67.2), (2.4, 3.0, 57.0)]
VOCADITO = Path(__file__).parents[2] / "shared" / "vocals"


@pytest.fixture(scope="module")
def transcriber():
    pytest.importorskip("swift_f0")
    from accompany.encoders.notes import NoteTranscriber

    return NoteTranscriber()


@pytest.fixture(scope="module")
def tune():
    """[1, T] at 16 kHz."""
    return render_notes(read_notes(TUNE), round(3.5 * RATE), RATE)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 96_000])
def test_notes_of_tones_at_any_rate(transcriber, tune, rate):
    found = transcriber.notes(audio.resample(tune, RATE, rate), rate)
    assert len(found) == len(TUNE)
    for note, (start_s, end_s, pitch) in zip(found, TUNE, strict=True):
        assert abs(note.start_s - start_s) < 0.05 and abs(note.end_s - end_s) < 0.08
        assert abs(note.pitch - pitch) < 0.15 and 0.5 < note.confidence <= 1


@pytest.mark.parametrize("gain", [0.004, 0.05, 8.0])
def test_loudness_and_channels_change_nothing(transcriber, tune, gain):
    plain = transcriber.notes(tune, RATE)
    for other in (transcriber.notes(tune * np.float32(gain), RATE), transcriber.notes(np.vstack([tune, tune]), RATE)):
        np.testing.assert_allclose([n.row for n in other], [n.row for n in plain], atol=0.02)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(1), np.zeros(16_000), np.full(700, np.nan)])
@pytest.mark.parametrize("onsets", ["voice", "vowel"])
def test_silence_has_no_notes(transcriber, samples, onsets):
    assert transcriber.notes(samples.astype(np.float32), RATE, onsets) == ()


def test_noise_has_hardly_any_notes(transcriber):
    noise = 0.1 * np.random.default_rng(1).standard_normal(10 * RATE).astype(np.float32)
    assert len(transcriber.notes(noise, RATE)) <= 3


def test_equal_samples_give_equal_notes_one_at_a_time(transcriber, tune):
    from accompany.encoders.notes import transcribe

    for onsets in ("voice", "vowel"):
        found = transcriber.notes(tune, RATE, onsets)
        assert found == transcribe(tune[0], RATE, onsets=onsets, threads=1)
        assert all(before.end_s <= after.start_s for before, after in pairwise(found))


def test_the_pitch_curve(transcriber, tune):
    curve = transcriber.pitch(tune, RATE)
    inside = (curve.times_s > 2.5) & (curve.times_s < 2.9)
    rest = (curve.times_s > 3.15) | (curve.times_s < 0.4)
    assert np.abs(12 * np.log2(curve.f0_hz[inside] / 440) + 69 - 57).max() < 0.3
    assert (curve.voicing[inside] > 0.5).all() and (curve.voicing[rest] < 0.5).all()


def test_vowel_onsets_come_after_voiced_consonants(transcriber):
    """A hum before each vowel, as of an m: the voice begins with the hum, the vowel when the upper spectrum does."""
    time_s = np.arange(4 * RATE) / RATE
    hum, vowel = np.zeros_like(time_s), np.zeros_like(time_s)
    starts = np.array([0.5, 1.3, 2.1, 2.9])
    for start in starts:
        hum[(time_s >= start - 0.08) & (time_s < start + 0.5)] = 1
        vowel[(time_s >= start) & (time_s < start + 0.5)] = 1
    low = sum(np.sin(2 * np.pi * 220 * k * time_s) / k for k in (1, 2))
    high = sum(np.sin(2 * np.pi * 220 * k * time_s) / 4 for k in range(3, 16))
    sound = (0.1 * (hum * low + vowel * high)).astype(np.float32)
    at_voice = np.array([note.start_s for note in transcriber.notes(sound, RATE)])
    at_vowel = np.array([note.start_s for note in transcriber.notes(sound, RATE, "vowel")])
    assert np.abs(at_voice - starts + 0.08).max() < 0.04
    assert np.abs(at_vowel - starts).max() < 0.025


def test_sung_songs_know_when_their_notes_are_sung(transcriber):
    need("espeak")
    from accompany.data.songs.compose import compose
    from accompany.data.songs.make import render_song
    from accompany.data.songs.voice import sung_notes
    from accompany.evaluation.note_bench import note_scores

    song = render_song(compose(7, seconds=12.0), voice_only=True)
    sung = read_notes(sung_notes(song.score.melody, song.score.voice, song.score.duration_s))
    written = read_notes([(n.start_s, n.end_s, n.pitch) for n in song.score.melody if n.start_s < 11.95])
    assert len(sung) == len(written) and [note.start_s for note in sung] != [note.start_s for note in written]
    at_voice, at_vowel = (transcriber.notes(song.vocals, song.sample_rate, onsets) for onsets in ("voice", "vowel"))
    assert note_scores(sung, at_voice)["note_f"] > 0.5
    assert note_scores(sung, at_vowel)["note_f"] > note_scores(sung, at_voice)["note_f"] - 0.05


@pytest.mark.skipif(not VOCADITO.is_dir(), reason="the shared recordings are not here")
def test_a_real_voice(transcriber):
    pytest.importorskip("mir_eval")
    from accompany.evaluation.note_bench import bench_notes

    rows = bench_notes(VOCADITO)["rows"]
    assert rows["voice onsets"]["note_f"] > 0.8 and rows["rounded truth"]["note_f"] > 0.99


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(0, 1, 60), (0.5, 2, 62)], "must not start before"),
        ([(1, 1, 60)], "end after it starts"),
        ([(-1, 1, 60)], "0 or later"),
        ([(0, float("nan"), 60)], "must be"),
        ([(0, 1, 300)], "pitch of 0 to 127"),
        ([(0, 1, 60, 2)], "confidence of 0 to 1"),
        ([(0, 1)], "MIDI pitch"),
        (["012"], "MIDI pitch"),
        ([None], "MIDI pitch"),
    ],
)
def test_rows_that_are_no_notes(rows, says):
    with pytest.raises(InputError, match=says):
        read_notes(rows)


PLAN = Plan(tuple(0.31 + 0.52 * np.arange(8)), (0.31, 2.39), ((0.0, 4.0, "C:maj"),), "C:maj")


def test_midi_out_is_midi_in(tmp_path):
    from accompany.sound.midi import write_midi
    from accompany.sound.midi_melody import read_melody

    notes = read_notes(TUNE)
    write_midi(tmp_path / "a.mid", PLAN, 4.0, notes)
    for track in (None, "sung notes", "Sung Notes "):
        back = read_melody(tmp_path / "a.mid", track)
        np.testing.assert_allclose(
            [(n.start_s, n.end_s, n.pitch) for n in back],
            [(n.start_s, n.end_s, round(n.pitch)) for n in notes],
            atol=2e-3,
        )


def midi(path, *tracks, kind=1):
    """A file at 120 beats a minute whose tracks are (name, channel, [(start, end, pitch) in beats])."""
    file = mido.MidiFile(type=kind, ticks_per_beat=96)
    for name, channel, notes in tracks:
        events = [(a, "note_on", p, 90) for a, _, p in notes] + [(b, "note_on", p, 0) for _, b, p in notes]
        track, now = mido.MidiTrack([mido.MetaMessage("track_name", name=name)]), 0
        for at, what, pitch, velocity in sorted(events, key=lambda event: (event[0], event[3] > 0)):
            tick = round(96 * at)
            track.append(mido.Message(what, note=pitch, velocity=velocity, channel=channel, time=tick - now))
            now = tick
        file.tracks.append(track)
    file.save(path)
    return path


LINE = [(0, 1, 60), (1, 2, 62), (2, 4, 64)]
HIGHER = [(0, 1, 72), (1, 2.05, 74), (2, 4, 76)]
CHORDS = [(0, 2, 80), (0, 2, 84), (0, 2, 87)]


@pytest.mark.parametrize(
    ("tracks", "named", "pitches"),
    [
        ([("a", 0, LINE)], None, [60, 62, 64]),
        ([("a", 0, LINE), ("b", 1, HIGHER), ("c", 2, CHORDS)], None, [72, 74, 76]),
        ([("a", 0, LINE), ("b", 1, HIGHER)], "A", [60, 62, 64]),
        ([("a", 0, LINE), ("drums", 9, HIGHER)], None, [60, 62, 64]),
    ],
)
def test_which_track_is_the_melody(tmp_path, tracks, named, pitches):
    from accompany.sound.midi_melody import read_melody

    found = read_melody(midi(tmp_path / "a.mid", *tracks), named)
    assert [note.pitch for note in found] == pitches
    np.testing.assert_allclose([note.start_s for note in found], [0.0, 0.5, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("tracks", "named", "says"),
    [
        ([("a", 0, [])], None, "has no notes"),
        ([("drums", 9, LINE)], None, "has no notes"),
        ([("a", 0, CHORDS)], None, "one note at a time, but the track 'a'"),
        ([("a", 0, CHORDS), ("b", 1, CHORDS)], None, "every track"),
        ([("a", 0, LINE), ("b", 1, CHORDS)], "b", "the track 'b'"),
        ([("a", 0, LINE)], "c", "no track 'c' with notes; there are 'a'"),
    ],
)
def test_files_without_a_melody(tmp_path, tracks, named, says):
    from accompany.sound.midi_melody import read_melody

    with pytest.raises(InputError, match=says):
        read_melody(midi(tmp_path / "a.mid", *tracks), named)


@pytest.mark.parametrize("content", [b"", b"MThd", b"RIFF0000WAVE", b"MThd\0\0\0\6\0\1\0\1\0`MTrk\0\0\0\4\0\x90"])
def test_broken_midi_files(tmp_path, content):
    from accompany.sound.midi_melody import read_melody

    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mid"):
        read_melody(tmp_path / "a.mid")
    with pytest.raises(InputError, match=r"b\.mid"):
        read_melody(tmp_path / "b.mid")


def test_rendered_notes_have_the_features_of_their_pitches():
    import torch

    encoder = Melody()
    sound = render_notes(read_notes([(0.4, 1.2, 57.0), (1.4, 2.2, 64.0)]), 60_000, encoder.sample_rate)
    features = encoder.encode(torch.from_numpy(sound))[0]
    for middle, pitch_class in ((20, 9), (45, 4)):
        assert int(features[middle, Melody.SALIENCE].argmax()) == 3 * pitch_class + 1
    assert features[:8, Melody.VOICING].max() < 0.05 < 0.5 < features[20, Melody.VOICING].item()
    onsets = features[:, Melody.ONSETS].mean(dim=1)
    assert {int(onsets[:30].argmax()), 30 + int(onsets[30:].argmax())} <= {9, 10, 34, 35}


def steps(period_s, pitches):
    return tuple((period_s * i, period_s * (i + 0.9), float(p)) for i, p in enumerate(pitches))


def test_other_notes_give_another_plan(vocal_path):
    """The bundled model plans for the notes that are given, whatever the recording sings."""
    band = accompany.load("tiny")
    tune = [60, 64, 67, 64, 62, 65, 69, 65, 60, 64, 67, 72, 71, 67, 65, 62] * 2
    rate, seconds = 24_000, 14.0
    fast, slow = steps(0.4, tune), steps(0.55, tune)
    hum = 0.1 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate).astype(np.float32)
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(hum)).astype(np.float32)
    plans = {
        name: band.analyse((sound, rate), melody=notes).plan
        for name, sound, notes in (
            ("fast", hum, fast),
            ("fast, other voice", noise, fast),
            ("slow", hum, slow),
            ("higher", hum, tuple((a, b, p + 5) for a, b, p in fast)),
        )
    }
    assert plans["fast"] == plans["fast, other voice"]
    assert plans["fast"].beats_s != plans["slow"].beats_s
    assert plans["fast"].chords != plans["higher"].chords and plans["fast"].key != plans["higher"].key
    for name, period_s in (("fast", 0.4), ("slow", 0.55)):  # on the notes, or every second of them
        beats = np.array(plans[name].beats_s)
        assert np.median(np.abs(beats / period_s - np.round(beats / period_s))) * period_s < 0.06


def test_a_melody_is_kept_with_the_settings(band):
    notes = steps(0.5, [60, 62, 64, 65])
    settings = Settings("piano", melody=notes)
    assert Settings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
    vocal = 0.1 * np.sin(2 * np.pi * 220 * np.arange(48_000) / 24_000).astype(np.float32), 24_000
    take = band.generate(vocal, melody=notes)
    assert take.plan == band.analyse(vocal, melody=notes).plan
    assert take.settings.playing(take.plan).melody is None


def test_notes_beyond_the_end_are_cut(band, tmp_path):
    vocal = 0.1 * np.sin(2 * np.pi * 220 * np.arange(30_000) / 24_000).astype(np.float32), 24_000
    heard = band.analyse(vocal, melody=[(0.5, 1.0, 60), (1.1, 2.0, 62), (3.0, 4.0, 64)])
    assert [note.row for note in heard.notes] == [[0.5, 1.0, 60, 1], [1.1, 1.25, 62, 1]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"melody": ()}, "must have a note"),
        ({"melody": 5}, "must be notes"),
        ({"melody": [5]}, "cannot be followed"),
        ({"melody": [(1.0, 0.5, 60.0)]}, "cannot be followed"),
        ({"melody": [(0.0, 0.5, 60.0)], "plan": PLAN}, "a plan, or the melody"),
        ({"melody": [(9.0, 9.5, 60.0)]}, "lies beyond the end of the vocal"),
    ],
)
def test_melodies_that_cannot_be(band, options, says):
    with pytest.raises(InputError, match=says):
        band.generate((np.full(24_000, 0.1, np.float32) * np.sin(np.arange(24_000)), 24_000), **options)


@pytest.fixture
def run(tmp_path, vocal_path, random_bundle_dir, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "song.wav").write_bytes(vocal_path.read_bytes())

    def call(*words):
        code = main([*map(str, words), *(["--model", str(random_bundle_dir)] if words[0] == "analyse" else [])])
        return code, capsys.readouterr()

    return call


def test_analyse_writes_the_notes(run, tmp_path):
    pytest.importorskip("swift_f0")
    from accompany.sound.midi_melody import read_melody

    code, printed = run("analyse", "song.wav", "--midi", "--no-picture")
    assert code == 0, printed.err
    heard = Analysis.load("song.analysis.json")
    assert (
        heard.notes
        and [note.row for note in heard.notes] == json.loads(Path("song.analysis.json").read_text())["notes"]
    )
    assert len(read_melody("song.notes.mid", "sung notes")) == len(heard.notes)
    assert run("analyse", "song.wav", "--melody", "song.notes.mid", "-o", "b.json", "--no-picture")[0] == 0
    given = Analysis.load("b.json")
    assert [note.pitch for note in given.notes] == [round(note.pitch) for note in heard.notes]
    Path("song.analysis.json").write_text(Path("song.analysis.json").read_text().replace('"notes"', '"notes_"', 1))
    assert Analysis.load("song.analysis.json").notes == ()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--melody", "none.mid"], "none.mid"),
        (["--melody", "song.wav"], "MIDI"),
        (["--melody-track", "voice"], "give both, or neither"),
    ],
)
def test_wrong_melodies_are_one_sentence(run, words, says):
    code, printed = run("analyse", "song.wav", *words)
    assert code == 2 and says in printed.err and "Traceback" not in printed.err and len(printed.err.splitlines()) == 1
    assert not Path("song.analysis.json").exists()


def test_without_the_package_a_sentence_says_so(run, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "swift_f0", None)
    code, printed = run("analyse", "song.wav", "--no-picture")
    assert code == 2 and "swift_f0" in printed.err and 'pip install "accompany[eval]"' in printed.err


def write_pair(folder, name, notes, shift_s=0.0):
    audio.write(folder / f"{name}.flac", render_notes(read_notes(notes), round(3.5 * RATE), RATE), RATE)
    lines = [f"{a + shift_s},{440 * 2 ** ((p - 69) / 12)},{b - a}" for a, b, p in notes]
    (folder / f"{name}_notes.csv").write_text("\n".join(lines) + "\n")


def test_bench_of_pairs_and_songs(run, tmp_path):
    pytest.importorskip("swift_f0")
    pytest.importorskip("mir_eval")
    other = [(a + 0.13, b + 0.13, p + 3) for a, b, p in TUNE]
    write_pair(tmp_path, "a", TUNE)
    song = tmp_path / "songs" / "0"
    song.mkdir(parents=True)
    audio.write(song / "vocals.flac", render_notes(read_notes(other), round(3.5 * RATE), RATE), RATE)
    (song / "song.json").write_text(json.dumps({"sung": other, "notes": [[0, 1, 50, "la"]]}))
    code, printed = run("bench", "--notes", ".", "--json")
    report = json.loads(printed.out.splitlines()[-1])
    assert code == 0 and report["songs"] == 2 and report["notes"] == 10
    rows = report["rows"]
    assert rows["voice onsets"]["note_f"] > 0.95 and rows["rounded truth"]["note_offset_f"] == pytest.approx(1.0)
    assert rows["another song"]["note_f"] == 0 and "voice onsets" in printed.err


def test_the_measure_sees_late_and_wrong_notes():
    pytest.importorskip("mir_eval")
    from accompany.evaluation.note_bench import note_scores

    truth = read_notes(TUNE)
    late = [SungNote(n.start_s + 0.06, n.end_s + 0.06, n.pitch) for n in truth]
    wrong = [SungNote(n.start_s, n.end_s, n.pitch + 0.6) for n in truth]
    short = [SungNote(n.start_s, n.start_s + 0.1, n.pitch) for n in truth]
    assert note_scores(truth, truth) == {"onset_f": 1.0, "note_f": 1.0, "note_offset_f": 1.0}
    assert note_scores(truth, late) == {"onset_f": 0.0, "note_f": 0.0, "note_offset_f": 0.0}
    assert note_scores(truth, wrong) == {"onset_f": 1.0, "note_f": 0.0, "note_offset_f": 0.0}
    assert note_scores(truth, short) == {"onset_f": 1.0, "note_f": 1.0, "note_offset_f": 0.0}
    assert note_scores(truth, [])["note_f"] == 0.0


@pytest.mark.parametrize("table", ["1,2\n", "a,b,c\n", "1,-5,1\n", "1,nan,1\n", "-1,220,1\n"])
def test_broken_tables_are_one_sentence(run, tmp_path, table):
    pytest.importorskip("swift_f0")
    write_pair(tmp_path, "a", TUNE)
    (tmp_path / "a_notes.csv").write_text(table)
    code, printed = run("bench", "--notes", ".")
    assert code == 2 and "a_notes.csv" in printed.err and "Traceback" not in printed.err


def test_folders_without_notes_are_one_sentence(run, tmp_path):
    for folder in ("gone", "."):
        code, printed = run("bench", "--notes", folder)
        assert code == 2 and "known" in printed.err


def test_the_pitch_tracker_reports_to_nobody(tmp_path: Path) -> None:
    """ONNX Runtime starts its telemetry where it is imported, with a session file in the temporary folder."""
    program = "from accompany.encoders.notes import NoteTranscriber; NoteTranscriber()"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not (tmp_path / ".ses").exists()
