"""Groove MIDI Dataset: drum performances on an electronic kit, listed in info.csv.

info.csv             drummer, session, id, style, bpm, beat_type, time_signature, midi_filename, ..., split
drummerN/...         *.mid, recorded to a click, so that a quarter note of the file is a beat
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from accompany.data.scores.lead_sheet import Bar, LeadSheet, PlayedNote, Unreadable
from accompany.data.scores.midi import read_midi

COLUMNS = frozenset({"style", "bpm", "beat_type", "time_signature", "midi_filename", "split"})
# The Roland TD-11's rims and edges, as General MIDI kits have them.
_GENERAL_MIDI = {22: 42, 26: 46, 40: 38, 50: 48, 47: 45, 58: 43, 52: 49, 55: 49, 57: 49, 59: 51}
_LARGEST_INDEX = 4 << 20


@dataclass(frozen=True)
class Listed:
    """A line of info.csv: what is known of a performance before its file is read."""

    name: str
    style: str
    bpm: float
    is_fill: bool
    metre: str
    held_out: bool


def read_index(folder: Path) -> tuple[Listed, ...]:
    """The performances that info.csv lists; lines that make no sense are left out.

    Raises:
        Unreadable: no info.csv, or it lacks a column.
    """
    path = folder / "info.csv"
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise Unreadable(f"info.csv is over {_LARGEST_INDEX >> 20} MiB")
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(f"info.csv cannot be read ({error})") from error
    if not rows or not set(rows[0]) >= COLUMNS:
        raise Unreadable("info.csv has not the columns of the Groove MIDI Dataset")
    return tuple(listed for row in rows if (listed := _listed(row)) is not None)


def _listed(row: dict[str, str]) -> Listed | None:
    name = PurePosixPath(row["midi_filename"] or "")
    try:
        bpm = float(row["bpm"])
    except (TypeError, ValueError):
        return None
    if name.suffix != ".mid" or name.is_absolute() or ".." in name.parts or not 20 <= bpm <= 400:
        return None
    metre = (row["time_signature"] or "").replace("-", "/")
    is_fill, held_out = row["beat_type"] == "fill", row["split"] != "train"
    return Listed(str(name), row["style"] or "", bpm, is_fill, metre, held_out)


@lru_cache(maxsize=64)
def read_performance(folder: Path, listed: Listed) -> LeadSheet:
    """A performance as a lead sheet of drums alone, in whole bars of its metre.

    Raises:
        Unreadable: damaged, or a metre that no band here plays.
    """
    midi = read_midi(folder / listed.name)
    beats, unit = (int(part) for part in listed.metre.split("/")) if listed.metre.count("/") == 1 else (0, 0)
    bar_q = 4 * beats / unit if unit else 0.0
    if Bar(0.0, bar_q, listed.metre).grid is None:
        raise Unreadable(f"a metre of {listed.metre}")
    hits = [
        PlayedNote(midi.time_to_tick(n.start) / midi.resolution, 0.0, _GENERAL_MIDI.get(n.pitch, n.pitch), n.velocity)
        for part in midi.instruments
        for n in part.notes
        if n.velocity > 0
    ]
    if not hits:
        raise Unreadable("no notes")
    hits = sorted(hit._replace(end_q=hit.start_q + 0.1) for hit in hits)
    n_bars = max(int((hits[-1].start_q + 0.25 * bar_q) / bar_q), 1)
    return LeadSheet(
        title=PurePosixPath(listed.name).stem,
        source="Groove MIDI",
        name=listed.name,
        licence="CC BY 4.0",
        bars=tuple(Bar(i * bar_q, bar_q, listed.metre) for i in range(n_bars)),
        time_q=np.array([0.0, n_bars * bar_q]),
        time_s=np.array([0.0, n_bars * bar_q * 60 / listed.bpm]),
        has_tempo=True,
        drums=tuple(hits),
        style=listed.style,
    )
