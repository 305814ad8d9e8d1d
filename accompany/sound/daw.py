"""Sessions for audio workstations: a REAPER project and Audacity label tracks, in time with the sound.

A REAPER project is nested text: `<TAG values`, lines of values, `>`. Of its lines only those are written that say
something; REAPER has a default for every other.

| line | values |
|---|---|
| TEMPO | beats a minute, beats of a bar, note value |
| PT | second, beats a minute, shape (1: constant up to the next), metre (note value · 2^16 + beats of a bar) |
| MARKER | number, second, name, 0 for a marker or 1 for a region, whose end is a second line of its number |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accompany.common.files import complete
from accompany.music.bars import BeatGrid
from accompany.music.plan import Plan

Span = tuple[float, float, str]
"""start_s, end_s, name."""

_SAME_S = 1e-3
_SIGNATURE, _TEMPO_AND_SIGNATURE, _CONSTANT = 65536, 1, 1


@dataclass(frozen=True)
class SessionTrack:
    """A track of a session: its name, its WAV file relative to the project, and its length in seconds."""

    name: str
    file: str
    seconds: float


def write_labels(path: Path, spans: Iterable[Span]) -> None:
    """Write an Audacity label track: lines of start, end and name with tabs between, in seconds."""
    lines = [f"{start:.6f}\t{end:.6f}\t{_line(name)}\n" for start, end, name in spans]
    _write(path, "".join(lines))


def beat_labels(plan: Plan, seconds: float) -> list[Span]:
    """Every beat within a song as `bar.beat`, counted from 1.1; a short first bar counts, as in workstations."""
    grid = BeatGrid(plan, seconds)
    bars = [f"1.{beat + 1}" for beat in range(grid.pickup)]
    first = 2 if grid.pickup else 1
    for index in range(len(grid.beats_s) - grid.pickup):
        bar, beat = divmod(index, plan.beats_per_bar)
        bars.append(f"{first + bar}.{beat + 1}")
    return [
        (time_s, time_s, name) for time_s, name in zip(grid.beats_s.tolist(), bars, strict=True) if time_s < seconds
    ]


def tempo_points(plan: Plan, seconds: float) -> list[tuple[float, float, int | None]]:
    """Where a tempo or a metre begins: (second, beats a minute, beats of a bar or None where it goes on).

    Equal beats share a point; the error of a beat stays below a millisecond.
    """
    grid = BeatGrid(plan, seconds)
    beats, metres = grid.beats_s.tolist(), dict(grid.metres)
    points: list[tuple[float, float, int | None]] = []
    anchor, interval = 0, 0.0
    for index, (start_s, end_s) in enumerate(itertools.pairwise(beats)):
        expected_s = beats[anchor] + interval * (index + 1 - anchor)
        if index in metres or abs(expected_s - end_s) > _SAME_S:
            anchor, interval = index, end_s - start_s
            points.append((start_s, 60 / interval, metres.get(index)))
    return points


def write_reaper(
    path: Path, plan: Plan, seconds: float, tracks: Sequence[SessionTrack], sections: Sequence[Span] = ()
) -> None:
    """Write a REAPER project (.rpp): tracks from second 0, the tempo map, chords as markers, sections as regions.

    Args:
        path: where; the files of the tracks are relative to its folder.
        plan: of the song; what it lacks is left out.
        seconds: length of the song.
        tracks: from top to bottom.
        sections: of the song.
    """
    project = ["REAPER_PROJECT", 0.1, "7.0/accompany", 0]
    _write(path, "".join(_block(project, _project(plan, seconds, tracks, sections))))


def _project(plan: Plan, seconds: float, tracks: Sequence[SessionTrack], sections: Sequence[Span]) -> Iterator[str]:
    if plan.beats_s:
        points = tempo_points(plan, seconds)
        yield _values(["TEMPO", plan.tempo_bpm or points[-1][1], plan.beats_per_bar, 4])
        yield from _block(["TEMPOENVEX"], _envelope(points))
    spans = [(start, min(end, seconds), name) for start, end, name in sections if start < seconds]
    for number, (start_s, end_s, name) in enumerate(spans, start=1):
        yield _values(["MARKER", number, start_s, name, 1])
        yield _values(["MARKER", number, end_s, "", 1])
    for number, (start_s, _, name) in enumerate(plan.chords, start=1):
        if 0 <= start_s < seconds:
            yield _values(["MARKER", number, start_s, name, 0])
    for track in tracks:
        yield from _block(["TRACK"], _track(track))


def _envelope(points: Sequence[tuple[float, float, int | None]]) -> Iterator[str]:
    yield _values(["ACT", 1, -1])
    yield _values(["DEFSHAPE", _CONSTANT, -1, -1])
    for time_s, bpm, beats_per_bar in points:
        metre = [] if beats_per_bar is None else [4 * _SIGNATURE + beats_per_bar, 0, _TEMPO_AND_SIGNATURE]
        yield _values(["PT", time_s, bpm, _CONSTANT, *metre])


def _track(track: SessionTrack) -> Iterator[str]:
    yield _values(["NAME", track.name])
    item: list[list[Any]] = [["POSITION", 0], ["LENGTH", track.seconds], ["LOOP", 0], ["NAME", track.name]]
    source = _block(["SOURCE WAVE"], [_values(["FILE", track.file])])
    yield from _block(["ITEM"], [*map(_values, item), *source])


def _block(head: Sequence[Any], lines: Iterable[str]) -> Iterator[str]:
    yield f"<{_values(head)}"
    yield from (f"  {line}" for line in lines)
    yield ">\n"


def _values(values: Sequence[Any]) -> str:
    """A line: the first value is a bare tag, later texts are quoted."""
    tag, *rest = values
    return " ".join([tag, *(_quoted(value) if isinstance(value, str) else _number(value) for value in rest)]) + "\n"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.10f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    """Text in whichever quotes it does not hold; backticks give way where it holds all three."""
    text = _line(text)
    mark = next((mark for mark in "\"'`" if mark not in text), "`")
    return f"{mark}{text.replace('`', chr(39)) if mark == '`' else text}{mark}"


def _line(text: str) -> str:
    """Text without line breaks and other control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _write(path: Path, text: str) -> None:
    with complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
