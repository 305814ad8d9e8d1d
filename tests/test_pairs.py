"""Pairs: the measures that drop windows, near-duplicates, tempo and key, captions and tags, walking trees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompany.common.config import read_json
from accompany.data.captions.tags import read_notes
from accompany.data.captions.wording import Facts, key_words, word_captions
from accompany.data.captions.write import CaptionWriter, load_captioner, load_tagger
from accompany.data.prepare.fingerprints import find_duplicates, fingerprint, from_text, to_text
from accompany.data.prepare.measured import Measured, measure_music
from accompany.data.prepare.measures import Measurer, Measures, PairLimits, likeness, reason_to_drop
from accompany.data.prepare.pair_making import window_labels
from accompany.data.prepare.pairs import folder_name
from accompany.data.prepare.prepare import PrepareConfig, prepare
from accompany.data.prepare.sources import find_songs
from accompany.data.prepare.windows import Clipping, StemWindow
from accompany.errors import InputError

RATE = 24000


def voice(seconds: float, sung: float = 1.0, level: float = 0.1) -> np.ndarray:
    """Something that sings for a share of the time: harmonics with vibrato, [1, T]."""
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * 220 * t + 3 * np.sin(2 * np.pi * 5 * t)
    tone = sum(np.sin(k * phase) / k for k in range(1, 9)) * (0.6 + 0.4 * np.sin(2 * np.pi * 1.3 * t) ** 2)
    return (level * tone * (t < sung * seconds))[None].astype(np.float32)


def band(seconds: float, level: float = 0.1, bpm: float = 120.0, seed: int = 0) -> np.ndarray:
    """Noise that beats, over a chord of C major, [2, T]."""
    t = np.arange(round(seconds * RATE)) / RATE
    hits = np.exp(-20 * (t % (60 / bpm))) * np.random.default_rng(seed).standard_normal((2, len(t)))
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (130.8, 261.6, 329.6, 392.0)) / 4
    return (level * (hits + 0.5 * chord)).astype(np.float32)


def test_each_reason_has_its_measure() -> None:
    measurer, limits, n = Measurer(), PairLimits(), 6
    mix = voice(n) + band(n)[:1]
    cases = {
        None: (voice(n, 0.5), band(n), 0.0),
        "silence": (voice(n, level=1e-4), band(n, 1e-4), 0.0),
        "clipping": (voice(n), band(n), 0.02),
        "no accompaniment": (voice(n), band(n, 1e-3), 0.0),
        "no vocals": (voice(n, level=0.004), band(n, 0.3), 0.0),
        "little singing": (voice(n, 0.05), band(n), 0.0),
        "failed separation": (0.3 * mix, 0.7 * mix, 0.0),
    }
    for reason, (vocals, accompaniment, clipped) in cases.items():
        window = StemWindow(0, vocals, accompaniment, RATE, clipped)
        measures = measurer.measure(window)
        assert reason_to_drop(window, measures, limits) == reason, (reason, measures)
    rest = StemWindow(30 * RATE, voice(2), band(2), RATE, 0.0)
    assert reason_to_drop(rest, measurer.measure(rest), limits) == "short"


@pytest.mark.parametrize(
    ("start_s", "seconds", "limits", "is_short"),
    [
        (30, 5.0, PairLimits(), False),
        (30, 4.9, PairLimits(), True),
        (0, 1.0, PairLimits(), False),
        (0, 0.9, PairLimits(), True),
        (4, 1.0, PairLimits(segment_s=2.0), True),
        (4, 1.0, PairLimits(segment_s=2.0, min_s=1.0), False),
        (4, 0.7, PairLimits(segment_s=2.0, min_s=0.5), False),
        (0, 0.7, PairLimits(segment_s=2.0, min_s=0.5), False),
        (0, 0.4, PairLimits(segment_s=2.0, min_s=0.5), True),
    ],
)
def test_rests_are_kept_from_min_s_on(start_s: int, seconds: float, limits: PairLimits, is_short: bool) -> None:
    window = StemWindow(start_s * RATE, voice(seconds), band(seconds), RATE, 0.0)
    measures = Measures(-20.0, 0.5, 0.0, -3.0, 0.0, 0.5, 0.1)
    assert reason_to_drop(window, measures, limits) == ("short" if is_short else None)


def test_likeness_is_one_for_copies_at_any_ratio_and_low_for_two_sides() -> None:
    mix = voice(6)[0] + band(6)[0]
    assert likeness(0.9 * mix, 0.1 * mix, RATE) == pytest.approx(1.0, abs=0.01)
    assert abs(likeness(voice(6)[0], band(6)[0], RATE)) < 0.4


def test_clipping_is_counted_where_it_is(tmp_path: Path) -> None:
    sound = 0.5 * np.sin(np.arange(4 * 8000) / 9)
    sound[2 * 8000 : 2 * 8000 + 80] = 1.0
    soundfile.write(tmp_path / "a.wav", sound, 8000, subtype="FLOAT")
    clipping = Clipping()
    blocks = list(clipping.stream(tmp_path / "a.wav", 16000))
    assert sum(block.shape[-1] for block in blocks) == 4 * 16000
    assert clipping.share(0, 2) == 0 and clipping.share(2, 4) == pytest.approx(80 / 16000)


def test_the_same_recording_is_found_again_and_others_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    notes = [rng.choice([220, 262, 294, 330, 392, 440, 523, 587], 24) for _ in range(4)]
    t = np.arange(RATE // 2) / RATE
    songs = [
        np.concatenate([sum(np.sin(2 * np.pi * k * hz * t) / k for k in (1, 2, 3)) for hz in row]) for row in notes
    ]
    soundfile.write(tmp_path / "copy.mp3", 0.1 * songs[2], RATE)
    copy, _ = soundfile.read(tmp_path / "copy.mp3", dtype="float32")
    shifted = np.concatenate([np.zeros(RATE + 777), songs[1]])[: len(songs[1])]
    prints = [from_text(to_text(fingerprint(sound, RATE))) for sound in (*songs, copy, shifted, np.zeros(12 * RATE))]
    assert [(each.index, each.of) for each in find_duplicates(prints)] == [(4, 2), (5, 1)]
    assert find_duplicates([]) == []


def test_tempo_and_key_are_measured_or_left_open() -> None:
    tags = measure_music(band(20, bpm=97)[0], RATE)
    assert tags.tempo_bpm == pytest.approx(97, abs=1) and tags.key == "C:maj"
    assert measure_music(np.zeros(10 * RATE, np.float32), RATE) == Measured(None, None)


def test_captions_come_in_the_order_of_trust() -> None:
    calls: list[int] = []

    def captioner(samples: np.ndarray, rate: int, facts: dict[str, object]) -> list[str]:
        calls.append(rate)
        assert samples.shape == (2, 10 * RATE) and facts["genre"] == "soul"
        return ["my  words"]

    notes = read_notes(None, (), {"genre": "Soul;Funk", "date": "1971-03"})
    assert notes.facts == Facts(genre="Soul", era="1970s")
    notes = read_notes(None, (), {"genre": "soul", "mood": "Warm", "bpm": "92", "key": "Ebm", "artist": "Somebody"})
    assert notes.facts == Facts(genre="soul", mood="warm", tempo_bpm=92, key="Eb:min") and notes.artist == "Somebody"
    writer = CaptionWriter(6, load_tagger("tiny"), captioner)
    made = writer.write(notes, Measured(93.0, "C:maj"), band(10), RATE, np.random.default_rng(0))
    assert made.sources[:3] == ("tags", "tags", "captioner") and set(made.sources[3:]) == {"clap"}
    assert len(set(made.texts)) == 6 and made.texts[2] == "my words" and calls == [RATE]
    assert "soul" in " ".join(made.texts[:2])
    silent = CaptionWriter(4, None, None)
    assert silent.write(read_notes(None, (), {}), Measured(90, None), band(2), RATE, np.random.default_rng(0)).sources[
        0
    ] == ("measured")
    none = silent.write(read_notes(None, (), {}), Measured(None, None), band(2), RATE, np.random.default_rng(0))
    assert none.sources == ("default",)

    def broken(*_: object) -> str:
        raise RuntimeError("no key")

    with pytest.raises(InputError, match=r"--captioner failed .*no key"):
        CaptionWriter(2, None, broken).write(notes, Measured(1, None), band(2), RATE, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"name it module:function"):
        load_captioner("nowhere_at_all:caption")
    assert load_captioner("json:dumps") is json.dumps


def test_wordings_differ_and_say_the_facts() -> None:
    facts = Facts("jazz", "tender", "1950s", "warm", ("piano", "double bass"), 66.0, "Bb:min")
    texts = word_captions(facts, 8, np.random.default_rng(3))
    assert len(set(texts)) == 8 and texts == word_captions(facts, 8, np.random.default_rng(3))
    together = " | ".join(texts)
    assert all(word in together for word in ("jazz", "tender", "piano", "double bass", "B flat minor", "66", "slow"))
    assert key_words("F#:maj") == "F sharp major" and word_captions(Facts(), 3, np.random.default_rng(0)) == []


def test_tags_of_a_file_are_read(tmp_path: Path) -> None:
    import mutagen.flac
    from mutagen.id3 import ID3, TBPM, TCON, TPE1

    for name in ("a.flac", "a.mp3"):
        soundfile.write(tmp_path / name, np.zeros(RATE), RATE)
    flac = mutagen.flac.FLAC(tmp_path / "a.flac")
    flac.update({"ARTIST": "Wer auch immer", "GENRE": "Bossa Nova", "BPM": "126", "DATE": "1963", "INITIALKEY": "Am"})
    flac.save()
    frames = ID3()
    for frame in (
        TPE1(encoding=3, text="Wer auch immer"),
        TCON(encoding=3, text="Bossa Nova"),
        TBPM(encoding=3, text="126"),
    ):
        frames.add(frame)
    frames.save(tmp_path / "a.mp3")
    full, short = (read_notes(tmp_path / name, (), {}) for name in ("a.flac", "a.mp3"))
    assert full.facts == Facts("Bossa Nova", "", "1960s", tempo_bpm=126, key="A:min")
    assert short.facts == Facts("Bossa Nova", tempo_bpm=126) and full.artist == short.artist == "Wer auch immer"
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(InputError, match=r"a\.json must hold an object"):
        read_notes(None, (tmp_path / "a.json",), {})


def test_labels_are_cut_to_the_window() -> None:
    labels = {"beats": [0.0, 9.5, 10.0, 12.0], "chords": [[0, 11, "C:maj"], [11, 30, "F:maj"]], "key": "C:maj",
              "keys": [[0, 12, "C:maj"], [12, 30, "G:maj"]], "drums": {"kick": [1.0, 10.5]}, "seed": 3}  # fmt: skip
    cut = window_labels(labels, 10.0, 10.0)
    assert cut["beats"] == [0.0, 2.0] and cut["chords"] == [[0.0, 1, "C:maj"], [1, 10.0, "F:maj"]]
    assert cut["key"] == "G:maj" and cut["drums"] == {"kick": [0.5]} and cut["seed"] == 3
    with pytest.raises(InputError, match="wrong shape"):
        window_labels({"chords": [1, 2]}, 0, 1)


def test_names_of_folders_are_short_and_their_own(tmp_path: Path) -> None:
    assert folder_name("deep/песня ☂") == "deep__песня ☂"
    long = folder_name("й" * 200)
    assert len(long.encode()) < 200 and long != folder_name("й" * 201)
    for name in ("a__b.wav", "a/b.wav", "A/B.wav", ".hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    songs = find_songs(tmp_path, stems=False).songs
    assert len({song.folder.casefold() for song in songs}) == len(songs) == 3


def test_a_song_twice_gives_its_pairs_once(tmp_path: Path) -> None:
    for name, gain in (("first", 1.0), ("second", 0.5)):
        (tmp_path / "s" / name).mkdir(parents=True)
        for stem, sound in (("vocals", voice(10)), ("accompaniment", band(10))):
            soundfile.write(tmp_path / "s" / name / f"{stem}.flac", gain * sound.T, RATE)
    config = PrepareConfig(stems=True, limits=PairLimits(segment_s=5.0), clap="none")
    report = prepare(tmp_path / "s", tmp_path / "p", config, progress=False)
    assert report.dropped["near-duplicate"]["windows"] >= 2 and report.without_pairs == {"second": "near-duplicate"}
    assert read_json(tmp_path / "p" / "duplicates.json")["second/00000000"]["of"] == "first/00000000"
    assert not (tmp_path / "p" / "second" / "00000000").exists()
    assert prepare(tmp_path / "s", tmp_path / "p", config, progress=False) == report
