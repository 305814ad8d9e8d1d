"""Prepare: a real (small, random) HTDemucs, stems, sidecars, killed runs, a full disk and bad songs."""

from __future__ import annotations

import errno
import json
import multiprocessing
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_parts import write_noise
from small_separator import RATE, small_htdemucs, write_separator

from accompany import audio
from accompany.common import encoding
from accompany.common.config import read_json
from accompany.common.processes import folder_lock
from accompany.data.prepare.measures import PairLimits
from accompany.data.prepare.pair_making import PrepareConfig
from accompany.data.prepare.prepare import prepare
from accompany.data.prepare.report import Report
from accompany.data.tokens.pair_sources import find_sources
from accompany.errors import InputError
from accompany.sound.separation import VocalSeparator
from accompany.sound.stems import STEMS, split_stems

pytest.importorskip("demucs", reason="separation needs Demucs (accompany[data])")

SHARED = Path(__file__).parents[1].parent / "shared"
ALL = PairLimits(
    segment_s=2.0, min_s=0.5, min_level_db=-90, min_band_db=-90, min_vocals_db=-200, min_voiced_share=0, max_likeness=2
)
"""Keeps whatever sounds: the songs here are noise."""


@pytest.fixture(scope="module")
def model() -> object:
    return small_htdemucs()


@pytest.fixture(scope="module")
def separator(model: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_separator(model, tmp_path_factory.mktemp("separator"))


def song(path: Path, seconds: float = 2.0, rate: int = 22050, channels: int = 2, level: float = 0.2) -> Path:
    return write_noise(path, seconds, rate, channels, level)


def separated(songs: Path, pairs: Path, separator: Path, workers: int = 0) -> Report:
    config = PrepareConfig(separator=str(separator), limits=ALL, clap="none")
    return prepare(songs, pairs, config, workers=workers, progress=False)


def from_stems(songs: Path, pairs: Path, limits: PairLimits = ALL) -> Report:
    return prepare(songs, pairs, PrepareConfig(stems=True, limits=limits, clap="none"), progress=False)


def pair_folders(pairs: Path) -> list[Path]:
    return [source.folder for source in find_sources(pairs) if isinstance(source.folder, Path)]


def contents(pairs: Path) -> dict[str, bytes]:
    """Every file of the pairs and records, without what tells the time that a run took."""
    names = [path for path in pairs.rglob("*") if path.is_file() and path.parent != pairs]
    return {path.relative_to(pairs).as_posix(): path.read_bytes() for path in names}


def test_a_tree_of_songs_becomes_aligned_pairs(separator: Path, tmp_path: Path) -> None:
    song(tmp_path / "songs" / "first.wav", seconds=5.0)
    song(tmp_path / "songs" / "deep" / "zweites Lied ☂.flac", channels=1)
    (tmp_path / "songs" / "first.txt").write_text("slow jazz\nbrushed drums\n")
    (tmp_path / "songs" / "notes.md").write_text("not a song")
    report = separated(tmp_path / "songs", tmp_path / "pairs", separator)
    assert (report.songs, report.pairs, report.set_aside) == (2, 4, {})
    assert report.hours == report.hours_in == pytest.approx(7 / 3600, abs=1e-4)
    folders = pair_folders(tmp_path / "pairs")
    names = [f"first/{start:08d}" for start in (0, 2000, 4000)]
    assert [folder.relative_to(tmp_path / "pairs").as_posix() for folder in folders][-3:] == names
    lengths = []
    for folder in folders[-3:]:
        vocals, band = (audio.read(folder / name) for name in ("vocals.flac", "accompaniment.flac"))
        assert vocals.samples.shape[0] == 1 and vocals.samples.shape[1] == band.samples.shape[1]
        content = read_json(folder / "song.json")
        assert content["captions"] == ["slow jazz", "brushed drums"] and content["song"] == "first"
        assert content["caption_sources"] == ["sidecar", "sidecar"]
        assert content["n_samples"] == vocals.samples.shape[1]
        lengths.append(content["n_samples"])
    assert sum(lengths) == 5 * RATE
    other = read_json(folders[0] / "song.json")
    assert other["song"] == "deep/zweites Lied ☂" and len(other["captions"]) == len(other["caption_sources"]) >= 1
    assert len(find_sources(tmp_path / "pairs")) == 4, "tokenize finds every pair"
    page = (tmp_path / "pairs" / "report.html").read_text()
    assert "<svg" in page and "4 pairs" in page


def test_a_pair_is_what_demucs_says(model: object, separator: Path, tmp_path: Path) -> None:
    import torch
    from demucs.apply import apply_model

    # Demucs takes mean and level of the whole song, a stream the level of what it has read, and random weights answer
    # to the least difference as they please. So: a sound of mean 0 that comes again every 1,000 samples, of one level.
    period = np.random.default_rng(3).standard_normal((2, 1000)).astype(np.float32)
    mix = audio.Audio(np.tile(0.2 * (period - period.mean()), 101), RATE)
    splitter = VocalSeparator(str(separator))
    vocals, band = splitter.split(mix)
    wave = torch.from_numpy(mix.samples)
    mean, std = wave.mean(0).mean(), wave.mean(0).std() + 1e-8
    with torch.no_grad():
        out = apply_model(model.eval(), ((wave - mean) / std)[None], shifts=0, split=True, overlap=0.25)[0]  # type: ignore
    out = out * std + mean
    assert np.allclose(vocals, out[3].numpy(), atol=1e-5)
    assert np.allclose(band, out[:3].sum(0).numpy(), atol=1e-5)
    blocks = np.split(mix.samples, [1000, 2000, 40000], axis=1)
    streamed = [np.concatenate(stem, axis=1) for stem in zip(*splitter.stream(blocks), strict=True)]
    for made, whole in zip(streamed, (vocals, band), strict=True):
        assert made.shape == whole.shape
        assert np.abs(made - whole).max() < 1e-3 * np.abs(whole).max()


def test_the_stems_of_a_band_sum_to_it(separator: Path, tmp_path: Path) -> None:
    band = audio.read(song(tmp_path / "a.wav", rate=24000, channels=1)).samples
    stems = split_stems(band, 24000, str(separator))
    assert tuple(stems.sounds) == STEMS and all(sound.shape == band.shape for sound in stems.sounds.values())
    assert np.allclose(sum(stems.sounds.values()), band, atol=1e-5)
    assert all(np.abs(stems.sounds[name]).max() > 1e-3 for name in STEMS)
    with pytest.raises(InputError, match="nowhere"):
        split_stems(band, 24000, str(tmp_path / "nowhere"))


def test_the_repo_layout_of_demucs_loads_too(model: object, tmp_path: Path) -> None:
    from demucs.states import save_with_checksum, serialize_model
    from omegaconf import OmegaConf

    save_with_checksum(serialize_model(model, OmegaConf.create({}), half=False), tmp_path / "abc.th")
    mix = audio.read(song(tmp_path / "a.wav", rate=RATE))
    vocals, _ = VocalSeparator(str(tmp_path)).split(mix)
    assert vocals.shape == (2, 2 * RATE)


def test_stems_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "musdb" / "train" / "An Artist - A Song"
    for name in ("vocals", "drums", "bass", "other", "mixture"):
        song(folder / f"{name}.wav", level=0.05)
    pair = tmp_path / "musdb" / "pair"
    song(pair / "vocals.flac", channels=1, seconds=4)
    song(pair / "accompaniment.flac", seconds=4)
    labels = {"captions": ["a waltz"], "key": "C:maj", "beats": [0.5, 1.5, 2.5], "chords": [[0, 3, "C:maj"]]}
    (pair / "song.json").write_text(json.dumps(labels))
    report = from_stems(tmp_path / "musdb", tmp_path / "pairs")
    assert report.pairs == 3 and not report.set_aside
    made = tmp_path / "pairs" / "train__An Artist - A Song" / "00000000"
    band = audio.read(made / "accompaniment.flac").samples
    stems = sum(audio.read(folder / f"{name}.wav").samples for name in ("drums", "bass", "other"))
    assert np.allclose(band, stems, atol=1e-4)
    sources = {source.id: source for source in find_sources(tmp_path / "pairs")}
    assert sources["train__An Artist - A Song/00000000"].artist == "An Artist"
    second = read_json(tmp_path / "pairs" / "pair" / "00002000" / "song.json")
    assert (second["key"], second["beats"], second["chords"]) == ("C:maj", [0.5], [[0.0, 1.0, "C:maj"]])
    assert (sources["pair/00002000"].song, sources["pair/00002000"].artist) == ("pair", None)


def test_arrangements_of_one_song_stay_one_song(tmp_path: Path) -> None:
    for name in ("000000", "000001"):
        folder = tmp_path / "songs" / name
        song(folder / "vocals.flac", channels=1)
        song(folder / "accompaniment.flac")
        labels = {"captions": ["a waltz"], "song": "POP909/007", "artist": "Ann Other"}
        (folder / "song.json").write_text(json.dumps(labels))
    assert from_stems(tmp_path / "songs", tmp_path / "pairs").pairs >= 1
    assert {(each.song, each.artist) for each in find_sources(tmp_path / "pairs")} == {("POP909/007", "Ann Other")}


def test_moisesdb_sums_the_tracks_of_each_stem(tmp_path: Path) -> None:
    folder = tmp_path / "moises" / "0a1b"
    tracks = {"vocals": ("v1", "v2"), "drums": ("d1",), "bass": ("b1",)}
    stems = [
        {"stemName": name, "tracks": [{"id": each, "extension": "wav", "trackType": "any"} for each in ids]}
        for name, ids in tracks.items()
    ]
    for name, ids in tracks.items():
        for each in ids:
            song(folder / name / f"{each}.wav", level=0.05, seconds=2.0 if each != "b1" else 1.0)
    known = {"artist": "Somebody", "song": "A Title", "genre": "soul", "stems": stems}
    (folder / "data.json").write_text(json.dumps(known))
    assert from_stems(tmp_path / "moises", tmp_path / "pairs").pairs == 1
    made = tmp_path / "pairs" / "0a1b" / "00000000"
    vocals, band = (audio.read(made / f"{stem}.flac").samples for stem in ("vocals", "accompaniment"))
    true = sum(audio.to_mono(audio.read(folder / "vocals" / f"{each}.wav").samples) for each in ("v1", "v2"))
    assert np.allclose(vocals, true, atol=1e-4)
    drums, bass = (audio.read(folder / name).samples for name in ("drums/d1.wav", "bass/b1.wav"))
    assert np.allclose(band, drums + audio.fit_length(bass, drums.shape[1]), atol=1e-4)
    content = read_json(made / "song.json")
    assert content["artist"] == "Somebody" and content["genre"] == "soul" and "tags" in content["caption_sources"]
    assert content["song"] == "0a1b"


def test_bad_songs_are_skipped_and_the_rest_goes_on(separator: Path, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    song(songs / "good.wav")
    song(songs / "short.wav", seconds=0.3)
    song(songs / "silent.wav", level=0.0)
    song(songs / "telephone.wav", rate=8000, channels=1)
    (songs / "empty.mp3").write_bytes(b"")
    (songs / "text.wav").write_text("hello")
    song(songs / "same.wav")
    song(songs / "same.flac")
    (songs / "loop").symlink_to(songs, target_is_directory=True)
    report = separated(songs, songs / "pairs", separator)
    assert report.set_aside.keys() == {"empty", "text"} and "0 bytes" in report.set_aside["empty"]
    assert report.without_pairs == {"short": "short", "silent": "silence"}
    assert report.dropped["silence"]["windows"] == 1
    assert report.pairs == 4 and (songs / "pairs" / "same_wav").is_dir() and (songs / "pairs" / "same_flac").is_dir()
    before = contents(songs / "pairs")
    assert separated(songs, songs / "pairs", separator) == report and contents(songs / "pairs") == before
    song(songs / "text.wav")
    assert separated(songs, songs / "pairs", separator).pairs == 5, "a song that was replaced is tried again"


def test_odd_songs_end_no_run_and_worker_processes_give_the_same_pairs(separator: Path, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    song(songs / "good.wav")
    song(songs / "one_hertz.wav", rate=1, seconds=30000)
    sound, rate = soundfile.read(songs / "good.wav")
    soundfile.write(songs / "huge.wav", sound * 1e12, rate, subtype="FLOAT")
    soundfile.write(songs / "nan.wav", np.full_like(sound, np.nan), rate, subtype="FLOAT")
    mono = sound[:, 0]
    soundfile.write(songs / "inverted.wav", np.stack([mono, -mono], 1) + 0.01, rate, subtype="FLOAT")
    for place, workers in (("here", 0), ("there", 2)):
        report = separated(songs, tmp_path / place, separator, workers)
        assert report.set_aside.keys() == {"one_hertz", "huge", "nan"} and report.pairs == 2
        assert "sample rate of 1 Hz" in report.set_aside["one_hertz"] and "full scale" in report.set_aside["huge"]
    here, there = contents(tmp_path / "here"), contents(tmp_path / "there")
    assert here.keys() == there.keys() and sum(name.endswith(".flac") for name in here) == 4
    for name in here:
        if name.endswith(".flac"):
            stems = [audio.read(tmp_path / place / name).samples for place in ("here", "there")]
            assert np.allclose(*stems, atol=1e-4)


def test_a_fault_in_one_song_stands_in_its_record(
    separator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accompany.data.prepare import pair_making

    song(tmp_path / "songs" / "good.wav")
    song(tmp_path / "songs" / "odd.wav")
    windows = pair_making.song_windows

    def failing(each: Any, *args: Any) -> Any:
        if each.song_id == "odd":
            raise ValueError("no such axis")
        return windows(each, *args)

    monkeypatch.setattr(pair_making, "song_windows", failing)
    report = separated(tmp_path / "songs", tmp_path / "pairs", separator)
    assert report.pairs == 1 and "odd.wav cannot be used (ValueError('no such axis'))" in report.set_aside["odd"]


def test_ten_kills_and_a_clean_finish_give_the_same_pairs(tmp_path: Path) -> None:
    for number in range(12):
        for stem in ("vocals", "accompaniment"):
            song(tmp_path / "songs" / f"{number:02d}" / f"{stem}.wav", rate=8000, channels=1, level=0.1)
    shutil.copytree(tmp_path / "songs" / "01", tmp_path / "songs" / "again")
    shutil.copytree(tmp_path / "songs" / "01", tmp_path / "songs" / "bad")
    (tmp_path / "songs" / "bad" / "vocals.wav").write_text("no sound")

    def begin(pairs: str) -> multiprocessing.Process:
        """A copy of this process, which has its modules at once."""
        places = (tmp_path / "songs", tmp_path / pairs)
        process = multiprocessing.get_context("fork").Process(target=from_stems, args=places)
        process.start()
        return process

    began = time.monotonic()
    undisturbed = begin("whole")
    undisturbed.join()
    assert undisturbed.exitcode == 0
    took = time.monotonic() - began
    rng, hits, midway = random.Random(5), 0, 0
    for _ in range(60):
        process = begin("killed")
        time.sleep(rng.uniform(0.02, 0.3) * took)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            hits += 1
            midway += not (tmp_path / "killed" / "report.json").exists()
        if hits == 10:
            break
    process = begin("killed")
    process.join()
    assert process.exitcode == 0
    assert hits == 10 and midway >= 3, "the run was killed in its middle"
    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert whole.keys() == killed.keys() and len(pair_folders(tmp_path / "whole")) == 12
    assert whole == killed
    assert read_json(tmp_path / "killed" / "duplicates.json").keys() == {"again/00000000"}
    assert (tmp_path / "whole" / "duplicates.json").read_bytes() == (
        tmp_path / "killed" / "duplicates.json"
    ).read_bytes()
    assert not [path for path in (tmp_path / "killed").iterdir() if path.name.endswith(".part")]


def test_a_full_disk_stops_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        for stem in ("vocals", "accompaniment"):
            song(tmp_path / "s" / str(number) / f"{stem}.wav", level=0.1)
    opening, calls = encoding._open, []

    def full(path: Path) -> Any:
        calls.append(path)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opening(path)

    monkeypatch.setattr(encoding, "_open", full)
    with pytest.raises(InputError, match=r"^The disk is full while writing .*; what was done stays good: free some"):
        from_stems(tmp_path / "s", tmp_path / "p")
    assert {path.parts[-2] for path in pair_folders(tmp_path / "p")} == {"0"}
    assert not list((tmp_path / "p").glob(".*.part"))
    assert from_stems(tmp_path / "s", tmp_path / "p").pairs == 3 and len(calls) == 4 + 4


def test_sides_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    song(tmp_path / "s" / "a" / "vocals.wav")
    song(tmp_path / "s" / "a" / "drums.wav", seconds=1.5)
    song(tmp_path / "s" / "b" / "vocals.wav")
    song(tmp_path / "s" / "c" / "vocals.wav")
    song(tmp_path / "s" / "c" / "other.wav", level=1e-5)
    report = from_stems(tmp_path / "s", tmp_path / "p", PairLimits(segment_s=2.0))
    assert report.pairs == 0 and report.set_aside.keys() == {"a", "b"}
    assert "not as long" in report.set_aside["a"] and "no other stems" in report.set_aside["b"]
    assert report.without_pairs == {"c": "no accompaniment"}


def test_what_a_running_prepare_writes_is_left_alone(tmp_path: Path) -> None:
    for name in ("vocals", "other"):
        song(tmp_path / "s" / "a" / f"{name}.wav")
    half = tmp_path / "p" / ".a.123.part"
    half.mkdir(parents=True)
    with folder_lock(tmp_path / "p", "a test"), pytest.raises(InputError, match="Another run"):
        from_stems(tmp_path / "s", tmp_path / "p")
    assert half.is_dir()
    assert from_stems(tmp_path / "s", tmp_path / "p").pairs == 1 and not half.exists()
    (tmp_path / "p" / "prepare.json").write_text('{"settings": {}}')
    with pytest.raises(InputError, match=r"prepare\.json lacks or garbles 'run'"):
        from_stems(tmp_path / "s", tmp_path / "p")


def test_one_gain_keeps_the_balance(tmp_path: Path) -> None:
    folder = tmp_path / "s" / "loud"
    song(folder / "vocals.wav", level=0.1)
    for name in ("a", "b", "c"):
        shutil.copy(song(folder / "x.wav", level=0.3), folder / f"{name}.wav")
    limits = PairLimits(segment_s=2.0, min_voiced_share=0, min_vocals_db=-200, max_clipped_share=1)
    assert from_stems(tmp_path / "s", tmp_path / "p", limits).pairs == 1
    made = tmp_path / "p" / "loud" / "00000000"
    pair = [audio.read(made / f"{stem}.flac").samples for stem in ("vocals", "accompaniment")]
    vocals = audio.to_mono(audio.read(folder / "vocals.wav").samples)
    band = sum(audio.read(folder / f"{name}.wav").samples for name in ("a", "b", "c", "x"))
    assert np.abs(pair[1]).max() <= 1.0 < np.abs(band).max()
    assert np.std(pair[0]) / np.std(pair[1]) == pytest.approx(np.std(vocals) / np.std(band), rel=1e-3)
    assert read_json(made / "song.json")["gain"] == pytest.approx(np.std(pair[0]) / np.std(vocals), rel=1e-3)


def test_wrong_input_is_named(tmp_path: Path, separator: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("words")
    for folder, words in (("nowhere", "no folder"), ("texts", "no audio files")):
        with pytest.raises(InputError, match=words):
            prepare(tmp_path / folder, tmp_path / "p")
    song(tmp_path / "s" / "a.wav")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="Cannot write"):
        prepare(tmp_path / "s", tmp_path / "file", progress=False)
    with pytest.raises(InputError, match="separator"):
        separated(tmp_path / "s", tmp_path / "p", tmp_path / "texts")
    with pytest.raises(InputError, match="holds the songs themselves"):
        prepare(tmp_path / "s", tmp_path / "s")
    separated(tmp_path / "s", tmp_path / "q", separator)
    with pytest.raises(InputError, match="made with other limits; choose a new folder"):
        prepare(tmp_path / "s", tmp_path / "q", PrepareConfig(separator=str(separator), clap="none"), progress=False)


@pytest.mark.skipif(not (SHARED / "songs" / "demucs_test.mp3").is_file(), reason="the shared recordings are not here")
def test_the_bundled_separator_makes_pairs_of_a_real_song(tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    shutil.copy(SHARED / "songs" / "demucs_test.mp3", tmp_path / "songs")
    report = prepare(tmp_path / "songs", tmp_path / "pairs", progress=False)
    assert report.pairs >= 1 and report.caption_sources.keys() == {"clap"}
    (folder,) = pair_folders(tmp_path / "pairs")
    vocals, band = (audio.read(folder / f"{stem}.flac") for stem in ("vocals", "accompaniment"))
    mix = audio.read(tmp_path / "songs" / "demucs_test.mp3")
    true = audio.resample(audio.to_mono(mix.samples), mix.sample_rate, vocals.sample_rate)
    assert true.shape == vocals.samples.shape == band.samples.shape
    both = vocals.samples + band.samples
    assert np.corrcoef(both[0], true[0])[0, 1] > 0.9, "the two stems sum up to the song, sample for sample"


@pytest.mark.parametrize(
    ("wrong", "ray", "workers"),
    [
        ({"separator": "nosuch"}, None, 0),
        ({"separator": "nosuch"}, None, 2),  # worker processes refuse the others in the same way
        ({"clap": "nosuch"}, None, 0),
        ({"captioner": "nosuch:caption"}, None, 0),
        ({"captioner": "json:nosuch"}, None, 0),
        ({"captioner": "math:sqrt"}, None, 0),
        ({}, "127.0.0.1:9", 0),
    ],
)
def test_a_typo_is_not_remembered(
    wrong: dict[str, str],
    ray: str | None,
    workers: int,
    separator: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if ray is not None:
        pytest.importorskip("ray")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of the worker processes; here the library has read it already
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    song(tmp_path / "s" / "a.wav")
    right = {"separator": str(separator), "clap": "none", "limits": ALL}
    if "clap" in wrong:
        (tmp_path / "p").mkdir()
    with pytest.raises(InputError):
        config = PrepareConfig(**{**right, **wrong})
        prepare(tmp_path / "s", tmp_path / "p", config, workers=workers, ray=ray, progress=False)
    assert (tmp_path / "p").exists() == ("clap" in wrong) and not list(tmp_path.glob("p/*"))
    assert prepare(tmp_path / "s", tmp_path / "p", PrepareConfig(**right), progress=False).pairs == 1


def test_settings_of_a_run_that_was_killed_with_nothing_made_bind_nobody(tmp_path: Path) -> None:
    for stem in ("vocals", "accompaniment"):
        song(tmp_path / "s" / "a" / f"{stem}.wav")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "prepare.json").write_text('{"settings": {"stems": false}, "run": 3}')
    assert from_stems(tmp_path / "s", tmp_path / "p").pairs == 1
    with pytest.raises(InputError, match="made with other limits"):
        from_stems(tmp_path / "s", tmp_path / "p", PairLimits(segment_s=3.0))
