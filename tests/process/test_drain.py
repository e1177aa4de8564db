"""What clients see of a drain, by SIGTERM or in a rolling restart: everything ends as its protocol has it, in time."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from backend import Backend, Connection, Request
from chain import (
    POOL,
    System,
    private_store,
    second_terminal,
    sidebeat,
    started,
    status_of,
    worker_started,
    write_config,
)
from processes import Program
from raw_client import RawClient, Response, fetch
from sidecar.contract.model import UnderWay
from waiting import eventually
from wire import TruncatedError

DRAIN_S = 4.0
STREAMS = 10
EVENT = b"data: %d\n\n"


async def lasting(request: Request, connection: Connection) -> None:
    """Events in small pieces, bytes without an end, or a short answer."""
    if request.target in (b"/short", b"/healthz"):
        await connection.respond(body=b"ok")
        return
    is_events = request.target == b"/events"
    fields = [("content-type", "text/event-stream" if is_events else "application/octet-stream")]
    await connection.start_chunked(headers=fields)
    for number in count():
        event = EVENT % number
        await connection.chunk(event[:4])
        await asyncio.sleep(0.05)
        await connection.chunk(event[4:])
        await asyncio.sleep(0.05)


async def echoes(socket: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for message in socket:
            await socket.send(message)


@dataclass
class Seen:
    """How it ended for every client."""

    events: list[bytes] = field(default_factory=list)
    truncated: int = 0
    codes: list[int | None] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Clients:
    """Streams, WebSockets, steady GETs on kept connections, and connections that rest for a while."""

    def __init__(self, port: int, tasks: asyncio.TaskGroup) -> None:
        self.seen = Seen()
        self.draining = asyncio.Event()
        self._port = port
        self._tasks = tasks
        self._begun = 0

    async def begin(self) -> None:
        kinds = [self._stream, self._download, self._socket, self._steady, self._rests]
        for kind in kinds:
            for number in range(STREAMS):
                self._tasks.create_task(kind(number))
        await eventually(lambda: self._begun == len(kinds) * STREAMS)

    async def _stream(self, number: int) -> None:
        async with RawClient(self._port) as client:
            await client.request(target="/events")
            head = await client.read_head()
            self._begun += 1
            body = bytearray()
            try:
                await client._body(head, body)
            except TruncatedError as error:
                self.seen.errors.append(f"stream {number}: {error!r}")
            self.seen.events.append(bytes(body))

    async def _download(self, number: int) -> None:
        async with RawClient(self._port) as client:
            await client.request(target="/download")
            head = await client.read_head()
            self._begun += 1
            try:
                await client._body(head, bytearray())
                self.seen.errors.append(f"download {number} looks whole")
            except (TruncatedError, ConnectionError):
                self.seen.truncated += 1

    async def _socket(self, number: int) -> None:
        async with connect(f"ws://127.0.0.1:{self._port}/ws", open_timeout=20, ping_interval=None) as socket:
            await socket.send(f"{number}")
            await socket.recv()
            self._begun += 1
            try:
                while True:
                    await socket.send(b"x" * 1_000)
                    await socket.recv()
                    await asyncio.sleep(0.1)
            except ConnectionClosed as closed:
                self.seen.codes.append(closed.rcvd.code if closed.rcvd else None)

    async def _steady(self, number: int) -> None:
        """One GET after the other, until the answer says that it is the last; nothing is tried again."""
        self._begun += 1
        async with RawClient(self._port) as client:
            goes_on = True
            while goes_on:
                await asyncio.sleep(0.1)
                goes_on = await self._ask(client, f"steady {number}")

    async def _rests(self, number: int) -> None:
        """A GET, and another one when it drains: at once, or when some of the sockets have already been closed."""
        async with RawClient(self._port) as client:
            assert await self._ask(client, f"resting {number}")
            self._begun += 1
            await self.draining.wait()
            await eventually(lambda: len(self.seen.codes) >= number // 2)
            while await self._ask(client, f"rested {number}"):
                pass  # the log says that it drains just before it does

    async def _ask(self, client: RawClient, who: str) -> bool:
        """Whether the connection goes on."""
        try:
            await client.request(target="/short")
            answer = await client.read_response()
        except (OSError, TruncatedError, TimeoutError) as error:
            self.seen.errors.append(f"{who}: {error!r}")
            return False
        self.seen.answers.append(answer)
        if answer.status != 200:
            self.seen.errors.append(f"{who}: {answer.status}")
        return answer.header("connection") != b"close"


@asynccontextmanager
async def system(folder: Path, workers: int) -> AsyncIterator[tuple[Program, System]]:
    async with Backend(lasting) as backend, serve(echoes, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        listen = {"drain_timeout_s": DRAIN_S, "workers": workers}
        config = write_config(folder, {"only": backend}, store={"url": "redis://127.0.0.1:1/0"}, listen=listen)
        with config.open("a") as file:
            file.write(f'[pools.ws]\nbackends = ["http://127.0.0.1:{port}"]\n')
            file.write('[[routes]]\npool = "api"\n[[routes]]\npool = "ws"\npath_prefix = "/ws"\n')
        with sidebeat("worker", "-c", config, cwd=folder) as program:
            yield program, await worker_started(program, workers=workers)


def who_drains(program: Program) -> set[str]:
    """The pids of all that have begun to."""
    return set(re.findall(r"draining pid=(\d+)", program.output))


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGTERM, 2),
        (signal.SIGUSR2, 1),  # of two, one would have drained before the other begins
    ],
)
async def test_everything_ends_as_its_protocol_has_it(tmp_path: Path, number: signal.Signals, workers: int):
    async with system(tmp_path, workers) as (program, it), asyncio.TaskGroup() as tasks:
        clients = Clients(it.port, tasks)
        await clients.begin()
        program.send(number)
        await eventually(lambda: len(who_drains(program)) == workers)
        clients.draining.set()
        if number == signal.SIGUSR2:
            assert [(await fetch(it.port, "/short")).status for _ in range(20)] == [200] * 20
            await eventually(lambda: program.said(r"stopped pid=\d+ cut="))
        else:
            await eventually(lambda: program.status == 0)
        progress = re.findall(
            r"draining pid=\d+ requests=\d+ streams=(\d+) tunnels=\d+ idle=\d+ left_s=\d", program.output
        )
        assert any(map(int, progress)), "of the workers that had streams, not of any"
        await eventually(lambda: len(clients.seen.codes) == STREAMS)
    seen = clients.seen
    assert not seen.errors
    assert seen.codes == [1012] * STREAMS
    assert len(seen.events) == STREAMS
    for body in seen.events:
        whole = body.split(b"\n\n")
        assert whole.pop() == b""
        assert whole == [(EVENT % number).strip() for number in range(len(whole))]
    assert seen.truncated == STREAMS
    closing = [answer for answer in seen.answers if answer.header("connection") == b"close"]
    assert len(closing) == 2 * STREAMS


async def test_status_says_what_a_worker_waits_for(tmp_path: Path):
    async with Backend(lasting) as backend:
        config = write_config(tmp_path, {"only": backend}, listen={"drain_timeout_s": 60.0, "workers": 1})
        with sidebeat("up", "-c", config, cwd=tmp_path) as program:
            it = await started(program)
            async with RawClient(it.port) as client, RawClient(it.port) as resting:
                await resting.request(target="/short")
                await resting.read_response()
                await client.request(target="/download")
                await client.read_head()
                program.send(signal.SIGUSR2)
                await eventually(is_waited_for)
                said = await second_terminal("status", cwd=tmp_path)
                assert "draining: 1 stream, 1 idle left" in said


async def is_waited_for() -> bool:
    """Whether the worker that leaves has told what for, beside the one that has come: a condition to wait for."""
    workers = (await status_of(private_store())).pools[POOL].workers
    told = [worker.under_way for worker in workers if worker.draining]
    return len(workers) == 2 and told == [UnderWay(requests=0, streams=1, tunnels=0, idle=1)]
