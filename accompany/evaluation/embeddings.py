"""CLAP and MERT embeddings of an output, distances between them, and voice leakage measured by source separation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from accompany import audio
from accompany.errors import InputError
from accompany.evaluation.metrics import Matrix, Signal

if TYPE_CHECKING:
    from accompany.models.llambada import LlambadaBundle
    from accompany.models.pretrained import Bundle
    from accompany.sound.separation import VocalSeparator

logger = logging.getLogger(__name__)

CLAP_STRETCH_S = 2.0
_RESAMPLES = 30
_SILENCE = 1e-7


@dataclass(frozen=True)
class EmbeddingModels:
    """CLAP and MERT of the model under test, and a separator where Demucs is installed."""

    bundle: Bundle | LlambadaBundle
    separator: VocalSeparator | None

    @classmethod
    def of(cls, bundle: Bundle | LlambadaBundle) -> EmbeddingModels:
        """The embedding models of a bundle; without Demucs the voice leakage is skipped, with a warning."""
        from accompany.sound.separation import BUNDLED, VocalSeparator

        try:
            return cls(bundle, VocalSeparator(BUNDLED))
        except InputError as error:
            logger.warning("Voice leakage is not measured: %s", error)
            return cls(bundle, None)


@dataclass(frozen=True)
class Embedded:
    """One sound: `whole` `[D]` of norm 1 by CLAP, `stretches` `[N, D]` of 2 s by CLAP, `seconds` `[S, D']` by MERT."""

    whole: Matrix
    stretches: Matrix
    seconds: Matrix


@torch.inference_mode()
def embed(sound: Signal, sample_rate: int, models: EmbeddingModels) -> Embedded:
    """Embed a mono sound `[T]` of at least 2 s at `sample_rate` Hz."""
    clap, mert = models.bundle.clap, models.bundle.mert
    for_clap = _tensor(sound, sample_rate, clap.sample_rate, models.bundle.device)
    length = round(CLAP_STRETCH_S * clap.sample_rate)
    stretches = for_clap[0, : len(for_clap[0]) // length * length].reshape(-1, length)
    states = mert.encode(_tensor(sound, sample_rate, mert.sample_rate, models.bundle.device))[0]
    rate = round(mert.frame_rate)
    seconds = states[: len(states) // rate * rate].unflatten(0, (-1, rate)).mean(1)
    return Embedded(*(_numbers(each) for each in (clap.embed_audio(for_clap)[0], clap.embed_audio(stretches), seconds)))


def clap_score(embedded: Embedded, prompt: str, models: EmbeddingModels) -> float | None:
    """Cosine of sound and prompt, -1 to 1; None of an empty prompt."""
    if not prompt.strip():
        return None
    return float(embedded.whole @ _numbers(models.bundle.clap.embed_text([prompt])[0]))


def diversity(takes: Sequence[Embedded]) -> float | None:
    """1 minus the cosine of the CLAP embeddings, mean over pairs, 0 to 2; None of fewer than two."""
    distances = [1 - float(a.whole @ b.whole) for a, b in combinations(takes, 2)]
    return float(np.mean(distances)) if distances else None


def voice_leak_db(sound: Signal, sample_rate: int, models: EmbeddingModels) -> float | None:
    """Energy of the separator's voice over that of the whole sound in dB, at least -80; None of silence."""
    if models.separator is None or float(np.mean(np.square(sound, dtype=np.float64))) < _SILENCE:
        return None
    voice, others = models.separator.split(audio.Audio(sound[None], sample_rate))
    energies = [float(np.square(stem, dtype=np.float64).sum()) for stem in (voice, voice + others)]
    return max(-80.0, 10 * float(np.log10(max(energies[0], 1e-20) / max(energies[1], 1e-20))))


def frechet_distance(a: Matrix, b: Matrix) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of vectors `[N, D]`, N at least 2 (Dowson, Landau 1982).

    |mean difference|^2 + tr(A + B - 2 (A B)^1/2); the trace of the root is the nuclear norm of the product of the
    centred sets, which needs no root of a D x D matrix and holds for few vectors too.
    """
    means = a.mean(0), b.mean(0)
    roots = [(x - mean) / np.sqrt(len(x) - 1) for x, mean in zip((a, b), means, strict=True)]
    roots = [np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root for root in roots]
    shared = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    spread = float(np.square(roots[0]).sum() + np.square(roots[1]).sum())
    return max(0.0, float(np.square(means[0] - means[1]).sum()) + spread - 2 * shared)


def distance_of_rows(row: Sequence[Matrix], truth: Sequence[Matrix], seed: int = 0) -> dict[str, float | int] | None:
    """Fréchet distance of all vectors of a row from those of the truth, one matrix `[N, D]` a song.

    Returns:
        `mean` is the distance, `low` and `high` are 1.96 standard deviations of it over 30 resamples of the songs away
        (percentiles of a biased estimate need not contain it), `clips` the songs; None of fewer than two.
    """
    if len(row) < 2 or len(truth) < 2:
        return None
    distance = frechet_distance(np.concatenate(row), np.concatenate(truth))
    reach = spread_of_distance(row, truth, seed)
    return {"mean": distance, "low": max(0.0, distance - reach), "high": distance + reach, "clips": len(row)}


def spread_of_distance(row: Sequence[Matrix], truth: Sequence[Matrix], seed: int = 0) -> float:
    """1.96 standard deviations of the Fréchet distance of two rows over 30 resamples of their songs `[N, D]`."""
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(_RESAMPLES):
        chosen, wanted = rng.integers(len(row), size=len(row)), rng.integers(len(truth), size=len(truth))
        resampled.append(frechet_distance(_stack(row, chosen), _stack(truth, wanted)))
    return 1.96 * float(np.std(resampled))


def _stack(songs: Sequence[Matrix], chosen: NDArray[np.int64]) -> Matrix:
    return np.concatenate([songs[i] for i in chosen])


def _tensor(sound: Signal, sample_rate: int, wanted: int, device: str) -> torch.Tensor:
    resampled = np.asarray(audio.resample(sound, sample_rate, wanted), np.float32)
    return torch.from_numpy(resampled)[None].to(device)


def _numbers(tensor: torch.Tensor) -> Matrix:
    return tensor.cpu().double().numpy()  # Apple's GPUs have no double precision
