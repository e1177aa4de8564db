"""One worker's server: a protocol for each listening socket, and an end that loses nothing.

The end, in order: the board says that this worker drains, so readiness fails · it serves on for ``drain_delay_s``,
while whoever balances in front of us notices · what is connected already is accepted, and the public sockets close; in
a rolling restart the other workers have the same ones, so nobody is refused · from now on the next response on each
connection is its last · streams and tunnels are asked to end, one by one · it is over when nothing is under way and no
connection is left on which a request might come, or after ``drain_timeout_s``, when the rest is aborted. The admin
socket is last.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sidecar.contract.config import Listen
from sidecar.contract.events import Event, line
from sidecar.contract.model import UnderWay
from worker.board import Writer
from worker.server.front import Front

logger = logging.getLogger(__name__)

PULSE_S = 0.25
"""How often the master hears from us and we look whether it lives; what is left of us goes within drain + 3 s."""
QUIET_S = 0.1
"""How long no exchange may be under way before we believe it: a request may have come that was not read yet."""
LOOK_S = 0.02
SPREAD = 0.8
"""The part of the drain in which streams are asked to end; in what is left of it the last of them come to it."""
TELL_S = 1.0
"""How often the log says what is left."""
CLOSE_S = 1.0
"""What aborting the rest may take; the master waits half a second more before it kills."""


class Lane(Protocol):
    """What takes requests, and has to be ended."""

    @property
    def busy(self) -> int:
        """Requests under way."""

    def drain(self) -> None:
        """Ask for no further request on any connection."""

    async def aclose(self) -> None:
        """Abort what is left."""


class Runtime(Lane, Protocol):
    """What the server drives, from its start to its end; ``worker.runtime`` has the real one."""

    writer: Writer
    listen: Listen

    @property
    def under_way(self) -> UnderWay:
        """What is to be seen to its end, by kind."""

    @property
    def connections(self) -> int:
        """Of clients, whether they wait for anything or not."""

    async def drain_streams(self, spread_s: float) -> None:
        """Ask streams and tunnels to end, one by one over so long; until cancelled."""

    def client_protocol(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """A protocol for one client's connection."""

    async def run(self) -> None:
        """What goes on in the background, until cancelled."""


class Server(uvicorn.Server):
    """Serves until ``stop``; SIGTERM stops with a drain, SIGQUIT without one."""

    def __init__(
        self,
        config: uvicorn.Config,
        runtime: Runtime,
        *,
        is_admin: Callable[[socket.socket], bool],
        front: Front | None = None,
    ) -> None:
        super().__init__(config)
        self._front = front
        self._lanes: list[Lane] = [runtime] if front is None else [front, runtime]
        self._runtime = runtime
        self._is_admin = is_admin
        self._delay_s = 0.0
        self._asked = asyncio.Event()
        self._at_once = asyncio.Event()
        self._public: list[asyncio.Server] = []
        self._protocol: Callable[[], asyncio.Protocol]

    def stop(self, delay_s: float) -> None:
        """Begin the end; the first call counts. ``delay_s``: how long to serve on with readiness failing."""
        if not self.should_exit:
            self.should_exit = True
            self._delay_s = delay_s
            self._asked.set()

    def stop_at_once(self) -> None:
        """End without waiting for anybody, also when a drain is under way."""
        self.stop(0)
        self._at_once.set()

    @override
    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, with the runtime's background and the master's heartbeat beside it, until the end is over.

        Raises:
            BaseExceptionGroup: the background failed; nothing is drained then.
        """
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(self._runtime.run()), tasks.create_task(self._pulse())]
            await super().serve(sockets)
            for task in beside:
                task.cancel()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on every socket, each with the protocol of its role."""
        loop = asyncio.get_running_loop()
        common = self.config, self.server_state, dict[str, Any]()
        admin = partial(HttpToolsProtocol, *common)
        self._protocol = partial(self._runtime.client_protocol, *common)
        if self._front is not None:
            await self._front.startup()
            self._protocol = self._front.protocol
        self.servers = []
        for bound in sockets or ():
            is_admin = self._is_admin(bound)
            protocol = admin if is_admin else self._protocol
            server = await loop.create_server(protocol, sock=bound, backlog=self.config.backlog)
            self.servers.append(server)
            if not is_admin:
                self._public.append(server)
        self.started = True
        self._runtime.writer.mark(booted=True)
        logger.info(line(Event.WORKER_BOOTED, pid=os.getpid()))

    @override
    async def main_loop(self) -> None:
        """Wait; uvicorn's own loop wakes ten times a second to look."""
        await self._asked.wait()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The end, as the head of this file tells it."""
        self._runtime.writer.mark(draining=True)
        logger.info(line(Event.DRAINING, pid=os.getpid(), busy=self._busy, delay_s=self._delay_s))
        await self._pause(self._delay_s)
        await self._accept_no_more([bound for bound in sockets or () if not self._is_admin(bound)])
        for lane in self._lanes:
            lane.drain()
        limit_s = self._runtime.listen.drain_timeout_s
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(self._runtime.drain_streams(SPREAD * limit_s))
            await self._finish(limit_s)
            beside.cancel()
        left = self._busy
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for lane in self._lanes:
                    await lane.aclose()
        _close(self.servers, sockets or ())
        for connection in list(self.server_state.connections):
            connection.shutdown()
        logger.info(line(Event.STOPPED, pid=os.getpid(), cut=left))

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals that stop us. uvicorn would raise them again at the end: we would die of SIGTERM, unfinished."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: self.stop(self._runtime.listen.drain_delay_s))
        loop.add_signal_handler(signal.SIGQUIT, self.stop_at_once)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGQUIT)

    @property
    def _busy(self) -> int:
        return max(lane.busy for lane in self._lanes)  # a forwarded request of the front is in both

    async def _pulse(self) -> None:
        """Keep the master informed for as long as the loop turns, while draining too."""
        while self.config.callback_notify is not None:
            await self.config.callback_notify()
            await asyncio.sleep(PULSE_S)

    async def _pause(self, delay_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._at_once.wait()

    async def _accept_no_more(self, sockets: Sequence[socket.socket]) -> None:
        """Close the public sockets; who waits in their queues comes first, or the last of us to close resets them."""
        waiting = [client for bound in sockets for client in _queue_of(bound)]
        _close(self._public, sockets)
        for client in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, client)

    async def _finish(self, limit_s: float) -> None:
        """Wait until nothing is under way and nobody is left who might ask, at most ``limit_s``, and tell of it."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + limit_s
        tell_at = clock() + TELL_S
        quiet_since: float | None = None
        while (now := clock()) < deadline and not self._at_once.is_set():
            if self._busy or self._runtime.connections:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            elif now - quiet_since >= QUIET_S:
                return
            if now >= tell_at:
                tell_at += TELL_S
                self._tell_what_is_left(deadline - now)
            await asyncio.sleep(LOOK_S)

    def _tell_what_is_left(self, left_s: float) -> None:
        in_app = None if self._front is None else self._front.busy
        left = asdict(self._runtime.under_way)
        logger.info(line(Event.DRAINING, pid=os.getpid(), **left, in_app=in_app, left_s=round(left_s)))


def _queue_of(bound: socket.socket) -> Iterator[socket.socket]:
    """The connections that the kernel has made and nobody has accepted."""
    while True:
        try:
            client, _ = bound.accept()
        except OSError:  # none is left; or the file limit is reached, or that one is gone again
            return
        client.setblocking(False)  # noqa: FBT003 - its only argument
        yield client


def _close(servers: Sequence[asyncio.Server], sockets: Sequence[socket.socket]) -> None:
    for server in servers:
        server.close()
    for bound in sockets:
        bound.close()
