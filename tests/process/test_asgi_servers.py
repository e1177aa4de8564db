"""The gateway as an app of its own, under the ASGI servers that people have: the real ones, as processes."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from backend import Backend, Connection, Request, answers, answers_chunked
from processes import Program
from raw_client import RawClient, fetch
from waiting import eventually, eventually_sync, free_port, is_port_open
from wire import TruncatedError, encode_chunk, encode_head, encode_last_chunk

SERVERS = {
    "uvicorn-h11": ("uvicorn", "--http=h11", "--port={port}", "edge:app"),
    "uvicorn-httptools": ("uvicorn", "--http=httptools", "--port={port}", "edge:app"),
    "hypercorn": ("hypercorn", "--bind=127.0.0.1:{port}", "edge:app"),
    "gunicorn-asgi": ("gunicorn", "-k", "asgi", "--bind=127.0.0.1:{port}", "edge:app"),
}
EDGE = """
from worker.standalone import gateway
app = gateway("sidebeat.toml")
"""
CONFIG = """
[store]
url = "redis://127.0.0.1:1/0"
[pools.api]
backends = ["unix:{folder}/backend"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One that runs, and where the backend has to listen."""

    name: str
    port: int
    backend: Path

    def websocket(self) -> connect:
        """A client of it that wants to talk."""
        offer = [Subprotocol("echo")]
        return connect(f"ws://127.0.0.1:{self.port}/", subprotocols=offer, open_timeout=20, max_size=None, proxy=None)


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    (folder / "edge.py").write_text(EDGE)
    (folder / "sidebeat.toml").write_text(CONFIG.format(folder=folder))
    command = [sys.executable, "-m", *[part.format(port=port) for part in SERVERS[request.param]]]
    with Program(command, cwd=folder) as program:
        eventually_sync(lambda: is_port_open(port), within=30, what=lambda: program.output)
        yield Server(name=request.param, port=port, backend=folder / "backend")
        program.terminate()
        assert program.wait() in (0, -signal.SIGTERM)  # uvicorn ends by the signal itself, at the very end
        assert "Traceback" not in program.output
        program.assert_nothing_left()


@pytest.fixture
async def backend(server: Server) -> AsyncIterator[Backend]:
    async with Backend(path=server.backend) as backend:
        yield backend


async def test_a_request_and_its_response_pass_unharmed(server: Server, backend: Backend):
    backend.handler = answers(207, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X", "caf\xe9")], b"hello")
    response = await fetch(server.port, "/a%2Fb/c?d=%20&e", headers=[("Host", "shop"), ("Cookie", "x=1")])
    assert (response.status, response.body) == (207, b"hello")
    assert response.all("set-cookie") == [b"a=1", b"b=2"]
    assert response.header("x") == b"caf\xe9"
    [request] = backend.requests
    assert request.target == b"/a%2Fb/c?d=%20&e"
    assert (request.header("host"), request.header("cookie")) == (b"shop", b"x=1")
    assert request.header("x-forwarded-for") == b"127.0.0.1"


async def test_a_chunked_upload_arrives_whole(server: Server, backend: Backend):
    async with RawClient(server.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
        for _ in range(3):
            await client.send(encode_chunk(b"x" * 30_000))
        await client.send(encode_last_chunk())
        assert (await client.read_response()).status == 200
        assert backend.requests[0].body == b"x" * 90_000
        await client.request("POST", body=b"again")
        assert (await client.read_response()).status == 200
    assert backend.requests[1].body == b"again"


async def test_a_head_has_no_body_and_keeps_its_length(server: Server, backend: Backend):
    async with RawClient(server.port) as client:
        for _ in range(2):
            await client.request("HEAD")
            response = await client.read_response(method="HEAD")
            assert (response.status, response.header("content-length")) == (200, b"2")


async def test_events_arrive_as_they_are_sent(server: Server, backend: Backend):
    go_on = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await connection.start_chunked(headers=[("content-type", "text/event-stream")])
        for number in range(3):
            await connection.chunk(b"data: %d\n\n" % number)
            await go_on.wait()
            go_on.clear()
        await connection.end_chunked()

    backend.handler = handle
    async with RawClient(server.port) as client:
        await client.request()
        assert (await client.read_head()).header("content-type") == b"text/event-stream"
        for number in range(3):
            await client.read_until(b"data: %d\n\n" % number)
            go_on.set()
        assert (await client.read_until(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")


async def test_a_backend_that_is_not_there_is_502(server: Server):
    response = await fetch(server.port)
    assert response.status == 502
    assert response.header("x-sidebeat-error") in (b"connect_refused", b"connect_failed")


@pytest.mark.parametrize("begun", [False, True], ids=["before the head", "in the body"])
async def test_a_client_that_leaves_takes_the_backends_request_with_it(server: Server, backend: Backend, begun: bool):
    gone = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        if begun:
            await connection.start_chunked()
            await connection.chunk(b"begun")
        await connection.gone()
        gone.set()

    backend.handler = handle
    async with RawClient(server.port) as client:
        await client.request()
        await (client.read_until(b"begun") if begun else eventually(lambda: backend.requests))
        client.abort()
        await eventually(gone.is_set)


@pytest.mark.parametrize("head", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_a_response_that_is_cut_short_is_seen_to_be(server: Server, backend: Backend, head: str):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(
            f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n".encode()[: -2 if "L" in head else None]
        )
        connection.close()

    backend.handler = handle
    async with RawClient(server.port) as client:
        await client.request()
        with pytest.raises((TruncatedError, ConnectionError)):
            await client.read_response()


@pytest.mark.parametrize("server", ["hypercorn"], indirect=True)
async def test_http_2_goes_through(server: Server, backend: Backend):
    backend.handler = answers_chunked(b"he", b"llo")
    told: list[Mapping[str, str]] = []
    async with httpx.AsyncClient(http1=False, http2=True, base_url=f"http://127.0.0.1:{server.port}") as client:
        for body in (b"", b"x" * 100_000):
            response = await client.request("POST" if body else "GET", "/a?b", content=body)
            assert (response.http_version, response.status_code, response.text) == ("HTTP/2", 200, "hello")
            told.append(response.headers)
    first, second = backend.requests
    assert (first.target, first.body, second.body) == (b"/a?b", b"", b"x" * 100_000)
    assert first.header("transfer-encoding") is None
    assert first.header("host") == f"127.0.0.1:{server.port}".encode()
    assert all(headers["via"].startswith("1.1 sidebeat-") for headers in told)


async def test_a_websocket_goes_through(server: Server):
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)
            if message == "bye":
                await socket.close(4000, "bye")
                return

    async with unix_serve(echo, server.backend, subprotocols=[Subprotocol("echo")]), server.websocket() as socket:
        assert socket.subprotocol == "echo"
        for message in ("snow \u2603", b"\x00\xff", "", b"", "x" * 1_048_576):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send("bye")
        assert await socket.recv() == "bye"
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4000, "bye")


async def test_the_backend_of_a_websocket_hears_that_the_client_closed(server: Server):
    heard: list[tuple[int | None, str | None]] = []

    async def listen(socket: ServerConnection) -> None:
        await socket.wait_closed()
        heard.append((socket.close_code, socket.close_reason))

    async with unix_serve(listen, server.backend, subprotocols=[Subprotocol("echo")]):
        async with server.websocket() as socket:
            await socket.close(4001, "enough")
        await eventually(lambda: heard)
    unheard = {"hypercorn": (1011, ""), "gunicorn-asgi": (4001, "")}  # they do not tell an app more than that
    assert heard == [unheard.get(server.name, (4001, "enough"))]


async def test_a_websockets_refusal_comes_with_all_it_says(server: Server, backend: Backend):
    backend.handler = answers(401, [("WWW-Authenticate", "Bearer")], b"not you")
    with pytest.raises(InvalidStatus) as refused:
        await server.websocket()
    response = refused.value.response
    if server.name == "gunicorn-asgi":  # it has no words for it
        assert response.status_code == 403
    else:
        assert (response.status_code, response.body) == (401, b"not you")
        assert response.headers["WWW-Authenticate"] == "Bearer"
