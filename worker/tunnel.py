"""Bytes both ways once a backend has switched protocols: WebSocket and any other Upgrade (RFC 9110 §7.8).

Nothing is decoded or encoded again, so subprotocols, compression, fragmentation, pings and close codes are end to
end by construction. Each direction ends on its own; the tunnel ends with both.
"""

import asyncio
import socket
import struct


class Tunnel:
    """Two transports that have become one pipe."""

    __slots__ = ("_backend", "_backend_done", "_client", "_client_done")

    def __init__(self, client: asyncio.Transport, backend: asyncio.Transport) -> None:
        """Join them."""
        self._client = client
        self._backend = backend
        self._client_done = False
        self._backend_done = False

    @property
    def is_over(self) -> bool:
        """Whether both have said all they had to say; what is left is for their transports to send."""
        return self._client_done and self._backend_done

    def from_client(self, data: bytes) -> None:
        """Bytes for the backend."""
        self._backend.write(data)

    def client_eof(self) -> None:
        """The client sends no more."""
        self._client_done = True
        if self._backend_done or not self._backend.can_write_eof():
            self._close()
        elif not self._backend.is_closing():
            self._backend.write_eof()

    def backend_eof(self) -> None:
        """The backend sends no more."""
        self._backend_done = True
        if self._client_done:
            self._close()
        elif not self._client.is_closing():
            self._client.write_eof()

    def _close(self) -> None:
        """End both, each after what it still has to send."""
        self._backend.close()
        if self._backend_done:
            self._client.close()


def reset(transport: asyncio.Transport) -> None:
    """Close so that the other side sees an error, not an end: RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
