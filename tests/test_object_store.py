"""Pairs and tokens in an object store: a local server that speaks S3, reached through s3fs as any other would be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_server import in_bucket, s3_server
from small_parts import write_noise

from accompany import audio
from accompany.cli import main
from accompany.data.loading.crops import LoadingConfig, TokenDataset
from accompany.data.prepare.measures import PairLimits
from accompany.data.prepare.pair_making import PrepareConfig
from accompany.data.prepare.prepare import prepare
from accompany.data.storage import Store
from accompany.data.tokens.tokenize import tokenize
from accompany.errors import InputError

RATE = 8000
ALL = PairLimits(
    segment_s=2.0, min_s=0.5, min_level_db=-90, min_band_db=-90, min_vocals_db=-200, min_voiced_share=0, max_likeness=2
)
CONFIG = PrepareConfig(stems=True, limits=ALL, clap="none")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as files:
        yield files


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    for number in range(3):
        for stem in ("vocals", "accompaniment"):
            write_noise(folder / f"{number}" / f"{stem}.flac", 4.0, RATE)
    return folder


def here(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def without_times(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.startswith("report.")}


def test_pairs_in_a_bucket_are_those_of_a_folder(s3: Any, songs: Path, tmp_path: Path) -> None:
    assert main(["prepare", str(songs), "s3://bucket/cli", "--stems", "--segment", "2", "--clap", "none"]) == 0
    assert len(in_bucket(s3, "cli")) > 3
    report = prepare(songs, "s3://bucket/pairs", CONFIG, progress=False)
    local = prepare(songs, tmp_path / "pairs", CONFIG, progress=False)
    assert report == local and report.pairs == 6
    there = in_bucket(s3, "pairs")
    assert without_times(there) == without_times(here(tmp_path / "pairs"))
    assert b"<svg" in there["report.html"] and "report.json" in there
    # A run that was killed left a song without its record: it is made again, the others are not.
    s3.rm_file("bucket/pairs/1/prepared.json")
    s3.pipe_file("bucket/pairs/1/00009000/vocals.flac", b"of a song that was longer")
    again = prepare(songs, "s3://bucket/pairs", CONFIG, progress=False)
    assert again == report and {**again.run, "songs_s": 0} != {**report.run, "songs_s": 0}
    changed = without_times(in_bucket(s3, "pairs"))
    known = {name for name, content in without_times(there).items() if changed.get(name) == content}
    assert changed.keys() == without_times(there).keys()
    assert changed.keys() - known == {"prepare.json", "1/prepared.json"}, "only the number of the run has changed"
    with pytest.raises(InputError, match="made with other limits; choose a new folder"):
        prepare(songs, "s3://bucket/pairs", PrepareConfig(stems=True, clap="none"), progress=False)


def test_repeats_are_taken_out_of_a_bucket(s3: Any, songs: Path, tmp_path: Path) -> None:
    for name, of in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / name).mkdir()
        for file in (songs / of).iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    report = prepare(tmp_path, "s3://bucket/repeats", CONFIG, progress=False)
    assert report.pairs == 4 and report.dropped["near-duplicate"]["windows"] == 2
    there = in_bucket(s3, "repeats")
    assert {name.split("/")[0] for name in there if name.endswith("vocals.flac")} == {"a", "b"}


def test_tokens_of_a_bucket_in_a_bucket(s3: Any, songs: Path, tmp_path: Path) -> None:
    prepare(songs, "s3://bucket/for_tokens", CONFIG, progress=False)
    prepare(songs, tmp_path / "pairs", CONFIG, progress=False)
    s3.rm_file("bucket/for_tokens/0/00000000/song.json")  # a pair that was half sent
    options: dict[str, Any] = {"batch": 2, "shard_pairs": 2, "variants": 2, "val_share": 0.4, "progress": False}
    there = tokenize("s3://bucket/for_tokens", "s3://bucket/tokens", None, **options)
    (tmp_path / "pairs" / "0" / "00000000" / "vocals.flac").unlink()
    local = tokenize(tmp_path / "pairs", tmp_path / "tokens", None, **options)
    assert there == local and there.pairs == 5
    assert in_bucket(s3, "tokens") == here(tmp_path / "tokens")
    loading = LoadingConfig(crop_s=1.0, batch_size=2)
    items = [
        TokenDataset(place, "train", loading, needs_band=False)[0]
        for place in ("s3://bucket/tokens", tmp_path / "tokens")
    ]
    assert np.array_equal(items[0]["vocal"], items[1]["vocal"])


def test_a_bad_pair_of_a_bucket_is_named_by_its_place(s3: Any, songs: Path) -> None:
    prepare(songs, "s3://bucket/bad", CONFIG, progress=False)
    s3.pipe_file("bucket/bad/0/00000000/vocals.flac", b"no sound")
    made = tokenize("s3://bucket/bad", "s3://bucket/bad_tokens", None, variants=1, progress=False)
    assert made.pairs == 5 and "s3://bucket/bad/0/00000000/vocals.flac" in made.set_aside["0/00000000"]


def test_a_missing_place_is_one_sentence(
    s3: Any, songs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(songs), "s3://nowhere/pairs", "--stems", "--clap", "none"]) == 2
    assert "s3://nowhere/pairs" in capsys.readouterr().err
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(type(s3), "retries", 1)
    s3.clear_instance_cache()
    with pytest.raises(InputError, match=r"Cannot reach s3://bucket/pairs .*; check address and credentials"):
        prepare(songs, "s3://bucket/pairs", CONFIG, progress=False)
    s3.clear_instance_cache()


def test_a_store_gives_copies(s3: Any, tmp_path: Path) -> None:
    audio.write(tmp_path / "a.wav", np.zeros((1, 100), np.float32), 8000)
    store = Store.at("s3://bucket/copies")
    store.write("a.wav", (tmp_path / "a.wav").read_bytes())
    with store.local_copies(["a.wav", "missing.wav"]) as folder:
        assert [path.name for path in folder.iterdir()] == ["a.wav"] and audio.info(folder / "a.wav").n_samples == 100
    assert not folder.exists()
    with Store(str(tmp_path)).local_copies(["a.wav"]) as folder:
        assert folder == tmp_path
