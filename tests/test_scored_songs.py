"""Songs arranged from lead sheets, their variants, and `accompany synth --scores`."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from small_scores import groove, lieder, openewld, pop909
from test_songs import needs_band, needs_voice

from accompany.cli import main
from accompany.data.scores.arrangement import arrange_sheet
from accompany.data.scores.corpora import Drums, open_collection
from accompany.data.scores.drawing import ScoreChoice, draw_song
from accompany.data.scores.drumming import Drummer
from accompany.data.scores.lead_sheet import ChordSymbol, LeadSheet, Phrase, Unreadable
from accompany.data.scores.passages import STRETCH, draw_passage, upbeat_q
from accompany.data.scores.pop909 import read_pop909
from accompany.data.scores.published import read_lied, read_openewld
from accompany.data.songs.compose import compose
from accompany.data.songs.form import plan_form
from accompany.data.songs.grid import METRES
from accompany.data.songs.rng import Rng
from accompany.data.songs.score import Score
from accompany.data.songs.styles import MOST_VARIANTS, STYLES, fitting_styles
from accompany.data.songs.write import synthesise
from accompany.data.tokens.pair_sources import splits_of
from accompany.errors import InputError
from accompany.music.harmony import chord_pitch_classes

SEEDS = range(12)


@pytest.fixture(scope="module")
def performed(tmp_path_factory: pytest.TempPathFactory) -> LeadSheet:
    """A performance that slows down all the way, about 100 beats a minute."""
    return read_pop909(pop909(tmp_path_factory.mktemp("pop"), ["001"], slowing=0.002) / "001")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> LeadSheet:
    """A lead sheet without a tempo."""
    root = openewld(tmp_path_factory.mktemp("ewld"), ["Song"])
    return read_openewld(root / "dataset/Ann_Other/Song/Song.mxl", "dataset/Ann_Other/Song/Song.mxl")


def _lied(root: Path, metre: str) -> LeadSheet:
    name = "scores/Ton,_Anna/_/Abend/lc1.mxl"
    return read_lied(lieder(root, metre=metre) / name, name)


@pytest.mark.parametrize("seconds", [5.0, 20.0, 38.0, 200.0])
def test_passages_are_whole_phrases_that_fill_the_time(performed: LeadSheet, seconds: float) -> None:
    for seed in SEEDS:
        passage = draw_passage(performed, seconds, Rng(seed))
        assert 48 <= passage.tempo_bpm <= 188 and STRETCH[0] <= passage.stretch <= STRETCH[1]  # type: ignore[operator]
        n_beats = passage.first_beat + 4 * passage.n_bars * passage.repeats
        end = passage.beat_times[n_beats]
        assert end == pytest.approx(seconds) if seconds > 10 else end >= seconds
        if passage.lead_in:
            assert passage.beat_times[0] <= 1e-9 < passage.beat_times[4]
        else:
            assert passage.beat_times[0] == 0
        assert (passage.repeats > 1) == (seconds == 200.0)


def test_a_performance_keeps_its_tempo_changes(performed: LeadSheet) -> None:
    passage = draw_passage(performed, 30.0, Rng(1))
    first, last = passage.first_beat, passage.first_beat + 4 * passage.n_bars
    steps = np.diff(passage.beat_times[first : last + 1])
    start = performed.bars[passage.phrases[0].first_bar].start_q
    source = np.diff(performed.seconds(start + np.arange(4 * passage.n_bars + 1)))
    assert np.allclose(steps / source, passage.stretch, rtol=1e-6) and steps[-1] > 1.02 * steps[0]


def _onsets(score: Score) -> np.ndarray:
    return np.interp([n.start_s for n in score.melody], score.beats_s, np.arange(len(score.beats_s)))


@pytest.mark.parametrize("seed", range(6))
def test_melody_chords_and_key_are_the_scores_own_transposed(performed: LeadSheet, seed: int) -> None:
    score = arrange_sheet(performed, seed, seconds=24.0)
    facts = score.origin["score"]
    assert isinstance(facts, dict)
    shift, low = facts["transposed"], min(note.pitch for note in score.melody)
    assert score.voice.range[0] <= low and max(n.pitch for n in score.melody) <= score.voice.range[1]
    first = performed.bars[facts["first_bar"]].start_q
    inside = [n for n in performed.notes if first - 0.1 <= n.start_q < first + 4 * facts["bars"] - 0.1]
    assert [n.pitch for n in score.melody] == [n.pitch + shift for n in inside]
    # The singer is at most a little ahead or behind.
    offsets = _onsets(score) - [n.start_q for n in inside]
    assert np.abs(offsets - round(float(np.median(offsets)) * 50) / 50).max() < 0.17
    assert np.abs((offsets + 0.5) % 1 - 0.5).max() < 0.09
    assert score.chords[0][0] == 0.0 and score.chords[-1][1] == 24.0
    assert all(a[1] == b[0] for a, b in pairwise(score.chords))
    home = {(root + shift) % 12 for root in (0, 9, 5, 7)}
    assert {chord_pitch_classes(label)[0] for _, _, label in score.chords} <= home
    assert score.key.endswith("maj") and chord_pitch_classes(score.key)[0] == shift % 12


def test_words_are_sung_and_languages_speak(printed: LeadSheet, tmp_path: Path) -> None:
    score = arrange_sheet(printed, 1, seconds=20.0)
    assert {note.syllable for note in score.melody} <= {"the", "ri", "ver", "runs", "and", "you", "i"}
    assert score.voice.language in ("en-us", "en-gb") and score.origin["artist"] == "Ann Other"
    song = arrange_sheet(_lied(tmp_path, "3/4"), 1, seconds=20.0)
    assert song.voice.language == "de" and song.metre == "3/4" and "lie" in {n.syllable for n in song.melody}


@pytest.mark.parametrize(("written", "metre", "beats"), [("2/4", "2/4", 2), ("9/8", "9/8", 3), ("2/2", "4/4", 4),
                                                         ("6/8", "6/8", 2), ("3/8", "3/4", 3)])  # fmt: skip
def test_the_band_plays_other_metres(written: str, metre: str, beats: int, tmp_path: Path) -> None:
    sheet = _lied(tmp_path, written)
    for seed in range(4):
        score = arrange_sheet(sheet, seed, seconds=20.0)
        assert score.metre == metre and score.parts
        step = np.diff([score.beats_s.index(t) for t in score.downbeats_s])
        assert (step == beats).all()


def test_a_metre_that_no_band_plays_and_a_song_without_chords_are_refused(performed: LeadSheet, tmp_path: Path) -> None:
    for sheet in (_lied(tmp_path, "5/4"), replace(performed, chords=())):
        with pytest.raises(Unreadable, match="no sung phrases"):
            arrange_sheet(sheet, 0)


def test_bars_without_a_chord_are_silent(performed: LeadSheet) -> None:
    chords = tuple(c._replace(chord=None) if 24 <= c.start_q < 28 else c for c in performed.chords)
    sheet = replace(performed, chords=chords, phrases=(Phrase(2, 8, "A"),), parts={})
    for seed in range(6):
        score = arrange_sheet(sheet, seed, seconds=19.0)
        start, end = next((s, e) for s, e, label in score.chords if label == "N")
        assert end - start == pytest.approx(4 * 60 / score.tempo_bpm, rel=0.05)
        pitched = [n for part in score.parts if not part.is_drums for n in part.notes]
        assert pitched and not [n for n in pitched if start + 0.08 < n.start_s < end - 0.08]
    short = tuple(ChordSymbol(c.start_q, c.end_q - 1, c.chord) for c in performed.chords)
    assert "N" not in {c[2] for c in arrange_sheet(replace(sheet, chords=short), 1, seconds=19.0).chords}


def test_upbeats_are_sung_before_the_first_bar_line(performed: LeadSheet) -> None:
    notes = [n for n in performed.notes if not 22 <= n.start_q < 24]
    upbeat = [n._replace(start_q=q, end_q=q + 0.5) for n, q in zip(notes, (23.0, 23.5), strict=False)]
    sheet = replace(performed, notes=tuple(sorted([*notes, *upbeat])), phrases=(Phrase(6, 4, "A"),))
    assert upbeat_q(sheet, 6) == pytest.approx(1.0) and upbeat_q(performed, 2) == pytest.approx(0.0, abs=0.02)
    score = arrange_sheet(sheet, 3, seconds=10.0)
    first = next(time for time in score.downbeats_s if time > score.melody[0].start_s)
    assert len([n for n in score.melody if n.start_s < first - 0.1]) == 2


def test_three_of_four_bands_keep_the_piano_that_was_played(performed: LeadSheet) -> None:
    scores = [arrange_sheet(performed, seed, seconds=12.0) for seed in range(24)]
    kept = [s for s in scores if "as written" in s.attributes["playing"].values()]  # type: ignore[attr-defined]
    assert 12 <= len(kept) <= 23
    for score in kept:
        facts = score.origin["score"]
        playing = {part.name: part for part in score.parts}
        names = [n for n, m in score.attributes["playing"].items() if m == "as written"]  # type: ignore[attr-defined]
        for name in names:
            if playing[name].role == "comp":
                classes = {n.pitch % 12 for n in playing[name].notes}
                assert classes == {(pc + facts["transposed"]) % 12 for pc in (0, 4, 7)}  # type: ignore[index]


@pytest.mark.parametrize("source", ["composer", "score"])
def test_variants_are_the_same_singing_in_other_styles(source: str, performed: LeadSheet) -> None:
    def variant(number: int) -> Score:
        if source == "composer":
            return compose(11, seconds=20.0, variant=number)
        return arrange_sheet(performed, 11, seconds=20.0, variant=number)

    scores = [variant(number) for number in range(6)]
    first = scores[0]
    assert len({score.style for score in scores}) == 6 and len({score.parts for score in scores}) == 6
    for score in scores[1:]:
        assert (score.melody, score.voice, score.beats_s) == (first.melody, first.voice, first.beats_s)
        assert (score.chords, score.sections, score.backing) == (first.chords, first.sections, first.backing)
        assert set(score.captions) != set(first.captions)
    assert variant(2) == scores[2]


@pytest.mark.parametrize(("metre", "tempo"), [("4/4", 60.0), ("2/4", 180.0), ("6/8", 60.0), ("3/4", 110.0)])
def test_styles_suit_tempo_and_metre(metre: str, tempo: float) -> None:
    drawn = [fitting_styles(tempo, METRES[metre], Rng(seed)) for seed in range(200)]
    assert all(len({style.name for style in styles}) == len(styles) >= MOST_VARIANTS for styles in drawn)
    assert all(("waltz" in {style.name for style in styles}) == (metre == "3/4") for styles in drawn)
    first = [styles[0].name for styles in drawn]
    low, _, high = STYLES["metal"].tempo
    if metre == "4/4":
        assert not low <= tempo <= high and first.count("metal") < 6 and first.count("ballad") > 10


def test_drum_performances_are_looped_with_fills_at_phrase_ends(performed: LeadSheet, tmp_path: Path) -> None:
    drums = open_collection(groove(tmp_path))
    assert isinstance(drums, Drums)
    drummer = Drummer(drums, "train")
    scores = [arrange_sheet(performed, seed, seconds=20.0, drummer=drummer) for seed in range(50)]
    played = [
        (score, part)
        for score in scores
        for part in score.parts
        if part.is_drums and score.attributes["playing"][part.name] == "as written"  # type: ignore[index]
    ]
    assert len(played) >= 5
    for score, part in played:
        kicks = [n.start_s for n in part.notes if n.pitch == 36]
        assert np.abs(np.subtract.outer(kicks, score.downbeats_s)).min(axis=1).max() < 0.06
        assert {n.pitch for n in part.notes} <= {36, 38, 42, 43}
    assert any(note.pitch == 43 for _, part in played for note in part.notes)
    assert Drummer(drums, "held-out").play is not None
    slow = open_collection(groove(tmp_path / "slow", bpm=40))
    assert isinstance(slow, Drums)
    songs = [arrange_sheet(performed, seed, seconds=20.0, drummer=Drummer(slow, "train")) for seed in range(8)]
    assert not [p for s in songs for p in s.parts if p.is_drums and s.attributes["playing"][p.name] == "as written"]  # type: ignore[index]


@pytest.mark.parametrize("soft", [False, True])
def test_drum_performances_keep_their_own_swing(soft: bool, tmp_path: Path) -> None:
    forms = (plan_form(STYLES["jazz"], Rng(seed), 20.0) for seed in range(50))
    form = next(form for form in forms if form.metre.label == "4/4" and form.time.swing > 0.55)
    drums = open_collection(groove(tmp_path, bpm=round(form.tempo_bpm)))
    assert isinstance(drums, Drums)
    events = Drummer(drums, "train").play(form, soft, Rng(1))
    assert events and max(event.velocity for event in events) == (75 if soft else 100)
    hats = [event for event in events if event.pitch == 42]
    times = form.time.seconds(np.array([event.start for event in hats])) + [event.lag_s for event in hats]
    phase = np.interp(times, form.time.beat_times, np.arange(len(form.time.beat_times))) % 1
    assert len(hats) > 20 and np.allclose(phase, 0.5, atol=0.02)


def test_collections_take_turns_and_songs_come_once_before_they_come_again(tmp_path: Path) -> None:
    names = [f"{i:03d}" for i in range(1, 7)]
    choice = ScoreChoice((pop909(tmp_path / "pop", names), openewld(tmp_path / "ewld", ["A", "B", "C"])))
    drawn = [draw_song(choice, 5, index, 100 + index, seconds=8.0).score.origin["song"] for index in range(14)]
    assert [str(name).split("/")[0] for name in drawn] == ["POP909", "OpenEWLD"] * 7
    assert sorted(drawn[0:10:2]) == [f"POP909/{name}" for name in names[1:]]
    assert len(set(drawn[1:5:2])) == 2 and not {"OpenEWLD/dataset/Ann_Other/A/A.mxl"} & set(drawn)
    held = ScoreChoice(choice.folders, "held-out")
    assert draw_song(held, 5, 0, 1, seconds=8.0).score.origin["song"] == "POP909/001"


@needs_voice
def test_synth_writes_scored_songs_skips_broken_ones_and_goes_on(tmp_path: Path) -> None:
    scores, out = pop909(tmp_path / "pop", ["001", "002", "003", "004"]), tmp_path / "out"
    (scores / "003" / "003.mid").write_bytes(b"MThd broken")
    options = {"seconds": 6.0, "sample_rate": 8000, "voice_only": True, "scores": [scores], "variants": 2}
    report = synthesise(out, 3, 4, **options)  # type: ignore[arg-type]
    assert report.n_made == 6 and [name for name, _ in report.skipped] == ["POP909/003"]
    songs = [json.loads((out / f"{i:06d}" / "song.json").read_text()) for i in range(6)]
    assert [song["variant"] for song in songs] == [0, 1] * 3
    assert {song["song"] for song in songs} == {"POP909/002", "POP909/004"}
    for one, other in zip(songs[::2], songs[1::2], strict=True):
        assert one["notes"] == other["notes"] and one["style"] != other["style"]
        assert (out / "000000" / "vocals.flac").read_bytes() == (out / "000001" / "vocals.flac").read_bytes()
    assert songs[0]["drawn_from"] == {"collections": ["POP909"], "split": "train"}
    assert songs[0]["score"]["licence"].startswith("MIT") and not (tmp_path / "out" / "000006").exists()
    again = synthesise(out, 3, 4, **options)  # type: ignore[arg-type]
    assert (again.n_made, again.n_kept) == (0, 6)
    for change in ({"split": "held-out"}, {"scores": ()}):
        with pytest.raises(InputError, match="other scores or another split"):
            synthesise(out, 1, 4, **{**options, **change})  # type: ignore[arg-type]


@needs_voice
def test_composed_variants_are_one_song_to_the_split(tmp_path: Path) -> None:
    synthesise(tmp_path, 2, 9, seconds=5.0, sample_rate=8000, voice_only=True, variants=3)
    songs = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/song.json"))]
    assert len(songs) == 6 and [song["song"] == songs[0]["song"] for song in songs] == [True] * 3 + [False] * 3
    assert len(splits_of([(song["song"], None) for song in songs], 0.5)) == 2


@needs_voice
@needs_band
def test_the_rendered_band_plays_the_scores_chords(tmp_path: Path) -> None:
    import soundfile

    scores = openewld(tmp_path / "ewld")
    folders = (str(scores), str(pop909(tmp_path / "pop", ["001", "002"])))
    rows = ["--scores", folders[0], "--scores", folders[1], "--songs", "2", "--seconds", "8", "--sample-rate", "16000"]
    assert main(["synth", str(tmp_path / "out"), *rows, "--workers", "1"]) == 0
    for index in range(2):
        folder = tmp_path / "out" / f"{index:06d}"
        song = json.loads((folder / "song.json").read_text())
        assert {path.name for path in folder.iterdir()} == {
            "vocals.flac", "accompaniment.flac", "mix.flac", "stems", "song.json"
        }  # fmt: skip
        drums = {name for name, role in song["attributes"]["roles"].items() if role == "drums"}
        band = sum(
            soundfile.read(folder / "stems" / f"{name}.flac")[0].mean(axis=1)
            for name in song["instruments"]
            if name not in drums
        )
        assert _agreement(np.asarray(band), 16000, song["chords"]) > 0.35


def _agreement(band: np.ndarray, rate: int, chords: list[tuple[float, float, str]]) -> float:
    """Mean Pearson r of the band's chroma in each chord with the chord's pitch classes."""
    found = []
    for start, end, label in chords:
        piece = band[round(start * rate) : round(end * rate)]
        if len(piece) < rate // 2:
            continue
        power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2
        hz = np.fft.rfftfreq(len(piece), 1 / rate)
        inside = (hz > 80) & (hz < 1500)
        classes = np.round(69 + 12 * np.log2(hz[inside] / 440)).astype(int) % 12
        chroma = np.sqrt(np.bincount(classes, power[inside], minlength=12))
        template = np.isin(np.arange(12), list(chord_pitch_classes(label)[1])).astype(float)
        found.append(np.corrcoef(chroma, template)[0, 1])
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["--scores", "nowhere"], "--scores nowhere"),
        (["--scores", "{drums}"], "drum performances alone"),
        (["--scores", "{songs}", "--split", "test"], "--split: invalid choice"),
        (["--scores", "{songs}", "--split", "held-out", "--scores", "nowhere"], "--scores nowhere"),
        (["--split", "held-out"], "--split"),
        (["--variants", "17"], "number of variants"),
    ],
)
def test_wrong_orders_are_one_sentence_and_leave_nothing(
    rows: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {"drums": str(groove(tmp_path / "drums")), "songs": str(openewld(tmp_path / "songs"))}
    rows = [row.format(**folders) for row in rows]
    assert main(["synth", str(tmp_path / "out"), "--songs", "1", *rows]) == 2
    printed = capsys.readouterr().err.strip()
    assert words in printed and "\n" not in printed and not (tmp_path / "out").exists()
