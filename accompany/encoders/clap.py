"""CLAP: joint text and audio embeddings (Wu et al. 2023, arXiv 2211.06687), through `ClapModel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import ClapFeatureExtractor, ClapModel, PreTrainedTokenizerBase

_BATCH = 32
_CHARACTERS_PER_TOKEN = 40


class Clap(nn.Module):
    """Unit vectors of prompts and of audio; their dot product says how well they match."""

    def __init__(self, model: ClapModel, tokenizer: PreTrainedTokenizerBase, extractor: ClapFeatureExtractor) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._extractor = extractor

    @property
    def dim(self) -> int:
        """Width D of the embeddings."""
        return int(self.model.config.projection_dim)

    @property
    def sample_rate(self) -> int:
        """Hz that `embed_audio` expects."""
        return int(self._extractor.sampling_rate)

    @property
    def window_s(self) -> float:
        """Seconds of audio that the network takes at once."""
        return float(self._extractor.max_length_s)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, D] of norm 1; what does not fit the network's length is not read."""
        if not texts:
            return torch.zeros(0, self.dim, device=self._device)
        batches = [list(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)]
        return torch.cat([self._embed_texts(batch) for batch in batches])

    @torch.no_grad()
    def embed_audio(self, audio: Tensor) -> Tensor:
        """Embeddings of sound.

        Args:
            audio: [B, T] at `sample_rate`; longer than `window_s` is averaged over windows, by their lengths.

        Returns:
            [B, D] of norm 1.
        """
        from accompany.encoders.clap_audio import mel_windows

        total = torch.zeros(len(audio), self.dim, device=self._device)
        # The extractor picks a random clip as "longer" when none is; here no window is longer than the network takes.
        longer = torch.zeros(len(audio), 1, dtype=torch.bool, device=self._device)
        for mels, n_samples in mel_windows(self._extractor, audio):
            output = self.model.get_audio_features(input_features=mels.to(self._device), is_longer=longer)
            total += functional.normalize(_pooled(output), dim=-1) * n_samples
        return functional.normalize(total, dim=-1)

    @property
    def _device(self) -> torch.device:
        return self.model.device

    def _embed_texts(self, texts: list[str]) -> Tensor:
        limit = self._max_tokens()
        tokens = self._tokenizer(
            [text[: limit * _CHARACTERS_PER_TOKEN] for text in texts],
            padding=True,
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        )
        ids, mask = tokens["input_ids"].long(), tokens["attention_mask"].long()
        if ids.shape[1] == 0:
            ids = torch.full((len(texts), 1), self._tokenizer.pad_token_id or 0)
            mask = torch.zeros_like(ids)
        # A text without any token still has to attend to something.
        mask[mask.sum(1) == 0, 0] = 1
        output = self.model.get_text_features(input_ids=ids.to(self._device), attention_mask=mask.to(self._device))
        return functional.normalize(_pooled(output), dim=-1)

    def _max_tokens(self) -> int:
        """Positions of the text tower; RoBERTa numbers them from its padding index + 1."""
        text = self.model.config.text_config
        positions = text.max_position_embeddings - (text.pad_token_id or 0) - 1
        return int(min(positions, self._tokenizer.model_max_length))


def _pooled(output: Any) -> Tensor:
    """The projected embedding: `transformers` 4 returns it, version 5 wraps it."""
    return output if isinstance(output, Tensor) else output.pooler_output
