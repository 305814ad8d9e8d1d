"""A small HTDemucs of four sources with random weights, as published ones are laid out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RATE = 16000
SOURCES = ("drums", "bass", "other", "vocals")


def small_htdemucs() -> Any:
    """Stereo at 16 kHz."""
    import torch
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    return HTDemucs(
        sources=list(SOURCES), channels=8, nfft=1024, depth=3, t_layers=1, t_heads=2,
        bottom_channels=16, samplerate=RATE, segment=1,
    )  # fmt: skip


def write_separator(model: Any, folder: Path) -> Path:
    """In the layout of the hub: small.yaml and SIGNATURE.safetensors with class and arguments in its metadata."""
    from safetensors.torch import save_file

    args, kwargs = model._init_args_kwargs
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps(args), "kwargs": json.dumps(kwargs)}
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "abc.safetensors", metadata)
    (folder / "small.yaml").write_text("models: ['abc']\n")
    return folder
