"""The melody of a MIDI file: the notes of one monophonic track, in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common.extras import require
from accompany.errors import InputError
from accompany.music.sung_notes import MOST_NOTES, SungNote, read_notes

LARGEST_MIDI = 4 << 20
_DRUM_CHANNEL = 9
_OVERLAP_S = 0.05
"""Notes that overlap less are one after the other, played legato."""
_STANDARD_US = 500_000


@dataclass(frozen=True)
class _ChannelNotes:
    """The notes (start_s, end_s, pitch) of one channel of a track, in order."""

    name: str
    notes: list[tuple[float, float, float]]

    @property
    def is_monophonic(self) -> bool:
        return all(later[0] > before[1] - _OVERLAP_S and later[0] > before[0] + 1e-4 for before, later in self.pairs)

    @property
    def pairs(self) -> Iterator[tuple[tuple[float, float, float], tuple[float, float, float]]]:
        return zip(self.notes, self.notes[1:], strict=False)

    @property
    def height(self) -> float:
        return float(np.mean([pitch for _, _, pitch in self.notes]))


def read_melody(path: str | os.PathLike[str], track: str | None = None) -> tuple[SungNote, ...]:
    """The notes of a MIDI file of type 0 or 1.

    Args:
        path: .mid; drums (channel 10) are skipped.
        track: name of the track, in any case; None takes the only one with notes, or the highest monophonic one.

    Raises:
        InputError: no readable MIDI file, no notes, no such track, or more than one note at a time.
    """
    path = Path(path)
    parts = [part for part in _parts(path) if part.notes]
    if not parts:
        raise InputError(f"{path} has no notes; give a MIDI file whose melody is written in it.")
    if track is not None:
        named = [part for part in parts if part.name.casefold() == track.strip().casefold()]
        if not named:
            names = ", ".join(dict.fromkeys(f"'{part.name}'" for part in parts))
            raise InputError(f"{path} has no track '{track[:60]}' with notes; there are {names}.")
        parts = named
    single = [part for part in parts if part.is_monophonic]
    if not single:
        where = f"the track '{parts[0].name}' of {path}" if len(parts) == 1 else f"every track of {path}"
        raise InputError(f"A melody has one note at a time, but {where} has chords; give a track that has none.")
    return _legato(max(single, key=lambda part: part.height), path)


def _legato(part: _ChannelNotes, path: Path) -> tuple[SungNote, ...]:
    """The notes, each cut where the next begins."""
    ends = [min(before[1], later[0]) for before, later in part.pairs] + [part.notes[-1][1]]
    rows = [(start, end, pitch) for (start, _, pitch), end in zip(part.notes, ends, strict=True) if end > start]
    try:
        return read_notes(rows)
    except InputError as error:
        raise InputError(f"{path}: {error}.") from error


def _parts(path: Path) -> list[_ChannelNotes]:
    require("sound", "mido", what="MIDI")
    import mido

    try:
        if path.stat().st_size > LARGEST_MIDI:
            raise InputError(f"{path} is larger than {LARGEST_MIDI >> 20} MiB; give a MIDI file of one song.")
        file = mido.MidiFile(str(path))
        if file.type == 2 or not 0 < file.ticks_per_beat < 1 << 15:
            raise InputError(f"{path} is MIDI of a kind that has no common beat; save it as type 0 or 1.")
        return list(_read_tracks(file))
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Cannot read {path} as MIDI ({reason}); give a Standard MIDI File (.mid).") from error
    # A damaged file fails in mido in many ways, from IndexError to its own.
    except Exception as error:
        raise InputError(f"{path} is no readable MIDI file ({type(error).__name__}: {error}).") from error


def _read_tracks(file: Any) -> Iterator[_ChannelNotes]:
    seconds = _Seconds(file)
    for track in file.tracks:
        for channel, notes in sorted(_read_notes(track).items()):
            if channel == _DRUM_CHANNEL:
                continue
            times = seconds(np.array([(start, end) for start, end, _ in notes], dtype=float).reshape(-1, 2))
            rows = [(a, b, pitch) for (a, b), (_, _, pitch) in zip(times.tolist(), notes, strict=True) if b > a]
            yield _ChannelNotes(track.name.strip(), sorted(rows))


def _read_notes(track: Any) -> dict[int, list[tuple[int, int, float]]]:
    """(start, end, pitch) in ticks by channel; a note that never ends, ends with its track."""
    found: dict[int, list[tuple[int, int, float]]] = {}
    open_: dict[tuple[int, int], int] = {}
    now = 0

    def close(key: tuple[int, int]) -> None:
        found.setdefault(key[0], []).append((open_.pop(key), now, float(key[1])))

    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        key = message.channel, message.note
        if key in open_:
            close(key)
        if message.type == "note_on" and message.velocity > 0:
            open_[key] = now
    for key in list(open_):
        close(key)
    if sum(map(len, found.values())) > MOST_NOTES:
        raise InputError(f"A track has more than {MOST_NOTES} notes; give the MIDI file of one song.")
    return found


class _Seconds:
    """The tempo map of a file: from ticks to seconds."""

    def __init__(self, file: Any) -> None:
        changes = {0: _STANDARD_US}
        for track in file.tracks:
            now = 0
            for message in track:
                now += message.time
                if message.type == "set_tempo":
                    changes[now] = message.tempo
        self.ticks = np.array(sorted(changes), dtype=float)
        self.per_tick_s = np.array([changes[tick] for tick in sorted(changes)]) * 1e-6 / file.ticks_per_beat
        self.at_s = np.concatenate([[0.0], np.cumsum(np.diff(self.ticks) * self.per_tick_s[:-1])])

    def __call__(self, ticks: np.ndarray) -> np.ndarray:
        """Times in s of any ticks."""
        place = np.searchsorted(self.ticks, ticks, side="right") - 1
        return self.at_s[place] + (ticks - self.ticks[place]) * self.per_tick_s[place]
