"""Prepare: a real (small, random) HTDemucs through demucs.api, stems, sidecars, resuming and bad songs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompany import audio
from accompany.config import read_json
from accompany.data.prepare import prepare
from accompany.data.separate import VocalSeparator
from accompany.errors import InputError
from accompany.sound.stems import STEMS, split_stems

pytest.importorskip("demucs", reason="separation needs Demucs (accompany[data])")

RATE = 16000


@pytest.fixture(scope="module")
def model() -> object:
    import torch
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    return HTDemucs(
        sources=["drums", "bass", "other", "vocals"], channels=8, nfft=1024, depth=3, t_layers=1, t_heads=2,
        bottom_channels=16, samplerate=RATE, segment=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def separator(model: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the layout of the hub: small.yaml and SIGNATURE.safetensors with class and arguments in its metadata."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("separator")
    args, kwargs = model._init_args_kwargs  # type: ignore[attr-defined]
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps(args), "kwargs": json.dumps(kwargs)}
    state = {name: value.contiguous() for name, value in model.state_dict().items()}  # type: ignore[attr-defined]
    save_file(state, folder / "abc.safetensors", metadata)
    (folder / "small.yaml").write_text("models: ['abc']\n")
    return folder


def song(path: Path, seconds: float = 2.0, rate: int = 22050, channels: int = 2, level: float = 0.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).standard_normal((channels, round(seconds * rate)))
    soundfile.write(path, (level * noise).clip(-1, 1).T.astype(np.float32), rate)
    return path


def test_a_tree_of_songs_becomes_aligned_pairs(separator: Path, tmp_path: Path) -> None:
    song(tmp_path / "songs" / "first.wav")
    song(tmp_path / "songs" / "deep" / "zweites Lied ☂.flac", channels=1)
    (tmp_path / "songs" / "first.txt").write_text("slow jazz\nbrushed drums\n")
    (tmp_path / "songs" / "notes.md").write_text("not a song")
    report = prepare(tmp_path / "songs", tmp_path / "pairs", separator=str(separator), progress=False)
    assert (report.pairs, report.set_aside) == (2, {})
    folder = tmp_path / "pairs" / "first"
    vocals, band = (audio.read(folder / name) for name in ("vocals.flac", "accompaniment.flac"))
    assert vocals.samples.shape == (1, 2 * RATE) and band.samples.shape == (2, 2 * RATE)
    content = read_json(folder / "song.json")
    assert content["captions"] == ["slow jazz", "brushed drums"] and content["n_samples"] == 2 * RATE
    other = read_json(tmp_path / "pairs" / "deep" / "zweites Lied ☂" / "song.json")
    assert other["caption_source"] == "default" and len(other["captions"]) == 1
    assert read_json(tmp_path / "pairs" / "report.json")["hours"] == pytest.approx(4 / 3600, abs=1e-4)


def test_a_pair_is_what_demucs_says(model: object, separator: Path, tmp_path: Path) -> None:
    import torch
    from demucs.apply import apply_model

    mix = audio.read(song(tmp_path / "a.wav", rate=RATE))
    vocals, band = VocalSeparator(str(separator)).split(mix)
    wave = torch.from_numpy(mix.samples)
    mean, std = wave.mean(0).mean(), wave.mean(0).std() + 1e-8
    with torch.no_grad():
        out = apply_model(model.eval(), ((wave - mean) / std)[None], shifts=0, split=True, overlap=0.25)[0]  # type: ignore
    out = out * std + mean
    assert np.allclose(vocals, out[3].numpy(), atol=1e-5)
    assert np.allclose(band, out[:3].sum(0).numpy(), atol=1e-5)


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
    folder = tmp_path / "musdb" / "train" / "A - Song"
    for name in ("vocals", "drums", "bass", "other", "mixture"):
        song(folder / f"{name}.wav", level=0.05)
    pair = tmp_path / "musdb" / "pair"
    song(pair / "vocals.flac", channels=1)
    song(pair / "accompaniment.flac")
    (pair / "song.json").write_text(json.dumps({"captions": ["a waltz"], "key": "C:maj"}))
    report = prepare(tmp_path / "musdb", tmp_path / "pairs", stems=True, progress=False)
    assert report.pairs == 2 and not report.set_aside
    band = audio.read(tmp_path / "pairs" / "train" / "A - Song" / "accompaniment.flac").samples
    stems = sum(audio.read(folder / f"{name}.wav").samples for name in ("drums", "bass", "other"))
    assert np.allclose(band, stems, atol=1e-4)
    assert read_json(tmp_path / "pairs" / "pair" / "song.json")["key"] == "C:maj"


def test_bad_songs_are_set_aside_and_the_rest_goes_on(separator: Path, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    song(songs / "good.wav")
    song(songs / "short.wav", seconds=0.3)
    song(songs / "silent.wav", level=0.0)
    (songs / "empty.mp3").write_bytes(b"")
    (songs / "text.wav").write_text("hello")
    song(songs / "same.wav")
    song(songs / "same.flac")
    (songs / "loop").symlink_to(songs, target_is_directory=True)
    report = prepare(songs, songs / "pairs", separator=str(separator), progress=False)
    assert report.set_aside.keys() == {"short", "silent", "empty", "text"}
    assert report.pairs == 3 and (songs / "pairs" / "same_wav").is_dir() and (songs / "pairs" / "same_flac").is_dir()
    again = prepare(songs, songs / "pairs", separator=str(separator), progress=False)
    assert again == report


def test_a_killed_run_is_finished_by_the_next(separator: Path, tmp_path: Path) -> None:
    for number in range(8):
        song(tmp_path / "songs" / f"{number}.wav")
    script = (
        "import sys\nfrom accompany.data.prepare import prepare\n"
        "prepare(sys.argv[1], sys.argv[2], separator=sys.argv[3], progress=False)\n"
    )
    target = tmp_path / "pairs"
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "songs"), str(target), str(separator)])
    deadline = time.monotonic() + 60
    while not list(target.glob("*/song.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = target / "0" / "vocals.flac"
    before = first.stat().st_mtime_ns
    report = prepare(tmp_path / "songs", target, separator=str(separator), progress=False)
    assert report.pairs == 8 and first.stat().st_mtime_ns == before
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    files = ("vocals.flac", "accompaniment.flac", "song.json")
    assert names == {"report.json"} | {f"{i}/{name}" for i in range(8) for name in files}


def test_sides_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    song(tmp_path / "s" / "a" / "vocals.wav")
    song(tmp_path / "s" / "a" / "drums.wav", seconds=1.5)
    song(tmp_path / "s" / "b" / "vocals.wav")
    song(tmp_path / "s" / "c" / "vocals.wav")
    song(tmp_path / "s" / "c" / "other.wav", level=1e-5)
    report = prepare(tmp_path / "s", tmp_path / "p", stems=True, progress=False)
    assert report.pairs == 0 and report.set_aside.keys() == {"a", "b", "c"}
    assert "not as long" in report.set_aside["a"] and "no accompaniment" in report.set_aside["c"]


def test_one_gain_keeps_the_balance(tmp_path: Path) -> None:
    folder = tmp_path / "s" / "loud"
    song(folder / "vocals.wav", level=0.1)
    for name in ("a", "b", "c"):
        shutil.copy(song(folder / "x.wav", level=0.3), folder / f"{name}.wav")
    prepare(tmp_path / "s", tmp_path / "p", stems=True, progress=False)
    pair = [audio.read(tmp_path / "p" / "loud" / f"{side}.flac").samples for side in ("vocals", "accompaniment")]
    vocals = audio.to_mono(audio.read(folder / "vocals.wav").samples)
    band = sum(audio.read(folder / f"{name}.wav").samples for name in ("a", "b", "c", "x"))
    assert np.abs(pair[1]).max() <= 1.0 < np.abs(band).max()
    assert np.std(pair[0]) / np.std(pair[1]) == pytest.approx(np.std(vocals) / np.std(band), rel=1e-3)


def test_wrong_input_is_named(tmp_path: Path, model: object) -> None:
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
        prepare(tmp_path / "s", tmp_path / "p", separator=str(tmp_path / "texts"), progress=False)
