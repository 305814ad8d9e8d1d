"""Table of a study: rows of columns, each with its mean and bootstrap interval over clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Values = Sequence[float | None]


@dataclass(frozen=True)
class Study:
    """The metrics of a study.

    Attributes:
        title: what was asked.
        rows: for each row the values of its columns, one for each clip (or place); None where there is none.
        definitions: what rows and columns mean.
        notes: what a reader has to know.
    """

    title: str
    rows: Mapping[str, Mapping[str, Values]]
    definitions: Mapping[str, str]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def columns(self) -> list[str]:
        """The columns of all rows, in their order."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))

    def summary(self, seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
        """Mean, 95% interval (1,000 resamples of the clips) and number of values, by row and column."""
        return {
            name: {column: found for column, values in row.items() if (found := _interval(values, seed))}
            for name, row in self.rows.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """The study as plain values, ready for JSON."""
        rows = {name: {column: list(values) for column, values in row.items()} for name, row in self.rows.items()}
        return {
            "title": self.title,
            "notes": list(self.notes),
            "definitions": dict(self.definitions),
            "rows": self.summary(),
            "values": rows,
        }

    def as_table(self) -> str:
        """The study in Markdown."""
        columns, summary = self.columns, self.summary()
        lines = [f"# {self.title}", "", *(f"> {note}" for note in self.notes), ""]
        lines += [
            "Mean ± half the 95% bootstrap interval.",
            "",
            _line(["", *columns]),
            "|---" * (len(columns) + 1) + "|",
        ]
        lines += [_line([name, *(_cell(row.get(column)) for column in columns)]) for name, row in summary.items()]
        lines += ["", *(f"- **{name}**: {text}" for name, text in self.definitions.items())]
        return "\n".join(lines) + "\n"


def _interval(values: Values, seed: int) -> dict[str, float]:
    known = np.array([value for value in values if value is not None and math.isfinite(value)])
    if not len(known):
        return {}
    resampled = np.random.default_rng(seed).choice(known, (1000, len(known))).mean(1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"mean": float(known.mean()), "low": float(low), "high": float(high), "values": len(known)}


def _cell(value: dict[str, float] | None) -> str:
    if not value:
        return ""
    digits = 0 if abs(value["mean"]) >= 100 else 2
    half = f" ± {(value['high'] - value['low']) / 2:.{digits}f}" if value["values"] > 1 else ""
    return f"{value['mean']:.{digits}f}{half}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
