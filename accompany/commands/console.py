"""Words for people on stderr, with a next thing to try, JSON for programs on stdout, a bar while they wait."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from accompany.common.config import finite

if TYPE_CHECKING:
    from accompany.generation.take import Take
    from accompany.music.plan import Plan

_MOST_CHORDS = 8
_UNSURE, _SURE = 0.5, 0.8
"""Below the first confidence the tempo or the chords are worth giving, below the second another reading is named."""


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
        share = plan.key_confidence
        words[0] += f" in {plan.key}{_confidence(share)}{_perhaps(plan, share, True)}"
    if plan.tempo_bpm:
        said = f"{plan.tempo_bpm:.0f} beats a minute{_confidence(plan.tempo_confidence)}"
        words.append(said + _perhaps(plan, plan.beat_confidence, False))
    if plan.chords:
        labels = [label for _, _, label in plan.chords]
        more = " ..." if len(labels) > _MOST_CHORDS else ""
        words.append(f"chords {' '.join(labels[:_MOST_CHORDS])}{more}{_confidence(plan.chord_confidence)}")
    if take.muted:
        words.append(f"without {' and '.join(take.muted)}")
    return ", ".join([*words, f"made in {take.wall_s:.1f} s"])


def _perhaps(plan: Plan, share: float | None, is_key: bool) -> str:
    """The likeliest other key, or the likeliest other beats, with the option that plays it, where it is in doubt."""
    others = [(each.probability, n, each) for n, each in enumerate(plan.readings, 1) if n > 1]
    others = [each for each in others if each[2].name.startswith("in ") == is_key]
    if share is None or share > _SURE or plan.reading > 1 or not others:
        return ""
    _, number, other = max(others, key=lambda each: each[0])
    if "tempo" in other.name:
        return f", perhaps {other.tempo_bpm:.0f}: --bpm {other.tempo_bpm:.0f}"
    return f", perhaps {other.name}: --reading {number}"


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
        "reading": take.plan.reading,
        "readings": [asdict(each) for each in take.plan.readings],
    }


def _confidence(share: float | None) -> str:
    return "" if share is None else f" ({share:.0%} sure)"


def next_step(args: argparse.Namespace, take: Take) -> str:
    """What to try next, of the options of `accompany generate` that were left out; empty where none is left.

    Args:
        args: of the command.
        take: that it made, the best of several.
    """
    vocal, plan = shlex.quote(str(args.vocals[0])), take.plan
    again = f"accompany generate {vocal}"
    unknown_beats = not (args.bpm or args.taps or args.chords or args.melody)
    steps = (
        (
            unknown_beats and plan.tempo_bpm and (plan.beat_confidence or 1.0) < _UNSURE,
            f"the tempo is a guess; if you know it, give it: {again} --bpm X",
        ),
        (
            not (args.chords or args.key) and plan.chords and (plan.chord_confidence or 1.0) < _UNSURE,
            f'the chords are a guess; if you know them, give them: {again} --chords "C G Am F"',
        ),
        (not (args.mix or args.project), f"voice and band together: {again} --mix"),
        (args.takes == 1, f"more takes, the best fit first: {again} --takes 4"),
        (not args.project, f"keep the takes and make single bars again: {again} --project song"),
    )
    return next((f"Next: {words}" for applies, words in steps if applies), "")
