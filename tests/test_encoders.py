"""The frozen encoders on the real classes: built small with random weights, saved, loaded by the public door."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from accompany.encoders.code_fitting import fit_codes
from accompany.encoders.codec import Codec
from accompany.encoders.published import load_clap, load_mert
from accompany.encoders.semantic_codes import SemanticCodes, SemanticCodesConfig
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
    # Of a chunked model one chunk: there longer sound is cut in another way.
    seconds = 0.9 if model.config.chunk_length_s else 2.6
    audio = noise(2, codec.channels, int(seconds * codec.sample_rate) + 77)
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
    # A vector that lies between two codes may fall to either, by the last bit of a sum.
    assert (codec.encode(audio, chunk_s=1.1) == whole).float().mean() > 0.99
    decoded, shares = codec.decode(whole, chunk_s=100), []
    pieces = codec.decode(whole, chunk_s=0.7, progress=lambda done, total: shares.append(done / total))
    assert (pieces - decoded).abs().max() < 1e-5
    assert shares == sorted(shares) and len(shares) == 8 and shares[-1] == 1


def test_codec_widens_without_onednn_and_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(build_encodec("24 kHz tiny"))
    seen: dict[str, set[bool]] = {"Conv1d": set(), "ConvTranspose1d": set()}
    for kind in (torch.nn.Conv1d, torch.nn.ConvTranspose1d):
        plain = kind.forward

        def watched(self: Any, *given: Any, plain: Any = plain, name: str = kind.__name__) -> torch.Tensor:
            seen[name].add(torch._C._get_mkldnn_enabled())
            return plain(self, *given)

        monkeypatch.setattr(kind, "forward", watched)
    codec.decode(torch.zeros(1, 2, 30, dtype=torch.long))
    assert seen == {"Conv1d": {True}, "ConvTranspose1d": {False}} and torch._C._get_mkldnn_enabled()


def test_codec_keeps_the_level_of_a_normalised_model() -> None:
    codec = Codec(build_encodec("48 kHz stereo"))
    audio = noise(1, 2, 48_000)
    loud, soft = codec.decode(codec.encode(audio), 48_000), codec.decode(codec.encode(audio * 0.01), 48_000)
    assert torch.allclose(soft * 100, loud, rtol=0.02, atol=1e-4)


def test_chunks_lie_on_an_even_grid_and_fade_into_each_other() -> None:
    codec = Codec(build_encodec("48 kHz stereo"))
    assert codec.frame_rate == 150.0 and codec.n_codebooks == len(codec.codebooks) == 17
    audio = noise(1, 2, 150_000) * torch.linspace(0.2, 1.0, 150_000)
    codes = codec.encode(audio)
    assert codes.shape == (1, 17, 469) and codes[0, 0].unique(return_counts=True)[1].tolist() == [150, 150, 150, 19]
    with torch.no_grad():
        alone = Codec(build_encodec("48 kHz stereo")).decode(codes[..., 150:300])
    whole = codec.decode(codes)
    assert whole.shape == (1, 2, 469 * 320)
    middle = slice(48_000 + 16_000, 96_000 - 16_000)
    inside = (whole[..., middle] - alone[..., 16_000:-16_000]).abs().max()
    assert inside < 0.2 * alone.abs().max(), "what is far from the seams is (nearly) the chunk's own"
    steps = whole.diff(dim=-1).abs()
    seams = torch.stack([steps[..., place - 3 : place + 3].max() for place in (48_000, 96_000, 144_000)])
    assert (seams < steps.max()).all(), "no click where chunks meet"
    coarse = codec.decode(codes[:, :3])
    assert coarse.shape == whole.shape and not torch.allclose(coarse, whole)
    with pytest.raises(InputError, match="17 streams"):
        codec.decode(codes[:, :1])


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
    mert = load_mert(tmp_path, layer=layer)
    samples = noise(2, mert.sample_rate)
    with torch.no_grad():
        states = model(samples, output_hidden_states=True)
    expected = states.last_hidden_state if layer is None else states.hidden_states[layer]
    assert (mert.hidden_states(samples) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["published v1, 24 kHz", "tiny, long kernel"])
def test_mert_frames_sit_on_the_grid(name: str, tmp_path: Path) -> None:
    """A click in the middle of frame i changes the frames around i evenly, whatever the kernel."""
    save_mert(name, tmp_path)
    mert = load_mert(tmp_path, layer=0)
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
    mert = load_mert(tmp_path)
    assert mert.encode(noise(1, n_samples)).shape == (1, -(-n_samples // 960), 32)
    assert mert.encode(noise(1, n_samples), n_frames=7).shape == (1, 7, 32)


def test_mert_in_pieces_is_near_whole(tmp_path: Path) -> None:
    save_mert("tiny, long kernel", tmp_path)
    mert = load_mert(tmp_path, layer=0)
    audio = noise(1, 24_000 * 6)
    whole = mert.encode(audio)
    mert.chunk_s, mert.context_s = 1.5, 1.0
    assert (mert.encode(audio) - whole).abs().max() < 1e-5


def test_mert_normalises_where_the_preprocessor_says_so(tmp_path: Path) -> None:
    save_mert("tiny, long kernel", tmp_path, normalize=True)
    mert = load_mert(tmp_path)
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
    assert torch.equal(load_mert(tmp_path).hidden_states(samples), expected)


def test_mert_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    save_mert("tiny, long kernel", tmp_path)
    with pytest.raises(InputError, match="layer must be 0 to 3"):
        load_mert(tmp_path, layer=4)
    with pytest.raises(InputError, match="does not divide"):
        load_mert(tmp_path, frame_rate=30)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="sampling_rate"):
        load_mert(tmp_path)


# --- CLAP ---

WORDS = "[PAD] [CLS] [SEP] [UNK] warm piano drums bass slow fast jazz rock with and no"


def save_clap(folder: Path, *, fusion: bool = False) -> transformers.ClapModel:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: index for index, word in enumerate(WORDS.split())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        sampling_rate=16_000,
        hop_length=640,
        max_length_s=2,
        frequency_max=8000,
        truncation="fusion" if fusion else "rand_trunc",
    ).save_pretrained(folder)
    torch.manual_seed(2)
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 20,
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
        "enable_fusion": fusion,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    model = transformers.ClapModel(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clap")
    save_clap(folder)
    return folder


def test_clap_text_agrees_with_the_published_class(clap_folder: Path, tmp_path: Path) -> None:
    clap, model = load_clap(clap_folder), save_clap(tmp_path)
    embedded = clap.embed_text(["warm piano", "fast rock drums and bass"])
    assert embedded.shape == (2, clap.dim) == (2, 24)
    with torch.no_grad():
        output = model.get_text_features(torch.tensor([[1, 4, 5, 2]]))
    expected = getattr(output, "pooler_output", output)[0]
    assert torch.allclose(embedded[0], expected / expected.norm(), atol=1e-6)


def test_clap_takes_any_text(clap_folder: Path) -> None:
    clap = load_clap(clap_folder)
    texts = ["", " ", "piano " * 100_000, "\u97f3\u697d \U0001f3b5", "slow jazz"]
    embedded = clap.embed_text(texts)
    assert torch.allclose(embedded.norm(dim=-1), torch.ones(5)) and embedded.isfinite().all()
    assert torch.allclose(embedded[4], clap.embed_text(["slow jazz"])[0], atol=1e-6)
    assert clap.embed_text([]).shape == (0, 24)


@pytest.mark.parametrize("fusion", [False, True])
def test_clap_embeds_long_audio_in_windows(fusion: bool, tmp_path: Path) -> None:
    save_clap(tmp_path, fusion=fusion)
    clap = load_clap(tmp_path)
    audio = noise(2, 4 * clap.sample_rate)
    whole = clap.embed_audio(audio)
    halves = clap.embed_audio(audio[:, : 2 * clap.sample_rate]) + clap.embed_audio(audio[:, 2 * clap.sample_rate :])
    assert torch.allclose(whole, torch.nn.functional.normalize(halves, dim=-1), atol=1e-5)
    assert torch.equal(clap.embed_audio(audio), whole)
    assert torch.allclose(clap.embed_audio(audio[:1])[0], whole[0], atol=1e-5)
    assert clap.embed_audio(audio[:, :0]).isfinite().all()


def test_clap_names_what_a_folder_lacks(tmp_path: Path) -> None:
    save_clap(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        load_clap(tmp_path)


# --- semantic codes ---


def clusters(n: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States [n, 12] that mix two hidden questions linearly, and one-hot answers to both."""
    generator = torch.Generator().manual_seed(3)
    answers = torch.randint(0, 4, (2, n), generator=generator)
    one_hot = torch.nn.functional.one_hot(answers, 4).float()
    mix = torch.randn(8, 12, generator=generator)
    return torch.cat([one_hot[0], 0.2 * one_hot[1]], dim=-1) @ mix, one_hot[0], one_hot[1]


def test_semantic_streams_answer_their_own_question() -> None:
    pytest.importorskip("sklearn")
    states, first, second = clusters()
    codes = fit_codes(states, [first, second], (4, 4), seed=0)
    assert codes.sizes == (4, 4) and not codes.residual
    decoded = codes.decode(codes.encode(states[None]))[0]
    assert decoded.shape == (400, 8)
    assert torch.equal(decoded[:, :4].argmax(-1), first.argmax(-1))
    assert torch.equal(decoded[:, 4:].argmax(-1), second.argmax(-1))


def test_residual_streams_come_nearer() -> None:
    pytest.importorskip("sklearn")
    states = noise(600, 6)
    errors = []
    for sizes in ((16,), (16, 16), (16, 16, 16)):
        codes = fit_codes(states, None, sizes, seed=0, residual=True)
        errors.append(float((codes.decode(codes.encode(states[None]))[0] - states).square().mean()))
    assert errors[2] < 0.7 * errors[1] and errors[1] < 0.7 * errors[0]


def test_semantic_codes_survive_saving(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    states, first, second = clusters()
    codes = fit_codes(states, [first, second], (4, 8), seed=0, frame_rate=12.5)
    codes.save_pretrained(tmp_path / "codes")
    loaded = SemanticCodes.from_pretrained(tmp_path / "codes")
    assert loaded.frame_rate == 12.5 and loaded.sizes == (4, 8) and loaded.config == codes.config
    assert torch.equal(loaded.encode(states[None]), codes.encode(states[None]))
    assert sorted(path.name for path in (tmp_path / "codes").iterdir()) == ["config.json", "model.safetensors"]


def test_semantic_codes_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="residual"):
        SemanticCodesConfig(dim=8, sizes=(4, 4), widths=(3, 5), projected=True, residual=True)
    with pytest.raises(InputError, match="3 frames cannot fill 4"):
        fit_codes(noise(3, 8), None, (4,))
    with pytest.raises(InputError, match="need 2 targets"):
        fit_codes(noise(30, 8), [noise(30, 2)], (4, 4))


# --- all of them ---


def test_the_licence_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_mert("tiny, long kernel", tmp_path)
    (tmp_path / "README.md").write_text("---\ntags: [music]\nlicense: cc-by-nc-4.0\n---\n# MERT\n")
    with caplog.at_level(logging.INFO, logger="accompany"):
        load_mert(tmp_path)
    record = next(record for record in caplog.records if "licence" in record.message)
    assert "cc-by-nc-4.0" in record.message and record.levelno == logging.WARNING


def test_an_encoder_loads_without_the_others() -> None:
    names = {"mert", "clap", "codec", "semantic_codes", "melody", "targets"}
    code = (
        "import importlib, json, sys\n"
        "def alone(name):\n"
        "    for loaded in [m for m in sys.modules if m.startswith('accompany.encoders')]: del sys.modules[loaded]\n"
        "    importlib.import_module(f'accompany.encoders.{name}')\n"
        "    return [m.rpartition('.')[2] for m in sys.modules if m.startswith('accompany.encoders.')]\n"
        f"found = {{name: alone(name) for name in {sorted(names)}}}\n"
        "print(json.dumps([found, [m for m in ('sklearn', 'transformers', 'huggingface_hub') if m in sys.modules]]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    found, heavy = json.loads(output)
    assert all(names & set(loaded) == {name} for name, loaded in found.items()) and heavy == []
