"""Words for people on stderr, JSON for programs on stdout, a bar while they wait."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from accompany.common.config import finite


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
