"""A client that goes away ends its request at the backend at once, and leaves nothing behind (rule 10, RFC 9112 §8)."""

import asyncio
import gc
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from backend import Backend, Connection, Handler, Request, answers
from lanes import Lane, StartLane
from raw_client import RawClient, fetch
from rude import unresponsive
from waiting import eventually
from wire import encode_chunk, encode_head

AT_ONCE = 10.0
"""And no deadline of a lane is as short."""

Leave = Callable[[RawClient], None]
WAYS: dict[str, Leave] = {"close": RawClient.close, "reset": RawClient.abort}


@pytest.fixture(params=WAYS)
def leave(request: pytest.FixtureRequest) -> Leave:
    """How a client goes."""
    return WAYS[request.param]


def watches(gone: list[bytes], begin: bytes = b"") -> Handler:
    """Begins an answer, and takes down when its client has gone."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(begin)
        await connection.gone()
        gone.append(request.target)

    return handle


@pytest.mark.parametrize("reused", [False, True], ids=["new connection", "reused connection"])
@pytest.mark.parametrize("body", [b"", b"hello"], ids=["no body", "body"])
async def test_before_the_head(lane: Lane, backend: Backend, leave: Leave, reused: bool, body: bytes):
    if reused:
        await fetch(lane.port)
    gone: list[bytes] = []
    backend.handler = watches(gone)
    async with RawClient(lane.port) as client:
        await client.request("PUT", "/left", body=body)
        await eventually(lambda: backend.requests and backend.requests[-1].target == b"/left")
        leave(client)
        await eventually(lambda: gone == [b"/left"], within=AT_ONCE)
    await lane.quiet()
    assert lane.counted(backend).failures == 0
    assert lane.upstream_connections == 0


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: half",
    ],
    ids=["length", "chunked", "until close"],
)
async def test_after_the_head(lane: Lane, backend: Backend, leave: Leave, begin: bytes):
    gone: list[bytes] = []
    backend.handler = watches(gone, begin)
    async with RawClient(lane.port) as client:
        await client.request()
        await client.read_until(b"half")
        leave(client)
        await eventually(lambda: gone, within=AT_ONCE)
    await lane.quiet()
    assert lane.counted(backend).failures == 0


async def test_in_the_middle_of_the_body(lane: Lane, backend: Backend, leave: Leave):
    """The backend sees that the body is not whole: nobody makes up an end."""
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
        await client.send(encode_chunk(b"hello"))
        await eventually(lambda: backend.requests and backend.requests[0].body == b"hello")
        leave(client)
        await eventually(lambda: backend.connections_open == 0, within=AT_ONCE)
    assert not backend.requests[0].complete
    assert not backend.requests[0].raw.endswith(b"0\r\n\r\n")
    await lane.quiet()
    assert lane.counted(backend).failures == 0


async def tasks_at_rest() -> int:
    """How many tasks there are once the worker's own have all begun."""
    await eventually(lambda: any(task.get_name() == "follow-watch" for task in asyncio.all_tasks()), every=0.001)
    return len(asyncio.all_tasks())


def dialling() -> list[object]:
    """The tasks that connect to a backend; the worker's own come and go as they like."""
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    return [each for each in coroutines if "/upstream/" in getattr(getattr(each, "cr_code", None), "co_filename", "")]


async def test_while_connecting(start_lane: StartLane, leave: Leave):
    with unresponsive() as url:
        lane = await start_lane(url)
        descriptors = open_descriptors()
        async with RawClient(lane.port) as client:
            await client.request()
            await eventually(lambda: lane.in_flight == 1 and dialling())
            leave(client)
            await eventually(lambda: lane.in_flight == 0, within=AT_ONCE)
        await eventually(lambda: not dialling(), within=AT_ONCE)
        await eventually(lambda: open_descriptors() <= descriptors, within=AT_ONCE)


async def test_while_connecting_for_the_second_time(start_lane: StartLane, leave: Leave):
    """The first attempt's end must not make us forget the second attempt."""
    accepted: list[asyncio.StreamWriter] = []

    async def handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        if len(accepted) == 1:
            writer.write(b"this is not TLS\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(handshake, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        lane = await start_lane(f"https://127.0.0.1:{port}", f"https://localhost:{port}", tls={"verify": False})
        async with RawClient(lane.port) as client:
            await client.request()
            await eventually(lambda: len(accepted) == 2)
            leave(client)
            await eventually(lambda: lane.in_flight == 0, within=AT_ONCE)
            await eventually(accepted[1].transport.is_closing, within=AT_ONCE)


async def test_a_client_that_has_its_answer_may_go(lane: Lane, backend: Backend, leave: Leave):
    for _ in range(20):
        async with RawClient(lane.port) as client:
            await client.request()
            await client.read_response()
            leave(client)
    await lane.quiet()
    assert backend.connections_total == 1  # which was never in doubt


async def test_a_pipelined_request_goes_with_its_client(lane: Lane, backend: Backend, leave: Leave):
    lane.needs("client")  # a stock uvicorn stops reading, and so sees no end, while it has a request in hand
    gone: list[bytes] = []
    backend.handler = watches(gone)
    async with RawClient(lane.port) as client:
        await client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: backend.requests)
        leave(client)
        await eventually(lambda: gone == [b"/1"], within=AT_ONCE)
    await lane.quiet()
    assert len(backend.requests) == 1


def open_descriptors() -> int:
    """Files and sockets that this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def storm(port: int, number: int, draw: random.Random) -> None:
    """So many requests of all kinds, each left at a random moment."""
    kinds: list[Callable[[RawClient], Awaitable[None]]] = [
        lambda client: client.request(target="/quick"),
        lambda client: client.request(target="/slow"),
        lambda client: client.request(target="/stream"),
        lambda client: client.request("POST", "/quick", body=b"x" * 100_000),
        lambda client: client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\nhalf"),
        lambda client: client.send(b"GET /slow HTTP/1.1\r\nHo"),
        lambda client: client.send(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n" * 5),
        lambda client: client.request(target="/cut"),
    ]

    async def one() -> None:
        async with RawClient(port) as client:
            try:
                async with asyncio.timeout(draw.random() * 0.15):
                    await draw.choice(kinds)(client)
                    while await client.read_some():
                        pass
            except (TimeoutError, ConnectionError):
                draw.choice(list(WAYS.values()))(client)

    limit = asyncio.Semaphore(100)

    async def limited() -> None:
        async with limit:
            await one()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(number):
            tasks.create_task(limited())


async def behave(request: Request, connection: Connection) -> None:
    """What the targets of a storm say."""
    match request.target:
        case b"/slow":
            await asyncio.sleep(0.1)
            if not connection.is_closing:
                await connection.respond(body=b"slow")
        case b"/stream":
            await connection.start_chunked()
            for _ in range(100):
                if connection.is_closing:
                    return
                await connection.chunk(b"x" * 10_000)
                await asyncio.sleep(0.005)
            await connection.end_chunked()
        case b"/cut":
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            connection.reset()
        case _:
            await connection.respond(body=b"quick")


@pytest.mark.timeout(120)
async def test_a_storm_of_leaving_clients_leaves_nothing_behind(start_lane: StartLane, backend: Backend):
    backend.handler = behave
    draw = random.Random(7)
    async with Backend(behave) as other:
        lane = await start_lane(backend.url, other.url)
        await fetch(lane.port, "/quick")
        tasks, descriptors = await tasks_at_rest(), open_descriptors()
        await storm(lane.port, 1000, draw)
        await lane.quiet()
        await eventually(lambda: not lane.runtime.clients)
        assert lane.in_flight == 0
        idle = lane.upstream_connections
        await eventually(lambda: backend.connections_open + other.connections_open == lane.upstream_connections)
        for pool in lane.runtime.pools.values():
            for upstream in pool.upstreams.values():
                upstream.close_idle(float("inf"))
        await eventually(lambda: backend.connections_open + other.connections_open == 0)
        assert idle <= 100  # never more than were under way at once
        gc.collect()
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        await eventually(lambda: open_descriptors() <= descriptors)
        backend.handler = other.handler = answers()
        assert (await fetch(lane.port)).status == 200
