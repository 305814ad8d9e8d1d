"""Training of the listener's beat-grid reranker: `accompany train grids listener=DIR tokens=DIR`.

A trained listener analyses crops; each gives some sixty candidates of `tracking.beat_candidates`, whose F-measure
against the true beats is known. The reranker learns to choose (a softmax over the candidates, towards the best of them
and for the expected F of the choice). The listener itself stays as it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from accompany.common.config import MOST_SEED, check_range, to_dict
from accompany.common.files import complete
from accompany.common.saving import save_module
from accompany.common.weights import load_module
from accompany.data.loading.crops import LoadingConfig, TokenDataset, train_loader, val_loader
from accompany.errors import InputError
from accompany.music.tracking import beat_candidates
from accompany.stages.batch import Batch
from accompany.stages.grids import N_FEATURES, GridReranker, grid_features
from accompany.stages.listener import BEATS_PER_FRAME, Listener
from accompany.training.encoders.loop import LoopConfig, fingerprint, run_loop
from accompany.training.stages.analysis_scores import f_measure, true_beats_s

_log = logging.getLogger(__name__)

MODEL_DIR = "model"
_FEW_BEATS = 4
_SAVE_EVERY = 20
_TRIES = 4
"""Crops analysed for each usable one, at most: tokens without beats would never end."""
_SHARPNESS = 0.1
"""Candidates whose F is this far below the best count 1/e as much."""


@dataclass(frozen=True)
class GridTrainingConfig:
    """Training of the beat-grid reranker.

    Attributes:
        listener: folder of a trained listener.
        tokens: tokens folder that it was trained on, or another with melody features and beats.
        out: gets `crops.npz` and `checkpoint.pt`, from which a run that was stopped goes on, and the listener with its
            reranker in `model`.
        crops: training crops for each length; crop_s: their lengths in seconds.
        val_items: validation crops of the first length, whose metrics are logged.
        width: of the reranker.
        loop: length and pace of its training; by default each crop is seen 30 times.
        batch_size: crops in a step.
        loading: variation of the crops.
        seed: of every draw.
    """

    listener: str = ""
    tokens: str = "tokens"
    out: str = "runs/grids"
    crops: int = 3000
    crop_s: list[float] = field(default_factory=lambda: [10.0, 20.0])
    val_items: int = 256
    width: int = 64
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=2820, lr=3e-3, weight_decay=0.02, warmup_steps=100, bf16=False)
    )
    batch_size: int = 64
    loading: LoadingConfig = field(default_factory=lambda: LoadingConfig(stretch_rate=0.3, dry_rate=0.5))
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for counts below 1."""
        check_range(self, "crops width batch_size", least=1, most=10**9)
        check_range(self, "val_items", least=0, most=10**9)
        check_range(self, "crop_s", above=0, most=3600)
        check_range(self, "seed", least=0, most=MOST_SEED)
        if not self.crop_s:
            raise ValueError("crop_s must name a length")


_Crop = tuple[np.ndarray, np.ndarray]
"""Features [n, N_FEATURES] and F [n] of a crop's candidates."""


@dataclass(frozen=True)
class _Crops:
    """Candidates of crops: features [n, most, N_FEATURES]; their F [n, most], -1 where there is no candidate."""

    features: Tensor
    f: Tensor


def train_grids(config: GridTrainingConfig) -> Path:
    """Train the reranker and save the listener with it; returns the listener's folder."""
    if not config.listener:
        raise InputError("Name the folder of a trained listener: listener=DIR.")
    listener = load_module(Listener, Path(config.listener)).eval()
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    training = _collect(listener, config, out / "crops.npz")
    torch.manual_seed(config.seed)
    reranker = GridReranker(config.width)
    _fit(reranker, training, config)
    validation = _as_tensors([*_validation_crops(listener, config)])
    if len(validation.f):
        _log.info(
            "F of the chosen grid on %d validation crops: %.3f", len(validation.f), chosen_f(reranker, validation)
        )
    reranked = Listener(dataclasses.replace(listener.config, grid_width=config.width))
    reranked.load_state_dict({**listener.state_dict(), **{f"grids.{k}": v for k, v in reranker.state_dict().items()}})
    save_module(reranked, reranked.config, out / MODEL_DIR)
    return out / MODEL_DIR


@torch.inference_mode()
def chosen_f(reranker: GridReranker, crops: _Crops) -> float:
    """Mean F of the candidates chosen by the reranker."""
    reranker.eval()
    best = reranker(crops.features).masked_fill(crops.f < 0, -torch.inf).argmax(dim=1, keepdim=True)
    return float(crops.f.gather(1, best).mean())


def _fit(reranker: GridReranker, crops: _Crops, config: GridTrainingConfig) -> None:
    """Train in place; the crops of a step depend on its number alone."""
    there = crops.features[crops.f >= 0]
    reranker.mean.copy_(there.mean(dim=0))
    reranker.deviation.copy_(there.std(dim=0) + 1e-3)
    size = min(config.batch_size, len(crops.f))

    def make_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = np.random.default_rng([config.seed, step]).choice(len(crops.f), size, replace=False)
        return choice_loss(reranker(crops.features[chosen]), crops.f[chosen]), {}

    made_from = fingerprint(config, (crops.features.numpy(), crops.f.numpy()), ("out", "val_items"))
    run_loop(reranker, make_loss, config.loop, Path(config.out), made_from=made_from)


def choice_loss(scores: Tensor, f: Tensor) -> Tensor:
    """Cross entropy towards the best candidates, less twice the expected F of a draw; both [B, n], f -1 for none."""
    none = f < 0
    log_chance = scores.masked_fill(none, -1e9).log_softmax(dim=1)
    wanted = (f / _SHARPNESS).masked_fill(none, -1e9).softmax(dim=1)
    expected_f = (log_chance.exp() * f.clamp(min=0)).sum(dim=1)
    return (-(wanted * log_chance).sum(dim=1) - 2.0 * expected_f).mean()


def _collect(listener: Listener, config: GridTrainingConfig, path: Path) -> _Crops:
    """The training crops, each length in turn, from where an earlier run stopped."""
    made, batches = _read_crops(path, config)
    wanted = config.crops * len(config.crop_s)
    progress = tqdm(total=wanted, initial=min(len(made), wanted), desc="Analyzing", unit="crop")
    while len(made) < wanted:
        length = len(made) // config.crops
        loading = dataclasses.replace(config.loading, crop_s=config.crop_s[length], seed=config.seed + length)
        dataset = TokenDataset(config.tokens, "train", loading, needs_band=False)
        for batch in train_loader(dataset, first_batch=batches[length]):
            found = _labelled_crops(listener, batch)
            made += found[: config.crops * (length + 1) - len(made)]
            batches[length] += 1
            progress.update(len(made) - progress.n)
            full = len(made) == config.crops * (length + 1)
            analyzed = batches[length] * batch.size
            if not full and analyzed > _TRIES * config.crops + len(dataset):
                found_beats = len(made) - length * config.crops
                raise InputError(
                    f"Of {analyzed} crops of {config.tokens} only {found_beats} have enough beats; use other songs."
                )
            if full or batches[length] % _SAVE_EVERY == 0:
                _write_crops(path, config, made, batches)
            if full:
                break
    progress.close()
    return _as_tensors(made)


def _validation_crops(listener: Listener, config: GridTrainingConfig) -> Iterator[_Crop]:
    loading = dataclasses.replace(config.loading, crop_s=config.crop_s[0])
    dataset = TokenDataset(config.tokens, "val", loading, needs_band=False)
    for batch in val_loader(dataset, config.val_items):
        yield from _labelled_crops(listener, batch)


@torch.inference_mode()
def _labelled_crops(listener: Listener, batch: Batch) -> list[_Crop]:
    """For each item with enough beats, its candidates' features [n, N_FEATURES] and F [n]."""
    batch = batch.float()
    output = listener(batch.need("vocal"), batch.vocal_mask)
    rate = listener.config.frame_rate * BEATS_PER_FRAME
    made = []
    for item in range(batch.size):
        true_s = true_beats_s(batch.need("beat_target")[item], rate)
        if len(true_s) < _FEW_BEATS:
            continue
        beat, downbeat = output.beat[item].numpy(), output.downbeat[item].numpy()
        candidates = beat_candidates(beat, rate, config=listener.config.beats)
        if len(candidates) == 1:
            continue
        f = np.array([f_measure(candidate.beats_s, true_s) for candidate in candidates], dtype=np.float32)
        made.append((grid_features(candidates, beat, downbeat, rate), f))
    return made


def _as_tensors(crops: list[_Crop]) -> _Crops:
    most = max((len(f) for _, f in crops), default=1)
    features, f_all = torch.zeros(len(crops), most, N_FEATURES), torch.full((len(crops), most), -1.0)
    for row, (each, f) in enumerate(crops):
        features[row, : len(f)], f_all[row, : len(f)] = torch.from_numpy(each), torch.from_numpy(f)
    return _Crops(features, f_all)


def _fingerprint(config: GridTrainingConfig) -> str:
    """Of all that decides what the crops are."""
    known = {
        name: value
        for name, value in to_dict(config).items()
        if name in ("listener", "tokens", "crop_s", "crops", "loading", "seed")
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _write_crops(path: Path, config: GridTrainingConfig, made: list[_Crop], batches: list[int]) -> None:
    with complete(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            features=np.concatenate([features for features, _ in made]) if made else np.zeros((0, N_FEATURES)),
            f=np.concatenate([f for _, f in made]) if made else np.zeros(0),
            counts=np.array([len(f) for _, f in made], dtype=np.int64),
            batches=np.array(batches),
            fingerprint=np.array(_fingerprint(config)),
        )


def _read_crops(path: Path, config: GridTrainingConfig) -> tuple[list[_Crop], list[int]]:
    """Crops kept by an earlier run of the same config, and its number of batches of each length."""
    if not path.is_file():
        return [], [0] * len(config.crop_s)
    with np.load(path) as content:
        if str(content["fingerprint"]) != _fingerprint(config):
            return [], [0] * len(config.crop_s)
        splits = np.cumsum(content["counts"])[:-1]
        features, f = np.split(content["features"], splits), np.split(content["f"], splits)
        return list(zip(features, f, strict=True)), content["batches"].tolist()
