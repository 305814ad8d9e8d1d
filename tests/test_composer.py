"""Symbolic songs: valid, varied, singable, truthfully captioned, and reproducible."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from accompany.data.songs import progressions
from accompany.data.songs.bass_patterns import BARS
from accompany.data.songs.comp_patterns import FOUR as COMPS
from accompany.data.songs.comping import BROKEN
from accompany.data.songs.compose import compose
from accompany.data.songs.drum_patterns import BY_METRE, FOUR
from accompany.data.songs.instruments import FAMILIES, INSTRUMENTS
from accompany.data.songs.score import Score
from accompany.data.songs.singing_styles import SINGING_STYLES
from accompany.data.songs.styles import STYLES
from accompany.data.songs.theory import PITCH_NAMES, QUALITIES, SCALES, roman_chord, voicing

N_SONGS = 160


@pytest.fixture(scope="module")
def songs() -> list[Score]:
    return [compose(seed) for seed in range(N_SONGS)]


def test_the_seed_fixes_the_song() -> None:
    assert compose(7) == compose(7)
    assert compose(7) != compose(8)
    assert compose(7, seconds=20.0).duration_s == 20.0


def test_another_process_composes_the_same_song() -> None:
    code = "from accompany.data.songs.compose import compose; import hashlib; " \
           "print(hashlib.sha256(repr(compose(7)).encode()).hexdigest())"  # fmt: skip
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert len(runs) == 1


@pytest.mark.parametrize("seconds", [0.0, -3.0, float("nan"), float("inf")])
def test_a_length_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        compose(0, seconds=seconds)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 12.0, 120.0])
def test_every_length_is_filled(seconds: float) -> None:
    for seed in range(12):
        _check_frame(compose(seed, seconds=seconds))


def test_annotations_cover_the_song(songs: list[Score]) -> None:
    for score in songs:
        _check_frame(score)
        assert set(score.downbeats_s) <= set(score.beats_s)
        beats_a_bar = {"4/4": 4, "3/4": 3, "6/8": 2, "12/8": 4}[score.metre]
        places = np.searchsorted(score.beats_s, score.downbeats_s)
        assert (np.diff(places) == beats_a_bar).all()
        gaps = np.diff(score.beats_s)
        assert abs(np.median(gaps) * score.tempo_bpm / 60 - 1) < 0.04


def _check_frame(score: Score) -> None:
    for spans in (score.chords, score.sections, score.keys):
        assert spans[0][0] == 0.0 and spans[-1][1] == score.duration_s
        assert all(a[1] == b[0] for a, b in pairwise(spans))
        assert all(end > start for start, end, _ in spans)
    beat_s = 60 / score.tempo_bpm
    assert not score.beats_s or score.beats_s[-1] > score.duration_s - 1.5 * beat_s
    assert all(0 <= beat < score.duration_s for beat in score.beats_s)


def test_chord_labels_are_harte_labels(songs: list[Score]) -> None:
    chord = pytest.importorskip("mir_eval.chord")
    labels = {label for score in songs for _, _, label in score.chords}
    assert len(labels) > 150
    for label in labels:
        chord.encode(label)


def test_chord_labels_name_the_notes_of_the_band(songs: list[Score]) -> None:
    """Pads and chord parts play what the label says: the label's own notes carry the sound."""
    chord = pytest.importorskip("mir_eval.chord")
    inside, outside = 0.0, 0.0
    for score in songs[:60]:
        spans = [(start, end, chord.encode(label)) for start, end, label in score.chords]
        for part in score.parts:
            if part.role not in ("comp", "pad"):
                continue
            for note in part.notes:
                middle = min(0.5 * (note.start_s + note.end_s), note.start_s + 0.2)
                root, bits, bass = next(c for start, end, c in spans if start <= middle < end)
                degree = (int(note.pitch) - root) % 12
                hit = root < 0 or bits[degree] or degree == bass
                inside, outside = inside + bool(hit), outside + (not hit)
    assert inside / (inside + outside) > 0.9


def test_every_progression_can_be_read() -> None:
    pools = [value for name, value in vars(progressions).items() if name.isupper() and isinstance(value, tuple)]
    for pool in pools:
        for progression in pool:
            for name in progression.replace(",", " ").split():
                assert roman_chord(name, 3).pitch_classes


def test_numerals_are_read_as_musicians_do() -> None:
    assert roman_chord("ii7", 0).label == "D:min7"
    assert roman_chord("V/3", 0).label == "G:maj/3" and roman_chord("V/3", 0).bass == 11
    assert roman_chord("v/3", 0).bass == 10
    assert roman_chord("bVII", 9).label == "G:maj"
    with pytest.raises(ValueError, match="numeral"):
        roman_chord("H7", 0)


def test_voice_leading_is_smooth() -> None:
    previous = voicing(roman_chord("I", 0), None, 62, 3, 48, 79)
    for name in ("vi", "IV", "V", "I"):
        current = voicing(roman_chord(name, 0), previous, 62, 3, 48, 79)
        assert abs(np.mean(current) - np.mean(previous)) < 4
        previous = current


def test_melodies_are_singable(songs: list[Score]) -> None:
    for score in songs:
        low, high = score.voice.range
        for note in score.melody:
            assert low - 1 <= note.pitch <= high + 1
            assert 0 <= note.start_s < note.end_s <= score.duration_s
        assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(score.melody))
        assert not score.melody or score.melody[0].syllable


def test_melodies_have_the_statistics_of_songs(songs: list[Score]) -> None:
    intervals: Counter[int] = Counter()
    for score in songs:
        for a, b in pairwise(score.melody):
            if b.start_s - a.end_s < 1:
                intervals[abs(round(b.pitch - a.pitch))] += 1
    total = sum(intervals.values())
    assert 0.6 < sum(intervals[step] for step in (0, 1, 2)) / total < 0.85
    assert sum(count for step, count in intervals.items() if step > 7) / total < 0.04
    rates = [len(score.melody) / score.duration_s for score in songs]
    voiced = [sum(n.end_s - n.start_s for n in score.melody) / score.duration_s for score in songs]
    assert 1.5 < np.median(rates) < 3 and 0.5 < np.median(voiced) < 0.78
    assert np.percentile(rates, 95) > 2.8 and np.percentile(rates, 5) < 1.4


def test_notes_on_beats_mostly_belong_to_the_chord(songs: list[Score]) -> None:
    chord = pytest.importorskip("mir_eval.chord")
    hits = []
    for score in songs[:80]:
        beats = np.array(score.beats_s)
        for note in score.melody:
            if np.abs(beats - note.start_s).min() < 0.07:
                at = note.start_s + 0.08
                root, bits, _ = chord.encode(
                    next(c[2] for c in score.chords if c[0] <= at < c[1] or c[1] == score.duration_s)
                )
                hits.append(root >= 0 and bits[(int(note.pitch) - root) % 12] > 0)
    assert 0.62 < np.mean(hits) < 0.85


def test_songs_differ(songs: list[Score]) -> None:
    assert {score.style for score in songs} == set(STYLES)
    assert {score.metre for score in songs} == {"4/4", "3/4", "6/8", "12/8"}
    assert {score.key.split(":")[0] for score in songs} == set(PITCH_NAMES)
    assert {score.voice.kind for score in songs} >= {"soprano", "alto", "tenor", "baritone", "bass", "child"}
    tempi = [score.tempo_bpm for score in songs]
    assert min(tempi) < 60 and max(tempi) > 160
    assert any(score.swing > 0.58 for score in songs) and any(score.backing for score in songs)
    assert any(label == "N" for score in songs for _, _, label in score.chords)
    without = np.mean([not any(part.is_drums for part in score.parts) for score in songs])
    assert 0.15 < without < 0.33
    assert len({name for score in songs for name in score.instruments}) > 40


def test_parts_can_be_played(songs: list[Score]) -> None:
    for score in songs:
        assert 1 <= len(score.parts) <= 6
        assert score.instruments == tuple(part.name for part in score.parts) and len(set(score.instruments)) == len(
            score.parts
        )
        for part in score.parts:
            instrument = INSTRUMENTS[part.name]
            assert part.program in instrument.programs and part.is_drums == instrument.is_drums and part.notes
            assert -1 <= part.pan <= 1 and 0 <= part.reverb <= 1 and -24 < part.gain_db <= 0
            ends: dict[float, float] = {}
            for note in part.notes:
                assert 0 <= note.start_s < note.end_s <= score.duration_s and 1 <= note.velocity <= 127
                assert note.start_s >= ends.get(note.pitch, 0.0) - 1e-4
                ends[note.pitch] = note.end_s
                assert part.is_drums or 21 <= note.pitch <= 108


def test_drum_hits_come_from_the_drum_part(songs: list[Score]) -> None:
    with_drums = [score for score in songs if any(part.is_drums for part in score.parts)]
    assert all(not any(score.drums.values()) for score in songs if score not in with_drums)
    assert np.mean([bool(score.drums["kick"]) for score in with_drums]) > 0.8


def test_captions_tell_the_truth(songs: list[Score]) -> None:
    for score in songs:
        assert len(set(score.captions)) >= 6
        present = {INSTRUMENTS[name].family for name in score.instruments}
        assert not present & set(score.absent) and set(score.absent) <= set(FAMILIES)
        for caption in score.captions:
            _check_caption(caption.lower(), score, present)


def _check_caption(caption: str, score: Score, present: set[str]) -> None:
    for family in FAMILIES:
        if f" no {family}" in f" {caption}" or f"without {family}" in caption or f"without any {family}" in caption:
            assert family in score.absent
    if "unplugged" in caption or "drumless" in caption:
        assert "drums" not in present
    named = {name for name in INSTRUMENTS if f" {name}," in f" {caption}," and len(name.split()) > 1}
    words = {name for name in score.instruments} | {
        word.lower() for n in score.instruments for word in INSTRUMENTS[n].words
    }
    assert all(any(name in word or word in name for word in words) for name in named)


def test_captions_vary_in_length_and_case(songs: list[Score]) -> None:
    captions = [caption for score in songs for caption in score.captions]
    lengths = [len(caption.split()) for caption in captions]
    assert min(lengths) == 1 and max(lengths) > 15
    assert any(caption.isupper() for caption in captions) and any(caption.islower() for caption in captions)
    assert len(set(captions)) > 0.8 * len(captions)


def test_attributes_go_into_json(songs: list[Score]) -> None:
    for score in songs[:20]:
        assert json.loads(json.dumps(score.attributes))["style"] == score.style


def test_composing_is_cheap() -> None:
    compose(0)
    times = []
    for seed in range(20):
        start = time.process_time()
        compose(seed)
        times.append(time.process_time() - start)
    assert np.median(times) < 0.06


def test_styles_name_patterns_and_players_that_exist() -> None:
    for style in STYLES.values():
        assert set(style.grooves) <= set(FOUR)
        assert set(style.basses) <= set(BARS) | {"walking", "root long", "waltz"}
        assert set(style.comps) <= set(COMPS) | BROKEN | {"oom pah"}
        assert set(style.melody) <= set(SINGING_STYLES) and set(style.modes) <= set(SCALES)
        for table in (style.drums, style.bass, style.comp, style.pad, style.lead, style.arp):
            assert set(table) - {""} <= set(INSTRUMENTS)


def test_grooves_fill_a_bar() -> None:
    steps = {"2/4": {8}, "3/4": {12}, "6/8": {6}, "9/8": {9}, "12/8": {12}}
    assert all(len(line) == 16 for grooves in FOUR.values() for groove in grooves for _, line in groove)
    for metre, grooves in BY_METRE.items():
        assert {len(line) for groove in grooves for _, line in groove} == steps[metre]


def test_the_chords_that_are_played_are_those_that_are_read() -> None:
    from accompany.music.harmony import chord_pitch_classes

    for quality, intervals in QUALITIES.items():
        _, read, _ = chord_pitch_classes(f"D:{quality}")
        played = {(2 + interval) % 12 for interval in intervals}
        assert played == (read - {7} if quality == "13" else read), quality
