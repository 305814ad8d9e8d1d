"""Vocos as the decoder of EnCodec at 24 kHz: codes to sound by an inverse STFT (Siuzdak 2023, arXiv 2306.00814).

The published `charactr/vocos-encodec-24khz` is read as it is: `config.yaml`, and `model.safetensors` or a pickled
`pytorch_model.bin`, of which only tensors are taken. Module names are those of its weights.

Shape letters: B items, K codebooks, A codes, D channels of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.common.progress import Steps
from accompany.common.weights import WEIGHTS_NAME, PathLike, load_state, log_license, read_state, resolve_folder
from accompany.encoders.codec import Codec, in_pieces
from accompany.errors import InputError

if TYPE_CHECKING:
    from transformers import EncodecModel

CONFIG, PICKLED = "config.yaml", "pytorch_model.bin"
_REACH = 3
_LARGEST_MAGNITUDE = 100.0
_EPS = 1e-6


@dataclass(frozen=True)
class VocosConfig:
    """Sizes of a `Vocos`.

    Attributes:
        bandwidths: kbit/s that it was trained for; each has its own norms.
        latent: channels of EnCodec's codebook vectors.
        width, hidden, blocks: of the network.
        n_fft, hop: of the inverse STFT, in samples.
    """

    bandwidths: tuple[float, ...]
    latent: int
    width: int
    hidden: int
    blocks: int
    n_fft: int
    hop: int

    @classmethod
    def read(cls, path: Path) -> VocosConfig:
        """From the published YAML, where each part names its class and the arguments of its constructor.

        Raises:
            InputError: the file is missing or broken, or describes another network (of mel spectra, for example).
        """
        from omegaconf import OmegaConf

        from accompany.common.overrides import load_yaml

        if not path.is_file():
            raise InputError(f"There is no {path.name} in {path.parent}; use a folder of charactr/vocos-encodec-24khz.")
        content: Any = OmegaConf.to_container(load_yaml(path))
        try:
            features, backbone, head = (
                content[name]["init_args"] for name in ("feature_extractor", "backbone", "head")
            )
            if features["encodec_model"] != "encodec_24khz" or head["padding"] != "same":
                raise ValueError("it takes no codes of EnCodec at 24 kHz")
            bandwidths = tuple(float(value) for value in features["bandwidths"])
            if backbone["adanorm_num_embeddings"] != len(bandwidths):
                raise ValueError("not as many norms as bandwidths")
            latent, width, hidden, blocks = (
                int(backbone[name]) for name in ("input_channels", "dim", "intermediate_dim", "num_layers")
            )
            config = cls(bandwidths, latent, width, hidden, blocks, int(head["n_fft"]), int(head["hop_length"]))
            if min(config.latent, config.width, config.hidden, config.blocks, config.hop) < 1:
                raise ValueError("sizes must be at least 1")
            if config.n_fft <= config.hop or (config.n_fft - config.hop) % 2:
                raise ValueError("n_fft must be larger than hop_length by an even number")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} is no config of a Vocos for EnCodec at 24 kHz ({error}); use charactr/vocos-encodec-24khz."
            ) from error
        return config


class _BandwidthNorm(nn.Module):
    """A layer norm with scale and shift of the bandwidth."""

    def __init__(self, n_bandwidths: int, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Embedding(n_bandwidths, width), nn.Embedding(n_bandwidths, width)

    def forward(self, frames: Tensor, bandwidth: Tensor) -> Tensor:
        normed = functional.layer_norm(frames, frames.shape[-1:], eps=_EPS)
        return normed * self.scale(bandwidth) + self.shift(bandwidth)


class _VocosBlock(nn.Module):
    """A ConvNeXt block over [B, D, A]."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        width = config.width
        self.dwconv = nn.Conv1d(width, width, 2 * _REACH + 1, padding=_REACH, groups=width)
        self.norm = _BandwidthNorm(len(config.bandwidths), width)
        self.pwconv1, self.pwconv2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.gamma = nn.Parameter(torch.full((width,), 1 / config.blocks))

    def forward(self, frames: Tensor, bandwidth: Tensor) -> Tensor:
        made = self.norm(self.dwconv(frames).mT, bandwidth)
        return frames + (self.gamma * self.pwconv2(functional.gelu(self.pwconv1(made)))).mT


class _VocosBackbone(nn.Module):
    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.embed = nn.Conv1d(config.latent, config.width, 2 * _REACH + 1, padding=_REACH)
        self.norm = _BandwidthNorm(len(config.bandwidths), config.width)
        self.convnext = nn.ModuleList(_VocosBlock(config) for _ in range(config.blocks))
        self.final_layer_norm = nn.LayerNorm(config.width, eps=_EPS)

    def forward(self, latents: Tensor, bandwidth: Tensor) -> Tensor:
        """[B, A, D] of latents [B, latent, A]."""
        frames = self.norm(self.embed(latents).mT, bandwidth).mT
        for block in self.convnext:
            frames = block(frames, bandwidth)
        made: Tensor = self.final_layer_norm(frames.mT)
        return made


class _IstftHead(nn.Module):
    """Log magnitudes and phases, and the inverse STFT of both with a Hann window."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.n_fft, self.hop = config.n_fft, config.hop
        self.out = nn.Linear(config.width, config.n_fft + 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Sound [B, A * hop] of [B, A, D]."""
        logs, phases = self.out(frames).mT.chunk(2, dim=1)
        spectra = torch.polar(logs.exp().clamp(max=_LARGEST_MAGNITUDE), phases)
        window = torch.hann_window(self.n_fft, device=frames.device)
        pieces = torch.fft.irfft(spectra, self.n_fft, dim=1) * window[:, None]
        overlaps = window.square()[None, :, None].expand(1, -1, frames.shape[1])
        return self._added(pieces) / self._added(overlaps)

    def _added(self, pieces: Tensor) -> Tensor:
        """[B, A * hop] of windows [B, n_fft, A], what reaches beyond the first and last hop cut off."""
        cut = (self.n_fft - self.hop) // 2
        length = (pieces.shape[-1] - 1) * self.hop + self.n_fft
        added = functional.fold(pieces, (1, length), (1, self.n_fft), stride=(1, self.hop))
        return added[:, 0, 0, cut : length - cut]


class Vocos(nn.Module):
    """EnCodec's codes [B, K, A] to sound [B, A * hop] at 24 kHz."""

    def __init__(self, config: VocosConfig, n_vectors: int) -> None:
        """For codebooks that have `n_vectors` entries in all."""
        super().__init__()
        self.config = config
        self.feature_extractor = nn.Module()
        self.feature_extractor.codebook_weights = nn.Parameter(torch.zeros(n_vectors, config.latent))
        self.backbone, self.head = _VocosBackbone(config), _IstftHead(config)

    @classmethod
    def from_pretrained(cls, path_or_id: PathLike, *, license: str | None = None) -> Vocos:
        """Load the published files from a folder or a hub id, every key checked.

        Raises:
            InputError: a file is missing or broken, or weights are missing, left over or of another shape (named).
        """
        from accompany.common.pickles import read_state as read_pickled

        folder = resolve_folder(path_or_id)
        config = VocosConfig.read(folder / CONFIG)
        pickled = not (folder / WEIGHTS_NAME).is_file() and (folder / PICKLED).is_file()
        state = dict(read_pickled(folder / PICKLED) if pickled else read_state(folder / WEIGHTS_NAME))
        state.pop("head.istft.window", None)  # follows from n_fft
        vectors = state.get("feature_extractor.codebook_weights", torch.zeros(0, config.latent))
        vocos = cls(config, len(vectors))
        load_state(vocos, state, folder)
        log_license(cls.__name__, path_or_id, license, folder)
        return vocos.eval().requires_grad_(False)

    @property
    def reach(self) -> int:
        """Codes on either side of one that count in its sound."""
        return _REACH * (1 + self.config.blocks) - (-self.config.n_fft // (2 * self.config.hop))

    def forward(self, codes: Tensor, size: int, bandwidth: int) -> Tensor:
        """Sound of codes of codebooks with `size` entries each, `bandwidth` the index of theirs."""
        firsts = size * torch.arange(codes.shape[1], device=codes.device)
        weights = self.feature_extractor.codebook_weights
        latents = functional.embedding(codes + firsts[:, None], weights).sum(1).mT  # type: ignore[arg-type]
        made: Tensor = self.head(self.backbone(latents, torch.tensor(bandwidth, device=codes.device)))
        return made


class VocosCodec(Codec):
    """EnCodec at 24 kHz whose codes Vocos decodes: as many codebooks as one of its bandwidths takes."""

    def __init__(self, model: EncodecModel, vocos: Vocos, *, n_codebooks: int | None = None) -> None:
        """Encode with `model`, decode with `vocos`.

        Raises:
            InputError: they do not fit together, or no bandwidth has that many codebooks.
        """
        config, theirs = model.config, vocos.config
        kbits = config.sampling_rate / config.hop_length * (config.codebook_size - 1).bit_length() / 1000
        self._bandwidths: Mapping[int, int] = {round(b / kbits): i for i, b in enumerate(theirs.bandwidths)}
        n_vectors = len(vocos.feature_extractor.codebook_weights)  # type: ignore[arg-type]
        has = (config.hop_length, config.codebook_dim, max(self._bandwidths) * config.codebook_size)
        if has != (theirs.hop, theirs.latent, n_vectors) or config.chunk_length is not None:
            raise InputError("This Vocos was made for another EnCodec; use it with facebook/encodec_24khz.")
        super().__init__(model, n_codebooks=max(self._bandwidths) if n_codebooks is None else n_codebooks)
        self.vocos = vocos
        self._bandwidth_of(self.n_codebooks)

    @classmethod
    def of(
        cls, encodec: PathLike, vocos: str, *, n_codebooks: int | None = None, license: str | None = None
    ) -> VocosCodec:
        """Load both: EnCodec, and the Vocos of a folder inside of EnCodec's, or of a folder or hub id.

        Raises:
            InputError: as of the constructor, of `Codec.from_pretrained` and of `Vocos.from_pretrained`.
        """
        inside = Path(encodec) / vocos
        model = Codec.from_pretrained(encodec, license=license).model
        return cls(model, Vocos.from_pretrained(inside if inside.is_dir() else vocos), n_codebooks=n_codebooks)

    def _bandwidth_of(self, n_codebooks: int) -> int:
        if n_codebooks not in self._bandwidths:
            known = ", ".join(map(str, self._bandwidths))
            raise InputError(f"This Vocos decodes {known} codebooks, not {n_codebooks}.")
        return self._bandwidths[n_codebooks]

    def _decode_long(self, codes: Tensor, chunk_s: float, report: Steps) -> Tensor:
        bandwidth, piece = self._bandwidth_of(codes.shape[1]), max(1, round(chunk_s * self.frame_rate))

        def decoded(begin: int, end: int) -> Tensor:
            sound: Tensor = self.vocos(codes[..., begin:end], self.codebook_size, bandwidth)
            return sound[:, None]

        return in_pieces(decoded, codes.shape[-1], piece, self.vocos.reach, self.hop, report)
