"""Types of the command line's values: what each may be, declared once, and the sentence for what it may not be.

Here are those of a generation; `accompany.commands.job_values` has those that other commands alone take.

argparse calls a type with the text of an argument; a type that refuses it says a whole sentence.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from dataclasses import dataclass

from accompany.common.checks import between
from accompany.generation.settings import MOST_SEED, MOST_TAKES

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_LONGEST_NAME, _LONGEST_PATH = 255, 4000
_SHOWN = 60


def separators(system: str) -> re.Pattern[str]:
    """What parts the names of a path on a system with this separator; Windows takes both."""
    return re.compile(r"[/\\]" if system == "\\" else "/")


_SEPARATORS = separators(os.sep)


@dataclass(frozen=True)
class Number:
    """A number in a range.

    Attributes:
        name: what it is, for the sentence, such as "bpm".
        low, high: the range, both allowed.
        unit: of the number, such as "seconds".
        above: `low` itself is not allowed.
        below: `high` itself is not allowed.
    """

    name: str
    low: float
    high: float
    unit: str = ""
    above: bool = False
    below: bool = False

    def __call__(self, text: str) -> float:
        """The number in a text; ArgumentTypeError for another one, or none."""
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(self._sentence(f"'{shortened(text)}'", math.nan)) from None
        if not math.isfinite(value) or "_" in text or not self._holds(value):
            raise argparse.ArgumentTypeError(self._sentence(shortened(text), value))
        return value

    def _holds(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )

    def _sentence(self, given: str, value: float) -> str:
        if self.above and value <= self.low:
            allowed = f"above {self.low:g}"
        elif self.above or self.below:
            low, high = ("above" if self.above else "at least"), ("below" if self.below else "at most")
            allowed = f"{low} {self.low:g} and {high} {self.high:g} {self.unit}"
        else:
            allowed = between(self.low, self.high, self.unit)
        return f"{_subject(self.name)} {given} must be {allowed.rstrip()}."


@dataclass(frozen=True)
class Whole:
    """A whole number in a range; `name`, `low`, `high` and `unit` as in `Number`."""

    name: str
    low: int
    high: int
    unit: str = ""

    def __call__(self, text: str) -> int:
        """The number in a text; ArgumentTypeError for another one, or none."""
        allowed = f"a whole number {between(self.low, self.high, self.unit)}"
        if not _WHOLE.fullmatch(text):
            raise argparse.ArgumentTypeError(f"The {self.name} '{shortened(text)}' must be {allowed}.")
        if not self.low <= int(text) <= self.high:
            raise argparse.ArgumentTypeError(f"The {self.name} {text} must be {allowed}.")
        return int(text)


@dataclass(frozen=True)
class Name:
    """The name of something: a model, a separator, a take. Not empty, `longest` characters at most."""

    name: str
    longest: int = _LONGEST_PATH

    def __call__(self, text: str) -> str:
        """The text, a leading `~` replaced by the home folder; ArgumentTypeError for what is no name."""
        if not text.strip():
            raise argparse.ArgumentTypeError(f"The {self.name} is empty; name one.")
        if "\0" in text:
            raise argparse.ArgumentTypeError(f"The {self.name} {shortened(text)!r} holds a NUL, which no name has.")
        if len(text) > self.longest or any(len(os.fsencode(part)) > _LONGEST_NAME for part in _SEPARATORS.split(text)):
            raise argparse.ArgumentTypeError(
                f"The {self.name} '{shortened(text)}' is longer than a name can be ({_LONGEST_NAME} bytes)."
            )
        return os.path.expanduser(text)


@dataclass(frozen=True)
class Place(Name):
    """A path on this machine, of a file or a folder.

    Attributes:
        folder: it is to be a folder, so a file of that name is refused.
    """

    folder: bool = False

    def __call__(self, text: str) -> str:
        """The path as `Name` gives it; ArgumentTypeError also for a URL, or for a file where a folder is wanted."""
        path = super().__call__(text)
        if "://" in path:
            raise argparse.ArgumentTypeError(f"The {self.name} '{shortened(text)}' is a URL; give a path here.")
        if self.folder and os.path.exists(path) and not os.path.isdir(path):
            raise argparse.ArgumentTypeError(f"The {self.name} '{shortened(text)}' is a file; name a folder.")
        return path


def _subject(name: str) -> str:
    """What a sentence is about; a name that is the option itself needs no article."""
    return name if name.startswith("--") else f"The {name}"


def shortened(text: str) -> str:
    """A text that fits into a sentence."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


SEED = Whole("seed", 0, MOST_SEED)
MODEL = Name("model")
LORA_SCALE = Number("LoRA scale", -10, 10)
SHARE = Number("share", 0, 1)
BALANCE_DB = Number("balance", -40, 40, "dB")
LOUDNESS = Number("loudness", -50, -5, "LUFS")
PEAK_DB = Number("peak", -20, 0, "dB")
TAKES = Whole("number of takes", 1, MOST_TAKES)
RATE = Whole("sample rate", 8000, 384_000, "Hz")
BITS = Whole("number of bits", 1, 64)
SEPARATOR = Name("separator")
TRACK = Name("track")
PRECISION = Name("precision")
ADAPTER = Name("adapter")
RECORDING = Place("recording")
OUTPUT = Place("output")
MELODY = Place("melody")
NEW_PROJECT = Place("project", folder=True)
