"""Chord labels, the plan and its control track."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from accompany.errors import InputError
from accompany.music import chord_path, chord_text, harmony
from accompany.music.plan import (
    BEAT_SLICE,
    CHORD_SLICE,
    CONTROL_DIM,
    KEY_SLICE,
    Plan,
    bar_positions,
    beat_positions,
    control_track,
)
from accompany.stages.losses import transpose_majmin

SONG = Plan(
    beats_s=tuple(0.3 + 0.5 * i for i in range(20)),
    downbeats_s=tuple(0.8 + 2.0 * i for i in range(5)),
    chords=((0.8, 2.8, "A:min7"), (2.8, 4.8, "F:maj/3"), (4.8, 6.8, "N")),
    key="A:min",
    tempo_bpm=120.0,
)


@pytest.mark.parametrize(
    ("label", "root", "tones", "bass"),
    [
        ("C", 0, {0, 4, 7}, 0),
        ("A:min", 9, {9, 0, 4}, 9),
        ("A:min7/b3", 9, {9, 0, 4, 7}, 0),
        ("F#:sus4(b7)", 6, {6, 11, 1, 4}, 6),
        ("Bb:hdim7", 10, {10, 1, 4, 8}, 10),
        ("Eb:maj/5", 3, {3, 7, 10}, 10),
        ("G:7/3", 7, {7, 11, 2, 5}, 11),
        ("C:maj(9,*5)", 0, {0, 4, 2}, 0),
        ("D:(3,5)", 2, {2, 6, 9}, 2),
        ("Am7", 9, {9, 0, 4, 7}, 9),
        ("G7/B", 7, {7, 11, 2, 5}, 11),
        ("Dm/F", 2, {2, 5, 9}, 5),
        ("E:5", 4, {4, 11}, 4),
        ("Cb:maj", 11, {11, 3, 6}, 11),
        ("Cadd9", 0, {0, 4, 7, 2}, 0),
    ],
)
def test_chords_are_parsed(label: str, root: int, tones: set[int], bass: int) -> None:
    assert harmony.chord_pitch_classes(label) == (root, frozenset(tones), bass)


@pytest.mark.parametrize("label", ["H", "", "C:majj", "C:maj/x", "maj", "C:maj(b)", "C:min7/0", "Cmaj7maj7"])
def test_what_is_no_chord_is_refused(label: str) -> None:
    with pytest.raises(InputError, match="is no chord"):
        harmony.chord_pitch_classes(label)


def test_a_misspelt_quality_gets_a_hint() -> None:
    with pytest.raises(InputError, match="did you mean 'min7'"):
        harmony.chord_pitch_classes("A:mim7")


def test_majmin_and_its_labels_are_inverse() -> None:
    assert [harmony.majmin(harmony.label_of(index)) for index in range(25)] == list(range(25))
    assert [harmony.majmin(label) for label in ("A:min7", "G:7", "B:dim", "C:sus4", "N", "X")] == [21, 7, 23, 0, 24, 24]


@pytest.mark.parametrize(
    ("label", "index"),
    [("C", 0), ("C:maj", 0), ("A:min", 21), ("F# minor", 18), ("Bb major", 10), ("Am", 21), ("D dorian", 14)],
)
def test_keys_are_parsed(label: str, index: int) -> None:
    assert harmony.key_index(label) == index
    assert harmony.key_index(harmony.key_label(index)) == index


@pytest.mark.parametrize("label", ["H:maj", "", "C:foo", "A:min7"])
def test_what_is_no_key_is_refused(label: str) -> None:
    with pytest.raises(InputError, match="is no key"):
        harmony.key_index(label)


def test_transposition_of_numbers_and_labels_agrees() -> None:
    labels = ["C:maj", "A:min", "Bb:maj", "N"]
    for semitones in (-7, 0, 3, 14):
        moved = transpose_majmin(torch.tensor([harmony.majmin(label) for label in labels]), semitones)
        assert moved.tolist() == [harmony.majmin(chord_text.transpose_label(label, semitones)) for label in labels]
    assert transpose_majmin(torch.tensor([-1, 24]), 5).tolist() == [-1, 24]
    assert chord_text.transpose_label("G:7/B", 2) == "A:7/C#"
    assert chord_text.transpose_label("G:7/b3", 2) == "A:7/b3"


def test_the_diatonic_chords_lie_in_the_key() -> None:
    assert chord_path.diatonic_chords(0) == {0, 14, 16, 5, 7, 21}
    assert harmony.majmin("E:maj") in chord_path.diatonic_chords(harmony.key_index("A:min"))


def test_the_beat_group_tells_phases_and_tempo() -> None:
    control, mask = control_track(SONG, 250, 25.0)
    assert control.shape == (250, CONTROL_DIM)
    assert control.dtype == torch.float32
    assert mask[:, 0].all()
    times_s = (np.arange(250) + 0.5) / 25
    phase, bar = (times_s - 0.3) / 0.5 + 1e-6, (times_s - 0.8) / 2.0 + 1e-6
    beat = control[:, BEAT_SLICE].numpy()
    np.testing.assert_allclose(beat[:, 0], np.sin(2 * np.pi * phase), atol=1e-4)
    np.testing.assert_allclose(beat[:, 1], np.cos(2 * np.pi * phase), atol=1e-4)
    np.testing.assert_allclose(beat[:, 2], np.sin(2 * np.pi * bar), atol=1e-4)
    np.testing.assert_allclose(beat[:, 3], np.cos(2 * np.pi * bar), atol=1e-4)
    np.testing.assert_allclose(beat[:, 4], np.exp(-(phase % 1) * 0.5 / 0.08), rtol=1e-3)
    np.testing.assert_allclose(beat[:, 5], np.exp(-(bar % 1) * 2.0 / 0.08), rtol=1e-2, atol=1e-9)
    np.testing.assert_allclose(beat[:, 6], 0.0, atol=1e-6)


def test_the_grid_goes_on_before_the_first_and_after_the_last_beat() -> None:
    positions = beat_positions(SONG, np.array([-0.2, 0.05, 0.3, 9.8, 12.3]))
    np.testing.assert_allclose(positions, [-1.0, -0.5, 0.0, 19.0, 24.0], atol=1e-9)
    bars, beats_gone = bar_positions(SONG, positions)
    np.testing.assert_allclose(bars, [-0.5, -0.375, -0.25, 4.5, 5.75], atol=1e-9)
    np.testing.assert_allclose(beats_gone, [2.0, 2.5, 3.0, 2.0, 3.0], atol=1e-5)


def test_phases_follow_a_drifting_tempo() -> None:
    beats_s = np.cumsum(np.linspace(0.7, 0.4, 30))
    plan = Plan(beats_s=tuple(beats_s), downbeats_s=tuple(beats_s[::3]), beats_per_bar=3)
    np.testing.assert_allclose(beat_positions(plan, beats_s), np.arange(30), atol=1e-9)
    control = control_track(plan, int(beats_s[-1] * 100), 100.0)[0].numpy()
    at_beats = np.round(beats_s[:-1] * 100).astype(int)
    assert control[at_beats, 1].min() > 0.98
    assert control[at_beats[::3], 3].min() > 0.98
    log_tempo = control[:, 6]
    assert (np.diff(log_tempo) >= -1e-6).all()
    assert log_tempo[-1] > log_tempo[0] + 0.5


def test_the_chord_group_tells_root_tones_bass_and_changes() -> None:
    control, mask = control_track(SONG, 250, 25.0)
    chords = control[:, CHORD_SLICE]
    known = mask[:, 1]
    assert known.nonzero()[0].item() == 20  # the frame whose centre is 0.82 s
    assert known.sum() == 150
    a_minor_seventh, f_over_a, silence = chords[21], chords[75], chords[125]
    assert a_minor_seventh[:12].nonzero()[:, 0].tolist() == [9]
    assert a_minor_seventh[12:24].nonzero()[:, 0].tolist() == [0, 4, 7, 9]
    assert f_over_a[:12].nonzero()[:, 0].tolist() == [5]
    assert f_over_a[24:36].nonzero()[:, 0].tolist() == [9]
    assert silence[36] == 1
    assert silence[:36].abs().sum() == 0
    assert chords[20, 37] > 0.7 > 0.01 > chords[60, 37]
    assert (chords[~known] == 0).all()


def test_a_repeated_chord_is_no_change() -> None:
    halves = dataclasses.replace(SONG, chords=((0.0, 2.0, "C:maj"), (2.0, 4.0, "C:maj"), (4.0, 6.0, "C:maj/3")))
    pulse = control_track(halves, 150, 25.0)[0][:, CHORD_SLICE][:, 37]
    assert pulse[50] < 1e-3
    assert pulse[100] > 0.5


def test_the_key_group_tells_tonic_and_mode() -> None:
    control, mask = control_track(SONG, 10, 25.0)
    assert mask[:, 2].all()
    assert control[0, KEY_SLICE].nonzero()[:, 0].tolist() == [9, 13]


def test_partial_plans_mark_what_is_unknown() -> None:
    assert not control_track(Plan(), 10, 25.0)[1].any()
    tempo_only, mask = control_track(Plan(tempo_bpm=60.0), 10, 25.0)
    assert mask.tolist() == [[True, False, False]] * 10
    assert tempo_only[:, 6].tolist() == [-1.0] * 10
    assert tempo_only[:, :6].abs().sum() == 0
    no_bars, _ = control_track(dataclasses.replace(SONG, downbeats_s=()), 10, 25.0)
    assert no_bars[:, [2, 3, 5]].abs().sum() == 0
    assert no_bars[:, :2].abs().sum() > 0
    one_beat, _ = control_track(Plan(beats_s=(0.5,), tempo_bpm=120.0), 100, 25.0)
    full, _ = control_track(Plan(beats_s=tuple(0.5 * i for i in range(1, 9)), tempo_bpm=120.0), 100, 25.0)
    torch.testing.assert_close(one_beat, full, atol=1e-5, rtol=1e-5)


def test_a_clip_of_a_plan_is_a_part_of_its_track() -> None:
    whole, mask = control_track(SONG, 250, 25.0)
    clip, clip_mask = control_track(SONG, 100, 25.0, start_s=2.0)
    torch.testing.assert_close(clip, whole[50:150], atol=1e-4, rtol=1e-4)
    assert torch.equal(clip_mask, mask[50:150])
    shifted, _ = control_track(SONG.shifted(-2.0), 100, 25.0)
    torch.testing.assert_close(shifted, clip, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"beats_s": (1.0, 1.0)}, {"tempo_bpm": 0.0}, {"beats_per_bar": 0}])
def test_impossible_plans_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        dataclasses.replace(SONG, **changes)
