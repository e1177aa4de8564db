"""A user's own app in front: what it sees of a client, and what the client sees of it (ASGI 3)."""

import asyncio
import contextlib
import logging
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed

from backend import Backend, Connection, Request
from lanes import LANES, Lane, LaneKind, config_of, forwards, serve_front, serving
from raw_client import RawClient, fetch
from sidecar.contract.config import ConfigError
from waiting import eventually
from wire import TruncatedError, encode_chunk, encode_head, encode_last_chunk
from worker.gateway import App, Message, Receive, Scope, Send
from worker.server.front import Front, load_app

OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}

Serve = Callable[..., Awaitable[Lane]]


@pytest.fixture
async def serve(backend: Backend) -> AsyncIterator[Serve]:
    """Serves this app over `backend`."""
    async with AsyncExitStack() as stack:

        async def start(app: App, **sections: Any) -> Lane:
            kind = LaneKind(serve=serve_front(app))
            return await stack.enter_async_context(serving(kind, config_of(backend.url, **sections)))

        yield start


def answering(*messages: Message) -> App:
    """An app that sends these, whatever it is asked."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_an_app_sees_a_request_as_asgi_says_it(serve: Serve):
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answering(OK, BODY)(scope, receive, send)

    lane = await serve(app)
    await fetch(lane.port, "/a%20b?c=%20", method="PUT", headers=[("Host", "shop"), ("X-Two", " b ")], body=b"1")
    [scope] = seen
    assert (scope["type"], scope["http_version"], scope["method"], scope["scheme"]) == ("http", "1.1", "PUT", "http")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=%20")
    assert scope["headers"] == [(b"host", b"shop"), (b"x-two", b"b"), (b"content-length", b"1")]
    assert scope["server"] == ("127.0.0.1", lane.port)
    assert scope["client"][0] == "127.0.0.1"
    assert "gateway" in scope["state"]


async def test_the_authority_of_an_absolute_target_replaces_host_rfc9112_3_2_2(serve: Serve):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        said = dict(scope["headers"])[b"host"] + scope["raw_path"]
        await answering(start(), body(said))(scope, receive, send)

    lane = await serve(app)
    assert (await fetch(lane.port, "http://real/x", headers=[("Host", "other")])).body == b"real/x"


async def test_an_app_reads_a_body_in_parts_and_then_that_nothing_follows(serve: Serve):
    parts: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            parts.append(await receive())
            more = parts[-1]["more_body"]
        await answering(OK, BODY)(scope, receive, send)

    lane = await serve(app)
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
        for part in (b"one", b"two"):
            await client.send(encode_chunk(part))
            await eventually(lambda: parts)
            assert parts.pop()["body"] == part
        await client.send(encode_last_chunk())
        assert (await client.read_response()).body == b"ok"
    assert [(part["body"], part["more_body"]) for part in parts] == [(b"", False)]


async def test_a_body_that_an_app_does_not_read_waits_at_the_client(serve: Serve):
    release = asyncio.Event()
    size = 30_000_000
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        total, more = 0, True
        while more:
            message = await receive()
            total, more = total + len(message["body"]), message["more_body"]
        await answering(start(), body(b"%d" % total))(scope, receive, send)

    async def pour(client: RawClient) -> None:
        nonlocal sent
        while sent < size:
            await client.send(b"x" * 100_000)
            sent += 100_000

    lane = await serve(app, listen={"body_idle_s": 1.0})
    async with RawClient(lane.port) as client, asyncio.TaskGroup() as tasks:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", str(size))]))
        tasks.create_task(pour(client))
        await asyncio.sleep(1.5)  # longer than a client may pause: it is not the client that does
        assert sent < size
        release.set()
        assert (await client.read_response()).body == b"%d" % size


async def test_a_100_comes_when_the_app_asks_for_the_body_rfc9110_10_1_1(serve: Serve):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/read":
            await receive()
        await answering(OK, BODY)(scope, receive, send)

    lane = await serve(app)
    expect = [("Host", "a"), ("Content-Length", "2"), ("Expect", "100-continue")]
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST /read HTTP/1.1", expect))
        assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hi")
        assert (await client.read_response()).status == 200
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST /refuse HTTP/1.1", expect))
        response = await client.read_response()
        assert (response.informational, response.header("connection")) == ([], b"close")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_without_a_length_ends_as_the_client_can_tell(serve: Serve, version: str):
    lane = await serve(answering(start(), body(b"he", more=True), body(b"llo")))
    async with RawClient(lane.port) as client:
        await client.send(encode_head(f"GET / HTTP/{version}", [("Host", "a")]))
        response = await client.read_response()
        assert response.body == b"hello"
        assert response.header("transfer-encoding") == (b"chunked" if version == "1.1" else None)
        assert response.header("date")
        if version == "1.0":
            assert await client.read_until_close() == b""


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_where_no_body_may_be_none_is_sent(serve: Serve, method: str, status: int):
    lane = await serve(answering(start(status=status), body(b"too much")))
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request(method)
            response = await client.read_response(method=method)
            assert (response.status, response.header("transfer-encoding")) == (status, None)


async def test_a_head_does_not_wait_long_for_its_body(serve: Serve):
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-type", b"text/event-stream")))
        await release.wait()
        await send(body(b"data: 1\n\n"))

    lane = await serve(app)
    async with RawClient(lane.port) as client:
        await client.request()
        assert (await client.read_head()).header("content-type") == b"text/event-stream"
        release.set()
        await client.read_until(b"data: 1")


@pytest.mark.parametrize(
    "wrong",
    [
        [start((b"x", b"a\r\nset-cookie: b=c")), body()],
        [start((b"x\r\ny", b"a")), body()],
        [start(status=101), body()],
        [start((b"content-length", b"1"), (b"content-length", b"2")), body()],
        [body(b"no head")],
        [],
    ],
    ids=["value", "name", "status", "lengths", "no head", "nothing"],
)
async def test_an_app_that_cannot_answer_is_500_and_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture, wrong: list[Message]
):
    lane = await serve(answering(*wrong))
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request()
            response = await client.read_response()
            assert (response.status, response.header("x-sidebeat-error")) == (500, b"internal")
    failures = [record for record in caplog.records if record.getMessage().startswith("app-failed path=/")]
    assert [record.levelno for record in failures] == [logging.ERROR] * 2


@pytest.mark.parametrize("headers", [[(b"content-length", b"9")], []], ids=["length", "chunked"])
async def test_an_app_that_breaks_in_the_middle_is_seen_to(serve: Serve, headers: list[tuple[bytes, bytes]]):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(start(*headers), body(b"half", more=True))(scope, receive, send)
        raise LookupError("broken")

    lane = await serve(app)
    async with RawClient(lane.port) as client:
        await client.request()
        with pytest.raises((TruncatedError, ConnectionError)):
            await client.read_response()


async def test_a_client_that_leaves_is_told_to_the_app(serve: Serve):
    got: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append((await receive())["type"])
        got.append((await receive())["type"])
        await answering(OK, BODY)(scope, receive, send)  # nobody is there any more

    lane = await serve(app)
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: got)
        client.abort()
    await eventually(lambda: got == ["http.request", "http.disconnect"])


async def test_a_request_whose_client_has_left_is_forwarded_to_nobody(serve: Serve, backend: Backend):
    began, left, returned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        began.set()
        await left.wait()
        await forwards(scope, receive, send)
        returned.set()

    lane = await serve(app)
    async with RawClient(lane.port) as client:
        await client.request()
        await began.wait()
        client.abort()
    await eventually(lambda: not lane.runtime.clients)
    left.set()
    await eventually(returned.is_set)
    assert not lane.counted(backend).requests


async def test_an_app_that_stumbles_over_a_cancelled_task_is_500(serve: Serve):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        shared = asyncio.get_running_loop().create_future()
        shared.cancel()
        await shared

    lane = await serve(app)
    assert (await fetch(lane.port)).status == 500


async def test_an_app_waits_for_a_client_that_does_not_read_and_not_for_ever(serve: Serve):
    sent = 0
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(start())
        for _ in range(1000):
            await send(body(b"x" * 100_000, more=True))
            sent += 1
            if (await asyncio.wait_for(asyncio.sleep(0, sent), 1)) == 1000:
                break
        await receive()
        ended.set()

    lane = await serve(app, listen={"body_idle_s": 0.3})
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.request()
        await eventually(lambda: 0 < sent < 1000 and not lane.runtime.clients)
        await eventually(ended.is_set)


async def test_what_an_app_leaves_alone_passes_as_in_the_direct_lane(serve: Serve, backend: Backend):
    lane = await serve(forwards)
    await fetch(lane.port, "/?", headers=[("Host", "a"), ("X-Case", "1")])
    assert b"\r\nX-Case: 1\r\n" in backend.requests[0].raw
    assert backend.requests[0].target == b"/?"


@pytest.mark.parametrize("change", ["header", "in place", "path", "client", "missing"])
async def test_what_an_app_changes_is_what_the_backend_sees(serve: Serve, backend: Backend, change: str):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        changes: dict[str, Any] = {
            "header": {"headers": [*scope["headers"], (b"x-user", b"me")]},
            "path": {"path": "/other", "raw_path": b"/other"},
            "client": {"client": ("192.0.2.1", 1)},
            "missing": {"raw_path": None},
        }
        if change == "in place":
            scope["headers"].append((b"x-user", b"me"))
        await forwards({**scope, **changes.get(change, {})}, receive, send)

    lane = await serve(app)
    assert (await fetch(lane.port, "/own")).status == 200
    [request] = backend.requests
    assert request.header("x-user") == (b"me" if change in ("header", "in place") else None)
    assert request.target == (b"/other" if change == "path" else b"/own")
    assert request.header("x-forwarded-for") == (b"192.0.2.1" if change == "client" else b"127.0.0.1")


async def test_an_app_can_change_the_response_on_its_way(serve: Serve, backend: Backend):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-added", b"1"))
            await send(message)

        await forwards(scope, receive, add)

    lane = await serve(app)
    response = await fetch(lane.port, "/?", headers=[("Host", "a"), ("X-Case", "1")])
    assert (response.header("x-added"), response.body) == (b"1", b"ok")
    assert backend.requests[0].target == b"/?"
    assert b"\r\nX-Case: 1\r\n" in backend.requests[0].raw  # the request was left alone


async def test_an_app_may_lose_patience_with_a_backend(serve: Serve, backend: Backend):
    gone = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await connection.gone()
        gone.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(0.1):
                await forwards(scope, receive, send)
        except TimeoutError:
            await answering(start(status=504), body(b"too slow"))(scope, receive, send)

    backend.handler = handle
    lane = await serve(app)
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request("POST", body=b"x")
            response = await client.read_response()
            assert (response.status, response.body) == (504, b"too slow")
    await eventually(gone.is_set)
    await lane.quiet()


async def test_an_app_may_read_a_body_and_hand_it_on(serve: Serve, backend: Backend):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        whole = await receive()

        async def again() -> Message:  # never says that the client left, and never waits
            return whole

        await forwards(scope, again, send)

    lane = await serve(app)
    assert (await fetch(lane.port, method="POST", body=b"hello")).status == 200
    assert backend.requests[0].body == b"hello"


async def test_a_websocket_is_for_the_app(serve: Serve):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["type"], scope["path"], "gateway" in scope["state"]) == ("websocket", "/ws", True)
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"] * 2})

    lane = await serve(app)
    async with connect(f"ws://127.0.0.1:{lane.port}/ws") as websocket:
        await websocket.send("twice ")
        assert await websocket.recv() == "twice twice "


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_a_fastapi_route_may_hand_a_websocket_on(caplog: pytest.LogCaptureFixture, way: str):
    """A client that is lost while it is sent to was the app's error in the log: Starlette has its own name for it."""
    app = FastAPI()
    heard: list[int | None] = []

    @app.websocket("/ws")
    async def route(socket: WebSocket) -> None:
        await socket.state.gateway(socket.scope, socket.receive, socket.send)

    async def pour(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send(bytes(100_000))
        heard.append(socket.close_code)

    async with serve_websockets(pour, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with serving(LaneKind(serve=serve_front(app)), config_of(f"http://127.0.0.1:{port}")) as lane:
            async with connect(f"ws://127.0.0.1:{lane.port}/ws", proxy=None) as socket:
                assert len(await socket.recv()) == 100_000
                socket.transport.abort() if way == "abort" else await socket.close(4000)
            await eventually(lambda: heard == [1011 if way == "abort" else 4000])
    assert not [each for each in caplog.records if each.name == "uvicorn.error" and each.levelno >= logging.ERROR]


async def test_a_drain_ends_the_apps_own_websockets_one_after_the_other(backend: Backend):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["code"] == 1012

    async with serving(LANES["direct"], config_of(backend.url, listen={"drain_timeout_s": 3.0})) as lane:
        front = Front(app, lane.runtime)
        async with await asyncio.get_running_loop().create_server(front.protocol, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            async with connect(url, proxy=None) as one, connect(url, proxy=None) as other:
                front.drain()
                await eventually(lambda: [one.close_code, other.close_code].count(1012) == 1, every=0.001)
                await eventually(lambda: one.close_code == other.close_code == 1012)
        await eventually(lambda: not front.busy)


async def test_the_end_of_the_worker_is_told_to_both_sides(serve: Serve):
    got: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while "http.disconnect" not in got:
            got.append((await receive())["type"])

    lane = await serve(app)
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: got)
        await lane.runtime.aclose()
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (503, b"shutting_down")
    await eventually(lambda: got == ["http.request", "http.disconnect"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing_shop:app", "listen.app: missing_shop:app: No module named 'missing_shop'"),
        ("a_shop:nothing", "a_shop.py has no 'nothing'"),
        ("a_shop:seven", "a_shop.py is not an ASGI app"),
        ("worker:app", "listen.app: 'worker' is a package of sidebeat's; give your module another name"),
    ],
)
def test_an_app_that_cannot_be_used_is_refused_with_the_reason(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a_shop.py").write_text("seven = 7")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_app(name)
