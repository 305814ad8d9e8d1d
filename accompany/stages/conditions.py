"""Conditions of a stage, frame by frame: the vocal, the prompt, the plan and codes that are already there.

Every condition may be absent, in any frame, and has a learned vector for that. Training draws absences at
random (`accompany.stages.dropping`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.music.instrumentation import DIM as INSTRUMENTS_DIM
from accompany.music.instrumentation import STEMS
from accompany.music.plan import CONTROL_DIM, GROUP_SLICES
from accompany.stages.transformer import init_weights

STEM_TAGS = ("mix", *STEMS)
"""Names of the values of `Conditions.stem`."""


@dataclass(frozen=True)
class DropRates:
    """Dropout rates of the conditions in training, 0..1, drawn independently for each item.

    Attributes:
        vocal: the vocal as a whole, or (half of the draws) a stretch of it.
        mert: the MERT part of the vocal only; the melody features stay.
        text: the prompt.
        beat, chord, key: the groups of the control track, as a whole or (half of the draws) a stretch.
        phase: of the beat group all but the tempo.
        bar: of the beat group the bars.
        known: known codes as a whole; else codes before and after a gap stay known.
        history: of the codes that a decoder has written before (semantic stage). Each item draws its own rate, up to
            twice this. What was written is half wrong when a small model writes it itself, and one that learnt to
            do without parts of it keeps to its conditions.
        swapped: no absence, but how often a stretch of what a decoder has written before is another item's (semantic
            stage). What goes astray looks right by itself, as that does; only the conditions tell.
        splice: no absence, but how often an item goes over into another one of its batch at some frame, with its codes.
            There what was written before says nothing of what comes, so the prompt and the plan have to, and a prompt
            that changes in the middle of a song is obeyed.
        instruments: the instrumentation.
    """

    vocal: float = 0.1
    mert: float = 0.2
    text: float = 0.15
    beat: float = 0.15
    chord: float = 0.2
    key: float = 0.3
    phase: float = 0.05
    bar: float = 0.1
    known: float = 0.7
    history: float = 0.0
    swapped: float = 0.0
    splice: float = 0.0
    instruments: float = 0.2

    def __post_init__(self) -> None:
        """Raise ValueError for a rate outside 0..1."""
        for name, rate in dataclasses.asdict(self).items():
            if not 0 <= rate <= 1:
                raise ValueError(f"drop rate {name}={rate} must be from 0 to 1")


@dataclass(frozen=True)
class ConditionConfig:
    """Widths of the conditions.

    Attributes:
        melody_dim: columns of the vocal that are melody features.
        mert_dim: columns after them that are MERT states; 0 for none.
        text_dim: width of the CLAP embedding.
        code_sizes: codes in each stream of semantic codes.
        instruments: whether the instrumentation (`accompany.music.instrumentation`) is a condition.
        stems: whether the stem that is made (`STEM_TAGS`) is one.
        drop: rates of absence in training.
    """

    melody_dim: int = 54
    mert_dim: int = 256
    text_dim: int = 256
    code_sizes: tuple[int, ...] = (512, 512)
    instruments: bool = False
    stems: bool = False
    drop: DropRates = field(default_factory=DropRates)

    def __post_init__(self) -> None:
        """Raise ValueError for widths below what can be."""
        if min(self.melody_dim, self.text_dim) < 1 or self.mert_dim < 0:
            raise ValueError("melody_dim and text_dim must be at least 1, mert_dim at least 0")
        if not self.code_sizes or min(self.code_sizes) < 2:
            raise ValueError(f"code_sizes {self.code_sizes} must hold a size of at least 2 for each stream")

    @property
    def vocal_dim(self) -> int:
        """Dv, the width of the vocal features."""
        return self.melody_dim + self.mert_dim


@dataclass(frozen=True)
class Conditions:
    """Everything that conditions a stage, on the semantic grid. Masks are True where something is known.

    Attributes:
        vocal: [B, F, Dv] melody features, then MERT states.
        vocal_mask: [B, F].
        mert_mask: [B, F], for the MERT part; it counts only where `vocal_mask` is True.
        text: [B, F, Dt] CLAP embedding of the prompt (it may change from frame to frame) or of a reference.
        text_mask: [B, F].
        instruments: [B, F, Di] of `Instrumentation.vector`.
        instruments_mask: [B, F].
        stem: [B, F] which of `STEM_TAGS` is made.
        control: [B, F, Dc] of `plan.control_track`.
        control_mask: [B, F, 3] for beat, chord and key.
        known: [B, K, F] semantic codes, -1 where unknown.
        frame_mask: [B, F], False for padding behind the end of the shorter items of a batch.
    """

    vocal: Tensor
    vocal_mask: Tensor
    mert_mask: Tensor
    text: Tensor
    text_mask: Tensor
    instruments: Tensor
    instruments_mask: Tensor
    stem: Tensor
    control: Tensor
    control_mask: Tensor
    known: Tensor
    frame_mask: Tensor

    @property
    def batch_size(self) -> int:
        """B."""
        return self.vocal.shape[0]

    @property
    def n_frames(self) -> int:
        """F."""
        return self.vocal.shape[1]

    def window(self, start: int, stop: int) -> Conditions:
        """The frames from `start` to before `stop`."""
        cut = {name: value[:, start:stop] for name, value in self._fields().items() if name != "known"}
        return Conditions(**cut, known=self.known[:, :, start:stop])

    def item(self, index: int) -> Conditions:
        """One item of the batch, as a batch of one."""
        return self._map(lambda value: value[index : index + 1])

    def without(self, *names: str) -> Conditions:
        """The same with `text`, `instruments`, `vocal`, `control` or `known` absent everywhere."""
        changes: dict[str, Tensor] = {}
        for name in names:
            if name == "known":
                changes["known"] = torch.full_like(self.known, -1)
            else:
                changes[f"{name}_mask"] = torch.zeros_like(getattr(self, f"{name}_mask"))
        return dataclasses.replace(self, **changes)

    def with_known(self, codes: Tensor) -> Conditions:
        """The same with these known codes [B, K, F] (-1 unknown)."""
        return dataclasses.replace(self, known=codes)

    def to(self, device: torch.device | str) -> Conditions:
        """The same on `device`."""
        return self._map(lambda value: value.to(device))

    def _fields(self) -> dict[str, Tensor]:
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    def _map(self, change: Callable[[Tensor], Tensor]) -> Conditions:
        return Conditions(**{name: change(value) for name, value in self._fields().items()})


def stack(items: Sequence[Conditions]) -> Conditions:
    """Join conditions along the batch; shorter ones are padded at the end, as `frame_mask` says."""
    if len(items) == 1:
        return items[0]
    longest = max(item.n_frames for item in items)
    return join([_padded(item, longest) for item in items])


def join(items: Sequence[Conditions]) -> Conditions:
    """Join conditions of equal length along the batch."""
    fields = [item._fields() for item in items]
    return Conditions(**{name: torch.cat([each[name] for each in fields]) for name in fields[0]})


def make_conditions(
    config: ConditionConfig,
    n_frames: int,
    batch_size: int = 1,
    *,
    vocal: Tensor | None = None,
    vocal_mask: Tensor | None = None,
    text: Tensor | None = None,
    instruments: Tensor | None = None,
    stem: Tensor | None = None,
    control: Tensor | None = None,
    control_mask: Tensor | None = None,
    known: Tensor | None = None,
) -> Conditions:
    """Conditions from what there is; everything else is absent.

    Args:
        config: the widths.
        n_frames: F.
        batch_size: B.
        vocal: [B, F, Dv], or [B, F, melody_dim] without MERT states.
        vocal_mask: [B, F]; None means everywhere.
        text: [B, Dt] or [B, F, Dt].
        instruments: [B, Di] or [B, F, Di]; all zero is as good as absent.
        stem: [B]; None is the mix.
        control: [B, F, Dc].
        control_mask: [B, F, 3]; None means all groups everywhere.
        known: [B, K, F], -1 where unknown.

    Raises:
        ValueError: a tensor does not have the shape that the config asks for.
    """
    shape = (batch_size, n_frames)
    device = next((value.device for value in (vocal, text, control, known) if value is not None), torch.device("cpu"))

    def presence(value: Tensor | None, mask: Tensor | None, *more: int) -> Tensor:
        if value is not None and mask is not None:
            return mask.bool()
        return torch.full((*shape, *more), value is not None, device=device)

    has_mert = vocal is not None and vocal.shape[-1] == config.vocal_dim
    if vocal is not None and vocal.shape[-1] == config.melody_dim:
        vocal = functional.pad(vocal, (0, config.mert_dim))
    made = Conditions(
        vocal=_or_zeros(vocal, (*shape, config.vocal_dim), device),
        vocal_mask=presence(vocal, vocal_mask),
        mert_mask=torch.full(shape, has_mert, device=device),
        text=_or_zeros(_per_frame(text, n_frames), (*shape, config.text_dim), device),
        text_mask=presence(text, None),
        instruments=_or_zeros(_per_frame(instruments, n_frames), (*shape, INSTRUMENTS_DIM), device),
        instruments_mask=presence(instruments, None),
        stem=torch.zeros(shape, dtype=torch.long, device=device) if stem is None else stem[:, None].expand(shape),
        control=_or_zeros(control, (*shape, CONTROL_DIM), device),
        control_mask=presence(control, control_mask, 3),
        known=torch.full((batch_size, len(config.code_sizes), n_frames), -1, device=device) if known is None else known,
        frame_mask=torch.ones(shape, dtype=torch.bool, device=device),
    )
    _check_shapes(made, config)
    return made


class ConditionEmbedding(nn.Module):
    """Projects each condition to the stage's width and adds them up; absent ones add their own vector."""

    def __init__(self, config: ConditionConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.melody = nn.Linear(config.melody_dim, width)
        self.mert_norm = nn.LayerNorm(config.mert_dim) if config.mert_dim else None
        self.mert = nn.Linear(config.mert_dim, width) if config.mert_dim else None
        self.text = nn.Linear(config.text_dim, width)
        self.control = nn.ModuleList(nn.Linear(part.stop - part.start, width) for part in GROUP_SLICES)
        self.known = nn.ModuleList(nn.Embedding(size + 1, width) for size in config.code_sizes)
        self.absent = nn.Embedding(3 + len(GROUP_SLICES), width)
        self.apply(init_weights)
        self.instruments = nn.Linear(INSTRUMENTS_DIM, width).apply(init_weights) if config.instruments else None
        self.stem = nn.Embedding(len(STEM_TAGS), width).apply(init_weights) if config.stems else None

    def forward(self, conditions: Conditions, stems: Sequence[int] = ()) -> Tensor:
        """[B, F, D], the sum of all conditions; with `stems` of `STEM_TAGS` [B * S, F, D], each item for one by one."""
        melody, mert = conditions.vocal.split([self.config.melody_dim, self.config.mert_dim], dim=-1)
        total = self._present(0, self.melody(melody), conditions.vocal_mask)
        if self.mert is not None and self.mert_norm is not None:
            mert_mask = conditions.vocal_mask & conditions.mert_mask
            total = total + self._present(1, self.mert(self.mert_norm(mert)), mert_mask)
        text = self.text(conditions.text * self.config.text_dim**0.5)
        total = total + self._present(2, text, conditions.text_mask)
        for group, (part, project) in enumerate(zip(GROUP_SLICES, self.control, strict=True)):
            value = project(conditions.control[..., part])
            total = total + self._present(3 + group, value, conditions.control_mask[..., group])
        for stream, embed in enumerate(self.known):
            total = total + embed(conditions.known[:, stream] + 1)
        if self.instruments is not None:
            # An instrumentation that is absent states nothing, as one of zeros does.
            total = total + self.instruments(conditions.instruments * conditions.instruments_mask[..., None])
        if stems and self.stem is None:
            raise ValueError("this stage knows no stems")
        if self.stem is not None and stems:
            return (total[:, None] + self.stem.weight[list(stems), None]).flatten(0, 1)
        return total if self.stem is None else total + self.stem(conditions.stem)

    def _present(self, which: int, value: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask[..., None], value, self.absent.weight[which].to(value.dtype))


def _or_zeros(value: Tensor | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.zeros(shape, device=device) if value is None else value


def _per_frame(text: Tensor | None, n_frames: int) -> Tensor | None:
    return text[:, None].expand(-1, n_frames, -1) if text is not None and text.dim() == 2 else text


def _padded(item: Conditions, n_frames: int) -> Conditions:
    more = n_frames - item.n_frames

    def pad(name: str, value: Tensor) -> Tensor:
        if name == "known":
            return functional.pad(value, (0, more), value=-1)
        return functional.pad(value, (0, 0) * (value.dim() - 2) + (0, more))

    return Conditions(**{name: pad(name, value) for name, value in item._fields().items()})


def _check_shapes(made: Conditions, config: ConditionConfig) -> None:
    shape = made.frame_mask.shape
    wanted = {
        "vocal": (*shape, config.vocal_dim),
        "vocal_mask": shape,
        "text": (*shape, config.text_dim),
        "instruments": (*shape, INSTRUMENTS_DIM),
        "stem": shape,
        "control": (*shape, CONTROL_DIM),
        "control_mask": (*shape, 3),
        "known": (shape[0], len(config.code_sizes), shape[1]),
    }
    for name, expected in wanted.items():
        given = tuple(getattr(made, name).shape)
        if given != tuple(expected):
            raise ValueError(f"{name} has shape {list(given)}, this model takes {list(expected)}")
