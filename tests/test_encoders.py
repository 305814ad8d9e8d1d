"""The frozen listeners on the real classes, built small with random weights, saved and loaded through the public door."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from accompany.encoders.codec import Codec
from accompany.encoders.mert import Mert
from accompany.encoders.protocols import FrameEncoder
from accompany.errors import InputError

transformers = pytest.importorskip("transformers")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- codec ---

CODECS = {
    "24 kHz causal": {"num_filters": 4, "hidden_size": 16},
    "24 kHz tiny": {
        "num_filters": 4,
        "hidden_size": 16,
        "use_causal_conv": False,
        "upsampling_ratios": [5, 4, 3, 8],
        "target_bandwidths": [4.0],
        "num_lstm_layers": 1,
    },
    "32 kHz": {
        "num_filters": 4,
        "hidden_size": 16,
        "sampling_rate": 32_000,
        "codebook_size": 2048,
        "target_bandwidths": [2.2],
        "upsampling_ratios": [8, 5, 4, 4],
        "use_causal_conv": False,
    },
    "48 kHz stereo": {
        "num_filters": 4,
        "hidden_size": 16,
        "sampling_rate": 48_000,
        "audio_channels": 2,
        "normalize": True,
        "chunk_length_s": 1.0,
        "overlap": 0.01,
        "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
        "norm_type": "time_group_norm",
        "use_causal_conv": False,
    },
}


def build_encodec(name: str) -> transformers.EncodecModel:
    torch.manual_seed(0)
    model = transformers.EncodecModel(transformers.EncodecConfig(**CODECS[name])).eval()
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_(std=0.05)
    return model


@pytest.fixture(scope="module", params=list(CODECS))
def saved_codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("codec")
    build_encodec(request.param).save_pretrained(folder)
    return request.param, folder


def test_codec_agrees_with_the_published_class(saved_codec: tuple[str, Path]) -> None:
    name, folder = saved_codec
    model, codec = build_encodec(name), Codec.from_pretrained(folder)
    config = CODECS[name]
    assert codec.sample_rate == config.get("sampling_rate", 24_000)
    audio = noise(2, codec.channels, int(2.6 * codec.sample_rate) + 77)
    with torch.no_grad():
        expected = model(audio, bandwidth=model.config.target_bandwidths[-1]).audio_values[..., : audio.shape[-1]]
    codes = codec.encode(audio)
    assert codes.shape == (2, codec.n_codebooks, codec.n_codes(audio.shape[-1])) and codes.dtype == torch.int64
    assert codes.max() < codec.codebook_size
    # Levels are stored in steps of 0.1 dB, so that the normalised codec agrees to 0.05 dB only.
    tolerance = 0.006 * expected.abs().max() if model.config.normalize else 1e-5
    assert (codec.decode(codes, audio.shape[-1]) - expected).abs().max() < tolerance


@pytest.mark.parametrize("name", ["24 kHz causal", "24 kHz tiny", "32 kHz"])
def test_codec_in_pieces_equals_whole(name: str) -> None:
    codec = Codec(build_encodec(name))
    audio = noise(1, 1, 5 * codec.sample_rate + 123)
    whole = codec.encode(audio, chunk_s=100)
    assert torch.equal(codec.encode(audio, chunk_s=1.1), whole)
    decoded = codec.decode(whole, chunk_s=100)
    assert (codec.decode(whole, chunk_s=0.7) - decoded).abs().max() < 1e-5


def test_codec_keeps_the_level_of_a_normalised_model() -> None:
    codec = Codec(build_encodec("48 kHz stereo"))
    audio = noise(1, 2, 48_000)
    loud, soft = codec.decode(codec.encode(audio), 48_000), codec.decode(codec.encode(audio * 0.01), 48_000)
    assert torch.allclose(soft * 100, loud, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("n_samples", [0, 1, 479, 480, 481, 47_520, 48_000, 48_001])
def test_codec_lengths_are_exact(n_samples: int) -> None:
    for name in ("24 kHz tiny", "48 kHz stereo"):
        codec = Codec(build_encodec(name), n_codebooks=2)
        codes = codec.encode(noise(1, 1, n_samples))
        assert codes.shape == (1, codec.n_codebooks, codec.n_codes(n_samples))
        assert codec.decode(codes, n_samples).shape == (1, codec.channels, n_samples)


def test_codec_uses_the_first_codebooks_only() -> None:
    model = build_encodec("24 kHz tiny")
    audio = noise(1, 1, 24_000)
    few, all_of_them = Codec(model, n_codebooks=3), Codec(model)
    assert torch.equal(few.encode(audio), all_of_them.encode(audio)[:, :3])
    with pytest.raises(InputError, match="n_codebooks must be 1 to 8"):
        Codec(model, n_codebooks=9)


def test_codec_refuses_foreign_codes() -> None:
    codec = Codec(build_encodec("24 kHz tiny"))
    with pytest.raises(InputError, match="0 to 1023"):
        codec.decode(torch.full((1, 8, 3), 1024))
    with pytest.raises(InputError, match="8 streams"):
        codec.decode(torch.zeros(1, 9, 3, dtype=torch.long))


# --- MERT ---

HUBERT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
MERTS = {
    "published v0, 16 kHz": (16_000, {"conv_dim": [16] * 7}),
    "published v1, 24 kHz": (
        24_000,
        {"conv_dim": [16] * 7, "do_stable_layer_norm": True, "feat_extract_norm": "layer"},
    ),
    "tiny, long kernel": (
        24_000,
        {
            "conv_dim": [24, 24],
            "conv_kernel": [4096, 1],
            "conv_stride": [480, 1],
            "feat_extract_norm": "layer",
            "conv_bias": True,
        },
    ),
}


def save_mert(name: str, folder: Path, *, normalize: bool = False) -> transformers.HubertModel:
    torch.manual_seed(1)
    rate, extra = MERTS[name]
    model = transformers.HubertModel(transformers.HubertConfig(**{**HUBERT, **extra})).eval()
    model.save_pretrained(folder)
    preprocessor = {"sampling_rate": rate, "do_normalize": normalize}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return model


@pytest.mark.parametrize("name", list(MERTS))
@pytest.mark.parametrize("layer", [0, 1, 2, None])
def test_mert_agrees_with_the_published_class(name: str, layer: int | None, tmp_path: Path) -> None:
    model = save_mert(name, tmp_path)
    mert = Mert.from_pretrained(tmp_path, layer=layer)
    assert isinstance(mert, FrameEncoder)
    samples = noise(2, mert.sample_rate)
    with torch.no_grad():
        states = model(samples, output_hidden_states=True)
    expected = states.last_hidden_state if layer is None else states.hidden_states[layer]
    assert (mert.hidden_states(samples) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", list(MERTS))
def test_mert_frames_sit_on_the_grid(name: str, tmp_path: Path) -> None:
    """A click in the middle of frame i changes the frames around i evenly, whatever the kernel."""
    save_mert(name, tmp_path)
    mert = Mert.from_pretrained(tmp_path, layer=0)
    mert.model.encoder.pos_conv_embed = torch.nn.Identity()
    audio = torch.zeros(1, 2 * mert.sample_rate)
    audio[0, round(20.5 * mert.sample_rate / mert.frame_rate)] = 1.0
    mert.model.encoder.layer_norm = torch.nn.Identity()
    change = (mert.encode(audio) - mert.encode(torch.zeros_like(audio))).abs().sum(-1)[0]
    changed = (change > 0.05 * change.max()).nonzero().flatten().double()
    assert abs(changed.mean() - 20) <= 0.5


@pytest.mark.parametrize("n_samples", [1, 959, 960, 961, 24_000, 24_001])
def test_mert_frame_count_is_exact(n_samples: int, tmp_path: Path) -> None:
    save_mert("tiny, long kernel", tmp_path)
    mert = Mert.from_pretrained(tmp_path)
    assert mert.encode(noise(1, n_samples)).shape == (1, -(-n_samples // 960), 32)
    assert mert.encode(noise(1, n_samples), n_frames=7).shape == (1, 7, 32)


def test_mert_in_pieces_is_near_whole(tmp_path: Path) -> None:
    save_mert("tiny, long kernel", tmp_path)
    mert = Mert.from_pretrained(tmp_path, layer=0)
    audio = noise(1, 24_000 * 6)
    whole = mert.encode(audio)
    mert.chunk_s, mert.context_s = 1.5, 1.0
    assert (mert.encode(audio) - whole).abs().max() < 1e-5


def test_mert_normalises_where_the_preprocessor_says_so(tmp_path: Path) -> None:
    save_mert("tiny, long kernel", tmp_path, normalize=True)
    mert = Mert.from_pretrained(tmp_path)
    audio = noise(1, 24_000)
    assert torch.allclose(mert.encode(audio), mert.encode(audio * 3 + 0.2), atol=1e-3)
    assert mert.encode(torch.zeros(1, 4800)).isfinite().all()


def test_mert_reads_old_weight_norm_names_and_bin_files(tmp_path: Path) -> None:
    """The released MERT files are pickled tensors with weight_g / weight_v, and their config names remote code."""
    model = save_mert("published v1, 24 kHz", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = model.state_dict()
    for new, old in names.items():
        state = {key.replace(new, old): value for key, value in state.items()}
    assert any(key.endswith("weight_g") for key in state)
    torch.save(state, tmp_path / "pytorch_model.bin")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mert_model", "architectures": ["MERTModel"]}
    config |= {"auto_map": {"AutoModel": "modeling_MERT.MERTModel"}, "sample_rate": 24_000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    samples = noise(1, 24_000)
    with torch.no_grad():
        expected = model(samples).last_hidden_state
    assert torch.equal(Mert.from_pretrained(tmp_path).hidden_states(samples), expected)


def test_mert_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    save_mert("tiny, long kernel", tmp_path)
    with pytest.raises(InputError, match="layer must be 0 to 3"):
        Mert.from_pretrained(tmp_path, layer=4)
    with pytest.raises(InputError, match="does not divide"):
        Mert.from_pretrained(tmp_path, frame_rate=30)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="sampling_rate"):
        Mert.from_pretrained(tmp_path)


# --- all of them ---


def test_the_licence_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_mert("tiny, long kernel", tmp_path)
    (tmp_path / "README.md").write_text("---\ntags: [music]\nlicense: cc-by-nc-4.0\n---\n# MERT\n")
    with caplog.at_level(logging.INFO, logger="accompany"):
        Mert.from_pretrained(tmp_path)
    record = next(record for record in caplog.records if "licence" in record.message)
    assert "cc-by-nc-4.0" in record.message and record.levelno == logging.WARNING


@pytest.mark.parametrize("name", ["mert", "clap", "codec", "semantic_codes", "melody", "targets"])
def test_an_encoder_loads_without_the_others(name: str) -> None:
    code = (
        f"import sys, accompany.encoders.{name}; "
        "print(sorted(m for m in sys.modules if m.startswith('accompany.encoders.')), 'sklearn' in sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    others = {"mert", "clap", "codec", "semantic_codes", "melody", "targets"} - {name}
    assert not any(f"accompany.encoders.{other}'" in loaded for other in others)
    assert "True" not in loaded
