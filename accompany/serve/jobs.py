"""A bounded queue of jobs and the one thread that does them, with progress, cancel and a time limit."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from accompany.errors import InputError
from accompany.serve.disk import FAULT, NotFoundError, public, storing

_log = logging.getLogger(__name__)

_REMEMBERED = 8
_FIRST_GUESS_S = 10.0

Work = Callable[[Callable[[float], None]], None]
"""What a job does; it reports the share done, 0 to 1, and is stopped by what that report raises."""


class BusyError(Exception):
    """The queue is full; `retry_s` is a guess at when it will not be."""

    def __init__(self, message: str, retry_s: float) -> None:
        super().__init__(message)
        self.retry_s = max(1, round(retry_s))


class _Cancelled(Exception):
    """Raised inside a job, by its own progress report, to end it."""


@dataclass(eq=False)
class Job:
    """One piece of work, queued, running, done, failed or cancelled.

    Attributes:
        kind: "listen", "generate" or "retake".
        owner: the visitor that it is for.
        vocal: the vocal that it is about.
        work: what it does.
        made: the ids of the takes that it has made so far.
        error: one sentence when it failed or was stopped.
    """

    kind: str
    owner: str
    vocal: str
    work: Work
    made: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = "queued"
    share: float = 0.0
    error: str = ""
    started_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("queued", "running")

    @property
    def seconds_left(self) -> float | None:
        """A guess for a running job, by the share that is done."""
        if self.state != "running" or self.share < 0.02:
            return None
        return (time.monotonic() - self.started_s) * (1 / self.share - 1)


class JobQueue:
    """First in, first out, at most `bound` waiting; `limit_s` is the longest that a job may run."""

    def __init__(self, name: str, bound: int, limit_s: float) -> None:
        """Start the thread."""
        self.bound, self.limit_s = bound, limit_s
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._took_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"accompany-{name}", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Job:
        """Put a job at the end. BusyError when the queue is full or closed."""
        with self._changed:
            if self._closed:
                raise BusyError("The server is shutting down; come back later.", 30)
            if len(self._waiting) >= self.bound:
                raise self._busy()
            self._waiting.append(job)
            self._changed.notify()
        return job

    def check_room(self) -> None:
        """Raise BusyError when `submit` would."""
        with self._changed:
            if len(self._waiting) >= self.bound:
                raise self._busy()

    def position(self, job: Job) -> int:
        """How many jobs come before it: 0 for the one that runs."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    @property
    def load(self) -> tuple[int, int]:
        """Jobs that wait, jobs that run."""
        with self._changed:
            return len(self._waiting), int(self._running is not None)

    def cancel(self, job: Job) -> None:
        """Stop a job: at once when it waits, at its next step when it runs, not at all when it has ended."""
        with self._changed:
            job.stop.set()
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled", "Cancelled.")

    def close(self, wait_s: float = 15.0) -> None:
        """Cancel everything and end the thread."""
        with self._changed:
            self._closed = True
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                self.cancel(job)
            self._changed.notify()
        self._thread.join(wait_s)

    def _busy(self) -> BusyError:
        mean_s = sum(self._took_s) / len(self._took_s) if self._took_s else _FIRST_GUESS_S
        message = f"The server is busy: {len(self._waiting)} jobs are waiting; try again in a moment."
        return BusyError(message, min(mean_s, 600))

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
                job.state, job.started_s = "running", time.monotonic()
            state, error = self._do(job)
            with self._changed:
                self._running = None
                if state == "done":  # what failed or was cancelled says nothing of how long jobs take
                    self._took_s.append(time.monotonic() - job.started_s)
                self._end(job, state, error)

    def _do(self, job: Job) -> tuple[str, str]:
        """Run one job to its end; returns its last state and the sentence of its error."""

        def report(share: float) -> None:
            job.share = min(max(share, job.share), 1.0)
            if job.stop.is_set():
                raise _Cancelled("cancelled", "Cancelled.")
            if time.monotonic() - job.started_s > self.limit_s:
                limit = f"{self.limit_s / 60:g} minutes" if self.limit_s >= 60 else f"{self.limit_s:g} s"
                raise _Cancelled(
                    "failed", f"The job ran into the server's time limit of {limit}; ask for less at once."
                )

        try:
            report(0.0)
            with storing():
                job.work(report)
        except _Cancelled as stopped:
            return stopped.args
        except Exception as error:
            # A vocal that is deleted under a job fails it in some way or other; the word for that is cancelled.
            if job.stop.is_set():
                return "cancelled", "Cancelled."
            if isinstance(error, (InputError, NotFoundError)):
                return "failed", public(str(error))
            _log.exception("a %s job failed", job.kind)
            return "failed", FAULT
        return "done", ""

    @staticmethod
    def _end(job: Job, state: str, error: str) -> None:
        # What a job holds (its closure) goes with its end: only its record is kept.
        job.work = _nothing
        job.error, job.state = error, state


def _nothing(report: Callable[[float], None]) -> None:
    raise AssertionError("a job runs once")
