"""Train the spectral codec on a CPU, in phases, and export it.

1. codes: encoder and codebooks learn with a small network that predicts, from the codes, the features that the encoder
   was shown. Without a waveform a step costs a quarter of one through the decoder.
2. decoder: the decoder learns to make sound of the settled codes, by magnitudes at several windows.
3. adversarial: the decoder goes on beside small discriminators.

Each phase goes on from its own checkpoint when it was stopped. A codec to go on from (`init`) keeps its codes.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import torch

from accompany.common.config import to_dict, write_json
from accompany.common.saving import save_module
from accompany.encoders.codecs import load_codec
from accompany.encoders.spectral_codec import SpectralCodec
from accompany.errors import InputError
from accompany.training.encoders.audio_dataset import song_folders, split_songs
from accompany.training.encoders.loop import run_loop
from accompany.training.encoders.spectral_codes import CodesTraining
from accompany.training.encoders.spectral_config import PhaseConfig, SpectralCodecTrainingConfig
from accompany.training.encoders.spectral_decoding import AdversarialTraining, DecoderTraining
from accompany.training.encoders.stem_crops import StemCrops

__all__ = ["SpectralCodecTrainingConfig", "export", "train_spectral_codec"]


def train_spectral_codec(config: SpectralCodecTrainingConfig) -> Path:
    """Run or go on with the training; returns the folder of the codec.

    Raises:
        InputError: there are no songs, or too few to keep some apart, or a checkpoint is of another shape.
    """
    folder = Path(config.out)
    songs = split_songs(song_folders(config.songs), config.held_out)[0]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", to_dict(config))
    torch.manual_seed(config.seed)
    if config.init:
        codec = _begun(config.init)
        config = dataclasses.replace(config, model=codec.config)
    else:
        codec = SpectralCodec(config.model)
        codes = CodesTraining(codec, config, _crops(songs, config, config.codes))
        if not (folder / "codes" / "checkpoint.pt").is_file():
            codes.start()
        run_loop(codes, codes.step, config.codes.loop, folder / "codes")
        codes.export()
    decoder = DecoderTraining(codec, config, _crops(songs, config, config.decoder))
    if not (config.init or (folder / "decoder" / "checkpoint.pt").is_file()):
        decoder.start()
    run_loop(decoder, decoder.step, config.decoder.loop, folder / "decoder")
    codec.decoder.load_state_dict(decoder.average.state_dict())
    if config.adversarial.run:
        last = AdversarialTraining(codec, config, _crops(songs, config, config.adversarial.phase))
        run_loop(last, last.step, config.adversarial.phase.loop, folder / "adversarial")
        codec.decoder.load_state_dict(last.average.state_dict())
    return export(codec, folder / "export")


def _begun(init: str) -> SpectralCodec:
    codec = load_codec(init)
    if not isinstance(codec, SpectralCodec):
        raise InputError(f"init={init} is an EnCodec; name the folder of a spectral codec.")
    return codec.train()


def export(codec: SpectralCodec, folder: Path) -> Path:
    """Save the codec with large weights in 8 bits; the folder appears when complete."""
    partial = folder.with_name(f".{folder.name}.part")
    save_module(codec, codec.config, partial, bits=8)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return folder


def _crops(songs: list[Path], config: SpectralCodecTrainingConfig, phase: PhaseConfig) -> StemCrops:
    try:
        return StemCrops(
            songs,
            Path(config.out) / "packed",
            config.shares,
            sample_rate=config.model.sample_rate,
            n_samples=phase.frames * config.model.hop,
            varied=config.varied,
        )
    except ValueError as error:
        raise InputError(f"The songs cannot be trained on: {error}.") from error
