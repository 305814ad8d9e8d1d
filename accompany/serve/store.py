"""What the server keeps: visitors, their vocals and takes, as files under one folder that goes with the server.

Every id is drawn at random and only looked up, never joined to a path; folders have names of their own.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accompany.errors import InputError
from accompany.generation.take import Take
from accompany.music.instrumentation import STEMS
from accompany.serve.disk import NotFoundError
from accompany.serve.jobs import BusyError, Job
from accompany.serve.limits import Limits

_log = logging.getLogger(__name__)

_PREFIX = "accompany-serve-"
_STALE_S = 600.0
_SWEEP_S = 30.0
_OLD_JOBS = 64


@dataclass(frozen=True)
class StoredTake:
    """One take: its sound in `path` (float WAV), the facts that a visitor sees, and the rest of it in `made`."""

    id: str
    number: int
    path: Path
    facts: dict[str, Any]
    made: Take

    def stem_path(self, name: str) -> Path:
        """The file of one of the stems in `facts`, which are those that play."""
        return self.path.with_name(f"{self.path.stem}.{name}.wav")


@dataclass(eq=False)
class Vocal:
    """One vocal: `path` is mono float WAV at the model's rate; `analysis` is pitch and plan, once there."""

    id: str
    name: str
    path: Path
    seconds: float
    sample_rate: int
    waveform: list[float]
    analysis: dict[str, Any] | None = None
    takes: dict[str, StoredTake] = field(default_factory=dict)
    n_made: int = 0

    @property
    def bytes(self) -> int:
        """On disk, takes included."""
        return sum(path.stat().st_size for path in self.path.parent.iterdir() if path.is_file())


@dataclass(eq=False)
class Visitor:
    """One visitor: a random id that only his cookie knows, a folder, vocals and jobs.

    `n_requests` are being answered at the moment; while there are any, the files stay.
    """

    id: str
    folder: Path
    seen_s: float
    vocals: dict[str, Vocal] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    n_requests: int = 0


class VisitorStore:
    """All visitors. Methods may be called from any thread."""

    def __init__(self, limits: Limits, root: Path | None = None) -> None:
        """Make the folder (in the system's temporary one by default) and start to sweep it."""
        remove_stale(Path(tempfile.gettempdir()))
        self.limits = limits
        self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        self._visitors: dict[str, Visitor] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_on, name="accompany-sweeper", daemon=True)
        self._sweeper.start()

    def visitor(self, visitor_id: str | None) -> Visitor:
        """Who has this id. NotFoundError for none."""
        with self._lock:
            found = self._visitors.get(visitor_id or "")
            if found is None:
                raise NotFoundError("This server knows no such thing of yours; it may have been deleted.")
            found.seen_s = time.monotonic()
            return found

    def welcome(self, visitor_id: str | None) -> Visitor:
        """Who has this id, or a new visitor with an id of the server's own drawing."""
        with suppress(NotFoundError):
            return self.visitor(visitor_id)
        with self._lock:
            new = Visitor(secrets.token_urlsafe(32), Path(tempfile.mkdtemp(dir=self.root)), time.monotonic())
            self._visitors[new.id] = new
            return new

    @contextmanager
    def serving(self, visitor_id: str | None, new: bool = False) -> Iterator[Visitor]:
        """As `visitor`, or as `welcome` if `new`; the files stay until the block ends, however long it takes."""
        with self._lock:
            visitor = self.welcome(visitor_id) if new else self.visitor(visitor_id)
            visitor.n_requests += 1
        try:
            yield visitor
        finally:
            with self._lock:
                visitor.n_requests -= 1
                visitor.seen_s = time.monotonic()

    def check_room(self, visitor: Visitor | None) -> None:
        """InputError when the visitor has too many vocals, BusyError when the disk's share is used up."""
        if visitor is not None and len(visitor.vocals) >= self.limits.max_vocals:
            raise InputError(f"You have {self.limits.max_vocals} vocals here already; delete one first.")
        if self.bytes > self.limits.max_store_mb * 1e6:
            raise BusyError("The server's disk space is used up; try again later.", 300)

    @property
    def bytes(self) -> int:
        """Of all files."""
        with self._lock:
            vocals = [vocal for visitor in self._visitors.values() for vocal in visitor.vocals.values()]
        total = 0
        for vocal in vocals:
            with suppress(FileNotFoundError):
                total += vocal.bytes
        return total

    def add_vocal(self, visitor: Visitor, vocal: Vocal) -> None:
        """Keep a vocal whose file is complete, in a folder of the visitor. InputError when there are too many."""
        with self._lock:
            self.check_room(visitor)
            if visitor.id not in self._visitors:
                raise NotFoundError("Your files were deleted in the meantime; upload the vocal again.")
            visitor.vocals[vocal.id] = vocal

    def vocal(self, visitor: Visitor, vocal_id: str) -> Vocal:
        """A vocal of this visitor. NotFoundError for none."""
        return _look_up(visitor.vocals, vocal_id)

    def take(self, visitor: Visitor, take_id: str) -> tuple[Vocal, StoredTake]:
        """A take of this visitor and its vocal. NotFoundError for none."""
        for vocal in list(visitor.vocals.values()):
            if take_id in vocal.takes:
                return vocal, vocal.takes[take_id]
        raise NotFoundError("There is no such take; it may have been deleted.")

    def add_take(self, vocal: Vocal, path: Path, facts: dict[str, Any], made: Take) -> StoredTake:
        """Keep a take whose file is complete."""
        with self._lock:
            vocal.n_made += 1
            take = StoredTake(secrets.token_urlsafe(16), vocal.n_made, path, facts, made)
            vocal.takes[take.id] = take
            return take

    def delete_take(self, visitor: Visitor, take_id: str) -> None:
        """Forget a take and its file."""
        with self._lock:
            vocal, take = self.take(visitor, take_id)
            del vocal.takes[take_id]
        for path in (take.path, *map(take.stem_path, STEMS)):
            path.unlink(missing_ok=True)

    def delete_vocal(self, visitor: Visitor, vocal_id: str, cancel: Callable[[Job], None]) -> None:
        """Forget a vocal; its jobs are cancelled first and its files deleted then, so that no job misses one."""
        with self._lock:
            vocal = self.vocal(visitor, vocal_id)
            del visitor.vocals[vocal_id]
            jobs = [job for job in visitor.jobs.values() if job.vocal == vocal_id and job.active]
        for job in jobs:
            cancel(job)
        shutil.rmtree(vocal.path.parent, ignore_errors=True)

    def add_job(self, visitor: Visitor, job: Job) -> None:
        """Remember a job, and forget the oldest ended ones when there are many."""
        with self._lock:
            visitor.jobs[job.id] = job
            ended = [old for old in visitor.jobs.values() if not old.active]
            for old in ended[: max(len(visitor.jobs) - _OLD_JOBS, 0)]:
                del visitor.jobs[old.id]

    def job(self, visitor: Visitor, job_id: str) -> Job:
        """A job of this visitor. NotFoundError for none."""
        return _look_up(visitor.jobs, job_id)

    def sweep(self) -> int:
        """Forget the visitors that were not seen for long and have no job left; returns how many."""
        oldest_s = time.monotonic() - self.limits.keep_minutes * 60
        with self._lock:
            gone = [
                visitor
                for visitor in self._visitors.values()
                if visitor.seen_s < oldest_s
                and not visitor.n_requests
                and not any(job.active for job in visitor.jobs.values())
            ]
            for visitor in gone:
                del self._visitors[visitor.id]
        for visitor in gone:
            shutil.rmtree(visitor.folder, ignore_errors=True)
        return len(gone)

    def close(self) -> None:
        """Stop sweeping and delete every file."""
        self._closed.set()
        self._sweeper.join(5)
        with self._lock:
            self._visitors.clear()
        shutil.rmtree(self.root, ignore_errors=True)

    def _sweep_on(self) -> None:
        pause_s = min(_SWEEP_S, self.limits.keep_minutes * 15)
        while not self._closed.wait(pause_s):
            with suppress(OSError):
                self.root.touch()  # a sign of life, for `remove_stale` of other servers
                self.sweep()


def remove_stale(folder: Path) -> int:
    """Delete what servers left behind that were killed: folders of ours that show no life; returns how many."""
    removed = 0
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if not left.is_symlink() and time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left)
                removed += 1
    return removed


def _look_up(table: dict[str, Any], key: str) -> Any:
    try:
        return table[key]
    except KeyError:
        raise NotFoundError("This server knows no such thing of yours; it may have been deleted.") from None
