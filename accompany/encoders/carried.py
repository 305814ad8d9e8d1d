"""The encoders that the package carries, without the library that other checkpoints are read with.

Importing `transformers` takes longer than playing ten seconds of music. The files of a bundled model are known, so its
MERT and the text side of its CLAP are built of PyTorch's own layers here, with the same weights and results; the sound
side of CLAP is loaded by the library when it is first asked for. Any other folder goes through
`accompany.encoders.published`, which checks every field of what others wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from accompany.common.config import CONFIG_NAME, read_mapping
from accompany.common.weights import WEIGHTS_NAME, PathLike, load_state, log_license, read_state
from accompany.encoders.clap import Clap
from accompany.encoders.mert import Mert

_HUBERT_LAYER = {
    "attention.{}_proj": ("q", "k", "v"),
    "attention.out_proj": "self_attn.out_proj",
    "feed_forward.intermediate_dense": "linear1",
    "feed_forward.output_dense": "linear2",
    "layer_norm": "norm1",
    "final_layer_norm": "norm2",
}
_ROBERTA_LAYER = {
    "attention.self.{}": ("query", "key", "value"),
    "attention.output.dense": "self_attn.out_proj",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "attention.output.LayerNorm": "norm1",
    "output.LayerNorm": "norm2",
}


def carried_mert(source: PathLike, *, layer: int | None, frame_rate: float, license: str) -> Mert:
    """`published.load_mert` for a folder of a bundled model."""
    folder = Path(source)
    config, settings = (SimpleNamespace(**read_mapping(folder / name)) for name in _FILES)
    model: Any = CarriedHubert(config)
    load_state(model, _hubert_state(read_state(folder / WEIGHTS_NAME), config), folder)
    log_license("HubertModel", folder, license, folder)
    rate, normalize = int(settings.sampling_rate), bool(settings.do_normalize)
    return Mert(model, sample_rate=rate, layer=layer, frame_rate=frame_rate, normalize=normalize)


_FILES = (CONFIG_NAME, "preprocessor_config.json")


class CarriedHubert(nn.Module):
    """HuBERT in its variant with layer norms (Hsu et al., 2021), by the names of `HubertModel` that `Mert` uses."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Build from the published config's values, with random weights."""
        super().__init__()
        self.config = config
        widths = (1, *config.conv_dim)
        self.feature_extractor = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            *(
                _NormedConvolution(*sizes, config.conv_bias)
                for sizes in zip(widths[:-1], widths[1:], config.conv_kernel, config.conv_stride, strict=True)
            ),
        )
        self.feature_projection = nn.Sequential(
            nn.LayerNorm(widths[-1], config.layer_norm_eps), nn.Linear(widths[-1], config.hidden_size)
        )
        self.encoder = nn.Module()
        self.encoder.pos_conv_embed = _PositionalConvolution(config)
        self.encoder.layers = _layers(config, norm_first=config.do_stable_layer_norm)
        self.encoder.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)


class _NormedConvolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, bias=bias)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, T] to [B, outputs, N]."""
        return nn.functional.gelu(self.norm(self.conv(x).transpose(1, 2)).transpose(1, 2))


class _PositionalConvolution(nn.Module):
    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        kernel, width = config.num_conv_pos_embeddings, config.hidden_size
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=config.num_conv_pos_embedding_groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] to [B, N, D]."""
        return nn.functional.gelu(self.conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)


class CarriedClap(Clap):
    """A `Clap` whose text side needs no `transformers`."""

    def __init__(self, source: PathLike, license: str) -> None:
        """Read the text side of a folder of a bundled model."""
        folder = Path(source)
        config = read_mapping(folder / CONFIG_NAME)
        text = SimpleNamespace(**config["text_config"])
        tower: Any = _TextTower(text)
        tokenizer: Any = _Tokenizer(folder, text.pad_token_id)
        extractor: Any = None  # of the sound side, which has its own
        super().__init__(tower, tokenizer, extractor)
        load_state(self.model, _text_state(read_state(folder / WEIGHTS_NAME), text), folder)
        log_license("ClapModel", folder, license, folder)
        self._folder, self._license = folder, license
        self._settings = read_mapping(folder / "preprocessor_config.json")

    @cached_property
    def _whole(self) -> Clap:
        from accompany.encoders.published import load_clap

        return load_clap(self._folder, license=self._license).to(self._device)

    @property
    def sample_rate(self) -> int:
        """See `Clap`."""
        return int(self._settings["sampling_rate"])

    @property
    def window_s(self) -> float:
        """See `Clap`."""
        return float(self._settings["max_length_s"])

    def embed_audio(self, audio: Tensor) -> Tensor:
        """See `Clap`."""
        return self._whole.embed_audio(audio)


class _TextTower(nn.Module):
    """RoBERTa (Liu et al., 2019) with CLAP's projection."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = SimpleNamespace(projection_dim=config.projection_dim, text_config=config)
        width = config.hidden_size
        self.word = nn.Embedding(config.vocab_size, width)
        self.position = nn.Embedding(config.max_position_embeddings, width)
        self.kind = nn.Embedding(config.type_vocab_size, width)
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.layers = _layers(config, norm_first=False)
        self.head = nn.Sequential(
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, config.projection_dim),
            nn.ReLU(),
            nn.Linear(config.projection_dim, config.projection_dim),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.word.weight.device

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Projected embeddings [B, D] of tokens [B, N]."""
        padding = self.config.text_config.pad_token_id
        there = (input_ids != padding).long()
        positions = there.cumsum(1) * there + padding
        x = self.norm(self.word(input_ids) + self.position(positions) + self.kind.weight[0])
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=attention_mask == 0)
        return self.head(x[:, 0])


class _Tokenizer:
    """The tokenizer file as `transformers` runs it."""

    model_max_length: int

    def __init__(self, folder: Path, pad_token_id: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer, self.pad_token_id = Tokenizer.from_file(str(folder / "tokenizer.json")), pad_token_id
        self.model_max_length = int(read_mapping(folder / "tokenizer_config.json")["model_max_length"])

    def __call__(self, texts: Sequence[str], max_length: int, **_: Any) -> dict[str, Tensor]:
        self._tokenizer.enable_truncation(max_length)
        self._tokenizer.enable_padding(pad_id=self.pad_token_id)
        made = self._tokenizer.encode_batch(list(texts))
        ids, mask = [each.ids for each in made], [each.attention_mask for each in made]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def _layers(config: SimpleNamespace, *, norm_first: bool) -> nn.ModuleList:
    sizes = config.hidden_size, config.num_attention_heads, config.intermediate_size
    return nn.ModuleList(
        nn.TransformerEncoderLayer(*sizes, 0.0, "gelu", config.layer_norm_eps, batch_first=True, norm_first=norm_first)
        for _ in range(config.num_hidden_layers)
    )


def _layer_state(state: Mapping[str, Tensor], old: str, new: str, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of one layer under the names of `nn.TransformerEncoderLayer`."""
    made = {}
    for kind in ("weight", "bias"):
        for name, place in names.items():
            if isinstance(place, tuple):  # queries, keys and values are one matrix
                parts = [state[f"{old}{name.format(each)}.{kind}"] for each in place]
                made[f"{new}self_attn.in_proj_{kind}"] = torch.cat(parts)
            else:
                made[f"{new}{place}.{kind}"] = state[f"{old}{name}.{kind}"]
    return made


def _hubert_state(state: Mapping[str, Tensor], config: SimpleNamespace) -> dict[str, Tensor]:
    names = {
        "feature_projection.layer_norm": "feature_projection.0",
        "feature_projection.projection": "feature_projection.1",
        "encoder.layer_norm": "encoder.layer_norm",
    }
    made = {f"{new}.{kind}": state[f"{old}.{kind}"] for old, new in names.items() for kind in ("weight", "bias")}
    for number in range(len(config.conv_dim)):
        old, new = f"feature_extractor.conv_layers.{number}.", f"feature_extractor.{number + 1}."
        for key in ("conv.weight", *(["conv.bias"] if config.conv_bias else [])):
            made[new + key] = state[old + key]
        made |= {f"{new}norm.{kind}": state[f"{old}layer_norm.{kind}"] for kind in ("weight", "bias")}
    convolution = "encoder.pos_conv_embed.conv."
    size, direction = (state[f"{convolution}parametrizations.weight.original{n}"].float() for n in (0, 1))
    made[convolution + "weight"] = direction * size / direction.norm(dim=(0, 1), keepdim=True)
    made[convolution + "bias"] = state[convolution + "bias"]
    for number in range(config.num_hidden_layers):
        made |= _layer_state(state, f"encoder.layers.{number}.", f"encoder.layers.{number}.", _HUBERT_LAYER)
    return made


def _text_state(state: Mapping[str, Tensor], config: SimpleNamespace) -> dict[str, Tensor]:
    tables = {"word": "word_embeddings", "position": "position_embeddings", "kind": "token_type_embeddings"}
    made = {f"{new}.weight": state[f"text_model.embeddings.{old}.weight"] for new, old in tables.items()}
    names = {
        "text_model.embeddings.LayerNorm": "norm",
        "text_model.pooler.dense": "head.0",
        "text_projection.linear1": "head.2",
        "text_projection.linear2": "head.4",
    }
    made |= {f"{new}.{kind}": state[f"{old}.{kind}"] for old, new in names.items() for kind in ("weight", "bias")}
    for number in range(config.num_hidden_layers):
        made |= _layer_state(state, f"text_model.encoder.layer.{number}.", f"layers.{number}.", _ROBERTA_LAYER)
    return made
