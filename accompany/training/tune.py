"""`accompany tune`: preference tuning of a semantic stage on its own takes.

Several takes are made for each vocal and scored (or a person says which is better), the best and the worst of each
vocal make a pair, and the stage is trained on the pairs (`stages.preference`). What that did is measured on vocals that
were held out: the scores of new takes, and how far the takes of a vocal lie apart, which preferences tend to shrink.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from accompany import audio
from accompany.common.config import check_range, read_json, to_dict, write_json
from accompany.common.overrides import load_config
from accompany.common.saving import make_folder, save_module, save_state
from accompany.common.weights import load_state, read_state
from accompany.data.loading.crops import LoadingConfig, TokenDataset, val_loader
from accompany.data.loading.order import Draws, EndlessLoader, Order
from accompany.data.tokens.store import read_manifest
from accompany.errors import InputError
from accompany.models.pretrained import Bundle, find_bundle, load_bundle
from accompany.stages.batch import Batch, conditions_of
from accompany.stages.semantic import SemanticStage
from accompany.training.scoring import FIT, ScoreWeights, render, score, total
from accompany.training.stages.checkpoints import LAST, averaged_state
from accompany.training.stages.module import OptimizerConfig, RunConfig, StageTraining
from accompany.training.stages.preference import Pairs, PreferenceStage, log_likelihood
from accompany.training.stages.trainer import fit
from accompany.training.train import check_made_by, make_run_dir, run_lock

_log = logging.getLogger(__name__)

REPORT, TAKES, CHOICES, MODEL_DIR = "tune.json", "takes.safetensors", "choices.json", "model"
_ENCODERS = ("melody", "mert", "clap", "semantic_codes")
_MADE = "what made the takes"
_NO_CHOICE = "No vocal has a better and a worse take; fill in the choices, or make more takes."


@dataclass(frozen=True)
class TuneConfig(RunConfig):
    """Preference tuning of a model's semantic stage.

    Attributes:
        model: name or folder of the whole model.
        tokens: tokens folder that its encoders made.
        run_dir: gets the takes, checkpoints, the tuned stage and tune.json.
        vocals: crops of the training songs that takes are made for.
        held_out: crops of the validation songs that the result is measured on; 0 measures nothing.
        takes: for each vocal.
        choices: a JSON file of a person's choices in place of scores; empty for scores.
        save_takes: write every take as sound, and a choices.json to fill in, and stop there.
        beta: how dear it is to move away from the start.
        anchor: weight of the better takes' own cross entropy.
        score: what counts how much when takes are compared.
        loading: crops; no augmentation is used.
        optimizer: AdamW, its schedule, the average of the weights.
    """

    model: str = "tiny"
    tokens: str = "tokens"
    run_dir: str = "runs/tune"
    vocals: int = 128
    held_out: int = 24
    takes: int = 4
    choices: str = ""
    save_takes: bool = False
    beta: float = 0.1
    anchor: float = 0.2
    score: ScoreWeights = field(default_factory=ScoreWeights)
    loading: LoadingConfig = field(default_factory=LoadingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        super().__post_init__()
        check_range(self, "takes", least=2, most=1000)
        check_range(self, "vocals", least=1, most=10**9)
        check_range(self, "held_out", least=0, most=10**9)
        check_range(self, "beta", above=0)
        check_range(self, "anchor", least=0)
        check_range(self, "seed", least=0, most=2**31)  # seeds of takes count on from it


def tune(
    config_source: str | os.PathLike[str] | None = None, overrides: Sequence[str] = (), *, progress: bool = True
) -> Path:
    """Tune a model's semantic stage, or go on with a run that was stopped.

    Args:
        config_source: a YAML file, or the name of one in accompany/configs; None takes `tune`.
        overrides: `key=value` items, such as `model=tiny tokens=my_tokens max_steps=100`.
        progress: show a bar on stderr.

    Returns:
        The folder of the tuned stage; with `save_takes` that of the takes.

    Raises:
        InputError: a wrong key or value, tokens of another model, choices that name no take.
    """
    config = load_config(TuneConfig, config_source or "tune", overrides)
    manifest = read_manifest(config.tokens)
    check_made_by(config.model, manifest, _ENCODERS)
    bundle = load_bundle(find_bundle(config.model), "cpu")
    if not isinstance(bundle, Bundle):
        raise InputError(f"{config.model} is a model of another kind, which runs but is not trained here.")
    run_dir = make_run_dir(config.run_dir)
    with run_lock(run_dir, "accompany tune"):
        return _tuned(config, bundle, run_dir, progress)


def _tuned(config: TuneConfig, bundle: Bundle, run_dir: Path, progress: bool) -> Path:
    batches = _crops(config, "train", config.vocals)
    choices = _read_choices(config, sum(batch.size for batch in batches)) if config.choices else []
    takes = _kept_takes(run_dir / TAKES, bundle, batches, config)
    if config.save_takes:
        return _write_takes(run_dir / "takes", bundle, batches, takes)
    best, worst = _chosen(config, choices, bundle, batches, takes)
    pairs = _pairs(bundle.semantic, batches, takes, best, worst)
    before = _held_out(bundle, bundle.semantic, config)
    stage = cast(SemanticStage, _trained(bundle.semantic, pairs, config, run_dir, progress))
    save_module(stage, stage.config, run_dir / MODEL_DIR)
    report = {"pairs": pairs.size, "before": before, "after": _held_out(bundle, stage, config)}
    write_json(run_dir / REPORT, {**report, "config": to_dict(config)})
    _log.info("Held out, before and after: %s", json.dumps({key: report[key] for key in ("before", "after")}))
    return run_dir / MODEL_DIR


def _crops(config: TuneConfig, split: str, count: int) -> list[Batch]:
    """Fixed crops of a split, dry vocals, as batches."""
    loading = dataclasses.replace(config.loading, dry_rate=1.0, audio_prompt_rate=0.0, triad_rate=0.0)
    dataset = TokenDataset(config.tokens, split, loading)
    dataset.split = "val"  # fixed crops, whichever songs they are of
    return [batch.float() for batch in val_loader(dataset, count)]


@torch.inference_mode()
def _takes(stage: SemanticStage, batch: Batch, n_takes: int, first_seed: int) -> Tensor:
    """Codes [B, T, K, F] of several takes for each vocal of a batch."""
    codes = batch.need("codes")
    conditions = conditions_of(stage.config.conditions, batch, codes.shape[-1])
    made = [
        stage.generate(conditions, seeds=[first_seed + take * batch.size + item for item in range(batch.size)])
        for take in range(n_takes)
    ]
    return torch.stack(made, dim=1)


def _kept_takes(path: Path, bundle: Bundle, batches: list[Batch], config: TuneConfig) -> Tensor:
    """Takes [N, T, K, F] for all crops: made once, and found again when the run goes on."""
    names = ("model", "tokens", "vocals", "takes", "seed", "loading")
    made = json.dumps({name: to_dict(config)[name] for name in names}, sort_keys=True)
    about = path.with_suffix(".json")
    if path.is_file() and about.is_file():
        if read_json(about).get(_MADE) != made:
            raise InputError(f"{path} holds takes of another model or other vocals; choose another run_dir.")
        return read_state(path)["takes"].long()
    parts = []
    for number, batch in enumerate(batches):
        parts.append(_takes(bundle.semantic, batch, config.takes, config.seed + number * 100_000))
        _log.info("Takes for %d of %d vocals.", sum(len(part) for part in parts), sum(b.size for b in batches))
    takes = torch.cat(parts)
    write_json(about, {_MADE: made})
    save_state({"takes": takes.int()}, path)
    return takes


def _scored(bundle: Bundle, batches: list[Batch], takes: Tensor) -> dict[str, Tensor]:
    """The metrics [N, T] of all takes."""
    rows: dict[str, list[Tensor]] = {}
    first = 0
    for batch in batches:
        own = takes[first : first + batch.size]
        first += batch.size
        columns = [score(bundle, batch, render(bundle, batch, own[:, take])) for take in range(takes.shape[1])]
        for name in columns[0]:
            rows.setdefault(name, []).append(torch.stack([column[name] for column in columns], dim=1))
        _log.info("Scored the takes of %d of %d vocals.", first, len(takes))
    return {name: torch.cat(values) for name, values in rows.items()}


def _chosen(
    config: TuneConfig, choices: list[tuple[int, int, int]], bundle: Bundle, batches: list[Batch], takes: Tensor
) -> tuple[Tensor, Tensor]:
    """The numbers of the better and of the worse take [N]; -1 where a person chose none."""
    if not config.choices:
        scores = total(_scored(bundle, batches, takes), config.score)
        return scores.argmax(dim=1), scores.argmin(dim=1)
    better, worse = torch.full((len(takes),), -1), torch.full((len(takes),), -1)
    for vocal, first, second in choices:
        better[vocal], worse[vocal] = first, second
    return better, worse


def _read_choices(config: TuneConfig, n_vocals: int) -> list[tuple[int, int, int]]:
    """A person's choices: vocal, better and worse take of each; InputError, before any work, for those of no take."""
    choices = read_json(config.choices)
    if not isinstance(choices, dict):
        raise InputError(f'{config.choices} must hold entries such as "0": {{"better": 2, "worse": 0}} in braces.')
    chosen = []
    for name, choice in choices.items():
        try:
            vocal, first, second = int(name), int(choice["better"]), int(choice["worse"])
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise InputError(
                f'{config.choices} must hold entries such as "0": {{"better": 2, "worse": 0}}, not {name}: {choice}.'
            ) from error
        if first < 0 and second < 0:
            continue
        if not (0 <= vocal < n_vocals and min(first, second) >= 0 and max(first, second) < config.takes):
            raise InputError(
                f"{config.choices} names vocal {vocal}, takes {first} and {second}; there are {n_vocals} vocals "
                f"with {config.takes} takes, counted from 0."
            )
        if first == second:
            raise InputError(f"{config.choices} calls take {first} of vocal {vocal} both better and worse.")
        chosen.append((vocal, first, second))
    if not chosen:
        raise InputError(_NO_CHOICE)
    return chosen


@torch.inference_mode()
def _pairs(stage: SemanticStage, batches: list[Batch], takes: Tensor, best: Tensor, worst: Tensor) -> Pairs:
    """All pairs, with their likelihoods under the start."""
    stage.eval()
    made, first = [], 0
    for batch in batches:
        rows = torch.arange(batch.size)
        span = slice(first, first + batch.size)
        first += batch.size
        chosen = best[span] != worst[span]
        inputs = dataclasses.replace(batch, codes=None, tokens=None).select(chosen)
        own = takes[span]
        better, worse = own[rows[chosen], best[span][chosen]], own[rows[chosen], worst[span][chosen]]
        if len(better):
            likely = (log_likelihood(stage, inputs, codes) for codes in (better, worse))
            made.append(Pairs(inputs, better, worse, *likely))
    if not made:
        raise InputError(_NO_CHOICE)
    return _joined(made)


def _joined(parts: list[Pairs]) -> Pairs:
    """Pairs of several batches as one, with the fields that all of them have."""
    names = [item.name for item in dataclasses.fields(Batch)]
    shared = [name for name in names if all(getattr(part.inputs, name) is not None for part in parts)]
    inputs = Batch(**{name: torch.cat([getattr(part.inputs, name) for part in parts]).clone() for name in shared})
    values = ("better", "worse", "better_start", "worse_start")
    return Pairs(inputs, *(torch.cat([getattr(part, name) for part in parts]).clone() for name in values))


class PairData(lightning.LightningDataModule):
    """Batches of pairs in the order of `data.order`, which the seed fixes; each rank takes its part."""

    def __init__(self, pairs: Pairs, config: TuneConfig) -> None:
        super().__init__()
        self.pairs, self.config = pairs, config

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches without end, from the one that comes after `trainer.global_step` steps."""
        trainer = self.trainer
        assert trainer is not None
        size = min(self.config.loading.batch_size, self.pairs.size) // self.config.accumulate
        if not size or size % trainer.world_size:
            raise InputError(
                f"{size * self.config.accumulate} pairs a step cannot be shared; choose another batch_size."
            )
        first = trainer.global_step * self.config.accumulate
        draws = Draws(size, first, trainer.global_rank, trainer.world_size)
        return EndlessLoader(_DrawnPairs(self.pairs, self.config.seed), draws, collate_fn=_as_it_is)


class _DrawnPairs(torch.utils.data.Dataset[Pairs]):
    """Pairs by lists of draws, each pair once an epoch."""

    def __init__(self, pairs: Pairs, seed: int) -> None:
        self.pairs = pairs
        self._order = Order(np.zeros(pairs.size, np.int64), seed, at_once=1)

    def __getitems__(self, draws: list[int]) -> Pairs:
        return self.pairs.select(torch.tensor([self._order.crop_of(draw) for draw in draws]))


def _as_it_is(pairs: Pairs) -> Pairs:
    return pairs


def _trained(start: SemanticStage, pairs: Pairs, config: TuneConfig, run_dir: Path, progress: bool) -> torch.nn.Module:
    """The stage after its tuning; `start` is left as it is."""
    with torch.random.fork_rng(devices=[]):
        stage = SemanticStage(start.config)
    load_state(stage, start.state_dict(), run_dir)
    training = StageTraining(PreferenceStage(stage, config.beta, config.anchor), config.optimizer, config)
    fit(training, PairData(pairs, config), run_dir, validate=False, progress=progress)
    state = averaged_state(run_dir, LAST)
    own = {name.removeprefix("stage."): value for name, value in state.items()}
    load_state(stage, own, run_dir)
    return stage.eval().requires_grad_(False)


def _held_out(bundle: Bundle, stage: SemanticStage, config: TuneConfig) -> dict[str, float]:
    """Mean metrics of new takes for held-out vocals, `fit` as the mean of its parts, and the takes' `variety`."""
    if not config.held_out:
        return {}
    batches = _crops(config, "val", config.held_out)
    seeds = config.seed + 50_000_000
    takes = torch.cat([_takes(stage, b, config.takes, seeds + n * 100_000) for n, b in enumerate(batches)])
    metrics = {name: float(values.mean()) for name, values in _scored(bundle, batches, takes).items()}
    metrics["fit"] = sum(metrics[name] for name in FIT) / len(FIT)
    metrics["variety"] = variety(bundle.semantic_codes.decode, takes)
    return {name: round(value, 5) for name, value in metrics.items()}


def variety(decode: Any, takes: Tensor) -> float:
    """Diversity of the takes [N, T, K, F] of a vocal: mean distance of their decoded codes."""
    meaning = decode(takes.flatten(0, 1)).unflatten(0, takes.shape[:2])
    apart = (meaning[:, :, None] - meaning[:, None]).square().mean(dim=-1).sqrt().mean(dim=-1)
    n_takes = takes.shape[1]
    return float(apart.sum(dim=(1, 2)).mean() / (n_takes * (n_takes - 1)))


def _write_takes(folder: Path, bundle: Bundle, batches: list[Batch], takes: Tensor) -> Path:
    """Every take as VOCAL/TAKE.flac, and a choices.json to fill in."""
    first = 0
    for batch in batches:
        for take in range(takes.shape[1]):
            sounds = render(bundle, batch, takes[first : first + batch.size, take])
            for item, sound in enumerate(sounds):
                take_dir = make_folder(folder / f"{first + item:04d}")
                peak = max(float(sound.abs().max()), 1e-6)
                audio.write(take_dir / f"{take}.flac", (sound / max(peak, 1.0))[None].numpy(), bundle.codec.sample_rate)
        first += batch.size
    if not (folder / CHOICES).is_file():
        write_json(folder / CHOICES, {str(vocal): {"better": -1, "worse": -1} for vocal in range(len(takes))})
    _log.info("Listen to the takes in %s, fill in %s there, and run again with choices=...", folder, CHOICES)
    return folder
