"""Pair making for one song: separate, cut, measure, drop or keep, caption, write.

`PairMaker.make` needs a song and an empty folder, and nothing of other songs: it runs in this process, in worker
processes and on other machines alike. Only the search for near-duplicates comes afterwards, over all songs.
"""

from __future__ import annotations

import errno
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accompany import audio
from accompany.common.config import write_json
from accompany.data.captions.tags import SongNotes, read_notes
from accompany.data.captions.write import CaptionWriter, load_captioner, load_tagger
from accompany.data.prepare.fingerprints import fingerprint, to_text
from accompany.data.prepare.measured import Measured, measure_music
from accompany.data.prepare.measures import Measurer, Measures, PairLimits, reason_to_drop
from accompany.data.prepare.pairs import FORMAT, RECORD
from accompany.data.prepare.sources import SongFiles, shown
from accompany.data.prepare.windows import StemWindow, song_windows
from accompany.data.tokens.pair_sources import ACCOMPANIMENT, SONG, VOCALS
from accompany.errors import InputError
from accompany.sound.separation import BUNDLED, VocalSeparator

_SUBTYPE = "PCM_16"
_POINTS = ("beats", "downbeats")
_SPANS = ("chords", "keys", "sections", "notes")
_OF_THE_WHOLE_SONG = ("format", "sample_rate", "n_samples", "caption_sources", "caption_source", "measured")


class StopError(InputError):
    """A fault that concerns every song: no room to write, or a captioner that fails."""


@dataclass(frozen=True)
class PrepareConfig:
    """Options of pair making; a pairs folder has one of these.

    Attributes:
        separator: "tiny", a Demucs name, an `hf://` id or a folder.
        stems: take the stems that are there and separate nothing.
        limits: length of windows, and what is dropped.
        captions: wanted for each pair.
        clap: tagger of the pseudo-captions: a model, a CLAP, or "none".
        captioner: `module:function`, or None.
    """

    separator: str = BUNDLED
    stems: bool = False
    limits: PairLimits = field(default_factory=PairLimits)
    captions: int = 4
    clap: str = "tiny"
    captioner: str | None = None

    def __post_init__(self) -> None:
        """Refuse pairs without captions."""
        if self.captions < 1:
            raise ValueError(f"captions {self.captions} must be at least 1")


@dataclass(frozen=True)
class Outcome:
    """Result for a song: number of pairs, or the reason why it was skipped; seconds of sound, and time spent."""

    pairs: int
    seconds: float
    skipped: str | None
    wall_s: float
    separation_s: float
    encoders_s: float


class PairMaker:
    """Makes the pairs of songs, one after the other; holds the networks.

    Args:
        config: windows, limits, captions.
        separator: for songs that come as mixes; stems, and songs whose windows are given, need none.

    Raises:
        InputError: no such CLAP or captioner.
    """

    def __init__(self, config: PrepareConfig, separator: VocalSeparator | None = None) -> None:
        self.config = config
        self._separator = separator
        self._measurer = Measurer()
        self._writer = CaptionWriter(config.captions, load_tagger(config.clap), load_captioner(config.captioner))

    def make(
        self, song: SongFiles, target: Path, *, run: int = 0, windows: Iterable[StemWindow] | None = None
    ) -> Outcome:
        """Write the pairs and the record of a song into `target`, which is made; all of them, or an error.

        A song that cannot be read gets a record that says why.

        Args:
            song: what `accompany.data.prepare.sources` found.
            target: a folder that nobody looks into yet.
            run: number of the run, for the record: duplicates give way to songs of earlier runs.
            windows: both stems of the song, where it was separated before; an InputError while they come goes into
                the record, as that of an unreadable file does.

        Raises:
            StopError: nothing can be written, or the captioner failed.
        """
        started, before = time.perf_counter(), self._busy_s()
        record: dict[str, Any] = {"format": FORMAT, "song": song.song_id, "source": shown(song.source), "run": run}
        try:
            notes = read_notes(song.mix, song.sidecars, song.known)
            found = windows or song_windows(song, self._separator, self.config.limits.segment_s)
            lines = [self._window(window, song, notes, target) for window in found]
            if not lines:
                raise InputError(f"{shown(song.source)} holds no sound (0 samples); leave it out.")
            record |= {"artist": notes.artist, "title": notes.title, "set_aside": None, "windows": lines}
        except StopError:
            raise
        except (InputError, ArithmeticError, LookupError, ValueError) as error:
            # One bad song must not stop the others.
            shutil.rmtree(target, ignore_errors=True)
            record |= {"set_aside": _reason(song, error), "windows": []}
        with _writing(target):
            target.mkdir(parents=True, exist_ok=True)
            write_json(target / RECORD, {**record, "source_bytes": source_bytes(song)})
        seconds = sum(window["seconds"] for window in record["windows"])
        pairs = sum(window["reason"] is None for window in record["windows"])
        separation_s, encoders_s = (after - first for after, first in zip(self._busy_s(), before, strict=True))
        wall_s = time.perf_counter() - started
        return Outcome(pairs, seconds, record["set_aside"], wall_s, separation_s, encoders_s)

    def _busy_s(self) -> tuple[float, float]:
        """Seconds that Demucs and the encoders have worked so far."""
        separation_s = self._separator.watch.seconds if self._separator else 0.0
        tagger = self._writer.tagger
        return separation_s, self._measurer.watch.seconds + (tagger.watch.seconds if tagger else 0.0)

    def _window(self, window: StemWindow, song: SongFiles, notes: SongNotes, target: Path) -> dict[str, Any]:
        """The record of a window, and its pair written when it is kept."""
        measures = self._measurer.measure(window)
        reason = reason_to_drop(window, measures, self.config.limits)
        place = {"start_s": round(window.start_s, 4), "seconds": round(window.seconds, 4)}
        line: dict[str, Any] = {**place, "reason": reason, **asdict(measures)}
        if reason is not None:
            return line
        band = audio.to_mono(window.band)[0]
        measured = measure_music(band, window.sample_rate)
        rng = np.random.default_rng([zlib.crc32(song.song_id.encode()), window.start])
        with _stopping():
            captions = self._writer.write(notes, measured, window.band, window.sample_rate, rng)
        name = f"{round(window.start_s * 1000):08d}"
        content = {
            **window_labels(notes.labels, window.start_s, window.seconds),
            "captions": list(captions.texts),
            "caption_sources": list(captions.sources),
            **_tagged(notes),
        }
        self._write_pair(target / name, window, measures, measured, {**content, **_origin(song, notes)})
        words = fingerprint(window.vocals[0] + band, window.sample_rate)
        said = {"caption_sources": list(captions.sources)}
        return {**line, **asdict(measured), **said, "pair": name, "fingerprint": to_text(words)}

    def _write_pair(
        self, folder: Path, window: StemWindow, measures: Measures, measured: Measured, content: dict[str, Any]
    ) -> None:
        # One gain for both stems, so that their balance survives.
        gain = min(1.0, 0.999 / measures.peak) if measures.peak else 1.0
        place = {"start_s": round(window.start_s, 4), "sample_rate": window.sample_rate, "n_samples": window.n_samples}
        song = {**content, "format": FORMAT, **place, "gain": round(gain, 6)}
        with _writing(folder):
            folder.mkdir(parents=True)
            for name, stem in ((VOCALS, window.vocals), (ACCOMPANIMENT, window.band)):
                audio.write(folder / name, np.clip(stem * np.float32(gain), -1, 1), window.sample_rate, _SUBTYPE)
            write_json(folder / SONG, {**song, "measured": {**asdict(measured), **asdict(measures)}})


def window_labels(labels: Mapping[str, Any], start_s: float, seconds: float) -> dict[str, Any]:
    """The labels of a song cut to a window: times counted from its start, labels outside left out."""

    def points(times: Any) -> list[float]:
        return [round(time_s - start_s, 5) for time_s in times if start_s - 1e-6 <= time_s < start_s + seconds]

    cut = {key: value for key, value in labels.items() if key not in _OF_THE_WHOLE_SONG}
    try:
        cut |= {name: points(cut[name]) for name in _POINTS if cut.get(name)}
        if isinstance(cut.get("drums"), Mapping):
            cut["drums"] = {name: points(times) for name, times in cut["drums"].items()}
        for name in _SPANS:
            spans = [
                [round(max(begin - start_s, 0.0), 5), round(min(end - start_s, seconds), 5), *rest]
                for begin, end, *rest in cut.get(name) or []
                if end > start_s + 1e-6 and begin < start_s + seconds - 1e-6
            ]
            cut |= {name: spans} if cut.get(name) else {}
    except (TypeError, ValueError) as error:
        raise InputError(f"the sidecar's times have the wrong shape ({error}); correct it or delete it.") from error
    if cut.get("keys"):
        cut["key"] = max(cut["keys"], key=lambda span: span[1] - span[0])[2]
    return cut


def _reason(song: SongFiles, error: Exception) -> str:
    """Why a song cannot be used, as text that every file takes."""
    known = isinstance(error, InputError)
    reason = str(error) if known else f"{shown(song.source)} cannot be used ({error!r}); leave it out."
    return reason.encode("utf-8", "replace").decode("utf-8")


def source_bytes(song: SongFiles) -> int:
    """Bytes of all files of a song, 0 for missing ones; a change shows that a bad file was replaced."""
    sizes = []
    for path in song.files:
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            sizes.append(0)
    return sum(sizes)


def _tagged(notes: SongNotes) -> dict[str, Any]:
    """Tempo and key of the tags, where no sidecar says them."""
    tagged = {"tempo_bpm": notes.facts.tempo_bpm, "key": notes.facts.key, "genre": notes.facts.genre or None}
    return {name: value for name, value in tagged.items() if value is not None and name not in notes.labels}


def _origin(song: SongFiles, notes: SongNotes) -> dict[str, Any]:
    names = {"artist": notes.artist, "title": notes.title}
    known = {name: value for name, value in names.items() if value}
    # Several folders may hold one song: arrangements of it, or passages.
    named = notes.labels.get("song")
    name = named if isinstance(named, str) and named else song.song_id
    return {**known, "song": name, "source": shown(song.source)}


@contextmanager
def _stopping() -> Iterator[None]:
    """Wrong input that would be wrong for every song stops the run."""
    try:
        yield
    except InputError as error:
        raise StopError(str(error)) from error


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """A file that cannot be written stops the run with one sentence; what was done stays."""
    try:
        yield
    except OSError as error:
        raise cannot_write(target, error) from error
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise cannot_write(target, error.__cause__) from error
        raise StopError(f"{error} What was done stays good; run again to go on.") from error


def cannot_write(target: Path, error: OSError) -> StopError:
    """The sentence for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StopError(
            f"The disk is full while writing {shown(target)}; what was done stays good: free some space, run again."
        )
    return StopError(f"Cannot write {shown(target)} ({error.strerror}); choose a folder that is writable, run again.")
