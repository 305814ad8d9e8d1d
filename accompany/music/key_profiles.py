"""Key profiles: how well each key fits a chroma."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def key_fits(chroma: np.ndarray, major: Sequence[float], minor: Sequence[float]) -> np.ndarray | None:
    """Fit of each of the 24 keys to a mean chroma (Krumhansl, "Cognitive foundations of musical pitch", 1990).

    Args:
        chroma: [12], from C on.
        major, minor: profiles of the twelve degrees from the tonic on.

    Returns:
        Pearson's r [24] of the chroma and each key's profile; None of silence or a flat chroma.
    """
    if float(np.ptp(chroma)) < 1e-3 * max(float(chroma.max()), 1e-9):
        return None
    profiles = np.stack([np.roll(profile, tonic) for profile in (major, minor) for tonic in range(12)])
    return np.corrcoef(chroma, profiles)[0, 1:]
