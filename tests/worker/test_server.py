import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from typing_extensions import override

from raw_client import RawClient, fetch
from sidecar.contract.config import Listen
from sidecar.contract.model import UnderWay
from waiting import eventually, is_port_open
from worker.board import Board
from worker.server.crew import new_instance
from worker.server.serve import Server

SLOW = b"slow"


class Echo(asyncio.Protocol):
    """Answers each line with itself; a line that begins with `slow` makes the runtime busy until it is told."""

    def __init__(self, runtime: "StandIn") -> None:
        self.runtime = runtime

    @override
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.runtime.clients.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.runtime.clients.discard(self)

    @override
    def data_received(self, data: bytes) -> None:
        if data.startswith(SLOW):
            self.runtime.busy += 1
        else:
            self.transport.write(data)


class StandIn:
    """A runtime that only remembers what the server asked of it."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen
        self.board = Board.create(1, 4)
        self.slot = self.board.claim()
        self.writer = self.board.writer(self.slot)
        self.busy = 0
        self.clients: set[Echo] = set()
        self.story: list[str] = []
        self.failure: Exception | None = None

    def client_protocol(self, config: object, server_state: object, app_state: object, _loop: object = None) -> Echo:
        return Echo(self)

    async def run(self) -> None:
        self.story.append("run")
        try:
            if self.failure is not None:
                raise self.failure
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.story.append("cancelled")
            raise

    def drain(self) -> None:
        self.story.append("drain")

    async def drain_streams(self, spread_s: float) -> None:
        self.story.append(f"streams over {spread_s:g} s")
        await asyncio.Event().wait()

    @property
    def connections(self) -> int:
        return len(self.clients)

    @property
    def under_way(self) -> UnderWay:
        return UnderWay(requests=self.busy, idle=len(self.clients))

    async def aclose(self) -> None:
        self.story.append("aclose")
        for client in list(self.clients):
            client.transport.abort()

    @property
    def is_booted(self) -> bool:
        return self.board.states()[0].booted

    @property
    def is_draining(self) -> bool:
        return self.board.states()[0].draining


class Running:
    """A server in this process, with its ports."""

    def __init__(self, drain_delay_s: float = 0.0, drain_timeout_s: float = 5.0) -> None:
        self.runtime = StandIn(Listen(drain_delay_s=drain_delay_s, drain_timeout_s=drain_timeout_s))
        self.public, self.admin = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.public_port, self.admin_port = (each.getsockname()[1] for each in (self.public, self.admin))
        self.notified = 0
        self.comes_late = False
        self.late: socket.socket | None = None

        async def admin_app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            await send({"type": "http.response.body", "body": b"admin"})

        async def notify() -> None:
            self.notified += 1

        config = uvicorn.Config(
            admin_app, http="httptools", ws="none", lifespan="off", interface="asgi3", proxy_headers=False,
            server_header=False, date_header=False, log_config=None, callback_notify=notify,
        )  # fmt: skip
        self.server = Server(config, self.runtime, is_admin=self._is_admin)

    def _is_admin(self, bound: socket.socket) -> bool:
        """Asked last when the ports are about to close, with no turn of the loop between."""
        if self.comes_late and self.late is None:
            self.late = socket.create_connection(("127.0.0.1", self.public_port))
            self.late.sendall(b"hello")
            self.late.setblocking(False)
        return bound is self.admin

    async def run(self) -> None:
        try:
            await self.server.serve([self.public, self.admin])
        finally:
            self.public.close()
            self.admin.close()


@asynccontextmanager
async def running(**listen: float) -> AsyncIterator[Running]:
    it = Running(**listen)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(it.run())
        await eventually(lambda: it.runtime.is_booted)
        yield it
        it.server.stop_at_once()
        await asyncio.wait([task], timeout=5)


async def echo(port: int, text: bytes = b"hello") -> bytes:
    async with RawClient(port) as client:
        await client.send(text)
        return await client.read_some()


async def test_each_socket_has_the_protocol_of_its_role():
    async with running() as it:
        assert await echo(it.public_port) == b"hello"
        response = await fetch(it.admin_port)
        assert response.body == b"admin"
        assert not response.all("server")
        assert not response.all("date")


async def test_the_master_is_notified_before_and_during_the_drain():
    async with running() as it:
        await eventually(lambda: it.notified > 1)
        it.runtime.busy = 1
        it.server.stop(0)
        await eventually(lambda: it.runtime.is_draining)
        before = it.notified
        await eventually(lambda: it.notified > before + 1)


async def test_the_end_comes_in_order():
    async with running() as it:
        it.server.stop(0)
        await eventually(lambda: "cancelled" in it.runtime.story)
    assert it.runtime.story == ["run", "drain", "streams over 4 s", "aclose", "cancelled"]


async def test_sigterm_drains():
    async with running() as it:
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: "drain" in it.runtime.story)


async def test_during_the_delay_new_connections_are_served_though_the_board_says_draining():
    async with running(drain_delay_s=30) as it:
        it.server.stop(30)
        await eventually(lambda: it.runtime.is_draining)
        assert await echo(it.public_port) == b"hello"
        assert it.runtime.story == ["run"]


async def test_after_the_delay_the_public_port_refuses_and_the_admin_port_answers():
    async with running() as it:
        it.runtime.busy = 1
        it.server.stop(0)
        await eventually(lambda: not is_port_open(it.public_port))
        assert (await fetch(it.admin_port)).status == 200
        assert "aclose" not in it.runtime.story


async def test_the_drain_waits_for_the_exchange_under_way():
    async with running() as it, RawClient(it.public_port) as client:
        await client.send(SLOW)
        await eventually(lambda: it.runtime.busy)
        it.server.stop(0)
        await eventually(lambda: "drain" in it.runtime.story)
        assert "aclose" not in it.runtime.story
        it.runtime.busy = 0
        client.close()
        await eventually(lambda: "aclose" in it.runtime.story)


async def test_the_drain_waits_for_a_connection_on_which_a_request_may_come():
    async with running() as it, RawClient(it.public_port) as client:
        await eventually(lambda: it.runtime.clients)
        it.server.stop(0)
        await eventually(lambda: "drain" in it.runtime.story)
        await client.send(b"hello")
        assert await client.read_some() == b"hello"
        assert "aclose" not in it.runtime.story
        client.close()
        await eventually(lambda: "aclose" in it.runtime.story)


async def test_who_waits_to_be_accepted_when_the_port_closes_is_served():
    async with running() as it:
        it.comes_late = True
        it.server.stop(0)
        late = await eventually(lambda: it.late)
        assert late
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(late, 100), 20) == b"hello"
        late.close()


async def test_what_is_left_is_said_each_second(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", "worker.server.serve"):
        async with running(drain_timeout_s=1.4) as it:
            it.runtime.busy = 3
            it.server.stop(0)
            await eventually(lambda: "aclose" in it.runtime.story)
    assert "draining pid=" in caplog.text
    assert "requests=3 streams=0 tunnels=0 idle=0 left_s=0" in caplog.text


async def test_what_is_still_busy_at_the_deadline_is_aborted():
    async with running(drain_timeout_s=0.2) as it, RawClient(it.public_port) as client:
        await client.send(SLOW)
        await eventually(lambda: it.runtime.busy)
        it.server.stop(0)
        assert await client.read_some() == b""
    assert it.runtime.story[-1] == "cancelled"


async def test_sigquit_ends_a_drain_at_once():
    async with running(drain_delay_s=30, drain_timeout_s=30) as it:
        it.runtime.busy = 1
        it.server.stop(30)
        await eventually(lambda: it.runtime.is_draining)
        os.kill(os.getpid(), signal.SIGQUIT)
        await eventually(lambda: "cancelled" in it.runtime.story)


async def test_a_failure_in_the_background_ends_the_server():
    it = Running()
    it.runtime.failure = RuntimeError("broken")
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="broken")):
        await it.run()


def test_masters_with_the_same_pid_and_no_name_are_told_apart():
    """In two containers with one host name both were `1`, and leased each other's places."""
    assert len({new_instance() for _ in range(8)}) > 1
