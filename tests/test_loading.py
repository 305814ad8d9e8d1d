"""Loading: crops fixed by (seed, draw), targets where the labels say, padding unknown, quick enough."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_parts import small_parts, write_song, write_songs

from accompany import audio
from accompany.data.loading import targets
from accompany.data.loading.crops import LoadingConfig, TokenDataset, train_loader, val_loader
from accompany.data.loading.order import Draws, EndlessLoader, Order
from accompany.data.loading.stretch import stretched
from accompany.data.loading.targets import chord_track, control_arrays, key_target, pulse_track, thinned
from accompany.data.tokens.encode import EncodeConfig
from accompany.data.tokens.index import read_index
from accompany.data.tokens.parts import TokenParts
from accompany.data.tokens.shards import Shard, ShardWriter, whole
from accompany.data.tokens.store import SHARDS, Labels, open_version
from accompany.data.tokens.tokenize import tokenize
from accompany.encoders.melody import Melody
from accompany.errors import InputError
from accompany.music.instrumentation import DIM, FAMILIES, Instrumentation
from accompany.music.plan import CHORD_SLICE, CONTROL_DIM
from accompany.stages.batch import Batch
from accompany.stages.conditions import STEM_TAGS

CONFIG = LoadingConfig(crop_s=2.0, batch_size=4)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loading")
    write_songs(root / "songs", 4, seconds=5.0)
    write_song(root / "songs" / "short", 11, seconds=1.5)
    write_song(root / "songs" / "voice", 12, seconds=4.0, band=False)
    write_song(root / "songs" / "wild", 13, beats=[], downbeats=[], chords=[], key=None, tempo_bpm=None)
    config = EncodeConfig(variants=3, moves=1)
    parts = small_parts(root / "clap")
    tokenize(root / "songs", root / "tokens", parts, config=config, val_share=0.2, shard_pairs=2, progress=False)
    return root / "tokens"


def stored(tokens: Path, pair_id: str, move: int = 0) -> dict[str, np.ndarray]:
    """A pair's arrays."""
    manifest, version = open_version(tokens)
    for side in ("train", "val"):
        index = read_index(version, side, with_accompaniment=False)
        for line, found in enumerate(index.ids.to_pylist()):
            if (found, int(index.move[line])) == (pair_id, move):
                shard = Shard(version.below(SHARDS), manifest.shards[index.shard[line]], manifest)
                return whole(shard, [int(index.row_group[line])], manifest.array_names())
    raise KeyError(pair_id)


def pairs_of(dataset: TokenDataset) -> list[str]:
    return [dataset.index.ids[int(line)].as_py() for line in dataset.pairs]


def batches(tokens: Path, count: int, first: int = 0, config: LoadingConfig = CONFIG) -> list[Batch]:
    loader = iter(train_loader(TokenDataset(tokens, "train", config), first_batch=first))
    return [next(loader) for _ in range(count)]


def same(a: Batch, b: Batch) -> bool:
    mine, other = vars(a), vars(b)
    return all(mine[k] is other[k] is None or torch.equal(mine[k], other[k]) for k in mine)


def test_a_batch_has_the_shapes_of_the_contract(tokens: Path) -> None:
    batch = batches(tokens, 1)[0]
    shapes = {name: tuple(value.shape) for name, value in vars(batch).items() if value is not None}
    assert shapes == {
        "vocal": (4, 50, 70), "vocal_mask": (4, 50), "text": (4, 24), "control": (4, 50, CONTROL_DIM),
        "control_mask": (4, 50, 3), "codes": (4, 2, 50), "tokens": (4, 6, 100), "beat_target": (4, 100),
        "downbeat_target": (4, 100), "chord_target": (4, 50), "key_target": (4,), "instruments": (4, DIM),
    }  # fmt: skip
    wide = batch.float()
    assert wide.need("vocal").dtype == torch.float32 and wide.need("codes").dtype == torch.int64


def test_a_draw_depends_on_seed_and_number_only(tokens: Path) -> None:
    whole = batches(tokens, 6)
    assert all(same(a, b) for a, b in zip(whole[3:], batches(tokens, 3, first=3), strict=True))
    workers = batches(tokens, 6, config=dataclasses.replace(CONFIG, workers=2))
    assert all(same(a, b) for a, b in zip(whole, workers, strict=True))
    assert not same(whole[0], batches(tokens, 1, config=dataclasses.replace(CONFIG, seed=1))[0])


def test_every_crop_is_drawn_once_in_every_epoch(tokens: Path) -> None:
    dataset = TokenDataset(tokens, "train", CONFIG)
    for epoch in range(3):
        draws = range(epoch * len(dataset), (epoch + 1) * len(dataset))
        assert sorted(dataset._order.crop_of(draw) for draw in draws) == list(range(len(dataset)))
    names = pairs_of(dataset)
    assert "voice" not in names
    crops = [names[pair] for pair in dataset._pair_of_crop]
    assert all(crops.count(name) == 2 for name in names if name.startswith("0"))


def test_shards_are_mixed_some_at_a_time() -> None:
    shards = np.repeat(np.arange(40), 25)
    order = Order(shards, seed=3, at_once=4)
    epochs = [[order.crop_of(epoch * 1000 + place) for place in range(1000)] for epoch in range(2)]
    for crops in epochs:
        assert sorted(crops) == list(range(1000))
        turns = shards[crops].reshape(10, 100)
        assert all(len(set(turn)) == 4 for turn in turns) and len(set(turns[0][:20])) == 4
    assert epochs[0] != epochs[1] and epochs[0] != [Order(shards, 4, 4).crop_of(place) for place in range(1000)]
    mixed = [Order(shards, 3, 40).crop_of(place) for place in range(100)]
    assert len(set(shards[mixed])) > 30


def test_ranks_share_a_batch_without_overlap() -> None:
    whole = next(iter(Draws(8, first_batch=5)))
    parts = [next(iter(Draws(8, first_batch=5, rank=rank, ranks=2))) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == whole and not set(parts[0]) & set(parts[1])
    with pytest.raises(InputError, match="multiple"):
        Draws(9, ranks=2)


class SlowNumbers(torch.utils.data.Dataset[int]):
    def __getitem__(self, draw: int) -> int:
        time.sleep(0.03)
        return draw


def test_waiting_is_for_the_batch_alone() -> None:
    loader = EndlessLoader(SlowNumbers(), Draws(2))
    batches = iter(loader)
    for _ in range(3):
        next(batches)
        assert 0.06 <= loader.latest_wait_s < 1.0
        time.sleep(1.0)
    assert loader.state_dict() == {"draw": 6}


def test_ranks_and_their_workers_see_every_crop_once(tokens: Path) -> None:
    seen: list[int] = []
    config = dataclasses.replace(CONFIG, batch_size=2)
    dataset = TokenDataset(tokens, "train", config)
    n_batches = len(dataset)
    for rank in range(2):
        draws = iter(Draws(2, 0, rank, 2))
        for _ in range(n_batches):
            seen += next(draws)
    crops = [dataset._order.crop_of(draw) for draw in seen]
    assert len(crops) == 2 * len(dataset) and sorted(crops) == sorted(2 * list(range(len(dataset))))
    whole_batches = batches(tokens, 2, config=config)
    halves = [iter(train_loader(dataset, rank=rank, ranks=2)) for rank in range(2)]
    for batch in whole_batches:
        parts = [next(half) for half in halves]
        assert torch.equal(batch.need("codes"), torch.cat([part.need("codes") for part in parts]))


def test_a_loader_goes_on_from_its_state(tokens: Path) -> None:
    straight = batches(tokens, 9)
    for workers in (0, 2):
        config = dataclasses.replace(CONFIG, workers=workers)
        loader = train_loader(TokenDataset(tokens, "train", config))
        batches_ = iter(loader)
        for _ in range(4):
            next(batches_)
        state = loader.state_dict()
        other = train_loader(TokenDataset(tokens, "train", config))
        other.load_state_dict(state)
        again = iter(other)
        assert state == {"draw": 16} and all(same(batch, next(again)) for batch in straight[4:])


def test_lightning_goes_on_in_the_middle_of_an_epoch(tokens: Path, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Notes(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen: list[Batch] = []

        def training_step(self, batch: Batch, number: int) -> torch.Tensor:
            self.seen.append(batch)
            return self.weight.sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    def run(steps: int, resume: Path | None = None) -> list[Batch]:
        module = Notes()
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = lightning.Trainer(
            max_steps=steps, max_epochs=-1, enable_checkpointing=False, use_distributed_sampler=False, **quiet
        )
        dataset = TokenDataset(tokens, "train", dataclasses.replace(CONFIG, workers=2))
        trainer.fit(module, train_loader(dataset), ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return module.seen

    straight = batches(tokens, 8)
    first = run(3)
    second = run(8, tmp_path / "last.ckpt")
    assert len(first) == 3 and len(second) == 5
    assert all(same(a, b) for a, b in zip(straight, first + second, strict=True))


def test_a_crop_is_a_stretch_of_its_song(tokens: Path) -> None:
    config = dataclasses.replace(CONFIG, dry_rate=1.0, audio_prompt_rate=0.0, moved_rate=0.0)
    dataset = TokenDataset(tokens, "train", config)
    for draw in range(4):
        item = dataset[draw]
        n = len(item["vocal"])
        found = [
            (name, start)
            for name in pairs_of(dataset)
            for arrays in [stored(tokens, name)]
            for start in range(len(arrays["vocal.0"]) - n + 1)
            if np.array_equal(arrays["vocal.0"][start : start + n], item["vocal"])
            and np.array_equal(arrays["codes"][:, start : start + n], item["codes"])
            and np.array_equal(arrays["tokens"][:, 2 * start : 2 * (start + n)], item["tokens"])
        ]
        assert found


def test_a_crop_may_lie_across_pieces(tmp_path: Path) -> None:
    write_song(tmp_path / "s" / "long", 0, seconds=62.0, band=False)
    write_song(tmp_path / "s" / "short", 1, seconds=2.0, band=False)
    tokenize(tmp_path / "s", tmp_path / "t", TokenParts(Melody()), config=EncodeConfig(1), val_share=0, progress=False)
    dataset = TokenDataset(tmp_path / "t", "train", CONFIG, needs_band=False)
    manifest, version = open_version(tmp_path / "t")
    shard = Shard(version.below(SHARDS), manifest.shards[0], manifest)
    vocal = whole(shard, [0, 1], ["vocal.0"])["vocal.0"]
    assert len(vocal) == 1550
    line = pairs_of(dataset).index("long")
    for start in (0, 1450, 1460, 1499, 1500):
        item = dataset._crop(int(dataset.pairs[line]), start, np.random.default_rng(0))
        assert np.array_equal(item["vocal"], vocal[start : start + 50])


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_copies_are_drawn_in_training_only(rate: float, tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        dataset = TokenDataset(tokens, split, dataclasses.replace(CONFIG, moved_rate=rate))
        with monkeypatch.context() as patch:
            lines = _drawn_lines(dataset, patch)
        drawn = {bool(dataset.index.move[line]) for line in lines}
        assert drawn == {split == "train" and rate == 1.0}


def _drawn_lines(dataset: TokenDataset, patch: pytest.MonkeyPatch) -> list[int]:
    lines: list[int] = []
    crop = dataset._crop
    patch.setattr(dataset, "_crop", lambda line, *rest: lines.append(line) or crop(line, *rest))
    for draw in range(len(dataset)):
        dataset[draw]
    return lines


def test_training_draws_every_variant_of_the_tokens_and_validation_the_first(tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 2, seconds=3.0)
    parts, config = small_parts(tmp_path / "clap"), EncodeConfig(variants=1, token_variants=3)
    tokenize(tmp_path / "songs", tmp_path / "t", parts, config=config, val_share=0.5, progress=False)
    _tell_variants_apart(tmp_path / "t")
    drawn = {split: [0, 0, 0] for split in ("train", "val")}
    for split, counts in drawn.items():
        dataset = TokenDataset(tmp_path / "t", split, dataclasses.replace(CONFIG, crop_s=3.0))
        first = stored(tmp_path / "t", pairs_of(dataset)[0])["tokens"]
        for draw in range(60 if split == "train" else len(dataset)):
            tokens = dataset[draw]["tokens"]
            counts[next(v for v in range(3) if np.array_equal((first + v) % 64, tokens))] += 1
    assert min(drawn["train"]) > 8 and drawn["val"] == [1, 0, 0]


def _tell_variants_apart(tokens: Path) -> None:
    """The codec of the tests has random weights and ignores phase: variant v becomes the first plus v."""
    from accompany.data.tokens.shards import Encoded, labels_of

    manifest, version = open_version(tokens)
    for name in manifest.shards:
        shard = Shard(version.below(SHARDS), name, manifest)
        writer, light = ShardWriter(manifest), shard.light()
        for row, pair_id in enumerate(light["id"]):
            arrays = whole(shard, [row], manifest.array_names())
            arrays |= {f"tokens.{v}" if v else "tokens": (arrays["tokens"] + v) % 64 for v in range(3)}
            known = {name: light[name][row] for name in ("song", "artist", "seconds", "n_frames", "has_accompaniment")}
            writer.add(Encoded(id=pair_id, labels=labels_of(shard.read(row, ["labels"])), arrays=arrays, **known))
        version.below(SHARDS).write(name, writer.finish())


def test_padding_is_unknown(tokens: Path) -> None:
    dataset = TokenDataset(tokens, "train", CONFIG)
    if "short" not in pairs_of(dataset):
        pytest.skip("the hash put the short song into validation")
    found = [b for b in batches(tokens, 12) if not b.need("vocal_mask").all()]
    assert found
    batch = found[0]
    item = int((~batch.need("vocal_mask")).any(dim=1).nonzero()[0, 0])
    n = int(batch.need("vocal_mask")[item].sum())
    assert 25 <= n <= 46
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


def test_the_listener_trains_on_voices_without_bands(tokens: Path) -> None:
    dataset = TokenDataset(tokens, "train", CONFIG, needs_band=False)
    other = TokenDataset(tokens, "val", CONFIG, needs_band=False)
    assert "voice" in pairs_of(dataset) + pairs_of(other)
    batch = next(iter(train_loader(dataset)))
    assert batch.codes is None and batch.control is None and batch.beat_target is not None


@pytest.mark.parametrize("option", ["dry_rate", "audio_prompt_rate", "triad_rate", "moved_rate"])
def test_every_rate_changes_the_batches(option: str, tokens: Path) -> None:
    never, always = (batches(tokens, 3, config=dataclasses.replace(CONFIG, **{option: rate})) for rate in (0.0, 1.0))
    assert not all(same(a, b) for a, b in zip(never, always, strict=True))
    with pytest.raises(ValueError, match=option):
        LoadingConfig(**{option: 1.5})


def test_stretching_keeps_vocal_and_targets_aligned(tokens: Path) -> None:
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


def test_a_missing_or_broken_shard_is_named(tokens: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tokens, tmp_path / "t")
    manifest, version = open_version(tmp_path / "t")
    dataset = TokenDataset(tmp_path / "t", "train", CONFIG)
    for shard in (tmp_path / "t").rglob("shards/*.parquet"):
        shard.write_bytes(b"half")
    with pytest.raises(InputError, match="tokenize again"):
        dataset[0]
    for shard in (tmp_path / "t").rglob("shards/*.parquet"):
        shard.unlink()
    with pytest.raises(InputError, match="tokenize again"):
        TokenDataset(tmp_path / "t", "train", CONFIG)[0]
    version.delete("index.parquet")
    with pytest.raises(InputError, match="not finished"):
        TokenDataset(tmp_path / "t", "train", CONFIG)
    assert manifest.pairs == 7


def test_crops_are_of_the_band_or_of_one_stem(tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 3, seconds=4.0)
    write_song(tmp_path / "songs" / "plain", 20, seconds=4.0)
    for folder in sorted((tmp_path / "songs").glob("0*")):
        write_stems(folder)
    # A random codec gives all sounds the same tokens.
    parts = dataclasses.replace(small_parts(tmp_path / "clap"), codec=LevelCodec())
    tokenize(tmp_path / "songs", tmp_path / "tokens", parts, variants=1, stems=True, val_share=0.0, progress=False)
    arrays = stored(tmp_path / "tokens", "000000")
    wanted = {"mix": "tokens", **{name: f"stem.{name}" for name in STEM_TAGS[1:]}}
    assert not np.array_equal(arrays["stem.drums"], arrays["stem.bass"])
    seen = set()
    whole_song = dataclasses.replace(CONFIG, crop_s=4.0)
    for batch in batches(tmp_path / "tokens", 12, config=whole_song):
        for item in range(batch.size):
            stem = STEM_TAGS[int(batch.need("stem")[item])]
            tokens = batch.need("tokens")[item].numpy()
            known = [stored(tmp_path / "tokens", f"00000{i}")[wanted[stem]] for i in range(3)]
            # A song without instruments is always a mix.
            assert stem == "mix" or any(np.array_equal(tokens, each) for each in known)
            seen.add(stem)
    assert seen == set(STEM_TAGS)
    mixes = batches(tmp_path / "tokens", 2, config=dataclasses.replace(whole_song, stem_rate=0.0))
    assert all(not batch.need("stem").any() for batch in mixes)


def test_an_instrument_of_another_length_is_refused(tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 2, seconds=4.0)
    write_stems(tmp_path / "songs" / "000001", seconds=3.0)
    parts = small_parts(tmp_path / "clap")
    manifest = tokenize(tmp_path / "songs", tmp_path / "tokens", parts, variants=1, stems=True, progress=False)
    assert "another rate or length than its band" in manifest.set_aside["000001"] and manifest.pairs == 1


class LevelCodec:
    """Codes of three bands of level, frame by frame."""

    sample_rate, frame_rate, channels, n_codebooks, codebook_size = 12000, 50.0, 1, 3, 64

    def encode(self, sound: torch.Tensor) -> torch.Tensor:
        frames = sound[:, 0, : sound.shape[-1] // 240 * 240].unflatten(-1, (-1, 240))
        bands = torch.fft.rfft(frames).abs().split([5, 20, 96], dim=-1)
        return torch.stack([(4 * (1 + band.sum(-1)).log()).long().clamp(0, 63) for band in bands], dim=1)

    def parameters(self) -> list[torch.Tensor]:
        return []

    buffers = parameters


def write_stems(folder: Path, seconds: float | None = None) -> None:
    """Instruments of a song: a click, a low and a high tone, of its band's rate and length."""
    band = audio.read(folder / "accompaniment.flac")
    rate, n = band.sample_rate, band.samples.shape[-1] if seconds is None else round(seconds * band.sample_rate)
    times = np.arange(n) / rate
    sounds = {
        "rock drums": np.where(times % 0.5 < 0.02, 0.5, 0.0) * np.random.default_rng(0).normal(size=n) * 0.3,
        "upright bass": 0.3 * np.sin(2 * np.pi * 55 * times),
        "piano": 0.3 * np.sin(2 * np.pi * 440 * times),
        "flute": 0.2 * np.sin(2 * np.pi * 660 * times),
    }
    (folder / "stems").mkdir()
    for name, sound in sounds.items():
        audio.write(folder / "stems" / f"{name}.flac", sound[None].astype(np.float32), rate)


def test_an_instrumentation_states_what_is_known() -> None:
    labels = Labels(families=("drums", "bass"), density="full")
    vector = targets.instrumentation(labels)
    assert vector is not None and vector.sum() == len(FAMILIES) + 1
    assert vector[FAMILIES.index("drums")] == 1 and vector[len(FAMILIES) + FAMILIES.index("piano")] == 1
    assert targets.instrumentation(Labels(instruments=("piano",))) is None
    rng = np.random.default_rng(0)
    partial = np.stack([thinned(vector, rng) for _ in range(400)])
    assert (partial <= vector).all() and 0.5 < partial[:, FAMILIES.index("bass")].mean() < 0.8
    with pytest.raises(InputError, match="did you mean 'drums'"):
        Instrumentation(present=("drum",))
    with pytest.raises(InputError, match="both present and absent"):
        Instrumentation(("piano",), ("piano",))
    with pytest.raises(InputError, match="density 'loud'"):
        Instrumentation(density="loud")
