"""Fitting of the semantic codes: MERT states of accompaniments, projected onto three groups of targets and clustered.

Stream one asks what sounds (chroma, its average over the neighbourhood, bass), stream two when (onset flux finer
than a frame, and the kicks and snares that the synthetic songs know of), stream three how it sounds (a coarse
spectrum). Each is a ridge regression from the states with k-means behind it, so that codes come from MERT
alone and yet keep what an accompaniment is made of: k-means of bare states keeps whatever has the most variance,
which is loudness and brightness.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accompany.common.config import MOST_SEED, check_range, read_json, write_json
from accompany.encoders import targets
from accompany.encoders.code_fitting import fit_codes
from accompany.encoders.mert import Mert
from accompany.encoders.published import load_mert
from accompany.encoders.semantic_codes import SemanticCodes
from accompany.errors import InputError
from accompany.training.encoders.audio_dataset import read_mono, song_folders, split_songs
from accompany.training.encoders.mert_data import LEVEL, smooth

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SemanticCodesTrainingConfig:
    """Data, sizes and weights of the semantic codes.

    Attributes:
        songs: folders of synthetic songs.
        mert: folder of the MERT whose states are clustered.
        out: run folder; `out/export` receives the codes.
        layer: hidden state of MERT (None: the last).
        frame_rate: codes a second.
        sizes: codes of the harmony, the rhythm and the timbre stream.
        skip_songs: songs at the beginning that are left out: those that MERT was trained on.
        max_songs: songs to fit on.
        held_out_songs: songs that judge.
        smooth_s: neighbourhood of the averaged chroma.
        chroma_weight, harmony_weight, bass_weight: weights of the harmony stream's targets.
        flux_weight, drums_weight: weights of the rhythm stream's targets.
        flux_steps: steps of the onset flux in a frame.
        n_mels: bands of the coarse spectrum.
    """

    songs: tuple[str, ...] = ("songs",)
    mert: str = "runs/mert/export"
    out: str = "runs/semantic_codes"
    seed: int = 0
    layer: int | None = None
    frame_rate: float = 25.0
    sizes: tuple[int, int, int] = (512, 512, 256)
    skip_songs: int = 0
    max_songs: int = 100
    held_out_songs: int = 30
    smooth_s: float = 0.6
    chroma_weight: float = 0.7
    harmony_weight: float = 1.0
    bass_weight: float = 1.0
    flux_weight: float = 1.0
    drums_weight: float = 3.0
    flux_steps: int = 4
    n_mels: int = 24

    def __post_init__(self) -> None:
        """Refuse streams without codes."""
        check_range(self, "sizes", least=2, most=10**6)
        check_range(self, "skip_songs", least=0, most=10**9)
        check_range(self, "max_songs held_out_songs", least=1, most=10**9)
        check_range(self, "frame_rate", above=0, most=1000)
        check_range(self, "smooth_s", above=0, most=60)
        check_range(self, "chroma_weight harmony_weight bass_weight flux_weight drums_weight", least=0)
        check_range(self, "flux_steps n_mels", least=1, most=1000)
        check_range(self, "seed", least=0, most=MOST_SEED)


def fit_semantic_codes(config: SemanticCodesTrainingConfig) -> Path:
    """Encode songs with MERT, fit the streams, probe them on held-out songs (`out/figures.json`), export.

    Returns:
        the folder that `SemanticCodes.from_pretrained` loads.

    Raises:
        InputError: there are no songs, or no MERT.
    """
    training, held_out = split_songs(song_folders(config.songs), config.held_out_songs)
    chosen = training[config.skip_songs :][: config.max_songs]
    if not chosen:
        raise InputError(
            f"There are {len(training)} songs to fit on, and skip_songs leaves out {config.skip_songs}; lower it."
        )
    mert = load_mert(config.mert, layer=config.layer, frame_rate=config.frame_rate)
    encoded = [encode_song(song, mert, config) for song in chosen]
    codes = fit_streams(encoded, config)
    folder = Path(config.out) / "export"
    codes.save_pretrained(folder)
    asked = [encode_song(song, mert, config) for song in held_out]
    write_json(Path(config.out) / "figures.json", probe_streams(codes, [*encoded[-70:], *asked], len(asked)))
    return folder


@dataclass(frozen=True)
class EncodedSong:
    """`states` [F, D] of MERT and each stream's target [F, d] for one accompaniment; `folder` names the song."""

    folder: Path
    states: Tensor
    targets: tuple[Tensor, Tensor, Tensor]


def encode_song(song: Path, mert: Mert, config: SemanticCodesTrainingConfig) -> EncodedSong:
    """MERT's states of a song's accompaniment and what the streams are asked about it."""
    audio = torch.from_numpy(read_mono(song / "accompaniment.flac", mert.sample_rate))[None]
    states = mert.encode(audio)[0]
    levelled = audio * (LEVEL / audio.square().mean().sqrt().clamp_min(1e-4))
    drums = drum_onsets(read_json(song / "song.json"), len(states), config.frame_rate)
    harmony = harmony_target(levelled, mert.sample_rate, config)[0]
    rhythm = torch.cat([config.drums_weight * drums, flux_target(levelled, mert.sample_rate, config)[0]], dim=-1)
    timbre = targets.log_mel(levelled, mert.sample_rate, config.frame_rate, n_mels=config.n_mels)[0]
    return EncodedSong(song, states, (harmony, rhythm, timbre))


def harmony_target(audio: Tensor, sample_rate: int, config: SemanticCodesTrainingConfig) -> Tensor:
    """[B, F, 36]: chroma, averaged chroma and bass chroma of [B, T], weighted."""
    chroma = targets.chroma(audio, sample_rate, config.frame_rate)
    bass = targets.bass_chroma(audio, sample_rate, config.frame_rate)
    parts = (
        (config.chroma_weight, chroma),
        (config.harmony_weight, smooth(chroma, round(config.smooth_s * config.frame_rate))),
        (config.bass_weight, smooth(bass, 5)),
    )
    return torch.cat([weight * part for weight, part in parts], dim=-1)


def flux_target(audio: Tensor, sample_rate: int, config: SemanticCodesTrainingConfig) -> Tensor:
    """[B, F, 5 * flux_steps]: square root of the onset flux of [B, T], weighted."""
    flux = targets.onset_flux(audio, sample_rate, config.frame_rate, steps=config.flux_steps)
    return config.flux_weight * flux.clamp_min(0).sqrt()


def drum_onsets(song: Mapping[str, Any], n_frames: int, frame_rate: float) -> Tensor:
    """[F, 2]: 1 where a kick, 1 where a snare starts in the frame; zeros without drums."""
    onsets = torch.zeros(n_frames, 2)
    for column, name in enumerate(("kick", "snare")):
        frames = [int(time_s * frame_rate) for time_s in song.get("drums", {}).get(name, ())]
        onsets[[frame for frame in frames if 0 <= frame < n_frames], column] = 1.0
    return onsets


def fit_streams(encoded: Sequence[EncodedSong], config: SemanticCodesTrainingConfig) -> SemanticCodes:
    """The streams, fitted on all frames of `encoded`."""
    states = torch.cat([song.states for song in encoded])
    questions = [torch.cat(parts) for parts in zip(*(song.targets for song in encoded), strict=True)]
    log.info("clustering %d frames of %d songs", len(states), len(encoded))
    return fit_codes(states, questions, config.sizes, config.seed, frame_rate=config.frame_rate)


def probe_streams(codes: SemanticCodes, songs: Sequence[EncodedSong], n_test: int) -> dict[str, dict[str, float]]:
    """Metrics of the codes on the last `n_test` songs, beside their ceilings and floor.

    Codes are probed one-hot and as their centroids. Ceilings are the states and the signal features (without the
    known drums).
    """
    from accompany.training.encoders.probes import frame_labels, probe_codes, probe_features, probe_floor

    labels = [frame_labels(read_json(song.folder / "song.json"), len(song.states), codes.frame_rate) for song in songs]
    coded = [codes.encode(song.states[None])[0] for song in songs]
    raw = [torch.cat([song.targets[0], song.targets[1][:, 2:], song.targets[2]], dim=-1) for song in songs]
    metrics = {
        "codes": probe_codes(coded, codes.sizes, labels, n_test),
        "centroids": probe_features([codes.decode(song[None])[0] for song in coded], labels, n_test),
        "states": probe_features([song.states for song in songs], labels, n_test),
        "targets": probe_features(raw, labels, n_test),
        "floor": probe_floor(labels, n_test),
    }
    for name, values in metrics.items():
        log.info("%-8s %s", name, " ".join(f"{key} {value:.3f}" for key, value in values.items()))
    return metrics
