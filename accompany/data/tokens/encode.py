"""Encoding of pairs as arrays, in two steps: `read_pair` prepares the sound, `encode` runs the frozen parts.

The first needs a CPU and no model, the second is best done in batches where the models are; what passes between them
is plain arrays, so that each may run in a process, or on a machine, of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accompany import audio
from accompany.common.config import read_json
from accompany.data.tokens.augment import AugmentConfig, augment_vocal
from accompany.data.tokens.pair_sources import ACCOMPANIMENT, SONG, VOCALS, PairSource
from accompany.data.tokens.parts import InputFormat, TokenParts, tokens_per_frame
from accompany.data.tokens.pitch_tempo import semitones_of, shifted_labels, sped
from accompany.data.tokens.shards import Encoded
from accompany.data.tokens.stems import read_stems
from accompany.data.tokens.store import Labels
from accompany.errors import InputError
from accompany.stages.conditions import STEMS

__all__ = [
    "DEFAULT_CAPTION",
    "EncodeConfig",
    "InputFormat",
    "TokenParts",
    "encode",
    "read_pair",
]

DEFAULT_CAPTION = "an instrumental accompaniment"
_MIN_SECONDS = 1.0


@dataclass(frozen=True)
class EncodeConfig:
    """Options for the encoding of pairs.

    Attributes:
        variants: of each vocal, the first untouched.
        token_variants: of each band's codec tokens, the first of the sound as it is.
        moves: copies of each pair with pitch and tempo augmentation, both stems alike.
        move_semitones: largest transposition of a copy; each copy has another one.
        seed: of all these.
        clap_window_s: windows of the sound embedding, in seconds.
        stems: encode drums, bass and other one by one too, where a pair has its instruments.
    """

    variants: int = 3
    token_variants: int = 1
    moves: int = 0
    move_semitones: int = 3
    seed: int = 0
    clap_window_s: float = 10.0
    stems: bool = False

    def __post_init__(self) -> None:
        for name in ("variants", "token_variants"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.moves <= 2 * self.move_semitones:
            raise ValueError(f"moves must be 0 to {2 * self.move_semitones}, not {self.moves}")


@dataclass(frozen=True)
class PairSounds:
    """A pair's sound as the parts want it, float32 at their rates; None where there is no band or no such part.

    Attributes:
        vocals: [variants, T] for the melody features; `vocals_mert` the same for MERT.
        band_mert: [1, T].
        band_clap: [windows, T].
        band_codec: [token_variants, C, T], one semantic frame longer than `n_frames`.
        stems_codec: [3, C, T], likewise, of `STEMS`.
    """

    source: PairSource
    copy: int
    labels: Labels
    seconds: float
    n_frames: int
    vocals: np.ndarray
    vocals_mert: np.ndarray | None = None
    band_mert: np.ndarray | None = None
    band_clap: np.ndarray | None = None
    band_codec: np.ndarray | None = None
    stems_codec: np.ndarray | None = None


def read_pair(
    source: PairSource,
    wanted: InputFormat,
    config: EncodeConfig,
    *,
    copy: int = 0,
    bleed_from: PairSource | None = None,
    augment: AugmentConfig | None = None,
) -> PairSounds:
    """Read a pair and make all sounds that the parts take.

    Args:
        copy: 0 for the pair as it is, 1 to `config.moves` for an augmented copy.
        bleed_from: a pair of another song, whose accompaniment is to bleed into augmented vocals.

    Raises:
        InputError: unreadable or silent or too short audio, stems of different length, or wrong labels.
    """
    names = (ACCOMPANIMENT,) if source.has_band and wanted.bands else ()
    instruments = source.stems if names and config.stems else ()
    with source.files(VOCALS, SONG, *names, *instruments) as folder:
        vocals = audio.read(folder / VOCALS)
        _check_vocals(folder, vocals)
        labels = _labels(folder)
        band = audio.read(folder / ACCOMPANIMENT) if names else None
        if band is not None:
            _check_aligned(folder, vocals, band)
        stems = read_stems(folder, instruments, band) if band is not None and instruments else {}
    pair_seed = zlib.crc32(source.id.encode())
    semitones = semitones_of(copy, config.move_semitones, [config.seed, pair_seed, 3])
    if band is not None:
        band = sped(band, semitones)
        stems = {name: sped(stem, semitones) for name, stem in stems.items()}
    vocals = sped(vocals, semitones)
    n_frames = audio.frame_count(vocals.samples.shape[-1], vocals.sample_rate, wanted.frame_rate)
    rng = np.random.default_rng([config.seed, pair_seed, *([copy] if copy else [])])
    sung = _variants(vocals, wanted.melody, config, rng, bleed_from, augment)
    pair = PairSounds(source, copy, shifted_labels(labels, semitones), round(vocals.seconds, 3), n_frames, sung)
    if wanted.mert is not None:
        pair = replace(pair, vocals_mert=audio.resample(sung, wanted.melody, wanted.mert))
    if band is None:
        return pair
    if stems and wanted.codec is not None:
        parts = [_codec_sounds(stems[name], wanted, n_frames, 1, []) for name in STEMS]
        pair = replace(pair, stems_codec=np.concatenate(parts))
    return _with_band(pair, band, wanted, config, [config.seed, pair_seed, 2, *([copy] if copy else [])])


def _with_band(
    pair: PairSounds, band: audio.Audio, wanted: InputFormat, config: EncodeConfig, seed: list[int]
) -> PairSounds:
    assert wanted.mert is not None
    mono = audio.to_mono(band.samples)
    windows = None
    if wanted.clap is not None:
        sound = audio.resample(mono, band.sample_rate, wanted.clap)[0]
        window = int(config.clap_window_s * wanted.clap)
        n_windows = max(sound.shape[-1] // window, 1)
        windows = sound[: n_windows * window].reshape(n_windows, -1)
    pair = replace(pair, band_mert=audio.resample(mono, band.sample_rate, wanted.mert), band_clap=windows)
    if wanted.codec is None:
        return pair
    return replace(pair, band_codec=_codec_sounds(band, wanted, pair.n_frames, config.token_variants, seed))


def _variants(
    vocals: audio.Audio,
    sample_rate: int,
    config: EncodeConfig,
    rng: np.random.Generator,
    bleed_from: PairSource | None,
    augment: AugmentConfig | None,
) -> np.ndarray:
    """The vocal as it is, then augmented: [variants, T] at `sample_rate`."""
    dry = audio.resample(audio.to_mono(vocals.samples), vocals.sample_rate, sample_rate)[0]
    bleed = None
    if bleed_from is not None and config.variants > 1:
        with bleed_from.files(ACCOMPANIMENT) as folder:
            other = audio.read(folder / ACCOMPANIMENT, max_seconds=vocals.seconds)
        bleed = audio.resample(audio.to_mono(other.samples), other.sample_rate, sample_rate)[0]
    others = [augment_vocal(dry, sample_rate, rng, bleed=bleed, config=augment) for _ in range(config.variants - 1)]
    return np.stack([dry, *others])


def _codec_sounds(band: audio.Audio, wanted: InputFormat, n_frames: int, variants: int, seed: list[int]) -> np.ndarray:
    """The band as it is, then shifted in phase: [variants, C, T].

    Tokens carry the phase of the waveform, so that the same sound a few milliseconds later, or upside down, has
    quite other ones: for the acoustic stage, more of the same music.
    """
    assert wanted.codec is not None
    resampled = audio.resample(band.samples, band.sample_rate, wanted.codec)
    sound = audio.to_channels(resampled, wanted.codec_channels)
    rate = wanted.codec_frame_rate
    draws = [np.random.default_rng([*seed, v]) for v in range(1, variants)]
    sounds = [sound, *(phase_shifted(sound, wanted.codec, rate, rng) for rng in draws)]
    # One frame more than is kept, so that the last kept one never lacks its right-hand context.
    n_samples = round((n_frames + 1) * wanted.codec / wanted.frame_rate)
    return np.stack([audio.fit_length(each, n_samples) for each in sounds]).astype(np.float32)


def phase_shifted(sound: np.ndarray, sample_rate: int, codec_frame_rate: float, rng: np.random.Generator) -> np.ndarray:
    """`sound` [C, T] earlier or later by up to half a codec frame, its polarity flipped or not; silence fills the gap.

    Every position on the codec's grid is equally likely; no event shifts by over half a codec frame (10 ms at 50 Hz).
    """
    reach = sample_rate / codec_frame_rate / 2
    shift = round(rng.uniform(-reach, reach))
    polarity = np.float32(rng.choice((-1.0, 1.0)))
    shifted = np.zeros_like(sound)
    shifted[:, max(shift, 0) : sound.shape[-1] + min(shift, 0)] = sound[
        :, max(-shift, 0) : sound.shape[-1] - max(shift, 0)
    ]
    return polarity * shifted


def encode(pairs: Sequence[PairSounds], parts: TokenParts) -> list[Encoded]:
    """Run the frozen parts over several pairs; those of the same length go through together.

    Returns:
        The pairs with the arrays of `accompany.data.tokens.shards`, in order.
    """
    arrays: list[dict[str, np.ndarray]] = [{} for _ in pairs]
    for group in _alike(pairs):
        for number, made in zip(group, _encode_alike([pairs[i] for i in group], parts), strict=True):
            arrays[number] |= made
    if parts.clap is not None:
        for made, texts in zip(arrays, _texts(pairs, parts.clap), strict=True):
            made["text"] = texts
    return [_encoded(pair, made) for pair, made in zip(pairs, arrays, strict=True)]


def _encoded(pair: PairSounds, arrays: dict[str, np.ndarray]) -> Encoded:
    source = pair.source
    has_band = pair.band_mert is not None
    return Encoded(
        source.id, source.song, source.artist, pair.seconds, pair.n_frames, has_band, pair.labels, arrays, pair.copy
    )


def _alike(pairs: Sequence[PairSounds]) -> list[list[int]]:
    """Numbers of the pairs whose sounds have the same shapes, group by group."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, pair in enumerate(pairs):
        sounds = (pair.vocals, pair.vocals_mert, pair.band_mert, pair.band_clap, pair.band_codec, pair.stems_codec)
        shapes = tuple(None if sound is None else sound.shape for sound in sounds)
        groups.setdefault((pair.n_frames, *shapes), []).append(number)
    return list(groups.values())


def _encode_alike(pairs: Sequence[PairSounds], parts: TokenParts) -> list[dict[str, np.ndarray]]:
    """Arrays of pairs of one length, but for their texts: one call of each part for all of them."""
    n_frames, first = pairs[0].n_frames, pairs[0]
    voices = parts.melody.encode(_together([pair.vocals for pair in pairs], parts.melody), n_frames)
    if parts.mert is not None:
        sounds = _together([pair.vocals_mert for pair in pairs], parts.mert)
        voices = torch.cat([voices.cpu(), parts.mert.encode(sounds, n_frames).cpu()], dim=-1)
    made = [{f"vocal.{v}": row for v, row in enumerate(rows)} for rows in np.split(_half(voices), len(pairs))]
    if first.band_mert is None:
        return made
    assert parts.mert is not None and parts.semantic_codes is not None
    states = parts.mert.encode(_together([pair.band_mert for pair in pairs], parts.mert), n_frames)
    for arrays, codes in zip(made, parts.semantic_codes.encode(states).cpu().numpy().astype(np.int16), strict=True):
        arrays["codes"] = codes
    if first.band_codec is not None:
        for arrays, tokens in zip(made, _tokens([pair.band_codec for pair in pairs], parts, n_frames), strict=True):
            arrays |= {f"tokens.{v}" if v else "tokens": row for v, row in enumerate(tokens)}
    if first.stems_codec is not None:
        for arrays, stems in zip(made, _tokens([pair.stems_codec for pair in pairs], parts, n_frames), strict=True):
            arrays |= {f"stem.{name}": row for name, row in zip(STEMS, stems, strict=True)}
    if parts.clap is not None and first.band_clap is not None:
        embedded = parts.clap.embed_audio(_together([pair.band_clap for pair in pairs], parts.clap))
        for arrays, windows in zip(made, np.split(_half(embedded), len(pairs)), strict=True):
            arrays["audio_clap"] = windows
    return made


def _tokens(sounds: list[np.ndarray | None], parts: TokenParts, n_frames: int) -> list[np.ndarray]:
    """Codec tokens [n, K, A] of the sounds of each pair, as many as its `n_frames` of the semantic grid cover."""
    codec = parts.codec
    assert codec is not None
    per_frame = tokens_per_frame(codec.frame_rate, parts.melody.frame_rate)
    tokens = codec.encode(_together(sounds, codec))[..., : n_frames * per_frame]
    return np.split(tokens.cpu().numpy().astype(np.int16), len(sounds))


def _texts(pairs: Sequence[PairSounds], clap: Any) -> list[np.ndarray]:
    """The captions of each pair, embedded: [n, Dt]; each wording once, whoever has it."""
    captions = [list(pair.labels.captions) or [DEFAULT_CAPTION] for pair in pairs]
    wordings = list(dict.fromkeys(text for texts in captions for text in texts))
    embedded = dict(zip(wordings, _half(clap.embed_text(wordings)), strict=True))
    return [np.stack([embedded[text] for text in texts]) for texts in captions]


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
            f"The two stems of {folder} last {vocals.seconds:.3f} s and {band.seconds:.3f} s; "
            "they must be sample-aligned."
        )


def _together(sounds: Sequence[np.ndarray | None], part: Any) -> torch.Tensor:
    """The sounds of several pairs as one batch, where the part is."""
    joined = np.concatenate([sound for sound in sounds if sound is not None])
    place = next(chain(part.parameters(), part.buffers()), None)
    return torch.from_numpy(joined).to(place.device if place is not None else "cpu")


def _half(values: torch.Tensor) -> np.ndarray:
    half: np.ndarray = values.detach().to("cpu", torch.float32).numpy().astype(np.float16)
    return half
