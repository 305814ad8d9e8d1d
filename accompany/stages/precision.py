"""Numerical precision of the stages' transformers: float32, half precision or 8-bit weights.

Only the matrices and the stream between them change; embeddings, conditions, output weights and sampling stay float32.
"""

from __future__ import annotations

import torch
from torch import nn

from accompany.errors import InputError
from accompany.stages.products import Int8Linear
from accompany.stages.transformer import Transformer

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_LAYERS = ("project", "out", "feed_in", "feed_out")


def choose_precision(name: str, device: str) -> str:
    """The precision for `name` on a device; "auto" halves on a CUDA GPU, which is bound by memory, and nowhere else.

    Raises:
        InputError: no such precision, or not on this device.
    """
    if name not in PRECISIONS:
        raise InputError(f"There is no precision '{name}'; use one of {', '.join(PRECISIONS)}.")
    if name == "int8" and device != "cpu":
        raise InputError(
            f"The precision int8 runs on the CPU only, not on {device}; leave it out, or use --device cpu."
        )
    if name != "auto":
        return name
    if device != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def set_precision(module: nn.Module, precision: str) -> None:
    """Change every `Transformer` in a module, in place, from float32 to a precision other than "auto"."""
    for part in module.modules():
        if isinstance(part, Transformer) and precision in _HALF:
            part.blocks.to(_HALF[precision])
            part.norm.to(_HALF[precision])
        if isinstance(part, Transformer) and precision == "int8":
            _round(part.blocks)


def _round(blocks: nn.Module) -> None:
    for parent in list(blocks.modules()):
        for name in _LAYERS:
            layer = getattr(parent, name, None)
            if isinstance(layer, nn.Linear):
                setattr(parent, name, Int8Linear.of(layer.weight.detach()))
