"""The gateway as any server calls it, with scopes that servers and middleware should never make."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from backend import Backend, answers
from lanes import LANES, Lane, config_of, serving
from worker.gateway import Gateway, Message

SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [(b"host", b"a")],
    "client": None,
    "server": None,
}


@pytest.fixture
async def lane(backend: Backend) -> AsyncIterator[Lane]:
    async with serving(LANES["direct"], config_of(backend.url)) as lane:
        yield lane


async def ask(lane: Lane, **changes: object) -> list[Message]:
    """What the gateway sends for such a scope."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await Gateway(lane.runtime)({**SCOPE, **changes}, receive, send)
    return sent


async def test_a_scope_becomes_a_request_and_the_response_two_messages(lane: Lane, backend: Backend):
    start, body = await ask(lane, method="PUT", raw_path=b"/a%20b", query_string=b"c", headers=[[b"host", b"a"]])
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert (b"content-length", b"2") in start["headers"]
    assert (body["type"], body["body"], body["more_body"]) == ("http.response.body", b"ok", False)
    assert (backend.requests[0].method, backend.requests[0].target) == (b"PUT", b"/a%20b?c")


async def test_without_a_raw_path_the_path_is_quoted(lane: Lane, backend: Backend):
    await ask(lane, raw_path=None, path="/a b/\xe9")
    assert backend.requests[0].target == b"/a%20b/%C3%A9"


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": [(b"host", b"a"), (b"x", b"1\r\ny: 2")]},
        {"headers": [(b"host", b"a"), (b"x: 1\r\ny", b"2")]},
        {"headers": [(b"host", b"a\r\n\r\nGET /inner HTTP/1.1")]},
        {"raw_path": b"/ HTTP/1.1\r\nx: 1\r\ny:"},
        {"query_string": b" HTTP/1.1\r\nhost: b\r\n\r\n"},
        {"headers": []},
        {"headers": [(b"host", b"a"), (b"content-length", b"1"), (b"transfer-encoding", b"chunked")]},
        {"method": "GET /x HTTP/1.1\r\nx: y\r\n\r\nGET"},
    ],
    ids=["value", "name", "host", "path", "query", "no host", "two framings", "method"],
)
async def test_what_would_be_more_than_one_request_is_400(lane: Lane, backend: Backend, changes: dict[str, Any]):
    start, _ = await ask(lane, **changes)
    assert start["status"] == 400
    assert (b"x-sidebeat-error", b"bad_request") in start["headers"]
    assert not backend.requests


WEBSOCKET: dict[str, Any] = {
    **{key: value for key, value in SCOPE.items() if key not in ("method", "http_version")},  # that one is optional
    "type": "websocket",
    "scheme": "ws",
    "subprotocols": [],
    "extensions": {"websocket.http.response": {}},
}
CONNECT: Message = {"type": "websocket.connect"}


async def talk(lane: Lane, *said: Message, **changes: object) -> list[Message]:
    """What the gateway sends for such a WebSocket to a client that says this, and leaves when it is told to."""
    sent: list[Message] = []
    messages = [CONNECT]
    changed = asyncio.Event()

    async def receive() -> Message:
        while not messages:
            changed.clear()
            await changed.wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "websocket.accept":
            messages.extend(said)
        elif message["type"] == "websocket.close":
            messages.append({"type": "websocket.disconnect", "code": 1000})
        changed.set()

    await Gateway(lane.runtime)({**WEBSOCKET, **changes}, receive, send)
    return sent


async def test_a_key_that_says_nothing_may_stand_beside_the_one_that_does():
    async def handle(socket: ServerConnection) -> None:
        got = [await socket.recv() for _ in range(3)]
        await socket.close(4000, repr(got))

    async with serve(handler=handle, host="127.0.0.1", port=0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with serving(LANES["direct"], config_of(f"http://127.0.0.1:{port}")) as lane:
            kind: Message = {"type": "websocket.receive"}
            said: list[Message] = [
                {**kind, "text": "a", "bytes": None},
                {**kind, "text": None, "bytes": b"b"},
                {**kind, "text": ""},
            ]
            accept, close = await talk(lane, *said)
    assert (accept["type"], accept["subprotocol"]) == ("websocket.accept", None)
    assert close == {"type": "websocket.close", "code": 4000, "reason": "['a', b'b', '']"}


async def test_a_refusal_is_a_close_where_the_server_has_no_words_for_it(lane: Lane, backend: Backend):
    backend.handler = answers(401, body=b"not you")
    [close] = await talk(lane, extensions={})
    assert (close["type"], close["code"]) == ("websocket.close", 1008)
    start, body = await talk(lane)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert (body["type"], body["body"]) == ("websocket.http.response.body", b"not you")


async def test_over_http_2_an_ordinary_success_is_not_passed_off_as_a_websocket_rfc8441_5(lane: Lane):
    start, _ = await talk(lane, http_version="2")
    assert start["status"] == 502
    start, _ = await talk(lane)
    assert start["status"] == 200


@pytest.mark.parametrize("changes", [{"headers": [(b"host", b"a"), (b"x", b"1\r\ny: 2")]}, {"subprotocols": ["\r\n"]}])
async def test_a_handshake_that_would_be_more_than_one_request_is_400(lane: Lane, backend: Backend, changes):
    start, _ = await talk(lane, **changes)
    assert start["status"] == 400
    assert not backend.requests


async def test_it_forwards_nothing_but_requests(lane: Lane):
    with pytest.raises(ValueError, match="not lifespan"):
        await ask(lane, type="lifespan")
