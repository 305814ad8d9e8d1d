"""Published scores and performances as lead sheets: each layout, its chords, words and phrases, and broken files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from small_scores import attributes, groove, harmony, lieder, note, openewld, pop909, write_archive, write_mxl

from accompany.data.scores.chord_symbols import harte_chord, musicxml_chord
from accompany.data.scores.corpora import Collection, Drums, open_collection
from accompany.data.scores.groove_midi import read_index, read_performance
from accompany.data.scores.keys import relative_mode
from accompany.data.scores.languages import guess_language
from accompany.data.scores.lead_sheet import Bar, LeadSheet, PlayedNote, SheetNote, Unreadable, one_at_a_time
from accompany.data.scores.musicxml import Measure, parse_xml, read_mxl
from accompany.data.scores.phrases import Phrase, find_phrases, section_names
from accompany.data.scores.pop909 import read_pop909
from accompany.data.scores.published import read_lied, read_openewld
from accompany.data.scores.template_chords import derive_chords
from accompany.data.scores.unfold import play_order
from accompany.data.scores.words import sung_syllable
from accompany.errors import InputError

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "scores"


def _song(path: Path, measures: list[str]) -> LeadSheet:
    return read_openewld(write_mxl(path / "dataset/A/B/b.mxl", {"Voice": measures}), "dataset/A/B/b.mxl")


def test_pop909_is_read_with_beats_chords_key_phrases_and_parts(tmp_path: Path) -> None:
    sheet = read_pop909(pop909(tmp_path, ["007"], slowing=0.002) / "007")
    times = np.loadtxt(tmp_path / "007" / "beat_midi.txt")[:, 0]
    assert np.allclose(sheet.beats_s, times, atol=1e-6) and sheet.has_tempo
    assert sheet.bars[1] == Bar(4.0, 4.0, "4/4") and sheet.runs()[0] == (0, 20)
    assert sheet.keys == ((0.0, 0, "major"),)
    labels = [symbol.chord.label if symbol.chord else "N" for symbol in sheet.chords[:5]]
    assert labels == ["N", "A:min7", "F:maj/3", "G:sus4(b7)", "C:maj"]
    assert [(c.start_q, c.end_q) for c in sheet.chords[:2]] == [(0.0, 4.0), (4.0, 8.0)]
    assert [p.letter for p in sheet.phrases] == ["i", "A", "A", "B", "B", "o"]
    assert [n.pitch for n in sheet.notes[:3]] == [60, 62, 64]
    assert sheet.notes[1].start_q == pytest.approx(9.0, abs=0.02)
    assert len(sheet.parts["piano"]) == 60 and len(sheet.parts["lead"]) == 20
    assert not sheet.chords_derived and sheet.n_skipped_chords == 0


def test_pop909_in_three_and_with_labels_that_nobody_knows(tmp_path: Path) -> None:
    folder = pop909(tmp_path, ["001"], metre=3) / "001"
    chords = (folder / "chord_midi.txt").read_text().replace("A:min7", "H:wild")
    (folder / "chord_midi.txt").write_text(chords)
    sheet = read_pop909(folder)
    assert {bar.metre for bar in sheet.bars[:-1]} == {"3/4"}
    assert sheet.n_skipped_chords == chords.count("H:wild") > 0


def test_openewld_is_read_with_words_and_chord_symbols(tmp_path: Path) -> None:
    sheet = read_openewld(openewld(tmp_path) / "dataset/Ann_Other/Blue_Hill/Blue_Hill.mxl", "dataset/Ann_Other/x/y.mxl")
    assert (sheet.title, sheet.composer, sheet.language, sheet.has_tempo) == ("Blue_Hill", "Ann Other", "en-us", False)
    assert [c.chord.label for c in sheet.chords[:4] if c.chord] == ["C:maj", "A:min7", "F:maj", "G:7"]
    assert [n.syllable for n in sheet.notes[:4]] == ["the", "ri", "ver", "runs"]
    assert [p.n_bars for p in sheet.phrases] == [4, 4, 4, 4]
    assert sheet.key_at(0.0) == (0, "major") and not sheet.chords_derived


def test_a_lied_has_its_piano_its_language_and_derived_chords(tmp_path: Path) -> None:
    name = "scores/Ton,_Anna/_/Abend/lc1.mxl"
    sheet = read_lied(lieder(tmp_path) / name, name)
    assert (sheet.composer, sheet.language, sheet.licence) == ("Anna Ton", "de", "CC0-1.0")
    assert sheet.has_tempo and sheet.seconds(np.array([3.0]))[0] == pytest.approx(2.0)
    assert sheet.chords_derived and [c.chord.label for c in sheet.chords[:3] if c.chord] == ["C:maj", "F:maj", "G:maj"]
    assert len(sheet.parts["piano"]) == 3 * 14
    assert [p.letter for p in sheet.phrases][:2] == ["i", "A"]


def test_ties_melismas_upbeats_and_repeats_with_their_verses(tmp_path: Path) -> None:
    begin, end = '<barline><repeat direction="forward"/></barline>', '<barline><repeat direction="backward"/></barline>'
    first, second = (f'<barline><ending number="{n}" type="start"/></barline>' for n in (1, 2))
    measures = [
        attributes() + note("G4", 2, "oh"),
        begin + harmony("C") + note("C4", 8, "day|2:night", extra="start"),
        note("C4", 4, extra="stop") + note("D4", 2) + note("E4", 2, "sun|2:moon"),
        first + note("F4", 8, "one") + '<barline><ending number="1" type="stop"/></barline>' + end,
        second + note("F4", 8, "2:two") + '<barline><ending number="2" type="stop"/></barline>',
        harmony("G") + note("G4", 8, "end"),
    ]
    sheet = _song(tmp_path, measures)
    assert [n.syllable for n in sheet.notes] == ["oh", "day", None, "sun", "one", "night", None, "moon", "two", "end"]
    assert [n.tied for n in sheet.notes] == [False, False, True, False, False, False, True, False, False, False]
    assert (sheet.notes[1].start_q, sheet.notes[1].end_q) == (1.0, 7.0)
    assert sheet.bars[0].grid is None and sheet.bars[1].start_q == 1.0 and len(sheet.bars) == 8
    assert sheet.runs() == [(1, 8)]


def test_a_metre_that_the_bars_contradict_is_put_right(tmp_path: Path) -> None:
    measures = [attributes() + harmony("C") + note("C4", 6, "la"), *[note("D4", 4, "la") + note("E4", 2, "lo")] * 6]
    sheet = _song(tmp_path, measures)
    assert {bar.metre for bar in sheet.bars} == {"3/4"} and sheet.runs() == [(0, 7)]


@pytest.mark.parametrize(
    ("marks", "order"),
    [
        ("a b c", "abc"),
        ("|:a b:| c", "ababc"),
        ("a b:| c", "ababc"),
        ("a |:b 1c:| 2d e", "abcbde"),
        ("|:a 1b:| 2c |:d:| e", "abacdde"),
        ("|:a 1,2b:| 3c", "ababac"),
    ],
)
def test_repeats_are_written_out(marks: str, order: str) -> None:
    measures, names = [], ""
    for mark in marks.split():
        core = mark.strip("|:")
        names += core[-1]
        endings = frozenset(int(n) for n in core[:-1].split(",") if n)
        times = 2 if mark.endswith(":|") else 0
        measures.append(Measure(repeat_starts=mark.startswith("|:"), repeat_times=times, endings=endings))
    assert "".join(names[index] for index, _ in play_order(measures)) == order


@pytest.mark.parametrize(
    ("root", "kind", "options", "label"),
    [
        ("C", "major", {}, "C:maj"),
        ("Bb", "half-diminished", {}, "Bb:hdim7"),
        ("D", "minor-seventh", {"bass": "C"}, "D:min7/b7"),
        ("G", "dominant", {"inversion": 1}, "G:7/3"),
        ("A", "suspended-fourth", {"degrees": [("add", 7, 0)]}, "A:sus4(b7)"),
        ("E", "dominant", {"degrees": [("add", 9, -1)]}, "E:7(b9)"),
        ("E", "dominant", {"degrees": [("alter", 5, 1)]}, "E:aug7"),
        ("F#", "minor-seventh", {"degrees": [("alter", 5, -1)]}, "F#:hdim7"),
        ("C", "major", {"degrees": [("add", 9, 0)]}, "C:maj(9)"),
        ("C", "dominant", {"degrees": [("alter", 5, -1)]}, "C:7"),
        ("C", "dominant-ninth", {}, "C:9"),
        ("C", "major", {"bass": "D"}, "C:maj/2"),
    ],
)
def test_chord_symbols_keep_their_sevenths_suspensions_and_basses(
    root: str, kind: str, options: dict[str, object], label: str
) -> None:
    chord = musicxml_chord(root, kind, **options)  # type: ignore[arg-type]
    assert chord is not None and chord.label == label


@pytest.mark.parametrize("label", ["C:maj", "F#:min7/b7", "Bb:sus4(b7)", "A:hdim7", "Eb:maj/3", "G:min/5", "D:dim7"])
def test_harte_labels_come_back_as_they_were(label: str) -> None:
    chord = harte_chord(label)
    assert chord is not None and chord.label == label


def test_no_chord_is_none_and_unknown_symbols_are_counted(tmp_path: Path) -> None:
    assert harte_chord("N") is None and musicxml_chord("C", "none") is None
    for bad in ("H:maj", "C:wild", "", "C:maj/x"):
        with pytest.raises(ValueError):
            harte_chord(bad)
    with pytest.raises(ValueError, match="pedal"):
        musicxml_chord("C", "pedal")
    bar = note("C4", 8, "la")
    measures = [attributes() + harmony("C") + bar, harmony("C", "pedal") + bar, harmony("C", "none") + bar, bar]
    sheet = _song(tmp_path, measures)
    assert sheet.n_skipped_chords == 1
    assert [(c.end_q, c.chord is None) for c in sheet.chords] == [(8.0, False), (16.0, True)]


def test_chords_are_derived_from_what_sounds() -> None:
    bars = [Bar(4.0 * i, 4.0, "4/4") for i in range(4)]
    halves = [
        (48, 64, 67),
        (45, 60, 64),
        (50, 65, 69),
        (43, 59, 65),
        (52, 60, 67),
        (41, 57, 60),
        (47, 62, 65),
        (48, 64, 67),
    ]
    notes = [PlayedNote(2.0 * i, 2.0 * i + 2, pitch, 80) for i, chord in enumerate(halves) for pitch in chord]
    notes += [PlayedNote(0.5, 0.75, 62, 80), PlayedNote(6.5, 6.75, 58, 80)]  # Passing notes change nothing.
    found = [symbol.chord.label for symbol in derive_chords(bars, notes) if symbol.chord]
    assert found == ["C:maj", "A:min", "D:min", "G:7", "C:maj/3", "F:maj", "B:dim", "C:maj"]
    assert derive_chords(bars, []) == ()


def test_modes_and_languages_by_what_there_is() -> None:
    weights = np.zeros(12)
    weights[[9, 11, 0, 2, 4, 5, 8]] = [5, 1, 3, 2, 4, 1, 1.5]
    assert relative_mode(0, weights, 9) == (9, "minor")
    weights = np.zeros(12)
    weights[[0, 2, 4, 5, 7, 9, 11]] = [5, 2, 4, 2, 4, 1, 1]
    assert relative_mode(0, weights, 0) == (0, "major")
    assert guess_language("Der Mond ist auf und ich bin nicht mein".split()) == "de"
    assert guess_language("je ne suis pas dans la ville de mon coeur".split()) == "fr"
    assert guess_language("the moon is up and I am not my own".split()) == "en-us"
    assert guess_language("la la la".split()) == guess_language(["zzz"] * 20) == ""


@pytest.mark.parametrize(
    ("printed", "sung"),
    [("Lie-", "lie"), ("1. Es", "es"), ("don’t", "don't"), ("“Ah!”", "ah"), ("Größ", "größ"), ("—", ""), ("3.", "")],
)
def test_printed_syllables_become_letters(printed: str, sung: str) -> None:
    assert sung_syllable(printed) == sung


def test_phrases_end_where_the_melody_breathes() -> None:
    bars = [Bar(4.0 * i, 4.0, "4/4") for i in range(17)]
    notes = []
    for first, length, pitch in [(2, 4, 60), (6, 4, 60), (10, 5, 65)]:
        start, end = 4.0 * first, 4.0 * (first + length)
        notes += [SheetNote(q, q + 1, pitch + int(q - start) % 3) for q in np.arange(start, end - 3)]
        notes.append(SheetNote(end - 3, end - 1.5, pitch))
    assert find_phrases(bars, notes) == (
        Phrase(0, 2, "i"), Phrase(2, 4, "A"), Phrase(6, 4, "A"), Phrase(10, 5, "B"), Phrase(15, 2, "o")
    )  # fmt: skip
    assert find_phrases(bars, []) == ()


def test_sections_are_named_by_what_comes_back_and_lies_high() -> None:
    phrases = [Phrase(0, 4, letter) for letter in "iABCABCbXo"]
    names = section_names(phrases, {"A": 60.0, "B": 62.0, "C": 67.0, "X": 70.0})
    wanted = {"i": "intro", "A": "verse", "B": "prechorus", "C": "chorus", "b": "break", "X": "bridge", "o": "outro"}
    assert names == wanted


def test_melodies_are_one_note_at_a_time() -> None:
    notes = [SheetNote(0, 3, 60), SheetNote(2, 4, 62), SheetNote(2, 4, 65), SheetNote(5, 5.01, 60)]
    assert one_at_a_time(notes) == (SheetNote(0, 2, 60), SheetNote(2, 4, 65))


def test_drum_performances_are_read_in_general_midi_and_whole_bars(tmp_path: Path) -> None:
    listed = read_index(groove(tmp_path))
    assert [(each.is_fill, each.metre, each.held_out) for each in listed] == [
        (False, "4/4", False),
        (True, "4/4", False),
    ]
    sheet = read_performance(tmp_path, listed[0])
    assert len(sheet.bars) == 4 and sheet.style == "rock"
    assert [(round(n.start_q, 2), n.pitch) for n in sheet.drums[:4]] == [(0.0, 36), (0.5, 42), (1.5, 42), (2.0, 38)]


def test_the_split_is_by_name_and_the_first_of_every_few_is_held_out(tmp_path: Path) -> None:
    names = [f"{i:03d}" for i in range(1, 32)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "beat_midi.txt").touch()
    songs = open_collection(tmp_path)
    assert isinstance(songs, Collection)
    assert songs.of_split("held-out") == ("001", "016", "031")
    assert sorted((*songs.of_split("train"), *songs.of_split("held-out"))) == names
    composed, decomposed = (tmp_path / form / "dataset" / "A" for form in ("nfc", "nfd"))
    for root, accented in ((composed, "\u00c9"), (decomposed, "E\u0301")):
        for title in ("Ea", accented + "b", "Ez", "\u00c8"):
            write_archive(root / title / "x.mxl", {})
    orders = [[name.split("/")[2][-1] for name in open_collection(root.parents[1]).names]  # type: ignore[union-attr]
              for root in (composed, decomposed)]  # fmt: skip
    assert orders[0] == orders[1]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/scores")
def test_published_collections_are_split_and_read() -> None:
    sizes = {"POP909": (909, 61), "OpenEWLD": (502, 32), "lieder": (1460, 61)}
    for folder, (n_songs, n_held) in sizes.items():
        songs = open_collection(SHARED / folder)
        assert isinstance(songs, Collection) and len(songs.names) == n_songs
        held = songs.of_split("held-out")
        assert len(held) == n_held and not set(held) & set(songs.of_split("train"))
        for name in songs.names[7 :: n_songs // 4]:
            sheet = songs.read(name)
            assert sheet.notes and sheet.chords and sheet.phrases and sheet.n_skipped_chords == 0, name
            assert all(a.end_q <= b.start_q + 1e-6 for a, b in pairwise(sheet.notes))
    drums = open_collection(SHARED / "groove")
    assert isinstance(drums, Drums) and len(drums.listed) == 1150


def _bomb(depth: int = 9) -> str:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "ha"}">' for i in range(depth))
    return f"<?xml version='1.0'?><!DOCTYPE x [{entities}]><score-partwise>&e{depth - 1};</score-partwise>"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"score.xml": _bomb()}, "entities"),
        ({"score.xml": b" " * (33 << 20)}, "32 MiB"),
        ({"score.xml": "<score-partwise><part>"}, "malformed"),
        ({"score.xml": "<score-timewise/>"}, "score-timewise"),
        ({"score.xml": "<score-partwise/>"}, "no parts"),
        ({"readme.txt": "hello"}, "no score"),
        ({"score.xml": "<score-partwise><part id='P'><measure><note><pitch><step>Q</step></pitch>"
                       "<duration>1</duration></note></measure></part></score-partwise>"}, "makes no sense"),
        ({"score.xml": "<score-partwise><part id='P'><measure><attributes><divisions>0</divisions></attributes>"
                       "<note><duration>1</duration></note></measure></part></score-partwise>"}, "makes no sense"),
    ],
)  # fmt: skip
def test_hostile_and_broken_scores_are_refused(content: dict[str, str | bytes], words: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=words):
        read_mxl(write_archive(tmp_path / "song.mxl", content))


def test_other_broken_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = openewld(tmp_path, ["Song"]) / "dataset/Ann_Other/Song/Song.mxl"
    for content in (b"", b"no archive", good.read_bytes()[:200]):
        bad = tmp_path / "bad.mxl"
        bad.write_bytes(content)
        with pytest.raises(Unreadable, match="archive"):
            read_mxl(bad)
    monkeypatch.setattr("accompany.data.scores.musicxml.MOST_ELEMENTS", 20)
    with pytest.raises(Unreadable, match="elements"):
        parse_xml(b"<a>" + b"<b/>" * 30 + b"</a>")
    endless = [Measure(repeat_starts=True, repeat_times=8)] * 1000
    with pytest.raises(Unreadable, match="measures"):
        play_order(endless)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("beat_midi.txt", "0.5 1 1\nx 0 0", "no number"),
        ("beat_midi.txt", "0.5 1 1\n0.4 0 0\n" * 20, "out of order"),
        ("beat_midi.txt", "nan 1 1\n" * 20, "table"),
        ("key_audio.txt", "0 1 H:maj", "no key"),
        ("001.mid", "MThd nonsense", "MIDI"),
    ],
)
def test_broken_songs_of_pop909_are_refused(name: str, content: str, words: str, tmp_path: Path) -> None:
    folder = pop909(tmp_path, ["001"]) / "001"
    (folder / name).write_text(content)
    with pytest.raises(Unreadable, match=words):
        read_pop909(folder)


@pytest.mark.parametrize("kind", ["missing", "empty", "other files", "half an index"])
def test_folders_of_no_known_layout_are_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    if kind != "missing":
        folder.mkdir()
    if kind == "other files":
        (folder / "song.mid").touch()
    if kind == "half an index":
        (folder / "info.csv").write_text("drummer,style\n1,rock\n")
    with pytest.raises(InputError, match=f"--scores {folder}") as caught:
        open_collection(folder)
    assert "\n" not in str(caught.value)
