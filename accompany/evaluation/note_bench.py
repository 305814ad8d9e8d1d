"""How well sung notes are found: note F of mir_eval at 50 ms, on songs whose notes are known; floor and ceiling beside.

A song is a folder of `accompany synth` (vocals.flac, song.json), or NAME.flac beside NAME_notes.csv with a line
`start_s, pitch_hz, duration_s` for each note, as vocadito has them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.config import read_json
from accompany.common.progress import Progress
from accompany.encoders.notes import NoteTranscriber
from accompany.errors import InputError
from accompany.evaluation.rows import other_clip
from accompany.music.sung_notes import MOST_NOTES, SungNote, read_notes

ONSET_TOLERANCE_S = 0.05
OFFSET_RATIO = 0.2
_FRAME_S = 0.016
_SUFFIX = "_notes.csv"
_ENDINGS = (".flac", ".wav", ".mp3", ".ogg")

ROWS = {
    "voice onsets": "the transcription as analyse writes it: a note starts with its first voiced sound",
    "vowel onsets": "the same, started at the vowels",
    "rounded truth": "the true notes to whole frames of 16 ms and whole semitones: ceiling",
    "another song": "the true notes of another song: floor",
}
FIGURES = {
    "onset_f": "F of the starts",
    "note_f": "F of starts and pitches (within 50 cents)",
    "note_offset_f": "F of starts, pitches and ends (within a fifth of the note, at least 50 ms)",
}


@dataclass(frozen=True)
class NoteSong:
    """A recording `path` whose sung notes are known."""

    path: Path
    notes: tuple[SungNote, ...]


def bench_notes(folder: str | os.PathLike[str], progress: Progress | None = None) -> dict[str, Any]:
    """Transcribe the songs below a folder and compare with their notes.

    Returns:
        "songs", "notes" and "rows": for each row of `ROWS` the means of `FIGURES` over songs.

    Raises:
        InputError: no song whose notes are known, or a file that cannot be read.
    """
    songs = find_note_songs(folder)
    transcriber = NoteTranscriber()
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS}
    for index, song in enumerate(songs):
        sound, _ = audio.read_mono(song.path, audio.info(song.path).sample_rate)
        found = {
            "voice onsets": transcriber.notes(sound.samples, sound.sample_rate),
            "vowel onsets": transcriber.notes(sound.samples, sound.sample_rate, "vowel"),
            "rounded truth": _rounded(song.notes),
            "another song": songs[other_clip(index, len(songs))].notes,
        }
        for name, notes in found.items():
            scores[name].append(note_scores(song.notes, notes))
        if progress is not None:
            progress((index + 1) / len(songs))
    if len(songs) < 2:
        del scores["another song"]
    return {
        "songs": len(songs),
        "notes": sum(len(song.notes) for song in songs),
        "rows": {
            name: {figure: float(np.mean([each[figure] for each in row])) for figure in FIGURES}
            for name, row in scores.items()
        },
    }


def note_scores(truth: Sequence[SungNote], found: Sequence[SungNote]) -> dict[str, float]:
    """The `FIGURES` of found notes against true ones, 0 to 1."""
    from mir_eval import transcription

    if not truth or not found:
        return dict.fromkeys(FIGURES, float(not truth and not found))
    (true_spans, true_hz), (spans, hz) = _arrays(truth), _arrays(found)
    tolerance = {"onset_tolerance": ONSET_TOLERANCE_S}

    def note_f(offset_ratio: float | None) -> float:
        return float(
            transcription.precision_recall_f1_overlap(
                true_spans, true_hz, spans, hz, offset_ratio=offset_ratio, **tolerance
            )[2]
        )

    onset_f = float(transcription.onset_precision_recall_f1(true_spans, spans, **tolerance)[2])
    return {"onset_f": onset_f, "note_f": note_f(None), "note_offset_f": note_f(OFFSET_RATIO)}


def find_note_songs(folder: str | os.PathLike[str]) -> list[NoteSong]:
    """The songs below a folder whose notes are known, in order of their paths. InputError where there is none."""
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"--notes {root} is not a folder; give one of songs whose notes are known.")
    songs = [*_of_songs(root), *_of_tables(root)]
    if not songs:
        raise InputError(
            f"There is no song with known notes in {root}; give a folder that accompany synth wrote, "
            f"or recordings with NAME{_SUFFIX} beside NAME.flac (start in s, pitch in Hz, duration in s)."
        )
    return sorted(songs, key=lambda song: song.path)


def note_table(report: dict[str, Any]) -> str:
    """The report of `bench_notes` as text."""
    lines = [f"{report['songs']} songs, {report['notes']} notes".ljust(16) + "".join(f"{name:>15}" for name in FIGURES)]
    width = len(lines[0]) - 15 * len(FIGURES)
    for name, row in report["rows"].items():
        lines.append(name.ljust(width) + "".join(f"{row[figure]:15.3f}" for figure in FIGURES))
    return "\n".join(lines)


def _of_songs(root: Path) -> Iterator[NoteSong]:
    for path in sorted(root.rglob("song.json")):
        facts, vocals = read_json(path), _beside(path.with_name("vocals"))
        rows = facts.get("sung", facts.get("notes")) if isinstance(facts, dict) else None
        if rows and vocals is not None:
            yield NoteSong(vocals, _checked(path, lambda rows=rows: _one_at_a_time([row[:3] for row in rows])))  # type: ignore[misc]


def _of_tables(root: Path) -> Iterator[NoteSong]:
    for path in sorted(root.rglob(f"*{_SUFFIX}")):
        recording = _beside(path.with_name(path.name.removesuffix(_SUFFIX)))
        if recording is not None:
            yield NoteSong(recording, _checked(path, lambda path=path: _read_table(path)))  # type: ignore[misc]


def _beside(stem: Path) -> Path | None:
    files = [stem.with_name(stem.name + ending) for ending in _ENDINGS]
    return next((file for file in files if file.is_file()), None)


def _checked(path: Path, read: Callable[[], tuple[SungNote, ...]]) -> tuple[SungNote, ...]:
    try:
        return read()
    except (ValueError, TypeError, IndexError, csv.Error, OSError) as error:
        raise InputError(f"Cannot read the notes of {path} ({error}).") from error
    except InputError as error:
        raise InputError(f"{path}: {error}.") from error


def _read_table(path: Path) -> tuple[SungNote, ...]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line, _ in zip(csv.reader(file), range(MOST_NOTES), strict=False) if line]
    table = np.array([[float(value) for value in line[:3]] for line in lines]).reshape(-1, 3)
    if not (np.isfinite(table).all() and (table[:, 1] > 0).all()):
        raise InputError("each line must be start in s, pitch in Hz, duration in s")
    return _one_at_a_time([(start, start + length, 69 + 12 * np.log2(hz / 440)) for start, hz, length in table])


def _one_at_a_time(rows: Sequence[Sequence[float]]) -> tuple[SungNote, ...]:
    """Notes, each cut where the next begins: annotations overlap by some milliseconds."""
    starts = [float(row[0]) for row in rows[1:]] + [np.inf]
    cut = [(row[0], min(row[1], following), row[2]) for row, following in zip(rows, starts, strict=True)]
    return read_notes([row for row in cut if row[1] > row[0]])


def _rounded(notes: Sequence[SungNote]) -> list[SungNote]:
    def on_grid(time_s: float) -> int:
        return round(time_s / _FRAME_S)

    ends = [(on_grid(note.start_s), on_grid(note.end_s), note.pitch) for note in notes]
    return [SungNote(a * _FRAME_S, max(b, a + 1) * _FRAME_S, float(round(pitch))) for a, b, pitch in ends]


def _arrays(notes: Sequence[SungNote]) -> tuple[np.ndarray, np.ndarray]:
    spans = np.array([(note.start_s, note.end_s) for note in notes])
    return spans, 440.0 * 2.0 ** ((np.array([note.pitch for note in notes]) - 69.0) / 12.0)
