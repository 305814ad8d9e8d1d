"""LLambada's published files, small and with random weights, as the programs that train them would write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from original_files import write_encodec, write_laion_clap, write_roberta_tokenizer
from torch import Tensor

from accompany.encoders.published import load_clap

CENTROIDS, PROMPT_CODES, PROMPT_LEVELS = 24, 10, 5
SOUND_CODES, SOUND_BOOKS = 16, 3  # of the codec in golden/encodec.json, which has 4 books


def write_llambada(folder: Path) -> Path:
    """All six files, and the folders that would come from the hub."""
    folder.mkdir(parents=True)
    semantic = [(CENTROIDS, 1), (PROMPT_CODES, PROMPT_LEVELS), (CENTROIDS, 1)]
    coarse = [(CENTROIDS, 1), (SOUND_CODES, SOUND_BOOKS), (SOUND_CODES, SOUND_BOOKS)]
    torch.save(transformer_state(semantic, seed=1), folder / "llambada.transformer.77000.pt")
    torch.save(transformer_state(coarse, seed=2, width=24, heads=3), folder / "coarse.transformer.17400.pt")
    write_kmeans(folder / "kmeans.joblib")
    write_roberta_tokenizer(folder / "roberta-base")
    clap = load_clap(write_laion_clap(folder / "630k-audioset-best.pt"))
    write_rvq(folder / "clap.rvq.950_no_fusion.pt", clap.embed_text(["warm piano", "loud drums"]).mean(0))
    write_encodec(folder / "encodec_24khz-d7cc33bc.th")
    write_mert(folder / "MERT-v0")
    return folder


def transformer_state(
    sequences: list[tuple[int, int]], seed: int, width: int = 16, depth: int = 2, heads: int = 2, head: int = 8
) -> dict[str, Tensor]:
    """A state of TokenConditionedTransformer for sequences of (codes, codebooks), key by key as it is published."""
    draw = torch.Generator().manual_seed(seed)
    inner = int(width * 2 * 4 / 3)

    def random(*shape: int, scale: float = 0.3) -> Tensor:
        return scale * torch.randn(shape, generator=draw)

    state: dict[str, Tensor] = {}
    for index, (codes, books) in enumerate(sequences):
        state[f"start_tokens.{index}"] = random(width, scale=1.0)
        state[f"logit_weights.{index}"] = random(books, codes + 1, width)
        state[f"embeddings.{index}.weight"] = random((codes + 1) * books, width, scale=1.0)
    bias = "transformer.rel_pos_bias.net."
    for name, into, out in (("0.0", 1, width // 2), ("1.0", width // 2, width // 2), ("2.0", width // 2, width // 2),
                            ("3", width // 2, heads)):  # fmt: skip
        state |= {f"{bias}{name}.weight": random(out, into), f"{bias}{name}.bias": random(out)}
    for layer in range(depth):
        attention, feed = f"transformer.layers.{layer}.0.", f"transformer.layers.{layer}.2."
        state |= {
            f"{attention}q_scale": 1 + random(head),
            f"{attention}k_scale": 1 + random(head),
            f"{attention}norm.gamma": 1 + random(width),
            f"{attention}norm.beta": torch.zeros(width),
            f"{attention}to_q.weight": random(heads * head, width),
            f"{attention}to_kv.weight": random(2 * head, width),
            f"{attention}to_out.0.weight": random(width, heads * head),
            f"{feed}0.gamma": 1 + random(width),
            f"{feed}0.beta": torch.zeros(width),
            f"{feed}1.weight": random(2 * inner, width),
            f"{feed}2.ds_conv.weight": random(2 * inner, 1, 3),
            f"{feed}4.gamma": 1 + random(inner),
            f"{feed}4.beta": torch.zeros(inner),
            f"{feed}6.weight": random(width, inner),
        }
    return state | {"transformer.norm.gamma": 1 + random(width), "transformer.norm.beta": torch.zeros(width)}


def write_kmeans(path: Path, dim: int = 16) -> Any:
    """A fitted scikit-learn k-means of normalised vectors; returns it."""
    import joblib
    from sklearn.cluster import MiniBatchKMeans

    points = np.random.RandomState(3).standard_normal((400, dim)).astype(np.float32)
    fitted = MiniBatchKMeans(CENTROIDS, n_init=1, random_state=0).fit(points)
    joblib.dump(fitted, path)
    return fitted


def residual_codes(dim: int = 12) -> Any:
    from vector_quantize_pytorch import ResidualVQ

    return ResidualVQ(dim=dim, num_quantizers=PROMPT_LEVELS, codebook_size=PROMPT_CODES).eval()


def write_rvq(path: Path, around: Tensor) -> Path:
    """Residual codes of vector_quantize_pytorch near a vector, fine enough to tell the small CLAP's prompts apart."""
    torch.manual_seed(4)
    codes = residual_codes(len(around))
    for level, layer in enumerate(codes.layers):
        layer._codebook.embed.copy_(0.015 * torch.randn_like(layer._codebook.embed) + (0 if level else around))
    torch.save(codes.state_dict(), path)
    return path


def write_mert(folder: Path) -> Path:
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(5)
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=8, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(20, 40), conv_stride=(10, 32), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    HubertModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 16000, "do_normalize": True}))
    return folder
