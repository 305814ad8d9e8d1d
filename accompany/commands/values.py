"""Types of the command line's values: what each may be, declared once, and the sentence for what it may not be.

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
_READ_ONLY = frozenset(("http", "https", "data", "git", "github", "gist", "zip", "tar", "hf"))


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


@dataclass(frozen=True)
class FolderOrUrl(Name):
    """A folder on this machine, or a URL of a place that holds files (`s3://bucket/name`)."""

    def __call__(self, text: str) -> str:
        """The path or URL; ArgumentTypeError for a file, or a kind of URL that nothing can be written to."""
        place = super().__call__(text)
        scheme, is_url, _ = place.partition("://")
        if not is_url:
            return Place(self.name, folder=True)(text)
        if scheme.lower() in _READ_ONLY:
            raise argparse.ArgumentTypeError(
                f"The {self.name} '{shortened(text)}' is no place to write; give a folder, or s3://bucket/name."
            )
        return place


def _subject(name: str) -> str:
    """What a sentence is about; a name that is the option itself needs no article."""
    return name if name.startswith("--") else f"The {name}"


def shortened(text: str) -> str:
    """A text that fits into a sentence."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_WEEK_S = 7 * 24 * 3600

SEED = Whole("seed", 0, MOST_SEED)
RUN_SEED = Whole("seed", 0, 2**62)
"""Of a run that counts on from it."""
WORKERS = Whole("number of workers", 0, 256)
PROCESSES = Whole("number of workers", 1, 256)
MODEL = Name("model")
LORA_SCALE = Number("LoRA scale", -10, 10)
SONG_S = Number("length", 4, 600, "seconds")
SEGMENT_S = Number("segment", 2, 120, "seconds")
VAL_SHARE = Number("share", 0, 1, below=True)
CLIP_S = Number("length", 2, 3600, "seconds")
SCALE = Number("--scale", 0, 100, above=True)
BENCH_S = Number("length", 0.5, 36_000, "seconds")
MAX_MINUTES = Number("--max-minutes", 0, 1e6, "minutes", above=True)
JOB_MINUTES = Number("--job-minutes", 0, 1e6, "minutes", above=True)
KEEP_MINUTES = Number("--keep-minutes", 0, 1e6, "minutes", above=True)
MAX_MB = Number("--max-mb", 0, 1e6, "MB", above=True)
SHARE = Number("share", 0, 1)
STRENGTH = Number("strength", 0, 1)
BALANCE_DB = Number("balance", -40, 40, "dB")
LOUDNESS = Number("loudness", -50, -5, "LUFS")
PEAK_DB = Number("peak", -20, 0, "dB")
TIME_S = Number("time", 0, _WEEK_S, "seconds")
EXTENSION_S = Number("extension", 0, 600, "seconds")
SONGS = Whole("number of songs", 1, 1_000_000)
SONG_RATE = Whole("sample rate", 8000, 96000, "Hz")
CAPTIONS = Whole("number of captions", 1, 100)
VARIANTS = Whole("number of variants", 1, 100)
MOVES = Whole("number of copies", 0, 6)
PAIRS = Whole("number of pairs", 1, 1024)
CLIPS = Whole("number of clips", 1, 1_000_000)
TAKES = Whole("number of takes", 1, MOST_TAKES)
VOCALS = Whole("number of vocals", 1, 1024)
RUNS = Whole("number of runs", 1, 1000)
STEPS = Whole("number of steps", 1, 1_000_000)
PORT = Whole("port", 0, 65535)
JOBS = Whole("number of jobs", 1, 100_000)
RATE = Whole("sample rate", 8000, 384_000, "Hz")
BITS = Whole("number of bits", 1, 64)
BAR = Whole("bar", 1, 1_000_000)
CONFIG = Name("config")
SEPARATOR = Name("separator")
BUNDLE_NAME = Name("name", 100)
LICENCE = Name("licence", 200)
ADDRESS = Name("address")
HOST = Name("host")
RECIPE = Name("recipe")
TAKE = Name("take")
TRACK = Name("track")
PRECISION = Name("precision")
ADAPTER = Name("adapter")
CAPTIONER = Name("captioner")
PART = Name("part")
SYSTEM = Name("system")
ROW = Name("row")
STEP_LIST = Name("list of steps")
STEP = Name("step")
SOUNDS = Place("sounds")
CARD = Place("model card")
WORK = Place("work folder")
RUN_DIR = Place("folder of a run")
RECORDING = Place("recording")
OUTPUT = Place("output")
MELODY = Place("melody")
SETTINGS = Place("settings file")
NEW_PROJECT = Place("project", folder=True)
PROJECT = Place("project")
SONGS_DIR = Place("folder of songs")
FOLDER = Place("folder", folder=True)
PAIRS_DIR = FolderOrUrl("folder of pairs")
TOKENS_DIR = FolderOrUrl("folder of tokens")
