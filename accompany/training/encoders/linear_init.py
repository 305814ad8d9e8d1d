"""Initialisation of the codec as a linear transform codec.

Every convolution of the encoder becomes the principal components (a Karhunen-Loeve transform) of the blocks that it
strides over, and every one of the decoder the least-squares way back, both fitted on a batch of music. Biases hold the
signal in the part of ELU that is the identity, so the network begins as the best linear block codec with its latents
in order of energy, and training only has to bend it. On a busy core that is worth many minutes of gradient steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EncodecModel

LEVEL = 0.5
"""Standard deviation of every channel before its ELU."""

OFFSET = 2.0
"""Mean of every channel before its ELU: the signal goes through unbent down to -OFFSET."""

RIDGE = 1e-4
CHUNK = 32


@torch.no_grad()
def init_linear(model: EncodecModel, audio: Tensor, *, noise_std: float, rate_bits: float) -> None:
    """Fit the weights of `model` (non-causal, weight norm, any number of levels) on `audio` `[B, T]`, in place.

    Args:
        noise_std: of the noise that the latents will get; the decoder is fitted to noisy latents.
        rate_bits: the latents are scaled so that a Gaussian channel with this noise carries so many bits a frame.
    """
    for module in model.modules():
        if isinstance(module, nn.LSTM):
            _silence(module)
    for block in (*_layers(model.encoder, "block"), *_layers(model.decoder, "block")):
        block.block[-1].conv.parametrizations.weight.original0.mul_(0.01)
        block.block[-1].conv.bias.zero_()
    latents, levels = _fit_encoder(model, audio.unsqueeze(1), noise_std, rate_bits)
    _fit_decoder(model, latents + noise_std * torch.randn_like(latents), levels, audio.unsqueeze(1))


def _silence(lstm: nn.LSTM) -> None:
    """Make the LSTM put out zeros, but learn: only the weights into its cell candidates vanish."""
    width = lstm.hidden_size
    for name, parameter in lstm.named_parameters():
        parameter[2 * width : 3 * width] = 0.0
        if name.startswith("bias"):
            parameter.zero_()


def _fit_encoder(model: EncodecModel, audio: Tensor, noise_std: float, rate: float) -> tuple[Tensor, list[Tensor]]:
    """Principal components level by level; returns the latents and the states `[B, C, N]` after each convolution."""
    states: Tensor = audio
    levels: list[Tensor] = []
    scale = torch.ones(1)
    active = torch.ones(1, dtype=torch.bool)
    convs = _layers(model.encoder, "conv")
    for layer in convs:
        last = layer is convs[-1]
        inputs = states if not levels else F.elu(states)
        patches = _block(inputs, layer.conv, active)
        variance, basis = _principal(patches, scale[active])
        n_kept = min(layer.conv.out_channels, len(variance))
        _set_components(layer.conv, basis[:, :n_kept], scale[active], active)
        states = _by_chunks(layer, inputs)
        gain = _latent_gain(variance[:n_kept], noise_std, rate) if last else LEVEL / _spread(states)
        _shift(layer.conv, gain, 0.0 if last else OFFSET, states)
        states = _by_chunks(layer, inputs)
        levels.append(states)
        active = torch.arange(layer.conv.out_channels) < n_kept
        scale = 1.0 / gain * torch.ones(layer.conv.out_channels)
    return states, levels[:-1]


def _block(inputs: Tensor, conv: nn.Conv1d, active: Tensor) -> Tensor:
    """The blocks of active channels that `conv` strides over, `[N, C * stride]`."""
    stride = conv.stride[0]
    kept = inputs[:, active, : inputs.shape[-1] // stride * stride]
    batch, channels, length = kept.shape
    blocks = kept.view(batch, channels, length // stride, stride).permute(0, 2, 1, 3)
    return blocks.reshape(-1, channels * stride)


def _principal(patches: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (falling) and directions of patches in the units of the signal."""
    weighted = patches * scale.repeat_interleave(patches.shape[1] // len(scale))
    centred = (weighted - weighted.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    return values.flip(0).clamp_min(1e-12).float(), vectors.flip(1).float()


def _set_components(conv: nn.Conv1d, basis: Tensor, scale: Tensor, active: Tensor) -> None:
    """Write components `[C * stride, M]` into the first M outputs; further outputs keep random filters."""
    stride, kernel = conv.stride[0], conv.kernel_size[0]
    total = kernel - stride
    first = total - total // 2
    weight = conv.weight.detach().clone()
    components = basis.T.reshape(-1, len(scale), stride) * scale.view(1, -1, 1)
    weight[: len(components)] = 0.0
    weight[: len(components), active, first : first + stride] = components
    conv.weight = weight
    _set_bias(conv, torch.zeros(conv.out_channels))


def _latent_gain(variance: Tensor, noise_std: float, rate: float) -> Tensor:
    """One gain for all latents (so distances stay those of the signal) that gives the wanted rate."""
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        bits = 0.5 * torch.log2(1.0 + torch.exp(torch.tensor(2 * middle)) * variance / noise_std**2).sum()
        low, high = (middle, high) if bits < rate else (low, middle)
    return torch.exp(torch.tensor(low)).expand(len(variance))


def _spread(states: Tensor) -> Tensor:
    return states.transpose(0, 1).flatten(1).std(1).clamp_min(1e-4)


def _shift(conv: nn.Conv1d, gain: Tensor, mean: float, states: Tensor) -> None:
    """Scale the outputs of `conv` by `gain` `[C]` and give them this mean."""
    conv.weight = conv.weight.detach() * gain.view(-1, 1, 1)
    _set_bias(conv, mean - gain * states.mean(dim=(0, 2)))


def _fit_decoder(model: EncodecModel, latents: Tensor, levels: list[Tensor], audio: Tensor) -> None:
    """Least squares from each level's states to those that the encoder had there, and at last to the audio."""
    targets = [*levels[::-1], audio]
    states = latents
    convs = _layers(model.decoder, "conv")
    for index, (layer, target) in enumerate(zip(convs, targets, strict=True)):
        inputs = states if index == 0 else F.elu(states)
        fit = _fit_transposed if isinstance(layer.conv, nn.ConvTranspose1d) else _fit_plain
        fit(layer.conv, inputs, target)
        states = _by_chunks(layer, inputs)


def _fit_plain(conv: nn.Conv1d, inputs: Tensor, target: Tensor) -> None:
    kernel = conv.kernel_size[0]
    shifts = [inputs[:, :, k : inputs.shape[-1] - kernel + 1 + k] for k in range(kernel)]
    left = kernel - 1 - (kernel - 1) // 2
    middle = target[:, :, left : left + shifts[0].shape[-1]]
    weight, bias = _regress([_rows(s) for s in shifts], _rows(middle))
    conv.weight = weight.view(kernel, conv.in_channels, conv.out_channels).permute(2, 1, 0).contiguous()
    _set_bias(conv, bias)


def _fit_transposed(conv: nn.ConvTranspose1d, inputs: Tensor, target: Tensor) -> None:
    """Block b of the untrimmed output sees frame b through the first taps and frame b - 1 through the last."""
    stride, frames = conv.stride[0], inputs.shape[-1]
    total = conv.kernel_size[0] - stride
    left = total - total // 2
    begin = stride - left
    blocks = target[:, :, begin : begin + (frames - 1) * stride]
    blocks = blocks.reshape(len(target), -1, frames - 1, stride).permute(0, 2, 1, 3).flatten(2)
    weight, bias = _regress([_rows(inputs[:, :, 1:]), _rows(inputs[:, :, :-1])], blocks.flatten(0, 1))
    weight = weight.view(2, conv.in_channels, conv.out_channels, stride).permute(1, 2, 0, 3)
    conv.weight = weight.reshape(conv.in_channels, conv.out_channels, 2 * stride)
    _set_bias(conv, bias.view(conv.out_channels, stride).mean(1))


def _regress(inputs: list[Tensor], target: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression with an intercept: weights `[sum of widths, M]` and bias `[M]`."""
    width = sum(x.shape[1] for x in inputs)
    gram, cross = torch.zeros(width, width), torch.zeros(width, target.shape[1])
    means = torch.cat([x.mean(0) for x in inputs])
    target_mean = target.mean(0)
    for start in range(0, len(target), 1 << 16):
        rows = torch.cat([x[start : start + (1 << 16)] for x in inputs], 1) - means
        gram += rows.T @ rows
        cross += rows.T @ (target[start : start + (1 << 16)] - target_mean)
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    weight = torch.linalg.solve(gram.double(), cross.double()).float()
    return weight, target_mean - means @ weight


def _layers(part: Any, kind: str) -> list[Any]:
    """The layers of the encoder or decoder that have an attribute `kind`: `conv`, or `block` for residual units."""
    return [layer for layer in part.layers if hasattr(layer, kind)]


def _set_bias(conv: nn.Conv1d | nn.ConvTranspose1d, bias: Tensor) -> None:
    assert conv.bias is not None
    conv.bias.copy_(bias)


def _rows(states: Tensor) -> Tensor:
    return states.transpose(1, 2).reshape(-1, states.shape[1])


def _by_chunks(layer: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([layer(chunk) for chunk in inputs.split(CHUNK)])
