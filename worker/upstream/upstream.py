"""All connections to one backend: those at rest, last in first out, and the way to new ones.

As many as ``max_connections`` allows: what is being made counts, and so do tunnels. Beyond that one waits in a line
for the next that comes to rest or ends. While anybody waits nobody rests, so that no newcomer gets ahead of the line.
"""

import asyncio
from functools import partial
from sys import maxsize
from typing import NamedTuple

from sidecar.contract.config import Timeouts, UpstreamTLS
from sidecar.contract.config.pools import Connections
from sidecar.contract.model import Address
from worker.failure import Failure
from worker.http1 import ResponseReader
from worker.upstream.connection import UpstreamConnection
from worker.upstream.dial import Dialer, failure_of
from worker.upstream.idle import IdleLimit
from worker.upstream.queue import Connecting, Queue


class Way(NamedTuple):
    """What decides which connections are made and how they are kept: those of two upstreams with one way are alike."""

    address: Address
    tls: UpstreamTLS
    connections: Connections
    connect_s: float
    queue_s: float


def way_of(address: Address, tls: UpstreamTLS, connections: Connections, timeouts: Timeouts) -> Way:
    """The way to a backend with these settings."""
    return Way(address, tls, connections, timeouts.connect_s, timeouts.queue_s)


MAX_HEAD_BYTES = 65_536
"""A response head over this is refused, like Envoy's 60 KiB default."""


class CoarseClock:
    """Monotonic seconds as of the worker's last tick: good enough to say since when something rests."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now


class Upstream:
    """The connections to one backend: those at rest, last in first out, and the way to new ones."""

    __slots__ = (
        "_coarse", "_connect_s", "_dialer", "_dials", "_idle", "_limit", "_loop", "_max_open", "_max_turns",
        "_max_waiting", "_queue", "_rest_s", "_turns", "_waiting", "heads", "open", "way",
    )  # fmt: skip

    def __init__(
        self,
        address: Address,
        tls: UpstreamTLS,
        connections: Connections,
        timeouts: Timeouts,
        *,
        loop: asyncio.AbstractEventLoop,
        coarse: CoarseClock,
    ) -> None:
        """Set up; connects to nobody yet.

        Args:
            address: where the backend listens.
            tls: how it is trusted.
            connections: how many, and how long each is kept.
            timeouts: of connecting, and of waiting to do so.
            loop: where connections live.
            coarse: monotonic seconds, as of the last tick.
        """
        self.heads = ResponseReader(MAX_HEAD_BYTES)
        self.way = way_of(address, tls, connections, timeouts)
        self._dialer = Dialer(address, tls, loop)
        self._connect_s = timeouts.connect_s
        self._loop = loop
        self._coarse = coarse
        self._max_open = connections.max_connections or maxsize
        self._max_waiting = connections.max_pending
        self._max_turns = self._turns = connections.keepalive_requests or maxsize
        self._limit = IdleLimit()
        self._rest_s = self._limit.rest_s(coarse.now)
        self._idle: dict[UpstreamConnection, float] = {}
        self._dials: dict[Connecting, asyncio.Task[None]] = {}
        self._queue: Queue[Connecting] = Queue(timeouts.queue_s, loop)
        self._waiting = self._queue.waiting
        self.open: set[UpstreamConnection] = set()

    def take(self) -> UpstreamConnection | None:
        """The connection that rested least, None if none rests that may still be used."""
        idle = self._idle
        while idle:
            connection, since = idle.popitem()
            if not connection.transport.is_closing():
                if self._coarse.now - since < self._rest_s:
                    return connection
                self._retire(connection)
        return None

    def give(self, connection: UpstreamConnection) -> None:
        """Let a connection rest, unless somebody waits for it or it has done its part."""
        connection.turns = turns = connection.turns + 1
        if turns >= self._turns:
            self._retire(connection)
        elif self._waiting:
            self._queue.pop().connected(connection)
        else:
            self._idle[connection] = self._coarse.now

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone, or will never rest again."""
        self._idle.pop(connection, None)
        self.open.discard(connection)
        self._admit()

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection has ended; where it rested, it is the backend that was tired of it."""
        since = self._idle.get(connection)
        now = self._coarse.now
        if since is not None and self._limit.closed(now - since, now):
            self._set_rest()
        self.forget(connection)

    def told(self, keep_alive: bytes) -> None:
        """Hear what the backend says of its patience, in a response's ``Keep-Alive``."""
        if self._limit.tell(keep_alive):
            self._set_rest()

    def tick(self, now: float) -> None:
        """Close what has rested for long enough. ``now`` is the coarse clock's."""
        self._set_rest()
        self.close_idle(now - self._rest_s)

    def close_idle(self, before: float) -> None:
        """Close what has rested since before that time."""
        stale = []
        for connection, since in self._idle.items():
            if since > before:
                break
            stale.append(connection)
        for connection in stale:
            self._retire(connection)

    def _retire(self, connection: UpstreamConnection) -> None:
        connection.transport.close()
        self.forget(connection)

    def _set_rest(self) -> None:
        self._rest_s = self._limit.rest_s(self._coarse.now)
        self._turns = self._max_turns if self._rest_s else 0

    def connect(self, waiter: Connecting) -> None:
        """Make a new connection, or wait for one; ``waiter`` is called when it is there or cannot be had."""
        if len(self.open) + len(self._dials) < self._max_open:
            self._dial(waiter)
        elif len(self._waiting) >= self._max_waiting:
            waiter.failed(Failure.QUEUE_FULL)
        else:
            self._queue.join(waiter)

    def _admit(self) -> None:
        """Make connections for those who wait, as far as there is room for them."""
        while self._waiting and len(self.open) + len(self._dials) < self._max_open:
            self._dial(self._queue.pop())

    def _dial(self, waiter: Connecting) -> None:
        task = self._loop.create_task(self._connect(waiter))
        self._dials[waiter] = task
        task.add_done_callback(partial(self._dial_is_over, waiter))

    def _dial_is_over(self, waiter: Connecting, task: asyncio.Task[None]) -> None:
        if self._dials.get(waiter) is task:  # and not already the next one's, begun when this one failed
            del self._dials[waiter]
        self._admit()

    @property
    def waiting(self) -> int:
        """How many wait because there is room for no more connections."""
        return len(self._waiting)

    def stop_connecting(self, waiter: Connecting) -> None:
        """The waiter is gone; a connection that is nearly there is dropped with it."""
        if not self._queue.leave(waiter) and (task := self._dials.get(waiter)):
            task.cancel()

    async def _connect(self, waiter: Connecting) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._dialer.dial(self._protocol)
        except (OSError, ValueError) as error:  # the latter for a name that is none
            waiter.failed(failure_of(error))
        else:
            if connection.transport.is_closing():
                waiter.failed(Failure.UNREACHABLE)  # it closed what it had accepted, and was sent nothing
                return
            # Not before: uvloop tells a connection that was given up while it was made nothing of its end.
            self.open.add(connection)
            waiter.connected(connection)

    def _protocol(self) -> UpstreamConnection:
        return UpstreamConnection(self)

    def close(self) -> None:
        """Close every connection and give up those being made."""
        self._queue.close()
        for task in list(self._dials.values()):
            task.cancel()
        for connection in list(self.open):
            connection.abort()
