"""`proxy_pass_websocket` in a FastAPI app under uvicorn, in front of servers of the websockets library."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import WebSocket, WebSocketException
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from backend import Backend
from library_app import ProxyApp, proxy_app
from rude import never_answers
from talker import Talker, talking
from waiting import eventually
from worker.library import GatewaySocketError, proxy_pass_websocket


@pytest.fixture
async def talker() -> AsyncIterator[Talker]:
    async with talking() as talker:
        yield talker


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


async def test_messages_pass_and_the_goodbye_is_the_backends(front: ProxyApp, talker: Talker):
    through(front, talker.url)
    async with connect(url_of(front, "/a%20b?c=1"), additional_headers={"Cookie": "d=2"}) as client:
        for message in ("text", b"bytes", "", b"\0" * 200_000):
            await client.send(message)
            assert await client.recv() == message
        await client.send("bye")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4000, "so long")
    assert (talker.path, talker.asked["Cookie"]) == ("/a%20b?c=1", "d=2")
    assert talker.asked["X-Forwarded-For"] == talker.asked["X-Real-IP"] == "127.0.0.1"
    await eventually(lambda: not front.engine.active)


async def test_the_clients_goodbye_reaches_the_backend(front: ProxyApp, talker: Talker):
    through(front, talker.url)
    async with connect(url_of(front)) as client:
        await client.close(4002, "enough")
    assert await talker.end() == (4002, "enough")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the oldest of them
@pytest.mark.filterwarnings("ignore::uvicorn.config.UvicornDeprecationWarning")
@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio", "wsproto"])
async def test_every_server_of_uvicorns_will_do(ws: str, talker: Talker):
    """One of them failed at a second Date."""
    async with proxy_app(ws=ws) as front:
        for changes in ({}, {"override_headers": {"X-Only": "1"}}, {"additional_headers": {"X-New": "1"}}):
            through(front, talker.url, **changes)
            async with connect(url_of(front)) as client:
                await client.send("hello")
                assert await client.recv() == "hello"
                response = client.response
                assert response is not None
                assert len(response.headers.get_all("Date")) <= 1
        through(front, talker.url)
        await hears_the_refusal(front)


async def hears_the_refusal(front: ProxyApp) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url_of(front, "/no/401")):
            pass
    assert (caught.value.response.status_code, caught.value.response.body) == (401, b"not you")


@pytest.mark.parametrize(("path", "code"), [("/", 4000), ("/no/401", 1008)])
async def test_a_client_that_is_accepted_already_is_not_accepted_again(
    front: ProxyApp, talker: Talker, path: str, code: int
):
    """What it said before its backend was there is not lost."""

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await proxy_pass_websocket(websocket, talker.url)

    front.socket = socket
    async with connect(url_of(front, path)) as client:
        await client.send("bye")
        await client.wait_closed()
        assert client.close_code == code


@pytest.mark.parametrize(("given", "offered"), [(None, ["soap", "echo"]), (["echo"], ["echo"])])
async def test_the_subprotocol_is_the_backends_choice(
    front: ProxyApp, talker: Talker, given: list[str] | None, offered: list[str]
):
    through(front, talker.url, subprotocols=given)
    async with connect(url_of(front), subprotocols=[Subprotocol("soap"), Subprotocol("echo")]) as client:
        assert client.subprotocol == "echo"
    assert talker.asked["Sec-WebSocket-Protocol"] == ", ".join(offered)


async def test_a_refusal_is_heard_by_the_client_with_its_status_and_body(front: ProxyApp, talker: Talker):
    through(front, talker.url)
    await hears_the_refusal(front)


async def test_where_nobody_answers_another_backend_may_be_tried(front: ProxyApp, backend: Backend, talker: Talker):
    backend.refuse()
    seen: list[WebSocketException] = []

    async def socket(websocket: WebSocket) -> None:
        try:
            await proxy_pass_websocket(websocket, backend.url)
        except WebSocketException as error:
            seen.append(error)
            await proxy_pass_websocket(websocket, talker.url, path="/second", override_headers={"X-Only": "1"})

    front.socket = socket
    async with connect(url_of(front)) as client:
        await client.send("hello")
        assert await client.recv() == "hello"
    assert [(type(error), error.code) for error in seen] == [(GatewaySocketError, 1011)]
    assert (talker.path, talker.asked["X-Only"]) == ("/second", "1")
    assert "X-Forwarded-For" not in talker.asked


async def test_a_handshake_that_nobody_answers_ends_in_time(front: ProxyApp, backend: Backend):
    backend.handler = never_answers()
    through(front, backend.url, timeout=0.05)
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url_of(front)):
            pass
    assert caught.value.response.status_code == 403, "which is how a server says that nobody accepted"
    await eventually(lambda: not backend.connections_open)


async def test_a_cancelled_one_tells_its_client_to_come_again(front: ProxyApp, talker: Talker):
    tasks: list[asyncio.Task[Any]] = []

    async def socket(websocket: WebSocket) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await proxy_pass_websocket(websocket, talker.url)

    front.socket = socket
    async with connect(url_of(front)) as client:
        await client.send("hello")
        assert await client.recv() == "hello"
        tasks[0].cancel()
        await client.wait_closed()
        assert client.close_code == 1012
    await eventually(lambda: not front.engine.active)
