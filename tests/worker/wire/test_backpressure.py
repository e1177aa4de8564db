"""Who is slow makes the other side wait: nothing piles up here (rule: bounded memory)."""

import asyncio
import hashlib

import pytest

from backend import Backend, Connection, Request, answers
from lanes import Lane, StartLane, settled
from raw_client import RawClient
from rude import unresponsive
from waiting import eventually
from wire import TruncatedError, encode_chunk, encode_head, encode_last_chunk

SIZE = 32_000_000
HELD = 20_000_000
"""More than both connections' socket buffers and our own marks hold, and far less than everything."""
PIECE = bytes(range(256)) * 250


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
async def test_a_client_that_reads_slowly_makes_the_backend_wait(lane: Lane, backend: Backend, framing: str):
    sent = 0

    async def handle(request: Request, connection: Connection) -> None:
        nonlocal sent
        fields = {
            "length": [("Content-Length", str(SIZE))],
            "chunked": [("Transfer-Encoding", "chunked")],
            "until close": [],
        }[framing]
        await connection.send(encode_head("HTTP/1.1 200 OK", fields))
        while sent < SIZE:
            await connection.send(encode_chunk(PIECE) if framing == "chunked" else PIECE)
            sent += len(PIECE)
        if framing == "chunked":
            await connection.send(encode_last_chunk())
        if framing == "until close":
            connection.close()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.request()
        assert 0 < await settled(lambda: sent) < HELD
        client.resume_reading()
        response = await client.read_response(within=30)
    expected = hashlib.sha256(PIECE * (SIZE // len(PIECE))).digest()
    assert hashlib.sha256(response.body).digest() == expected


@pytest.mark.parametrize("reused", [False, True], ids=["new connection", "reused connection"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_backend_that_reads_slowly_makes_the_client_wait(
    lane: Lane, backend: Backend, framing: str, reused: bool
):
    if reused:
        async with RawClient(lane.port) as client:
            await client.request()
            await client.read_response()
    backend.reads_bodies = False
    release = asyncio.Event()
    digest = hashlib.sha256()

    async def handle(request: Request, connection: Connection) -> None:
        await release.wait()
        digest.update(await request.read_body())
        await connection.respond()

    backend.handler = handle
    sent = 0
    field = ("Content-Length", str(SIZE)) if framing == "length" else ("Transfer-Encoding", "chunked")

    async def upload(client: RawClient) -> None:
        nonlocal sent
        head = encode_head("POST / HTTP/1.1", [("Host", "a"), field])
        # With the head comes all that fits into one read, before there is a connection.
        first = PIECE * 4
        await client.send(head + (encode_chunk(first) if framing == "chunked" else first))
        sent += len(first)
        while sent < SIZE:
            await client.send(encode_chunk(PIECE) if framing == "chunked" else PIECE)
            sent += len(PIECE)
        if framing == "chunked":
            await client.send(encode_last_chunk())

    async with RawClient(lane.port) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(upload(client))
        assert 0 < await settled(lambda: sent) < HELD
        release.set()
        assert (await client.read_response(within=30)).status == 200
    assert digest.digest() == hashlib.sha256(PIECE * (SIZE // len(PIECE))).digest()


async def test_a_body_is_not_read_before_a_backend_has_accepted(start_lane: StartLane):
    with unresponsive() as url:
        lane = await start_lane(url)
        sent = 0

        async def upload(client: RawClient) -> None:
            nonlocal sent
            await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", str(SIZE))]))
            while sent < SIZE:
                await client.send(PIECE)
                sent += len(PIECE)

        async with RawClient(lane.port) as client:
            async with asyncio.TaskGroup() as tasks:
                uploading = tasks.create_task(upload(client))
                assert await settled(lambda: sent) < HELD
                uploading.cancel()
            client.abort()


async def test_a_client_that_leaves_while_it_does_not_read_is_noticed(lane: Lane, backend: Backend):
    gone = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(encode_head("HTTP/1.1 200 OK", [("Content-Length", str(SIZE))]))
        try:
            for _ in range(SIZE // len(PIECE)):
                await connection.send(PIECE)
        finally:
            gone.set()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.request()
        await settled(lambda: lane.in_flight)
        client.abort()
        await asyncio.wait_for(gone.wait(), 2)
    await lane.quiet()
    assert lane.counted(backend).failures == 0


async def test_one_slow_client_holds_up_nobody_else(lane: Lane, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        if request.target == b"/quick":
            await connection.respond(body=b"quick")
        else:
            await connection.respond(body=b"x" * SIZE)

    backend.handler = handle
    async with RawClient(lane.port) as slow, RawClient(lane.port) as quick:
        slow.pause_reading()
        await slow.request()
        await eventually(lambda: backend.requests)
        for _ in range(15):
            await quick.request(target="/quick")
            assert (await quick.read_response()).body == b"quick"
        slow.abort()


async def test_a_connection_that_waited_for_a_slow_client_serves_the_next(lane: Lane, backend: Backend):
    """It was paused in mid-body; whoever comes next must not find it so."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        for _ in range(100):
            await connection.chunk(PIECE)
        await connection.end_chunked([("X-Trailer", "1")])

    backend.handler = handle
    for _ in range(3):
        async with RawClient(lane.port) as client:
            client.pause_reading()
            await client.request()
            await asyncio.sleep(0.1)
            client.resume_reading()
            assert len((await client.read_response()).body) == 100 * len(PIECE)
    assert backend.connections_total == 1


async def test_half_an_answer_to_a_slow_client_stays_half(lane: Lane, backend: Backend):
    """What was read from the backend arrives; then the cut does."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(encode_head("HTTP/1.1 200 OK", [("Content-Length", "3000000")]) + b"x" * 2_000_000)
        connection.close()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.request()
        await asyncio.sleep(0.3)
        client.resume_reading()
        with pytest.raises((TruncatedError, ConnectionError)) as caught:
            await client.read_response()
    if isinstance(caught.value, TruncatedError):
        assert len(caught.value.got) == 2_000_000


async def test_an_answer_that_its_client_has_not_taken_keeps_the_worker_busy(lane: Lane, backend: Backend):
    """Else a drain would end the worker with the tail of a slow reader's download still in its hands."""
    lane.needs("client")
    for size in range(1 << 20, 16 << 20, 64 << 10):  # more than the sockets take, not so much that the backend waits
        backend.handler = answers(200, [], b"x" * size)
        asked = len(backend.requests)
        async with RawClient(lane.port) as client:
            client.pause_reading()
            await client.request()
            await eventually(lambda: len(backend.requests) > asked)  # noqa: B023
            if await lane_is_flushing(lane):
                assert lane.runtime.busy == 1
                client.resume_reading()
                await client.read_response()
                await eventually(lambda: lane.runtime.busy == 0)
                return
    pytest.fail("no size was between the two")


async def lane_is_flushing(lane: Lane) -> bool:
    """Whether the exchange is over before the client has taken anything, or else waits for it."""
    waits = 0
    while lane.runtime.active and waits < 15:
        await asyncio.sleep(0.002)
        waits += bool(lane.runtime.active) and not lane.backend_transport.is_reading()
    return not lane.runtime.active and any(client.is_flushing for client in lane.runtime.clients)
