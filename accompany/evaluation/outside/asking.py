"""Clips of a report as wav files, what packages of other environments say of them, and their figures in its rows."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.errors import InputError
from accompany.evaluation.ears import spread_of_distance
from accompany.evaluation.metrics import Signal
from accompany.evaluation.outside.tools import Outside, ToolFailure
from accompany.evaluation.rows import Contest

logger = logging.getLogger(__name__)

REFERENCE = "truth"


@dataclass
class Heard:
    """What the tools found: figures of whole rows as in report.json, figures of clips by clip, and what is missing."""

    rows: dict[str, dict[str, dict[str, float | int]]] = field(default_factory=dict)
    clips: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def ask_all(tools: Sequence[Outside], contest: Contest, folder: Path, seed: int = 0) -> Heard:
    """Have every tool listen to every row of a contest; its clips lie below `folder` meanwhile.

    A tool that fails is left out with a note and a warning: the figures of the others are worth having.
    """
    heard = Heard()
    if not tools:
        return heard
    with tempfile.TemporaryDirectory(prefix=".outside-", dir=folder) as clips:
        try:
            job = _write_clips(contest, Path(clips)) | {"seed": seed}
        except (InputError, OSError) as error:
            heard.notes.append(f"{', '.join(each.tool for each in tools)} could not be asked: {error}")
            tools = ()
        for outside in tools:
            logger.info("%s listens to %d rows ...", outside.tool, len(job["rows"]))
            try:
                _add(heard, outside, outside.ask(job), job["rows"], seed)
            except ToolFailure as error:
                heard.notes.append(f"{outside.tool} failed, its figures are left out: {error}.")
    for note in heard.notes:
        logger.warning("%s", note)
    return heard


def _write_clips(contest: Contest, folder: Path) -> dict[str, Any]:
    """A job without its tool: all sounds as mono 16-bit wav files, a folder for each row."""
    rate = contest.clips[0].sample_rate
    rows = {
        name: [
            None if output is None else _wav(folder / f"row{number:02d}" / f"{i:04d}.wav", output.sound, rate)
            for i, output in enumerate(contest.output(name, i) for i in range(len(contest.clips)))
        ]
        for number, name in enumerate(contest.rows())
    }
    vocals = [_wav(folder / "vocals" / f"{i:04d}.wav", clip.vocal, rate) for i, clip in enumerate(contest.clips)]
    return {"sample_rate": rate, "reference": REFERENCE, "vocals": vocals, "rows": rows}


def _wav(path: Path, sound: Signal, sample_rate: int) -> str:
    path.parent.mkdir(exist_ok=True)
    audio.write(path, np.clip(sound, -1.0, 1.0), sample_rate, subtype="PCM_16")
    return str(path.absolute())


def _add(
    heard: Heard, outside: Outside, answer: Mapping[str, Any], rows: Mapping[str, Sequence[str | None]], seed: int
) -> None:
    """Put an answer (see `runner.py`) beside what other tools said."""
    for name, figures in answer["rows"].items():
        for figure, mean in figures.items():
            vectors = answer["vectors"].get(figure, {})
            reach = _reach(vectors.get(name, ()), vectors.get(REFERENCE, ()), seed)
            interval = {} if reach is None else {"low": mean - reach, "high": mean + reach}
            entry = {"mean": mean, **interval, "clips": sum(path is not None for path in rows[name])}
            heard.rows.setdefault(name, {})[figure] = entry
    for name, figures in answer["clips"].items():
        heard.clips.setdefault(name, {}).update(figures)
    if answer["left_out"]:
        heard.notes.append(f"{outside.tool} gives no {_listed(answer['left_out'])}.")


def _reach(row: Iterable[str], truth: Iterable[str], seed: int) -> float | None:
    """Half an interval of a distance, from the vectors that the tool left behind; None where it left none."""
    mine, true = ([np.load(path).astype(np.float64) for path in side] for side in (row, truth))
    return spread_of_distance(mine, true, seed) if len(mine) > 1 and len(true) > 1 else None


def _listed(parts: Sequence[str]) -> str:
    return "; ".join(parts[:5]) + (f"; and {len(parts) - 5} more" if len(parts) > 5 else "")
