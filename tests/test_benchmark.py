"""Metrics beyond fit: chords, time, distances, other systems' outputs, layouts, retrieval."""

import json

import numpy as np
import pytest

pytest.importorskip("librosa")
pytest.importorskip("mir_eval")

from conftest import sing

from accompany import audio
from accompany.errors import InputError
from accompany.evaluation import beat_metrics, chord_metrics, embeddings, metrics
from accompany.evaluation.arranger import arrange
from accompany.evaluation.clip_metrics import seam_metrics
from accompany.evaluation.folders import Against, read_against
from accompany.evaluation.report import best_degenerate, with_beats
from accompany.evaluation.rows import nearest_clips
from accompany.evaluation.seams import window_borders
from accompany.evaluation.tempo_words import asked_range, grants_tempo
from accompany.evaluation.testset import Clip, load_clips
from accompany.training import metrics as training_metrics

RATE = 24000
SECONDS = 8.0
CHORDS = ((0.0, 2.0, "C:maj"), (2.0, 4.0, "A:min"), (4.0, 6.0, "F:maj/3"), (6.0, 8.0, "G:maj"))
BEATS = tuple(np.arange(0.0, SECONDS, 0.5))


def play(chords=CHORDS, beats=BEATS, seconds=SECONDS):
    return arrange(chords, beats, round(seconds * RATE), RATE)


def write(path, sound, rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, sound, rate)


def clip_of(name="set/song", **more):
    sound = np.zeros(round(2.0 * RATE), np.float32)
    return Clip(**({"name": name, "sample_rate": RATE, "vocal": sound, "truth": sound, "prompt": ""} | more))


def test_triad_templates_are_shared_by_metrics_and_training():
    templates = chord_metrics.triad_templates()
    assert templates.shape == (24, 12) and np.allclose(templates.mean(1), 0)
    assert [*np.flatnonzero(templates[21] > 0)] == [0, 4, 9]  # A minor
    assert np.allclose(training_metrics.triads().numpy(), templates, atol=1e-6)


def test_chords_and_key_are_heard_and_wrong_or_missing_ones_are_not():
    chroma = metrics.chroma(play(), RATE)
    right = chord_metrics.chord_scores(chroma, CHORDS)
    moved = tuple((start, end, label.replace("C", "C#").replace("A", "A#")) for start, end, label in CHORDS)
    assert right["chord_majmin"] > 0.85
    assert right["chord_root"] > 0.85
    assert chord_metrics.chord_scores(chroma, moved)["chord_root"] < right["chord_root"] - 0.3
    silent = metrics.chroma(np.zeros(round(SECONDS * RATE), np.float32), RATE)
    assert chord_metrics.chord_scores(silent, CHORDS)["chord_majmin"] == pytest.approx(0.0, abs=1e-9)
    cadence = ((0.0, 2.0, "C:maj"), (2.0, 4.0, "F:maj"), (4.0, 6.0, "G:maj"), (6.0, 8.0, "C:maj"))
    in_c = metrics.chroma(play(cadence), RATE)
    scores = [chord_metrics.key_score(in_c, key) for key in ("C:maj", "A:min", "C:min", "F#:maj")]
    assert scores == pytest.approx([1.0, 0.3, 0.2, 0.0])
    assert chord_metrics.key_score(silent, "C:maj") == pytest.approx(0.0, abs=1e-9)
    assert chord_metrics.key_score(chroma, "no key") is None


def test_chords_that_are_neither_major_nor_minor_do_not_count_in_majmin():
    chroma = metrics.chroma(play(), RATE)
    assert set(chord_metrics.chord_scores(chroma, ((0.0, 8.0, "C:sus4"),))) == {"chord_root"}
    short = chord_metrics.chord_scores(chroma, ((0.0, 2.0, "C"), (2.0, 4.0, "Am7"), (4.0, 6.0, "F"), (6.0, 8.0, "G7")))
    assert short["chord_root"] > 0.85


def test_tempo_and_drift_tell_the_right_the_double_and_the_wrong_speed():
    truth = np.arange(0.0, 10.0, 0.5)
    assert beat_metrics.tempo_metrics(truth + 0.2, truth) == {"tempo_acc1": 1.0, "tempo_acc2": 1.0, "tempo_error": 0.0}
    double = beat_metrics.tempo_metrics(np.arange(0.0, 10.0, 0.25), truth)
    assert (double["tempo_acc1"], double["tempo_acc2"], double["tempo_error"]) == (0.0, 1.0, pytest.approx(1.0))
    assert beat_metrics.tempo_metrics(np.arange(0.0, 10.0, 0.4), truth)["tempo_acc2"] == 0.0
    assert beat_metrics.tempo_metrics(np.zeros(0), truth) == {"tempo_acc1": 0.0, "tempo_acc2": 0.0}
    assert beat_metrics.tempo_metrics(truth, np.zeros(0)) == {}
    for speed in (1.0, 2.0, 3.0, 0.5):
        assert beat_metrics.drift_ms(np.arange(0.1, 10.0, 0.5 / speed), truth, 10.0) == pytest.approx(0.0, abs=1e-6)
    # 2% too slow: after 10 s a fifth of a second is missing.
    assert beat_metrics.drift_ms(np.arange(0.0, 10.0, 0.51), truth, 10.0) == pytest.approx(200, rel=0.05)
    assert beat_metrics.drift_ms(truth[:3], truth, 10.0) is None


def test_downbeats_are_where_chords_change():
    sound, beats = play(), np.array(BEATS)
    chroma, onsets = metrics.chroma(sound, RATE), metrics.onset_envelope(sound, RATE)
    found = beat_metrics.estimate_downbeats(beats[1:], chroma, onsets, metrics.ONSET_RATE, 4)
    assert metrics.beat_f(found, beats[4::4]) == 1.0
    assert beat_metrics.bar_length(BEATS, BEATS[::4]) == 4
    assert beat_metrics.bar_length(BEATS, BEATS[:1]) is None


def test_words_of_tempo_are_found_and_obeyed():
    assert asked_range("a slow ballad")[1] < asked_range("upbeat funk")[1] < asked_range("fast rock")[1]
    assert asked_range("very slow strings") != asked_range("slow strings")
    assert asked_range("steadfast piano") is None
    assert grants_tempo("slow", 65.0) == 1.0
    assert grants_tempo("slow", 110.0) == 0.0
    assert grants_tempo("fast", 70.0) == 1.0  # tracked at half speed
    assert grants_tempo("fast", None) == 0.0
    assert grants_tempo("piano", 100.0) is None


def test_frechet_distance_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4000, 3))
    b = 2.0 * rng.standard_normal((4000, 3)) + [1.0, 0.0, 0.0]
    assert embeddings.frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert embeddings.frechet_distance(a, b) == pytest.approx(1.0 + 3 * (2.0 - 1.0) ** 2, rel=0.08)
    few = rng.standard_normal((5, 40))  # fewer vectors than dimensions
    assert embeddings.frechet_distance(few, few[::-1]) == pytest.approx(0.0, abs=1e-9)
    songs = [a[i : i + 20] for i in range(0, 200, 20)]
    far = embeddings.distance_of_rows([song + 3.0 for song in songs], songs)
    assert far["low"] < far["mean"] < far["high"]
    assert far["mean"] == pytest.approx(27.0, rel=0.01)
    assert far["clips"] == 10
    assert embeddings.distance_of_rows(songs[:1], songs) is None


def test_a_voice_is_heard_in_what_has_one(band):
    pytest.importorskip("demucs")
    models = embeddings.EmbeddingModels.of(band.bundle)
    voice, music = sing(4.0, RATE), play(seconds=4.0)
    leak = [embeddings.voice_leak_db(sound, RATE, models) for sound in (music, music + voice)]
    assert all(-80 <= value <= 20 for value in leak)
    assert leak[1] > leak[0] + 6
    assert embeddings.voice_leak_db(0 * music, RATE, models) is None
    assert embeddings.voice_leak_db(music, RATE, embeddings.EmbeddingModels(band.bundle, None)) is None


def test_takes_that_are_alike_are_not_diverse(band):
    models = embeddings.EmbeddingModels(band.bundle, None)
    one, other = (embeddings.embed(sound, RATE, models) for sound in (play(seconds=4.0), sing(4.0, RATE)))
    assert one.stretches.shape == (2, band.bundle.clap.dim)
    assert one.seconds.shape == (4, band.bundle.mert.dim)
    assert embeddings.diversity([one, one]) == pytest.approx(0.0, abs=1e-6)
    assert embeddings.diversity([one, other]) > 1e-6
    assert embeddings.diversity([one]) is None
    assert -1 <= embeddings.clap_score(one, "piano", models) <= 1
    assert embeddings.clap_score(one, " ", models) is None


def test_seams_are_measured_where_windows_meet(band):
    bundle, seconds = band.bundle, 60
    sound = (0.1 * np.random.default_rng(0).standard_normal(seconds * RATE)).astype(np.float32)
    rate, config = bundle.semantic_codes.frame_rate, bundle.semantic.config
    spans = config.window_frames, config.context_frames, config.lookahead_frames
    border = window_borders(round(seconds * rate), *spans, rate)[0]
    even = seam_metrics(sound, RATE, bundle)
    broken = sound.copy()
    broken[round(border * RATE) :] *= 5
    assert even["seam_level"] == pytest.approx(1.0, abs=0.3)
    assert seam_metrics(broken, RATE, bundle)["seam_level"] > even["seam_level"]
    assert seam_metrics(sound[: RATE // 2], RATE, bundle) == {}


def test_outputs_of_others_are_matched_cut_and_missed(tmp_path, caplog):
    names = ("test/Al - One", "test/Al - Two", "test/Al - Three", "test/Al - Four")
    clips = [clip_of(name, start_s=1.0, song_s=5.0) for name in names]
    wave = np.cos(0.1 * np.pi * np.arange(4 * 44100)).astype(np.float32)
    write(tmp_path / "Al_-_one.wav", np.concatenate([np.zeros(44100, np.float32), 0.5 * wave])[None], 44100)
    write(tmp_path / "Al - Two" / "accompaniment.flac", 0.25 * wave[: 2 * 16000][None].repeat(2, 0), 16000)
    write(tmp_path / "test" / "Al - Three.wav", 0.1 * wave[:RATE][None], RATE)
    other = Against("theirs", tmp_path, clips)
    cut, as_is, short = (other.sound(i, clips[i]) for i in range(3))
    assert len(cut) == len(as_is) == len(short) == 2 * RATE
    assert cut.std() == pytest.approx(0.5 / 2**0.5, abs=0.01)  # from second 1 on, where the song begins to sound
    assert as_is.std() == pytest.approx(0.25 / 2**0.5, abs=0.01)
    assert short[-1] == 0
    assert other.sound(3, clips[3]) is None
    assert "no output for 1 of 4 clips (test/Al - Four)" in caplog.text
    with pytest.raises(InputError, match="has no file for any of the 1 clips"):
        Against("theirs", tmp_path, [clip_of("test/Someone - Else")])


def test_wrong_folders_of_others_are_refused(tmp_path):
    assert read_against([f"a b={tmp_path}"], ["truth"]) == {"a b": tmp_path}
    for option, words in (
        (str(tmp_path), "NAME=DIR"),
        (f"a/b={tmp_path}", "NAME=DIR"),
        (f"truth={tmp_path}", "already"),
        (f"x={tmp_path / 'none'}", "no folder"),
    ):
        with pytest.raises(InputError, match=words):
            read_against([option], ["truth"])


def test_musdb_and_moisesdb_are_read_as_they_lie(tmp_path):
    voice, band = sing(4.0, RATE), play(seconds=4.0)
    song = tmp_path / "musdb" / "test" / "Al James - Schoolboy"
    for name, sound in {"vocals": voice, "drums": 0.5 * band, "bass": 0.3 * band, "other": 0.2 * band}.items():
        write(song / f"{name}.wav", np.stack([sound, sound]), RATE)
    write(song / "mixture.wav", np.stack([voice + band, voice + band]), RATE)
    (song / "song.txt").write_text("slow piano\n")
    moises = tmp_path / "moisesdb" / "c0ffee"
    write(moises / "vocals" / "v1.wav", voice[None], RATE)
    write(moises / "bass" / "b1.wav", band[None, : 2 * RATE], RATE)
    stems = [
        {"stemName": stem, "tracks": [{"id": i, "extension": "wav"}]} for stem, i in (("vocals", "v1"), ("bass", "b1"))
    ]
    (moises / "data.json").write_text(json.dumps({"song": "One", "artist": "Al", "stems": stems}))
    first, second = load_clips([tmp_path / "musdb", tmp_path / "moisesdb"], sample_rate=RATE, seconds=3.0)
    assert first.name == "test/Al James - Schoolboy"
    assert first.prompt == "slow piano"
    assert second.prompt == ""
    begin = round(first.start_s * RATE)
    assert np.allclose(first.truth, band[begin : begin + 3 * RATE], atol=2e-3)
    assert first.song_s == pytest.approx(4.0)
    begin = round(second.start_s * RATE)
    assert np.allclose(second.truth[: 2 * RATE - begin], band[begin : 2 * RATE], atol=2e-3)
    assert not second.truth[2 * RATE - begin :].any()


def test_unknown_beats_are_heard_in_the_true_mix():
    clip = clip_of(truth=play(), vocal=0 * play())
    found = with_beats(clip, None)
    assert found.beats_by == "librosa"
    assert metrics.beat_f(np.array(found.beats_s), np.array(BEATS)) > 0.6
    known = clip_of(beats_s=BEATS)
    assert with_beats(known, None) is known


def test_retrieval_takes_the_nearest_in_key_and_tempo_and_never_the_song_itself():
    slow, fast = tuple(np.arange(0, 2, 0.8)), tuple(np.arange(0, 2, 0.4))
    clips = [clip_of(key=key, beats_s=beats) for key, beats in (
        ("C:maj", slow), ("F#:maj", slow), ("A:min", slow), ("C:maj", fast), ("Db:maj", fast)
    )]  # fmt: skip
    nearest = nearest_clips(clips)
    assert nearest[0] == 2  # the relative minor at the same speed before the same key at twice the speed
    assert nearest[1] != 1
    assert nearest[4] == 3  # five fifths away at the same speed before one at half the speed
    assert nearest_clips(clips[:1]) == [0]
    assert nearest_clips([clip_of(key="unheard of"), clips[0]]) == [1, 0]


def test_the_best_degenerate_answer_is_named_for_each_metric():
    rows = {
        "accompany": {"harmony": {"mean": 0.3}, "chroma_cosine": {"mean": 0.7}, "consonance": {"mean": 0.5}},
        "truth": {"harmony": {"mean": 1.0}, "chroma_cosine": {"mean": 1.0}, "consonance": {"mean": 0.5}},
        "flat": {"harmony": {"mean": 0.0}, "chroma_cosine": {"mean": 0.8}, "consonance": {"mean": 0.0}},
        "vocal copy": {"harmony": {"mean": 0.2}, "chroma_cosine": {"mean": 0.5}, "consonance": {"mean": 2.0}},
    }
    assert best_degenerate(rows) == {
        "harmony": {"row": "vocal copy", "mean": 0.2, "beats": []},
        "chroma_cosine": {"row": "flat", "mean": 0.8, "beats": ["accompany"]},
    }
