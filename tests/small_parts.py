"""Small random frozen parts and song folders for the tests of data and training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from accompany import audio
from accompany.data.tokens.encode import TokenParts
from accompany.encoders.clap import Clap
from accompany.encoders.code_fitting import fit_codes
from accompany.encoders.codec import Codec
from accompany.encoders.melody import Melody
from accompany.encoders.mert import Mert
from accompany.encoders.published import load_clap
from accompany.encoders.semantic_codes import SemanticCodes

SAMPLE_RATE = 22050


def small_mert() -> Mert:
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(1)
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,), conv_kernel=(1024,), conv_stride=(960,), num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return Mert(HubertModel(config).eval(), sample_rate=24000)


def small_codec() -> Codec:
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(2)
    config = EncodecConfig(
        target_bandwidths=[2.0], sampling_rate=24000, num_filters=4, hidden_size=16, codebook_dim=16,
        codebook_size=64, upsampling_ratios=[8, 5, 4, 3], num_lstm_layers=1, use_causal_conv=False,
    )  # fmt: skip
    model = EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return Codec(model.eval())


def small_clap(folder: Path) -> Clap:
    """Through a folder, since the tokenizer comes from one."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: index for index, word in enumerate("[PAD] [UNK] a small band quiet organ and clicks".split())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        sampling_rate=16_000, hop_length=640, max_length_s=2, frequency_max=8000, truncation="rand_trunc"
    ).save_pretrained(folder)
    torch.manual_seed(3)
    shared = {"num_attention_heads": 2, "projection_dim": 24}
    text = {"vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    audio = {"patch_embeds_hidden_size": 16, "hidden_size": 64, "depths": [1, 1, 1], "window_size": 4, "spec_size": 64}
    config = transformers.ClapConfig(
        text_config={**shared, **text, "max_position_embeddings": 20, "pad_token_id": 0},
        audio_config={**shared, **audio, "num_attention_heads": [2, 2, 2], "num_mel_bins": 64},
        projection_dim=24,
    )
    transformers.ClapModel(config).save_pretrained(folder)
    return load_clap(folder)


def small_codes() -> SemanticCodes:
    """Streams of 24 and 8 values, 16 codes each."""
    generator = torch.Generator().manual_seed(4)
    states, harmony, rhythm = (torch.randn(200, width, generator=generator) for width in (16, 24, 8))
    return fit_codes(states, [harmony, rhythm], (16, 16))


def small_parts(folder: Path) -> TokenParts:
    return TokenParts(Melody(), small_mert(), small_clap(folder), small_codec(), small_codes())


def save_bundle(folder: Path) -> Path:
    """The frozen parts as a bundle without stages, as it stands before these are trained."""
    parts = small_parts(folder / "clap")
    parts.mert.model.save_pretrained(folder / "mert")
    preprocessor = {"sampling_rate": 24000, "do_normalize": False}
    (folder / "mert" / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    parts.codec.model.save_pretrained(folder / "codec")
    parts.semantic_codes.save_pretrained(folder / "semantic_codes")
    names = ("mert", "clap", "codec", "semantic_codes")
    content = {name: {"path": name, "license": "Apache-2.0", "options": {}} for name in names}
    (folder / "bundle.json").write_text(
        json.dumps({"format": 1, "name": folder.name, "license": "Apache-2.0", "parts": content})
    )
    return folder


def write_noise(path: Path, seconds: float, rate: int, channels: int = 1, level: float = 0.1) -> Path:
    """A file of noise, other noise for another path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(path.as_posix().encode())).standard_normal((channels, round(seconds * rate)))
    audio.write(path, (level * noise).clip(-1, 1).astype(np.float32), rate)
    return path


def write_song(folder: Path, seed: int, seconds: float = 6.0, band: bool = True, **labels: object) -> Path:
    """A song folder: a gliding voice, a band of chords and clicks, and its labels."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch_hz = 220 * 2 ** (rng.integers(0, 12) / 12)
    folder.mkdir(parents=True)
    voice = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s) * (np.sin(2 * np.pi * 0.7 * time_s) > -0.5)
    audio.write(folder / "vocals.flac", voice.astype(np.float32), SAMPLE_RATE)
    if band:
        chord = sum(np.sin(2 * np.pi * pitch_hz * ratio * time_s) for ratio in (0.5, 0.75, 0.625))
        clicks = (time_s % 0.5 < 0.02) * rng.standard_normal(len(time_s))
        both = np.stack([0.1 * chord, 0.1 * chord + 0.1 * clicks]).astype(np.float32)
        audio.write(folder / "accompaniment.flac", both, SAMPLE_RATE)
    beats = [round(t, 3) for t in np.arange(0, seconds, 0.5)]
    song = {
        "format": 1,
        "key": "A:min",
        "tempo_bpm": 120.0,
        "beats": beats,
        "downbeats": beats[::4],
        "chords": [[0.0, seconds / 2, "A:min7"], [seconds / 2, seconds, "F:maj/3"]],
        "captions": ["a small band", "quiet organ and clicks"],
        "instruments": ["organ"],
    }
    (folder / "song.json").write_text(json.dumps({**song, **labels}))
    return folder


def write_songs(root: Path, count: int, **options: object) -> Path:
    for seed in range(count):
        write_song(root / f"{seed:06d}", seed, **options)  # type: ignore[arg-type]
    return root
