"""Users' own tests of their apps: under Starlette's test client, whose every use has a loop and a thread of its own."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Request, Response, WebSocket
from starlette.websockets import WebSocketDisconnect

from backend import Backend
from talker import Talker, talking
from worker import Proxy, proxy_pass, proxy_pass_websocket

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have another client than httpx
    from starlette.testclient import TestClient, WebSocketDenialResponse


def app_over(http: Backend, sockets: Talker, *, with_proxy: bool) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Proxy(app):
            yield

    app = FastAPI(lifespan=lifespan if with_proxy else None)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def forward(request: Request) -> Response:
        return await proxy_pass(request, http.url)

    @app.websocket("/{path:path}")
    async def converse(websocket: WebSocket) -> None:
        await proxy_pass_websocket(websocket, sockets.url)

    return app


@pytest.mark.parametrize("with_proxy", [True, False], ids=["Proxy", "no Proxy"])
async def test_an_app_can_be_tested_as_any_other(backend: Backend, with_proxy: bool):
    async with talking() as talker:
        app = app_over(backend, talker, with_proxy=with_proxy)
        async with asyncio.timeout(20):
            await asyncio.to_thread(use, app)
    assert [request.body for request in backend.requests[-4:]] == [b"", b"hello", b"", b"hello"]


def use(app: FastAPI) -> None:
    for _ in range(2):
        with TestClient(app) as client:
            assert (client.get("/").text, client.post("/", content=b"hello").text) == ("any", "any")
            with client.websocket_connect("/", subprotocols=["echo"]) as socket:
                socket.send_text("hello")
                assert str(socket.accepted_subprotocol) == "echo"
                assert socket.receive_text() == "hello"
                socket.send_text("bye")
                with pytest.raises(WebSocketDisconnect) as ended:
                    socket.receive_text()
                assert (ended.value.code, ended.value.reason) == (4000, "so long")
            with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/no/401"):
                pass
            assert refused.value.status_code == 401


async def test_a_test_without_a_server_and_without_a_start_works_too(backend: Backend):
    async with talking() as talker:
        app = app_over(backend, talker, with_proxy=True)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            assert (await client.get("/")).text == "any"
