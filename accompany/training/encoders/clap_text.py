"""The text side of the small CLAP: a trimmed vocabulary, warm token embeddings, and distillation.

The tower learns to place a text where a real sentence embedding places it, so that words that no caption of a
synthetic song contains still mean something.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from accompany.training.encoders.captions_text import ADJECTIVES, INSTRUMENTS, music_words, prompts
from accompany.training.encoders.sentence_teacher import SentenceTeacher

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD = re.compile(r"(##)?[a-z']+")
_SHORT = re.compile(r"(##)?[0-9]{1,3}|(19|20)[0-9]0|[!-~]|##[!-~]")


def trim_vocabulary(vocabulary: dict[str, int], size: int) -> list[str]:
    """The `size` tokens to keep of a WordPiece vocabulary, special tokens first.

    Single characters and short numbers stay in any case, and the words of music too, as whole words even if the
    full vocabulary splits them; the rest are the most frequent Latin words and pieces (a WordPiece vocabulary is
    sorted by frequency). Every Latin text stays tokenizable.

    Args:
        vocabulary: token -> id of the full vocabulary.
        size: tokens to keep.
    """
    ranked = sorted(vocabulary, key=vocabulary.__getitem__)
    wanted = sorted({word for word in music_words() if word.isalpha()})
    always = list(dict.fromkeys([*(token for token in ranked if _SHORT.fullmatch(token)), *wanted]))
    seen = {*always, *SPECIAL_TOKENS}
    common = [token for token in ranked if _WORD.fullmatch(token) and token not in seen]
    return [*SPECIAL_TOKENS, *always, *common][:size]


def trimmed_tokenizer(teacher_json: dict[str, Any], tokens: Sequence[str], max_length: int) -> Any:
    """A fast tokenizer over `tokens` that splits text as the teacher's does.

    Args:
        teacher_json: the content of the teacher's tokenizer.json.
        tokens: the kept tokens; the index is the new id.
        max_length: longest text in tokens; longer ones are cut.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(tokens)}
    state = copy.deepcopy(teacher_json)
    state["model"]["vocab"] = ids
    state["padding"] = state["truncation"] = None
    state["added_tokens"] = [{**item, "id": ids[item["content"]]} for item in state["added_tokens"]]
    for name, item in state["post_processor"]["special_tokens"].items():
        item["ids"] = [ids[name]]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=max_length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def warm_embeddings(teacher: SentenceTeacher, tokens: Sequence[str], dim: int, std: float = 0.05) -> Tensor:
    """[V, dim] first embeddings of `tokens`: principal components of the teacher's, scaled to deviation `std`.

    A token that the teacher splits starts at the mean of its pieces.
    """
    table, ids = teacher.token_embeddings, teacher.tokenizer.get_vocab()
    rows = []
    for token in tokens:
        pieces = [token] if token in ids else teacher.tokenizer.tokenize(token)
        rows.append(table[[ids[piece] for piece in pieces]].mean(0))
    embeddings = torch.stack(rows)
    centred = embeddings - embeddings.mean(0)
    _, _, basis = torch.linalg.svd(centred, full_matrices=False)
    reduced = centred @ basis[:dim].T
    return reduced * (std / reduced.std())


def corpus(tokens: Sequence[str], n_prompts: int, n_pairs: int, seed: int) -> list[str]:
    """The texts to distil on: single words, word pairs and free prompts.

    No caption of a synthetic song is among them, so captions show how well the tower generalises.

    Args:
        tokens: the vocabulary; its whole words are texts of their own.
        n_prompts: free prompts to draw.
        n_pairs: word pairs to draw: half of any two words, half a word before an instrument or after an adjective.
        seed: fixes the draw.
    """
    words = whole_words(tokens)
    rng = np.random.default_rng(seed)
    pool = np.array(words)
    pairs = [_pair(pool, rng, musical=index % 2 == 0) for index in range(n_pairs)]
    return [*words, *pairs, *dict.fromkeys(islice(prompts(seed), n_prompts))]


def whole_words(tokens: Sequence[str]) -> list[str]:
    """The tokens of at least three letters that start a word."""
    return [token for token in tokens if len(token) > 2 and token.isalpha()]


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Cosine distance to the teacher plus the error of the batch's cosine matrix.

    Args:
        student: [B, D] text embeddings, any norm.
        teacher: [B, D] unit-norm sentence embeddings.

    Returns:
        a scalar; 0 when the spaces agree.
    """
    student = functional.normalize(student.float(), dim=-1)
    distance = 1 - (student * teacher).sum(-1).mean()
    relations = (student @ student.T - teacher @ teacher.T).square().mean()
    return distance + 5 * relations


def rank_correlation(student: Tensor, teacher: Tensor) -> float:
    """Spearman correlation of all pairwise cosines of [N, D] student and [N, D'] teacher embeddings."""
    from scipy.stats import spearmanr

    upper = torch.triu_indices(len(student), len(student), offset=1)
    pairs = [
        (x @ x.T)[upper[0], upper[1]].numpy() for x in (functional.normalize(e, dim=-1) for e in (student, teacher))
    ]
    return float(spearmanr(*pairs).statistic)


def _pair(words: np.ndarray, rng: np.random.Generator, musical: bool) -> str:
    word = str(rng.choice(words))
    if not musical:
        return f"{word} {rng.choice(words)}"
    return f"{word} {rng.choice(INSTRUMENTS)}" if rng.random() < 0.5 else f"{rng.choice(ADJECTIVES)} {word}"
