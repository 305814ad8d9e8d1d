"""Vocos as the decoder of EnCodec at 24 kHz, on networks of the published form with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
import yaml
from safetensors.torch import save_file

from accompany.cli import main
from accompany.encoders.codecs import load_codec
from accompany.encoders.vocos import Vocos, VocosCodec
from accompany.errors import InputError

WIDTH, HIDDEN, BLOCKS, N_FFT, HOP, BOOKS, SIZE, LATENT = 24, 40, 2, 1280, 320, 8, 1024, 16
CONFIG = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.EncodecFeatures",
        "init_args": {"encodec_model": "encodec_24khz", "bandwidths": [1.5, 3.0, 6.0]},
    },
    "backbone": {
        "class_path": "vocos.models.VocosBackbone",
        "init_args": {
            "input_channels": LATENT,
            "dim": WIDTH,
            "intermediate_dim": HIDDEN,
            "num_layers": BLOCKS,
            "adanorm_num_embeddings": 3,
        },
    },
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": WIDTH, "n_fft": N_FFT, "hop_length": HOP, "padding": "same"},
    },
}


def published_state() -> dict[str, torch.Tensor]:
    """The names and shapes of the published file."""
    torch.manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {
        "feature_extractor.codebook_weights": (BOOKS * SIZE, LATENT),
        "backbone.embed.weight": (WIDTH, LATENT, 7),
        "backbone.embed.bias": (WIDTH,),
        "backbone.norm.scale.weight": (3, WIDTH),
        "backbone.norm.shift.weight": (3, WIDTH),
        "backbone.final_layer_norm.weight": (WIDTH,),
        "backbone.final_layer_norm.bias": (WIDTH,),
        "head.out.weight": (N_FFT + 2, WIDTH),
        "head.out.bias": (N_FFT + 2,),
        "head.istft.window": (N_FFT,),
    }
    for number in range(BLOCKS):
        block = f"backbone.convnext.{number}."
        shapes |= {f"{block}gamma": (WIDTH,), f"{block}dwconv.weight": (WIDTH, 1, 7), f"{block}dwconv.bias": (WIDTH,)}
        shapes |= {f"{block}norm.scale.weight": (3, WIDTH), f"{block}norm.shift.weight": (3, WIDTH)}
        shapes |= {f"{block}pwconv1.weight": (HIDDEN, WIDTH), f"{block}pwconv1.bias": (HIDDEN,)}
        shapes |= {f"{block}pwconv2.weight": (WIDTH, HIDDEN), f"{block}pwconv2.bias": (WIDTH,)}
    return {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}


@pytest.fixture
def vocos(tmp_path: Path) -> Path:
    folder = tmp_path / "vocos"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    save_file(published_state(), folder / "model.safetensors")
    return folder


@pytest.fixture
def encodec(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    config = transformers.EncodecConfig(
        target_bandwidths=[6.0], num_filters=4, hidden_size=LATENT, codebook_dim=LATENT, num_lstm_layers=1
    )
    model = transformers.EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    model.save_pretrained(tmp_path / "encodec")
    return tmp_path / "encodec"


def test_codes_become_sound_by_magnitudes_and_phases(vocos: Path) -> None:
    """Against the arithmetic of the paper, step by step, with PyTorch's own inverse STFT away from the ends."""
    network, state = Vocos.from_pretrained(vocos), published_state()
    codes = torch.randint(0, SIZE, (1, 4, 30))
    made = network(codes, SIZE, 1)

    latents = sum(state["feature_extractor.codebook_weights"][k * SIZE + codes[0, k]] for k in range(4)).T[None]

    def normed(frames: torch.Tensor, place: str) -> torch.Tensor:
        scale, shift = state[f"{place}.scale.weight"][1], state[f"{place}.shift.weight"][1]
        return torch.nn.functional.layer_norm(frames, (WIDTH,), eps=1e-6) * scale + shift

    def conv(frames: torch.Tensor, place: str, groups: int = 1) -> torch.Tensor:
        weight, bias = state[f"{place}.weight"], state[f"{place}.bias"]
        return torch.nn.functional.conv1d(frames, weight, bias, padding=3, groups=groups)

    def linear(frames: torch.Tensor, place: str) -> torch.Tensor:
        return frames @ state[f"{place}.weight"].T + state[f"{place}.bias"]

    frames = normed(conv(latents, "backbone.embed").mT, "backbone.norm").mT
    for number in range(BLOCKS):
        place = f"backbone.convnext.{number}"
        inner = linear(normed(conv(frames, f"{place}.dwconv", WIDTH).mT, f"{place}.norm"), f"{place}.pwconv1")
        inner = linear(torch.nn.functional.gelu(inner), f"{place}.pwconv2")
        frames = frames + (state[f"{place}.gamma"] * inner).mT
    last = state["backbone.final_layer_norm.weight"], state["backbone.final_layer_norm.bias"]
    logs, phases = linear(torch.nn.functional.layer_norm(frames.mT, (WIDTH,), *last, 1e-6), "head.out").mT.chunk(2, 1)
    spectra = torch.polar(logs.exp().clamp(max=100.0), phases)
    whole = torch.istft(spectra, N_FFT, HOP, N_FFT, torch.hann_window(N_FFT), center=True)
    inside = slice(4 * HOP, 26 * HOP)
    # Its first window is centred on the first sample, ours half a hop later.
    expected = whole[:, 4 * HOP - HOP // 2 : 26 * HOP - HOP // 2]
    assert made.shape == (1, 30 * HOP)
    torch.testing.assert_close(made[:, inside], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_codec_encodes_as_before_and_decodes_by_vocos(vocos: Path, encodec: Path) -> None:
    plain, codec = load_codec(encodec), load_codec(encodec, decoder=str(vocos))
    assert isinstance(codec, VocosCodec) and codec.n_codebooks == 8
    audio = torch.randn(1, 1, 24_000)
    codes = codec.encode(audio)
    assert torch.equal(codes, plain.encode(audio))
    made = codec.decode(codes, 24_000)
    assert made.shape == (1, 1, 24_000) and made.isfinite().all()
    assert not torch.allclose(made, plain.decode(codes, 24_000), atol=0.1 * float(made.abs().max()))
    torch.testing.assert_close(codec.decode(codes, chunk_s=0.3)[..., :24_000], made, rtol=1e-3, atol=1e-3)
    assert codec.decode(codes[:, :2]).shape == made.shape
    with pytest.raises(InputError, match="decodes 2, 4, 8 codebooks, not 3"):
        codec.decode(codes[:, :3])


def test_a_pickle_of_tensors_is_read_too(vocos: Path) -> None:
    before = Vocos.from_pretrained(vocos).state_dict()
    (vocos / "model.safetensors").unlink()
    torch.save(published_state(), vocos / "pytorch_model.bin")
    after = Vocos.from_pretrained(vocos).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_may_decode_with_vocos(vocos: Path, encodec: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert main(["bundle", str(out), f"codec={encodec}", "--decoder", str(vocos)]) == 0
    from accompany.models.single_parts import load_part

    assert isinstance(load_part(out, "codec"), VocosCodec)
    assert isinstance(load_part(out.rename(tmp_path / "moved"), "codec"), VocosCodec), "the folder holds both"


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda vocos: (vocos / "config.yaml").unlink(), "no config.yaml"),
        (lambda vocos: (vocos / "config.yaml").write_text("backbone: 3"), "no config of a Vocos"),
        (
            lambda vocos: (vocos / "config.yaml").write_text(yaml.safe_dump(CONFIG).replace("encodec_24khz", "x")),
            "takes no codes",
        ),
        (lambda vocos: (vocos / "model.safetensors").write_bytes(b"x" * 99), "Cannot read the weights"),
        (lambda vocos: save_file(dict(list(published_state().items())[1:]), vocos / "model.safetensors"), "missing"),
    ],
)
def test_what_is_no_vocos_is_refused_in_one_sentence(broken, says, vocos, encodec, tmp_path, capsys) -> None:
    broken(vocos)
    out = tmp_path / "model"
    assert main(["bundle", str(out), f"codec={encodec}", "--decoder", str(vocos)]) == 2
    message = capsys.readouterr().err
    assert says in message and "Traceback" not in message
    assert not out.exists()


def test_a_vocos_for_another_encodec_is_refused(vocos: Path, tmp_path: Path) -> None:
    from test_wide_codec import small_wide_codec

    small_wide_codec(tmp_path / "wide")
    with pytest.raises(InputError, match="another EnCodec"):
        load_codec(tmp_path / "wide", decoder=str(vocos))
