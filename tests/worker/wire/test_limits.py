"""How much and how long a client may take: 408, 413, 414, 431 (RFC 9110 §15.5, RFC 6585 §5)."""

import asyncio
import contextlib

import pytest

from backend import Backend, Connection, Request
from lanes import Lane, StartLane
from raw_client import RawClient, fetch
from rude import never_answers
from waiting import eventually
from wire import encode_chunk, encode_head, encode_last_chunk

SMALL = {"max_header_bytes": 2048, "max_headers": 20}


@pytest.fixture
async def small(start_lane: StartLane, backend: Backend) -> Lane:
    lane = await start_lane(backend.url, listen=SMALL)
    lane.needs("client")
    return lane


@pytest.mark.parametrize(
    ("head", "status", "error"),
    [
        (b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, b"target_too_long"),
        (b"GET /" + b"a" * (1 << 20), 414, b"target_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 4000 + b"\r\n\r\n", 431, b"headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (1 << 20), 431, b"headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 20 + b"\r\n", 431, b"headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 200_000 + b"\r\n", 431, b"headers_too_large"),
    ],
    ids=["target", "endless target", "value", "endless value", "fields", "1 MiB of fields"],
)
async def test_a_head_over_the_limit_is_refused_in_words(
    small: Lane, backend: Backend, head: bytes, status: int, error: bytes
):
    async with RawClient(small.port) as client:
        await client.send(head)
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (status, error)
        assert response.header("connection") == b"close"
        with contextlib.suppress(ConnectionError):
            assert await client.read_until_close() == b""
    assert not backend.requests


async def test_a_head_at_the_limit_passes(small: Lane, backend: Backend):
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    async with RawClient(small.port) as client:
        await client.send(start + b"x" * (2048 - len(start) - 4) + b"\r\n\r\n")
        assert (await client.read_response()).status == 200
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 19 + b"\r\n")
        assert (await client.read_response()).status == 200


async def test_the_answer_to_a_bad_request_does_not_depend_on_the_request_before(small: Lane, backend: Backend):
    async with RawClient(small.port) as client:
        await client.request("HEAD", headers=[("Host", "a"), ("Accept", "application/json")])
        assert (await client.read_response(method="HEAD")).status == 200
        await client.send(b"bad\r\n\r\n")
        response = await client.read_response()
        assert (response.status, response.body[:3]) == (400, b"400")


async def test_a_body_over_the_limit_is_413_before_it_is_read(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"max_body_bytes": 1000})
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "1001")]))
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (413, b"body_too_large")
    assert not backend.requests
    assert (await fetch(lane.port, method="POST", body=b"x" * 1000)).status == 200


async def test_a_chunked_body_over_the_limit_is_413_when_it_gets_there(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"max_body_bytes": 1000})
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")])
    async with RawClient(lane.port) as client:
        await client.send(head + encode_chunk(b"x" * 600))
        await eventually(lambda: backend.requests)
        await client.send(encode_chunk(b"x" * 600))
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (413, b"body_too_large")
    await eventually(lambda: backend.connections_open == 0)
    assert not backend.requests[0].complete
    async with RawClient(lane.port) as client:
        await client.send(head + encode_chunk(b"x" * 600) + encode_chunk(b"x" * 400) + encode_last_chunk())
        assert (await client.read_response()).status == 200


@pytest.mark.parametrize("sent", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"], ids=["line", "fields"])
async def test_a_head_that_does_not_come_is_408_and_the_end(start_lane: StartLane, backend: Backend, sent: bytes):
    lane = await start_lane(backend.url, listen={"header_timeout_s": 0.5})
    lane.needs("client")
    async with RawClient(lane.port) as client:
        await client.request()
        await client.read_response()
        await client.send(sent)
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (408, b"header_timeout")
        assert await client.read_until_close() == b""


async def test_a_head_that_comes_drop_by_drop_is_not_waited_for_without_end(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"header_timeout_s": 0.5})
    lane.needs("client")
    async with RawClient(lane.port) as client, asyncio.TaskGroup() as tasks:
        drops = tasks.create_task(drip(client))
        assert (await client.read_response()).status == 408
        drops.cancel()


async def drip(client: RawClient) -> None:
    """One byte of a method's name after the other."""
    while True:
        await client.send(b"X")
        await asyncio.sleep(0.05)


async def test_who_says_nothing_is_closed_without_a_word(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"header_timeout_s": 0.2})
    lane.needs("client")
    async with RawClient(lane.port) as client:
        assert await client.read_until_close() == b""


async def test_a_connection_at_rest_is_closed_in_the_end_rfc9112_9_8(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"keepalive_s": 0.2})
    lane.needs("client")
    async with RawClient(lane.port) as client:
        await client.request()
        await client.read_response()
        assert await client.read_until_close() == b""


@pytest.mark.parametrize("sent", [b"\r", b"\r\n"])
async def test_an_empty_line_after_a_body_is_no_request_rfc9112_2_2(
    start_lane: StartLane, backend: Backend, sent: bytes
):
    lane = await start_lane(backend.url, listen={"header_timeout_s": 0.5})
    lane.needs("client")
    async with RawClient(lane.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" + sent)
        assert (await client.read_response()).status == 200
        assert await client.read_until_close() == b""


async def test_a_body_that_stops_coming_is_408_and_the_backend_sees_it_end(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"body_idle_s": 0.3})
    lane.needs("client")
    backend.handler = never_answers()
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "10")]) + b"hello")
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (408, b"body_timeout")
        assert response.header("connection") == b"close"
    await eventually(lambda: backend.connections_open == 0)
    assert lane.counted(backend).failures == 0  # it is the client that was slow


async def test_a_body_that_comes_slowly_is_waited_for(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"body_idle_s": 1.5}, timeouts={"response_headers_s": 1.0})
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "5")]))
        for byte in b"hello":
            await asyncio.sleep(0.4)
            await client.send(bytes([byte]))
        assert (await client.read_response()).status == 200
    assert backend.requests[0].body == b"hello"


async def test_a_backend_that_takes_the_body_slowly_does_not_make_the_client_late(
    start_lane: StartLane, backend: Backend
):
    """While we do not read from the client, its silence is ours."""
    lane = await start_lane(backend.url, listen={"body_idle_s": 0.3})
    backend.reads_bodies = False
    size = 24_000_000

    async def handle(request: Request, connection: Connection) -> None:
        await asyncio.sleep(1.5)
        await request.read_body()
        await connection.respond()

    backend.handler = handle
    async with RawClient(lane.port) as client, asyncio.TaskGroup() as tasks:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", str(size))]))
        tasks.create_task(client.send(b"x" * size))
        assert (await client.read_response(within=20)).status == 200


async def test_a_client_has_its_time_again_after_the_backend_kept_it_waiting(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, listen={"body_idle_s": 2.0})
    backend.reads_bodies = False
    release = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await release.wait()
        await request.read_body()
        await connection.respond()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")])
        await client.send(head + encode_chunk(b"first"))
        await eventually(lambda: backend.requests)
        while lane.backend_transport.get_write_buffer_size() < 65_536:
            await client.send(encode_chunk(b"x" * 100_000))
            await asyncio.sleep(0.005)
        await asyncio.sleep(2.1)
        release.set()
        await asyncio.sleep(1.2)  # less than it has, and longer than from one look at the clock to the next
        await client.send(encode_last_chunk())
        assert (await client.read_response()).status == 200


async def test_a_client_that_never_reads_is_not_kept_for_ever(start_lane: StartLane, backend: Backend):
    """The answer is complete and lies here: a client may be slow, but not for ever."""
    listen = {"keepalive_s": 0.3, "body_idle_s": 0.3}
    lane = await start_lane(backend.url, listen=listen, timeouts={"idle_s": 0.5})
    lane.needs("client")

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond(body=b"x" * 8_000_000)

    backend.handler = handle
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.request()
        await eventually(lambda: lane.runtime.clients)
        await eventually(lambda: not lane.runtime.clients)
    assert lane.counted(backend).failures == 0  # it is the client that was slow


@pytest.mark.parametrize("close", [False, True])
async def test_a_client_that_never_reads_the_end_of_an_answer_is_not_kept_for_ever(
    start_lane: StartLane, backend: Backend, close: bool
):
    lane = await start_lane(backend.url, listen={"keepalive_s": 0.3, "body_idle_s": 0.3})
    lane.needs("client")

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond(body=b"x" * 60_000)

    backend.handler = handle
    head = encode_head("GET / HTTP/1.1", [("Host", "a")])
    last = encode_head("GET / HTTP/1.1", [("Host", "a"), *([("Connection", "close")] if close else [])])
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.send(head * 400 + last)
        await eventually(lambda: lane.runtime.clients)
        await eventually(lambda: not lane.runtime.clients)
