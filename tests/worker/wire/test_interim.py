"""1xx responses, Expect, and answers that come before the request is over (RFC 9110 §10.1.1, §15.2)."""

import pytest

from backend import Backend, Connection, Request
from lanes import Lane, StartLane
from raw_client import RawClient
from rude import begins
from waiting import eventually
from wire import encode_chunk, encode_head, encode_last_chunk

FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-tWo: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_early_hints_arrive_before_the_answer_rfc8297(lane: Lane, backend: Backend):
    lane.needs("interim")

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(HINTS)
        await connection.send(HINTS + FINAL)

    backend.handler = handle
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request()
            response = await client.read_response()
            assert (response.status, response.body) == (200, b"ok")
            assert [each.status for each in response.informational] == [103, 103]
            hints = response.informational[0]
            assert hints.headers[:2] == [(b"Link", b"</a.css>; rel=preload"), (b"X-tWo", b"1")]
            assert hints.header("x-hop") is None
            assert hints.header("date") is None
    assert backend.connections_total == 1


async def test_early_hints_are_not_held_back(lane: Lane, backend: Backend):
    lane.needs("interim")

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(HINTS)
        await connection.stall()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.request()
        assert (await client.read_until(b"\r\n")).startswith(b"HTTP/1.1 103")


async def test_http_1_0_gets_no_1xx_rfc9110_15_2(lane: Lane, backend: Backend):
    lane.needs("1.0")

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(HINTS + CONTINUE + FINAL)

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        response = await client.read_response()
        assert (response.informational, response.status, response.body) == ([], 200, b"ok")


async def test_thousands_of_1xx_do_no_harm(lane: Lane, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(CONTINUE * 3000 + FINAL)

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.request()
        response = await client.read_response()
        assert (response.status, response.body) == (200, b"ok")
        assert len(response.informational) == (0 if "interim" in lane.lacks else 3000)


async def test_continue_is_the_backends_to_say_rfc9110_10_1_1(lane: Lane, backend: Backend):
    lane.needs("interim")
    backend.reads_bodies = False
    told = []

    async def handle(request: Request, connection: Connection) -> None:
        told.append(request.header("expect"))
        await connection.send(CONTINUE)
        await request.read_body()
        await connection.respond(201)

    backend.handler = handle
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")])
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.send(head)
            assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 Continue\r\n")
            await client.send(b"hello")
            assert (await client.read_response()).status == 201
    assert told == [b"100-continue", b"100-continue"]
    assert backend.requests[-1].body == b"hello"
    assert backend.connections_total == 1


async def test_we_do_not_say_continue_ourselves(lane: Lane, backend: Backend):
    lane.needs("interim")
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond(417, [("X-Why", "no")], b"too much")

    backend.handler = handle
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")])
    async with RawClient(lane.port) as client:
        await client.send(head)
        response = await client.read_response()
        assert (response.status, response.body, response.informational) == (417, b"too much", [])
        # Whether the body still comes is the client's to decide, so the connection cannot go on (RFC 9110 §10.1.1).
        assert response.header("connection") == b"close"
        assert await client.read_until_close() == b""


async def test_who_does_not_wait_for_continue_is_served_too(lane: Lane, backend: Backend):
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")])
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.send(head + b"hello")
            assert (await client.read_response()).status == 200
    assert backend.requests[-1].body == b"hello"


async def test_expect_waits_for_the_backend_not_for_the_client(start_lane: StartLane, backend: Backend):
    """A backend that never says 100 is late with its answer; the client did nothing wrong."""
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.stall()

    backend.handler = handle
    lane = await start_lane(backend.url, timeouts={"response_headers_s": 0.3})
    lane.needs("interim")
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")])
    async with RawClient(lane.port) as client:
        await client.send(head)
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (504, b"response_timeout")


async def test_once_told_to_continue_it_is_the_client_that_is_slow(start_lane: StartLane, backend: Backend):
    backend.reads_bodies = False
    backend.handler = begins(CONTINUE)
    lane = await start_lane(
        backend.url, timeouts={"response_headers_s": 0.3}, listen={"body_idle_s": 0.5}, retry={"num_retries": 0}
    )
    lane.needs("interim")
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")])
    async with RawClient(lane.port) as client:
        await client.send(head)
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (408, b"body_timeout")
    assert lane.counted(backend).failures == 0


async def test_a_final_answer_comes_through_while_the_body_is_still_coming_rfc9112_9_3(lane: Lane, backend: Backend):
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond(413, body=b"too much")
        await connection.gone()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "1000000")]) + b"x" * 1000)
        response = await client.read_response()
        assert (response.status, response.body) == (413, b"too much")
        if "client" not in lane.lacks:
            assert response.header("connection") == b"close"
        await client.send(b"x" * 100_000)  # is read and dropped; a reset could destroy the answer on its way
        if "client" not in lane.lacks:
            assert await client.read_until_close() == b""
    await eventually(lambda: backend.connections_open == 0)


async def test_an_early_answer_to_a_client_that_reads_only_afterwards_is_not_lost(lane: Lane, backend: Backend):
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond(413, body=b"too much")
        await connection.gone()

    backend.handler = handle
    body = b"x" * 500_000
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", str(len(body)))]) + body)
        response = await client.read_response()
        assert (response.status, response.body) == (413, b"too much")


async def test_an_early_answer_never_leaves_a_body_for_the_next_request(lane: Lane, backend: Backend):
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond(401)
        await connection.gone()

    backend.handler = handle
    smuggled = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "500")]))
        assert (await client.read_response()).status == 401
        await client.send(smuggled)
        if "client" not in lane.lacks:
            assert await client.read_until_close() == b""
        else:
            with pytest.raises(TimeoutError):
                await client.read_some(within=0.3)
    assert [request.target for request in backend.requests] == [b"/"]


async def test_request_and_response_may_stream_at_the_same_time(lane: Lane, backend: Backend):
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        while size := int((await connection.reader.until(b"\r\n"))[:-2], 16):
            got = bytearray()
            await connection.reader.exactly(size + 2, got)
            await connection.chunk(bytes(got[:-2]).upper())
        await connection.reader.until(b"\r\n")
        await connection.end_chunked()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
        await client.read_until(b"\r\n\r\n")
        for word in (b"one", b"two", b"three"):
            await client.send(encode_chunk(word))
            assert await client.read_exactly(len(encode_chunk(word))) == encode_chunk(word.upper())
        await client.send(encode_last_chunk())
        assert await client.read_until(b"\r\n\r\n") == b"0\r\n\r\n"
