"""What a training takes, counted before it is begun: floating point operations, memory, hours and their price."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from accompany.common.config import load_config
from accompany.data.tokens.store import Manifest
from accompany.errors import InputError
from accompany.music.plan import CONTROL_DIM
from accompany.stages.batch import Batch
from accompany.training.stages.callbacks import OF_A_STEP, forward_flops, peak_flops
from accompany.training.train import TASKS, config_named, fit_to_tokens

_BYTES = 20
"""Of a parameter in training: itself, its gradient, AdamW's two moments and the average, in float32."""


def _published(mert: int, books: int, rate: float) -> Manifest:
    sizes = {"melody_dim": 54, "vocal_dim": 54 + mert, "text_dim": 512, "tokens": books, "token_size": 1024}
    return Manifest({}, {}, sizes, frame_rate=25.0, codec_frame_rate=rate, code_sizes=(1024, 1024, 1024))


PUBLISHED = {
    # m-a-p/MERT-v1-95M, laion/larger_clap_music, facebook/encodec_24khz with 8 codebooks
    "base": _published(768, 8, 75.0),
    # m-a-p/MERT-v1-330M, the same CLAP, facebook/encodec_48khz: the level and 16 codebooks
    "large": _published(1024, 17, 150.0),
}
"""Tokens of the published models that a size is meant for."""


@dataclass(frozen=True)
class PlanConfig:
    """What to count.

    Attributes:
        trainings: names of configs, `PART_base` or `PART_large`.
        gpu: one that `accompany.training.stages.callbacks` knows the peak of.
        share: of the GPU's bfloat16 peak that training is taken to reach, above 0 to 1.
        price: of an hour of the GPU, in any currency.
    """

    trainings: tuple[str, ...] = ("semantic_base", "acoustic_base", "semantic_large", "acoustic_large")
    gpu: str = "H100"
    share: float = 0.35
    price: float = 2.5

    def __post_init__(self) -> None:
        """Raise InputError for what is not known."""
        if peak_flops(self.gpu) is None:
            raise InputError(f"The peak of '{self.gpu}' is not known; name another GPU, such as H100 or A100.")
        if not 0 < self.share <= 1 or self.price < 0:
            raise InputError("The share of the peak must lie above 0 and at most at 1, the price at 0 or above.")
        unknown = [name for name in self.trainings if not _is_known(name)]
        if unknown:
            raise InputError(f"'{unknown[0]}' cannot be counted; name {', '.join(PlanConfig.trainings)}.")


def _is_known(name: str) -> bool:
    part, _, size = name.partition("_")
    return part in ("semantic", "acoustic") and size in PUBLISHED


def plan(config: PlanConfig) -> dict[str, Any]:
    """Count the trainings; nothing is computed.

    Returns:
        `gpu`, `share`, `price`, and `rows` with `training`, `parameters`, `state_gb` (weights, gradients, moments and
        average; in sharded runs of all GPUs together), `steps`, `batch_size`, `crop_s`, `flops_per_step`, `hours` of
        one GPU, steps x flops_per_step / (share x peak), and `cost`, hours x price.
    """
    peak = peak_flops(config.gpu)
    assert peak is not None
    rows = []
    for name in config.trainings:
        task, _, size = name.partition("_")
        chosen: Any = load_config(TASKS[task].config, config_named(size, task))
        manifest = PUBLISHED[size]
        with torch.device("meta"):
            model: Any = TASKS[task].model(fit_to_tokens(chosen.model, manifest))  # type: ignore[call-arg]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        flops = chosen.loading.batch_size * crop_flops(model, manifest, chosen.loading.crop_s)
        hours = chosen.max_steps * flops / (config.share * peak) / 3600
        rows.append(
            {
                "training": name,
                "parameters": parameters,
                "state_gb": _BYTES * parameters / 1e9,
                "steps": chosen.max_steps,
                "batch_size": chosen.loading.batch_size,
                "crop_s": chosen.loading.crop_s,
                "flops_per_step": flops,
                "hours": hours,
                "cost": hours * config.price,
            }
        )
    return {"gpu": config.gpu, "share": config.share, "price": config.price, "rows": rows}


def crop_flops(model: nn.Module, manifest: Manifest, crop_s: float) -> float:
    """Floating point operations of the matrix products that training does for a crop, as a run's log counts them.

    They are counted on tensors without content, so on any machine in a moment; where a loss leaves out what chance has
    hidden, all of it is counted.
    """
    import torch.fx.experimental._config as shapes

    meta = copy.deepcopy(model).to("meta")
    with cast(Any, shapes).patch(meta_nonzero_assume_all_nonzero=True):
        return OF_A_STEP * forward_flops(meta, _blank(manifest, crop_s))


def _blank(manifest: Manifest, crop_s: float) -> Batch:
    """A crop of tokens' shapes and no content."""
    n_frames = round(crop_s * manifest.frame_rate)
    sizes = manifest.sizes
    with torch.device("meta"):
        return Batch(
            vocal=torch.empty(1, n_frames, sizes["vocal_dim"]),
            text=torch.empty(1, sizes["text_dim"]),
            control=torch.empty(1, n_frames, CONTROL_DIM),
            control_mask=torch.empty(1, n_frames, 3, dtype=torch.bool),
            codes=torch.empty(1, len(manifest.code_sizes), n_frames, dtype=torch.long),
            tokens=torch.empty(1, sizes["tokens"], n_frames * manifest.tokens_per_frame, dtype=torch.long),
        )


def plan_table(report: dict[str, Any]) -> str:
    """The report for people."""
    of_peak = f"{report['share']:.0%} of its bfloat16 peak"
    lines = [f"One {report['gpu']} at {of_peak}, {report['price']:g} an hour; computed, not measured."]
    for row in report["rows"]:
        held = f"{row['parameters'] / 1e6:.0f}M parameters, {row['state_gb']:.1f} GB with all that they need"
        lines.append(
            f"{row['training']} ({held}): {row['steps']} steps of {row['batch_size']} crops of {row['crop_s']:g} s, "
            f"{row['flops_per_step'] / 1e12:.1f} TFLOP each, {row['hours']:.1f} hours, {row['cost']:.1f}"
        )
    return "\n".join([*lines, _sum_line(report["rows"])])


def _sum_line(rows: Sequence[dict[str, Any]]) -> str:
    return f"together: {sum(row['hours'] for row in rows):.1f} hours, {sum(row['cost'] for row in rows):.1f}"
