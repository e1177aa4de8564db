"""Turns on a client's connection, and who gets which connection to a backend (RFC 9112 §9)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count, product

import pytest

from backend import Backend, Connection, Handler, Request, answers, sends, stalls
from cases import case
from lanes import Lane, LaneKind, config_of, serving, settled
from raw_client import RawClient, fetch
from waiting import eventually
from wire import TruncatedError, encode_head


async def echo(request: Request, connection: Connection) -> None:
    """The target as the body."""
    await connection.respond(body=request.target)


async def test_pipelined_requests_are_answered_in_order_rfc9112_9_3_2(lane: Lane, backend: Backend):
    backend.handler = echo
    async with RawClient(lane.port) as client:
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50)))
        for number in range(50):
            assert (await client.read_response()).body == b"/%d" % number


async def test_pipelined_bodies_are_told_apart(lane: Lane, backend: Backend):
    requests = [
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none",
        b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
        b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfour",
    ]
    for at_once in (True, False):
        backend.requests.clear()
        async with RawClient(lane.port) as client:
            data = b"".join(requests)
            for piece in [data] if at_once else [data[at : at + 7] for at in range(0, len(data), 7)]:
                await client.send(piece)
                await asyncio.sleep(0)
            for _ in requests:
                assert (await client.read_response()).status == 200
        assert [request.body for request in backend.requests] == [b"one", b"two", b"", b"four"]


async def test_a_pipelined_request_waits_for_its_turn(lane: Lane, backend: Backend):
    release = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await release.wait()
        await connection.respond()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: backend.requests)
        assert lane.in_flight == 1
        release.set()
        for _ in range(2):
            await client.read_response()
    assert [request.target for request in backend.requests] == [b"/1", b"/2"]


async def test_thousands_of_pipelined_requests_that_we_answer_ourselves_do_no_harm(lane: Lane, backend: Backend):
    lane.needs("client")
    number = 3000
    async with RawClient(lane.port) as client:
        await client.send(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n" * number)
        for _ in range(number):
            assert (await client.read_response()).status == 405
        await client.request()
        assert (await client.read_response()).status == 200


async def test_what_a_pipeline_holds_in_memory_is_bounded(lane: Lane, backend: Backend):
    lane.needs("client")
    backend.handler = stalls()
    sent = 0

    async def pour(client: RawClient) -> None:
        nonlocal sent
        while True:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 65_000 + b"\r\n\r\n")
            sent += 65_000

    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: backend.requests)
        async with asyncio.TaskGroup() as tasks:
            pouring = tasks.create_task(pour(client))
            # What a loopback connection holds by itself is about 7 MB; a proxy without a bound would take all.
            assert await settled(lambda: sent) < 16_000_000
            pouring.cancel()
        client.abort()


async def test_a_client_that_pipelines_and_does_not_read_gets_no_further(lane: Lane, backend: Backend):
    """Its responses would pile up here: the next request waits until there is room for its answer."""
    lane.needs("client")
    number, size = 2000, 20_000
    backend.handler = answers(body=b"x" * size)
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * number)
        await settled(lambda: len(backend.requests))
        assert len(backend.requests) * size < 16_000_000  # what the kernel holds is about 7 MB
        client.resume_reading()
        for _ in range(number):
            assert len((await client.read_response()).body) == size


async def test_a_connection_is_used_again_rfc9112_9_3(lane: Lane, backend: Backend):
    for _ in range(5):
        await fetch(lane.port)
    assert backend.connections_total == 1
    assert lane.upstream_connections == 1


async def test_the_last_used_connection_is_used_first(lane: Lane, backend: Backend):
    """So that the others grow old and are closed."""
    numbers = count()
    peers: dict[int, Connection] = {}

    async def handle(request: Request, connection: Connection) -> None:
        peers.setdefault(id(connection), connection)
        if request.target != b"/quick":
            await release.wait()
        await connection.respond(body=b"%d" % list(peers).index(id(connection)))

    release = asyncio.Event()
    backend.handler = handle
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(fetch(lane.port, f"/{next(numbers)}"))
        await eventually(lambda: len(backend.requests) == 3)
        release.set()
    used = {(await fetch(lane.port, "/quick")).body for _ in range(5)}
    assert len(used) == 1


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_will_be_closed_is_not_used_again_rfc9112_9_6(
    lane: Lane, backend: Backend, response: bytes
):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(response)

    backend.handler = handle
    for _ in range(3):
        assert (await fetch(lane.port)).body == b"ok"
    assert backend.connections_total == 3


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_backend_that_closes_at_rest_is_not_noticed_rfc9112_9_3_1(lane: Lane, backend: Backend, method: str):
    backend.handler = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # and then it closes
    async with RawClient(lane.port) as client:
        for _ in range(5):
            await client.request(method, body=b"x")
            assert (await client.read_response()).status == 200
            await eventually(lambda: lane.upstream_connections == 0)


def closes_on_reuse() -> Handler:
    """Answers the first request of each connection, and closes on the second without a word."""
    seen: set[int] = set()
    keep: list[Connection] = []

    async def handle(request: Request, connection: Connection) -> None:
        if id(connection) in seen:
            connection.close()
            return
        keep.append(connection)
        seen.add(id(connection))
        await connection.respond()

    return handle


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_a_stale_connection_is_replaced_once_unseen_rfc9112_9_3_1(lane: Lane, backend: Backend, method: str):
    backend.handler = closes_on_reuse()
    assert (await fetch(lane.port)).status == 200
    body = b"hello" if method == "PUT" else b""
    response = await fetch(lane.port, method=method, body=body)
    assert response.status == 200
    assert [request.method for request in backend.requests] == [b"GET", method.encode(), method.encode()]
    assert backend.requests[-1].body == body
    counted = lane.counted(backend)
    assert (counted.failures, counted.retries) == (0, 0)  # it is nobody's fault


async def test_a_post_on_a_stale_connection_is_not_sent_twice_rfc9110_9_2_2(lane: Lane, backend: Backend):
    backend.handler = closes_on_reuse()
    assert (await fetch(lane.port)).status == 200
    response = await fetch(lane.port, method="POST", body=b"pay")
    assert (response.status, response.header("x-sidebeat-error")) == (502, b"reset_before_head")
    assert [request.method for request in backend.requests] == [b"GET", b"POST"]


async def test_a_post_with_an_idempotency_key_is_sent_again(lane: Lane, backend: Backend):
    backend.handler = closes_on_reuse()
    assert (await fetch(lane.port)).status == 200
    headers = [("Host", "a"), ("Idempotency-Key", '"k"')]
    assert (await fetch(lane.port, method="POST", headers=headers, body=b"pay")).status == 200
    assert [request.body for request in backend.requests] == [b"", b"pay", b"pay"]


async def test_all_stale_connections_are_dropped_with_the_first(lane: Lane, backend: Backend):
    """A backend that restarted has closed them all: each request would have to find out anew."""
    backend.handler = closes_on_reuse()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(fetch(lane.port))
    assert lane.upstream_connections > 1
    await fetch(lane.port)
    assert lane.upstream_connections == 1


STRAYS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    b"evil",
    b"\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
]
FIRSTS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
async def test_stray_bytes_never_reach_another_client_rfc9112_9_2(lane: Lane, backend: Backend, later: bool):
    for framing, stray in product(FIRSTS, STRAYS):
        with case((framing, stray)):
            await nobody_gets(lane, backend, stray, framing, later)


async def nobody_gets(lane: Lane, backend: Backend, stray: bytes, framing: str, later: bool) -> None:
    """Neither the client whose answer these bytes follow, nor another."""
    first = FIRSTS[framing]
    method = "HEAD" if framing == "head" else "GET"
    release = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        if request.target != b"/":
            return await connection.respond(body=b"mine")
        await connection.send(first if later else first + stray)
        if later:
            await release.wait()
            await connection.send(stray)
        return None

    backend.handler = handle
    async with RawClient(lane.port) as victim, RawClient(lane.port) as client:
        await client.request(method)
        response = await client.read_response(method=method)
        assert response.body == (b"ok" if framing in ("length", "chunked") else b"")
        release.set()
        await eventually(lambda: lane.upstream_connections == 0)
        for connection in (client, victim):
            await connection.request("GET", "/mine")
            assert (await connection.read_response()).body == b"mine"


async def test_a_head_answered_with_a_body_harms_nobody_rfc9110_9_3_2(lane: Lane, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.request("HEAD")
        assert (await client.read_response(method="HEAD")).header("content-length") == b"4"
        await eventually(lambda: lane.upstream_connections == 0)
        backend.handler = answers(body=b"mine")
        await client.request()
        assert (await client.read_response()).body == b"mine"


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 502)])
async def test_a_body_that_follows_a_head_late_is_not_the_next_answer(
    lane: Lane, backend: Backend, method: str, status: int
):
    """aiohttp sends the body of a stream after the answer to HEAD; whoever comes next must not suffer for it."""
    asked_before: set[Connection] = set()

    async def handle(_: Request, connection: Connection) -> None:
        if connection in asked_before:
            await connection.send(b"hello")
        else:
            await connection.respond(body=b"mine!")
        asked_before.add(connection)

    backend.handler = handle
    await fetch(lane.port)
    response = await fetch(lane.port, method=method, body=b"x" if method == "POST" else b"")
    assert response.status == status
    assert lane.counted(backend).failures == (status == 502)


async def test_a_backend_that_says_it_keeps_no_connection_is_believed(lane: Lane, backend: Backend):
    backend.handler = answers(headers=[("Keep-Alive", "timeout=0")])
    for number in range(1, 4):
        response = await fetch(lane.port, method="POST", body=b"x")
        assert (response.status, response.header("keep-alive")) == (200, None)
        assert (lane.upstream_connections, backend.connections_total) == (0, number)


async def test_what_a_backend_says_of_its_patience_is_kept_to(lane: Lane, backend: Backend):
    [upstream] = lane.runtime.pools["api"].upstreams.values()
    for timeout, limit_s in (("timeout=30", 29.0), ("timeout=2", 1.0)):
        backend.handler = answers(headers=[("Keep-Alive", timeout)])
        await fetch(lane.port)
        assert lane.upstream_connections == 1
        upstream.tick(lane.runtime.coarse.now + limit_s - 0.9)
        assert lane.upstream_connections == 1
        upstream.tick(lane.runtime.coarse.now + limit_s + 0.1)
        assert lane.upstream_connections == 0


@pytest.fixture
async def narrow(lane_kind: LaneKind, backend: Backend) -> AsyncIterator[Lane]:
    """A lane that has one connection to ``backend``, and patience."""
    content = config_of(backend.url, timeouts={"queue_s": 5.0})
    content["pools"]["api"]["connections"] = {"max_connections": 1, "keepalive_requests": 3}
    async with serving(lane_kind, content) as lane:
        yield lane


async def test_who_finds_all_connections_in_use_waits_for_its_turn(narrow: Lane, backend: Backend):
    backend.handler = echo
    [upstream] = narrow.runtime.pools["api"].upstreams.values()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(narrow.port)) for _ in range(8)]
        release = asyncio.Event()

        async def handle(request: Request, connection: Connection) -> None:
            await release.wait()
            await echo(request, connection)

        backend.handler = handle
        expected: list[int] = []
        for number, client in enumerate(clients):
            await client.request(target=f"/{number}")
            expected.append(number)
            await eventually(lambda: backend.requests and upstream.waiting == expected[-1])
        clients[4].abort()
        await eventually(lambda: upstream.waiting == 6)
        assert backend.connections_total == 1
        release.set()
        for number in (0, 1, 2, 3, 5, 6, 7):
            response = await clients[number].read_response()
            assert (response.status, response.body) == (200, b"/%d" % number)
    assert [request.target for request in backend.requests] == [b"/%d" % number for number in (0, 1, 2, 3, 5, 6, 7)]
    assert backend.connections_total == 3  # each serves three
    assert narrow.counted(backend).failures == 0


async def test_who_waits_learns_that_the_backend_has_died(narrow: Lane, backend: Backend):
    backend.handler = stalls()
    [upstream] = narrow.runtime.pools["api"].upstreams.values()
    async with RawClient(narrow.port) as first, RawClient(narrow.port) as second:
        await first.request()
        await eventually(lambda: backend.requests)
        await second.request("POST", body=b"x")
        await eventually(lambda: upstream.waiting)
        backend.refuse()
        backend.drop_connections()
        assert (await second.read_response()).header("x-sidebeat-error") == b"connect_refused"
        assert (await first.read_response()).status == 502


async def test_waiting_in_vain_is_503_and_no_fault_of_the_backend(lane_kind: LaneKind, backend: Backend):
    """RFC 9110 §10.2.3: it says when to come again."""
    content = config_of(backend.url, timeouts={"queue_s": 0.05})
    content["pools"]["api"]["connections"] = {"max_connections": 1}
    release = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await release.wait()
        await connection.respond()

    backend.handler = handle
    async with serving(lane_kind, content) as lane, RawClient(lane.port) as first:
        await first.request()
        await eventually(lambda: backend.requests)
        response = await fetch(lane.port, method="POST", body=b"x")
        assert (response.status, response.header("x-sidebeat-error")) == (503, b"queue_timeout")
        assert response.header("retry-after") == b"1"
        assert lane.counted(backend).failures == 0
        release.set()
        assert (await first.read_response()).status == 200
        assert (await fetch(lane.port)).status == 200


async def test_close_is_honoured_rfc9112_9_6(lane: Lane, backend: Backend):
    async with RawClient(lane.port) as client:
        await client.send(encode_head("GET / HTTP/1.1", [("Host", "a"), ("Connection", "Close")]))
        response = await client.read_response()
        assert response.header("connection") == b"close"
        assert await client.read_until_close() == b""
    assert backend.requests[0].header("connection") is None
    assert lane.upstream_connections == 1


async def test_what_is_pipelined_after_a_close_is_not_served_rfc9112_9_6(lane: Lane, backend: Backend):
    async with RawClient(lane.port) as client:
        await client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).status == 200
        assert await client.read_until_close() == b""
    assert [request.target for request in backend.requests] == [b"/1"]


async def test_what_is_pipelined_after_a_close_does_not_destroy_the_answer_rfc9112_9_6(lane: Lane, backend: Backend):
    """More of it than we have read: to close at once would be a reset."""
    lane.needs("client")
    release = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await release.wait()
        await connection.respond(body=b"x" * 100_000)

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.send(encode_head("GET / HTTP/1.1", [("Host", "a"), ("Connection", "close")]) + b"y" * 1_000_000)
        await eventually(lambda: backend.requests)
        client.pause_reading()
        release.set()
        await lane.quiet()
        await asyncio.sleep(0.1)
        client.resume_reading()
        assert (await client.read_response()).body == b"x" * 100_000
        assert await client.read_until_close() == b""


async def test_a_drain_asks_for_no_more_on_each_connection(lane: Lane, backend: Backend):
    lane.needs("client")
    async with RawClient(lane.port) as client, RawClient(lane.port) as waiting:
        await client.request()
        assert (await client.read_response()).header("connection") is None
        release = asyncio.Event()

        async def handle(request: Request, connection: Connection) -> None:
            await release.wait()
            await connection.respond()

        backend.handler = handle
        await waiting.request()
        await eventually(lambda: lane.in_flight)
        lane.runtime.drain()
        release.set()
        await client.request()
        for each in (client, waiting):
            response = await each.read_response()
            assert (response.status, response.header("connection")) == (200, b"close")
            assert await each.read_until_close() == b""


async def test_the_end_of_the_worker_is_visible_to_who_was_in_the_middle(lane: Lane, backend: Backend):
    lane.needs("client")

    async def handle(request: Request, connection: Connection) -> None:
        if request.target == b"/begun":
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await connection.stall()

    backend.handler = handle
    async with RawClient(lane.port) as begun, RawClient(lane.port) as waiting:
        await begun.request(target="/begun")
        await begun.read_until(b"half")
        await waiting.request()
        await eventually(lambda: lane.in_flight == 2)
        await lane.runtime.aclose()
        assert (await waiting.read_response()).status == 503
        with pytest.raises((TruncatedError, ConnectionError)):
            await begun.read_exactly(1)
