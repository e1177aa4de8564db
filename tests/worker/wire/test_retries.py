"""Attempts that fail and are made again elsewhere, where that does no harm (RFC 9110 §9.2.2)."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from backend import Backend, Connection, Handler, Request, answers, answers_chunked, resets, sends
from lanes import Lane, StartLane, settled
from raw_client import RawClient, fetch
from rude import begins, never_answers, unresponsive
from waiting import eventually
from wire import TruncatedError, encode_chunk, encode_head, encode_last_chunk

HASTY = {"connect_s": 0.3, "response_headers_s": 0.8}


async def meets_both(lane: Lane, method: str = "GET", body: bytes = b"") -> list[tuple[int, bytes]]:
    """Status and failure of two requests: round robin gives each backend one first attempt."""
    responses = [await fetch(lane.port, method=method, body=body) for _ in range(2)]
    return [(response.status, response.header("x-sidebeat-error") or b"") for response in responses]


def failures_of(lane: Lane, bad: Backend) -> tuple[int, int]:
    """What is held against it: failures and retries."""
    counted = lane.counted(bad)
    return counted.failures, counted.retries


OK = [(200, b"")] * 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_connection_is_tried_elsewhere_whatever_the_method(
    start_lane: StartLane, backend: Backend, bad: Backend, method: str
):
    bad.refuse()
    lane = await start_lane(bad.url, backend.url)
    assert await meets_both(lane, method, b"hello") == OK
    assert [request.body for request in backend.requests] == [b"hello"] * 2
    assert failures_of(lane, bad) == (1, 1)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_is_not_accepted_is_tried_elsewhere(
    start_lane: StartLane, backend: Backend, method: str
):
    with unresponsive() as url:
        lane = await start_lane(url, backend.url, timeouts=HASTY)
        assert await meets_both(lane, method, b"hello") == OK


async def test_connecting_is_tried_only_so_often(start_lane: StartLane):
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(Backend()) for _ in range(5)]
        for backend in backends:
            backend.refuse()
        lane = await start_lane(*(backend.url for backend in backends), retry={"connect_retries": 2})
        assert (await fetch(lane.port)).status == 502
        tried = [lane.counted(backend).requests for backend in backends]
        assert sorted(tried) == [0, 0, 1, 1, 1]  # three different ones


@pytest.mark.parametrize("partly", [b"", b"HTTP/1.1 20", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_reset_before_the_head_is_tried_elsewhere_if_that_does_no_harm(
    start_lane: StartLane, backend: Backend, bad: Backend, method: str, partly: bytes
):
    bad.handler = resets(partly)
    lane = await start_lane(bad.url, backend.url)
    body = b"hello" if method == "PUT" else b""
    assert await meets_both(lane, method, body) == OK
    assert [request.body for request in backend.requests] == [body] * 2
    assert failures_of(lane, bad) == (1, 1)


async def test_a_reset_before_the_head_of_a_post_is_502(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = resets()
    lane = await start_lane(bad.url, backend.url)
    assert sorted(await meets_both(lane, "POST")) == [(200, b""), (502, b"reset_before_head")]
    assert len(backend.requests) == len(bad.requests) == 1
    assert failures_of(lane, bad) == (1, 0)


async def test_a_post_with_an_idempotency_key_is_tried_elsewhere(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = resets()
    lane = await start_lane(bad.url, backend.url)
    for _ in range(2):
        headers = [("Host", "a"), ("Idempotency-Key", "k")]
        assert (await fetch(lane.port, method="POST", headers=headers, body=b"pay")).status == 200
    assert [request.body for request in backend.requests] == [b"pay"] * 2


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "begun"])
async def test_a_gateway_error_is_tried_elsewhere(
    start_lane: StartLane, backend: Backend, bad: Backend, status: int, chunked: bool
):
    head = b"HTTP/1.1 %d X\r\n" % status
    bad.handler = answers(status, body=b"no") if not chunked else begins(head + b"Content-Length: 9\r\n\r\nno")
    lane = await start_lane(bad.url, backend.url)
    assert await meets_both(lane) == OK
    assert failures_of(lane, bad) == (1, 1)


async def test_the_last_gateway_error_arrives_as_it_came(start_lane: StartLane, backend: Backend, bad: Backend):
    for each in (backend, bad):
        each.handler = answers(503, [("Retry-After", "7"), ("X-Why", "busy")], b"come back")
    lane = await start_lane(bad.url, backend.url)
    response = await fetch(lane.port)
    assert (response.status, response.body, response.header("retry-after")) == (503, b"come back", b"7")
    assert response.header("x-sidebeat-error") is None
    assert len(backend.requests) == len(bad.requests) == 1


async def test_a_gateway_error_of_a_post_arrives_at_once(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = answers(503, body=b"no")
    lane = await start_lane(bad.url, backend.url)
    assert sorted(await meets_both(lane, "POST")) == [(200, b""), (503, b"")]
    assert failures_of(lane, bad) == (1, 0)


async def test_a_server_error_is_a_failure_and_an_answer(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = answers(500, body=b"bug")
    lane = await start_lane(bad.url, backend.url)
    assert sorted(await meets_both(lane)) == [(200, b""), (500, b"")]
    assert failures_of(lane, bad) == (1, 0)


async def test_a_late_head_is_tried_elsewhere(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = never_answers()
    lane = await start_lane(bad.url, backend.url, timeouts=HASTY)
    assert await meets_both(lane) == OK
    assert failures_of(lane, bad) == (1, 1)
    await eventually(lambda: bad.connections_open == 0)


async def test_a_late_head_of_a_post_is_504(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = never_answers()
    lane = await start_lane(bad.url, backend.url, timeouts=HASTY)
    assert sorted(await meets_both(lane, "POST", b"x")) == [(200, b""), (504, b"response_timeout")]


async def test_nothing_is_tried_again_once_the_answer_has_begun(start_lane: StartLane, backend: Backend, bad: Backend):
    for each in (backend, bad):
        each.handler = resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    lane = await start_lane(bad.url, backend.url)
    async with RawClient(lane.port) as client:
        await client.request()
        with pytest.raises((TruncatedError, ConnectionError)):
            await client.read_response()
    assert len(backend.requests) + len(bad.requests) == 1


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (resets(), ["gateway_error", "timeout"]),
        (answers(503), ["reset"]),
        (never_answers(), ["reset", "gateway_error"]),
    ],
)
async def test_only_what_the_config_names_is_tried_again(
    start_lane: StartLane, backend: Backend, bad: Backend, handler: Handler, words: list[str]
):
    bad.handler = handler
    lane = await start_lane(bad.url, backend.url, retry={"retry_on": words}, timeouts=HASTY)
    good, failed = sorted(status for status, _ in await meets_both(lane))
    assert good == 200
    assert failed in (502, 503, 504)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_is_sent_again_whole_while_it_is_small(
    start_lane: StartLane, backend: Backend, bad: Backend, framing: str
):
    bad.handler = resets()
    lane = await start_lane(bad.url, backend.url)
    for _ in range(2):
        async with RawClient(lane.port) as client:
            field = ("Content-Length", "60000") if framing == "length" else ("Transfer-Encoding", "chunked")
            await client.send(encode_head("PUT / HTTP/1.1", [("Host", "a"), field]))
            for _ in range(3):
                await client.send(b"x" * 20_000 if framing == "length" else encode_chunk(b"x" * 20_000))
            if framing == "chunked":
                await client.send(encode_last_chunk())
            assert (await client.read_response()).status == 200
    assert [request.body for request in backend.requests] == [b"x" * 60_000] * 2


async def test_a_body_too_big_to_keep_is_not_sent_again(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = resets()
    lane = await start_lane(bad.url, backend.url, retry={"replay_buffer_bytes": 1000})
    assert sorted(await meets_both(lane, "PUT", b"x" * 2000)) == [(200, b""), (502, b"reset_before_head")]


async def test_an_attempt_that_fails_in_the_middle_of_an_upload_goes_on_elsewhere(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    """The first half was kept; the second half goes to the other backend as it comes."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.reader.until(b"first")
        connection.reset()

    bad.reads_bodies = False
    bad.handler = handle
    lane = await start_lane(bad.url, backend.url)
    for _ in range(2):
        async with RawClient(lane.port) as client:
            await client.send(encode_head("PUT / HTTP/1.1", [("Host", "a"), ("Content-Length", "11")]) + b"first")
            await eventually(lambda: len(backend.requests) > 0)
            await client.send(b"second")
            assert (await client.read_response()).status == 200
    assert [request.body for request in backend.requests] == [b"firstsecond"] * 2


MUCH = 12_000_000
KEEPS_MUCH = {"replay_buffer_bytes": 1 << 24}


def takes_nothing(until: asyncio.Event) -> Handler:
    """Neither reads nor answers; then a reset."""

    async def handle(request: Request, connection: Connection) -> None:
        await until.wait()
        connection.reset()

    return handle


async def put(lane: Lane, size: int) -> int:
    """The status of a PUT with so big a body."""
    async with RawClient(lane.port) as client, asyncio.TaskGroup() as tasks:
        await client.send(encode_head("PUT / HTTP/1.1", [("Host", "a"), ("Content-Length", str(size))]))
        tasks.create_task(client.send(b"x" * size))
        return (await client.read_response()).status


@pytest.mark.parametrize("warm", [False, True], ids=["new connections", "reused connections"])
async def test_a_failed_attempt_that_held_the_client_lets_it_go_on_elsewhere(
    start_lane: StartLane, backend: Backend, bad: Backend, warm: bool
):
    """The first backend took nothing, so that the client had to wait: the second takes everything."""
    lane = await start_lane(bad.url, backend.url, retry=KEEPS_MUCH)
    if warm:
        assert await meets_both(lane) == OK
    full = asyncio.Event()
    bad.reads_bodies = False
    bad.handler = takes_nothing(full)
    async with asyncio.TaskGroup() as tasks:
        puts = [tasks.create_task(put(lane, MUCH)) for _ in range(2)]
        await asyncio.sleep(0.5)
        full.set()
    assert [each.result() for each in puts] == [200, 200]
    assert [len(request.body) for request in backend.requests[-2:]] == [MUCH, MUCH]


async def test_a_stale_connection_that_held_the_client_lets_it_go_on(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, retry=KEEPS_MUCH)
    await fetch(lane.port)
    full = asyncio.Event()
    backend.reads_bodies = False
    stale = takes_nothing(full)

    async def handle(request: Request, connection: Connection) -> None:
        if not full.is_set():
            return await stale(request, connection)
        await request.read_body()
        return await connection.respond()

    backend.handler = handle
    async with asyncio.TaskGroup() as tasks:
        putting = tasks.create_task(put(lane, MUCH))
        await asyncio.sleep(0.5)
        full.set()
    assert putting.result() == 200
    assert lane.counted(backend).retries == 0


def takes(size: int) -> Handler:
    """So much of a body, and is gone."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.reader.exactly(size, bytearray())
        connection.reset()

    return handle


async def test_what_is_sent_again_at_once_holds_the_client_too(start_lane: StartLane, backend: Backend, bad: Backend):
    """The kept part alone fills the way to the second backend, which takes nothing: the client has to wait for it."""
    lane = await start_lane(bad.url, backend.url, retry=KEEPS_MUCH)
    for each in (backend, bad):
        each.reads_bodies = False
    backend.handler, bad.handler = takes_nothing(asyncio.Event()), takes(5_000_000)
    size, sent = 100_000_000, 0

    async def pour(client: RawClient) -> None:
        nonlocal sent
        await client.send(encode_head("PUT / HTTP/1.1", [("Host", "a"), ("Content-Length", str(size))]))
        while sent < size:
            await client.send(b"x" * 100_000)
            sent += 100_000

    await fetch_first_from(lane, backend, bad)
    async with RawClient(lane.port) as client:
        async with asyncio.TaskGroup() as tasks:
            pouring = tasks.create_task(pour(client))
            await eventually(lambda: bad.requests and backend.requests)
            assert await settled(lambda: sent) < 30_000_000
            pouring.cancel()
        client.abort()
        backend.drop_connections()


async def test_a_client_that_has_sent_everything_is_seen_to_leave_though_the_backend_takes_nothing(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    lane = await start_lane(bad.url, backend.url, retry=KEEPS_MUCH)
    for each in (backend, bad):
        each.reads_bodies = False
    backend.handler, bad.handler = takes_nothing(asyncio.Event()), takes(MUCH)
    await fetch_first_from(lane, backend, bad)
    async with RawClient(lane.port) as client:
        await client.send(encode_head("PUT / HTTP/1.1", [("Host", "a"), ("Content-Length", str(MUCH))]))
        await client.send(b"x" * MUCH)
        await eventually(lambda: bad.requests and backend.requests)
        client.close()
        await eventually(lambda: not lane.in_flight)


async def fetch_first_from(lane: Lane, backend: Backend, bad: Backend) -> None:
    """Make the next attempt go to the bad one: round robin starts anywhere."""
    answering = backend.handler, bad.handler
    backend.handler = bad.handler = answers(headers=[("Connection", "close")])
    while not backend.requests or backend.requests[-1].target != b"/turn":
        await fetch(lane.port, "/turn")
        if bad.requests:
            bad.requests.clear()
    backend.handler, bad.handler = answering
    backend.requests.clear()
    bad.requests.clear()


async def test_a_retried_request_is_the_same_request(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = sends(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    backend.handler = answers_chunked(b"fine")
    lane = await start_lane(bad.url, backend.url, routes=[{"pool": "api", "host_header": "upstream"}])
    for _ in range(2):
        assert (await fetch(lane.port, "/x?y", headers=[("Host", "a"), ("X-One", "1")])).body == b"fine"
    [sent], both = bad.requests, backend.requests
    assert sent.target == both[0].target == both[1].target == b"/x?y"
    assert sent.all("host") == [f"127.0.0.1:{bad.port}".encode()]
    assert both[0].all("host") == [f"127.0.0.1:{backend.port}".encode()]


async def test_without_another_backend_nothing_is_asked_twice(lane: Lane, backend: Backend):
    backend.handler = answers(503)
    assert (await fetch(lane.port)).status == 503
    assert len(backend.requests) == 1
