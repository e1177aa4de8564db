"""One worker's server: a protocol for each listening socket, and an end that loses nothing.

The end, in order: the board says that this worker drains, so readiness fails · it serves on for ``drain_delay_s``,
while whoever balances in front of us notices · connections are told to go elsewhere, the public sockets close ·
exchanges under way finish, for at most ``drain_timeout_s`` · what is left is aborted. The admin socket is last.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sidecar.contract.config import Listen
from sidecar.contract.events import Event, line
from worker.board import Writer
from worker.server.front import Front

logger = logging.getLogger(__name__)

PULSE_S = 0.25
"""How often the master hears from us and we look whether it lives; what is left of us goes within drain + 3 s."""
QUIET_S = 0.1
"""How long no exchange may be under way before we believe it: a request may have come that was not read yet."""
LOOK_S = 0.02
CLOSE_S = 3.0
"""What aborting the rest may take; the master waits five seconds beyond the drain before it kills."""


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
        listen: Listen,
        is_admin: Callable[[socket.socket], bool],
        front: Front | None = None,
    ) -> None:
        super().__init__(config)
        self._front = front
        self._lanes: list[Lane] = [runtime] if front is None else [front, runtime]
        self._runtime = runtime
        self._listen = listen
        self._is_admin = is_admin
        self._delay_s = 0.0
        self._asked = asyncio.Event()
        self._at_once = asyncio.Event()
        self._public: list[asyncio.Server] = []

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
        public: Callable[[], asyncio.Protocol] = partial(self._runtime.client_protocol, *common)
        if self._front is not None:
            await self._front.startup()
            public = self._front.protocol
        self.servers = []
        for bound in sockets or ():
            is_admin = self._is_admin(bound)
            server = await loop.create_server(admin if is_admin else public, sock=bound, backlog=self.config.backlog)
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
        for lane in self._lanes:
            lane.drain()
        _close(self._public, [bound for bound in sockets or () if not self._is_admin(bound)])
        await self._finish(self._listen.drain_timeout_s)
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
        loop.add_signal_handler(signal.SIGTERM, self.stop, self._listen.drain_delay_s)
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

    async def _finish(self, limit_s: float) -> None:
        """Wait until no exchange has been under way for a moment, at most ``limit_s``."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + limit_s
        quiet_since: float | None = None
        while clock() < deadline and not self._at_once.is_set():
            if self._busy:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = clock()
            elif clock() - quiet_since >= QUIET_S:
                return
            await asyncio.sleep(LOOK_S)


def _close(servers: Sequence[asyncio.Server], sockets: Sequence[socket.socket]) -> None:
    for server in servers:
        server.close()
    for bound in sockets:
        bound.close()
