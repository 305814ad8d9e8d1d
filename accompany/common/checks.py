"""Validation of values from users, with one-sentence errors."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable
from typing import Any

from accompany.errors import InputError

_SHOWN = 40


def check_number(name: str, value: Any, low: float, high: float, unit: str = "") -> None:
    """InputError for what is no number from `low` to `high` (in a `unit`); not-a-number and infinity are none."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and low <= value <= high):
        raise InputError(f"The {name} {shown(value)} must be {between(low, high, unit)}.")


def between(low: float, high: float, unit: str = "") -> str:
    """A range, both ends allowed, as it stands in a sentence."""
    ends = f"from {low} to {high}" if isinstance(low, int) and isinstance(high, int) else f"from {low:g} to {high:g}"
    return f"{ends} {unit}".rstrip()


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """InputError for what is no whole number from `low` to `high`."""
    if not (is_whole(value) and low <= value <= high):
        raise InputError(f"The {name} {shown(value)} must be a whole number {between(low, high)}.")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or of numpy."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_text(name: str, value: Any) -> None:
    """InputError for what is no text."""
    if not isinstance(value, str):
        raise InputError(f"The {name} {shown(value)} must be a text.")


def plain(value: Any) -> Any:
    """A number of numpy as one of Python, which JSON can hold; anything else as it is."""
    return value.item() if isinstance(value, numbers.Number) and hasattr(value, "item") else value


def shown(value: Any) -> str:
    """A value as it stands in a sentence: short, and for any value."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return f"{value:g}" if not isinstance(value, numbers.Integral) or len(str(value)) > 20 else str(value)
        except (OverflowError, ValueError):
            return "of several hundred digits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else ""
