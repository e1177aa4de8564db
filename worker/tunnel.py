"""Bytes both ways once a backend has switched protocols: WebSocket and any other Upgrade (RFC 9110 §7.8).

Nothing is decoded or encoded again, so subprotocols, compression, fragmentation, pings and close codes are end to
end by construction. Each direction ends on its own; the tunnel ends with both.
"""

import asyncio
from collections.abc import Callable


class Tunnel:
    """Two transports that have become one pipe."""

    __slots__ = ("_backend", "_backend_done", "_client", "_client_done", "_ended")

    def __init__(self, client: asyncio.Transport, backend: asyncio.Transport, ended: Callable[[], None]) -> None:
        """Join them; ``ended`` is called once, when the tunnel is over."""
        self._client = client
        self._backend = backend
        self._ended = ended
        self._client_done = False
        self._backend_done = False

    def from_client(self, data: bytes) -> None:
        """Bytes for the backend."""
        self._backend.write(data)

    def client_eof(self) -> bool:
        """The client sends no more; whether its transport is to stay open."""
        self._client_done = True
        if self._backend_done or self._backend.is_closing():
            self._client.close()
            return False
        if self._backend.can_write_eof():
            self._backend.write_eof()
        return True

    def backend_eof(self) -> None:
        """The backend sends no more."""
        self._backend_done = True
        if self._client_done:
            self._client.close()
        elif not self._client.is_closing() and self._client.can_write_eof():
            self._client.write_eof()

    def client_lost(self) -> None:
        """The client's connection is gone: the backend's goes too."""
        self._ended()
