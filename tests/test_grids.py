"""Beat-grid reranker: features of candidates, a choice that adding up cannot make, training from a tokens folder."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_parts import small_parts, write_songs

from accompany.common.saving import save_module
from accompany.common.weights import load_module
from accompany.data.tokens.tokenize import tokenize
from accompany.errors import InputError
from accompany.music.single_grid import track_beats
from accompany.music.tracking import beat_candidates
from accompany.stages.grids import N_FEATURES, Calibration, GridReranker, grid_features, read_grids
from accompany.stages.listener import Listener, ListenerConfig
from accompany.stages.transformer import TransformerConfig
from accompany.training.encoders.loop import LoopConfig
from accompany.training.grids import GridTrainingConfig, _as_tensors, _fit, chosen_f, train_grids
from accompany.training.stages.analysis_scores import f_measure

RATE = 50.0
SECONDS = 10.0


def activations(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beat and downbeat logits [n] of a listener that is unsure of the octave, and the true beats.

    Every eighth may be a beat, the true ones only a little likelier, as a listener to a voice says it.
    """
    rng = np.random.default_rng(seed)
    bpm = rng.uniform(70, 110)
    beats_s = np.arange(rng.uniform(0.05, 0.5), SECONDS, 60 / bpm)
    logits, downbeats = np.full(int(SECONDS * RATE), -3.5), np.full(int(SECONDS * RATE), -4.5)
    for times_s, level in ((beats_s, 0.3), (beats_s[:-1] + 30 / bpm, -0.7)):
        for frame in (times_s * RATE).astype(int):
            logits[frame] = level + rng.normal(0, 0.8)
    downbeats[(beats_s[::4] * RATE).astype(int)] = -1.0
    return logits, downbeats, beats_s


def candidates_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    logits, downbeats, beats_s = activations(seed)
    candidates = beat_candidates(logits, RATE)
    f = np.array([f_measure(candidate.beats_s, beats_s) for candidate in candidates], dtype=np.float32)
    return grid_features(candidates, logits, downbeats, RATE), f


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> GridReranker:
    torch.manual_seed(0)
    made = GridReranker(16)
    loop = LoopConfig(steps=100, lr=3e-3, weight_decay=0.02, warmup_steps=10, bf16=False)
    config = GridTrainingConfig(out=str(tmp_path_factory.mktemp("reranker")), loop=loop, batch_size=8)
    _fit(made, _as_tensors([candidates_of(seed) for seed in range(40)]), config)
    return made


def test_candidates_hold_the_truth_and_its_relatives() -> None:
    logits, _, beats_s = activations(900)
    candidates = beat_candidates(logits, RATE)
    true_period = float(np.median(np.diff(beats_s)))
    periods = np.array([np.median(np.diff(candidate.beats_s)) for candidate in candidates])
    for ratio in (0.5, 2 / 3, 1.0):
        assert np.abs(np.log(periods / (ratio * true_period))).min() < 0.05, ratio
    assert max(f_measure(candidate.beats_s, beats_s) for candidate in candidates) > 0.9
    hinted = beat_candidates(logits, RATE, bpm=97.0)
    assert all(60 / np.median(np.diff(c.beats_s)) == pytest.approx(97.0, rel=0.06) for c in hinted)


@pytest.mark.parametrize("n", [1, 2, 7, 40, 150])
def test_short_clips_have_a_grid(n: int, reranker: GridReranker) -> None:
    logits = np.full(n, -2.0)
    candidates = beat_candidates(logits, RATE)
    scores = reranker.scores(candidates, logits, logits, RATE)
    assert scores.shape == (len(candidates),) and np.isfinite(scores).all()
    found = read_grids(candidates, scores, n / RATE, Calibration())
    assert 0.5 < sum(each.probability for each in found) <= 1.0 + 1e-6
    assert all(np.isfinite(each.beats_s).all() and len(each.beats_s) < 24 for each in found)
    if len(candidates) > 1:
        features = grid_features(candidates, logits, logits, RATE)
        assert features.shape == (len(candidates), N_FEATURES) and np.isfinite(features).all()
    assert (len(candidates) > 1) == (n >= 40)


def test_the_reranker_chooses_the_octave_that_adding_up_misses(reranker: GridReranker) -> None:
    added, chosen = [], []
    for seed in range(500, 516):
        logits, downbeats, beats_s = activations(seed)
        added.append(f_measure(track_beats(logits, RATE, downbeats).beats_s, beats_s))
        candidates = beat_candidates(logits, RATE)
        best = int(reranker.scores(candidates, logits, downbeats, RATE).argmax())
        chosen.append(f_measure(candidates[best].beats_s, beats_s))
    assert np.mean(added) < 0.85
    assert np.mean(chosen) > np.mean(added) + 0.08


def test_scores_are_of_the_choice(reranker: GridReranker) -> None:
    crops = _as_tensors([candidates_of(seed) for seed in range(500, 508)])
    assert 0.8 < chosen_f(reranker, crops) <= float(crops.f.max(dim=1).values.mean())


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("grids")
    write_songs(root / "songs", 4, seconds=6.0)
    parts = small_parts(root / "clap")
    tokenize(root / "songs", root / "tokens", parts, variants=1, val_share=0.25, progress=False)
    small = TransformerConfig(width=32, depth=1, heads=2, causal=False)
    config = ListenerConfig(mert_dim=0, conv_layers=1, transformer=small)
    torch.manual_seed(0)
    save_module(Listener(config), config, root / "listener")
    return root / "tokens", root / "listener"


def config_of(material: tuple[Path, Path], out: Path, **changes: object) -> GridTrainingConfig:
    tokens, listener = material
    config = GridTrainingConfig(
        listener=str(listener), tokens=str(tokens), out=str(out), crops=12, crop_s=[4.0, 6.0], val_items=2, width=8,
        loop=LoopConfig(steps=8, bf16=False, save_every=2),
    )  # fmt: skip
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def whole(material: tuple[Path, Path]) -> Path:
    """The listener of a run that nothing stopped."""
    return train_grids(config_of(material, material[0].parent / "whole"))


def test_training_gives_a_listener_with_a_reranker(material: tuple[Path, Path], whole: Path) -> None:
    listener = load_module(Listener, whole).eval()
    assert listener.grids is not None and listener.config.grid_width == 8
    before = load_module(Listener, material[1]).eval()
    vocal = torch.rand(1, 150, 54)
    assert torch.equal(listener.analyze(vocal).beat, before.analyze(vocal).beat)
    assert len(listener.plan(listener.analyze(vocal)).beats_s) > 2


def test_a_stopped_run_goes_on_with_the_same_crops(
    material: tuple[Path, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accompany.training.grids as module

    real, calls = module._labelled_crops, []

    def judged_until_it_stops(*args: object) -> object:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_SAVE_EVERY", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_labelled_crops", judged_until_it_stops)
        train_grids(config_of(material, tmp_path / "parts"))
    parts = train_grids(config_of(material, tmp_path / "parts"))
    first, second = (load_module(Listener, folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_stopped_training_goes_on_to_the_same_weights(
    material: tuple[Path, Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accompany.training.grids as module

    (tmp_path / "parts").mkdir()
    shutil.copy(whole.parent / "crops.npz", tmp_path / "parts")  # which need not be made again
    real, steps = module.choice_loss, []

    def until_it_stops(*args: object) -> object:
        steps.append(args)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "choice_loss", until_it_stops)
        train_grids(config_of(material, tmp_path / "parts"))
    monkeypatch.setattr(module, "choice_loss", lambda *args: (steps.append(args), real(*args))[1])
    parts = train_grids(config_of(material, tmp_path / "parts"))
    assert len(steps) == 6 + 4, "steps 5 to 8 again"
    first, second = (load_module(Listener, folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # A run of the same settings has nothing left to do; with another batch it is another training.
    train_grids(config_of(material, tmp_path / "parts"))
    assert len(steps) == 6 + 4
    train_grids(config_of(material, tmp_path / "parts", batch_size=4))
    assert len(steps) == 6 + 4 + 8


def test_it_needs_a_listener(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="listener=DIR"):
        train_grids(GridTrainingConfig(out=str(tmp_path)))


def test_tokens_without_beats_are_not_asked_for_ever(material: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only 0 have enough beats"):
        train_grids(config_of(material, tmp_path, crop_s=[0.5]))
