"""Uploads in progress: how many at once, how many of one visitor, and the least rate of each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from anyio import CancelScope

from accompany.errors import InputError
from accompany.serve.jobs import BusyError

LEAST_BYTES_PER_S = 4000.0
_WINDOW_S = 10.0
_GRACE_S = 0.5
_RETRY_S = 2


class SlowUploadError(InputError):
    """An upload that comes slower than the least rate."""

    def __init__(self) -> None:
        super().__init__("The upload came to a halt or took too long; try again, or send less.")


@dataclass(eq=False)
class Upload:
    """One upload in progress.

    Attributes:
        who: the visitor's id, or the address of one who has none yet.
        scope: what cancels its reception; none before its first byte and once it is complete.
        n_bytes: received so far.
    """

    who: str = ""
    scope: CancelScope | None = None
    n_bytes: int = 0
    _since_s: float = field(default_factory=lambda: time.monotonic())
    _since_bytes: int = 0

    @property
    def bytes_per_s(self) -> float:
        """Rate over the last seconds; infinite while there is too little time to go by."""
        passed_s = time.monotonic() - self._since_s
        return (self.n_bytes - self._since_bytes) / passed_s if passed_s > _GRACE_S else float("inf")

    def count(self, n_bytes: int) -> None:
        """Add what came. SlowUploadError when the last ten seconds brought too little."""
        self.n_bytes += n_bytes
        if time.monotonic() - self._since_s >= _WINDOW_S:
            if self.bytes_per_s < LEAST_BYTES_PER_S:
                raise SlowUploadError
            self._since_s, self._since_bytes = time.monotonic(), self.n_bytes


class Reception:
    """The uploads in progress. One that is too slow makes room for another. Called on one thread only."""

    def __init__(self, max_uploads: int) -> None:
        """Allow `max_uploads` at the same time, and half of them to one visitor."""
        self.most, self.most_of_one = max_uploads, (max_uploads + 1) // 2
        self._uploads: list[Upload] = []

    @contextmanager
    def admit(self, who: str) -> Iterator[Upload]:
        """Count an upload while it runs. BusyError when there are as many as may be, and none is too slow."""
        own = [each for each in self._uploads if each.who == who]
        if who and len(own) >= self.most_of_one:
            self._make_room(own, f"{len(own)} of your uploads are running")
        elif len(self._uploads) >= self.most:
            self._make_room(self._uploads, f"{len(self._uploads)} uploads are running")
        upload = Upload(who)
        self._uploads.append(upload)
        try:
            yield upload
        finally:
            if upload in self._uploads:
                self._uploads.remove(upload)

    def _make_room(self, among: list[Upload], state: str) -> None:
        receiving = [each for each in among if each.scope is not None]
        slowest = min(receiving, key=lambda each: each.bytes_per_s, default=None)
        if slowest is None or slowest.scope is None or slowest.bytes_per_s >= LEAST_BYTES_PER_S:
            raise BusyError(f"The server is busy: {state}; try again in a moment.", _RETRY_S)
        slowest.scope.cancel()
        self._uploads.remove(slowest)
