"""Tempo words of a prompt, and whether an estimated tempo matches them."""

from __future__ import annotations

import re

_RANGES = {
    "very slow": (0, 70), "slow": (0, 86), "laid-back": (70, 86), "relaxed": (70, 86),
    "mid-tempo": (86, 126), "moderate": (86, 104), "easygoing": (86, 104), "upbeat": (104, 150), "lively": (104, 126),
    "fast": (126, 999), "brisk": (126, 150), "very fast": (150, 999), "frantic": (150, 999),
}  # fmt: skip
"""Beats a minute that the words of the synthetic captions stand for."""

_SLACK = 1.1


def asked_range(prompt: str) -> tuple[float, float] | None:
    """Lowest and highest beats a minute that the prompt's first tempo word allows; None without one."""
    words = sorted(_RANGES, key=len, reverse=True)
    match = re.search(rf"(?<![\w-])({'|'.join(map(re.escape, words))})(?![\w-])", prompt.lower())
    if match is None:
        return None
    low, high = _RANGES[match[1]]
    return low / _SLACK, high * _SLACK


def grants_tempo(prompt: str, bpm: float | None) -> float | None:
    """1.0 or 0.0; None where the prompt says nothing about tempo, 0.0 where none is found.

    A tracker often takes half or twice the speed, so the tempo is first brought into 60 to 180 beats a minute: the
    reading that is allowed wins.
    """
    asked = asked_range(prompt)
    if asked is None:
        return None
    if bpm is None:
        return 0.0
    readings = [bpm * factor for factor in (0.5, 1.0, 2.0) if 60 <= bpm * factor <= 180]
    return float(any(asked[0] <= reading <= asked[1] for reading in readings or [bpm]))
