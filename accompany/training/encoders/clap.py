"""Training of the small CLAP (arXiv 2211.06687) from scratch in `transformers.ClapModel`.

First the text tower learns from a sentence embedding. Then the audio tower learns to place an accompaniment where
the text tower, locked now, places its captions (locked-text tuning, after LiT, arXiv 2111.07991): a few hundred
synthetic captions would wear off what the text tower knows of all other words.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.common.config import MOST_SEED, check_range, read_json, write_json
from accompany.common.files import complete
from accompany.common.saving import save_half
from accompany.errors import InputError
from accompany.training.encoders.clap_data import CaptionedSongs, mel_extractor, song_captions
from accompany.training.encoders.clap_text import (
    corpus,
    distillation_loss,
    rank_correlation,
    trim_vocabulary,
    trimmed_tokenizer,
    warm_embeddings,
    whole_words,
)
from accompany.training.encoders.loop import LoopConfig, run_loop
from accompany.training.encoders.sentence_teacher import SentenceTeacher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClapTrainingConfig:
    """Sizes, data and pace of the small CLAP.

    Attributes:
        songs: folder of synthetic songs (`accompany synth`).
        out: run folder; `out/export` receives the model in the published layout.
        vocabulary: tokens kept of the teacher's WordPiece vocabulary, beside all that the songs' captions use.
        n_prompts, n_pairs: free prompts and word pairs to distil on, beside all single words.
        held_out_words: single words kept out of the distillation, for the metric on unseen words.
        held_out_songs: the last songs of the folder, for the retrieval metric.
        text_width, text_layers, text_heads: size of the Roberta tower.
        audio_width: channels of the HTSAT tower's first stage (eight times as many in its last).
        audio_depths: blocks in each of its four stages.
        sample_rate: Hz of its audio input.
        mel_hop: samples between two mel frames.
        text_batch, audio_batch: texts and songs a step.
    """

    songs: str = "songs"
    out: str = "runs/clap"
    seed: int = 0
    vocabulary: int = 22000
    n_prompts: int = 60000
    n_pairs: int = 30000
    held_out_words: int = 1000
    held_out_songs: int = 100
    text_width: int = 128
    text_layers: int = 3
    text_heads: int = 4
    max_tokens: int = 126
    audio_width: int = 32
    audio_depths: tuple[int, ...] = (2, 2, 2, 2)
    sample_rate: int = 24000
    mel_hop: int = 960
    text_batch: int = 256
    audio_batch: int = 48
    text: LoopConfig = field(default_factory=lambda: LoopConfig(steps=5000, lr=2e-3))
    audio: LoopConfig = field(default_factory=lambda: LoopConfig(steps=1500, lr=1e-3))

    def __post_init__(self) -> None:
        """Refuse sizes that the towers cannot have."""
        check_range(self, "seed", least=0, most=MOST_SEED)
        check_range(self, "vocabulary n_prompts n_pairs held_out_words held_out_songs", least=0, most=10**9)
        check_range(self, "text_width text_layers text_heads max_tokens audio_width", least=1, most=10**5)
        check_range(self, "audio_depths text_batch audio_batch mel_hop", least=1, most=10**5)
        check_range(self, "sample_rate", least=8000, most=192_000)
        if len(self.audio_depths) != 4:
            raise ValueError("audio_depths needs four numbers, one for each stage of HTSAT")
        if self.text_width % self.text_heads:
            raise ValueError("text_width must be a multiple of text_heads")


def train_clap(config: ClapTrainingConfig) -> Path:
    """Run both stages, resuming whatever is there, and export; metrics go to `out/figures.json`.

    Returns:
        the folder that `ClapModel.from_pretrained` and `AutoTokenizer.from_pretrained` load.

    Raises:
        InputError: the teacher is not installed, or the song folder is unusable.
    """
    torch.manual_seed(config.seed)
    bench = TextBench(config)
    distil_text(bench)
    songs = CaptionedSongs(Path(config.songs), config.sample_rate, config.mel_hop, Path(config.out) / "mels")
    training, held_out = songs.split(config.held_out_songs)
    match_towers(bench, training)
    folder = export_clap(bench, Path(config.out) / "export")
    _write_metrics(bench, held_out)
    return folder


class TextBench:
    """The model, its tokenizer, the corpus and the teacher's embedding of it, built from a config."""

    def __init__(self, config: ClapTrainingConfig) -> None:
        self.config = config
        self.teacher = SentenceTeacher()
        self.tokens = self._kept_tokens(Path(config.out) / "vocabulary.json")
        self.tokenizer = trimmed_tokenizer(self.teacher.tokenizer_json, self.tokens, config.max_tokens)
        self.model = build_clap(config, len(self.tokens), self.teacher.dim, self.tokenizer)
        warm = warm_embeddings(self.teacher, self.tokens, config.text_width)
        self.model.text_model.embeddings.word_embeddings.weight.data.copy_(warm)
        self.unseen_words = unseen_words(self.tokens, config)
        unseen = set(self.unseen_words)
        texts = corpus(self.tokens, config.n_prompts, config.n_pairs, config.seed)
        self.texts = [text for text in texts if not unseen & set(text.split())]
        self.targets = self._cached_targets(Path(config.out) / "targets.npz")

    def embed(self, texts: Sequence[str]) -> Tensor:
        """[N, D] unit-norm embeddings of N texts, with gradient."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        result: Tensor = self.model.get_text_features(**batch).pooler_output
        return functional.normalize(result.float(), dim=-1)

    def _kept_tokens(self, path: Path) -> list[str]:
        """The vocabulary; written down, so that a run that goes on has it even if songs were added.

        Raises:
            InputError: there are no songs, or the run was begun with another `vocabulary`.
        """
        size = self.config.vocabulary
        if not path.is_file():
            common = trim_vocabulary(self.teacher.tokenizer_json["model"]["vocab"], size)
            captions = {text for texts in song_captions(Path(self.config.songs)) for text in texts}
            used = {token for text in captions for token in self.teacher.tokenizer.tokenize(text)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"size": size, "tokens": [*common, *sorted(used - set(common))]})
        kept = read_json(path)
        if kept["size"] != size:
            raise InputError(f"{path} is of a run with vocabulary={kept['size']}; choose another out, or delete that.")
        return list(kept["tokens"])

    def _cached_targets(self, path: Path) -> Tensor:
        """The teacher's embeddings [N, D] (half precision) of the corpus; only new texts are embedded."""
        known: dict[str, np.ndarray] = {}
        if path.is_file():
            kept = np.load(path, allow_pickle=False)
            known = dict(zip(kept["texts"].tolist(), kept["targets"], strict=True))
        missing = [text for text in self.texts if text not in known]
        if missing:
            log.info("the teacher embeds %d texts", len(missing))
            known |= dict(zip(missing, self.teacher.embed(missing).half().numpy(), strict=True))
            path.parent.mkdir(parents=True, exist_ok=True)
            with complete(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, texts=np.array(list(known)), targets=np.stack(list(known.values())))
        return torch.from_numpy(np.stack([known[text] for text in self.texts]))


def build_clap(config: ClapTrainingConfig, vocabulary: int, dim: int, tokenizer: Any) -> Any:
    """A `transformers.ClapModel` of the configured size, freshly initialised."""
    from transformers import ClapConfig, ClapModel

    text = {
        "vocab_size": vocabulary,
        "hidden_size": config.text_width,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "intermediate_size": 4 * config.text_width,
        "max_position_embeddings": config.max_tokens + 2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    audio = {
        "spec_size": 128,
        "num_mel_bins": 64,
        "window_size": 4,
        "patch_embeds_hidden_size": config.audio_width,
        "hidden_size": 8 * config.audio_width,
        "depths": list(config.audio_depths),
        "num_attention_heads": [2, 4, 8, 16],
    }
    return ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=dim))


def distil_text(bench: TextBench) -> None:
    """Stage one: the text tower learns the teacher's space; the audio tower stays as it is."""
    config = bench.config
    tower = nn.ModuleList([bench.model.text_model, bench.model.text_projection])

    def make_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rows = np.random.default_rng((config.seed, step)).integers(len(bench.texts), size=config.text_batch)
        student = bench.embed([bench.texts[row] for row in rows])
        return distillation_loss(student, bench.targets[rows].float()), {}

    run_loop(tower, make_loss, config.text, Path(config.out) / "text")


def match_towers(bench: TextBench, songs: CaptionedSongs) -> None:
    """Stage two: contrastive learning on (accompaniment, caption) pairs; only the audio tower moves."""
    config, model = bench.config, bench.model
    tower = nn.ModuleList([model.audio_model, model.audio_projection])
    tower.register_parameter("logit_scale", model.logit_scale_a)
    with torch.inference_mode():
        texts = [bench.embed(captions) for captions in songs.captions]

    def make_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((config.seed, 1, step))
        mels, rows = songs.batch(rng, config.audio_batch)
        said = torch.stack([texts[row][rng.integers(len(texts[row]))] for row in rows])
        return contrastive_loss(embed_mels(model, mels), said.clone(), model.logit_scale_a), {}

    run_loop(tower, make_loss, config.audio, Path(config.out) / "audio")


def embed_mels(model: Any, mels: Tensor) -> Tensor:
    """[B, D] unit-norm audio embeddings of [B, 1, frames, mel] decibel spectrograms, with gradient."""
    result: Tensor = model.get_audio_features(input_features=mels).pooler_output
    return functional.normalize(result.float(), dim=-1)


def contrastive_loss(audio: Tensor, text: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of matching rows of [B, D] audio and [B, D] text embeddings (both unit norm)."""
    logits = log_scale.clamp(max=4.6).exp() * audio @ text.T
    labels = torch.arange(len(logits))
    return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2


def export_clap(bench: TextBench, folder: Path) -> Path:
    """Write config.json, model.safetensors (fp16), the tokenizer and preprocessor_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_half(bench.model, folder)
    bench.tokenizer.save_pretrained(folder)
    mel_extractor(bench.config.sample_rate, bench.config.mel_hop).save_pretrained(folder)
    return folder


def unseen_words(tokens: Sequence[str], config: ClapTrainingConfig) -> list[str]:
    """The whole words that the distillation never sees, drawn by the seed."""
    rng = np.random.default_rng(config.seed)
    words = whole_words(tokens)
    return sorted(str(word) for word in rng.choice(words, size=config.held_out_words, replace=False))


@torch.inference_mode()
def _write_metrics(bench: TextBench, songs: CaptionedSongs) -> None:
    words = bench.unseen_words
    metrics = {
        "rank_correlation_unseen_words": rank_correlation(bench.embed(words), bench.teacher.embed(words)),
        **retrieval_metrics(bench, songs),
    }
    log.info("clap metrics %s", metrics)
    write_json(Path(bench.config.out) / "figures.json", metrics)


@torch.inference_mode()
def retrieval_metrics(bench: TextBench, songs: CaptionedSongs) -> dict[str, float]:
    """Text to audio over held-out songs: R@1, R@10 and the median rank, mean over each song's first two captions."""
    bench.model.eval()
    audio = functional.normalize(
        torch.stack([embed_mels(bench.model, songs.windows(index)).mean(0) for index in range(len(songs))]), dim=-1
    )
    ranks = []
    for number in range(2):
        text = bench.embed([captions[number] for captions in songs.captions])
        scores = text @ audio.T
        ranks.append((scores > scores.diagonal()[:, None]).sum(1))
    rank = torch.cat(ranks).float()
    return {
        "n_songs": float(len(songs)),
        "recall_at_1": float((rank < 1).float().mean()),
        "recall_at_10": float((rank < 10).float().mean()),
        "median_rank": float(rank.median()) + 1,
    }
