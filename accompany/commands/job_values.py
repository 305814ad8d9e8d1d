"""Types of the values that only commands other than `accompany generate` take."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from accompany.commands.values import Name, Number, Place, Whole, shortened

_READ_ONLY = frozenset(("http", "https", "data", "git", "github", "gist", "zip", "tar", "hf"))


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


@dataclass(frozen=True)
class TextLine(Name):
    """A line of text that stands in files and pages."""

    def __call__(self, text: str) -> str:
        """The text; ArgumentTypeError for line breaks, and for what cannot be printed."""
        line = super().__call__(text)
        if not line.isprintable():
            raise argparse.ArgumentTypeError(f"The {self.name} {shortened(text)!r} must be a line of text.")
        return line


_WEEK_S = 7 * 24 * 3600

RUN_SEED = Whole("seed", 0, 2**62)
"""Of a run that counts on from it."""
WORKERS = Whole("number of workers", 0, 256)
PROCESSES = Whole("number of workers", 1, 256)
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
STRENGTH = Number("strength", 0, 1)
TIME_S = Number("time", 0, _WEEK_S, "seconds")
EXTENSION_S = Number("extension", 0, 600, "seconds")
SONGS = Whole("number of songs", 1, 1_000_000)
SONG_RATE = Whole("sample rate", 8000, 96000, "Hz")
CAPTIONS = Whole("number of captions", 1, 100)
VARIANTS = Whole("number of variants", 1, 100)
VOICE_LINES = Whole("number of lines", 1, 48)
MOVES = Whole("number of copies", 0, 6)
PAIRS = Whole("number of pairs", 1, 1024)
CLIPS = Whole("number of clips", 1, 1_000_000)
VOCALS = Whole("number of vocals", 1, 1024)
RUNS = Whole("number of runs", 1, 1000)
PORT = Whole("port", 0, 65535)
JOBS = Whole("number of jobs", 1, 100_000)
BAR = Whole("bar", 1, 1_000_000)
CONFIG = Name("config")
BUNDLE_NAME = TextLine("name", 100)
LICENCE = TextLine("licence", 200)
ADDRESS = Name("address")
HOST = Name("host")
RECIPE = Name("recipe")
TAKE = Name("take")
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
SETTINGS = Place("settings file")
PROJECT = Place("project")
SONGS_DIR = Place("folder of songs")
FOLDER = Place("folder", folder=True)
PAIRS_DIR = FolderOrUrl("folder of pairs")
TOKENS_DIR = FolderOrUrl("folder of tokens")
