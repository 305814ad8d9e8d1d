"""Checkpoints on disk: atomic writes, the newest readable one, averaged weights."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor, nn

from accompany.common.files import PART
from accompany.errors import InputError

_log = logging.getLogger(__name__)

LAST, BEST = "last", "best"
CHECKPOINTS = "checkpoints"
_REQUEUED = "hpc_ckpt_*.ckpt"
"""Name of Lightning's checkpoint on preemption by SLURM."""
_VALUES_PER_WEIGHT = 4
"""A weight, its average and AdamW's two moments."""
_FILES = 3
"""The last checkpoint, the best, and one that is being written."""


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written beside their place and then renamed, so that a kill leaves the old one.

    Lightning's own writes to the system's temporary folder and moves the file, which between two disks is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`; InputError when the disk is full."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        try:
            with os.fdopen(handle, "wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except (OSError, RuntimeError) as error:
            if is_full(error):
                raise InputError(
                    f"The disk is full at the checkpoint {path}; free some space and run the same command again: "
                    "it goes on from the checkpoint before."
                ) from error
            raise
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return False


def check_space(model: nn.Module, run_dir: Path) -> None:
    """Raise InputError when the checkpoints of a run have no room in its folder."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    others = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    per_file = 4 * (_VALUES_PER_WEIGHT * trained + 2 * others)
    there = sum(path.stat().st_size for path in (run_dir / CHECKPOINTS).glob("*.ckpt"))
    needed, free = _FILES * per_file - there, shutil.disk_usage(run_dir).free
    if needed > free:
        raise InputError(
            f"The checkpoints in {run_dir} need {needed / 1e9:.3g} GB more, but only {free / 1e9:.3g} GB are free; "
            "free some space, or choose another run_dir."
        )


def usable_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint of the most steps that can be read; None in a new run.

    Raises:
        InputError: there are checkpoints, and all of them are broken.
    """
    folder = run_dir / CHECKPOINTS
    paths = (folder / f"{LAST}.ckpt", *sorted(run_dir.glob(_REQUEUED)), folder / f"{BEST}.ckpt")
    there = [path for path in paths if path.is_file()]
    steps = {path: _step_of(path) for path in there}
    usable = {path: step for path, step in steps.items() if step is not None}
    broken = [path for path in there if path not in usable]
    if broken and not usable:
        raise InputError(
            f"No checkpoint of the run in {run_dir} can be read ({', '.join(path.name for path in broken)}: broken); "
            f"put back a copy, choose another run_dir, or delete {folder} to start anew."
        )
    for path in broken:
        _log.warning("Passing over the broken checkpoint %s.", path)
    return max(usable, key=lambda path: usable[path], default=None)


def _step_of(path: Path) -> int | None:
    """The step of a checkpoint; None for a broken one."""
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception:  # torch raises many kinds for a broken file, with advice that would run code from it
        return None


def tidy(run_dir: Path, resumed: Path | None) -> None:
    """After a start from `resumed`: leave no checkpoint of SLURM's but as the last one."""
    if resumed is not None and resumed.match(_REQUEUED):
        os.replace(resumed, run_dir / CHECKPOINTS / f"{LAST}.ckpt")
    for path in run_dir.glob(_REQUEUED):
        path.unlink(missing_ok=True)


def averaged_state(run_dir: Path, which: str = BEST) -> dict[str, Tensor]:
    """The averaged weights of a run's best (or last) checkpoint, by parameter name.

    Raises:
        InputError: the run has no checkpoint yet, or a broken one.
    """
    folder = run_dir / CHECKPOINTS
    paths = [folder / f"{name}.ckpt" for name in (which, LAST)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(f"{run_dir} holds no checkpoint; train it first, or name another run.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises many kinds for a broken file
        other = LAST if path.stem == BEST else BEST
        raise InputError(f"The checkpoint {path} is broken; use the {other} one, or train on.") from error
    prefix = "average."
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
