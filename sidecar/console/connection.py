"""One client's connection: uvicorn's, with the bounds that it has not.

Without them a few idle or endless requests would take every file descriptor, or all memory, of the monitor.
"""

import asyncio
from typing import Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST: Final = 256
"""Connections at a time; one more is closed unheard."""
HEAD_S: Final = 10.0
"""How long a request's head may take, from the connection on or from the first byte that comes after an answer."""
MAX_HEAD_BYTES: Final = 32_768


class Connection(HttpToolsProtocol):
    """A connection whose heads are bounded in time and size."""

    _late: asyncio.TimerHandle | None = None
    _head_bytes = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
        else:
            self._expect_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._got_head()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._late is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]  # None before the first
            # Empty lines, or the rest of a body that nobody waits for: for any byte uvicorn stops the clock of an idle
            # connection, and would wait for a head for ever.
            self._expect_head()
        if self._late is not None and self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    @override
    def on_message_begin(self) -> None:
        self._expect_head()
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._got_head()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        if self._late is None:
            self._head_bytes = 0
            self._late = self.loop.call_later(HEAD_S, self.transport.abort)

    def _got_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
