"""Losses of the networks: what their `loss` methods compute in training.

The networks import this module when they train, so their classes are not named in its annotations.

Shape letters: B items, F semantic frames, A codec frames, K streams, V codes, T beats.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from accompany.music.beat_melody import turned
from accompany.music.harmony import NO_CHORD
from accompany.stages.batch import Batch, conditions_of
from accompany.stages.dropping import draw_splice, drop, drop_history, swap_history

_LISTENER_WEIGHTS = {"beat": 6.0, "downbeat": 6.0, "chord": 1.0, "key": 0.3}


def semantic_losses(stage: Any, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Cross entropy of the codes; in training mode conditions are dropped at random.

    Args:
        stage: a `SemanticStage`.
        batch: `codes`, and what conditions there are.
        generator: of the drops, on the CPU.

    Returns:
        `loss`, its parts `stream_0`, `stream_1`, ... and `accuracy` (share of codes that come first).
    """
    batch = batch.float()
    codes = batch.need("codes")
    conditions = conditions_of(stage.config.conditions, batch, codes.shape[-1])
    rates, history = stage.config.conditions.drop, codes
    if stage.training:
        if rates.splice:
            splice = draw_splice(conditions.frame_mask, rates.splice, generator)
            conditions, codes = splice.conditions(conditions), splice.streams(codes)
        conditions = drop(conditions.with_known(codes), rates, generator)
        history = drop_history(swap_history(codes, rates.swapped, generator), rates.history, generator)
    logits = stage(history, conditions)
    parts = stream_losses(logits, codes)
    hits = (logits.argmax(dim=-1) == codes)[codes >= 0].float().mean()
    named = {f"stream_{k}": part.detach() for k, part in enumerate(parts)}
    return {"loss": torch.stack(parts).mean(), **named, "accuracy": hits}


def acoustic_losses(stage: Any, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Cross entropy of the tokens; in training mode conditions are dropped at random.

    Args:
        stage: an `AcousticStage`.
        batch: `tokens` (its first `codebooks` streams count), `codes`, and what other conditions there are.
        generator: of the drops, codebooks and masks, on the CPU.

    Returns:
        `loss` and parts by codebook: `level_0`, `level_1`, ... (in masked mode those that chance picked).
    """
    batch = batch.float()
    tokens, codes = batch.need("tokens")[:, : stage.config.codebooks], batch.need("codes")
    _check_grid(stage, tokens, codes)
    conditions = conditions_of(stage.config.conditions, batch, codes.shape[-1]).with_known(codes)
    rates = stage.config.conditions.drop
    if stage.training:
        if rates.splice:
            splice = draw_splice(conditions.frame_mask, rates.splice, generator)
            conditions, tokens = splice.conditions(conditions), splice.streams(tokens)
        conditions = drop(conditions, rates, generator, gaps=False)
    condition = stage.encode(conditions)
    if stage.config.mode == "masked":
        return stage.decoder.loss(tokens, condition, generator)
    logits = stage.decoder(tokens, condition, generator)
    parts = stream_losses(logits, tokens)
    return {"loss": torch.stack(parts).mean(), **{f"level_{k}": part.detach() for k, part in enumerate(parts)}}


def listener_losses(listener: Any, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Losses on beats, downbeats, chords and key; in training mode the features are augmented.

    Args:
        listener: a `Listener`.
        batch: `vocal` and any of the four targets.
        generator: of the augmentation, on the CPU.

    Returns:
        `loss` and its parts `beat`, `downbeat`, `chord`, `key` as far as there are targets.
    """
    batch = batch.float()
    mert_mask = None
    if listener.training:
        batch, mert_mask = augment(listener.config, batch, generator)
    output = listener(batch.need("vocal"), batch.vocal_mask, mert_mask)
    parts: dict[str, Tensor] = {}
    if batch.beat_target is not None:
        parts["beat"] = pulse_loss(output.beat, batch.beat_target)
    if batch.downbeat_target is not None:
        parts["downbeat"] = pulse_loss(output.downbeat, batch.downbeat_target)
    if batch.chord_target is not None:
        parts["chord"] = functional.cross_entropy(
            output.chord.flatten(0, 1).float(),
            batch.chord_target.flatten(),
            ignore_index=-1,
            label_smoothing=0.05,
        )
    if batch.key_target is not None:
        target = batch.key_target[:, None].expand(output.key.shape[:2])
        parts["key"] = functional.cross_entropy(output.key.flatten(0, 1).float(), target.flatten(), ignore_index=-1)
    total = torch.stack([_LISTENER_WEIGHTS[name] * part for name, part in parts.items()]).sum()
    return {"loss": total, **{name: part.detach() for name, part in parts.items()}}


def harmoniser_losses(harmoniser: Any, beats: Tensor, chords: Tensor, keys: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Negative log likelihoods of the chords (a beat) and of the key: `chord`, `key` and their sum `loss`.

    Args:
        harmoniser: a `Harmoniser`.
        beats: [B, T, BEAT_DIM] as they sound.
        chords: [B, T] majmin, 0 to 24.
        keys: [B] 0 to 23.
        known: [B, T] bool.
    """
    tonics = keys % 12
    scores, stay = harmoniser.chord_scores(_turned_back(beats, tonics), keys // 12, known)
    chord = chain_loss(scores.float(), harmoniser.steps(stay.float()), relative(chords, tonics[:, None]), known)
    key = functional.cross_entropy(harmoniser.key_scores(beats, known).float(), keys)
    return {"loss": chord + key, "chord": chord.detach(), "key": key.detach()}


def augment(config: Any, batch: Batch, generator: torch.Generator | None = None) -> tuple[Batch, Tensor]:
    """Transpose items (features and targets alike), silence stretches, hide MERT states, as a `ListenerConfig` says.

    Returns:
        The changed batch, and where MERT states stay known, [B, F].
    """
    vocal = batch.need("vocal")
    draws = torch.rand(4, len(vocal), generator=generator)
    shifts = torch.randint(-5, 7, (len(vocal),), generator=generator) * (draws[0] < config.transpose)
    keeps_mert = (shifts == 0) & (draws[1] >= config.mert_drop)
    shifts = shifts.to(vocal.device)
    turned = transpose_vocal(vocal, shifts, config.salience_bins)
    frames = torch.arange(vocal.shape[1]) / vocal.shape[1]
    length = 0.3 * draws[3]
    start = draws[2] * (1 + length) - length
    visible = (frames < start[:, None]) | (frames >= (start + length)[:, None])
    visible |= (torch.rand(len(vocal), generator=generator) >= config.mask_drop)[:, None]
    transposed = {
        name: transpose_majmin(target, shifts.view(-1, *(1 for _ in target.shape[1:])))
        for name, target in (("chord_target", batch.chord_target), ("key_target", batch.key_target))
        if target is not None
    }
    turned = turned * visible[..., None].to(vocal)
    return dataclasses.replace(batch, vocal=turned, **transposed), keeps_mert[:, None].to(vocal.device).expand(
        visible.shape
    )


def transpose_vocal(vocal: Tensor, semitones: Tensor, salience_bins: int) -> Tensor:
    """Turn the pitch classes of vocal features [B, F, Dv] up by [B] semitones; the rest stays as it is."""
    bins = torch.arange(salience_bins, device=vocal.device)
    source = (bins - semitones[:, None] * (salience_bins // 12)) % salience_bins
    turned = vocal[..., :salience_bins].gather(-1, source[:, None].expand(-1, vocal.shape[1], -1))
    return torch.cat([turned, vocal[..., salience_bins:]], dim=-1)


def stream_losses(logits: Tensor, codes: Tensor) -> list[Tensor]:
    """Cross entropy of each stream, from logits [B, K, F, V] and codes [B, K, F] (-1 counts not)."""
    return [
        functional.cross_entropy(logits[:, k].flatten(0, 1).float(), codes[:, k].flatten(), ignore_index=-1)
        for k in range(codes.shape[1])
    ]


def pulse_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy of pulses [B, N]; the neighbours of a pulse count as half a pulse, -1 as unknown."""
    known = target >= 0
    pulses = target.float().clamp(min=0.0)
    beside = functional.max_pool1d(pulses[:, None], 3, stride=1, padding=1)[:, 0]
    soft = torch.maximum(pulses, 0.5 * beside)
    losses = functional.binary_cross_entropy_with_logits(logits.float(), soft, reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def chain_loss(scores: Tensor, steps: Tensor, chords: Tensor, known: Tensor) -> Tensor:
    """Negative log likelihood of chains, a beat.

    Args:
        scores: [B, T, 25].
        steps: [B, T, 25, 25] from the chord of the beat before to that of the beat.
        chords: [B, T] the true ones.
        known: [B, T] bool, True up to each chain's end.
    """
    chosen = scores.gather(-1, chords[..., None])[..., 0]
    ahead, total = scores[:, 0], chosen[:, 0]
    rows = torch.arange(len(chords), device=chords.device)
    for beat in range(1, scores.shape[1]):
        now = known[:, beat]
        further = torch.logsumexp(ahead[:, :, None] + steps[:, beat], dim=1) + scores[:, beat]
        ahead = torch.where(now[:, None], further, ahead)
        step = steps[rows, beat, chords[:, beat - 1], chords[:, beat]]
        total = total + torch.where(now, step + chosen[:, beat], 0.0)
    return ((torch.logsumexp(ahead, dim=1) - total) / known.sum(dim=1)).mean()


def relative(chords: Tensor, tonic: Tensor) -> Tensor:
    """Majmin chords seen from a tonic 0 to 11."""
    return torch.where(chords == NO_CHORD, chords, chords // 12 * 12 + (chords % 12 - tonic) % 12)


def _check_grid(stage: Any, tokens: Tensor, codes: Tensor) -> None:
    wanted = stage.config.ratio * codes.shape[-1]
    if tokens.shape[-1] != wanted or tokens.shape[1] != stage.config.codebooks:
        raise ValueError(
            f"tokens have shape {list(tokens.shape)}; with codes {list(codes.shape)} this model takes "
            f"[B, {stage.config.codebooks}, {wanted}]"
        )


def _turned_back(beats: Tensor, tonics: Tensor) -> Tensor:
    """Each melody of a batch so that its tonic is C."""
    turned_items = [turned(item, -int(tonic)) for item, tonic in zip(beats.cpu().numpy(), tonics, strict=True)]
    return torch.from_numpy(np.stack(turned_items)).to(beats)


def transpose_majmin(index: Tensor, semitones: Tensor | int) -> Tensor:
    """Transpose majmin chords or keys (any shape, int64); `NO_CHORD` and -1 (unknown) stay as they are."""
    transposed = (index % 12 + semitones) % 12 + torch.div(index, 12, rounding_mode="floor") * 12
    return torch.where((index >= 0) & (index < NO_CHORD), transposed, index)
