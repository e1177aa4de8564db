"""Upgrades: bytes both ways once the backend has switched, each way with an end of its own (RFC 9110 §7.8).

To a protocol that nobody here can read; what is different where it is WebSocket is in ``test_websocket_tunnel``.
"""

import asyncio
import contextlib

import pytest

from backend import Backend, Connection, Handler, Request, answers
from lanes import Lane, StartLane, settled
from raw_client import RawClient, fetch
from waiting import eventually
from wire import encode_head

ASK = [
    ("Host", "a"),
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "chat"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ("Cookie", "a=1"),
]
SWITCH = encode_head(
    "HTTP/1.1 101 Switching Protocols",
    [
        ("Upgrade", "chat"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Set-Cookie", "b=2"),
    ],
)
REQUEST = encode_head("GET /ws HTTP/1.1", ASK)
BIG = bytes(range(256)) * 8000


@pytest.fixture(autouse=True)
def only_where_bytes_pass(lane: Lane) -> None:
    lane.needs("upgrade")


def switches(then: Handler, first: bytes = b"") -> Handler:
    """Switches, and goes on from there."""

    async def handle(request: Request, connection: Connection) -> None:
        if request.header("upgrade") is None:
            return await connection.respond()
        await connection.send(SWITCH + first)
        return await then(request, connection)

    return handle


async def echo(request: Request, connection: Connection) -> None:
    """Back with whatever comes, until it ends; then we end, too."""
    while data := await connection.reader.some():
        await connection.send(data)
    connection.close()


async def test_the_handshake_passes_both_ways(lane: Lane, backend: Backend):
    backend.handler = switches(echo)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        response = await client.read_head()
        assert (response.status, response.reason) == (101, b"Switching Protocols")
        assert response.header("upgrade") == b"chat"
        assert response.header("connection") == b"Upgrade"
        assert response.header("sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert response.header("sec-websocket-extensions") == b"permessage-deflate"
        assert response.header("set-cookie") == b"b=2"
        assert response.header("content-length") is None
        assert response.header("transfer-encoding") is None
    request = backend.requests[0]
    assert request.all("connection") == [b"Upgrade"]
    assert request.all("upgrade") == [b"chat"]
    assert request.header("sec-websocket-key") == b"dGhlIHNhbXBsZSBub25jZQ=="
    assert request.header("sec-websocket-extensions") == b"permessage-deflate; client_max_window_bits"
    assert request.header("x-forwarded-for") == b"127.0.0.1"


async def test_bytes_pass_as_they_are(lane: Lane, backend: Backend):
    backend.handler = switches(echo)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        for data in (b"\x81\x05hello", b"\x00", b"GET / HTTP/1.1\r\n\r\n", BIG):
            await client.send(data)
            assert await client.read_exactly(len(data)) == data


async def test_bytes_with_either_head_pass_too(lane: Lane, backend: Backend):
    backend.handler = switches(echo, first=b"welcome")
    async with RawClient(lane.port) as client:
        await client.send(REQUEST + b"early")
        await client.read_head()
        assert await client.read_exactly(12) == b"welcomeearly"


async def test_many_early_bytes_do_not_stop_the_tunnel(lane: Lane, backend: Backend):
    """More than what we hold of a pipeline, so that the client had to wait."""
    release = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await release.wait()
        await connection.send(SWITCH)
        await echo(request, connection)

    backend.handler = handle
    async with RawClient(lane.port) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(client.send(REQUEST + BIG))
        await eventually(lambda: backend.requests)
        await asyncio.sleep(0.1)
        release.set()
        await client.read_head()
        assert await client.read_exactly(len(BIG)) == BIG


async def test_the_client_may_end_first(lane: Lane, backend: Backend):
    """Its end reaches the backend, whose last words still reach the client."""

    async def handle(request: Request, connection: Connection) -> None:
        got = bytearray()
        await connection.reader.rest(got)
        await connection.send(b"you said " + bytes(got))
        connection.close()

    backend.handler = switches(handle)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        await client.send(b"bye")
        client.half_close()
        assert await client.read_until_close() == b"you said bye"
    await lane.quiet()
    assert lane.counted(backend).failures == 0


async def test_the_backend_may_end_first(lane: Lane, backend: Backend):
    got = bytearray()

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(b"bye")
        connection.half_close()
        await connection.reader.rest(got)
        connection.close()

    backend.handler = switches(handle)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        assert await client.read_until_close() == b"bye"
        assert lane.in_flight == 1  # it goes on the other way
        await client.send(b"last ")
        await client.send(b"words")
        client.half_close()
        await eventually(lambda: got == b"last words")
    await lane.quiet()
    assert lane.counted(backend).failures == 0


async def test_the_last_words_arrive_whole_though_the_backend_is_slow(lane: Lane, backend: Backend):
    """Both have ended while some of it lies here still, which is for the backend."""
    release = asyncio.Event()
    got = bytearray()

    async def handle(request: Request, connection: Connection) -> None:
        connection.half_close()
        await release.wait()
        await connection.reader.rest(got)
        connection.close()

    backend.handler = switches(handle)
    sent = 0
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        assert await client.read_until_close() == b""
        while not lane.backend_transport.get_write_buffer_size():
            await client.send(b"x" * 20_000)
            sent += 20_000
            await asyncio.sleep(0.001)
        client.half_close()
        await eventually(lambda: not lane.runtime.clients)
        assert lane.in_flight == 1
        release.set()
        await eventually(lambda: len(got) == sent)
    await lane.quiet()
    assert lane.counted(backend).failures == 0


async def test_the_backends_last_words_arrive_whole_though_the_client_is_slow(lane: Lane, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(BIG * 5)
        connection.close()

    backend.handler = switches(handle)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        client.pause_reading()
        await asyncio.sleep(0.2)
        client.resume_reading()
        assert await client.read_until_close() == BIG * 5


@pytest.mark.parametrize("way", [RawClient.close, RawClient.abort], ids=["close", "reset"])
async def test_a_client_that_leaves_ends_the_tunnel(lane: Lane, backend: Backend, way):
    backend.handler = switches(echo)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        assert lane.in_flight == 1
        way(client)
        await eventually(lambda: backend.connections_open == 0)
    await lane.quiet()
    assert lane.counted(backend).failures == 0


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_backend_that_leaves_ends_the_tunnel(lane: Lane, backend: Backend, how: str):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.reader.some()
        connection.close() if how == "close" else connection.reset()

    backend.handler = switches(handle)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        await client.send(b"x")
        try:
            assert await client.read_until_close() == b""
        except ConnectionResetError:
            assert how == "reset"
    await lane.quiet()
    assert lane.counted(backend).failures == 0  # how a tunnel ends is for its two ends to judge
    assert (await fetch(lane.port)).status == 200


MUCH = 64_000_000
HELD = 20_000_000
"""More than the socket buffers and our own marks hold."""


async def test_a_client_that_is_slow_makes_the_backend_wait(lane: Lane, backend: Backend):
    sent = 0

    async def handle(request: Request, connection: Connection) -> None:
        nonlocal sent
        while sent < MUCH:
            await connection.send(BIG)
            sent += len(BIG)
        connection.close()

    backend.handler = switches(handle)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        client.pause_reading()
        assert 0 < await settled(lambda: sent) < HELD
        client.resume_reading()
        assert len(await client.read_until_close(within=20)) == sent


async def test_a_backend_that_is_slow_makes_the_client_wait(lane: Lane, backend: Backend):
    release = asyncio.Event()
    got = bytearray()
    sent = 0

    async def handle(request: Request, connection: Connection) -> None:
        await release.wait()
        await connection.reader.rest(got)

    async def pour(client: RawClient) -> None:
        nonlocal sent
        while sent < MUCH:
            await client.send(BIG)
            sent += len(BIG)
        client.half_close()

    backend.handler = switches(handle)
    async with RawClient(lane.port) as client, asyncio.TaskGroup() as tasks:
        await client.send(REQUEST)
        await client.read_head()
        tasks.create_task(pour(client))
        assert 0 < await settled(lambda: sent) < HELD
        release.set()
        await client.read_until_close(within=20)
        assert len(got) == sent


async def test_a_refusal_is_an_ordinary_answer(lane: Lane, backend: Backend):
    backend.handler = answers(403, [("X-Why", "no")], b"not you")
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.send(REQUEST)
            response = await client.read_response()
            assert (response.status, response.body, response.header("x-why")) == (403, b"not you", b"no")


@pytest.mark.parametrize(
    "request_head",
    [
        encode_head("GET /ws HTTP/1.0", ASK),
        encode_head("GET /ws HTTP/1.1", [field for field in ASK if field[0] != "Connection"]),
        encode_head("POST /ws HTTP/1.1", [*ASK, ("Content-Length", "0"), ("Content-Length-X", "0")]).replace(
            b"Content-Length: 0", b"Content-Length: 5"
        )
        + b"hello",
    ],
    ids=["1.0", "not named by Connection", "with a body"],
)
async def test_what_does_not_ask_for_an_upgrade_is_not_upgraded_rfc9110_7_8(
    lane: Lane, backend: Backend, request_head: bytes
):
    async with RawClient(lane.port) as client:
        await client.send(request_head)
        assert (await client.read_response()).status == 200
    assert backend.requests[0].header("upgrade") is None
    assert backend.requests[0].header("connection") is None


async def test_a_tunnel_is_an_exchange_until_it_ends(lane: Lane, backend: Backend):
    backend.handler = switches(echo)
    async with RawClient(lane.port) as client, RawClient(lane.port) as other:
        for each in (client, other):
            await each.send(REQUEST)
            await each.read_head()
        assert lane.in_flight == 2
        assert lane.runtime.busy == 2
        client.close()
        await eventually(lambda: lane.in_flight == 1)
    await lane.quiet()


async def test_a_tunnel_may_be_silent_for_longer_than_an_answer_may(start_lane: StartLane, backend: Backend):
    backend.handler = switches(echo)
    lane = await start_lane(
        backend.url, timeouts={"response_headers_s": 0.5, "idle_s": 0.5}, listen={"body_idle_s": 0.5}
    )
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        await asyncio.sleep(1.5)
        await client.send(b"still here")
        assert await client.read_exactly(10) == b"still here"


async def test_the_end_of_the_worker_ends_its_tunnels(lane: Lane, backend: Backend):
    backend.handler = switches(echo)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        await client.read_head()
        await lane.runtime.aclose()
        with contextlib.suppress(ConnectionError):
            assert await client.read_until_close() == b""  # and no HTTP in the middle of the other protocol
        await eventually(lambda: backend.connections_open == 0)
