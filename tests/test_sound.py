"""Sound out: loudness, true peaks, effects, depth and dither, time stamps, MIDI, stems."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from conftest import sing

from accompany import InputError, audio
from accompany.music.plan import Plan
from accompany.sound.effects import compress, equalise, reverberate
from accompany.sound.files import start_of, write
from accompany.sound.loudness import integrated_lufs, limit, normalise, true_peak_db
from accompany.sound.midi import write_midi
from accompany.sound.options import Sound

pytest.importorskip("pyloudnorm")
RATE = 48000


def tone(hz: float, seconds: float = 2.0, level_db: float = 0.0, rate: int = RATE) -> np.ndarray:
    time_s = np.arange(round(seconds * rate)) / rate
    return (10 ** (level_db / 20) * np.sin(2 * np.pi * hz * time_s))[None].astype(np.float32)


def level_db(sound: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-20))


def test_loudness_is_that_of_the_standard():
    """EBU Tech 3341, case 1: a stereo sine of 1 kHz at -23 dBFS in both channels is -23 LUFS."""
    sine = np.repeat(tone(1000, 20, -23.0), 2, axis=0)
    assert integrated_lufs(sine, RATE) == pytest.approx(-23.0, abs=0.1)
    assert integrated_lufs(np.zeros((1, RATE), np.float32), RATE) == -np.inf
    assert np.isfinite(integrated_lufs(tone(1000, 0.1), RATE))


def test_true_peaks_lie_between_the_samples():
    """EBU Tech 3341, case 15 and after: a quarter of the rate, off by 45 degrees, peaks 3 dB over its samples."""
    quarter = np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4)[None].astype(np.float32)
    faded = quarter * np.hanning(RATE).astype(np.float32)
    assert np.abs(faded).max() == pytest.approx(0.707, abs=0.01)
    assert true_peak_db(faded) == pytest.approx(0.0, abs=0.4)


def test_the_limiter_holds_the_ceiling_and_leaves_the_rest_alone():
    sound = tone(220, 2, -12)
    sound[:, 40000:40200] *= 8
    limited = limit(sound, RATE, -1.0)
    assert true_peak_db(sound) > 3 and true_peak_db(limited) <= -0.99
    np.testing.assert_allclose(limited[:, :38000], sound[:, :38000], rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(limited[:, 42000:], sound[:, 42000:], rtol=1e-2, atol=1e-4)
    quiet = tone(220, 1, -20)
    np.testing.assert_array_equal(limit(quiet, RATE, -1.0), quiet)


@pytest.mark.parametrize("wanted", [-30.0, -16.0, -12.0])
def test_normalising_reaches_loudness_below_the_ceiling(wanted):
    made = normalise(sing(6.0, RATE)[None], RATE, wanted, -1.0)
    assert integrated_lufs(made, RATE) == pytest.approx(wanted, abs=0.2)
    assert true_peak_db(made) <= -0.99


def test_the_equaliser_changes_its_band_and_no_other():
    for hz, moved in ((1000, 6.0), (60, 0.0), (12000, 0.0)):
        before, after = tone(hz), equalise(tone(hz), RATE, [(1000.0, 6.0, 1.4)])
        assert level_db(after[:, 4800:]) - level_db(before[:, 4800:]) == pytest.approx(moved, abs=0.5)


def test_the_compressor_brings_loud_and_soft_together():
    sound = np.concatenate([tone(300, 2, -30), tone(300, 2, -6)], axis=1)
    made = compress(sound, RATE, 1.0)
    assert made.shape == sound.shape
    soft, loud = slice(RATE, 2 * RATE - 4800), slice(3 * RATE, 4 * RATE - 4800)
    before = level_db(sound[:, loud]) - level_db(sound[:, soft])
    after = level_db(made[:, loud]) - level_db(made[:, soft])
    assert before == pytest.approx(24, abs=0.2) and after == pytest.approx(24 - 9, abs=1)
    np.testing.assert_array_equal(compress(sound, RATE, 0.0), sound)


def test_the_reverb_rings_on_and_is_as_long():
    click = np.zeros((2, RATE), np.float32)
    click[:, 4800] = 1
    wet = reverberate(click, RATE, 0.5)
    assert wet.shape == click.shape and np.abs(wet[:, :4800]).max() < 1e-6
    early, late = level_db(wet[:, 6000:12000]), level_db(wet[:, 36000:42000])
    assert early > late + 10 > -120 and not np.array_equal(wet[0], wet[1])


@pytest.mark.parametrize(
    ("suffix", "bits", "subtype"),
    [(".wav", 16, "PCM_16"), (".wav", 24, "PCM_24"), (".wav", 32, "FLOAT"), (".flac", 16, "PCM_16"),
     (".flac", None, "PCM_24"), (".mp3", None, "MPEG_LAYER_III"), (".ogg", None, "VORBIS")],
)  # fmt: skip
def test_every_format_has_its_depth_and_exact_length(tmp_path, suffix, bits, subtype):
    path = tmp_path / f"a{suffix}"
    sound = np.repeat(0.5 * sing(1.3, 44100)[None], 2, axis=0)
    write(path, sound, 44100, bits)
    info = soundfile.info(path)
    assert (info.subtype, info.frames, info.samplerate, info.channels) == (subtype, sound.shape[1], 44100, 2)
    assert list(tmp_path.iterdir()) == [path]


def test_dither_keeps_what_is_softer_than_a_step(tmp_path):
    """A tone of half a step of 16 bits is lost by rounding and kept, in noise, by dither."""
    soft = tone(1000, 4.0, 20 * np.log10(0.45 / 32768))
    write(tmp_path / "a.wav", soft, RATE, 16)
    back = audio.read(tmp_path / "a.wav").samples
    kept = 2 * np.mean(back * tone(1000, 4.0)) * 32768
    assert kept == pytest.approx(0.45, abs=0.05) and not np.round(soft * 32768).any()
    write(tmp_path / "b.wav", soft, RATE, 16)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize(
    ("path", "rate", "bits", "start", "says"),
    [("a.mp3", 96000, None, None, "96000"), ("a.ogg", 48000, 16, None, "16 bits"), ("a.flac", 48000, 32, None, "32"),
     ("a.flac", 48000, 24, 1.0, "time stamp"), ("a.txt", 48000, None, None, "suffixes")],
)  # fmt: skip
def test_what_a_format_cannot_be_is_refused(tmp_path, path, rate, bits, start, says):
    with pytest.raises(InputError, match=says):
        write(tmp_path / path, tone(100, 0.1), rate, bits, start)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
def test_a_file_beyond_what_its_header_counts_is_refused(tmp_path, name):
    hours = np.broadcast_to(np.zeros((1, 1), np.float32), (2, 3 * 3600 * 96000))
    with pytest.raises(InputError, match="larger than 4 GB"):
        write(tmp_path / name, hours, 96000, 32, start_s=1.0 if name == "a.wav" else None)
    assert list(tmp_path.iterdir()) == []


def test_a_broadcast_wav_says_where_it_begins(tmp_path):
    path = tmp_path / "a.wav"
    write(path, tone(440), RATE, 24, start_s=3725.5, description="tiny, seed 7")
    assert start_of(path) == 3725.5
    head = path.read_bytes()[:400]
    assert head[12:16] == b"bext" and b"tiny, seed 7" in head and b"accompany" in head
    assert int.from_bytes(head[4:8], "little") == path.stat().st_size - 8
    np.testing.assert_allclose(audio.read(path).samples, tone(440), atol=1e-6)
    write(path, tone(440), RATE, 24)
    assert start_of(path) is None


@pytest.mark.parametrize(
    "wrong", [{"loudness_lufs": 3}, {"bits": 20}, {"eq": "fast"}, {"eq": "5:3"}, {"reverb": 2}, {"sample_rate": 1}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)).split("_")[0] + "|filter"):
        Sound(**wrong)


def test_midi_keeps_the_time_of_beats_and_chords(tmp_path):
    """Tempo drifts from beat to beat and the first beat comes late; the file tells the same times."""
    pretty_midi = pytest.importorskip("pretty_midi")
    beats = tuple(0.37 + np.cumsum(0.5 + 0.02 * np.sin(np.arange(17))))
    plan = Plan(
        beats_s=beats,
        downbeats_s=beats[::4],
        chords=((0.0, beats[4], "C:maj"), (beats[4], beats[8], "A:min7"), (beats[8], beats[12], "N")),
        key="Bb:min",
    )
    write_midi(tmp_path / "plan.mid", plan, seconds=beats[-1] + 0.2)
    midi = pretty_midi.PrettyMIDI(str(tmp_path / "plan.mid"))
    chords, clicks = sorted(midi.instruments, key=lambda instrument: instrument.is_drum)
    np.testing.assert_allclose(sorted(note.start for note in clicks.notes), beats, atol=0.002)
    strong = sorted(note.start for note in clicks.notes if note.pitch == 76)
    np.testing.assert_allclose(strong, plan.downbeats_s, atol=0.002)
    second = {note.pitch % 12 for note in chords.notes if abs(note.start - beats[4]) < 0.002}
    assert second == {9, 0, 4, 7} and max(note.end for note in chords.notes) == pytest.approx(beats[8], abs=0.002)
    assert midi.key_signature_changes[0].key_number == 12 + 10
    assert [change.numerator for change in midi.time_signature_changes] == [2, 4]  # two beats before the first bar
    np.testing.assert_allclose(midi.get_downbeats()[1:6], plan.downbeats_s, atol=0.002)
    with pytest.raises(InputError, match="beats"):
        write_midi(tmp_path / "no.mid", Plan(), 1.0)
