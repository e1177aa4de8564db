"""`proxy_pass_websocket` in a FastAPI app under uvicorn, in front of servers of the websockets library."""

import asyncio
import http
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import WebSocket, WebSocketException
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from backend import Backend, Connection
from backend import Request as Received
from library_app import ProxyApp, proxy_app
from waiting import eventually
from worker.library import GatewaySocketError, proxy_pass_websocket


class Server:
    """What a handler of ours is served by; `requests` are the handshakes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []


@asynccontextmanager
async def server(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[Server]:
    made = Server("")

    def keep(connection: ServerConnection, request: Request) -> Response | None:
        made.requests.append(request)
        refusal: Response | None = connection.respond(http.HTTPStatus(401), "who?\n") if request.path == "/no" else None
        return refusal

    async with serve(handler, "127.0.0.1", 0, process_request=keep, **options) as listening:
        made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield made


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "leave":
            await connection.close(4001, "as you wish")
        await connection.send(message)


@pytest.fixture
async def front() -> AsyncIterator[ProxyApp]:
    async with proxy_app() as app:
        yield app


def through(front: ProxyApp, url: str, **changes: Any) -> None:
    """Have the app's WebSockets forwarded."""

    async def socket(websocket: WebSocket) -> None:
        await proxy_pass_websocket(websocket, url, **changes)

    front.socket = socket


def url_of(front: ProxyApp, path: str = "/") -> str:
    return f"ws://127.0.0.1:{front.port}{path}"


async def test_messages_pass_and_the_goodbye_is_the_backends(front: ProxyApp):
    async with server(echo) as backend:
        through(front, backend.url)
        async with connect(url_of(front, "/a%20b?c=1"), additional_headers={"Cookie": "d=2"}) as client:
            for message in ("text", b"bytes", "", b"\0" * 200_000):
                await client.send(message)
                assert await client.recv() == message
            await client.send("leave")
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (4001, "as you wish")
        [request] = backend.requests
        assert (request.path, request.headers["Cookie"]) == ("/a%20b?c=1", "d=2")
        assert request.headers["X-Forwarded-For"] == request.headers["X-Real-IP"] == "127.0.0.1"
    await eventually(lambda: not front.engine.active)


async def test_the_clients_goodbye_reaches_the_backend(front: ProxyApp):
    heard: list[tuple[int | None, str | None]] = []

    async def listen(connection: ServerConnection) -> None:
        await connection.wait_closed()
        heard.append((connection.close_code, connection.close_reason))

    async with server(listen) as backend:
        through(front, backend.url)
        async with connect(url_of(front)) as client:
            await client.close(4002, "enough")
        await eventually(lambda: heard == [(4002, "enough")])


@pytest.mark.parametrize(("given", "offered"), [(None, ["soap", "wamp"]), (["wamp"], ["wamp"])])
async def test_the_subprotocol_is_the_backends_choice(front: ProxyApp, given: list[str] | None, offered: list[str]):
    async with server(echo, subprotocols=[Subprotocol("wamp")]) as backend:
        through(front, backend.url, subprotocols=given)
        async with connect(url_of(front), subprotocols=[Subprotocol("soap"), Subprotocol("wamp")]) as client:
            assert client.subprotocol == "wamp"
        assert backend.requests[0].headers["Sec-WebSocket-Protocol"] == ", ".join(offered)


async def test_a_refusal_is_heard_by_the_client_with_its_status_and_body(front: ProxyApp):
    async with server(echo) as backend:
        through(front, backend.url)
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url_of(front, "/no")):
                pass
    assert (caught.value.response.status_code, caught.value.response.body) == (401, b"who?\n")


async def test_where_nobody_answers_another_backend_may_be_tried(front: ProxyApp, backend: Backend):
    backend.refuse()
    seen: list[WebSocketException] = []
    async with server(echo) as second:

        async def socket(websocket: WebSocket) -> None:
            try:
                await proxy_pass_websocket(websocket, backend.url)
            except WebSocketException as error:
                seen.append(error)
                await proxy_pass_websocket(websocket, second.url, path="/second", override_headers={"X-Only": "1"})

        front.socket = socket
        async with connect(url_of(front)) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        assert [(type(error), error.code) for error in seen] == [(GatewaySocketError, 1011)]
        [request] = second.requests
        assert (request.path, request.headers["X-Only"], request.headers.get("X-Forwarded-For")) == (
            "/second",
            "1",
            None,
        )


async def test_a_handshake_that_nobody_answers_ends_in_time(front: ProxyApp, backend: Backend):
    async def waits(_request: Received, connection: Connection) -> None:
        await connection.gone()

    backend.handler = waits
    through(front, backend.url, timeout=0.05)
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url_of(front)):
            pass
    assert caught.value.response.status_code == 403, "which is how a server says that nobody accepted"
    await eventually(lambda: not backend.connections_open)


async def test_a_cancelled_one_tells_its_client_to_come_again(front: ProxyApp):
    tasks: list[asyncio.Task[Any]] = []

    async with server(echo) as backend:

        async def socket(websocket: WebSocket) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await proxy_pass_websocket(websocket, backend.url)

        front.socket = socket
        async with connect(url_of(front)) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            tasks[0].cancel()
            await client.wait_closed()
            assert client.close_code == 1012
        await eventually(lambda: not front.engine.active)
