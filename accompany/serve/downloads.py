"""What visitors take with them: mix, stems and a zip of everything, written for the moment of sending only."""

from __future__ import annotations

import os
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from accompany import audio
from accompany.errors import InputError
from accompany.generation.project import Project
from accompany.serve import disk
from accompany.serve.encoding import LOSSY, encode
from accompany.serve.store import StoredTake, Vocal
from accompany.serve.work import whole
from accompany.sound.level import PEAK, mix

Format = Literal["wav", "flac", "ogg", "mp3"]
Stem = Literal["drums", "bass", "other"]
FORMATS: tuple[str, ...] = get_args(Format)
_MEDIA = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "zip": "application/zip",
    "mid": "audio/midi",
}
_NO_RANGE = "The Range header must name bytes of the file, as in bytes=0-1023"
_LOWEST_DB, _HIGHEST_DB = -60.0, 12.0
_ONE_BY_ONE = threading.Semaphore(2)  # rendering holds whole songs in memory


class PassingFile(FileResponse):
    """A file that is deleted when it was sent, or when the visitor hung up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send and delete. HTTPException for a range that cannot be."""

        async def send_or_refuse(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                given = Headers(raw=message["headers"])
                headers = {"Content-Range": given["content-range"]} if "content-range" in given else None
                raise HTTPException(message["status"], _NO_RANGE, headers)
            await send(message)

        try:
            await super().__call__(scope, receive, send_or_refuse)
        finally:
            Path(self.path).unlink(missing_ok=True)


def check_levels(levels_db: dict[str, float]) -> None:
    """InputError for a level out of range."""
    for name, value in levels_db.items():
        if not _LOWEST_DB <= value <= _HIGHEST_DB:
            raise InputError(f"The {name}_db {value:g} must be from {_LOWEST_DB:g} to {_HIGHEST_DB:g}.")


def stem(path: Path, vocal: Vocal, what: str, format_: str) -> PassingFile:
    """One track as it is: the vocal, or a take's accompaniment."""
    with _ONE_BY_ONE:
        return _sent(_written(vocal, disk.read(path), format_), f"{_stem_of(vocal)} - {what}.{format_}", format_)


def mixed(
    vocal: Vocal, take: StoredTake, format_: str, vocal_db: float, band_db: float, stems_db: dict[str, float]
) -> PassingFile:
    """Voice and band together, each at its level in dB, and so the stems of the band.

    InputError for a level out of range, or of a stem where there are none.
    """
    check_levels({"vocal": vocal_db, "band": band_db, **stems_db})
    with _ONE_BY_ONE:
        sung = disk.read(vocal.path) * _gain(vocal_db)
        played = _played(take, stems_db) * _gain(band_db)
        written = _written(vocal, mix(sung, played), format_)
    return _sent(written, f"{_stem_of(vocal)} - take {take.number} - mix.{format_}", format_)


def _played(take: StoredTake, stems_db: dict[str, float]) -> np.ndarray:
    """The band, its stems at levels of their own."""
    changed = [name for name, level_db in stems_db.items() if level_db]
    if changed and not take.facts["stems"]:
        raise InputError(f"This take has no stems, so leave out {' and '.join(f'{name}_db' for name in changed)}.")
    if not changed:
        return disk.read(take.path)
    stems = [disk.read(take.stem_path(name)) * _gain(stems_db[name]) for name in take.facts["stems"]]
    return np.asarray(np.sum(stems, axis=0, dtype=np.float32))


def _gain(level_db: float) -> np.float32:
    return np.float32(10 ** (level_db / 20) if level_db > _LOWEST_DB else 0.0)


def midi(vocal: Vocal, take: StoredTake) -> PassingFile:
    """Tempo map, chords and beats of a take. InputError for a model that plans nothing."""
    with _temporary(vocal, "mid") as path:
        take.made.save_midi(path)
    return _sent(path, f"{_stem_of(vocal)} - take {take.number}.mid", "mid")


def project(vocal: Vocal, model: str, precision: str) -> PassingFile:
    """Vocal and every take as a zipped project folder (`generation.project`), to go on with on the command line."""
    parent = vocal.path.parent
    with _ONE_BY_ONE, _temporary(vocal, "zip") as target, tempfile.TemporaryDirectory(dir=parent) as scratch:
        folder = Path(scratch) / "project"
        _write_project(folder, vocal, model, precision)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(folder))
    return _sent(target, f"{_stem_of(vocal)} - project.zip", "zip")


def _write_project(folder: Path, vocal: Vocal, model: str, precision: str) -> None:
    names = dict[str, str]()
    if not vocal.path.is_file():
        raise disk.NotFoundError("This was deleted in the meantime.")
    made = Project.create(folder, vocal.path, model, precision)
    for take in sorted(vocal.takes.values(), key=lambda take: take.number):
        names[take.id] = made.add(whole(take, vocal), names.get(take.facts["parent"] or ""))


def _written(vocal: Vocal, samples: np.ndarray, format_: str) -> Path:
    samples = _bounded(samples)
    with _temporary(vocal, format_) as path:
        if format_ in LOSSY:
            with _temporary(vocal, "wav") as exact:
                audio.write(exact, samples, vocal.sample_rate, subtype="FLOAT")
                encode(exact, path, format_)
                exact.unlink()
        else:
            audio.write(path, samples, vocal.sample_rate)
    return path


def _bounded(samples: np.ndarray) -> np.ndarray:
    """The samples, turned down as a whole where they are above full scale; every format but float would clip them."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(PEAK / peak) if peak > 1.0 else samples


@contextmanager
def _temporary(vocal: Vocal, suffix: str) -> Iterator[Path]:
    """A new file beside the vocal, so that it goes with it whatever happens; deleted when writing it fails.

    DiskFullError when there is no room for it.
    """
    handle, name = tempfile.mkstemp(dir=vocal.path.parent, prefix="out-", suffix=f".{suffix}")
    os.close(handle)
    try:
        with disk.storing():
            yield Path(name)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _stem_of(vocal: Vocal) -> str:
    return vocal.name.rsplit(".", 1)[0] or vocal.name


def _sent(path: Path, name: str, format_: str) -> PassingFile:
    return PassingFile(path, media_type=_MEDIA[format_], filename=name)
