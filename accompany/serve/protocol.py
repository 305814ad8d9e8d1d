"""HTTP/1.1 on one connection that is closed when its client sends or reads too slowly."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S, READ_S = 10.0, 20.0
MOST_CONNECTIONS = 200


class PromptProtocol(H11Protocol):
    """uvicorn's protocol with a deadline, which what drips in does not put off, for each request to begin.

    The same deadline holds for the rest of a body whose request was answered before its end. A second one holds for a
    client that does not read its answer: in 20 seconds he must take what waits for him, some 64 kB.
    """

    _since_s = 0.0
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the deadline of the first request; close the oldest line that waits when one address has too many."""
        super().connection_made(transport)
        self._since_s = self.loop.time()
        self._watch()
        own = [line for line in self.connections if isinstance(line, PromptProtocol) and line.address == self.address]
        waiting = [line for line in own if not line.busy]
        if len(own) > MOST_CONNECTIONS and waiting:
            min(waiting, key=lambda line: line._since_s).transport.abort()

    @property
    def address(self) -> str:
        """Of the client, without its port."""
        return self.client[0] if self.client else ""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take in what came; start the deadline, or stop it when a request is complete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadlines."""
        self._stop()
        self._stop_unread()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the deadline of a client that is slow to read."""
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the deadline of a client that reads on."""
        super().resume_writing()
        self._stop_unread()

    def _watch(self) -> None:
        if self.busy:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._expire)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _expire(self) -> None:
        self._deadline = None
        if not self.busy:
            self.transport.abort()
