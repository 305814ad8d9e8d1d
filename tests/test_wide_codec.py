"""The codec of the `large` configs, 48 kHz stereo in normalised chunks: its tokens are made, learned, drawn, heard."""

from __future__ import annotations

from pathlib import Path

import torch
from small_parts import small_clap, small_codes, small_mert, write_songs

from accompany.common.weights import load_module
from accompany.data.loading.crops import LoadingConfig, TokenDataset, val_loader
from accompany.data.tokens.encode import TokenParts
from accompany.data.tokens.tokenize import tokenize
from accompany.encoders.codec import Codec
from accompany.encoders.melody import Melody
from accompany.stages.acoustic import AcousticStage
from accompany.stages.batch import conditions_of
from accompany.training.train import train

SMALL = ["model.transformer.width=32", "model.transformer.heads=2", "model.transformer.depth=1"]
SMALL += ["model.depth.hidden=32", "model.depth.code_width=16"]
RUN = ["device=cpu", "precision=float32", "strategy=auto", "compile=false", "checkpoint_activations=false"]
RUN += ["max_steps=2", "val_every=2", "loading.crop_s=2", "loading.batch_size=2", "loading.workers=0", "listen_items=0"]


def small_wide_codec(folder: Path) -> Codec:
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(2)
    config = EncodecConfig(
        target_bandwidths=[4.5], sampling_rate=48000, audio_channels=2, normalize=True, chunk_length_s=1.0,
        overlap=0.01, num_filters=4, hidden_size=16, codebook_dim=16, codebook_size=1024, num_lstm_layers=1,
        use_causal_conv=False, norm_type="time_group_norm",
    )  # fmt: skip
    model = EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    model.save_pretrained(folder)
    return Codec.from_pretrained(folder)


def test_large_runs_on_tokens_of_the_48_khz_codec(tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", 3, seconds=3.0)
    codec = small_wide_codec(tmp_path / "codec")
    parts = TokenParts(Melody(), small_mert(), small_clap(tmp_path / "clap"), codec, small_codes())
    made = tokenize(tmp_path / "songs", tmp_path / "tokens", parts, variants=1, val_share=0.4, progress=False)
    assert (made.codec_frame_rate, made.tokens_per_frame, made.sizes["tokens"]) == (150.0, 6, 4)
    tokens = TokenDataset(tmp_path / "tokens", "train", LoadingConfig(crop_s=2.0))[0]["tokens"]
    assert tokens.shape == (4, 300)
    levels = tokens[0] / 10 - 100.0
    assert ((levels > -60) & (levels < 0)).all(), "the level in dB of every second comes first"

    items = [f"tokens={tmp_path / 'tokens'}", f"run_dir={tmp_path / 'run'}", f"codec={tmp_path / 'codec'}"]
    folder = train("acoustic", "large", [*items, *RUN, *SMALL], progress=False)
    stage = load_module(AcousticStage, folder)
    assert isinstance(stage, AcousticStage) and (stage.config.ratio, stage.config.codebooks) == (6, 4)
    validation = TokenDataset(tmp_path / "tokens", "val", LoadingConfig(crop_s=2.0, batch_size=1))
    batch = next(iter(val_loader(validation, 1))).float()
    conditions = conditions_of(stage.config.conditions, batch, 50)
    codes = stage.generate(conditions, batch.need("codes"), seeds=[1])
    assert codes.shape == (1, 4, 300)
    sound = codec.decode(codes, 96_000)
    assert sound.shape == (1, 2, 96_000) and sound.isfinite().all() and sound.abs().max() > 0
