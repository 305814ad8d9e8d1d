"""Metrics of fit: scores of the truth, and of degenerate and shuffled answers."""

import numpy as np
import pytest

pytest.importorskip("librosa")
pytest.importorskip("mir_eval")

from accompany.errors import InputError
from accompany.evaluation import metrics
from accompany.evaluation.arranger import arrange
from accompany.evaluation.judge import best_thresholds, named_families
from accompany.evaluation.testset import load_clips, most_sung_stretch

RATE = 24000
SECONDS = 8.0
C_AM_F_G = ((0.0, 2.0, "C:maj"), (2.0, 4.0, "A:min"), (4.0, 6.0, "F:maj"), (6.0, 8.0, "G:maj"))
FAR_AWAY = ((0.0, 2.0, "F#:maj"), (2.0, 4.0, "D#:min"), (4.0, 6.0, "B:maj"), (6.0, 8.0, "C#:maj"))
BEATS = tuple(np.arange(0.25, SECONDS, 0.5))


def play(chords, beats=BEATS):
    return arrange(chords, beats, round(SECONDS * RATE), RATE)


def test_harmony_tells_the_right_chords_from_the_wrong_and_the_flat():
    truth = play(C_AM_F_G)
    noise = np.random.default_rng(0).standard_normal(len(truth)).astype(np.float32) * 0.1
    assert metrics.harmony(truth, truth, RATE) > 0.99
    assert metrics.harmony(play(C_AM_F_G, BEATS[::2]), truth, RATE) > 0.8
    assert metrics.harmony(play(FAR_AWAY), truth, RATE) < 0.0
    assert abs(metrics.harmony(noise, truth, RATE)) < 0.3
    assert metrics.harmony(np.zeros_like(truth), truth, RATE) == pytest.approx(0.0, abs=1e-9)


def test_beats_are_found_and_another_grid_scores_less():
    sound = play(C_AM_F_G)
    found = metrics.track_beats(sound, RATE)
    assert metrics.beat_f(found, np.array(BEATS)) > 0.6  # the tracker may take every other beat
    assert metrics.beat_f(found, np.array(BEATS) + 0.2) < 0.3
    assert metrics.beat_f(np.zeros(0), np.array(BEATS)) == 0.0


def test_consonance_prefers_the_sung_note_and_copying_shows_as_likeness():
    time = np.arange(round(SECONDS * RATE)) / RATE
    vocal = sum(np.sin(2 * np.pi * 261.63 * k * time) / k for k in range(1, 8)).astype(np.float32) * 0.2
    pitch, voiced = metrics.sung_pitch(vocal, RATE)
    with_c = play(((0.0, SECONDS, "C:maj"),))
    without_c = play(((0.0, SECONDS, "B:maj"),))
    scores = [metrics.consonance(metrics.chroma(sound, RATE), pitch, voiced) for sound in (vocal, with_c, without_c)]
    assert scores[0] > scores[1] > 0.2 > scores[2]
    assert metrics.voice_likeness(vocal, vocal, RATE) > 0.99
    assert metrics.voice_likeness(with_c, vocal, RATE) < 0.5


def test_codec_figures_are_perfect_for_the_same_and_low_for_noise():
    truth = play(C_AM_F_G)
    noise = np.random.default_rng(0).standard_normal(len(truth)).astype(np.float32)
    assert metrics.chroma_cosine(truth, truth, RATE) > 0.999
    assert metrics.onset_correlation(truth, truth, RATE) > 0.999
    assert metrics.si_sdr(0.3 * truth, truth) > 60
    assert metrics.onset_correlation(noise, truth, RATE) < 0.3
    assert metrics.si_sdr(noise, truth) < -10


def test_levels_see_clipping_and_silence():
    sound = np.concatenate([np.zeros(RATE), np.ones(RATE)]).astype(np.float32)
    found = metrics.levels(sound, RATE)
    assert found.peak == 1.0
    assert found.clipped_share == pytest.approx(0.5)
    assert found.silent_share == pytest.approx(0.5)


def test_the_most_sung_stretch_is_found():
    vocal = np.zeros(20 * RATE, dtype=np.float32)
    vocal[8 * RATE : 15 * RATE] = np.random.default_rng(0).standard_normal(7 * RATE) * 0.1
    start, sung = most_sung_stretch(vocal, RATE, 5 * RATE)
    assert 8 * RATE <= start <= 10 * RATE
    assert sung == 1.0


def test_a_folder_without_songs_is_refused(tmp_path):
    with pytest.raises(InputError, match="accompany synth"):
        load_clips([tmp_path], sample_rate=RATE)
    with pytest.raises(InputError, match="not a folder"):
        load_clips([tmp_path / "nothing"], sample_rate=RATE)


def test_a_prompt_asks_only_for_what_the_song_has():
    wanted, forbidden = named_families(
        "Warm Rhodes and upright bass, no drums", ("electric piano", "upright bass"), ("drums",)
    )
    assert wanted == {"electric piano", "bass"}
    assert forbidden == {"drums"}
    assert named_families("a sad song", ("piano",), ("drums",)) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    ("caption", "forbidden"),
    [
        ("Grand piano and upright bass.", set()),  # "piano " ends in "no "
        ("folk with piano, without drums", {"drums"}),  # of all that is missing, what is named
        ("JAZZ PIANO, WITHOUT ANY STRINGS", {"strings"}),
        ("folk, no drums and no brass", {"drums", "brass"}),
        ("synthpop, drumless", {"drums"}),
        ("unplugged folk", {"drums"}),
    ],
)
def test_only_what_a_caption_denies_is_forbidden(caption, forbidden):
    assert named_families(caption, ("piano",), ("drums", "strings", "brass"))[1] == forbidden


def test_thresholds_separate_what_can_be_separated():
    import torch

    probabilities = torch.tensor([[0.1, 0.8], [0.2, 0.9], [0.3, 0.7], [0.35, 0.6]])
    present = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 0]])
    first, second = best_thresholds(probabilities, present)
    assert 0.2 <= first < 0.3
    assert 0.8 <= second < 0.9
