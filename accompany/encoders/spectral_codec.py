"""The codec of the bundled model: stereo sound to residual codes without phase, and back through inverse STFTs.

What the encoder is shown is in `spectral_features`, how sound is made in `spectral_synthesis`. Shape letters: B items,
T samples, A frames, K codebooks, V entries, D latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accompany.audio import frame_count
from accompany.common.progress import Steps, unseen
from accompany.common.weights import PathLike, load_module, resolve_folder
from accompany.encoders.spectral_analysis import AnalysisConfig, Encoder
from accompany.encoders.spectral_synthesis import Decoder, Overlap, SynthesisConfig
from accompany.errors import InputError


@dataclass(frozen=True)
class SpectralCodecConfig:
    """Shape of the codec.

    Attributes:
        sample_rate: Hz; hop: samples in a frame; stack: frames under one code of each codebook.
        latent: width D of a latent and of the entries of the codebooks.
        n_codebooks, codebook_size: residual codebooks K, and entries V of each.
        analysis, synthesis: the two halves.
    """

    sample_rate: int = 44_100
    hop: int = 882
    stack: int = 2
    latent: int = 128
    n_codebooks: int = 16
    codebook_size: int = 1024
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.hop, self.stack, self.latent, self.n_codebooks) < 1 or self.codebook_size < 2:
            raise ValueError(
                "sample_rate, hop, stack, latent, n_codebooks must be at least 1, codebook_size at least 2"
            )
        for parts in (*self.analysis.looks, self.synthesis.noise_frames):
            if self.hop % parts:
                raise ValueError(f"hop must be a multiple of looks and noise_frames; {self.hop} is not one of {parts}")

    @property
    def frame_rate(self) -> float:
        """Codes a second of each codebook."""
        return self.sample_rate / (self.hop * self.stack)


class SpectralCodec(nn.Module):
    """Stereo sound as residual codes [B, K, A] and back, in the manner of `accompany.encoders.codec.Codec`.

    Phases of tones run on from their attacks, so codes decoded from a later frame on give other phases than the whole
    has to the tones that are under way there, and the same sound to the ear; `stream` goes on where it stopped.
    """

    codebook_vectors: Tensor
    channels = 2
    chunk_codes = 1
    """Codes that are decoded together: sound may be decoded from a multiple of them on."""

    def __init__(self, config: SpectralCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.analysis, config.latent, config.stack)
        self.decoder = Decoder(config.synthesis, config.latent, config.hop, config.stack)
        books = torch.zeros(config.n_codebooks, config.codebook_size, config.latent)
        self.register_buffer("codebook_vectors", books)
        self._used = config.n_codebooks

    @classmethod
    def from_pretrained(
        cls, path_or_id: PathLike, *, n_codebooks: int | None = None, license: str | None = None
    ) -> SpectralCodec:
        """Load a folder or hub id with every key checked, using the first `n_codebooks` codebooks (None: all).

        Raises:
            InputError: files are missing or broken, or more codebooks are wanted than there are.
        """
        codec = load_module(cls, resolve_folder(path_or_id), license=license)
        if n_codebooks is not None:
            if not 1 <= n_codebooks <= codec.config.n_codebooks:
                raise InputError(
                    f"n_codebooks must be 1 to {codec.config.n_codebooks} for this codec, not {n_codebooks}."
                )
            codec._used = n_codebooks
        return codec

    @property
    def sample_rate(self) -> int:
        """Hz of the audio."""
        return self.config.sample_rate

    @property
    def hop(self) -> int:
        """Samples under one code."""
        return self.config.hop * self.config.stack

    @property
    def frame_rate(self) -> float:
        """Codes a second in each stream."""
        return self.config.frame_rate

    @property
    def n_codebooks(self) -> int:
        """Streams K in the codes."""
        return self._used

    @property
    def codebook_size(self) -> int:
        """Entries V of a codebook."""
        return self.config.codebook_size

    @property
    def codebooks(self) -> list[Tensor]:
        """What the codes of each stream stand for, vectors [V, D] that add up to a latent."""
        return list(self.codebook_vectors[: self._used])

    def n_codes(self, n_samples: int) -> int:
        """Codes A that cover `n_samples`."""
        return frame_count(n_samples, self.sample_rate, self.frame_rate)

    @torch.no_grad()
    def encode(self, audio: Tensor, *, chunk_s: float = 10.0) -> Tensor:
        """Codes of audio.

        Args:
            audio: [B, C, T] at `sample_rate`; one channel is repeated, more than two are averaged.
            chunk_s: seconds in memory at a time; the result does not depend on it.

        Returns:
            [B, K, A] int64, A = ceil(T / hop).
        """
        audio = _stereo(audio.to(self._device, torch.float32))
        stack = self.config.stack
        n_frames, reach = self.n_codes(audio.shape[-1]), self.encoder.reach
        codes = [torch.zeros(len(audio), self._used, 0, dtype=torch.long, device=audio.device)]
        for first, last in self._pieces(n_frames, chunk_s):
            begin, end = max(first - reach, 0), min(last + reach, n_frames)
            latents = self.encoder(self.features(audio, begin * stack, (end - begin) * stack))
            codes.append(self.quantize(latents[..., first - begin : last - begin]))
        return torch.cat(codes, dim=-1)

    @torch.no_grad()
    def decode(
        self, codes: Tensor, n_samples: int | None = None, *, chunk_s: float = 10.0, progress: Steps = unseen
    ) -> Tensor:
        """Audio of codes.

        Args:
            codes: [B, K, A]; fewer streams than `n_codebooks` decode coarsely.
            n_samples: length wanted, cut or filled with zeros (default: all that the codes cover).
            chunk_s: seconds in memory at a time; the result does not depend on it.
            progress: called with (samples decoded, samples in all).

        Returns:
            [B, 2, T] float32 at `sample_rate`, not clipped.

        Raises:
            InputError: codes outside 0 to V - 1, or a number of streams that the codec cannot decode.
        """
        self._check(codes)
        codes = codes.to(self._device)
        wanted = codes.shape[-1] * self.hop if n_samples is None else n_samples
        audio, done = torch.zeros(len(codes), 2, wanted, device=codes.device), 0
        stream, pieces = self.stream(len(codes)), [*self._pieces(codes.shape[-1], chunk_s), None]
        for piece in pieces:  # each into its place, so that a long song is held once
            sound = stream.finish() if piece is None else stream.feed(codes[..., slice(*piece)])
            first, done = done, min(done + sound.shape[-1], wanted)
            audio[..., first:done] = sound[..., : done - first]
            progress(done, wanted)
        return audio

    def stream(self, n_items: int = 1) -> SpectralStream:
        """A decoder that is fed codes as they come and gives the very sound of decoding them at once."""
        return SpectralStream(self, n_items)

    def features(self, audio: Tensor, first: int, count: int) -> Tensor:
        """What the encoder is shown of audio [B, 2, T] in frames from `first` on: [B, F, count]."""
        from accompany.encoders.spectral_features import features

        return features(audio, first, count, self.sample_rate, self.config.hop, self.config.analysis)

    def quantize(self, latents: Tensor) -> Tensor:
        """Latents [B, D, A] to residual codes [B, K, A]."""
        rest, codes = latents.transpose(1, 2).float(), []
        for book in self.codebooks:
            distances = book.square().sum(1) - 2 * rest @ book.T
            codes.append(distances.argmin(-1))
            rest = rest - F.embedding(codes[-1], book)
        return torch.stack(codes, dim=1)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Residual codes [B, K, A] to latents [B, D, A]."""
        vectors = [F.embedding(codes[:, index], self.codebook_vectors[index]) for index in range(codes.shape[1])]
        return torch.stack(vectors).sum(0).transpose(1, 2)

    def _pieces(self, n_frames: int, chunk_s: float) -> Iterator[tuple[int, int]]:
        size = max(1, round(chunk_s * self.frame_rate))
        return ((first, min(first + size, n_frames)) for first in range(0, n_frames, size))

    @property
    def _device(self) -> torch.device:
        return self.codebook_vectors.device

    def _check(self, codes: Tensor) -> None:
        if not 1 <= codes.shape[1] <= self._used:
            raise InputError(f"The codec decodes {self._used} streams of codes, not {codes.shape[1]}.")
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= self.codebook_size):
            raise InputError(f"Codes must lie in 0 to {self.codebook_size - 1}.")


class SpectralStream:
    """Decoding that goes on: states of tones and the sound to which later frames add are kept from piece to piece."""

    def __init__(self, codec: SpectralCodec, n_items: int) -> None:
        self._codec, self._decoder, self._hop = codec, codec.decoder, codec.hop
        self._states = codec.decoder.start(n_items)
        device = codec.codebook_vectors.device
        self._codes = torch.zeros(n_items, 0, 0, dtype=torch.long, device=device)
        # Codes are counted with the repetitions of the first code that fill the windows of the first frames.
        self._first = self._made = 0
        self._begin = -codec.config.synthesis.longest_window
        self._sum = torch.zeros(2 * n_items, 0, device=device)

    @torch.no_grad()
    def feed(self, codes: Tensor) -> Tensor:
        """The sound [B, 2, t] that is settled by the next codes [B, K, a]; it lags by what the network looks ahead."""
        codes = codes.to(self._sum.device)
        if self._codes.shape[-1] == 0 and codes.shape[-1]:
            edge = codes[..., :1].expand(-1, -1, self._decoder.edge)
            self._codes = torch.cat([edge, codes], dim=-1)
        elif codes.shape[-1]:
            self._codes = torch.cat([self._codes, codes], dim=-1)
        known = self._first + self._codes.shape[-1]
        self._make(known - self._decoder.reach)
        return self._take(max(self._made * self._hop - self._decoder.before, self._begin))

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The rest of the sound."""
        if self._codes.shape[-1] == 0:
            return torch.zeros(len(self._sum) // 2, 2, 0, device=self._sum.device)
        n_frames = self._first + self._codes.shape[-1]
        edge = self._codes[..., -1:].expand(-1, -1, self._decoder.edge)
        self._codes = torch.cat([self._codes, edge], dim=-1)
        self._make(n_frames + self._decoder.edge)
        return self._take(n_frames * self._hop)

    def _make(self, last: int) -> None:
        """Synthesise the frames of the codes up to `last`."""
        if last <= self._made:
            return
        decoder, begin = self._decoder, max(self._made - self._decoder.reach, self._first)
        latents = self._codec.dequantize(self._codes[..., begin - self._first :][..., : last + decoder.reach - begin])
        trunk, outlines = decoder.trunk(latents), decoder.outlines(latents)
        inside = slice((self._made - begin) * decoder.stack, (last - begin) * decoder.stack)
        per_frame = decoder.noise.frames
        noise = decoder.noise.spectra(trunk, outlines[0])[:, inside.start * per_frame : inside.stop * per_frame]
        self._add(decoder.noise.overlap, noise)
        for index, band in enumerate(decoder.bands):
            controls = band.controls(trunk[:, inside], outlines[1 + index][:, inside])
            spectra, self._states[index] = band.spectra(controls, self._states[index])
            self._add(band.overlap, spectra)
        self._made = last
        self._codes = self._codes[..., max(last - decoder.reach - self._first, 0) :]
        self._first = max(last - decoder.reach, self._first)

    def _add(self, overlap: Overlap, spectra: Tensor) -> None:
        samples = overlap(spectra)
        at = self._made * self._hop - overlap.before - self._begin
        self._sum = F.pad(self._sum, (0, max(at + samples.shape[-1] - self._sum.shape[-1], 0)))
        self._sum[:, at : at + samples.shape[-1]] += samples

    def _take(self, until: int) -> Tensor:
        """Left and right up to the sample `until`, without what lies before the first code."""
        outside = min(max(self._decoder.edge * self._hop - self._begin, 0), until - self._begin)
        taken, self._sum = self._sum[:, outside : until - self._begin], self._sum[:, until - self._begin :]
        self._begin = until
        mid, side = taken.chunk(2)
        return torch.stack([mid + side, mid - side], dim=1)


def _stereo(audio: Tensor) -> Tensor:
    if audio.shape[1] == 2:
        return audio
    return audio.mean(1, keepdim=True).expand(-1, 2, -1)
