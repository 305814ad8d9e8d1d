"""The harmoniser: a melody along a grid, chains of chords against all chains there are, training, and its place."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_parts import small_parts, write_songs
from small_scores import pop909

from accompany.common.saving import save_module
from accompany.common.weights import load_module
from accompany.data.loading.crops import LoadingConfig, TokenDataset, val_loader
from accompany.data.songs.compose import compose
from accompany.data.songs.make import render_song
from accompany.data.tokens.tokenize import tokenize
from accompany.encoders.melody import Melody
from accompany.errors import InputError
from accompany.generation.planning import Known, predict_plan
from accompany.music.beat_melody import (
    BEAT_DIM,
    DOWNBEAT,
    KNOWN_DOWNBEATS,
    beats_of_features,
    beats_of_tracks,
    half_beats,
    turned,
)
from accompany.music.chord_decoding import harmonised
from accompany.music.harmony import N_CHORDS, NO_CHORD, majmin
from accompany.stages.harmoniser import Harmoniser, HarmoniserConfig, chain_marginals
from accompany.stages.listener import Listener, ListenerConfig
from accompany.stages.losses import chain_loss, harmoniser_losses, relative
from accompany.stages.transformer import TransformerConfig
from accompany.training.encoders.loop import LoopConfig
from accompany.training.harmoniser import HarmoniserTrainingConfig, Item, item_of_score, train_harmoniser, varied
from accompany.training.stages.analysis_scores import score_analysis


def test_a_melody_is_read_in_halves_of_beats() -> None:
    rate, n = 100.0, 400
    classes, onsets, voiced = np.zeros((n, 12)), np.zeros(n), np.zeros(n)
    classes[50:100, 9] = voiced[50:100] = 1.0  # A on the first beat, one of half a second
    classes[125:150, 4] = voiced[125:150] = 1.0  # E on the second half of the second
    onsets[[48, 125]] = 1.0  # the first a little early
    beats = beats_of_tracks(classes, onsets, voiced, rate, np.array([0.5, 1.0, 1.5]), np.array([0.5]))
    assert beats.shape == (3, BEAT_DIM)
    halves = beats[:, :DOWNBEAT].reshape(6, 14)
    assert halves[:, 9].tolist() == [1, 1, 0, 0, 0, 0] and halves[:, 4].tolist() == [0, 0, 0, 1, 0, 0]
    assert halves[:, 12].tolist() == [1, 0, 0, 1, 0, 0] and halves[:, 13].tolist() == [1, 1, 0, 1, 0, 0]
    assert beats[:, DOWNBEAT].tolist() == [1, 0, 0] and beats[:, KNOWN_DOWNBEATS].tolist() == [1, 1, 1]
    assert np.allclose(beats[:, -1], 0.0)
    assert half_beats(np.array([1.0, 2.0, 4.0])).tolist() == [1.0, 1.5, 2.0, 3.0, 4.0, 4.75, 5.5]


def test_a_sung_melody_reads_as_its_notes_do() -> None:
    song = render_song(compose(31, seconds=14.0), sample_rate=Melody.sample_rate, voice_only=True)
    symbolic = item_of_score(song.score)
    assert symbolic is not None
    melody = Melody().encode(torch.from_numpy(song.vocals[:1]))[0].numpy()
    beats_s = np.array([beat for beat in song.score.beats_s if beat < song.score.duration_s])
    sung = beats_of_features(melody, Melody.frame_rate, beats_s, np.array(song.score.downbeats_s))
    assert sung.shape == symbolic.beats.shape and np.array_equal(sung[:, DOWNBEAT:], symbolic.beats[:, DOWNBEAT:])
    one, other = (each[:, :DOWNBEAT].reshape(-1, 14)[:, :12].ravel() for each in (sung, symbolic.beats))
    assert np.corrcoef(one, other)[0, 1] > 0.7
    assert np.corrcoef(one, np.roll(other.reshape(-1, 12), 1, axis=1).ravel())[0, 1] < 0.3


def chains(scores: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Scores [25, 25, 25] of all chains of three."""
    total = scores[0][:, None, None] + scores[1][None, :, None] + scores[2][None, None, :]
    return total + steps[1][:, :, None] + steps[2][None]


def test_chains_agree_with_all_chains_there_are() -> None:
    torch.manual_seed(0)
    scores, steps = torch.randn(2, 4, N_CHORDS), torch.randn(2, 4, N_CHORDS, N_CHORDS)
    chords = torch.randint(N_CHORDS, (2, 4))
    known = torch.tensor([[True] * 3 + [False]] * 2)
    wanted = []
    for item in range(2):
        every = chains(scores[item], steps[item])
        a, b, c = chords[item, :3].tolist()
        wanted.append((torch.logsumexp(every.flatten(), 0) - every[a, b, c]) / 3)
        shares = every.flatten().softmax(0).view_as(every)
        marginals = chain_marginals(scores[item, :3], steps[item, :3])
        for beat, axes in enumerate(((1, 2), (0, 2), (0, 1))):
            assert torch.allclose(marginals[beat], shares.sum(axes), atol=1e-5)
    assert torch.allclose(chain_loss(scores, steps, chords, known), torch.stack(wanted).mean(), atol=1e-5)


@pytest.fixture(scope="module")
def harmoniser() -> Harmoniser:
    torch.manual_seed(1)
    made = Harmoniser(HarmoniserConfig(width=32, depth=1, key_width=32, key_depth=1)).eval()
    torch.nn.init.normal_(made.moves)
    return made


def melody(seed: int) -> Item:
    return next(item for seed in itertools.count(seed) if (item := item_of_score(compose(seed, seconds=20.0))))


def test_a_higher_melody_has_higher_chords(harmoniser: Harmoniser) -> None:
    beats = melody(40).beats
    keys = np.zeros(24)
    keys[[2, 14]] = 0.7, 0.3  # D major, D minor
    up = np.zeros(24)
    up[[5, 17]] = 0.7, 0.3
    low, high = harmoniser.chord_probabilities(beats, keys), harmoniser.chord_probabilities(turned(beats, 3), up)
    assert np.allclose(low.sum(axis=1), 1.0)
    assert np.allclose(np.roll(low[:, :12], 3, axis=1), high[:, :12], atol=1e-5)
    assert np.allclose(np.roll(low[:, 12:24], 3, axis=1), high[:, 12:24], atol=1e-5)
    assert not np.allclose(low, harmoniser.chord_probabilities(beats, up), atol=1e-3)


def test_long_melodies_are_harmonised_in_windows(harmoniser: Harmoniser) -> None:
    beats = np.concatenate([melody(seed).beats for seed in range(60, 78)])
    assert len(beats) > 512
    chances = harmoniser.chord_probabilities(beats, np.eye(24)[0])
    assert chances.shape == (len(beats), N_CHORDS) and np.allclose(chances.sum(axis=1), 1.0)
    alone = harmoniser.chord_probabilities(beats[:256], np.eye(24)[0])
    assert np.allclose(chances[:100], alone[:100], atol=0.02)
    assert np.isclose(np.exp(harmoniser.key_log_probabilities(beats)).sum(), 1.0)


def test_beats_become_chords() -> None:
    chances = np.full((4, N_CHORDS), 1e-3)
    chances[[0, 1, 2, 3], [0, 0, 7, NO_CHORD]] = 1.0
    chances[3, 7] = 0.9
    flat = np.full((75, N_CHORDS), -np.log(N_CHORDS))
    chords, sure = harmonised(chances, flat, 25.0, np.array([0.5, 1.0, 1.5, 2.0]))
    # What is before the first beat has its chord; a beat without a chord takes the likeliest one.
    assert chords == ((0.0, 1.5, "C:maj"), (1.5, 3.0, "G:maj"))
    assert 0.8 < sure < 1.0
    flat[:25, 5] = 0.0
    found, _ = harmonised(np.full((4, N_CHORDS), 1 / N_CHORDS), flat, 25.0, np.array([0.5, 1.0, 1.5, 2.0]))
    assert found[0][2] == "F:maj"


def test_variation_transposes_chords_with_the_key() -> None:
    item, rng = melody(50), np.random.default_rng(0)
    for _ in range(8):
        other = varied(item, (8.0, 12.0), rng)
        assert len(other.beats) == len(other.chords) < len(item.beats)
        assert other.key // 12 == item.key // 12
        seen = relative(torch.from_numpy(other.chords), torch.tensor(other.key % 12)).tolist()
        whole = relative(torch.from_numpy(item.chords), torch.tensor(item.key % 12)).tolist()
        assert any(whole[start : start + len(seen)] == seen for start in range(len(whole)))


LISTENER = ListenerConfig(mert_dim=0, transformer=TransformerConfig(32, 1, 2, causal=False))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HarmoniserTrainingConfig]:
    root = tmp_path_factory.mktemp("harmoniser")
    torch.manual_seed(0)
    save_module(Listener(LISTENER), LISTENER, root / "listener")
    write_songs(root / "songs", 6, seconds=12.0)
    tokenize(root / "songs", root / "tokens", small_parts(root / "clap"), val_share=0.2, progress=False)
    training = HarmoniserTrainingConfig(
        listener=str(root / "listener"), tokens=str(root / "tokens"), out=str(root / "out"), composed=48, heard=4,
        heard_s=8.0, heard_share=0.25, val_items=2, batch_size=12, crop_s=(6.0, 10.0), song_s=16.0,
        loop=LoopConfig(steps=60, lr=2e-3, weight_decay=0.05, warmup_steps=3, bf16=False, save_every=20),
        model=HarmoniserConfig(width=32, depth=1, key_width=32, key_depth=1),
    )  # fmt: skip
    return train_harmoniser(training), training


def test_it_learns_from_symbolic_and_from_analysed_melodies(trained: tuple[Path, HarmoniserTrainingConfig]) -> None:
    folder, config = trained
    learnt = load_module(Listener, folder).harmoniser
    assert learnt is not None and (Path(config.out) / "heard.npz").is_file()
    torch.manual_seed(0)
    fresh = Harmoniser(config.model).eval()
    losses = []
    for each in (fresh, learnt.eval()):
        items = [melody(seed) for seed in range(200, 208)]
        with torch.no_grad():
            parts = [
                harmoniser_losses(
                    each,
                    torch.from_numpy(item.beats)[None],
                    torch.from_numpy(item.chords.astype(np.int64))[None],
                    torch.tensor([item.key]),
                    torch.ones(1, len(item.beats), dtype=torch.bool),
                )["chord"]
                for item in items
            ]
        losses.append(float(torch.stack(parts).mean()))
    assert losses[1] < 0.7 * losses[0]


def test_a_stopped_run_goes_on_to_the_same_weights(
    trained: tuple[Path, HarmoniserTrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = trained
    config = dataclasses.replace(config, out=str(tmp_path / "out"))
    # The composed and analysed items are kept, and need not be made again.
    shutil.copytree(folder.parent, tmp_path / "out", ignore=shutil.ignore_patterns("checkpoint.pt", "model"))
    monkeypatch.setattr("accompany.training.harmoniser._symbolic", None)
    monkeypatch.setattr("accompany.training.harmoniser._analyzed_crops", None)
    real, steps = harmoniser_losses, []

    def until_it_stops(*args: object) -> object:
        steps.append(args)
        if len(steps) == 33:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("accompany.training.harmoniser.harmoniser_losses", until_it_stops)
    with pytest.raises(KeyboardInterrupt):
        train_harmoniser(config)
    made = train_harmoniser(config)
    assert len(steps) == 33 + 40, "steps 21 to 60 again"
    assert (made / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    train_harmoniser(config)
    assert len(steps) == 33 + 40, "nothing is left to do"
    train_harmoniser(dataclasses.replace(config, loop=dataclasses.replace(config.loop, lr=1e-3)))
    assert len(steps) == 33 + 40 + 60, "another training begins anew"
    assert (made / "model.safetensors").read_bytes() != (folder / "model.safetensors").read_bytes()


def test_melodies_and_chords_of_published_scores_join_the_composed_ones(tmp_path: Path) -> None:
    listener = tmp_path / "listener"
    save_module(Listener(LISTENER), LISTENER, listener)
    config = HarmoniserTrainingConfig(
        listener=str(listener), tokens="", out=str(tmp_path / "out"), composed=2, scored=3, song_s=12.0,
        scores=[str(pop909(tmp_path / "scores", ["001", "002", "003"]))], batch_size=2, crop_s=(6.0, 10.0),
        loop=LoopConfig(steps=1, bf16=False), model=HarmoniserConfig(width=32, depth=1),
    )  # fmt: skip
    train_harmoniser(config)
    with np.load(tmp_path / "out" / "paper.npz") as made:
        chords = np.split(made["chords"], np.cumsum(made["counts"])[:-1])
        assert len(chords) == 5
        for each, key in zip(chords[2:], made["keys"][2:], strict=True):
            written = {
                int(label) for label in relative(torch.from_numpy(each.astype(np.int64)), torch.tensor(key % 12))
            }
            assert written <= {majmin(label) for label in ("C:maj", "A:min", "F:maj", "G:maj", "N")}, "of 001 to 003"
    with pytest.raises(ValueError, match="needs scores"):
        dataclasses.replace(config, scores=[])


def test_the_listener_plans_with_it(trained: tuple[Path, HarmoniserTrainingConfig]) -> None:
    listener = load_module(Listener, trained[0]).eval()
    song = render_song(compose(77, seconds=12.0), sample_rate=Melody.sample_rate, voice_only=True)
    features = Melody().encode(torch.from_numpy(song.vocals[:1]))
    beats = tuple(beat for beat in song.score.beats_s if beat < 12.0)
    plans = [
        predict_plan(listener, features, Known(beats_s=beats, downbeats_s=beats[::4], key=key))
        for key in (None, "C", "F# minor")
    ]
    assert plans[1].key == "C:maj" and plans[2].key == "F#:min" and plans[1].chords != plans[2].chords
    for plan in plans:
        assert plan.chords[0][0] == 0.0 and plan.chords[-1][1] == pytest.approx(features.shape[1] / 25.0)
        assert plan.chord_confidence is not None and 0 < plan.chord_confidence <= 1
    assert predict_plan(listener, features, Known()).chords


def test_what_is_missing_is_named(
    trained: tuple[Path, HarmoniserTrainingConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match="listener=DIR"):
        train_harmoniser(HarmoniserTrainingConfig(out=str(tmp_path)))
    _, config = trained
    with pytest.raises(InputError, match="raise song_s"):
        train_harmoniser(dataclasses.replace(config, out=str(tmp_path), song_s=0.5))
    # Crops of a second never have enough beats: that ends, with a word, and learning goes on without them.
    with caplog.at_level("WARNING"):
        two = LoopConfig(steps=2, bf16=False)
        train_harmoniser(dataclasses.replace(config, out=str(tmp_path), heard_s=1.0, loop=two))
    assert "learning from symbolic songs alone" in caplog.text and not (tmp_path / "heard.npz").is_file()


def test_metrics_of_a_listener_in_training_are_without_dropout(trained: tuple[Path, HarmoniserTrainingConfig]) -> None:
    listener = load_module(Listener, trained[0])
    dataset = TokenDataset(trained[1].tokens, "val", LoadingConfig(crop_s=10.0, batch_size=2), needs_band=False)
    (batch,) = val_loader(dataset, 2)
    seen: list[bool] = []
    assert listener.harmoniser is not None
    whole = listener.harmoniser.chord_probabilities
    listener.harmoniser.chord_probabilities = lambda *args: (seen.append(listener.harmoniser.training), whole(*args))[1]  # type: ignore
    score_analysis(listener.train(), batch)
    assert seen and not any(seen) and listener.training
