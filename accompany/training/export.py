"""Export of a run for inference: a part's folder, an adapter, or a whole model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from accompany.common.config import from_dict, read_json
from accompany.common.files import require_writable
from accompany.common.saving import save_module
from accompany.common.weights import config_type, load_state
from accompany.errors import InputError
from accompany.models.adapters import save_adapter
from accompany.models.assemble import assemble
from accompany.models.pretrained import find_bundle
from accompany.models.writing import check_place
from accompany.stages.lora import LoraConfig, add_lora, merge
from accompany.training.stages.checkpoints import BEST, averaged_state
from accompany.training.tasks import find_task

RUN_FILE = "run.json"
MODEL_DIR, LORA_DIR = "model", "lora"

PathLike = str | os.PathLike[str]


def export(run_dir: PathLike, out_dir: PathLike | None = None, which: str = BEST) -> Path:
    """Write a run's averaged weights as a module folder that bundles take.

    A run with an adapter gives the model with the adapter in it, and the adapter itself as `lora` in the run's folder.

    Args:
        run_dir: folder of a run.
        out_dir: None for `model` in the run's folder.
        which: "best" or "last" checkpoint.

    Returns:
        The folder with config.json and model.safetensors (half precision).

    Raises:
        InputError: no run there, no checkpoint yet, or a checkpoint of another config.
    """
    run_dir = Path(run_dir)
    out = Path(out_dir) if out_dir is not None else run_dir / MODEL_DIR
    content = read_run(run_dir)
    require_writable(out)
    model_config: Any = from_dict(config_type(find_task(content["task"]).model), content["model"])
    model: nn.Module = find_task(content["task"]).model(model_config)
    lora = from_dict(LoraConfig, content["lora"]) if content.get("lora") else None
    if lora is not None:
        add_lora(model, lora)
    load_state(model, averaged_state(run_dir, which), run_dir)
    if lora is not None:
        name, base = content["init"]["model"], content["init"]["hash"]
        save_adapter(model, lora, run_dir / LORA_DIR, part=content["task"], model=name, base=base)
        merge(model)
    save_module(model, model_config, out)
    return out


def export_bundle(
    runs: Sequence[PathLike], out_dir: PathLike, *, base: PathLike | None = None, which: str = BEST, name: str = ""
) -> Path:
    """Write a whole model: what the runs trained, and all other parts from another model.

    Args:
        runs: folders of runs, each of another part.
        out_dir: the model's folder; a model that is there is replaced.
        base: the model of the other parts; None takes the `init` or `bundle` of the first run that names one.
        which: "best" or "last" checkpoint.
        name: default: the name of `out_dir`.

    Raises:
        InputError: two runs of one part, no base, or what `export` and `assemble` refuse.
    """
    check_place(Path(out_dir))
    contents = [read_run(Path(run)) for run in runs]
    tasks = [content["task"] for content in contents]
    if len(set(tasks)) < len(tasks):
        raise InputError(f"The runs train {', '.join(tasks)}; give at most one run for each part.")
    named = (content["config"].get(key) for content in contents for key in ("init", "bundle"))
    base = base or next((name for name in named if name), None)
    if base is None:
        raise InputError("The other parts of the model must come from somewhere; say --from NAME|DIR, such as tiny.")
    find_bundle(base)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {task: export(run, Path(scratch) / task, which) for task, run in zip(tasks, runs, strict=True)}
        return assemble(out_dir, folders, base=base, name=name or None)


def read_run(run_dir: Path) -> dict[str, Any]:
    """Content of run.json; InputError for a folder that is none of a run."""
    if not (run_dir / RUN_FILE).is_file():
        raise InputError(f"{run_dir} is not the folder of a training run (no {RUN_FILE}); name one that train made.")
    content: dict[str, Any] = read_json(run_dir / RUN_FILE)
    return content
