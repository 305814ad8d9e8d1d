"""A song folder turned into arrays by the frozen parts: features of the vocal, codes and tokens of the band."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accompany import audio
from accompany.config import read_json
from accompany.data.augment import AugmentConfig, augment_vocal
from accompany.data.tokens import Labels
from accompany.errors import InputError

VOCALS, ACCOMPANIMENT, SONG = "vocals.flac", "accompaniment.flac", "song.json"
DEFAULT_CAPTION = "an instrumental accompaniment"
_MIN_SECONDS = 1.0
_HASHED_OPTIONS = (
    "sample_rate",
    "frame_rate",
    "dim",
    "layer",
    "n_codebooks",
    "codebook_size",
    "sizes",
    "residual",
)


@dataclass(frozen=True)
class TokenParts:
    """The frozen parts that make tokens.

    Without `codec` and `semantic_codes` only vocals are encoded, without `mert` as melody features alone.
    """

    melody: Any
    mert: Any | None = None
    clap: Any | None = None
    codec: Any | None = None
    semantic_codes: Any | None = None

    @classmethod
    def of(cls, bundle: Any) -> TokenParts:
        """The parts of a loaded bundle."""
        return cls(bundle.melody, bundle.mert, bundle.clap, bundle.codec, bundle.semantic_codes)

    def named(self) -> dict[str, Any]:
        """The parts that are there, by name."""
        names = ("melody", "mert", "clap", "codec", "semantic_codes")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def hears_bands(self) -> bool:
        """Whether accompaniments can be encoded too."""
        return None not in (self.mert, self.codec, self.semantic_codes)

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """A hash of the weights, and the rates, of each part."""
        return {name: _fingerprint(part) for name, part in self.named().items()}

    def sizes(self) -> dict[str, int]:
        """Widths and vocabularies, as the manifest keeps them."""
        mert_dim = self.mert.dim if self.mert is not None else 0
        sizes = {"melody_dim": self.melody.dim, "vocal_dim": self.melody.dim + mert_dim}
        if self.clap is not None:
            sizes["text_dim"] = self.clap.dim
        if self.codec is not None and self.semantic_codes is not None:
            sizes |= {"tokens": self.codec.n_codebooks, "token_size": self.codec.codebook_size}
        return {name: int(value) for name, value in sizes.items()}


@dataclass(frozen=True)
class EncodeConfig:
    """How songs are encoded.

    Attributes:
        variants: of each vocal, the first untouched.
        token_variants: of each band's codec tokens, the first of the sound as it is.
        seed: of the other variants.
        clap_window_s: windows of the sound embedding, in seconds.
    """

    variants: int = 3
    token_variants: int = 1
    seed: int = 0
    clap_window_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("variants", "token_variants"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def encode_song(
    folder: Path,
    parts: TokenParts,
    config: EncodeConfig,
    *,
    bleed_from: Path | None = None,
    augment: AugmentConfig | None = None,
) -> tuple[dict[str, np.ndarray], Labels, dict[str, Any]]:
    """Encode one song folder.

    Args:
        folder: with vocals.flac, and where there is a band accompaniment.flac; song.json is optional.
        bleed_from: the accompaniment of another song, to bleed into augmented vocals.

    Returns:
        The arrays of `accompany.data.tokens`, the labels, and the manifest line without its split.

    Raises:
        InputError: unreadable or silent or too short audio, or two sides of different length.
    """
    vocals = audio.read(folder / VOCALS)
    n_frames = audio.frame_count(vocals.samples.shape[-1], vocals.sample_rate, parts.melody.frame_rate)
    labels = _labels(folder)
    _check_vocals(folder, vocals)
    rng = np.random.default_rng([config.seed, zlib.crc32(folder.name.encode())])
    sounds = _variants(vocals, parts.melody.sample_rate, config, rng, bleed_from, augment)
    arrays = {f"vocal.{v}": row for v, row in enumerate(_vocal_features(sounds, parts, n_frames))}
    if parts.clap is not None:
        texts = list(labels.captions) or [DEFAULT_CAPTION]
        arrays["text"] = _half(parts.clap.embed_text(texts))
    has_band = parts.hears_bands and (folder / ACCOMPANIMENT).is_file()
    if has_band:
        band = audio.read(folder / ACCOMPANIMENT)
        _check_aligned(folder, vocals, band)
        arrays |= _band_arrays(band, parts, n_frames, config)
        arrays |= _token_arrays(band, parts, n_frames, config, zlib.crc32(folder.name.encode()))
    entry = {"seconds": round(vocals.seconds, 3), "n_frames": n_frames, "has_accompaniment": has_band}
    return arrays, labels, entry


def _variants(
    vocals: audio.Audio,
    sample_rate: int,
    config: EncodeConfig,
    rng: np.random.Generator,
    bleed_from: Path | None,
    augment: AugmentConfig | None,
) -> np.ndarray:
    """The vocal as it is, then augmented: [variants, T] at `sample_rate`."""
    dry = audio.resample(audio.to_mono(vocals.samples), vocals.sample_rate, sample_rate)[0]
    bleed = None
    if bleed_from is not None and config.variants > 1:
        other = audio.read(bleed_from, max_seconds=vocals.seconds)
        bleed = audio.resample(audio.to_mono(other.samples), other.sample_rate, sample_rate)[0]
    others = [augment_vocal(dry, sample_rate, rng, bleed=bleed, config=augment) for _ in range(config.variants - 1)]
    return np.stack([dry, *others])


def _vocal_features(sounds: np.ndarray, parts: TokenParts, n_frames: int) -> np.ndarray:
    """Melody features, then MERT states: float16 [variants, F, Dv]."""
    melody = parts.melody.encode(torch.from_numpy(sounds), n_frames)
    if parts.mert is None:
        return _half(melody)
    at_mert_rate = audio.resample(sounds, parts.melody.sample_rate, parts.mert.sample_rate)
    states = parts.mert.encode(torch.from_numpy(at_mert_rate), n_frames)
    return _half(torch.cat([melody, states], dim=-1))


def _band_arrays(band: audio.Audio, parts: TokenParts, n_frames: int, config: EncodeConfig) -> dict[str, np.ndarray]:
    assert parts.mert is not None and parts.semantic_codes is not None
    mono = audio.to_mono(band.samples)
    states = parts.mert.encode(_at_rate(mono, band.sample_rate, parts.mert.sample_rate), n_frames)
    arrays = {"codes": parts.semantic_codes.encode(states)[0].numpy().astype(np.int16)}
    if parts.clap is not None:
        sound = _at_rate(mono, band.sample_rate, parts.clap.sample_rate)[0]
        window = int(config.clap_window_s * parts.clap.sample_rate)
        n_windows = max(sound.shape[-1] // window, 1)
        windows = sound[: n_windows * window].reshape(n_windows, -1)
        arrays["audio_clap"] = _half(parts.clap.embed_audio(windows))
    return arrays


def _token_arrays(
    band: audio.Audio, parts: TokenParts, n_frames: int, config: EncodeConfig, song: int
) -> dict[str, np.ndarray]:
    """`tokens` of the band as it is and `tokens.<v>` of the variants, each [Kc, A] int16; `song` seeds their draws.

    Tokens carry the phase of the waveform, so that the same sound a few milliseconds later, or upside down, has
    quite other ones: for the acoustic stage, more of the same music.
    """
    assert parts.codec is not None
    codec = parts.codec
    sound = audio.resample(band.samples, band.sample_rate, codec.sample_rate)
    if codec.channels == 1:
        sound = audio.to_mono(sound)
    elif sound.shape[0] == 1:
        sound = np.repeat(sound, codec.channels, axis=0)
    arrays = {"tokens": _codec_tokens(sound, codec, n_frames, parts.melody.frame_rate)}
    for v in range(1, config.token_variants):
        moved = moved_in_phase(sound, codec.sample_rate, codec.frame_rate, np.random.default_rng([config.seed, song, 2, v]))
        arrays[f"tokens.{v}"] = _codec_tokens(moved, codec, n_frames, parts.melody.frame_rate)
    return arrays


def moved_in_phase(
    sound: np.ndarray, sample_rate: int, codec_frame_rate: float, rng: np.random.Generator
) -> np.ndarray:
    """`sound` [C, T] earlier or later by up to half a codec frame, its polarity flipped or not; silence fills the gap.

    Every place on the codec's grid is as likely, and no event moves by more than half a codec frame (10 ms at 50 Hz).
    """
    reach = sample_rate / codec_frame_rate / 2
    shift = round(rng.uniform(-reach, reach))
    polarity = np.float32(rng.choice((-1.0, 1.0)))
    moved = np.zeros_like(sound)
    moved[:, max(shift, 0) : sound.shape[-1] + min(shift, 0)] = sound[:, max(-shift, 0) : sound.shape[-1] - max(shift, 0)]
    return polarity * moved


def _codec_tokens(sound: np.ndarray, codec: Any, n_frames: int, frame_rate: float) -> np.ndarray:
    """Tokens [Kc, A] int16 of `sound` [C, T], A an exact multiple of `n_frames`: the end is padded with silence."""
    per_frame = tokens_per_frame(codec.frame_rate, frame_rate)
    # One frame more than is kept, so that the last kept one never lacks its right-hand context.
    n_samples = round((n_frames + 1) * codec.sample_rate / frame_rate)
    tokens = codec.encode(torch.from_numpy(audio.fit_length(sound, n_samples))[None])[0]
    return tokens[:, : n_frames * per_frame].numpy().astype(np.int16)


def tokens_per_frame(codec_rate: float, frame_rate: float) -> int:
    """Codec frames in a semantic frame; InputError unless it is a whole number."""
    ratio = codec_rate / frame_rate
    if abs(ratio - round(ratio)) > 1e-6 or ratio < 1:
        raise InputError(
            f"The codec's {codec_rate:g} Hz is no whole multiple of the semantic grid's {frame_rate:g} Hz; "
            "choose another frame_rate for MERT and the semantic codes."
        )
    return round(ratio)


def _labels(folder: Path) -> Labels:
    path = folder / SONG
    if not path.is_file():
        return Labels()
    song = read_json(path)
    try:
        return Labels.from_song(song)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} has labels of the wrong shape ({error}); make it again.") from error


def _check_vocals(folder: Path, vocals: audio.Audio) -> None:
    if vocals.seconds < _MIN_SECONDS:
        raise InputError(f"{folder / VOCALS} lasts {vocals.seconds:.2f} s; at least {_MIN_SECONDS:g} s are needed.")
    if not np.abs(vocals.samples).max(initial=0.0) > 1e-4:
        raise InputError(f"{folder / VOCALS} is silent; leave it out.")


def _check_aligned(folder: Path, vocals: audio.Audio, band: audio.Audio) -> None:
    if abs(vocals.seconds - band.seconds) > 0.5 / max(vocals.sample_rate, band.sample_rate):
        raise InputError(
            f"The two sides of {folder} last {vocals.seconds:.3f} s and {band.seconds:.3f} s; "
            "they must be sample-aligned."
        )


def _at_rate(samples: np.ndarray, from_rate: int, to_rate: int) -> torch.Tensor:
    return torch.from_numpy(audio.resample(samples, from_rate, to_rate))


def _half(values: torch.Tensor) -> np.ndarray:
    half: np.ndarray = values.detach().to("cpu", torch.float32).numpy().astype(np.float16)
    return half


def _fingerprint(part: Any) -> dict[str, Any]:
    """A hash over every weight and the options that change what the part says."""
    digest = hashlib.sha256()
    options = {name: getattr(part, name) for name in _HASHED_OPTIONS if getattr(part, name, None) is not None}
    digest.update(repr(sorted(options.items())).encode())
    for name, tensor in sorted(_state(part).items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    shown = {name: value for name, value in options.items() if isinstance(value, (int, float))}
    return {"hash": digest.hexdigest()[:16], **shown}


def _state(part: Any) -> Mapping[str, torch.Tensor]:
    state: Mapping[str, torch.Tensor] = part.state_dict() if isinstance(part, torch.nn.Module) else {}
    return state
