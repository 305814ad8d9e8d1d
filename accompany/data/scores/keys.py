"""Key mode detection: major or its relative minor, from pitch content."""

from __future__ import annotations

import numpy as np

# Krumhansl and Kessler 1982: how well each pitch class fits a key, from its tonic upwards.
_MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
_MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
_CLOSE = 0.15


def relative_mode(fifths: int, weights: np.ndarray, final_root: int | None) -> tuple[int, str]:
    """Tonic pitch class and mode of a key signature: the major key, or the minor key with the same signature.

    Args:
        fifths: sharps, or flats as a negative number.
        weights: time that each pitch class sounds, [12].
        final_root: root of the last chord, which mostly is the tonic; None where unknown.
    """
    major = (7 * fifths) % 12
    minor = (major + 9) % 12
    score = _fit(weights, np.roll(_MAJOR, major)) - _fit(weights, np.roll(_MINOR, minor))
    score += _CLOSE * (final_root == major) - _CLOSE * (final_root == minor)
    return (major, "major") if score >= 0 else (minor, "minor")


def _fit(weights: np.ndarray, profile: np.ndarray) -> float:
    if weights.std() == 0:
        return 0.0
    return float(np.corrcoef(weights, profile)[0, 1])
