"""Small checkpoints in the formats of the packages `encodec` and `laion-clap`, without these packages.

`golden/*.json` hold the names and shapes of a small network that the package itself built, and what it gave with the
weights that `weights` makes for these names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
FIXED = ("stft", "melW", "attn_mask", "relative_position_index", "position_ids", "num_batches_tracked", "inited")


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Random weights, the same everywhere; what an architecture fixes is left at 0, for it must not matter."""
    state = {}
    for seed, (name, shape) in enumerate(shapes.items()):
        drawn = torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))
        near_one = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "LayerNorm.weight", "bn0.weight"))
        if any(part in name for part in FIXED):
            state[name] = torch.zeros(shape)
        elif near_one or name.endswith(("running_var", "weight_g")):
            state[name] = 1 + 0.1 * drawn
        else:
            state[name] = drawn * (1.0 if name.endswith(".embed") else 0.3 / max([*shape[-1:], 1]) ** 0.25)
    return state


def write_encodec(path: Path) -> Path:
    torch.save(weights(golden("encodec")["shapes"]), path)
    return path


def write_laion_clap(path: Path) -> Path:
    """As a training checkpoint, with the prefix of a parallel module, a numpy number and a newer pickle."""
    state = {f"module.{name}": tensor for name, tensor in weights(golden("laion_clap")["shapes"]).items()}
    torch.save({"epoch": 3, "loss": np.float64(0.5), "name": "small", "state_dict": state}, path, pickle_protocol=4)
    return path


def write_roberta_tokenizer(folder: Path) -> Path:
    """RoBERTa's kind of tokenizer that knows letters only."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "\u0120", "\u0120a", ",", "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n\u0120 a\n")
    return folder
