"""All connections to one backend: those at rest, last in first out, and the way to new ones."""

import asyncio
import ssl
from functools import partial
from typing import Protocol

from sidecar.contract.config import UpstreamTLS
from sidecar.contract.model import Address
from worker.failure import Failure
from worker.upstream.connection import UpstreamConnection

IDLE_S = 4.0
"""How long a connection rests before we close it: below uvicorn's 5 s, so that it is we who close (RFC 9112 §9.3.1)."""


class Connecting(Protocol):
    """Who waits for a new connection."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Here it is."""

    def failed(self, failure: Failure) -> None:
        """There is none."""


class CoarseClock:
    """Monotonic seconds as of the worker's last tick: good enough to say since when something rests."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now


class Upstream:
    """The connections to one backend: those at rest, last in first out, and the way to new ones."""

    __slots__ = ("_address", "_coarse", "_connect_s", "_idle", "_loop", "_tasks", "_tls", "_tls_settings", "open")

    def __init__(
        self,
        address: Address,
        tls: UpstreamTLS,
        *,
        connect_s: float,
        loop: asyncio.AbstractEventLoop,
        coarse: CoarseClock,
    ) -> None:
        self._address = address
        self._tls_settings = tls
        self._tls: ssl.SSLContext | None = None
        self._connect_s = connect_s
        self._loop = loop
        self._coarse = coarse
        self._idle: dict[UpstreamConnection, None] = {}
        self._tasks: dict[Connecting, asyncio.Task[None]] = {}
        self.open: set[UpstreamConnection] = set()

    def take(self) -> UpstreamConnection | None:
        """The connection that rested least, None if none rests."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if not connection.transport.is_closing():
                return connection
        return None

    def give(self, connection: UpstreamConnection) -> None:
        """Let a connection rest."""
        connection.idle_since = self._coarse.now
        self._idle[connection] = None

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone, or will never rest again."""
        self._idle.pop(connection, None)
        self.open.discard(connection)

    def close_idle(self, before: float) -> None:
        """Close what has rested since before that time."""
        stale = []
        for connection in self._idle:
            if connection.idle_since > before:
                break
            stale.append(connection)
        for connection in stale:
            connection.transport.close()
            self.forget(connection)

    def connect(self, waiter: Connecting) -> None:
        """Make a new connection; ``waiter`` is called when it is there or cannot be had."""
        task = self._loop.create_task(self._connect(waiter))
        self._tasks[waiter] = task
        task.add_done_callback(partial(self._connecting_is_over, waiter))

    def _connecting_is_over(self, waiter: Connecting, task: asyncio.Task[None]) -> None:
        if self._tasks.get(waiter) is task:  # and not already the next one's, begun when this one failed
            del self._tasks[waiter]

    def stop_connecting(self, waiter: Connecting) -> None:
        """The waiter is gone; a connection that is nearly there is dropped with it."""
        if task := self._tasks.get(waiter):
            task.cancel()

    async def _connect(self, waiter: Connecting) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._open()
        except TimeoutError:
            waiter.failed(Failure.CONNECT_TIMEOUT)
        except ConnectionRefusedError:
            waiter.failed(Failure.REFUSED)
        except ssl.SSLError:
            waiter.failed(Failure.TLS)
        except (OSError, ValueError):  # the latter for a name that is none
            waiter.failed(Failure.UNREACHABLE)
        else:
            if connection.transport.is_closing():
                waiter.failed(Failure.UNREACHABLE)  # it closed what it had accepted, and was sent nothing
                return
            # Not before: uvloop tells a connection that was given up while it was made nothing of its end.
            self.open.add(connection)
            waiter.connected(connection)

    async def _open(self) -> UpstreamConnection:
        address = self._address
        context = self._context() if address.tls else None
        name = (self._tls_settings.server_name or address.host) if context else None
        if address.path:
            _, connection = await self._loop.create_unix_connection(self._protocol, address.path)
        else:
            _, connection = await self._loop.create_connection(
                self._protocol, address.host, address.port, ssl=context, server_hostname=name
            )
        return connection

    def _protocol(self) -> UpstreamConnection:
        return UpstreamConnection(self)

    def _context(self) -> ssl.SSLContext:
        """The TLS context, made at the first https connection: reading the system's CAs takes 20 ms."""
        if self._tls is None:
            settings = self._tls_settings
            context = ssl.create_default_context(cafile=settings.ca)
            if not settings.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if settings.cert:
                context.load_cert_chain(settings.cert, settings.key)
            context.set_alpn_protocols(["http/1.1"])
            self._tls = context
        return self._tls

    def close(self) -> None:
        """Close every connection and give up those being made."""
        for task in list(self._tasks.values()):
            task.cancel()
        for connection in list(self.open):
            connection.abort()
