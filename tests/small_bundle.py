"""A whole model, small and with random weights, through the real classes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

WORDS = "[PAD] [CLS] [SEP] [UNK] warm piano drums bass guitar slow fast jazz rock with and no soft loud"
CODES = (32, 32)


def small_mert() -> Any:
    from transformers import HubertConfig, HubertModel

    from accompany.encoders.mert import Mert

    config = HubertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,),
        conv_kernel=(4096,),
        conv_stride=(480,),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    return Mert(HubertModel(config), sample_rate=24000)


def small_clap() -> Any:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from accompany.encoders.clap import Clap

    words = {word: index for index, word in enumerate(WORDS.split())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    extractor = transformers.ClapFeatureExtractor(
        sampling_rate=24000, hop_length=960, max_length_s=2, frequency_max=8000, truncation="rand_trunc"
    )
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "projection_dim": 24,
    }
    audio = {
        "patch_embeds_hidden_size": 16,
        "hidden_size": 64,
        "depths": [1, 1, 1],
        "num_attention_heads": [2, 2, 2],
        "window_size": 4,
        "spec_size": 64,
        "num_mel_bins": 64,
        "projection_dim": 24,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    return Clap(transformers.ClapModel(config), fast, extractor)


def small_codec() -> Any:
    from transformers import EncodecConfig, EncodecModel

    from accompany.encoders.codec import Codec

    config = EncodecConfig(
        target_bandwidths=[2.4],
        sampling_rate=24000,
        num_filters=4,
        hidden_size=16,
        codebook_dim=16,
        codebook_size=64,
        upsampling_ratios=[5, 4, 3, 8],
        num_lstm_layers=1,
        use_causal_conv=False,
    )
    model = EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return Codec(model, n_codebooks=4)


def small_spectral_codec() -> Any:
    """The kind of codec that models with stems have: 8 kHz stereo, as many codes a second as semantic ones."""
    from accompany.encoders.spectral_analysis import AnalysisConfig
    from accompany.encoders.spectral_codec import SpectralCodec, SpectralCodecConfig
    from accompany.encoders.spectral_synthesis import SynthesisConfig, ToneBandConfig

    tones = [ToneBandConfig(1024, 1, 60), ToneBandConfig(512, 30, 257)]
    analysis = AnalysisConfig(
        [256, 128], [2, 4], [16, 8], low_windows=[1024], low_bins=[40], side_window=256, side_mels=8, width=16, blocks=1
    )
    synthesis = SynthesisConfig(24, 1, tones, 4, 80, 16, 1)
    codec = SpectralCodec(SpectralCodecConfig(8000, 160, 2, 8, 3, 64, analysis, synthesis))
    codec.codebook_vectors.normal_()
    return codec


def small_stages(melody_dim: int, mert_dim: int, text_dim: int, codec: Any, stems: bool = False) -> dict[str, Any]:
    from accompany.stages.acoustic import AcousticConfig, AcousticStage
    from accompany.stages.conditions import ConditionConfig
    from accompany.stages.depth import DepthConfig
    from accompany.stages.listener import Listener, ListenerConfig
    from accompany.stages.sampling import MaskedSamplingConfig
    from accompany.stages.semantic import SemanticConfig, SemanticStage
    from accompany.stages.transformer import TransformerConfig

    conditions = ConditionConfig(melody_dim=melody_dim, mert_dim=mert_dim, text_dim=text_dim, code_sizes=CODES)

    def transformer(causal: bool) -> TransformerConfig:
        return TransformerConfig(width=32, depth=1, heads=2, max_frames=256, causal=causal)

    semantic = SemanticConfig(
        conditions=conditions,
        encoder=transformer(False),
        decoder=transformer(True),
        window_frames=75,
        context_frames=25,
        lookahead_frames=5,
    )
    acoustic = AcousticConfig(
        mode="depth" if stems else "masked",
        conditions=dataclasses.replace(conditions, stems=stems, instruments=stems),
        codebooks=codec.n_codebooks,
        codebook_size=codec.codebook_size,
        ratio=round(codec.frame_rate / 25),
        transformer=transformer(stems),
        depth=DepthConfig(code_width=8, past_frames=2, hidden=16),
        window_frames=75,
        context_frames=20,
        lookahead_frames=5,
        sampling=MaskedSamplingConfig(steps=(3, 2, 1)),
    )
    listener = ListenerConfig(
        melody_dim=melody_dim,
        mert_dim=mert_dim,
        conv_layers=1,
        transformer=transformer(False),
        window_frames=200,
        context_frames=25,
    )
    return {
        "listener": Listener(listener).eval(),
        "semantic": SemanticStage(semantic).eval(),
        "acoustic": AcousticStage(acoustic).eval(),
    }


def write_random_bundle(folder: Path, scratch: Path, stems: bool = False) -> Path:
    """Write a bundle of random parts into `folder`, by way of `scratch`, as published checkpoints are laid out.

    With `stems` its acoustic stage makes drums, bass and other, and its codec is a spectral one.
    """
    from accompany.common.saving import save_half, save_module
    from accompany.encoders.code_fitting import fit_codes
    from accompany.encoders.melody import Melody
    from accompany.models.parts import PARTS, PartInfo
    from accompany.models.writing import write_bundle

    torch.manual_seed(0)
    mert, clap, codec = small_mert(), small_clap(), small_spectral_codec() if stems else small_codec()
    save_half(mert.model, scratch / "mert")
    preprocessor = {"sampling_rate": mert.sample_rate, "do_normalize": False}
    (scratch / "mert" / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    save_half(clap.model, scratch / "clap")
    clap._tokenizer.save_pretrained(scratch / "clap")
    clap._extractor.save_pretrained(scratch / "clap")
    if stems:
        save_module(codec, codec.config, scratch / "codec")
    else:
        save_half(codec.model, scratch / "codec")
    states = torch.randn(400, mert.dim)
    codes = fit_codes(states, [states[:, :6], states[:, 6:12]], CODES, seed=0)
    codes.save_pretrained(scratch / "semantic_codes")
    for name, stage in small_stages(Melody().dim, mert.dim, clap.dim, codec, stems).items():
        save_module(stage, stage.config, scratch / name)
    options = {"codec": {"n_codebooks": codec.n_codebooks}}
    parts = {name: PartInfo(name, scratch / name, "Apache-2.0", options.get(name, {})) for name in PARTS}
    return write_bundle(folder, name="random", license="Apache-2.0", parts=parts)
