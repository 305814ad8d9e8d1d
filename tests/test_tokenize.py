"""Tokens: what is in the shards, resuming, faults, versions, and splits that keep songs together."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_parts import SAMPLE_RATE, save_bundle, small_parts, write_song, write_songs

from accompany import audio
from accompany.cli import main
from accompany.data.loading.crops import LoadingConfig, TokenDataset
from accompany.data.storage import Store
from accompany.data.tokens.encode import EncodeConfig, encode, phase_shifted, read_pair
from accompany.data.tokens.index import read_index
from accompany.data.tokens.pair_sources import Bleeds, PairSource, find_sources, split_of, splits_of
from accompany.data.tokens.parts import TokenParts, tokens_per_frame
from accompany.data.tokens.shards import Encoded, Shard, labels_of, whole
from accompany.data.tokens.store import SHARDS, Labels, open_version, read_manifest
from accompany.data.tokens.tokenize import load_parts, tokenize
from accompany.encoders.melody import Melody
from accompany.errors import InputError
from accompany.training.train import train

ONE = EncodeConfig(variants=1)
TWO = EncodeConfig(variants=2)


def rows(tokens: Path | str, columns: list[str] | None = None) -> dict[tuple[str, int], dict]:
    """All that a tokens folder holds, by (id, copy)."""
    manifest, version = open_version(tokens)
    names = columns or [*manifest.array_names(), "song", "artist", "labels", "captions", "caption_sources"]
    found = {}
    for side in ("train", "val"):
        index = read_index(version, side, with_accompaniment=False)
        for line, pair_id in enumerate(index.ids.to_pylist()):
            shard = Shard(version.below(SHARDS), manifest.shards[index.shard[line]], manifest)
            pieces = -(-int(index.n_frames[line]) // manifest.piece_frames)
            first = int(index.row_group[line])
            arrays = [name for name in names if name in manifest.array_names()]
            row = shard.read(first, [name for name in names if name not in arrays])
            row |= whole(shard, range(first, first + pieces), arrays) if arrays else {}
            found[pair_id, int(index.move[line])] = row | {"side": side}
    return found


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        a[key].keys() == b[key].keys() and all(np.array_equal(a[key][name], b[key][name]) for name in a[key])
        for key in a
    )


def files(tokens: Path) -> dict[str, bytes]:
    found = (path for path in tokens.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(tokens).as_posix(): path.read_bytes() for path in found}


def encode_song(folder: Path, parts: TokenParts, config: EncodeConfig, copy: int = 0) -> Encoded:
    source = PairSource(folder.name, folder, folder.name)
    return encode([read_pair(source, parts.input_format(), config, copy=copy)], parts)[0]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> TokenParts:
    return small_parts(tmp_path_factory.mktemp("parts") / "clap")


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_songs(tmp_path_factory.mktemp("pairs"), 4, seconds=3.0)


def test_a_pair_holds_what_the_parts_say(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    manifest = tokenize(songs, tmp_path, parts, config=TWO, progress=False)
    assert manifest == read_manifest(tmp_path) == read_manifest(tmp_path / manifest.version)
    assert manifest.sizes == {"melody_dim": 54, "vocal_dim": 70, "text_dim": 24, "tokens": 6, "token_size": 64}
    assert (manifest.code_sizes, manifest.frame_rate, manifest.tokens_per_frame) == ((16, 16), 25.0, 2)
    assert sum(each.pairs for each in manifest.counts.values()) == 4 and set(manifest.parts) == set(parts.named())
    row = rows(tmp_path)["000001", 0]
    arrays = {name: (row[name].shape, str(row[name].dtype)) for name in manifest.array_names()}
    assert arrays == {
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
    assert np.allclose(row["vocal.0"], expected.numpy(), atol=2e-3)
    assert not np.allclose(row["vocal.1"], expected.numpy(), atol=2e-2)
    labels = labels_of(row)
    assert labels.key == "A:min" and labels.beats_per_bar == 4 and labels.chords[1] == (1.5, 3.0, "F:maj/3")
    assert row["captions"] == ["a small band", "quiet organ and clicks"]
    band = audio.read(songs / "000001" / "accompaniment.flac")
    mono = torch.from_numpy(audio.resample(audio.to_mono(band.samples), band.sample_rate, 24000))
    # The last frames see silence after the end; all others must be the same.
    assert (row["tokens"][:, :140] == parts.codec.encode(mono[None])[0].numpy()[:, :140]).mean() > 0.99
    codes = parts.semantic_codes.encode(parts.mert.encode(mono, 75))[0].numpy()
    assert row["codes"].shape == codes.shape and (row["codes"] == codes).mean() > 0.99


def test_without_a_codec_bands_have_semantic_codes_alone(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    whole = tokenize(songs, tmp_path / "whole", parts, config=TWO, progress=False)
    alone = tokenize(songs, tmp_path / "alone", dataclasses.replace(parts, codec=None), config=TWO, progress=False)
    assert whole.has_tokens and not alone.has_tokens
    row, other = rows(tmp_path / "alone")["000001", 0], rows(tmp_path / "whole")["000001", 0]
    assert set(whole.array_names()) - set(alone.array_names()) == {"tokens"}
    assert all((row[name] == other[name]).all() for name in alone.array_names())
    item = TokenDataset(tmp_path / "alone", "train", LoadingConfig(crop_s=1.0))[0]
    assert item["codes"].shape == (2, 25) and "tokens" not in item
    with pytest.raises(InputError, match="holds no codec tokens"):
        train("acoustic", overrides=[f"tokens={tmp_path / 'alone'}", f"run_dir={tmp_path / 'run'}"])


def test_captions_keep_their_sources(parts: TokenParts, tmp_path: Path) -> None:
    sources = {"caption_sources": ["sidecar", "clap"]}
    write_song(tmp_path / "s" / "a", 0, seconds=2.0, **sources)
    write_song(tmp_path / "s" / "b", 1, seconds=2.0, caption_source="tags")
    tokenize(tmp_path / "s", tmp_path / "t", TokenParts(Melody()), config=ONE, progress=False)
    found = rows(tmp_path / "t", ["caption_sources"])
    assert found["a", 0]["caption_sources"] == ["sidecar", "clap"]
    assert found["b", 0]["caption_sources"] == ["tags", "tags"]


def test_pairs_together_are_what_they_are_alone(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    config = EncodeConfig(variants=2, token_variants=2)
    write_song(tmp_path / "longer", 5, seconds=4.0)
    folders = [songs / "000000", tmp_path / "longer", songs / "000002"]
    sounds = [read_pair(PairSource(f.name, f, f.name), parts.input_format(), config) for f in folders]
    for folder, pair in zip(folders, encode(sounds, parts), strict=True):
        alone = encode_song(folder, parts, config)
        assert (pair.id, pair.n_frames, pair.labels) == (alone.id, alone.n_frames, alone.labels)
        for name, array in alone.arrays.items():
            together = pair.arrays[name]
            assert together.shape == array.shape and together.dtype == array.dtype
            if array.dtype == np.float16:
                assert np.allclose(together, array, atol=4e-3), name
            else:
                assert (together == array).mean() > 0.99, name


def test_augmented_copies_change_both_stems_and_the_labels(parts: TokenParts, tmp_path: Path) -> None:
    folder = write_song(tmp_path / "000000", 3, seconds=4.0)
    config = EncodeConfig(variants=1, moves=6)
    still = read_pair(PairSource("000000", folder, "000000"), parts.input_format(), config)
    augmented = [
        read_pair(PairSource("000000", folder, "000000"), parts.input_format(), config, copy=copy)
        for copy in range(1, 7)
    ]
    assert len({pair.seconds for pair in augmented}) == 6
    for pair in augmented:
        speed = still.seconds / pair.seconds
        steps = round(12 * np.log2(speed))
        assert 1 <= abs(steps) <= 3 and speed == pytest.approx(2 ** (steps / 12), rel=1e-3)
        for name in ("vocals", "band_mert"):
            high, low = (_loudest_hz(getattr(each, name)[0]) for each in (pair, still))
            assert high / low == pytest.approx(speed, rel=0.02), name
        assert pair.labels.tempo_bpm == pytest.approx(120 * speed, rel=1e-3)
        assert pair.labels.beats[2] == pytest.approx(1.0 / speed, rel=1e-3)
        tonic = "A Bb B C".split()[steps] if steps > 0 else "A Ab G F#".split()[-steps]
        assert pair.labels.key == f"{tonic}:min" and pair.labels.chords[0][2] == f"{tonic}:min7"
        assert pair.n_frames == audio.frame_count(pair.vocals.shape[-1], 24000, 25.0)
    tokenize(tmp_path, tmp_path / "t", parts, config=EncodeConfig(variants=1, moves=2), progress=False)
    manifest, version = open_version(tmp_path / "t")
    assert manifest.counts["train"].pairs == 1
    assert read_index(version, "train", with_accompaniment=True).move.tolist() == [0, 1, 2]


def _loudest_hz(sound: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * 24000 / len(sound))


class PcmCodec(torch.nn.Linear):
    """Codes that are the samples themselves, 8 bits each, 480 streams at 50 Hz."""

    sample_rate, channels, hop, frame_rate, chunk_codes, n_codebooks, codebook_size = 24_000, 1, 480, 50.0, 1, 480, 256

    def __init__(self) -> None:
        super().__init__(1, 1)  # tells the device

    def encode(self, sound: torch.Tensor) -> torch.Tensor:
        blocks = torch.nn.functional.pad(sound[:, 0], (0, -sound.shape[-1] % self.hop)).unflatten(-1, (-1, self.hop))
        return ((blocks + 1) * 127.5).round().clamp(0, 255).long().mT

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return (codes.mT.flatten(1) / 127.5 - 1)[:, None]


def test_token_variants_decode_to_the_band_shifted_by_part_of_a_frame(parts: TokenParts, tmp_path: Path) -> None:
    codec: Any = PcmCodec()
    folder = write_song(tmp_path / "000000", 3, seconds=3.0)
    time_s = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    glide = 0.5 * np.sin(2 * np.pi * (100 * time_s + 150 * time_s**2))  # like itself at no other time
    audio.write(folder / "accompaniment.flac", glide[None].astype(np.float32), SAMPLE_RATE)
    config = EncodeConfig(variants=1, token_variants=7)
    parts = dataclasses.replace(parts, codec=codec)
    arrays = encode_song(folder, parts, config).arrays
    assert sorted(name for name in arrays if name.startswith("tokens")) == [
        "tokens",
        *(f"tokens.{v}" for v in range(1, 7)),
    ]
    sounds = [
        codec.decode(torch.from_numpy(arrays[name]).long()[None])[0, 0].numpy()
        for name in sorted(arrays)
        if "tok" in name
    ]
    found = [_lag_and_likeness(sounds[0], other) for other in sounds[1:]]
    reach = codec.sample_rate / codec.frame_rate / 2
    assert all(abs(lag) <= reach + 1 and abs(likeness) > 0.7 for lag, likeness in found), found
    assert len({lag for lag, _ in found}) == 6 and {likeness > 0 for _, likeness in found} == {True, False}
    again = encode_song(folder, parts, dataclasses.replace(config, token_variants=2)).arrays
    other = encode_song(folder, parts, dataclasses.replace(config, seed=1)).arrays
    assert np.array_equal(again["tokens.1"], arrays["tokens.1"])
    assert not np.array_equal(other["tokens.1"], arrays["tokens.1"])
    assert np.array_equal(other["tokens"], arrays["tokens"])


def _lag_and_likeness(sound: np.ndarray, shifted: np.ndarray) -> tuple[int, float]:
    """By how many samples `shifted` comes later, and the correlation with `sound` there (negative: upside down)."""
    both = np.fft.irfft(np.fft.rfft(shifted, 2 * len(sound)) * np.fft.rfft(sound, 2 * len(sound)).conj())
    lag = int(np.abs(both).argmax())
    likeness = both[lag] / (np.linalg.norm(sound) * np.linalg.norm(shifted))
    return (lag if lag < len(sound) else lag - len(both)), float(likeness)


def test_sound_is_shifted_either_way_with_silence_in_the_gap() -> None:
    sound = np.arange(1.0, 101.0, dtype=np.float32)[None]
    shifts = [phase_shifted(sound, 1000, 50.0, np.random.default_rng(seed)) for seed in range(60)]
    starts = [np.flatnonzero(np.abs(shifted[0]) == 50)[0] - 49 for shifted in shifts]
    assert -10 <= min(starts) <= -8 and 8 <= max(starts) <= 10 and all(shifted.shape == (1, 100) for shifted in shifts)
    for shifted, start in zip(shifts, starts, strict=True):
        gap = shifted[0, :start] if start > 0 else shifted[0, 100 + start :]
        assert not gap.any() and np.count_nonzero(shifted) == 100 - abs(start)


def test_voices_alone_need_the_melody_only(tmp_path: Path) -> None:
    write_song(tmp_path / "s" / "solo", 9, seconds=2.0, band=False)
    manifest = tokenize(tmp_path / "s", tmp_path / "t", TokenParts(Melody()), progress=False)
    row = rows(tmp_path / "t")["solo", 0]
    assert {name for name in row if name.startswith("vocal")} == {"vocal.0", "vocal.1", "vocal.2"}
    assert manifest.sizes["vocal_dim"] == 54 and "tokens" not in row
    assert len(read_index(open_version(tmp_path / "t")[1], "train", with_accompaniment=True).move) == 0


def test_a_voice_among_bands_has_nothing_in_the_columns_of_the_band(parts: TokenParts, tmp_path: Path) -> None:
    write_song(tmp_path / "s" / "band", 8, seconds=2.0)
    write_song(tmp_path / "s" / "solo", 9, seconds=2.0, band=False)
    tokenize(tmp_path / "s", tmp_path / "t", parts, config=ONE, progress=False)
    found = rows(tmp_path / "t")
    assert not {"tokens", "codes", "audio_clap"} & found["solo", 0].keys() and "text" in found["solo", 0]
    assert "tokens" in found["band", 0]


def test_the_command_makes_what_its_options_say(songs: Path, tmp_path: Path) -> None:
    arguments = [str(songs), str(tmp_path / "t"), "--melody-only", "--variants", "2"]
    assert main(["tokenize", *arguments, "--moves", "1", "--seed", "3", "--val-share", "0.5", "--batch", "3"]) == 0
    config = EncodeConfig(variants=2, moves=1, seed=3)
    here = tokenize(
        songs, tmp_path / "again", TokenParts(Melody()), config=config, val_share=0.5, batch=3, progress=False
    )
    assert list(here.parts) == ["melody"] and here.settings["moves"] == 1 and here.pairs == 4
    assert files(tmp_path / "again") == files(tmp_path / "t")
    for wrong in (["--moves", "7"], ["--val-share", "2"], ["--batch", "0"], ["--device", "abacus"]):
        assert main(["tokenize", *arguments, *wrong]) == 2


def test_a_long_pair_is_cut_into_pieces(tmp_path: Path) -> None:
    write_song(tmp_path / "s" / "long", 0, seconds=70.0, band=False)
    manifest = tokenize(tmp_path / "s", tmp_path / "t", TokenParts(Melody()), config=ONE, progress=False)
    alone = encode_song(tmp_path / "s" / "long", TokenParts(Melody()), ONE)
    assert np.allclose(rows(tmp_path / "t")["long", 0]["vocal.0"], alone.arrays["vocal.0"], atol=4e-3)
    shard = Shard(open_version(tmp_path / "t")[1].below(SHARDS), manifest.shards[0], manifest)
    assert shard.light()["piece"] == [0, 1] and len(shard.read(1, ["vocal.0"])["vocal.0"]) == 250


def test_what_is_done_is_not_done_again(songs: Path, parts: TokenParts, tmp_path: Path, caplog: object) -> None:
    options = {"config": TWO, "batch": 1, "shard_pairs": 2, "progress": False}
    first = tokenize(songs, tmp_path / "a", parts, **options)
    whole_run = files(tmp_path / "a")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("shards/*")}
    lost = tmp_path / "a" / first.version / SHARDS / first.shards[1]
    (tmp_path / "a" / first.version / "shards" / ".x.abc.part").write_bytes(b"half")
    lost.unlink()
    with caplog.at_level("INFO", "accompany"):  # type: ignore[attr-defined]
        tokenize(songs, tmp_path / "a", parts, **options)
    assert "4 pairs, 2 of them done before" in caplog.text  # type: ignore[attr-defined]
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in times.items() if path != lost)
    assert files(tmp_path / "a") == whole_run and not list((tmp_path / "a").rglob("*.part"))


def test_pairs_that_come_later_join(parts: TokenParts, tmp_path: Path) -> None:
    write_songs(tmp_path / "s", 3, seconds=2.0)
    options = {"config": ONE, "batch": 2, "shard_pairs": 2, "progress": False}
    before = tokenize(tmp_path / "s", tmp_path / "t", parts, **options)
    write_song(tmp_path / "s" / "000000a", 7, seconds=2.0)
    after = tokenize(tmp_path / "s", tmp_path / "t", parts, **options)
    assert after.version == before.version and set(before.shards) < set(after.shards)
    assert sorted(rows(tmp_path / "t")) == [("000000", 0), ("000000a", 0), ("000001", 0), ("000002", 0)]


def _noted_run(root: Path) -> None:
    """Tokenize root/songs, slowly, and note each pair that is begun."""
    from accompany.data.tokens import tokenize as command

    read = command.read_pair

    def noted(source: PairSource, *arguments: object, **options: object) -> object:
        with (root / "journal").open("a") as stream:
            stream.write(source.id + "\n")
        time.sleep(0.05)
        return read(source, *arguments, **options)

    command.read_pair = noted  # type: ignore[assignment]
    command.tokenize(root / "songs", root / "killed", TokenParts(Melody()), **SMALL)


SMALL: dict = {"variants": 2, "batch": 2, "shard_pairs": 6, "progress": False}


def test_ten_kills_at_random_leave_what_an_undisturbed_run_leaves(tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 30, seconds=1.2)
    write_song(tmp_path / "songs" / "000007a", 3, seconds=0.4)
    rng, kills = np.random.default_rng(5), 0
    # Forked, so that each has its modules at once.
    fork = multiprocessing.get_context("fork")
    while kills < 10:
        process = fork.Process(target=_noted_run, args=(tmp_path,))
        began = _lines(tmp_path / "journal")
        process.start()
        deadline = time.monotonic() + 60
        while _lines(tmp_path / "journal") == began and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.join(rng.uniform(0, 0.4))
        if not process.is_alive():
            break
        kills += 1
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert kills >= 3
    manifest = tokenize(tmp_path / "songs", tmp_path / "killed", None, **SMALL)
    assert manifest.pairs == 30 and list(manifest.set_aside) == ["000007a"]
    tokenize(tmp_path / "songs", tmp_path / "whole", None, **SMALL)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    sounds = (tmp_path / "journal").read_text().split()
    # A kill costs at most the batch that was under way; the bad pair is tried again.
    assert len([name for name in sounds if name != "000007a"]) <= 30 + 2 * kills


def _lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_bad_pairs_are_skipped_with_their_reason_and_tried_again(parts: TokenParts, tmp_path: Path) -> None:
    root = write_songs(tmp_path / "songs", 2, seconds=2.0)
    write_song(root / "short", 3, seconds=0.4)
    silent = write_song(root / "silent", 4, seconds=2.0)
    audio.write(silent / "vocals.flac", np.zeros((1, 44100), np.float32), 22050)
    apart = write_song(root / "apart", 5, seconds=2.0)
    audio.write(apart / "accompaniment.flac", np.ones((1, 30000), np.float32) * 0.1, 22050)
    text = write_song(root / "text", 6, seconds=2.0)
    (text / "vocals.flac").write_text("no music")
    broken = write_song(root / "broken", 7, seconds=2.0)
    (broken / "song.json").write_text("{")
    write_song(root / "wrong", 8, seconds=2.0, chords="all of them")
    options = {"config": ONE, "batch": 3, "shard_pairs": 4, "progress": False}
    manifest = tokenize(root, tmp_path / "tokens", parts, **options)
    reasons = {"short": "0.40 s", "silent": "silent", "apart": "sample-aligned", "text": "as audio"}
    reasons |= {"broken": "JSON", "wrong": "wrong shape"}
    assert manifest.set_aside.keys() == reasons.keys() and sorted(rows(tmp_path / "tokens")) == [
        ("000000", 0), ("000001", 0)
    ]  # fmt: skip
    for name, words in reasons.items():
        assert words in manifest.set_aside[name]
    before = files(tmp_path / "tokens")
    assert tokenize(root, tmp_path / "tokens", parts, **options) == manifest and files(tmp_path / "tokens") == before
    (broken / "song.json").write_text("{}")
    mended = tokenize(root, tmp_path / "tokens", parts, **options)
    assert ("broken", 0) in rows(tmp_path / "tokens") and mended.set_aside.keys() == reasons.keys() - {"broken"}


def test_another_model_or_setting_makes_another_version(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    changed = [
        {"config": ONE},
        {"config": TWO},
        {"config": EncodeConfig(variants=1, token_variants=2)},
        {"config": EncodeConfig(variants=1, moves=1)},
        {"config": EncodeConfig(variants=1, seed=1)},
        {"config": ONE, "val_share": 0.5},
    ]
    made = [tokenize(songs, tmp_path, parts, progress=False, **options) for options in changed]
    made.append(tokenize(songs, tmp_path, TokenParts(Melody(), parts.mert), config=ONE, progress=False))
    weight = next(parts.mert.model.parameters())
    with torch.no_grad():
        weight.add_(1e-3)
        made.append(tokenize(songs, tmp_path, parts, config=ONE, progress=False))
        weight.sub_(1e-3)
    assert len({manifest.version for manifest in made}) == len(made)
    assert read_manifest(tmp_path) == made[-1]
    for manifest in made:
        assert read_manifest(tmp_path / manifest.version) == manifest
        found = rows(tmp_path / manifest.version)
        assert {move for _, move in found} >= set(range(manifest.settings["moves"] + 1)) and len(found) >= 4
        assert {f"vocal.{v}" in found["000000", 0] for v in range(manifest.settings["variants"])} == {True}
    again = tokenize(songs, tmp_path, parts, progress=False, config=ONE)
    assert again == made[0] == read_manifest(tmp_path)


def test_a_full_disk_ends_with_a_sentence_and_keeps_what_is_done(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, written = Path.write_bytes, []

    def fill(path: Path, content: bytes) -> int:
        if path.parent.name == "work" and len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.extend([path] if path.parent.name == "work" else [])
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    arguments = ["tokenize", str(songs), str(tmp_path), "--melody-only", "--batch", "1"]
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "disk is full" in said and "stays good" in said
    monkeypatch.undo()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("work/*.parquet")}
    assert len(times) == 2
    assert main(arguments) == 0
    assert "4 pairs, 2 of them done before" in capsys.readouterr().err


def test_only_one_run_at_a_time(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    from accompany.common.processes import folder_lock

    with folder_lock(tmp_path, "a test"), pytest.raises(InputError, match="Another run"):
        tokenize(songs, tmp_path, parts, progress=False)


def test_tokens_lie_wherever_fsspec_reaches(songs: Path, parts: TokenParts, tmp_path: Path) -> None:
    options = {"config": TWO, "batch": 2, "shard_pairs": 3, "progress": False}
    there = tokenize(songs, "memory://tokens", parts, **options)
    here = tokenize(songs, tmp_path, parts, **options)
    assert there == here and same(rows("memory://tokens"), rows(tmp_path))
    Store.at("memory://tokens").below(there.version).below(SHARDS).delete(there.shards[0])
    assert tokenize(songs, "memory://tokens", parts, **options) == here
    assert same(rows("memory://tokens"), rows(tmp_path))
    with pytest.raises(InputError, match="no place to write"):
        Store.at("carrier-pigeon://tokens")


def test_the_bleed_is_of_another_song_on_the_same_side(tmp_path: Path) -> None:
    # Ten songs of three pairs each.
    sources = [PairSource(f"{i:03d}", tmp_path / f"{i:03d}", f"song{i // 3}") for i in range(30)]
    splits = splits_of([(source.song, None) for source in sources], 0.4)
    for seed in range(20):
        bleeds = Bleeds(sources, splits, seed)
        for source in sources:
            other = bleeds.of(source)
            assert other is not None
            assert other.song != source.song and splits[other.song] == splits[source.song]
    assert Bleeds(sources[:3], splits, 0).of(sources[0]) is None


def test_splits_hold_by_song_and_artist(parts: TokenParts, tmp_path: Path) -> None:
    chosen = [split_of(f"{i:06d}", 0.1) for i in range(2000)]
    assert 0.07 < chosen.count("val") / 2000 < 0.13
    known = [(f"song{i}", f"Artist {i % 20}" if i % 3 else None) for i in range(300)]
    splits = splits_of(known, 0.3)
    for artist in {artist for _, artist in known if artist}:
        assert len({splits[song] for song, its in known if its == artist}) == 1
    assert splits == splits_of(reversed(known), 0.3) and set(splits.values()) == {"train", "val"}
    # A pair that lacks the artist follows the other pairs of its song.
    assert splits_of([("a", None), ("a", "X"), ("b", "x")], 0.5)["a"] == splits_of([("b", "X")], 0.5)["b"]
    for song in range(3):
        for piece in range(2):
            artist = {"artist": "One" if song < 2 else "Two"}
            write_song(tmp_path / "s" / f"{song}" / f"{piece}", song, seconds=1.5, song=f"{song}", **artist)
    tokenize(tmp_path / "s", tmp_path / "t", TokenParts(Melody()), config=ONE, val_share=0.3, progress=False)
    found = rows(tmp_path / "t", ["song", "artist"])
    assert {row["side"] for row in found.values()} == {"train", "val"} and len(found) == 6
    assert len({row["side"] for row in found.values() if row["artist"] == "One"}) == 1


def test_hidden_folders_are_no_pairs(tmp_path: Path) -> None:
    write_song(tmp_path / "a" / "0", 0, seconds=1.5)
    write_song(tmp_path / ".b.part" / "0", 0, seconds=1.5)
    assert [source.id for source in find_sources(tmp_path)] == ["a/0"]


def test_names_in_any_script_and_none(tmp_path: Path) -> None:
    names = ["песня/ひとつ", "with space'\""]
    for seed, name in enumerate(names):
        half = {"song": f"half\ud800 {seed}", "artist": "\udfff", "captions": ["a \ud83d caption", "naïve"]}
        write_song(tmp_path / "s" / name, seed, seconds=1.5, **half)
    # No UTF-8.
    write_song(tmp_path / "s" / "latin", 2, seconds=1.5).rename(tmp_path / "s" / os.fsdecode(b"latin-\xe9"))
    options = {"variants": 1, "val_share": 0.0, "progress": False}
    manifest = tokenize(tmp_path / "s", tmp_path / "t", TokenParts(Melody()), **options)
    found = rows(tmp_path / "t", ["captions", "labels"])
    assert {name for name, _ in found} == {*names, "latin-\\xe9"}
    for name in names:
        row = found[name, 0]
        assert row["captions"][1] == "naïve" and labels_of(row).captions[1] == "naïve"
    assert not manifest.set_aside
    assert read_manifest(tmp_path / "t") == manifest


def test_workers_give_the_same_files(songs: Path, tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "bundle")
    tokenize(songs, tmp_path / "one", bundle, config=TWO, batch=2, progress=False)
    options = ["--model", str(bundle), "--variants", "2", "--batch", "2", "--workers", "2"]
    assert main(["tokenize", str(songs), str(tmp_path / "two"), *options]) == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(load_parts(bundle).named()) == 5


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
    write_song(tmp_path / "bad" / "a", 0, seconds=0.3)
    with pytest.raises(InputError, match="No pair could be used"):
        tokenize(tmp_path / "bad", tmp_path / "none", parts, progress=False)


def test_grids_must_fit() -> None:
    assert tokens_per_frame(75.0, 25.0) == 3
    with pytest.raises(InputError, match="whole multiple"):
        tokens_per_frame(40.0, 25.0)


def test_labels_count_beats_in_a_bar() -> None:
    beats = tuple(0.5 * i for i in range(12))
    assert Labels(beats=beats, downbeats=beats[::3]).beats_per_bar == 3
    assert Labels(beats=beats).beats_per_bar is None
