"""Words for people on stderr, JSON for programs on stdout, a bar while they wait."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from accompany.common.config import finite

if TYPE_CHECKING:
    from accompany.generation.take import Take


_MOST_CHORDS = 8


def say(message: str) -> None:
    """Write a line to stderr."""
    _write(sys.stderr, message)


def print_json(value: dict[str, Any]) -> None:
    """Write a value as one line of JSON to stdout; null for what is no number."""
    _write(sys.stdout, json.dumps(finite(value), allow_nan=False))


def _write(stream: TextIO, line: str) -> None:
    # Names of files may hold bytes that are no text.
    stream.write(line.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
    stream.flush()


@contextmanager
def bar(name: str) -> Iterator[Callable[[float], None]]:
    """A progress bar with the time left; hands out a function that takes the share done, 0 to 1."""
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} done, {remaining} left"
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    with tqdm(total=1.0, desc=name, bar_format=layout, disable=None, leave=False) as shown:
        yield lambda share: shown.update(share - shown.n) and None


def describe(take: Take) -> str:
    """A take in one line: length, and what was predicted or given of tempo, key and chords, with the confidence."""
    plan, words = take.plan, [f"{take.seconds:.1f} s"]
    if plan.key:
        words[0] += f" in {plan.key}"
    if plan.tempo_bpm:
        words.append(f"{plan.tempo_bpm:.0f} beats a minute{_confidence(plan.beat_confidence)}")
    if plan.chords:
        labels = [label for _, _, label in plan.chords]
        more = " ..." if len(labels) > _MOST_CHORDS else ""
        words.append(f"chords {' '.join(labels[:_MOST_CHORDS])}{more}{_confidence(plan.chord_confidence)}")
    return ", ".join([*words, f"made in {take.wall_s:.1f} s"])


def describe_scores(take: Take) -> str:
    """The scores of a take in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in take.scores.items())


def summary_of(vocals: Path, accompaniment: Path, mix: Path | None, take: Take, wall_s: float) -> dict[str, Any]:
    """A take and its files for `--json`."""
    return {
        "vocals": str(vocals),
        "accompaniment": str(accompaniment),
        "mix": str(mix) if mix else None,
        "seconds": round(take.seconds, 3),
        "wall_s": round(wall_s, 3),
        "rtf": round(wall_s / take.seconds, 4),
        "seed": take.seed,
    }


def _confidence(share: float | None) -> str:
    return "" if share is None else f" ({share:.0%} sure)"
