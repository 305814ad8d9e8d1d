"""The report as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from accompany.audio import replacing
from accompany.common.files import check_place
from accompany.errors import InputError

_FORMATS = (".png", ".svg", ".pdf")


def check_picture(path: str | os.PathLike[str]) -> Path:
    """The path, if a picture can have that name and its folder can be written; else InputError."""
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"Cannot draw {path}: give it the suffix {', '.join(_FORMATS)}.")
    check_place(path)
    return path


def draw(report: dict[str, Any], path: str | os.PathLike[str]) -> Path:
    """Seconds for a second of vocal, parts on top of each other, a bar for each length and batch.

    Raises:
        InputError: the suffix is no picture format, or the folder is missing or not writable.
    """
    from matplotlib.figure import Figure

    path = check_picture(path)
    rows = report["rows"]
    cases = list(dict.fromkeys((row["length_s"], row["batch"]) for row in rows))
    places, below = range(len(cases)), [0.0] * len(cases)
    figure = Figure(figsize=(2 + 0.8 * len(cases), 4.5), layout="constrained")
    axis = figure.subplots()
    for part in dict.fromkeys(row["part"] for row in rows):
        of_case = {(row["length_s"], row["batch"]): row["rtf"] for row in rows if row["part"] == part}
        heights = [of_case.get(case, 0.0) for case in cases]
        axis.bar(places, heights, bottom=below, label=part)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axis.set_xticks(places, [f"{length_s:g} s × {batch}" for length_s, batch in cases])
    axis.set_ylabel("seconds for a second of vocal")
    axis.set_title(f"{report['model']} on {report['device']}")
    axis.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=110)
    return path
