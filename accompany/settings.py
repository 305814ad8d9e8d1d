"""The options of one generation: a frozen dataclass that refuses values out of range with one clear sentence."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from accompany.errors import InputError

_log = logging.getLogger(__name__)

_PROMPT_CHARACTERS = 2000
_SLOWEST_BPM, _FASTEST_BPM = 30.0, 300.0
_KEY = re.compile(r"[A-G][b#]?:(maj|min)")


@dataclass(frozen=True)
class Settings:
    """How a band plays. Two generations with equal settings from the same vocal and model are equal.

    Attributes:
        prompt: style and instruments; empty leaves the choice to the model.
        seed: 0 or a larger whole number.
        bpm: tempo in beats a minute, 30 to 300; None lets the model hear it.
        key: such as `C:maj` or `A:min`; None lets the model hear it.
        temperature: of the composition, 0 to 10: above 1 bolder, below 1 safer, 0 the likeliest.
        guidance: weight of the prompt, 0 to 20; 1 is none. None, here and above, takes the model's own.
        level_db: loudness of the band against the voice while it sings, -40 to 20 dB.
    """

    prompt: str = ""
    seed: int = 0
    bpm: float | None = None
    key: str | None = None
    temperature: float | None = None
    guidance: float | None = None
    level_db: float = -2.0

    def __post_init__(self) -> None:
        """Raise InputError for a value out of range; cut a prompt that no text encoder would read to its end."""
        _check(0 <= self.seed < 2**63, f"The seed {self.seed}", "must be 0 or a larger whole number")
        _check_range("bpm", self.bpm, _SLOWEST_BPM, _FASTEST_BPM)
        _check_range("temperature", self.temperature, 0, 10)
        _check_range("guidance", self.guidance, 0, 20)
        _check_range("level_db", self.level_db, -40, 20)
        if self.key is not None:
            allowed = "must be a key such as C:maj, F#:min or Bb:maj"
            _check(_KEY.fullmatch(self.key) is not None, f"The key '{self.key}'", allowed)
        object.__setattr__(self, "prompt", _tidy(self.prompt))


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None:
        _check(low <= value <= high, f"The {name} {value:g}", f"must be from {low:g} to {high:g}")


def _check(holds: bool, what: str, allowed: str) -> None:
    if not holds:
        raise InputError(f"{what} {allowed}.")


def _tidy(prompt: str) -> str:
    """Whitespace folded, what is no text replaced, and the length bounded."""
    text = " ".join(prompt.encode("utf-8", "replace").decode("utf-8").split())
    if len(text) > _PROMPT_CHARACTERS:
        _log.warning("The prompt is long; its first %d characters are read.", _PROMPT_CHARACTERS)
    return text[:_PROMPT_CHARACTERS]
