"""Harmonisation: a key for a melody, then a chain of chords that may change on any beat.

Two small networks over beats. One says how likely each of the 24 keys is. The other reads the melody from the tonic of
a key and scores chords for each beat, staying on the one before, and each change: a linear-chain conditional random
field (Lafferty, McCallum and Pereira 2001), whose marginals are averaged over the likely keys. Both read
`accompany.music.beat_melody`, so they learn from composed songs that nobody has sung.

Shape letters: B batch, T beats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from accompany.common.config import check_range
from accompany.music.beat_melody import BEAT_DIM, turned
from accompany.music.harmony import N_CHORDS, N_KEYS
from accompany.stages.transformer import Transformer, TransformerConfig

_MODES = 2
_MOST_BEATS = 512
_WINDOW, _CONTEXT = 256, 64
_KEYS_TRIED = 3


@dataclass(frozen=True)
class HarmoniserConfig:
    """Sizes of a `Harmoniser`.

    Attributes:
        width: of the network for chords; 0 for no harmoniser at all.
        depth: its blocks.
        key_width, key_depth: of the network for keys.
        dropout: while training.
    """

    width: int = 0
    depth: int = 3
    key_width: int = 64
    key_depth: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Raise ValueError for sizes and rates that cannot be."""
        check_range(self, "width", least=0, most=10**5)
        check_range(self, "depth key_width key_depth", least=1, most=10**5)
        check_range(self, "dropout", least=0, below=1)


class Harmoniser(nn.Module):
    """Keys and chords from beat-synchronous melody features [T, BEAT_DIM]."""

    def __init__(self, config: HarmoniserConfig) -> None:
        super().__init__()
        self.chord_inlet = nn.Linear(BEAT_DIM + _MODES, config.width)
        self.key_inlet = nn.Linear(BEAT_DIM, config.key_width)
        self.chord_body = Transformer(_sizes(config.width, config.depth, config.dropout))
        self.key_body = Transformer(_sizes(config.key_width, config.key_depth, config.dropout))
        self.chord_head = nn.Linear(config.width, N_CHORDS)
        self.stay_head = nn.Linear(config.width, 1)
        self.key_head = nn.Linear(config.key_width, N_KEYS + 1)
        self.moves = nn.Parameter(torch.zeros(N_CHORDS, N_CHORDS))

    def key_scores(self, beats: Tensor, known: Tensor) -> Tensor:
        """Scores of keys.

        Args:
            beats: [B, T, BEAT_DIM].
            known: [B, T] bool, False for padding behind the end.

        Returns:
            [B, 24].
        """
        scores, weight = self.key_head(self.key_body(self.key_inlet(beats), known)).split([N_KEYS, 1], dim=-1)
        share = weight.masked_fill(~known[..., None], -torch.inf).softmax(dim=1)
        return (scores * share).sum(dim=1)

    def chord_scores(self, beats: Tensor, minor: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of chords and of staying.

        Args:
            beats: [B, T, BEAT_DIM], turned so that the tonic is C.
            minor: [B] 0 for a major key, 1 for a minor one.
            known: as above.

        Returns:
            [B, T, 25] for each chord, and [B, T] for having the chord of the beat before.
        """
        modes = functional.one_hot(minor, _MODES).to(beats)[:, None].expand(-1, beats.shape[1], -1)
        hidden = self.chord_body(self.chord_inlet(torch.cat([beats, modes], dim=-1)), known)
        return self.chord_head(hidden), self.stay_head(hidden)[..., 0]

    def steps(self, stay: Tensor) -> Tensor:
        """Scores [..., 25, 25] of going from chord to chord, from those of staying [...]."""
        same = torch.eye(N_CHORDS, device=stay.device)
        return self.moves * (1 - same) + stay[..., None, None] * same

    @torch.inference_mode()
    def key_log_probabilities(self, beats: np.ndarray) -> np.ndarray:
        """Log probabilities [24] of the keys of a melody [T, BEAT_DIM]; of a long one, the mean of its windows."""
        windows = [beats[start : start + _WINDOW] for start in range(0, len(beats), _WINDOW)]
        scores = [self.key_scores(*self._one(window))[0] for window in windows]
        return torch.stack(scores).mean(dim=0).float().log_softmax(dim=-1).cpu().numpy()

    @torch.inference_mode()
    def chord_probabilities(self, beats: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Probability of each chord in each beat.

        Args:
            beats: [T, BEAT_DIM] of any length.
            keys: [24] probability of each key; the likeliest few are tried.

        Returns:
            [T, 25] probabilities.
        """
        likely = np.argsort(-keys)[:_KEYS_TRIED]
        likely = likely[keys[likely] > 0]
        total = np.zeros((len(beats), N_CHORDS))
        for key in likely:
            total += keys[key] * absolute(self._in_key(turned(beats, -int(key % 12)), int(key) // 12), int(key % 12))
        return total / total.sum(axis=1, keepdims=True)

    def _in_key(self, beats: np.ndarray, minor: int) -> np.ndarray:
        """Marginals [T, 25] from the tonic, window by window."""
        made = []
        for start in range(0, len(beats), _WINDOW):
            first = max(start - _CONTEXT, 0)
            window, known = self._one(beats[first : start + _WINDOW + _CONTEXT])
            scores, stay = self.chord_scores(window, torch.tensor([minor], device=window.device), known)
            # On the CPU: hundreds of steps of 25 numbers.
            marginals = chain_marginals(scores[0].float().cpu(), self.steps(stay[0].float()).cpu())
            made.append(marginals[start - first :][:_WINDOW])
        return torch.cat(made).numpy()

    def _one(self, beats: np.ndarray) -> tuple[Tensor, Tensor]:
        device = self.moves.device
        return torch.from_numpy(beats).to(device)[None], torch.ones(1, len(beats), dtype=torch.bool, device=device)


def chain_marginals(scores: Tensor, steps: Tensor) -> Tensor:
    """Probability of each chord in each beat, [T, 25], from scores [T, 25] and steps [T, 25, 25]: forward-backward."""
    forward, backward = [scores[0]], [torch.zeros_like(scores[0])]
    for beat in range(1, len(scores)):
        forward.append(torch.logsumexp(forward[-1][:, None] + steps[beat], dim=0) + scores[beat])
        last = len(scores) - beat
        backward.append(torch.logsumexp(steps[last] + scores[last] + backward[-1], dim=1))
    return (torch.stack(forward) + torch.stack(backward[::-1])).softmax(dim=-1)


def absolute(marginals: np.ndarray, tonic: int) -> np.ndarray:
    """Probabilities [T, 25] of chords seen from a tonic, as those of chords seen from C."""
    major, minor, none = np.split(marginals, [12, 24], axis=1)
    return np.concatenate([np.roll(major, tonic, axis=1), np.roll(minor, tonic, axis=1), none], axis=1)


def _sizes(width: int, depth: int, dropout: float) -> TransformerConfig:
    return TransformerConfig(
        width, depth, heads=max(width // 32, 1), dropout=dropout, max_frames=_MOST_BEATS, causal=False
    )
