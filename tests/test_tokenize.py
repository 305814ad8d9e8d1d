"""Tokens: what is in a song's file, resuming, faults, and sets that never mix."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_parts import SAMPLE_RATE, save_bundle, small_parts, write_song, write_songs

from accompany import audio
from accompany.cli import main
from accompany.config import CONFIGS_DIR
from accompany.data.encode import EncodeConfig, TokenParts, encode_song, moved_in_phase, tokens_per_frame
from accompany.data.tokenize import load_parts, split_of, tokenize
from accompany.data.tokens import Labels, SongFile, read_manifest, song_path
from accompany.encoders.codec import Codec
from accompany.encoders.melody import Melody
from accompany.errors import InputError


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> TokenParts:
    return small_parts(tmp_path_factory.mktemp("parts") / "clap")


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_songs(tmp_path_factory.mktemp("pairs"), 4, seconds=3.0)


def test_a_song_holds_what_the_parts_say(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    manifest = tokenize(songs, tmp_path, parts, variants=2, progress=False)
    assert manifest == read_manifest(tmp_path)
    assert manifest.sizes == {"melody_dim": 54, "vocal_dim": 70, "text_dim": 24, "tokens": 6, "token_size": 64}
    assert (manifest.code_sizes, manifest.frame_rate, manifest.tokens_per_frame) == ((16, 16), 25.0, 2)
    song = SongFile(song_path(tmp_path, "000001"))
    assert {name: (song.read(name).shape, str(song.read(name).dtype)) for name in sorted(song.names)} == {
        "audio_clap": ((1, 24), "float16"),
        "codes": ((2, 75), "int16"),
        "text": ((2, 24), "float16"),
        "tokens": ((6, 150), "int16"),
        "vocal.0": ((75, 70), "float16"),
        "vocal.1": ((75, 70), "float16"),
    }
    vocal = audio.read(songs / "000001" / "vocals.flac")
    mono = torch.from_numpy(audio.resample(vocal.samples, vocal.sample_rate, 24000))
    expected = torch.cat([parts.melody.encode(mono, 75), parts.mert.encode(mono, 75)], dim=-1)[0]
    assert np.allclose(song.read("vocal.0"), expected.numpy(), atol=2e-3)
    assert not np.allclose(song.read("vocal.1"), expected.numpy(), atol=2e-2)
    labels = song.labels
    assert labels.key == "A:min" and labels.beats_per_bar == 4 and labels.chords[1] == (1.5, 3.0, "F:maj/3")


def test_tokens_decode_to_the_accompaniment_of_the_codec(songs: Path, parts: TokenParts) -> None:
    arrays, _, entry = encode_song(songs / "000002", parts, EncodeConfig(variants=1))
    band = audio.read(songs / "000002" / "accompaniment.flac")
    mono = torch.from_numpy(audio.resample(audio.to_mono(band.samples), band.sample_rate, 24000))
    whole = parts.codec.encode(mono[None])[0].numpy()
    # The last frames see silence after the end; all others must be the same.
    assert (arrays["tokens"][:, :140] == whole[:, :140]).mean() > 0.99
    states = parts.mert.encode(mono, 75)
    assert np.array_equal(arrays["codes"], parts.semantic_codes.encode(states)[0].numpy())
    assert entry == {"seconds": 3.0, "n_frames": 75, "has_accompaniment": True}


def test_variants_of_the_tokens_decode_to_the_band_moved_by_part_of_a_frame(parts: TokenParts, tmp_path: Path) -> None:
    codec = Codec.from_pretrained(CONFIGS_DIR.parent / "checkpoints" / "tiny" / "codec")
    folder = write_song(tmp_path / "000000", 3, seconds=3.0)
    time_s = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    glide = 0.5 * np.sin(2 * np.pi * (100 * time_s + 150 * time_s**2))  # like itself at no other time
    audio.write(folder / "accompaniment.flac", glide[None].astype(np.float32), SAMPLE_RATE)
    config = EncodeConfig(variants=1, token_variants=7)
    arrays, _, _ = encode_song(folder, dataclasses.replace(parts, codec=codec), config)
    assert sorted(name for name in arrays if name.startswith("tokens")) == [
        "tokens",
        *(f"tokens.{v}" for v in range(1, 7)),
    ]
    heard = [
        codec.decode(torch.from_numpy(arrays[name]).long()[None])[0, 0].numpy()
        for name in sorted(arrays)
        if "tok" in name
    ]
    found = [_lag_and_likeness(heard[0], other) for other in heard[1:]]
    reach = codec.sample_rate / codec.frame_rate / 2
    assert all(abs(lag) <= reach + 1 and abs(likeness) > 0.7 for lag, likeness in found), found
    assert len({lag for lag, _ in found}) == 6 and {likeness > 0 for _, likeness in found} == {True, False}
    again, _, _ = encode_song(
        folder, dataclasses.replace(parts, codec=codec), dataclasses.replace(config, token_variants=2)
    )
    other, _, _ = encode_song(folder, dataclasses.replace(parts, codec=codec), dataclasses.replace(config, seed=1))
    assert np.array_equal(again["tokens.1"], arrays["tokens.1"]) and not np.array_equal(
        other["tokens.1"], arrays["tokens.1"]
    )
    assert np.array_equal(other["tokens"], arrays["tokens"])


def _lag_and_likeness(sound: np.ndarray, moved: np.ndarray) -> tuple[int, float]:
    """By how many samples `moved` comes later, and the correlation with `sound` there (negative: upside down)."""
    both = np.fft.irfft(np.fft.rfft(moved, 2 * len(sound)) * np.fft.rfft(sound, 2 * len(sound)).conj())
    lag = int(np.abs(both).argmax())
    likeness = both[lag] / (np.linalg.norm(sound) * np.linalg.norm(moved))
    return (lag if lag < len(sound) else lag - len(both)), float(likeness)


def test_sound_is_moved_either_way_with_silence_in_the_gap() -> None:
    sound = np.arange(1.0, 101.0, dtype=np.float32)[None]
    moves = [moved_in_phase(sound, 1000, 50.0, np.random.default_rng(seed)) for seed in range(60)]
    starts = [np.flatnonzero(np.abs(moved[0]) == 50)[0] - 49 for moved in moves]
    assert -10 <= min(starts) <= -8 and 8 <= max(starts) <= 10 and all(moved.shape == (1, 100) for moved in moves)
    for moved, start in zip(moves, starts, strict=True):
        gap = moved[0, :start] if start > 0 else moved[0, 100 + start :]
        assert not gap.any() and np.count_nonzero(moved) == 100 - abs(start)


def test_voices_alone_need_the_melody_only(songs: Path, tmp_path: Path) -> None:
    write_song(tmp_path / "s" / "solo", 9, seconds=2.0, band=False)
    manifest = tokenize(tmp_path / "s", tmp_path / "t", TokenParts(Melody()), progress=False)
    song = SongFile(song_path(tmp_path / "t", "solo"))
    assert song.names == {"vocal.0", "vocal.1", "vocal.2"} and manifest.sizes["vocal_dim"] == 54
    assert manifest.ids("train", with_accompaniment=True) == []


def test_the_command_makes_variants_of_voices_without_a_model(songs: Path, tmp_path: Path) -> None:
    arguments = [str(songs), str(tmp_path / "t"), "--melody-only", "--variants", "2", "--workers", "2"]
    assert main(["tokenize", *arguments]) == 0
    manifest = read_manifest(tmp_path / "t")
    assert list(manifest.parts) == ["melody"] and len(manifest.songs) == 4
    song = SongFile(song_path(tmp_path / "t", "000001"))
    assert song.names == {"vocal.0", "vocal.1"}
    tokenize(songs, tmp_path / "again", TokenParts(Melody()), variants=2, progress=False)
    assert song_path(tmp_path / "again", "000001").read_bytes() == song_path(tmp_path / "t", "000001").read_bytes()


def test_what_is_done_is_not_done_again_and_results_do_not_depend_on_the_run(
    songs: Path, parts: TokenParts, tmp_path: Path
) -> None:
    tokenize(songs, tmp_path / "a", parts, variants=2, progress=False)
    tokenize(songs, tmp_path / "b", parts, variants=2, progress=False)
    kept, lost = (song_path(tmp_path / "b", name) for name in ("000000", "000003"))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / "b" / ".000003.abc.part").write_bytes(b"half")
    tokenize(songs, tmp_path / "b", parts, variants=2, progress=False)
    assert kept.stat().st_mtime_ns == before
    files = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}


def test_a_killed_run_is_finished_by_the_next(parts: TokenParts, tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 6, seconds=2.0)
    bundle = save_bundle(tmp_path / "bundle")
    script = "import sys\nfrom accompany.data.tokenize import tokenize\ntokenize(*sys.argv[1:4], progress=False)\n"
    command = [sys.executable, "-c", script, str(tmp_path / "songs"), str(tmp_path / "killed"), str(bundle)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not list((tmp_path / "killed").glob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for path in (tmp_path / "killed").glob("*.safetensors"):
        assert SongFile(path).entry["n_frames"] == 50
    loaded = load_parts(bundle)
    tokenize(tmp_path / "songs", tmp_path / "killed", loaded, progress=False)
    tokenize(tmp_path / "songs", tmp_path / "whole", loaded, progress=False)
    files = {path.name: path.read_bytes() for path in (tmp_path / "killed").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}


def test_bad_songs_are_set_aside_with_their_reason(parts: TokenParts, tmp_path: Path) -> None:
    root = write_songs(tmp_path / "songs", 2, seconds=2.0)
    short = write_song(root / "short", 3, seconds=0.4)
    silent = write_song(root / "silent", 4, seconds=2.0)
    audio.write(silent / "vocals.flac", np.zeros((1, 44100), np.float32), 22050)
    apart = write_song(root / "apart", 5, seconds=2.0)
    audio.write(apart / "accompaniment.flac", np.ones((1, 30000), np.float32) * 0.1, 22050)
    text = write_song(root / "text", 6, seconds=2.0)
    (text / "vocals.flac").write_text("no music")
    broken = write_song(root / "broken", 7, seconds=2.0)
    (broken / "song.json").write_text("{")
    wrong = write_song(root / "wrong", 8, seconds=2.0, chords="all of them")
    manifest = tokenize(root, tmp_path / "tokens", parts, variants=1, progress=False)
    assert sorted(manifest.songs) == ["000000", "000001"]
    reasons = {"short": "0.40 s", "silent": "silent", "apart": "sample-aligned", "text": "as audio"}
    reasons |= {"broken": "JSON", "wrong": "wrong shape"}
    assert manifest.set_aside.keys() == reasons.keys() == {p.name for p in (short, silent, apart, text, broken, wrong)}
    for name, words in reasons.items():
        assert words in manifest.set_aside[name]


def test_another_model_or_setting_never_mixes(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    tokenize(songs, tmp_path, parts, variants=1, progress=False)
    with pytest.raises(InputError, match="other settings"):
        tokenize(songs, tmp_path, parts, variants=2, progress=False)
    with pytest.raises(InputError, match="other settings"):
        tokenize(songs, tmp_path, parts, variants=1, token_variants=2, progress=False)
    with pytest.raises(InputError, match="other parts"):
        tokenize(songs, tmp_path, TokenParts(Melody(), parts.mert), variants=1, progress=False)
    weight = next(parts.mert.model.parameters())
    with torch.no_grad():
        weight.add_(1e-3)
        try:
            with pytest.raises(InputError, match="other parts"):
                tokenize(songs, tmp_path, parts, variants=1, progress=False)
        finally:
            weight.sub_(1e-3)


def test_a_folder_from_before_a_setting_is_gone_on_with(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    tokenize(songs, tmp_path, parts, variants=1, progress=False)
    content = json.loads((tmp_path / "manifest.json").read_text())
    del content["settings"]["token_variants"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert len(tokenize(songs, tmp_path, parts, variants=1, progress=False).songs) == 4


def test_the_bleed_is_never_a_songs_own_accompaniment(tmp_path: Path) -> None:
    from accompany.data.tokenize import _other_band

    bands = [(f"{i:03d}", tmp_path / f"{i:03d}") for i in range(5)]
    for seed in range(20):
        for song_id, folder in bands:
            other = _other_band(song_id, bands, seed)
            assert other is not None and other.parent != folder
    assert _other_band("000", bands[:1], 0) is None


def test_splits_hold_by_song(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    sides = [split_of(f"{i:06d}", 0.1) for i in range(2000)]
    assert 0.07 < sides.count("val") / 2000 < 0.13
    manifest = tokenize(songs, tmp_path, parts, variants=1, val_share=0.01, progress=False)
    assert {entry.split for entry in manifest.songs.values()} == {"train", "val"}


def test_workers_give_the_same_files(songs: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle")
    tokenize(songs, tmp_path / "one", bundle, variants=2, progress=False)
    tokenize(songs, tmp_path / "two", bundle, variants=2, workers=2, progress=False)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}


def test_wrong_folders_are_named(parts: TokenParts, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for pairs, words in (("nowhere", "no folder"), ("empty", "no vocals.flac")):
        with pytest.raises(InputError, match=words):
            tokenize(tmp_path / pairs, tmp_path / "out", parts)
    write_song(tmp_path / "songs" / "a", 0, seconds=2.0)
    with pytest.raises(InputError, match="choose another"):
        tokenize(tmp_path / "songs", tmp_path / "file" / "out", parts)
    with pytest.raises(InputError, match="not a tokens folder"):
        read_manifest(tmp_path / "empty")
    (tmp_path / "empty" / "manifest.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(InputError, match="schema"):
        read_manifest(tmp_path / "empty")


def test_grids_must_fit() -> None:
    assert tokens_per_frame(75.0, 25.0) == 3
    with pytest.raises(InputError, match="whole multiple"):
        tokens_per_frame(40.0, 25.0)


def test_labels_count_beats_in_a_bar() -> None:
    beats = tuple(0.5 * i for i in range(12))
    assert Labels(beats=beats, downbeats=beats[::3]).beats_per_bar == 3
    assert Labels(beats=beats).beats_per_bar is None
