"""Checkpoints of TokenConditionedTransformer (open-musiclm, LLambada) as a `TokenStage`.

All sizes follow from the shapes; the factor on the heads' products, the epsilon of the norms, and that keys and values
come from the stream before its norm, are of the code that trained these checkpoints, which no file states.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from accompany.common.weights import PathLike, load_state, refuse_differences
from accompany.errors import InputError
from accompany.stages.llambada import TokenStage, TokenStageConfig, published_sampling, token_profile

_LAYER = "transformer.layers.{}."
_BIAS = "transformer.rel_pos_bias.net."


def convert_token_stage(state: Mapping[str, Tensor], source: PathLike) -> TokenStage:
    """Build the stage that a published state describes; it draws as the published generation does.

    Args:
        state: the tensors under their published names.
        source: the file, for messages.

    Raises:
        InputError: keys are missing, left over or misshapen (named), or a norm has an offset, which ours have not.
    """
    config = _config(state, source)
    shapes = _published_shapes(config)
    misshapen = [name for name in shapes.keys() & state.keys() if shapes[name] != tuple(state[name].shape)]
    refuse_differences(source, shapes.keys() - state.keys(), state.keys() - shapes.keys(), misshapen)
    for name, tensor in state.items():
        if name.endswith(".beta") and tensor.count_nonzero():
            raise InputError(f"{source} has an offset other than 0 in {name}; use a checkpoint of the published code.")
    stage = TokenStage(config)
    load_state(stage, _translate(lambda name: state[name].float(), config), source)
    return stage.eval().requires_grad_(False)


def _config(state: Mapping[str, Tensor], source: PathLike) -> TokenStageConfig:
    """The sizes, each as most tensors have it, so that one misshapen tensor is named and not believed."""

    def usual(pattern: str, dim: int) -> int:
        found = [tensor.shape[dim] for name, tensor in state.items() if re.fullmatch(pattern, name) and tensor.dim()]
        if not found:
            raise InputError(f"{source} is no LLambada transformer (it has no key like {pattern}); check the file.")
        return Counter(found).most_common(1)[0][0]

    def count(pattern: str) -> int:
        return 1 + max((int(found[1]) for name in state if (found := re.match(pattern, name))), default=-1)

    head_width = usual(r".*\.[qk]_scale", 0)
    sequences = range(count(r"(?:start_tokens|embeddings|logit_weights)\.(\d+)"))
    transformer = token_profile(
        usual(r"start_tokens\.\d+|.*(?:norm|2\.0)\.gamma", 0),
        count(r"transformer\.layers\.(\d+)"),
        usual(r".*\.to_q\.weight", 0) // head_width,
        head_width=head_width,
        ff_width=usual(r".*\.2\.4\.gamma", 0),
        ff_conv=usual(r".*\.ds_conv\.weight", -1),
    )
    codes = tuple(usual(rf"logit_weights\.{index}", 1) - 1 for index in sequences)
    return TokenStageConfig(
        codes=codes,
        codebooks=tuple(usual(rf"logit_weights\.{index}", 0) for index in sequences),
        transformer=transformer,
        sampling=published_sampling(codes[-1]),
    )


def _published_shapes(config: TokenStageConfig) -> dict[str, tuple[int, ...]]:
    """Every key of a published checkpoint of this size."""
    sizes = config.transformer
    width, head, inner = sizes.width, sizes.head_width, sizes.ff_width
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (codes, books) in enumerate(zip(config.codes, config.codebooks, strict=True)):
        shapes[f"start_tokens.{index}"] = (width,)
        shapes[f"embeddings.{index}.weight"] = ((codes + 1) * books, width)
        shapes[f"logit_weights.{index}"] = (books, codes + 1, width)
    layer = {
        "0.norm.gamma": (width,),
        "0.norm.beta": (width,),
        "0.to_q.weight": (sizes.heads * head, width),
        "0.to_kv.weight": (2 * head, width),
        "0.q_scale": (head,),
        "0.k_scale": (head,),
        "0.to_out.0.weight": (width, sizes.heads * head),
        "2.0.gamma": (width,),
        "2.0.beta": (width,),
        "2.1.weight": (2 * inner, width),
        "2.2.ds_conv.weight": (2 * inner, 1, sizes.ff_conv),
        "2.4.gamma": (inner,),
        "2.4.beta": (inner,),
        "2.6.weight": (width, inner),
    }
    for index in range(sizes.depth):
        shapes |= {_LAYER.format(index) + name: shape for name, shape in layer.items()}
    widths = (1, width // 2, width // 2, width // 2, sizes.heads)
    for name, incoming, outgoing in zip(_bias_names(), widths[:-1], widths[1:], strict=True):
        shapes |= {f"{name}.weight": (outgoing, incoming), f"{name}.bias": (outgoing,)}
    return shapes | {"transformer.norm.gamma": (width,), "transformer.norm.beta": (width,)}


def _bias_names() -> tuple[str, ...]:
    return tuple(_BIAS + name for name in ("0.0", "1.0", "2.0", "3"))


def _translate(get: Callable[[str], Tensor], config: TokenStageConfig) -> dict[str, Tensor]:
    """Our keys, from `get(published key)`. The published feed-forward has its gate second, ours first."""
    sequences = range(len(config.codes))
    state = {"start": torch.stack([get(f"start_tokens.{index}") for index in sequences])}
    for index in sequences:
        state[f"embed.{index}.weight"] = get(f"embeddings.{index}.weight")
        state[f"head.{index}"] = get(f"logit_weights.{index}")
    for index in range(config.transformer.depth):
        theirs, ours = _LAYER.format(index), f"transformer.blocks.{index}."
        state |= {
            f"{ours}norm_attention.weight": get(f"{theirs}0.norm.gamma"),
            f"{ours}attention.project.weight": torch.cat([get(f"{theirs}0.to_{name}.weight") for name in ("q", "kv")]),
            f"{ours}attention.query_scale": get(f"{theirs}0.q_scale"),
            f"{ours}attention.key_scale": get(f"{theirs}0.k_scale"),
            f"{ours}attention.out.weight": get(f"{theirs}0.to_out.0.weight"),
            f"{ours}norm_feed.weight": get(f"{theirs}2.0.gamma"),
            f"{ours}feed_in.weight": _gate_first(get(f"{theirs}2.1.weight")),
            f"{ours}feed_conv.weight": _gate_first(get(f"{theirs}2.2.ds_conv.weight").squeeze(1)),
            f"{ours}feed_norm.weight": get(f"{theirs}2.4.gamma"),
            f"{ours}feed_out.weight": get(f"{theirs}2.6.weight"),
        }
    for index, name in enumerate(_bias_names()):
        state |= {f"transformer.bias.layers.{index}.{kind}": get(f"{name}.{kind}") for kind in ("weight", "bias")}
    return state | {"transformer.norm.weight": get("transformer.norm.gamma")}


def _gate_first(rows: Tensor) -> Tensor:
    return torch.cat(rows.chunk(2)[::-1])
