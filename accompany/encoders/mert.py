"""MERT: music representations from a masked-prediction transformer (Li et al. 2023, arXiv 2306.00107).

The released checkpoints (m-a-p/MERT-v0, v1-95M, v1-330M) are plain HuBERT networks, so `HubertModel` loads them
with every key checked and no remote code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from accompany.audio import frame_count
from accompany.encoders.spectral import padded_slice
from accompany.errors import InputError

if TYPE_CHECKING:
    from transformers import HubertModel


class Mert(nn.Module):
    """Hidden states of one layer, average-pooled to the semantic grid.

    The convolutions run over padded audio such that the receptive field of native frame j is centred on
    (j + 0.5) / native_rate seconds, whatever their kernels and strides, so pooled frames sit on the grid.
    """

    def __init__(
        self,
        model: HubertModel,
        *,
        sample_rate: int,
        layer: int | None = None,
        frame_rate: float = 25.0,
        normalize: bool = False,
        chunk_s: float = 30.0,
        context_s: float = 2.0,
    ) -> None:
        """Wrap a built network.

        Args:
            model: the network; its config gives kernels and strides.
            sample_rate: Hz that the network was trained on.
            layer: hidden state to return, 1 to the depth (0: before the first layer; None: the last, as normed).
            frame_rate: Hz of the grid; must divide the network's own rate.
            normalize: bring every clip to zero mean and unit variance first.
            chunk_s: audio longer than this goes through in pieces of it, each with `context_s` at either end.

        Raises:
            InputError: a layer that the network does not have, or a frame rate that does not divide its own.
        """
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.sample_rate = sample_rate
        self.frame_rate = frame_rate
        self.normalize = normalize
        self.chunk_s = chunk_s
        self.context_s = context_s
        depth = model.config.num_hidden_layers
        self.layer = depth if layer is None else layer
        if not 0 <= self.layer <= depth:
            raise InputError(f"The MERT layer must be 0 to {depth}, not {layer}.")
        self._stride = math.prod(model.config.conv_stride)
        self._field = _receptive_field(model.config.conv_kernel, model.config.conv_stride)
        ratio = self.native_rate / frame_rate
        if abs(ratio - round(ratio)) > 1e-6 or ratio < 0.5:
            raise InputError(
                f"The frame rate {frame_rate} does not divide MERT's {self.native_rate:g} frames a second."
            )
        self._pool = round(ratio)

    @property
    def native_rate(self) -> float:
        """Frames a second before pooling."""
        return self.sample_rate / self._stride

    @property
    def dim(self) -> int:
        """Width D of a frame."""
        return int(self.model.config.hidden_size)

    @torch.no_grad()
    def encode(self, audio: Tensor, n_frames: int | None = None) -> Tensor:
        """Hidden states of mono audio.

        Args:
            audio: [B, T] at `sample_rate`.
            n_frames: frames wanted (default: ceil(T * frame_rate / sample_rate)); the audio ends in zeros.

        Returns:
            [B, F, D] at `frame_rate`. A piece of long audio attends to itself and its context only.
        """
        frames = frame_count(audio.shape[-1], self.sample_rate, self.frame_rate) if n_frames is None else n_frames
        if frames == 0:
            return audio.new_zeros(audio.shape[0], 0, self.dim)
        centre, spread = audio.new_zeros(()), audio.new_ones(())
        if self.normalize and audio.shape[-1]:
            centre = audio.mean(-1, keepdim=True)
            spread = torch.sqrt(audio.var(-1, keepdim=True, correction=0) + 1e-7)
        chunk = max(1, round(self.chunk_s * self.frame_rate))
        context = round(self.context_s * self.frame_rate)
        states = audio.new_empty(audio.shape[0], frames, self.dim)
        for first in range(0, frames, chunk):
            last = min(first + chunk, frames)
            begin, end = max(0, first - context), min(frames, last + context)
            piece = self._encode_range(audio, begin, end, centre, spread)
            states[:, first:last] = piece[:, first - begin : last - begin]
        return states

    def _encode_range(self, audio: Tensor, first: int, last: int, centre: Tensor, spread: Tensor) -> Tensor:
        """[B, last - first, D]: grid frames from `first` on, from the audio under their native frames."""
        start = first * self._pool * self._stride - (self._field - self._stride) // 2
        stop = start + ((last - first) * self._pool - 1) * self._stride + self._field
        here = max(start, 0)
        piece = padded_slice((audio[..., here : max(stop, 0)] - centre) / spread, start - here, stop - here)
        states = self.hidden_states(piece)
        return states.unflatten(1, (last - first, self._pool)).mean(2)

    def hidden_states(self, samples: Tensor) -> Tensor:
        """States [B, N, D] of the chosen layer at the native rate, of samples [B, T] as they are."""
        encoder = self.model.encoder
        stable = self.model.config.do_stable_layer_norm
        states = self.model.feature_projection(self.model.feature_extractor(samples).transpose(1, 2))
        states = states + encoder.pos_conv_embed(states)
        if not stable:
            states = encoder.layer_norm(states)
        for block in encoder.layers[: self.layer]:
            states = block(states)
        if stable and self.layer == len(encoder.layers):
            states = encoder.layer_norm(states)
        return states


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field
