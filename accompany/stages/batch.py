"""Training batches: one dataclass with every tensor that a training step may need, and the conditions in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from accompany.stages.conditions import ConditionConfig, Conditions, make_conditions


@dataclass(frozen=True)
class Batch:
    """A batch of equally long clips. Every field is optional; a task takes what it needs and says what it misses.

    Floating point fields are float32 (or float16, widened by `float()`), integer fields int64. In all
    integer targets and in `beat_target` and `downbeat_target` a value of -1 means unknown: it counts in no loss.

    Attributes:
        vocal: [B, F, Dv] melody features, then MERT states, of the (augmented) vocal on the semantic grid.
        vocal_mask: [B, F] bool, True where the vocal is known; None means everywhere.
        text: [B, F, Dt] or [B, Dt] CLAP embedding of the caption (or of the accompaniment's sound), unit norm.
        instruments: [B, Di] of `accompany.music.instrumentation`, zeros for what is left open.
        control: [B, F, Dc] control track of `accompany.music.plan.control_track`.
        control_mask: [B, F, 3] bool, which of the groups beat, chord, key is known in each frame.
        codes: [B, K, F] semantic codes of the accompaniment.
        tokens: [B, Kc, A] codec tokens of the accompaniment, or of one of its stems, A = F times a whole number.
        stem: [B] which of `STEM_TAGS` the tokens are of; None for the mix.
        beat_target: [B, 2F] 1 in the frame (50 Hz at a 25 Hz grid) of a beat, else 0.
        downbeat_target: [B, 2F] likewise for the first beats of bars.
        chord_target: [B, F] majmin chord, 0..11 major on C..B, 12..23 minor, 24 no chord.
        key_target: [B] key, 0..11 major on C..B, 12..23 minor.
    """

    vocal: Tensor | None = None
    vocal_mask: Tensor | None = None
    text: Tensor | None = None
    instruments: Tensor | None = None
    control: Tensor | None = None
    control_mask: Tensor | None = None
    codes: Tensor | None = None
    tokens: Tensor | None = None
    stem: Tensor | None = None
    beat_target: Tensor | None = None
    downbeat_target: Tensor | None = None
    chord_target: Tensor | None = None
    key_target: Tensor | None = None

    @property
    def size(self) -> int:
        """B, from the first field that is there; 0 for an empty batch."""
        return next((value.shape[0] for value in self._present().values()), 0)

    def to(self, device: torch.device | str, *args: object, **kwargs: object) -> Batch:
        """The same batch on `device`; Lightning calls this."""
        return self._map(lambda value: value.to(device))

    def float(self) -> Batch:
        """The same batch with half precision fields widened to float32 and small integers to int64."""
        return self._map(_widen)

    def select(self, items: Tensor | slice) -> Batch:
        """The sub-batch of `items` (an index tensor or a slice over B)."""
        return self._map(lambda value: value[items])

    def need(self, field: str) -> Tensor:
        """The tensor of `field`, or a ValueError that names what the loader left out."""
        value = getattr(self, field)
        if value is None:
            raise ValueError(f"this step needs '{field}' in the batch; present: {', '.join(self._present())}")
        return value

    def _present(self) -> dict[str, Tensor]:
        fields = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: value for name, value in fields if value is not None}

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return dataclasses.replace(self, **{name: change(value) for name, value in self._present().items()})


def _widen(value: Tensor) -> Tensor:
    if value.is_floating_point():
        return value.float()
    return value if value.dtype == torch.bool else value.long()


def conditions_of(config: ConditionConfig, batch: Batch, n_frames: int) -> Conditions:
    """The conditions in a training batch, with nothing dropped and no codes known."""
    return make_conditions(
        config,
        n_frames,
        batch.size,
        vocal=batch.vocal,
        vocal_mask=batch.vocal_mask,
        text=batch.text,
        instruments=batch.instruments,
        stem=batch.stem,
        control=batch.control,
        control_mask=batch.control_mask,
    )
