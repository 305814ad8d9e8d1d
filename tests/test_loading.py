"""Loading: crops fixed by (seed, draw), targets where the labels say, padding unknown, quick enough."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_parts import small_parts, write_song, write_songs

from accompany.data.loading import Draws, LoadingConfig, TokenDataset, train_loader, val_loader
from accompany.data.stretch import stretched
from accompany.data.targets import chord_track, control_arrays, key_target, pulse_track
from accompany.data.tokenize import tokenize
from accompany.data.tokens import Labels, SongFile, song_path
from accompany.data.tokens import write_song as write_tokens
from accompany.errors import InputError
from accompany.stages.batch import Batch
from accompany.stages.plan import CHORD_SLICE, CONTROL_DIM

CONFIG = LoadingConfig(crop_s=2.0, batch_size=4)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loading")
    write_songs(root / "songs", 4, seconds=5.0)
    write_song(root / "songs" / "short", 11, seconds=1.5)
    write_song(root / "songs" / "voice", 12, seconds=4.0, band=False)
    write_song(root / "songs" / "wild", 13, beats=[], downbeats=[], chords=[], key=None, tempo_bpm=None)
    tokenize(root / "songs", root / "tokens", small_parts(root / "clap"), val_share=0.2, progress=False)
    return root / "tokens"


def batches(tokens: Path, count: int, first: int = 0, config: LoadingConfig = CONFIG) -> list[Batch]:
    loader = iter(train_loader(TokenDataset(tokens, "train", config), first_batch=first))
    return [next(loader) for _ in range(count)]


def same(a: Batch, b: Batch) -> bool:
    mine, other = vars(a), vars(b)
    return all(mine[k] is other[k] is None or torch.equal(mine[k], other[k]) for k in mine)


def test_a_batch_has_the_shapes_of_the_contract(tokens: Path) -> None:
    batch = batches(tokens, 1)[0]
    shapes = {name: tuple(value.shape) for name, value in vars(batch).items()}
    assert shapes == {
        "vocal": (4, 50, 70), "vocal_mask": (4, 50), "text": (4, 24), "control": (4, 50, CONTROL_DIM),
        "control_mask": (4, 50, 3), "codes": (4, 2, 50), "tokens": (4, 6, 100), "beat_target": (4, 100),
        "downbeat_target": (4, 100), "chord_target": (4, 50), "key_target": (4,),
    }  # fmt: skip
    wide = batch.float()
    assert wide.need("vocal").dtype == torch.float32 and wide.need("codes").dtype == torch.int64


def test_a_draw_depends_on_seed_and_number_only(tokens: Path) -> None:
    whole = batches(tokens, 6)
    assert all(same(a, b) for a, b in zip(whole[3:], batches(tokens, 3, first=3), strict=True))
    workers = batches(tokens, 6, config=dataclasses.replace(CONFIG, workers=2))
    assert all(same(a, b) for a, b in zip(whole, workers, strict=True))
    assert not same(whole[0], batches(tokens, 1, config=dataclasses.replace(CONFIG, seed=1))[0])


def test_every_song_is_heard_in_every_epoch(tokens: Path) -> None:
    dataset = TokenDataset(tokens, "train", CONFIG)
    heard: list[str] = []
    crop = dataset._crop
    dataset._crop = lambda song_id, start, rng: heard.append(song_id) or crop(song_id, start, rng)  # type: ignore[method-assign]
    for draw in range(len(dataset)):
        dataset[draw]
    assert set(heard) == set(dataset.songs) and "voice" not in heard
    long = [name for name in dataset.songs if name.startswith("0")]
    assert all(heard.count(name) == 2 for name in long)


def test_ranks_share_a_batch_without_overlap() -> None:
    whole = next(iter(Draws(8, first_batch=5)))
    parts = [next(iter(Draws(8, first_batch=5, rank=rank, ranks=2))) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == whole and not set(parts[0]) & set(parts[1])
    with pytest.raises(InputError, match="multiple"):
        Draws(9, ranks=2)


def test_a_crop_is_a_stretch_of_its_song(tokens: Path) -> None:
    config = dataclasses.replace(CONFIG, dry_rate=1.0, audio_prompt_rate=0.0)
    batch = batches(tokens, 1, config=config)[0]
    files = [SongFile(path) for path in sorted(tokens.glob("0*.safetensors"))]
    vocal, codes, acoustic = batch.need("vocal")[0].numpy(), batch.need("codes")[0], batch.need("tokens")[0]
    starts = [
        (file, start)
        for file in files
        for start in range(file.entry["n_frames"] - 49)
        if np.array_equal(file.rows("vocal.0", start, start + 50), vocal)
        and np.array_equal(file.columns("codes", start, start + 50), codes)
        and np.array_equal(file.columns("tokens", 2 * start, 2 * start + 100), acoustic)
    ]
    if not (batch.need("vocal_mask")[0]).all():
        pytest.skip("the first crop is of the short song")
    assert starts


def test_training_draws_every_variant_of_the_tokens_and_validation_the_first(tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 2, seconds=3.0)
    parts = small_parts(tmp_path / "clap")
    tokenize(tmp_path / "songs", tmp_path / "t", parts, variants=1, token_variants=3, val_share=0.5, progress=False)
    names = ("tokens", "tokens.1", "tokens.2")
    for path in (tmp_path / "t").glob("*.safetensors"):
        song = SongFile(path)
        assert song.n_token_variants == 3
        arrays = {name: song.read(name) for name in song.names}
        # The codec of the test has random weights and hears no phase.
        arrays |= {name: (arrays["tokens"] + v) % 64 for v, name in enumerate(names)}
        write_tokens(path, arrays, song.labels, song.entry)
    drawn = {split: [0, 0, 0] for split in ("train", "val")}
    for split, counts in drawn.items():
        dataset = TokenDataset(tmp_path / "t", split, dataclasses.replace(CONFIG, crop_s=3.0))
        song = SongFile(song_path(tmp_path / "t", dataset.songs[0]))
        for draw in range(60 if split == "train" else len(dataset)):
            tokens = dataset[draw]["tokens"]
            counts[next(v for v, name in enumerate(names) if np.array_equal(song.read(name), tokens))] += 1
    assert min(drawn["train"]) > 8 and drawn["val"] == [1, 0, 0]
    whole = batches(tmp_path / "t", 6)
    assert all(same(a, b) for a, b in zip(whole[3:], batches(tmp_path / "t", 3, first=3), strict=True))


def test_padding_is_unknown(tokens: Path) -> None:
    dataset = TokenDataset(tokens, "train", CONFIG)
    if "short" not in dataset.songs:
        pytest.skip("the hash put the short song into validation")
    found = [b for b in batches(tokens, 12) if not b.need("vocal_mask").all()]
    assert found
    batch = found[0]
    item = int((~batch.need("vocal_mask")).any(dim=1).nonzero()[0, 0])
    n = 38
    assert batch.need("vocal_mask")[item].tolist() == [True] * n + [False] * (50 - n)
    for name, steps in (("codes", 1), ("tokens", 2), ("beat_target", 2), ("chord_target", 1)):
        assert (batch.need(name)[item][..., steps * n :] == -1).all()
    assert not batch.need("control_mask")[item, n:].any()


def test_targets_lie_where_the_labels_say() -> None:
    labels = Labels(
        beats=(0.0, 0.5, 1.01), downbeats=(0.5,), chords=((0.0, 0.5, "A:min7"), (0.5, 1.0, "N")), key="F:maj"
    )
    beats = pulse_track(labels.beats, 50, 25.0)
    assert np.flatnonzero(beats).tolist() == [0, 25, 50] and len(beats) == 100
    assert (pulse_track((), 5, 25.0) == -1).all()
    chords = chord_track(labels, 30, 25.0)
    assert (chords[:12] == 21).all() and (chords[13:25] == 24).all() and (chords[25:] == -1).all()
    assert key_target(labels) == 5 and key_target(Labels()) == -1
    full, mask = control_arrays(labels, 30, 25.0, triads=False)
    plain, _ = control_arrays(labels, 30, 25.0, triads=True)
    assert mask[:25].all() and full[5, CHORD_SLICE][12:24].sum() == 4 and plain[5, CHORD_SLICE][12:24].sum() == 3


def test_a_song_without_labels_leaves_its_targets_open(tokens: Path) -> None:
    for split in ("train", "val"):
        dataset = TokenDataset(tokens, split, CONFIG)
        for draw in range(len(dataset)):
            item = dataset[draw]
            if (item["chord_target"] == -1).all():
                assert (item["beat_target"] == -1).all() and int(item["key_target"]) == -1
                assert not item["control_mask"].any()
                return
    raise AssertionError("the song without labels was never drawn")


def test_the_listener_hears_voices_without_bands(tokens: Path) -> None:
    dataset = TokenDataset(tokens, "train", CONFIG, needs_band=False)
    other = TokenDataset(tokens, "val", CONFIG, needs_band=False)
    assert "voice" in dataset.songs + other.songs
    batch = next(iter(train_loader(dataset)))
    assert batch.codes is None and batch.control is None and batch.beat_target is not None


@pytest.mark.parametrize("option", ["dry_rate", "audio_prompt_rate", "triad_rate"])
def test_every_rate_changes_the_batches(option: str, tokens: Path) -> None:
    never, always = (batches(tokens, 3, config=dataclasses.replace(CONFIG, **{option: rate})) for rate in (0.0, 1.0))
    assert not all(same(a, b) for a, b in zip(never, always, strict=True))
    with pytest.raises(ValueError, match=option):
        LoadingConfig(**{option: 1.5})


def test_stretching_moves_vocal_and_targets_together(tokens: Path) -> None:
    frames = np.arange(100, dtype=np.float32)
    vocal = np.repeat(frames[:, None], 54, axis=1).astype(np.float16)
    beats = np.zeros(200, np.int64)
    beats[::20] = 1
    item = {
        "vocal": vocal, "vocal_mask": np.ones(100, bool), "beat_target": beats, "downbeat_target": beats,
        "chord_target": frames.astype(np.int64), "key_target": np.asarray(3),
    }  # fmt: skip
    fast, slow = stretched(item, 1.25), stretched(item, 0.8)
    assert fast["vocal"].shape == (80, 54) and slow["vocal"].shape == (100, 54)
    assert np.diff(np.flatnonzero(fast["beat_target"])).tolist() == [16] * 9
    assert np.diff(np.flatnonzero(slow["beat_target"])).tolist() == [25] * 7
    assert np.allclose(fast["vocal"][:, 0], fast["chord_target"], atol=1.0)
    plain = TokenDataset(tokens, "train", dataclasses.replace(CONFIG, stretch_rate=1.0), needs_band=False)
    still = TokenDataset(tokens, "train", CONFIG, needs_band=False)
    assert any(not np.array_equal(plain[i]["vocal"], still[i]["vocal"]) for i in range(3))


def test_validation_is_the_same_each_time(tokens: Path) -> None:
    dataset = TokenDataset(tokens, "val", CONFIG)
    first, second = list(val_loader(dataset, 3)), list(val_loader(dataset, 3))
    assert sum(batch.size for batch in first) == min(3, len(dataset))
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


def test_ten_batches_a_second(tokens: Path) -> None:
    loader = iter(train_loader(TokenDataset(tokens, "train", LoadingConfig(crop_s=4.0, batch_size=16))))
    next(loader)
    started = time.process_time()
    for _ in range(20):
        next(loader)
    assert 20 / (time.process_time() - started) > 10


def test_a_missing_song_is_named(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tokenize again"):
        SongFile(song_path(tmp_path, "gone"))
    (tmp_path / "broken.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="broken"):
        SongFile(tmp_path / "broken.safetensors")
