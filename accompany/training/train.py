"""`accompany train`: training of a stage on a tokens folder with `accompany.training.stages.module`."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from accompany.common.config import CONFIG_NAME, CONFIGS_DIR, from_dict, read_json, to_dict, write_json
from accompany.common.folders import remove_half_files
from accompany.common.overrides import changed, load_config
from accompany.common.processes import folder_lock
from accompany.common.weights import WEIGHTS_NAME, config_type, load_state, read_state, resolve_folder
from accompany.data.loading.crops import TokenDataset, train_loader, val_loader
from accompany.data.tokens.store import Manifest, read_manifest
from accompany.data.tokens.tokenize import load_parts
from accompany.encoders.codecs import load_codec
from accompany.errors import InputError
from accompany.models.adapters import part_hash
from accompany.models.pretrained import find_bundle, read_bundle
from accompany.stages.acoustic import AcousticConfig, AcousticStage
from accompany.stages.codebooks import start_from
from accompany.stages.lora import add_lora
from accompany.training.export import RUN_FILE, export
from accompany.training.metrics import metrics_for
from accompany.training.samples import Samples
from accompany.training.stages.checkpoints import usable_checkpoint
from accompany.training.stages.devices import is_first
from accompany.training.stages.module import StageTraining
from accompany.training.stages.trainer import fit
from accompany.training.tasks import TASKS, AcousticTraining, TrainConfig, find_task

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from accompany.stages.batch import Batch

__all__ = ["TASKS", "TokenData", "TrainConfig", "export", "fit_to_tokens", "train"]

_log = logging.getLogger(__name__)

_NOT_IN_WEIGHTS = ("sampling", "drop", "dropout", "history_noise", "history_swapped", "damping", "beats", "chords")
"""Parts of a model's config that a run may go on with other values of: how it is trained and decoded."""

_ENCODERS = {
    "listener": ("melody",),
    "semantic": ("melody", "mert", "clap", "semantic_codes"),
    "acoustic": ("melody", "mert", "clap", "semantic_codes", "codec"),
}
"""The frozen parts whose output a stage reads or writes."""
_FIXED = ("task", "model", "tokens", "init", "lora")
"""Settings that must be equal for a run to resume."""

ConfigT = TypeVar("ConfigT")


def train(
    task: str,
    config_source: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    progress: bool = True,
    on_ray: bool = False,
) -> Path:
    """Train a part of a model, or go on with a run that was stopped.

    This process may be one of several that train together: of torchrun, SLURM, or Ray Train.

    Args:
        task: "listener", "semantic" or "acoustic".
        config_source: a YAML file, or the name of one in accompany/configs; None takes the task's own.
        overrides: `key=value` items, such as `tokens=my_tokens max_steps=2000 optimizer.lr=5e-4`.
        progress: show a bar on stderr.
        on_ray: this process is a worker of Ray Train (`accompany.training.cluster`).

    Returns:
        The folder of the trained model: config.json and model.safetensors with the averaged weights.

    Raises:
        InputError: a wrong key or value, no tokens, or a run folder of another model.
    """
    config = load_config(find_task(task).config, config_named(config_source, task), overrides)
    manifest = read_manifest(config.tokens)
    model_config = _model_config(task, config, manifest, overrides)
    run_dir = make_run_dir(config.run_dir or f"runs/{task}")
    with run_lock(run_dir, f"accompany train {task}", on_ray=on_ray):
        _open_run(run_dir, task, config, model_config, manifest, writes=is_first(on_ray))
        _fit(task, config, model_config, manifest, run_dir, progress, on_ray)
        return export(run_dir)


def _fit(
    task: str, config: TrainConfig, model_config: Any, manifest: Manifest, run_dir: Path, progress: bool, on_ray: bool
) -> None:
    chosen = find_task(task)
    torch.manual_seed(config.seed)
    model = chosen.model(model_config)
    _start(model, task, config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    _log.info("%s: %.2fM parameters to train.", task, trained / 1e6)
    data = TokenData(config, needs_band=chosen.needs_band)
    training = StageTraining(model, config.optimizer, config, metrics_for(task, config.bundle, manifest))
    samples = [Samples(task, config, run_dir)] if config.sample_songs else []
    validate = len(data.validation_set) > 0
    fit(training, data, run_dir, validate=validate, progress=progress, callbacks=samples, on_ray=on_ray)


def config_named(source: str | os.PathLike[str] | None, task: str) -> str | os.PathLike[str]:
    """The config of a task: its own (of `tiny`) for none, `semantic_base` for `base`, else a name or file as it is."""
    if source is None or source == "tiny":
        return task
    sized = f"{task}_{source}"
    return sized if (CONFIGS_DIR / f"{sized}.yaml").is_file() else source


def _model_config(task: str, config: TrainConfig, manifest: Manifest, overrides: Sequence[str]) -> Any:
    if isinstance(config, AcousticTraining) and not manifest.has_tokens:
        raise InputError(
            f"{config.tokens} holds no codec tokens, since the model that made it has no codec; make tokens with a "
            "model that has one, such as accompany tokenize PAIRS TOKENS --model tiny."
        )
    if config.init:
        return _config_of_init(task, config, manifest, overrides)
    fitted = fit_to_tokens(config.model, manifest)  # type: ignore[attr-defined]
    if not isinstance(config, AcousticTraining) or not config.codebooks:
        return fitted
    if config.codebooks > fitted.codebooks:
        raise InputError(f"codebooks={config.codebooks} is more than the {fitted.codebooks} that the tokens have.")
    return dataclasses.replace(fitted, codebooks=config.codebooks)


def _config_of_init(task: str, config: TrainConfig, manifest: Manifest, overrides: Sequence[str]) -> Any:
    """The sizes of the model to start from, changed by the overrides alone; checked against the tokens."""
    check_made_by(config.init, manifest, _ENCODERS[task])
    folder = resolve_folder(read_bundle(find_bundle(config.init)).part(task).source)
    schema = config_type(find_task(task).model)
    changes = [item.removeprefix("model.") for item in overrides if item.startswith("model.")]
    own: Any = changed(from_dict(schema, read_json(folder / CONFIG_NAME)), changes)
    fitted = fit_to_tokens(own, manifest)
    if isinstance(own, AcousticConfig) and own.codebooks < fitted.codebooks:
        fitted = dataclasses.replace(fitted, codebooks=own.codebooks)
    if fitted != own:
        raise InputError(
            f"The {task} stage of {config.init} does not fit the tokens in {config.tokens}; make them with "
            f"accompany tokenize --model {config.init}."
        )
    return own


def check_made_by(model: str, manifest: Manifest, encoders: Sequence[str]) -> None:
    """Raise InputError when the tokens were made by other encoders than those of a model."""
    made = load_parts(model).fingerprints()
    others = [name for name in encoders if name in made and made[name] != manifest.parts.get(name)]
    if others:
        raise InputError(
            f"The {' and '.join(others)} of {model} did not make these tokens; make them with accompany tokenize "
            f"--model {model}, or name the model that made them."
        )


def _start(model: nn.Module, task: str, config: TrainConfig) -> None:
    if config.init:
        folder = resolve_folder(read_bundle(find_bundle(config.init)).part(task).source)
        load_state(model, _with_new_conditions(read_state(folder / WEIGHTS_NAME), model), folder)
    if config.lora.rank:
        add_lora(model, config.lora)
    if isinstance(model, AcousticStage) and isinstance(config, AcousticTraining) and config.codec:
        start_from(model, load_codec(config.codec).codebooks)


def _with_new_conditions(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights to start from, with zeros for a condition that their model has not: it changes nothing at first."""
    conditions = ("embedding.instruments.", "embedding.stem.")
    new = {name: torch.zeros_like(own) for name, own in model.state_dict().items() if name.startswith(conditions)}
    return new | state


class TokenData(lightning.LightningDataModule):
    """The loaders of a tokens folder; training starts at the batch where the run stands."""

    def __init__(self, config: TrainConfig, *, needs_band: bool) -> None:
        super().__init__()
        self.config = config
        part = config.loading.batch_size // config.accumulate
        loading = dataclasses.replace(config.loading, seed=config.loading.seed + config.seed, batch_size=part)
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
        """Batches of the same crops each time."""
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
        "stems": bool(manifest.settings.get("stems")) or None if isinstance(model_config, AcousticConfig) else None,
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


def make_run_dir(run_dir: str, key: str = "run_dir") -> Path:
    """Make a run's folder where it is missing; InputError, which names the config's key, where that cannot be done."""
    if "://" in run_dir or not run_dir:
        raise InputError(f"{key}={run_dir} must name a folder of this machine; training writes to no other place.")
    try:
        Path(run_dir).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot make the folder {run_dir} ({reason}); choose another {key}.") from error
    return Path(run_dir)


@contextmanager
def run_lock(run_dir: Path, doing: str, *, on_ray: bool = False) -> Iterator[None]:
    """Hold a run's folder, and delete what a killed run left half written.

    Of several processes that train together the first holds it. InputError when another run does.
    """
    with folder_lock(run_dir, doing) if is_first(on_ray) else nullcontext():
        if is_first(on_ray):
            remove_half_files(run_dir)
        yield


def _open_run(
    run_dir: Path, task: str, config: TrainConfig, model_config: Any, manifest: Manifest, *, writes: bool
) -> None:
    """Check that a run in the folder is of the same model and tokens, and write down what is run.

    Of several processes one `writes`: it deletes half-written files, and would take those of another for leftovers.
    """
    content = {"task": task, "model": to_dict(model_config), "tokens": manifest.parts, "config": to_dict(config)}
    if config.init:
        content["init"] = {"model": config.init, "hash": part_hash(config.init, task)}
    if config.lora.rank:
        content["lora"] = to_dict(config.lora)
    if usable_checkpoint(run_dir) is not None:
        before = read_json(run_dir / RUN_FILE)
        if before.get("task") == task:  # an older version's config lacks what has been added since
            before["model"] = to_dict(from_dict(type(model_config), before["model"]))
        changed = [key for key in _FIXED if _fixed(before, key) != _fixed(content, key)]
        if changed:
            raise InputError(
                f"{run_dir} holds a run with another {' and '.join(changed)}; choose another run_dir, "
                "or delete that one to start anew."
            )
    if writes:
        write_json(run_dir / RUN_FILE, content)


def _fixed(run: Mapping[str, Any], key: str) -> Any:
    """Settings of run.json that must be equal; the model that a run started from may lie elsewhere now."""
    value = run.get(key)
    return value["hash"] if key == "init" and value else _plain(value)


def _plain(value: Any) -> Any:
    """A value as JSON gives it back (tuples are lists), without what may change when a run goes on."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _NOT_IN_WEIGHTS}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
