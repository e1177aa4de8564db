"""The end of a client's connection that it may not have heard of yet (RFC 9112 §9.6).

Closing at once while a client still sends would reset the connection, and the reset could destroy the answer on its
way. So we send our FIN, and go on reading for a while, and dropping, what comes.
"""

import asyncio

from typing_extensions import override

from worker.lane import Home

LINGER_S = 2.0
"""How long, once the answer is sent; nginx has 5 s between two reads, which a client can draw out to 30."""


class Lingering(asyncio.Protocol):
    """Takes a client's connection over from the protocol that served it."""

    __slots__ = ("_deadline", "_service", "_transport")

    def __init__(self, service: Home, transport: asyncio.Transport) -> None:
        """Send our FIN after what is written."""
        self._service = service
        self._transport = transport
        is_sent = not transport.get_write_buffer_size()
        self._deadline = service.clock() + (LINGER_S if is_sent else service.listen.body_idle_s)
        service.clients.add(self)
        transport.set_protocol(self)
        transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()

    @override
    def data_received(self, data: bytes) -> None:
        """What nobody wants."""

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The client has closed, too."""
        self._service.clients.discard(self)

    @property
    def is_flushing(self) -> bool:
        """See ``Client``."""
        return self._transport.get_write_buffer_size() > 0

    def check_deadline(self, now: float) -> None:
        """See ``Client``."""
        if now >= self._deadline:
            self._transport.abort()

    def end(self) -> None:
        """See ``Client``."""
        self._transport.abort()
