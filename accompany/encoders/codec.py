"""EnCodec: audio to residual codes and back (Defossez et al. 2022, arXiv 2210.13438), through `EncodecModel`.

Long audio is coded in pieces with the very result of coding it whole: the convolutions see as much context as
their receptive field, and the recurrent layers carry their state from piece to piece.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from accompany.audio import frame_count
from accompany.common.progress import Steps, unseen
from accompany.common.published import load_transformers, original_file
from accompany.common.weights import PathLike, log_license
from accompany.errors import InputError

if TYPE_CHECKING:
    from transformers import EncodecModel

_LEVEL_STEP_DB = 0.1
_LEVEL_FLOOR_DB = -100.0
_ONEDNN = threading.Lock()
_SEAM_CODES = 8
"""Codes of its neighbours that a chunk is coded and decoded with."""


class Codec(nn.Module):
    """Any EnCodec as codes [B, K, A]: 24 and 32 kHz mono, 48 kHz stereo.

    The 48 kHz model works on chunks of a second and brings each to unit level first. Both are hidden: one more stream,
    the first, holds the level of the chunk in steps of 0.1 dB from -100 dB, so that codes alone decode to the right
    loudness (to within 0.05 dB) and a model can predict levels as it predicts sound. The published way lays chunks
    0.99 s apart and fades between them, which makes 151.5 codes a second and two codings of every seam. Here they lie a
    whole second apart, 150 codes each, a multiple of any slower grid: a chunk is coded and decoded with a little of its
    neighbours at either end, and the decoded chunks fade into each other around the seam. A single chunk comes out as
    published.
    """

    def __init__(self, model: EncodecModel, *, n_codebooks: int | None = None) -> None:
        """Wrap a built network, using its first `n_codebooks` residual codebooks (None: all).

        Raises:
            InputError: more codebooks than the network has.
        """
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        available = len(model.quantizer.layers)
        self._n_residual = available if n_codebooks is None else n_codebooks
        if not 1 <= self._n_residual <= available:
            raise InputError(f"n_codebooks must be 1 to {available} for this codec, not {n_codebooks}.")
        chunk = model.config.chunk_length
        self._chunk: int | None = None if chunk is None else int(chunk) // self.hop  # codes

    @classmethod
    def from_pretrained(
        cls, path_or_id: PathLike, *, n_codebooks: int | None = None, license: str | None = None
    ) -> Codec:
        """Load a published checkpoint, every key checked: a folder, a hub id, or a `.th` of the package `encodec`."""
        from transformers import EncodecModel

        original = original_file(path_or_id, ".th")
        if original is not None:
            from accompany.common.licenses import find_license
            from accompany.encoders.originals import read_encodec

            found = license or find_license(original.name, original.parent)
            log_license("EncodecModel", original, found, original.parent)
            return cls(read_encodec(original), n_codebooks=n_codebooks)
        return cls(load_transformers(EncodecModel, path_or_id, license=license), n_codebooks=n_codebooks)

    @property
    def sample_rate(self) -> int:
        """Hz of the audio."""
        return int(self.model.config.sampling_rate)

    @property
    def channels(self) -> int:
        """Channels of the audio: 1 or 2."""
        return int(self.model.config.audio_channels)

    @property
    def hop(self) -> int:
        """Samples under one code inside a chunk."""
        return int(self.model.config.hop_length)

    @property
    def frame_rate(self) -> float:
        """Codes a second in each stream."""
        return self.sample_rate / self.hop

    @property
    def chunk_codes(self) -> int:
        """Codes that are decoded together: sound may be decoded from a multiple of them on."""
        return self._chunk or 1

    @property
    def n_codebooks(self) -> int:
        """Streams K in the codes: residual codebooks, and one for the level where the codec normalises."""
        return self._n_residual + int(self.model.config.normalize)

    @property
    def codebooks(self) -> list[Tensor]:
        """Codebook of each stream, vectors [V, d] that add up to a frame; none for the level."""
        books = [layer.codebook.embed for layer in self.model.quantizer.layers[: self._n_residual]]
        return [torch.zeros_like(books[0])] * int(self.model.config.normalize) + books

    @property
    def codebook_size(self) -> int:
        """Entries V of a codebook."""
        return int(self.model.config.codebook_size)

    def n_codes(self, n_samples: int) -> int:
        """Codes A that cover `n_samples`."""
        return frame_count(n_samples, self.sample_rate, self.frame_rate)

    @torch.no_grad()
    def encode(self, audio: Tensor, *, chunk_s: float = 10.0) -> Tensor:
        """Codes of audio.

        Args:
            audio: [B, C, T] at `sample_rate`; other channel counts are averaged or repeated to fit.
            chunk_s: seconds in memory at a time; the result does not depend on it.

        Returns:
            [B, K, A] int64, A = ceil(T * frame_rate / sample_rate).
        """
        audio = self._fit_channels(audio.to(self._device, torch.float32))
        if audio.shape[-1] == 0:
            return torch.zeros(audio.shape[0], self.n_codebooks, 0, dtype=torch.long, device=audio.device)
        if self._chunk is None:
            return self._encode_long(audio, chunk_s)
        n_codes = self.n_codes(audio.shape[-1])
        chunks = [self._encode_chunk(audio, first, n_codes) for first in range(0, n_codes, self._chunk)]
        return torch.cat(chunks, dim=-1)

    @torch.no_grad()
    def decode(
        self, codes: Tensor, n_samples: int | None = None, *, chunk_s: float = 10.0, progress: Steps = unseen
    ) -> Tensor:
        """Audio of codes.

        Args:
            codes: [B, K, A]; fewer streams than `n_codebooks` decode coarsely.
            n_samples: length wanted, cut or filled with zeros (default: all that the codes cover).
            chunk_s: seconds in memory at a time; the result does not depend on it.
            progress: called with (codes decoded, codes in all).

        Returns:
            [B, C, T] float32 at `sample_rate`, not clipped.

        Raises:
            InputError: codes outside 0 to V - 1, or a number of streams that the codec cannot decode.
        """
        self._check_codes(codes)
        codes = codes.to(self._device)
        if codes.shape[-1] == 0:
            return torch.zeros(codes.shape[0], self.channels, n_samples or 0, device=codes.device)
        chunked = self._chunk is not None
        audio = self._decode_chunks(codes, progress) if chunked else self._decode_long(codes, chunk_s, progress)
        missing = 0 if n_samples is None else n_samples - audio.shape[-1]
        return nn.functional.pad(audio, (0, missing)) if missing > 0 else audio[..., :n_samples]

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _fit_channels(self, audio: Tensor) -> Tensor:
        if audio.shape[1] == self.channels:
            return audio
        return audio.mean(1, keepdim=True).expand(-1, self.channels, -1)

    def _check_codes(self, codes: Tensor) -> None:
        if not int(self.model.config.normalize) < codes.shape[1] <= self.n_codebooks:
            raise InputError(f"The codec decodes {self.n_codebooks} streams of codes, not {codes.shape[1]}.")
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= self.codebook_size):
            raise InputError(f"Codes must lie in 0 to {self.codebook_size - 1}.")

    # --- without chunks: 24 and 32 kHz ---

    def _encode_long(self, audio: Tensor, chunk_s: float) -> Tensor:
        before, lstm, after = _split_at_lstm(self.model.encoder.layers)
        context = _context_frames(self.model.config)
        piece = max(1, round(chunk_s * self.sample_rate / self.hop))
        n_frames = math.ceil(audio.shape[-1] / self.hop)

        def features(first: int, last: int) -> Tensor:
            begin, end = max(0, first - context), last + context
            states = before(audio[..., begin * self.hop : end * self.hop])
            return states[..., first - begin : last - begin]

        states = _Recurrent(lstm, features, n_frames, piece)
        latents = in_pieces(lambda begin, end: after(states(begin, end)), n_frames, piece, context, 1)
        return self._quantize(latents)

    def _decode_long(self, codes: Tensor, chunk_s: float, report: Steps) -> Tensor:
        before, lstm, after = _split_at_lstm(self.model.decoder.layers)
        context = _context_frames(self.model.config)
        piece = max(1, round(chunk_s * self.sample_rate / self.hop))
        n_frames = codes.shape[-1]

        def embed(first: int, last: int) -> Tensor:
            begin, end = max(0, first - context), last + context
            return before(self._dequantize(codes[..., begin:end]))[..., first - begin : last - begin]

        states = _Recurrent(lstm, embed, n_frames, piece)

        def sound(begin: int, end: int) -> Tensor:
            return _upsampled(after, states(begin, end))

        return in_pieces(sound, n_frames, piece, context, self.hop, report)

    def _quantize(self, latents: Tensor) -> Tensor:
        """Latents [B, D, A] to residual codes [B, K, A]."""
        residual, codes = latents, []
        for layer in self.model.quantizer.layers[: self._n_residual]:
            codes.append(layer.encode(residual))
            residual = residual - layer.decode(codes[-1])
        return torch.stack(codes, dim=1)

    def _dequantize(self, codes: Tensor) -> Tensor:
        """Residual codes [B, K, A] to latents [B, D, A]."""
        return self.model.quantizer.decode(codes.transpose(0, 1))

    # --- in chunks with levels: 48 kHz ---

    def _encode_chunk(self, audio: Tensor, first: int, n_codes: int) -> Tensor:
        """Codes [B, K, a] of the chunk of [B, C, T] that begins at the code `first`."""
        assert self._chunk is not None
        last = min(first + self._chunk, n_codes)
        begin = max(first - _SEAM_CODES, 0)
        samples = audio[..., begin * self.hop : (last + _SEAM_CODES) * self.hop]
        if not self.model.config.normalize:
            return self._quantize(self.model.encoder(samples))[..., first - begin :][..., : last - first]
        own = audio[..., first * self.hop : last * self.hop]
        level = own.mean(1, keepdim=True).square().mean(-1, keepdim=True).sqrt() + 1e-8
        codes = self._quantize(self.model.encoder(samples / level))[..., first - begin :][..., : last - first]
        return torch.cat([self._level_codes(level).expand(-1, 1, codes.shape[-1]), codes], dim=1)

    def _decode_chunks(self, codes: Tensor, report: Steps) -> Tensor:
        """Audio [B, C, A * hop] of codes [B, K, A]: chunks, each with some of its neighbours, faded at the seams."""
        assert self._chunk is not None
        chunk, n_codes, leveled = self._chunk, codes.shape[-1], int(self.model.config.normalize)
        audio = torch.zeros(codes.shape[0], self.channels, n_codes * self.hop, device=codes.device)
        for first in range(0, n_codes, chunk):
            begin, end = max(first - _SEAM_CODES, 0), min(first + chunk + _SEAM_CODES, n_codes)
            made = self.model.decoder(self._dequantize(codes[:, leveled:, begin:end]))[..., : (end - begin) * self.hop]
            audio[..., begin * self.hop : end * self.hop] += made * self._fades(first, begin, end, n_codes).to(made)
            report(min(first + chunk, n_codes), n_codes)
        if not leveled:
            return audio
        # The stream repeats one level per chunk; a model that predicts it may waver, so the median decides.
        levels = [part.median(-1).values for part in codes[:, 0].split(chunk, dim=-1)]
        gain = self._levels(torch.stack(levels, dim=-1)).repeat_interleave(chunk * self.hop, dim=-1)
        return audio * gain[:, None, : audio.shape[-1]]

    def _fades(self, first: int, begin: int, end: int, n_codes: int) -> Tensor:
        """Weight of a decoded chunk over its codes `begin` to `end`; weights of neighbours add up to 1."""
        assert self._chunk is not None
        place = (torch.arange(begin * self.hop, end * self.hop) + 0.5) / self.hop
        weight = torch.ones_like(place)
        if first > 0:
            weight = weight * (0.5 + (place - first) / 2).clamp(0, 1)
        if first + self._chunk < n_codes:
            weight = weight * (0.5 - (place - first - self._chunk) / 2).clamp(0, 1)
        return weight

    def _level_codes(self, level: Tensor) -> Tensor:
        steps = (20 * torch.log10(level) - _LEVEL_FLOOR_DB) / _LEVEL_STEP_DB
        return steps.round().clamp(0, self.codebook_size - 1).long()

    def _levels(self, codes: Tensor) -> Tensor:
        return 10 ** ((codes * _LEVEL_STEP_DB + _LEVEL_FLOOR_DB) / 20)


def _split_at_lstm(layers: nn.ModuleList) -> tuple[nn.Sequential, nn.Module, nn.Sequential]:
    index = next(i for i, layer in enumerate(layers) if isinstance(getattr(layer, "lstm", None), nn.LSTM))
    return nn.Sequential(*layers[:index]), layers[index], nn.Sequential(*layers[index + 1 :])


def _upsampled(layers: nn.Sequential, latents: Tensor) -> Tensor:
    """Output of the layers, transposed convolutions by PyTorch's own kernel on a CPU.

    That is as fast as oneDNN's, which prepares itself anew for every length: up to 0.6 s on several threads.
    """
    for layer in layers:
        widens = any(isinstance(part, nn.ConvTranspose1d) for part in layer.modules())
        with _without_onednn() if widens and latents.device.type == "cpu" else nullcontext():
            latents = layer(latents)
    return latents


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Switch oneDNN off, for the whole process; one thread at a time, so that each finds it as it was."""
    with _ONEDNN:
        before = torch._C._get_mkldnn_enabled()
        # torch.backends.mkldnn.flags would set the precision too, and warn of that.
        torch._C._set_mkldnn_enabled(False)
        try:
            yield
        finally:
            torch._C._set_mkldnn_enabled(before)


class _Recurrent:
    """The residual LSTM layer over pieces of its input, the state carried on; holds only what is still asked for."""

    def __init__(self, layer: Any, source: Callable[[int, int], Tensor], n_frames: int, piece: int) -> None:
        self._layer, self._source, self._n_frames, self._piece = layer, source, n_frames, piece
        self._state: Any = None
        self._held: Tensor | None = None
        self._first = self._last = 0

    def __call__(self, begin: int, end: int) -> Tensor:
        """Results [B, D, end - begin] of these frames; from call to call neither end goes back."""
        while self._last < end:
            last = min(self._last + self._piece, self._n_frames)
            inputs = self._source(self._last, last).permute(2, 0, 1)
            outputs, self._state = self._layer.lstm(inputs, self._state)
            made = (outputs + inputs).permute(1, 2, 0)
            if self._held is not None:
                made = torch.cat([self._held[..., begin - self._first :], made], dim=-1)
                self._first = begin
            self._held, self._last = made, last
        assert self._held is not None
        return self._held[..., begin - self._first : end - self._first]


def in_pieces(
    function: Callable[[int, int], Tensor],
    n_frames: int,
    piece: int,
    context: int,
    scale: int,
    report: Steps = unseen,
) -> Tensor:
    """Join `function(begin, end)` over pieces of frames, each computed with context that is cut off again.

    context  |<- piece ->|  context        of frames; the result has `scale` values a frame
    """
    joined: Tensor | None = None
    for first in range(0, n_frames, piece):
        last = min(first + piece, n_frames)
        begin, end = max(0, first - context), min(n_frames, last + context)
        part = function(begin, end)[..., (first - begin) * scale : (last - begin) * scale]
        if joined is None:
            joined = part.new_empty(*part.shape[:-1], n_frames * scale)
        joined[..., first * scale : last * scale] = part
        report(last, n_frames)
    assert joined is not None
    return joined


def _context_frames(config: Any) -> int:
    """Frames in either direction that the convolutions of one half of the network can see, generously."""
    field = config.kernel_size + config.last_kernel_size  # at the frame rate
    samples_per_step = config.hop_length
    for ratio in config.upsampling_ratios:
        field += 2
        samples_per_step //= ratio
        dilations = sum(config.dilation_growth_rate**j for j in range(config.num_residual_layers))
        reach = (config.residual_kernel_size - 1) * dilations * samples_per_step
        field += math.ceil(reach / config.hop_length)
    return int(field)
