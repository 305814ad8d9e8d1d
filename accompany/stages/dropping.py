"""Condition dropout for training, so that each condition stays optional and guidance has a contrast."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from accompany.music.plan import BAR_PHASE, BEAT_PHASE
from accompany.stages.conditions import Conditions, DropRates


def drop(
    conditions: Conditions, rates: DropRates, generator: torch.Generator | None = None, *, gaps: bool = True
) -> Conditions:
    """Hide conditions at random, item by item, for training.

    Args:
        conditions: complete ones.
        rates: how often each is hidden.
        generator: where chance comes from, on the CPU.
        gaps: known codes that stay leave a gap for the stage to fill; False hides stretches of them at the same rate.
    """
    shape = conditions.batch_size, conditions.n_frames
    device = conditions.vocal.device

    def kept(rate: float, stretches: bool = False) -> Tensor:
        return ~_hidden(shape, rate, stretches, generator).to(device)

    groups = torch.stack([kept(rate, True) for rate in (rates.beat, rates.chord, rates.key)], dim=-1)
    control = conditions.control.clone()
    for columns, rate in ((BEAT_PHASE + BAR_PHASE, rates.phase), (BAR_PHASE, rates.bar)):
        control[..., columns] = control[..., columns] * kept(rate)[..., None]
    unknown = ~kept(rates.known, not gaps)
    if gaps:
        unknown |= ~_flanks(shape, generator).to(device)
    return dataclasses.replace(
        conditions,
        vocal_mask=conditions.vocal_mask & kept(rates.vocal, True),
        mert_mask=conditions.mert_mask & kept(rates.mert),
        text_mask=conditions.text_mask & kept(rates.text),
        control=control,
        control_mask=conditions.control_mask & groups,
        known=conditions.known.masked_fill(unknown[:, None], -1),
        **_instruments(conditions, rates, kept),
    )


def _instruments(conditions: Conditions, rates: DropRates, kept: Callable[[float], Tensor]) -> dict[str, Tensor]:
    """The mask of the instrumentation; chance is asked for only where there is one."""
    if not bool(conditions.instruments_mask.any()):
        return {}
    return {"instruments_mask": conditions.instruments_mask & kept(rates.instruments)}


@dataclass(frozen=True)
class Splice:
    """For each frame of each item, which item of the batch it is taken from: `source` [B, F]."""

    source: Tensor

    def conditions(self, conditions: Conditions) -> Conditions:
        """Conditions whose frames change over."""
        fields = {item.name: getattr(conditions, item.name) for item in dataclasses.fields(conditions)}
        known = fields.pop("known")
        taken = {name: self._taken(value) for name, value in fields.items()}
        return dataclasses.replace(conditions, **taken, known=self.streams(known))

    def streams(self, codes: Tensor) -> Tensor:
        """Codes or tokens [B, K, n * F] whose frames change over, n to each frame."""
        return self._taken(codes.transpose(1, 2)).transpose(1, 2)

    def _taken(self, value: Tensor) -> Tensor:
        """Of [B, n * F, ...]."""
        source = self.source.to(value.device).repeat_interleave(value.shape[1] // self.source.shape[1], dim=1)
        return value[source, torch.arange(value.shape[1], device=value.device)]


def draw_splice(frame_mask: Tensor, rate: float, generator: torch.Generator | None = None) -> Splice:
    """Splice items with their neighbour in the batch, each at `rate`, somewhere in their middle half.

    An item that is alone (in the part of a batch that one device works through at once) stays as it is.

    Args:
        frame_mask: [B, F], False for padding; an item that is over by then stays as it is.
        rate: 0..1.
        generator: where chance comes from, on the CPU.
    """
    (batch, n_frames), device = frame_mask.shape, frame_mask.device
    wanted = (torch.rand(batch, generator=generator) < rate).to(device)
    cuts = (n_frames * (0.25 + 0.5 * torch.rand(batch, generator=generator))).long().clamp(min=1).to(device)
    own = torch.arange(batch, device=device)
    other = torch.where(wanted & (cuts <= frame_mask.sum(dim=1)), (own + 1) % batch, own)
    behind = torch.arange(n_frames, device=device) >= cuts[:, None]
    return Splice(torch.where(behind, other[:, None], own[:, None]))


def drop_history(codes: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
    """Hide (-1) some of the codes [B, K, F] that a decoder sees as written before, each on its own."""
    if not rate:
        return codes
    rates = 2 * rate * torch.rand(codes.shape[0], 1, 1, generator=generator)
    hidden = torch.rand(codes.shape, generator=generator) < rates
    return codes.masked_fill(hidden.to(codes.device), -1)


def swap_history(codes: Tensor, rate: float, generator: torch.Generator | None = None) -> Tensor:
    """Put a stretch of another item's codes into those [B, K, F] that a decoder sees as written, in items at `rate`."""
    if not rate:
        return codes
    return torch.where(
        _swapped(len(codes), codes.shape[-1], rate, generator)[:, None].to(codes.device), codes.roll(1, 0), codes
    )


def _hidden(shape: tuple[int, int], rate: float, stretches: bool, generator: torch.Generator | None) -> Tensor:
    """[B, F] bool: items hidden at `rate`; with `stretches` half of those in a random stretch of frames only."""
    batch = shape[0]
    hidden = torch.rand(batch, generator=generator) < rate
    if not stretches:
        return hidden[:, None].expand(shape)
    whole = torch.rand(batch, generator=generator) < 0.5
    inside = _stretch(shape, generator)
    return hidden[:, None] & (whole[:, None] | inside)


def _flanks(shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """[B, F] bool: the left and the right of a random gap, each there in two of three items."""
    gap = _stretch(shape, generator)
    behind = gap.long().cumsum(dim=1) > 0
    known = torch.rand(shape[0], 2, generator=generator) < 2 / 3
    return ~gap & torch.where(behind, known[:, 1:], known[:, :1])


def _stretch(shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    ends = (torch.rand(shape[0], 2, generator=generator) * (shape[1] + 1)).long().sort(dim=1).values
    frames = torch.arange(shape[1])
    return (frames >= ends[:, :1]) & (frames <= ends[:, 1:])


def disturb(
    frames: Tensor, generator: torch.Generator | None, *, noise: float, hidden: float, swapped: float
) -> Tensor:
    """Vectors of frames [B, F, E] as a model that errs or begins would have left them (`DepthConfig.history_*`)."""
    if swapped:
        others = _swapped(len(frames), frames.shape[1], swapped, generator)
        frames = torch.where(others[..., None].to(frames.device), frames.roll(1, 0), frames)
    if noise:
        share = noise * torch.rand(len(frames), 1, 1, generator=generator)
        drawn = share * torch.randn(frames.shape, generator=generator)
        frames = frames + frames.detach().std() * drawn.to(frames)
    return frames * _shown(len(frames), frames.shape[1], hidden, generator).to(frames) if hidden else frames


def _swapped(n_items: int, n_frames: int, rate: float, generator: torch.Generator | None) -> Tensor:
    """Where an item's history is to be that of another one, a stretch of the items at `rate`: [B, F] bool."""
    return _stretch((n_items, n_frames), generator) & (torch.rand(n_items, 1, generator=generator) < rate)


def _shown(n_items: int, n_frames: int, hidden: float, generator: torch.Generator | None) -> Tensor:
    """1 from the frame on from which training shows an item's history, 0 before: [B, F, 1]."""
    kind, place = torch.rand(2, n_items, 1, 1, generator=generator)
    begin = torch.where(kind < hidden / 2, 1.0, torch.where(kind < hidden, place, 0.0))
    return torch.arange(n_frames)[:, None] >= begin * n_frames
