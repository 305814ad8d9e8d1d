"""Prompts that change with the time or the section of the song.

A prompt is plain text, or cues with semicolons between them: `0: solo piano; 12.5: full band; [chorus] loud drums`.
A cue begins with a time (seconds, or minutes:seconds) and a colon, and holds until the next time; or with a section in
brackets, and holds in all sections of that name, overriding the times. Text before the first cue holds from
the start; a cue without text leaves the choice to the model.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from accompany.errors import InputError

_log = logging.getLogger(__name__)

_TIMED = re.compile(r"\s*(?:(?P<minutes>\d+):(?=\d\d))?(?P<seconds>\d+(?:\.\d+)?)\s*:(?!\d)\s*(?P<text>.*)", re.DOTALL)
_NAMED = re.compile(r"\s*\[(?P<section>[^\]]+)\]\s*:?\s*(?P<text>.*)", re.DOTALL)

_LIKE_A_TIME = re.compile(
    r"\s*(?:[+-]?(?:\d[\d.,:]*|nan|inf(?:inity)?)\s*:(?!\d)|\d+:\d\d(?!\d)|\d+(?::\d+)+\s*$).*",
    re.DOTALL | re.IGNORECASE,
)
"""A time and a colon, nearly; minutes and seconds; not the meter of `4:4 rock beat`."""
_LONGEST_S = 7 * 24 * 3600

Section = tuple[float, float, str]


@dataclass(frozen=True)
class Cue:
    """A text from `start_s` on, or in every section called `section`."""

    text: str
    start_s: float = 0.0
    section: str | None = None


def read_cues(prompt: str) -> list[Cue]:
    """The cues of a prompt; a plain one is a single cue from the start.

    Raises:
        InputError: a cue begins with what is nearly a time, such as `0:60` or `-4`.
    """
    parts = prompt.split(";")
    for part in parts:
        _check_time(part)
    if not any(_TIMED.fullmatch(part) or _NAMED.fullmatch(part) for part in parts):
        return [Cue(prompt)]
    cues: list[Cue] = []
    for part in parts:
        if timed := _TIMED.fullmatch(part):
            cues.append(Cue(timed["text"].strip(), _start_of(timed)))
        elif named := _NAMED.fullmatch(part):
            cues.append(Cue(named["text"].strip(), section=named["section"].strip().lower()))
        elif cues:
            last = cues.pop()
            cues.append(Cue(f"{last.text}; {part.strip()}".strip("; "), last.start_s, last.section))
        elif part.strip():
            cues.append(Cue(part.strip()))
    return cues


def _check_time(part: str) -> None:
    near = _LIKE_A_TIME.fullmatch(part)
    if near is None:
        return
    timed = _TIMED.fullmatch(part)
    holds = timed is not None and not _LIKE_A_TIME.fullmatch(timed["text"])
    if timed and timed["minutes"]:
        holds = holds and float(timed["seconds"]) < 60
    if not holds or not _start_of(timed) <= _LONGEST_S:
        raise InputError(
            f"The cue '{part.strip()[:40]}' must begin with a time: seconds, or minutes and seconds of two digits, "
            "such as 12.5: or 1:05:."
        )


def _start_of(timed: re.Match[str] | None) -> float:
    return 60 * float(timed["minutes"] or 0) + float(timed["seconds"]) if timed else math.inf


def names_sections(prompt: str) -> bool:
    """Whether a cue of the prompt is for a section."""
    return any(cue.section for cue in read_cues(prompt))


def is_timed(prompt: str) -> bool:
    """Whether the prompt changes."""
    cues = read_cues(prompt)
    return len(cues) > 1 or any(cue.section or cue.start_s for cue in cues)


def texts_per_frame(prompt: str, sections: Sequence[Section], n_frames: int, frame_rate: float) -> list[str]:
    """The prompt of each frame, by the time of its centre; empty where there is none."""
    cues = read_cues(prompt)
    texts = [""] * n_frames
    for cue in sorted((cue for cue in cues if cue.section is None), key=lambda cue: cue.start_s):
        first = min(max(round(cue.start_s * frame_rate), 0), n_frames)
        if first == n_frames:
            _log.warning("The cue at %g s lies beyond the end of this vocal, so it is not used.", cue.start_s)
        texts[first:] = [cue.text] * (n_frames - first)
    for cue in (cue for cue in cues if cue.section is not None):
        found = [(start, end) for start, end, name in sections if name.lower() == cue.section]
        if not found:
            names = ", ".join(dict.fromkeys(name for _, _, name in sections)) or "none"
            _log.warning(
                "No section [%s] is found in this vocal, so its prompt is not used; found: %s.", cue.section, names
            )
        for start_s, end_s in found:
            first, last = (min(round(edge * frame_rate), n_frames) for edge in (start_s, end_s))
            texts[first:last] = [cue.text] * (last - first)
    return texts
