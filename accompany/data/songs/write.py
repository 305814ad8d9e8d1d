"""Batch synthesis of songs to disk: parallel, reproducible from seeds, resumable."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from accompany.common.config import read_json, write_json
from accompany.common.files import PART, complete, part_beside, remove_part
from accompany.common.folders import writing_into
from accompany.common.processes import folder_lock, worker_pool
from accompany.data.scores.drawing import ScoreChoice, draw_song
from accompany.data.songs.make import Song, render_song
from accompany.data.songs.score import Score
from accompany.data.songs.second import second_singer
from accompany.data.songs.sounds import Sounds, find_sounds
from accompany.data.songs.styles import MOST_VARIANTS
from accompany.data.songs.voice import sung_notes
from accompany.data.speech.bank import USUAL_LINES, Bank, make_bank
from accompany.errors import InputError

_log = logging.getLogger(__name__)

FORMAT = 1
_MANIFEST = "manifest.jsonl"
_FULL_SCALE = 32_767


@dataclass(frozen=True)
class SynthReport:
    """Result of `synthesise`: songs made now, songs found finished, speed, and unusable scores.

    `skipped` has (name, why) of each such score.
    """

    out_dir: Path
    n_made: int
    n_kept: int
    wall_s: float
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def songs_per_hour(self) -> float:
        """Speed of this run, 0 if it made none."""
        return 3600.0 * self.n_made / self.wall_s if self.wall_s > 0 else 0.0


@dataclass(frozen=True)
class _SongOrder:
    """One song to make: arrangement `variant` of song `index` of the run."""

    index: int
    variant: int
    run_seed: int
    seed: int
    folder: Path
    seconds: float
    sample_rate: int
    voice_only: bool
    stems: bool
    sounds: Sounds | None
    scores: ScoreChoice | None
    n_variants: int
    bank: Bank | None


def song_seed(seed: int, index: int) -> int:
    """The seed of song `index` of a run: depends on these two alone, so runs can be grown and split."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def synthesise(
    out_dir: str | os.PathLike[str],
    n_songs: int,
    seed: int = 0,
    *,
    seconds: float = 40.0,
    sample_rate: int = 44_100,
    workers: int = 1,
    voice_only: bool = False,
    stems: bool = True,
    sounds: Sequence[str | os.PathLike[str]] = (),
    scores: Sequence[str | os.PathLike[str]] = (),
    split: str = "train",
    variants: int = 1,
    voices: str | os.PathLike[str] | None = None,
    voice_lines: int = USUAL_LINES,
) -> SynthReport:
    """Write songs 0 to `n_songs` - 1 of a seed into `out_dir`, a folder each, and `manifest.jsonl`.

    A song appears only when complete; those already there are kept, so a run can be stopped, resumed and grown.

    Args:
        out_dir: made if missing.
        n_songs: at least 1.
        seed: of the whole run, at least 0.
        seconds: length of each song, 4 to 600.
        sample_rate: in Hz, 8,000 to 96,000.
        workers: processes.
        voice_only: write vocals and `song.json` alone; needs no FluidSynth.
        stems: write the instruments one by one too.
        sounds: soundfonts, impulse responses and folders of them (`sounds.find_sounds`); none: this machine's.
        scores: folders of published scores and performances to arrange songs from, instead of composing them.
        split: of their songs, "train" or "held-out".
        variants: arrangements of each song, in as many styles and a folder each: the same singing, another band.
        voices: folder of a bank of neural voices to sing with (`speech.bank`), completed first.
        voice_lines: spoken lines of each voice in it.

    Raises:
        InputError: an argument is out of range, a folder of scores has no known layout, `out_dir` cannot hold the
            songs or holds others, or a package of the voices, espeak-ng, FluidSynth or a soundfont is missing.
    """
    _check_ranges(n_songs, seed, seconds, sample_rate, workers, variants)
    choice, library = _choice(scores, split), find_sounds(sounds) if sounds else None
    bank = None if voices is None else _bank(Path(voices), voice_lines)
    root, skipped = Path(out_dir), {}
    orders = [
        _SongOrder(n // variants, n % variants, seed, song_seed(seed, n // variants), root / f"{n:06d}", seconds,
               sample_rate, voice_only, stems, library, choice, variants, bank)
        for n in range(n_songs * variants)
    ]  # fmt: skip
    with folder_lock(root, "accompany synth"), writing_into(root):
        _remove_unfinished(root)
        missing = [order for order in orders if not _is_finished(order)]
        _write_manifest(root)
        start = time.monotonic()
        try:
            skipped = dict(_make_all(root, missing, workers))
        finally:
            _remove_unfinished(root)
        _write_manifest(root)
    n_kept = len(orders) - len(missing)
    report = SynthReport(root, len(missing), n_kept, time.monotonic() - start, tuple(skipped.items()))
    _log.info("%d songs made, %d kept; %.0f songs an hour.", report.n_made, report.n_kept, report.songs_per_hour)
    return report


def _choice(scores: Sequence[str | os.PathLike[str]], split: str) -> ScoreChoice | None:
    """The collections to draw scores from; wrong folders are refused before anything is written."""
    if not scores:
        if split != "train":
            raise InputError(f"--split {split} is a part of published scores; name their folder with --scores.")
        return None
    choice = ScoreChoice(tuple(Path(folder) for folder in scores), split)
    choice.opened()
    return choice


def _bank(folder: Path, n_lines: int) -> Bank:
    """The bank in a folder, completed."""
    from tqdm import tqdm

    with folder_lock(folder, "accompany synth --voices"):
        for _ in tqdm(make_bank(folder, n_lines), desc="spoken lines", unit="line", disable=None):
            pass
    return Bank(folder)


def _check_ranges(n_songs: int, seed: int, seconds: float, sample_rate: int, workers: int, variants: int) -> None:
    limits = (
        ("number of songs", n_songs, 1, 1_000_000),
        ("seed", seed, 0, 2**63),
        ("length in seconds", seconds, 4, 600),
        ("sample rate", sample_rate, 8_000, 96_000),
        ("number of workers", workers, 1, 1024),
        ("number of variants", variants, 1, MOST_VARIANTS),
    )
    for name, value, low, high in limits:
        if not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"The {name} is {value}; choose one from {low} to {high}.")


def _remove_unfinished(root: Path) -> None:
    for left in root.glob(f".*{PART}"):
        remove_part(left)


def _is_finished(order: _SongOrder) -> bool:
    """Whether the song is there; a song of another seed or form in its place is an error, never overwritten."""
    if not order.folder.exists():
        return False
    found = read_json(order.folder / "song.json")
    here = (found.get("seed"), found.get("sample_rate"), found.get("n_samples"))
    wanted = (order.seed, order.sample_rate, round(order.seconds * order.sample_rate))
    known = (found.get("variant", 0), found.get("drawn_from"))
    if known != (order.variant, order.scores.facts if order.scores else None):
        raise InputError(
            f"{order.folder} holds another arrangement, or a song from other scores or another split;"
            " choose a new folder or the same options."
        )
    if here != wanted:
        raise InputError(
            f"{order.folder} holds a song of another seed, length or sample rate;"
            " choose a new folder or the same options."
        )
    if (found.get("speakers") is None) != (order.bank is None):
        raise InputError(f"{order.folder} holds a song of other voices; choose a new folder, or the same --voices.")
    if not order.voice_only and not (order.folder / "accompaniment.flac").is_file():
        raise InputError(f"{order.folder} holds a voice alone; choose a new folder, or --voice-only again.")
    if order.stems and not order.voice_only and not (order.folder / "stems").is_dir():
        raise InputError(f"{order.folder} holds a song without stems; choose a new folder, or --no-stems again.")
    return True


def _make_all(root: Path, orders: list[_SongOrder], workers: int) -> Iterator[tuple[str, str]]:
    """Make the songs; yields (name, why) of scores that could not be used."""
    from tqdm import tqdm

    with (
        tqdm(total=len(orders), desc="songs", unit="song", disable=None) as bar,
        (root / _MANIFEST).open("ab", buffering=0) as manifest,
        closing(_lines(orders, min(workers, len(orders)))) as lines,
    ):
        for line in lines:
            yield from line.pop("skipped")
            _append(manifest, json.dumps(line) + "\n")
            bar.update()


def _append(stream: FileIO, line: str) -> None:
    """Write a line, or nothing of it on a full disk."""
    end, content = stream.tell(), line.encode()
    if stream.write(content) < len(content):
        stream.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), stream.name)


def _lines(orders: list[_SongOrder], workers: int) -> Generator[dict[str, Any]]:
    """Manifest lines as songs get done."""
    if workers <= 1:
        yield from map(_make_one, orders)
        return
    with worker_pool(workers) as pool:
        waiting = iter(orders)
        running: set[Future[dict[str, Any]]] = set()
        while True:
            for order in waiting:
                running.add(pool.submit(_make_one, order))
                if len(running) >= 2 * workers:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield _result(future)


def _result(future: Future[dict[str, Any]]) -> dict[str, Any]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process died, most often for lack of memory; run again with fewer --workers: the songs that are "
            "there stay good."
        ) from error


def _make_one(order: _SongOrder) -> dict[str, Any]:
    drawn = draw_song(
        order.scores, order.run_seed, order.index, order.seed, seconds=order.seconds, variant=order.variant,
        n_variants=order.n_variants,
    )  # fmt: skip
    song = render_song(
        drawn.score, sample_rate=order.sample_rate, stems=order.stems, voice_only=order.voice_only, sounds=order.sounds,
        bank=order.bank,
    )  # fmt: skip
    write_song(song, order.folder)
    return {**_line(order.folder.name, order.seed, order.seconds), "skipped": drawn.skipped}


def _line(name: str, seed: int, seconds: float) -> dict[str, Any]:
    return {"id": name, "seed": seed, "seconds": seconds}


def _write_manifest(root: Path) -> None:
    """A line per finished song, in order; written anew, since a stopped run leaves it short or out of order."""
    lines = []
    for path in sorted(root.glob("[0-9]*/song.json")):
        facts = read_json(path)
        lines.append(_line(path.parent.name, facts["seed"], facts["n_samples"] / facts["sample_rate"]))
    with complete(root / _MANIFEST) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_song(song: Song, folder: Path) -> None:
    """Write a song's folder, all or nothing: 16-bit FLAC and `song.json`; the mix is the exact sum of its halves."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = part_beside(folder)
    part.mkdir()
    try:
        _fill(part, song)
        part.replace(folder)
    finally:
        remove_part(part)


def _fill(part: Path, song: Song) -> None:
    vocals = _to_integers(song.vocals)
    _write_flac(part / "vocals.flac", vocals, song.sample_rate)
    if song.accompaniment is not None:
        band = _to_integers(song.accompaniment)
        _write_flac(part / "accompaniment.flac", band, song.sample_rate)
        _write_flac(part / "mix.flac", vocals + band, song.sample_rate)
    if song.stems:
        (part / "stems").mkdir()
    for name, stem in song.stems.items():
        _write_flac(part / "stems" / f"{name}.flac", _to_integers(stem), song.sample_rate)
    write_json(part / "song.json", describe(song))


def describe(song: Song) -> dict[str, Any]:
    """The content of `song.json`; all times in seconds."""
    score = song.score
    melody = score.melody if song.cast is None else song.cast.melody
    return {
        "format": FORMAT,
        "seed": score.seed,
        "style": score.style,
        "key": score.key,
        "keys": score.keys,
        "tempo_bpm": score.tempo_bpm,
        "metre": score.metre,
        "swing": score.swing,
        "beats": score.beats_s,
        "downbeats": score.downbeats_s,
        "chords": score.chords,
        "sections": score.sections,
        "notes": [(note.start_s, note.end_s, note.pitch, note.syllable) for note in score.melody],
        "sung": sung_notes(melody, score.voice, score.duration_s),
        "drums": score.drums,
        "instruments": score.instruments,
        "absent": score.absent,
        "captions": score.captions,
        "attributes": score.attributes,
        "voice": {"kind": score.voice.kind, "language": score.voice.language},
        "speakers": None if song.cast is None else song.cast.facts,
        "backing": _describe_backing(score),
        **score.origin,
        "soundfont": song.soundfont,
        "sounds": song.sounds,
        "sample_rate": song.sample_rate,
        "n_samples": song.vocals.shape[1],
    }


def _describe_backing(score: Score) -> dict[str, Any] | None:
    singer = second_singer(score)
    if singer is None:
        return None
    return {
        "voice": {"kind": singer.voice.kind, "language": singer.voice.language},
        "pan": round(singer.pan, 3),
        "gain_db": round(singer.gain_db, 2),
        "notes": [(note.start_s, note.end_s, note.pitch, note.syllable) for note in score.backing],
    }


def _to_integers(audio: np.ndarray) -> np.ndarray:
    integers: np.ndarray = np.rint(audio * _FULL_SCALE).astype(np.int16)
    return integers


def _write_flac(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    from accompany.common.encoding import sound_file

    # The fastest compression costs a few percent in size and saves a tenth of a song's time.
    with sound_file(path, path, sample_rate, len(samples), "FLAC", "PCM_16", compression_level=0.0) as file:
        file.write(samples.T)


def sung_sample(out_path: str | os.PathLike[str], seconds: float = 12.0, seed: int = 0) -> Path:
    """Write a sung vocal (no band, no FluidSynth) as a first thing to accompany: 44.1 kHz, mono.

    Raises:
        InputError: espeak-ng is missing, or `out_path` cannot be written.
    """
    from dataclasses import replace

    from accompany import audio
    from accompany.data.songs.compose import compose
    from accompany.data.songs.voice import sing

    score = compose(seed, seconds=seconds + 30.0)
    lead = score.melody[0].start_s - 0.6
    melody = [replace(note, start_s=note.start_s - lead, end_s=note.end_s - lead) for note in score.melody]
    kept = tuple(note for note in melody if note.end_s < seconds - 0.2)
    path, samples = Path(out_path), sing(kept, score.voice, seconds, 44_100)
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, samples, 44_100, "PCM_16")
    return path
