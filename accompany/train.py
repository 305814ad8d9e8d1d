"""`accompany train`: wires a tokens folder, a model and the loop of `accompany.stages.training` together."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import lightning.pytorch as lightning
import torch
from torch import nn

from accompany.config import from_dict, load_config, read_json, to_dict, write_json
from accompany.data.loading import LoadingConfig, TokenDataset, train_loader, val_loader
from accompany.data.tokens import Manifest, read_manifest
from accompany.encoders.codec import Codec
from accompany.errors import InputError
from accompany.listening import listener_for
from accompany.stages.acoustic import AcousticConfig, AcousticStage
from accompany.stages.listener import Listener, ListenerConfig
from accompany.stages.semantic import SemanticConfig, SemanticStage
from accompany.stages.training import (
    BEST,
    OptimizerConfig,
    RunConfig,
    StageTraining,
    averaged_state,
    fit,
    usable_checkpoint,
)
from accompany.weights import config_type, load_state, save_module

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from accompany.stages.batch import Batch

_log = logging.getLogger(__name__)

RUN_FILE = "run.json"
MODEL_DIR = "model"
_NOT_IN_WEIGHTS = ("sampling", "drop", "dropout", "history_noise", "beats", "chords")
"""Parts of a model's config that a run may go on with other values of: how it is trained and decoded."""


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """What every task has: a run's length and place, its data and its optimiser.

    Attributes:
        tokens: tokens folder of `accompany tokenize`.
        run_dir: gets checkpoints, logs and the trained model; empty for runs/TASK.
        bundle: model (name or folder) whose frozen parts let validation listen; empty to leave that out.
        loading: crops and their variation.
        optimizer: AdamW, its schedule, the average of the weights.
    """

    tokens: str = "tokens"
    run_dir: str = ""
    bundle: str = ""
    loading: LoadingConfig = field(default_factory=LoadingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True)
class ListenerTraining(TrainConfig):
    """Training of the listener; songs without accompaniment will do."""

    model: ListenerConfig = field(default_factory=ListenerConfig)


@dataclass(frozen=True)
class SemanticTraining(TrainConfig):
    """Training of the semantic stage."""

    model: SemanticConfig = field(default_factory=SemanticConfig)


@dataclass(frozen=True)
class AcousticTraining(TrainConfig):
    """Training of the acoustic stage.

    Attributes:
        codebooks: predict the first so many of the codec's codebooks; 0 for all.
        codec: folder of the codec whose codebooks the tokens' embeddings start from; empty for a random start.
    """

    codebooks: int = 0
    codec: str = ""
    model: AcousticConfig = field(default_factory=AcousticConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be combined."""
        super().__post_init__()
        if self.codebooks < 0:
            raise ValueError("codebooks must not be negative")
        if self.codec and self.model.mode == "masked":
            raise ValueError("codec is a start for modes delay and depth only")


@dataclass(frozen=True)
class Task:
    """A thing that can be trained: its config's type and its model's."""

    config: type[TrainConfig]
    model: type[nn.Module]
    needs_band: bool


TASKS = {
    "listener": Task(ListenerTraining, Listener, needs_band=False),
    "semantic": Task(SemanticTraining, SemanticStage, needs_band=True),
    "acoustic": Task(AcousticTraining, AcousticStage, needs_band=True),
}

ConfigT = TypeVar("ConfigT")


def train(
    task: str,
    config_source: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    progress: bool = True,
) -> Path:
    """Train a part of a model, or go on with a run that was stopped.

    Args:
        task: "listener", "semantic" or "acoustic".
        config_source: a YAML file, or the name of one in accompany/configs; None takes the task's own.
        overrides: `key=value` items, such as `tokens=my_tokens max_steps=2000 optimizer.lr=5e-4`.
        progress: show a bar on stderr.

    Returns:
        The folder of the trained model: config.json and model.safetensors with the averaged weights.

    Raises:
        InputError: a wrong key or value, no tokens, or a run folder of another model.
    """
    chosen = _task(task)
    config = load_config(chosen.config, config_source or task, overrides)
    manifest = read_manifest(config.tokens)
    model_config = _model_config(config, manifest)
    run_dir = _open_run(task, config, model_config, manifest)
    torch.manual_seed(config.seed)
    model = chosen.model(model_config)
    _start(model, config)
    _log.info("%s: %.2fM parameters.", task, sum(p.numel() for p in model.parameters()) / 1e6)
    data = TokenData(config, needs_band=chosen.needs_band)
    listen = listener_for(task, config.bundle, manifest)
    training = StageTraining(model, config.optimizer, config, listen)
    fit(training, data, run_dir, validate=len(data.validation_set) > 0, progress=progress)
    return export(run_dir)


def _model_config(config: TrainConfig, manifest: Manifest) -> Any:
    fitted = fit_to_tokens(config.model, manifest)  # type: ignore[attr-defined]
    if not isinstance(config, AcousticTraining) or not config.codebooks:
        return fitted
    if config.codebooks > fitted.codebooks:
        raise InputError(f"codebooks={config.codebooks} is more than the {fitted.codebooks} that the tokens have.")
    return dataclasses.replace(fitted, codebooks=config.codebooks)


def _start(model: nn.Module, config: TrainConfig) -> None:
    if isinstance(model, AcousticStage) and isinstance(config, AcousticTraining) and config.codec:
        model.start_from(Codec.from_pretrained(config.codec).codebooks)


def export(run_dir: str | os.PathLike[str], out_dir: str | os.PathLike[str] | None = None, which: str = BEST) -> Path:
    """Write a run's averaged weights as a module folder that bundles take.

    Args:
        run_dir: folder of a run.
        out_dir: None for `model` in the run's folder.
        which: "best" or "last" checkpoint.

    Returns:
        The folder with config.json and model.safetensors (half precision).
    """
    run_dir = Path(run_dir)
    out = Path(out_dir) if out_dir is not None else run_dir / MODEL_DIR
    if not (run_dir / RUN_FILE).is_file():
        raise InputError(f"{run_dir} is not the folder of a training run (no {RUN_FILE}); name one that train made.")
    content = read_json(run_dir / RUN_FILE)
    task = _task(content["task"])
    model_config: Any = from_dict(config_type(task.model), content["model"])
    model = task.model(model_config)
    load_state(model, averaged_state(run_dir, which), run_dir)
    save_module(model, model_config, out)
    return out


class TokenData(lightning.LightningDataModule):
    """The loaders of a tokens folder; training starts at the batch where the run stands."""

    def __init__(self, config: TrainConfig, *, needs_band: bool) -> None:
        super().__init__()
        self.config = config
        loading = dataclasses.replace(config.loading, seed=config.loading.seed + config.seed)
        self.training_set = TokenDataset(config.tokens, "train", loading, needs_band=needs_band)
        self.validation_set = TokenDataset(config.tokens, "val", loading, needs_band=needs_band)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches from the one on that comes after `trainer.global_step` steps."""
        trainer = self.trainer
        assert trainer is not None
        return train_loader(
            self.training_set,
            first_batch=trainer.global_step * self.config.accumulate,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same crops each time."""
        return val_loader(self.validation_set, self.config.val_items)


def fit_to_tokens(model_config: ConfigT, manifest: Manifest) -> ConfigT:
    """Set the widths and vocabularies of a model's config to those of the tokens.

    Raises:
        InputError: the tokens hold no accompaniment, where the model needs one.
    """
    sizes = manifest.sizes
    known = {
        "melody_dim": sizes["melody_dim"],
        "mert_dim": sizes["vocal_dim"] - sizes["melody_dim"],
        "text_dim": sizes.get("text_dim"),
        "code_sizes": manifest.code_sizes or None,
        "codebooks": sizes.get("tokens"),
        "codebook_size": sizes.get("token_size"),
        "ratio": manifest.tokens_per_frame or None,
        "frame_rate": manifest.frame_rate,
    }
    return _with_sizes(model_config, {name: value for name, value in known.items() if value is not None})


def _with_sizes(config: Any, known: dict[str, Any]) -> Any:
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if item.name in known:
            changes[item.name] = known[item.name]
        elif dataclasses.is_dataclass(value):
            changes[item.name] = _with_sizes(value, known)
    return dataclasses.replace(config, **changes)


def _task(name: str) -> Task:
    if name not in TASKS:
        raise InputError(f"There is no task '{name}'; train one of {', '.join(TASKS)}.")
    return TASKS[name]


def _open_run(task: str, config: TrainConfig, model_config: Any, manifest: Manifest) -> Path:
    """Make the run's folder, or check that the run in it is of the same model and tokens."""
    run_dir = Path(config.run_dir or f"runs/{task}")
    content = {"task": task, "model": to_dict(model_config), "tokens": manifest.parts, "config": to_dict(config)}
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {run_dir} ({error.strerror}); choose another run_dir.") from error
    if usable_checkpoint(run_dir) is not None:
        before = read_json(run_dir / RUN_FILE)
        if before.get("task") == task:  # an older version's config lacks what has been added since
            before["model"] = to_dict(from_dict(type(model_config), before["model"]))
        changed = [key for key in ("task", "model", "tokens") if _fixed(before.get(key)) != _fixed(content[key])]
        if changed:
            raise InputError(
                f"{run_dir} holds a run with another {' and '.join(changed)}; choose another run_dir, "
                "or delete that one to start anew."
            )
    write_json(run_dir / RUN_FILE, content)
    return run_dir


def _fixed(value: Any) -> Any:
    """A part of run.json as JSON gives it back (tuples are lists), without what may change when a run goes on."""
    if isinstance(value, dict):
        return {key: _fixed(item) for key, item in value.items() if key not in _NOT_IN_WEIGHTS}
    return [_fixed(item) for item in value] if isinstance(value, (list, tuple)) else value
