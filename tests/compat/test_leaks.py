"""What a request in a user's own app leaves behind when it is cut short: nothing; and what it holds meanwhile: little.

The app is called as a server would call it, so that a request can be cancelled at any turn of the loop.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from itertools import chain, repeat
from typing import Any

from fastapi import FastAPI, Request, Response

from backend import Backend, Connection
from backend import Request as Asked
from lanes import settled
from waiting import eventually
from worker import Proxy, get_httpx_client, proxy_pass

PART = b"x" * 65_536
MUCH, HELD = 64_000_000, 20_000_000
"""A body, and what the buffers of its sockets and our own marks cannot hold of it."""
AT_ONCE = 20

Message = MutableMapping[str, Any]


class Client:
    """A client as an app sees it, which stays until ``gone`` is set."""

    def __init__(self, parts: Iterable[bytes] = (), takes: Callable[[], Awaitable[object]] | None = None) -> None:
        self.gone = asyncio.Event()
        self.given_bytes = 0
        self._parts = chain(((part, True) for part in parts), [(b"", False)])
        self._takes = takes or (lambda: asyncio.sleep(0))

    async def ask(self, app: FastAPI, path: str, method: str = "GET") -> None:
        framing = [(b"transfer-encoding", b"chunked")] if method == "POST" else []
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
            "method": method, "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "headers": [(b"host", b"a"), *framing], "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        await asyncio.sleep(0)
        part, more = next(self._parts, (b"", None))
        if more is None or self.gone.is_set():
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self.given_bytes += len(part)
        return {"type": "http.request", "body": part, "more_body": more}

    async def _send(self, message: Message) -> None:
        await self._takes()


def app_over(backend: Backend) -> FastAPI:
    """What users write: a route that passes everything on, and one that uses the client by hand."""
    app = FastAPI()

    @app.get("/by-hand")
    async def by_hand(request: Request) -> Response:
        client = await get_httpx_client(request)
        async with client.stream("GET", f"{backend.url}/stream") as answer:
            return Response(await answer.aread(), answer.status_code)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def forward(request: Request) -> Response:
        return await proxy_pass(request, backend.url)

    return app


async def behave(request: Asked, connection: Connection) -> None:
    """Answers that take some turns of the loop."""
    if request.target == b"/stream":
        await connection.start_chunked()
        for _ in range(10):
            await connection.chunk(b"x" * 1_000)
            await asyncio.sleep(0)
        await connection.end_chunked()
    else:
        await asyncio.sleep(0)
        await connection.respond(body=b"quick")


KINDS = (("/quick", "GET"), ("/stream", "GET"), ("/quick", "POST"), ("/by-hand", "GET"))


async def turns_of(request: Coroutine[None, None, None]) -> int:
    """For how many turns of the loop it goes on, alone."""
    turns = 0
    async with asyncio.TaskGroup() as group:
        task = group.create_task(request)
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
    return turns


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_thousand_requests_cut_short_anywhere_leave_nothing_behind(backend: Backend):
    backend.handler = behave
    app, draw = app_over(backend), random.Random(11)
    async with Proxy(app):  # what a process opens once is open from here on
        turns = {kind: await turns_of(Client().ask(app, *kind)) for kind in KINDS}
    await eventually(lambda: backend.connections_open == 0)
    tasks, descriptors = asyncio.all_tasks(), open_descriptors()
    cut = 0

    async def one(kind: tuple[str, str], turns: int) -> None:
        nonlocal cut
        client = Client(repeat(PART, 3) if kind[1] == "POST" else ())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.ask(app, *kind))
            for _ in range(draw.randrange(turns)):
                await asyncio.sleep(0)
            cut += not task.done()
            if draw.randrange(2):
                client.gone.set()
            else:
                task.cancel()

    async with Proxy(app):
        while cut < 1_000:
            async with asyncio.TaskGroup() as group:
                for number in range(AT_ONCE):
                    kind = KINDS[number % len(KINDS)]
                    group.create_task(one(kind, turns[kind] + 1))
        await eventually(lambda: backend.connections_open <= AT_ONCE)
        await Client().ask(app, "/quick")
    await eventually(lambda: backend.connections_open == 0)
    await eventually(lambda: asyncio.all_tasks() <= tasks)
    await eventually(lambda: open_descriptors() <= descriptors)


async def test_a_client_that_does_not_read_makes_the_backend_wait(backend: Backend):
    sent = 0

    async def pour(_request: Asked, connection: Connection) -> None:
        nonlocal sent
        await connection.start_chunked()
        while sent < MUCH:
            await connection.chunk(PART)
            sent += len(PART)

    backend.handler = pour
    app, reads = app_over(backend), asyncio.Event()
    async with Proxy(app), asyncio.TaskGroup() as group:
        task = group.create_task(Client(takes=reads.wait).ask(app, "/"))
        assert 0 < await settled(lambda: sent) < HELD
        reads.set()
        await eventually(lambda: sent >= MUCH, within=20)
        task.cancel()


async def test_a_backend_that_does_not_read_makes_the_client_wait(backend: Backend):
    reads = asyncio.Event()

    async def wait(request: Asked, connection: Connection) -> None:
        await reads.wait()
        await connection.respond(body=b"%d" % len(await request.read_body()))

    backend.handler, backend.reads_bodies = wait, False
    app = app_over(backend)
    async with Proxy(app), asyncio.TaskGroup() as group:
        client = Client(repeat(PART, MUCH // len(PART)))
        task = group.create_task(client.ask(app, "/", "POST"))
        assert 0 < await settled(lambda: client.given_bytes) < HELD
        reads.set()
        await eventually(lambda: client.given_bytes >= MUCH // len(PART) * len(PART), within=20)
        client.gone.set()
        await asyncio.wait([task])
