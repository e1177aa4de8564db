"""A worker's whole runtime served inside the test, on a port of its own, in each of its lanes.

    lane = await start_lane(backend.url, timeouts={"response_headers_s": 0.3}, listen={"max_body_bytes": 10})
    response = await fetch(lane.port)

There is no store: the worker routes on its config. A lane that ends looks whether anything is left of its exchanges.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from typing_extensions import override
from uvicorn.server import ServerState

from backend import Backend
from sidecar.contract.config import parse
from sidecar.contract.model import Tally
from waiting import eventually
from wire import Headers
from worker.board import board_for
from worker.exchange import Exchange
from worker.gateway import App, Message, Receive, Scope, Send
from worker.runtime import Runtime
from worker.server.front import Front

POOL_SECTIONS = frozenset(
    {
        "balancing",
        "connections",
        "hedging",
        "limits",
        "max_requests_window_s",
        "outlier_detection",
        "retry",
        "sticky",
        "timeouts",
        "tls",
    }
)

PATIENT = {"connect_s": 30.0, "response_headers_s": 30.0, "idle_s": 30.0}
"""Deadlines that no test reaches by accident; those about a deadline set their own."""


@dataclass(slots=True, kw_only=True)
class Lane:
    """A runtime that serves. ``lacks`` is what this lane cannot do, whatever the runtime does."""

    port: int
    runtime: Runtime
    lacks: frozenset[str] = frozenset()

    @property
    def in_flight(self) -> int:
        """Attempts under way, as the board has them."""
        return sum(seats.board.in_flight(row) for seats in self.runtime.seats.values() for row in seats.rows.values())

    @property
    def upstream_connections(self) -> int:
        """Connections to backends, at rest or at work."""
        return sum(len(upstream.open) for pool in self.runtime.pools.values() for upstream in pool.upstreams.values())

    @property
    def backend_transport(self) -> asyncio.Transport:
        """Our end of the connection that the only exchange under way has to its backend."""
        [exchange] = self.runtime.active
        assert isinstance(exchange, Exchange)
        assert exchange.connection is not None
        return exchange.connection.transport

    def counted(self, backend: Backend | int) -> Tally:
        """What the board has counted of a backend, which may be given by its port."""
        port = backend if isinstance(backend, int) else backend.port
        seats = self.runtime.seats["api"]
        return seats.board.tally(seats.rows[f"127.0.0.1:{port}"])

    def told(self, headers: Headers) -> Headers:
        """Header pairs as they come out of this lane: an ASGI server turns names to lower case."""
        return [(name.lower(), value) for name, value in headers] if "case" in self.lacks else headers

    def needs(self, *abilities: str) -> None:
        """Skip the test where this lane cannot do that by its nature."""
        if missing := self.lacks.intersection(abilities):
            pytest.skip(f"not in this lane: {', '.join(sorted(missing))}")

    async def quiet(self) -> None:
        """Wait until nothing is under way."""
        await eventually(lambda: not self.runtime.active and not self.in_flight, what=self._under_way)

    def _under_way(self) -> str:
        return f"{len(self.runtime.active)} exchanges left, {self.in_flight} in flight on the board"


Serve = Callable[[Runtime], AbstractAsyncContextManager[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneKind:
    """How a lane is served: ``serve`` gives the port."""

    serve: Serve
    lacks: frozenset[str] = field(default=frozenset())


@asynccontextmanager
async def serve_direct(runtime: Runtime) -> AsyncIterator[int]:
    """The runtime's own protocol on a socket, as ``worker.server`` does it."""
    factory = partial(runtime.client_protocol, config=None, server_state=ServerState(), app_state={})
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def serve_front(app: App) -> Serve:
    """The protocol that ``worker.server`` has for a user's own app, with this one."""

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncIterator[int]:
        front = Front(app, runtime)
        server = await asyncio.get_running_loop().create_server(front.protocol, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
            await eventually(lambda: not front.turns)
        finally:
            server.close()
            for turn in list(front.turns):
                turn.cancel()

    return serve


async def forwards(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that leaves everything to the gateway."""
    await scope["state"]["gateway"](scope, receive, send)


async def looks_on(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that has its hands on everything, as middleware does: on the headers, and on every message."""

    async def hand_in() -> Message:
        return await receive()

    async def hand_out(message: Message) -> None:
        await send(message)

    headers = [list(pair) for pair in scope["headers"]]
    await scope["state"]["gateway"]({**scope, "headers": headers}, hand_in, hand_out)


OF_ASGI = frozenset(
    {
        "case",
        "empty query",
        "interim",
        "reason",
        "trailers",
        "upgrade",
    }
)
"""What ASGI has no words for."""

LANES: dict[str, LaneKind] = {
    "direct": LaneKind(serve=serve_direct),
    "front": LaneKind(serve=serve_front(forwards), lacks=frozenset({"upgrade"})),
    "asgi": LaneKind(serve=serve_front(looks_on), lacks=OF_ASGI),
}
"""Every case runs through each of these. Of what one can upgrade to, ASGI knows WebSocket alone."""

in_one_lane = pytest.mark.parametrize("lane_kind", [LANES["direct"]], ids=["direct"])
"""But for those that are about what is decided behind the lanes."""


@asynccontextmanager
async def serving(kind: LaneKind, content: dict[str, Any]) -> AsyncIterator[Lane]:
    """A lane with this config, until the block ends."""
    config = parse(content, {})
    board = board_for(config)
    runtime = Runtime(config, board, board.claim(), "lane", {"XDG_RUNTIME_DIR": "/nowhere"})
    async with asyncio.TaskGroup() as tasks:
        background = tasks.create_task(runtime.run())
        async with kind.serve(runtime) as port:
            try:
                lane = Lane(port=port, runtime=runtime, lacks=kind.lacks)
                yield lane
                await lane.quiet()
            finally:
                await runtime.aclose()
                background.cancel()


def config_of(*backends: str | dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A config with one pool, ``api``; sections of the pool and of the file may stand side by side."""
    pool = {name: value for name, value in sections.items() if name in POOL_SECTIONS}
    rest = {name: value for name, value in sections.items() if name not in POOL_SECTIONS}
    timeouts = pool.get("timeouts", {})
    pool["timeouts"] = timeouts if "overall_s" in timeouts else {**PATIENT, **timeouts}
    pool.setdefault("balancing", {"policy": "round_robin"})
    listen = {"max_backends": 16, **rest.pop("listen", {})}  # room for a thousand takes a while to set out
    return {"pools": {"api": {"backends": list(backends), **pool}}, "listen": listen, **rest}


async def settled(amount: Callable[[], int]) -> int:
    """What it comes to when it has not changed for a moment."""
    known, same = -1, 0
    while same < 4:
        await asyncio.sleep(0.1)
        same = same + 1 if amount() == known else 0
        known = amount()
    return known


StartLane = Callable[..., Awaitable[Lane]]


class LoopComplaints(logging.Handler):
    """What the event loop has logged: a write to a closed transport, an exception nobody took."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
