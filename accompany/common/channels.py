"""Channel correction: phase cancellation and DC offsets, found block by block and removed before mixing down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_OFFSET_SHARE = 0.03
_OFFSET_DEVIATIONS = 6.0
_SMALLEST_OFFSET = 1e-5
_NOTED_OFFSET = 0.01
"""Of full scale: only larger ones are worth a warning."""
_CANCELS_BELOW = 0.5
_CANCELLING_SHARE = 0.1


@dataclass(frozen=True)
class Correction:
    """Correction before mixing down: `offsets` [C] to subtract, then `gains` [C] of 1 or -1.

    `only` is the channel to take in place of all, where turning channels round does not help; None for none.
    """

    offsets: np.ndarray
    gains: np.ndarray
    only: int | None = None

    @property
    def changes_nothing(self) -> bool:
        """Whether the recording is fit as it is."""
        return self.only is None and not self.offsets.any() and bool((self.gains > 0).all())

    @property
    def words(self) -> str:
        """The correction in a few words for messages; empty for none, or for an offset too small to matter."""
        found = []
        if np.abs(self.offsets).max(initial=0.0) > _NOTED_OFFSET:
            found.append(f"has a constant offset of {np.abs(self.offsets).max():.3f}, which is taken out")
        if self.only is not None:
            found.append(f"has channels that cancel each other, so channel {self.only + 1} is used alone")
        elif (self.gains < 0).any():
            turned = " and ".join(str(place + 1) for place in np.flatnonzero(self.gains < 0))
            found.append(f"has channels that cancel each other, so channel {turned} is turned round")
        return ", and ".join(found)

    def apply(self, block: np.ndarray) -> np.ndarray:
        """Samples [T, C] put right; the array itself where nothing has to be done."""
        if self.changes_nothing:
            return block
        right = np.asarray((block - self.offsets) * self.gains, np.float32)
        return right if self.only is None else np.repeat(right[:, self.only : self.only + 1], block.shape[1], axis=1)


class ChannelStatistics:
    """Sums and covariances of the channels of a recording, block after block."""

    def __init__(self, channels: int) -> None:
        """For so many channels."""
        self._channels = channels
        self._n, self._sum, self._square = 0, np.zeros(channels), np.zeros(channels)
        self._energies: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        """Count in samples [T, C]."""
        if not len(block):
            return
        total = block.sum(axis=0, dtype=np.float64)
        self._n, self._sum = self._n + len(block), self._sum + total
        if self._channels == 1:
            flat = block[:, 0]
            energy = np.array([[np.dot(flat, flat)]], np.float64)
        else:
            energy = np.asarray(block.T @ block, np.float64)
        self._square += np.diagonal(energy)
        if self._channels > 1:
            self._energies.append(energy - np.outer(total, total) / len(block))

    def correction(self) -> Correction:
        """The correction of the recording, from all samples added."""
        gains, only = self._polarity()
        return Correction(self._offsets().astype(np.float32), gains.astype(np.float32), only)

    def _offsets(self) -> np.ndarray:
        """Means of the channels, 0 where it is what any sound of that length may have."""
        n = max(self._n, 1)
        mean = self._sum / n
        rms = np.sqrt(np.maximum(self._square / n - mean**2, 0))
        least = np.maximum(np.maximum(_OFFSET_SHARE, _OFFSET_DEVIATIONS / np.sqrt(n)) * rms, _SMALLEST_OFFSET)
        return np.where(np.abs(mean) > least, mean, 0.0)

    def _polarity(self) -> tuple[np.ndarray, int | None]:
        plain = np.ones(self._channels)
        if not self._energies or not self._cancels(plain):
            return plain, None
        whole = np.sum(self._energies, axis=0)
        energies = np.diagonal(whole)
        strongest = int(np.argmax(energies > 0.9 * energies.max()))  # the first of those that are as strong
        # The principal component says which channels go together; the strongest channel keeps its sign.
        component = np.linalg.eigh(whole)[1][:, -1]
        signs = np.where(component * component[strongest] < 0, -1.0, 1.0)
        return (signs, None) if not self._cancels(signs) else (plain, strongest)

    def _cancels(self, gains: np.ndarray) -> bool:
        """Whether the mean of the channels loses much: in a tenth of the energy or more, over 3 dB against unrelated
        channels."""
        total = lost = 0.0
        for energy in self._energies:
            trace = float(np.trace(energy))
            total += trace
            if float(gains @ energy @ gains) < _CANCELS_BELOW * trace:
                lost += trace
        return total > 0 and lost >= _CANCELLING_SHARE * total
