"""Checkpoints of the packages `encodec` (`.th`) and `laion-clap` (`.pt`), as `transformers` models.

The networks are the same; the names of the tensors differ, and sizes are not stated beside them. Every size is read off
the shapes, every key must be accounted for, and what is wrong is named as the file names it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from accompany.common.licenses import find_license
from accompany.common.pickles import read_state
from accompany.common.published import CONSTANTS
from accompany.common.weights import PathLike, log_license, refuse_differences
from accompany.errors import InputError

if TYPE_CHECKING:
    from transformers import ClapFeatureExtractor, ClapModel, EncodecModel, PreTrainedTokenizerBase

Origin = tuple[str, int | None]
"""Position of a tensor in the original file: its key, and the third of it (None: all of it)."""

_TOKENIZER = "roberta-base"
_TOKENIZER_ID = "FacebookAI/roberta-base"
_ORIGINAL_TOKENS = 77  # what laion-clap reads of a text
_HEAD_WIDTH = 64  # of RoBERTa in all its sizes
_CLAP_UNUSED = re.compile(
    # The AudioSet classifier, the spectrogram's fixed filters, and layers of the loss in training.
    r"audio_branch\.(tscam_conv|head|spectrogram_extractor|logmel_extractor)\..*|(text|audio)_transform\..*"
)
_STEREO = {
    "sampling_rate": 48_000,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
    "normalize": True,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
}
"""Options of the 48 kHz model that differ from the 24 kHz one, beside its shapes."""


def read_encodec(path: PathLike) -> EncodecModel:
    """The 24 kHz or the 48 kHz model of the package `encodec`, or one of other sizes trained with it.

    Raises:
        InputError: the file is broken, or its keys or shapes are not those of an EnCodec (named).
    """
    from transformers import EncodecConfig, EncodecModel

    state = read_state(path)
    model = EncodecModel(EncodecConfig(**_encodec_sizes(_Sizes(state, path))))
    convtr = {name for name, module in model.named_modules() if type(module).__name__ == "EncodecConvTranspose1d"}
    _fill(model, state, path, lambda name: (_encodec_name(name, convtr), None))
    return model.eval().requires_grad_(False)


def read_laion_clap(path: PathLike) -> ClapModel:
    """A model of the package `laion-clap` with RoBERTa and HTS-AT, without feature fusion.

    Raises:
        InputError: the file is broken, or its keys or shapes are not those of such a model (named).
    """
    from transformers import ClapConfig, ClapModel

    state = {name.removeprefix("module."): tensor for name, tensor in read_state(path).items()}
    state = {name: tensor for name, tensor in state.items() if not _CLAP_UNUSED.fullmatch(name)}
    sizes = _Sizes(state, path)
    width = sizes("text_projection.0.weight", 0)
    text = _clap_text_sizes(sizes) | {"projection_dim": width}
    audio = _clap_audio_sizes(sizes) | {"projection_dim": width}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=width))
    _fill(model, state, path, _clap_origin)
    return model.eval().requires_grad_(False)


def load_laion_clap(path: Path, license: str | None) -> tuple[ClapModel, PreTrainedTokenizerBase, ClapFeatureExtractor]:
    """The parts of a `Clap` from a `.pt` of laion-clap: network, RoBERTa's tokenizer, spectrogram settings."""
    from transformers import ClapFeatureExtractor, RobertaTokenizerFast

    from accompany.common.hub import pull_text_files

    model = read_laion_clap(path)
    folders = [folder for folder in (path.parent, path.parent / _TOKENIZER) if _has_tokenizer(folder)]
    source = folders[0] if folders else pull_text_files(_TOKENIZER_ID)
    try:
        tokenizer = RobertaTokenizerFast.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"Cannot load RoBERTa's tokenizer from {source}; copy its files again.") from error
    if len(tokenizer) > model.text_model.config.vocab_size:
        raise InputError(f"The tokenizer in {source} has more words than {path}; copy that of roberta-base.")
    tokenizer.model_max_length = _ORIGINAL_TOKENS
    extractor = ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc")
    log_license("ClapModel", path, license or find_license(path.name, path.parent), path.parent)
    return model, tokenizer, extractor


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))


class _Sizes:
    """Sizes in a state, by the keys of the file."""

    def __init__(self, state: Mapping[str, Tensor], source: PathLike) -> None:
        self.state, self.source = state, source

    def __call__(self, name: str, dim: int) -> int:
        """Size of one dimension; InputError names a key that is missing or has too few."""
        tensor = self.state.get(name)
        if tensor is None or not -tensor.dim() <= dim < tensor.dim():
            kind = "missing" if tensor is None else "of another shape"
            raise InputError(f"The weights in {self.source} cannot be read ({kind}: {name}); use the published file.")
        return tensor.shape[dim]

    def indices(self, pattern: str) -> list[int]:
        """The numbers that stand in the pattern's group, sorted; InputError when there are none."""
        found = {int(match[1]) for name in self.state if (match := re.fullmatch(pattern, name))}
        if not found:
            raise InputError(f"The weights in {self.source} cannot be read (no key like {pattern}); check the file.")
        return sorted(found)


def _encodec_sizes(sizes: _Sizes) -> dict[str, Any]:
    weight = "weight_v" if "encoder.model.0.conv.conv.weight_v" in sizes.state else "weight"
    first = f"encoder.model.0.conv.conv.{weight}"
    convs = sizes.indices(r"encoder\.model\.(\d+)\.conv\.conv\.bias")
    last = f"encoder.model.{convs[-1]}.conv.conv.{weight}"
    ups = sizes.indices(rf"decoder\.model\.(\d+)\.convtr\.convtr\.{weight}")
    blocks = sizes.indices(r"encoder\.model\.(\d+)\.shortcut\.conv\.conv\.bias")
    block = f"encoder.model.{blocks[0]}.block.1.conv.conv.{weight}"
    codebook = "quantizer.vq.layers.0._codebook.embed"
    config: dict[str, Any] = {
        "audio_channels": sizes(first, 1),
        "num_filters": sizes(first, 0),
        "kernel_size": sizes(first, 2),
        "hidden_size": sizes(last, 0),
        "last_kernel_size": sizes(last, 2),
        "residual_kernel_size": sizes(block, 2),
        "compress": sizes(block, 1) // sizes(block, 0),
        "num_residual_layers": len(blocks) // len(ups),
        "upsampling_ratios": [sizes(f"decoder.model.{up}.convtr.convtr.{weight}", 2) // 2 for up in ups],
        "num_lstm_layers": len(sizes.indices(r"encoder\.model\.\d+\.lstm\.weight_ih_l(\d+)")),
        "codebook_size": sizes(codebook, 0),
        "codebook_dim": sizes(codebook, 1),
    }
    if weight == "weight":
        config |= _STEREO
    n_codebooks = len(sizes.indices(r"quantizer\.vq\.layers\.(\d+)\._codebook\.embed"))
    rate = math.ceil(config.get("sampling_rate", 24_000) / math.prod(config["upsampling_ratios"]))
    kbps = n_codebooks * rate * math.ceil(math.log2(config["codebook_size"])) / 1000
    return config | {"target_bandwidths": [lower for lower in (1.5, 3.0, 6.0, 12.0) if lower < kbps] + [kbps + 1e-9]}


def _encodec_name(name: str, convtr: set[str]) -> str:
    """The key in the file of a tensor of `EncodecModel`; `convtr` are its modules that widen the time axis."""
    if name.startswith("quantizer."):
        return name.replace("quantizer.layers.", "quantizer.vq.layers.").replace(".codebook.", "._codebook.")
    name = re.sub(r"\.parametrizations\.weight\.original([01])$", lambda of: ".weight_" + "gv"[int(of[1])], name)
    found = re.fullmatch(r"((?:en|de)coder\.layers\..*?\d+(?:\.shortcut)?)\.(conv|norm)\.(\w+)", name)
    if found:
        kind = "convtr" if found[1] in convtr else "conv"
        name = f"{found[1]}.{kind}.{kind if found[2] == 'conv' else 'norm'}.{found[3]}"
    return name.replace("coder.layers.", "coder.model.", 1)


def _clap_text_sizes(sizes: _Sizes) -> dict[str, Any]:
    words = "text_branch.embeddings.word_embeddings.weight"
    hidden = sizes(words, 1)
    return {
        "vocab_size": sizes(words, 0),
        "hidden_size": hidden,
        "num_hidden_layers": len(sizes.indices(r"text_branch\.encoder\.layer\.(\d+)\.output\.dense\.weight")),
        "num_attention_heads": max(hidden // _HEAD_WIDTH, 1),
        "intermediate_size": sizes("text_branch.encoder.layer.0.intermediate.dense.weight", 0),
        "max_position_embeddings": sizes("text_branch.embeddings.position_embeddings.weight", 0),
        "type_vocab_size": sizes("text_branch.embeddings.token_type_embeddings.weight", 0),
        "layer_norm_eps": 1e-5,
    }


def _clap_audio_sizes(sizes: _Sizes) -> dict[str, Any]:
    patch, stage = "audio_branch.patch_embed.proj.weight", "audio_branch.layers.{}.blocks."
    stages = sizes.indices(r"audio_branch\.layers\.(\d+)\..*")
    first, table = stage.format(0) + "0.", "attn.relative_position_bias_table"
    window = (math.isqrt(sizes(first + table, 0)) + 1) // 2
    mask = f"{stage.format(0)}1.attn_mask"
    return {
        "spec_size": math.isqrt(sizes(mask, 0)) * window * sizes(patch, 2),
        "patch_embeds_hidden_size": sizes(patch, 0),
        "patch_size": sizes(patch, 2),
        "patch_stride": [sizes(patch, 2), sizes(patch, 3)],
        "hidden_size": sizes("audio_branch.norm.weight", 0),
        "depths": [len(sizes.indices(rf"audio_branch\.layers\.{at}\.blocks\.(\d+)\.norm1\.weight")) for at in stages],
        "num_attention_heads": [sizes(f"{stage.format(at)}0.{table}", 1) for at in stages],
        "num_hidden_layers": len(stages),
        "window_size": window,
        "mlp_ratio": sizes(first + "mlp.fc1.weight", 0) / sizes(first + "mlp.fc1.weight", 1),
        "num_mel_bins": sizes("audio_branch.bn0.weight", 0),
    }


def _clap_origin(name: str) -> Origin:
    """Position of a tensor of `ClapModel` in the original file."""
    for ours, theirs in (("_projection.linear1.", "_projection.0."), ("_projection.linear2.", "_projection.2.")):
        name = name.replace(ours, theirs)
    if not name.startswith("audio_model."):
        return name.replace("text_model.", "text_branch.", 1), None
    for ours, theirs in (
        ("audio_model.audio_encoder.", "audio_branch."),
        (".attention.output.dense.", ".attn.proj."),
        (".attention.self.", ".attn."),
        (".layernorm_before.", ".norm1."),
        (".layernorm_after.", ".norm2."),
        (".intermediate.dense.", ".mlp.fc1."),
        (".output.dense.", ".mlp.fc2."),
        (".batch_norm.", ".bn0."),
    ):
        name = name.replace(ours, theirs)
    third = re.search(r"\.attn\.(query|key|value)\.", name)
    if third is None:
        return name, None
    return name.replace(third[0], ".attn.qkv."), ("query", "key", "value").index(third[1])


def _fill(model: nn.Module, state: Mapping[str, Tensor], source: PathLike, origin: Callable[[str], Origin]) -> None:
    """Copy the file's tensors into the model; its constants are its own, and may be absent or there in the file."""
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(CONSTANTS)}
    state = {name: tensor for name, tensor in state.items() if not name.endswith((*CONSTANTS, ".attn_mask"))}
    origins = {name: origin(name) for name in own}
    shapes = {key: _whole(own[name].shape, third) for name, (key, third) in origins.items()}
    misshapen = [key for key in shapes.keys() & state.keys() if shapes[key] != state[key].shape]
    refuse_differences(source, shapes.keys() - state.keys(), state.keys() - shapes.keys(), misshapen)
    found = {name: _piece(state[key], third) for name, (key, third) in origins.items()}
    model.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in found.items()}, strict=False)


def _whole(shape: torch.Size, third: int | None) -> torch.Size:
    return shape if third is None else torch.Size((3 * shape[0], *shape[1:]))


def _piece(tensor: Tensor, third: int | None) -> Tensor:
    return tensor if third is None else tensor.chunk(3)[third]
