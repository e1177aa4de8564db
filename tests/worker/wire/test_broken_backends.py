"""Backends that break the rules: a client gets 502 or a visible abort, and the next request of any client is unharmed.

RFC 9112 §8 (incomplete messages), §6.3 (framing), §11 (attacks).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from backend import Backend, Connection, Handler, Request, answers, resets, sends
from cases import case
from lanes import Lane, StartLane
from raw_client import RawClient, Response, fetch
from wire import TruncatedError, encode_head

NEXT = b"untouched"

BROKEN_HEADS = {
    "garbage": b"\x00\x01\x02\x03 not http at all",
    "another protocol": b"220 mail.test ESMTP\r\n",
    "tls": b"\x15\x03\x03\x00\x02\x02\x28",
    "http 2": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "http 0.9": b"<html>hello</html>\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "one bare LF": b"HTTP/1.1 200 OK\r\nX: 1\nContent-Length: 2\r\n\r\nok",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "empty name": b"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nhello\r\nContent-Length: 2\r\n\r\nok",
    "space in a name": b"HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 2\r\n\r\nok",
    "control character in the reason": b"HTTP/1.1 200 O\x07K\r\nContent-Length: 2\r\n\r\nok",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "two lengths in one": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "endless length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "1 MiB of headers": b"HTTP/1.1 200 OK\r\n" + b"X: 12345678901\r\n" * 65_536 + b"Content-Length: 2\r\n\r\nok",
    "one endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20),
    "endless reason": b"HTTP/1.1 200 " + b"x" * (1 << 20),
    "a switch nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw",
}

BROKEN_CHUNKS = {
    "no size": b"\r\nok\r\n",
    "bad size": b"zz\r\n",
    "negative size": b"-2\r\nok\r\n",
    "prefixed size": b"0x2\r\nok\r\n",
    "endless size": b"f" * 17 + b"\r\n",
    "space before the size": b" 2\r\nok\r\n",
    "size ended by LF": b"2\nok\r\n",
    "data ended by LF": b"2\r\nok\n0\r\n\r\n",
    "data too long": b"2\r\nokay\r\n0\r\n\r\n",
    "endless extension": b"2;" + b"x" * 100_000,
    "LF in an extension": b"2;a\nb\r\nok\r\n",
    "trailers ended by LF": b"0\nX: 1\n\n",
    "obs-fold in trailers": b"0\r\nX: 1\r\n 2\r\n\r\n",
    "1 MiB of trailers": b"0\r\n" + b"X: 12345678901\r\n" * 65_536 + b"\r\n",
    "end without an end": b"2\r\nok\r\n0\r\nX",
}


@asynccontextmanager
async def bystander(lane: Lane) -> AsyncIterator[None]:
    """A client that is connected all the time, and is served as if nothing had happened."""
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request("GET", "/next")
            assert (await client.read_response()).body == NEXT
        yield
        for _ in range(2):
            await client.request("GET", "/next")
            assert (await client.read_response()).body == NEXT


def breaks(handler: Handler) -> Handler:
    """Behave towards /next, and as told towards everything else."""

    async def handle(request: Request, connection: Connection) -> None:
        if request.target == b"/next":
            await connection.respond(body=NEXT)
        else:
            await handler(request, connection)

    return handle


async def outcome(lane: Lane, head: bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") -> Response | None:
    """The whole response, or None when the client saw that it was cut off; then the connection is over."""
    async with RawClient(lane.port) as client:
        await client.send(head)
        try:
            return await client.read_response()
        except (TruncatedError, ConnectionError):
            with contextlib.suppress(ConnectionError):
                assert not await client.read_until_close()
            return None


async def test_a_broken_head_is_502(lane: Lane, backend: Backend):
    """It is not asked again, but where these could be stray bytes: no head, on a connection that served before."""
    for what, data in BROKEN_HEADS.items():
        backend.handler = breaks(sends(data))
        backend.requests.clear()
        with case(what):
            async with bystander(lane):
                response = await outcome(lane)
                assert response is not None
                assert (response.status, response.header("x-sidebeat-error")) == (502, b"bad_response")
                assert b"ok" not in response.body
            asked = len([request for request in backend.requests if request.target == b"/"])
            assert asked == (1 if data.startswith(b"HTTP/") else 2)


def drips(data: bytes) -> Handler:
    """These bytes one by one, or many of them in some hundred pieces."""
    step = 1 if len(data) < 1000 else 4099

    async def handle(request: Request, connection: Connection) -> None:
        for at in range(0, len(data), step):
            await connection.send(data[at : at + step])
            await asyncio.sleep(0)

    return handle


async def test_a_broken_head_that_comes_byte_by_byte_is_502(lane: Lane, backend: Backend):
    for what, data in BROKEN_HEADS.items():
        backend.handler = breaks(drips(data))
        with case(what):
            async with bystander(lane):
                response = await outcome(lane)
                assert response is not None
                assert (response.status, response.header("x-sidebeat-error")) == (502, b"bad_response")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_broken_chunks_are_never_taken_for_a_whole_body(lane: Lane, backend: Backend, version: str):
    if version == "1.0":
        lane.needs("1.0")
    for what, data in BROKEN_CHUNKS.items():
        with case(what):
            await is_seen_to_be_cut(lane, backend, data, version)


async def is_seen_to_be_cut(lane: Lane, backend: Backend, data: bytes, version: str) -> None:
    """A chunked answer that goes on with this, at once and later."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    ask = f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode()

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(head + b"5\r\nhello\r\n")
        await release.wait()
        await connection.send_cut(data, 1 << 21)

    release = asyncio.Event()
    backend.handler = breaks(sends(head + b"5\r\nhello\r\n" + data))
    async with bystander(lane):
        at_once = await outcome(lane, ask)
        assert at_once is None or at_once.status == 502
        backend.handler = breaks(handle)
        async with RawClient(lane.port) as client:
            await client.send(ask)
            await client.read_until(b"hello")
            release.set()
            with pytest.raises((TruncatedError, ConnectionError)):
                await rest_of_body(client, version)


async def rest_of_body(client: RawClient, version: str) -> None:
    """Read on to the end that the version's framing has.

    Raises:
        TruncatedError, ConnectionError: it does not come.
    """
    if version == "1.1":
        await client.read_until(b"0\r\n\r\n")
    else:
        await client.read_until_close()


WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a\r\nllo\r\n0\r\nX: y\r\n\r\n",
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", WHOLE)
async def test_an_end_at_every_byte_is_502_or_visible_rfc9112_8(lane: Lane, backend: Backend, framing: str, how: str):
    data = WHOLE[framing]
    end_of_head = data.index(b"\r\n\r\n") + 4

    async def handle(request: Request, connection: Connection) -> None:
        at = int(request.target[1:])
        if at:
            await connection.send(data[:at])
        if how == "close":
            connection.close()
        else:
            connection.reset()

    backend.handler = breaks(handle)
    async with bystander(lane):
        for at in range(len(data)):
            response = await outcome(lane, b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % at)
            if at < end_of_head:
                assert response is not None, at
                assert (response.status, response.header("x-sidebeat-error")) == (502, b"reset_before_head"), at
            elif response is not None:
                # Head and truncation can come in the same moment, before anything was passed on.
                assert response.status == 502, at
    assert lane.in_flight == 0


@pytest.mark.parametrize("framing", [*WHOLE, "until close"])
async def test_http_1_0_sees_a_cut_too_though_its_body_ends_with_the_connection_rfc9112_8(
    lane: Lane, backend: Backend, framing: str
):
    lane.needs("1.0")
    data = {**WHOLE, "until close": b"HTTP/1.1 200 OK\r\n\r\nhello"}[framing]
    cut = data.index(b"he") + 2

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(data[:cut])
        await release.wait()
        connection.reset()

    release = asyncio.Event()
    backend.handler = breaks(handle)
    async with bystander(lane), RawClient(lane.port) as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        head = await client.read_head()
        assert await client.read_exactly(2) == b"he"
        release.set()
        if head.header("content-length"):
            with pytest.raises(TruncatedError):
                await client.read_exactly(3)
        else:
            with pytest.raises(ConnectionResetError):
                await client.read_until_close()


@pytest.mark.parametrize("what", ["short", "until close then reset", "chunked without an end"])
async def test_a_body_that_stops_early_is_cut_rfc9112_8(lane: Lane, backend: Backend, what: str):
    handlers = {
        "short": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
        "until close then reset": resets(b"HTTP/1.1 200 OK\r\n\r\nhello"),
        "chunked without an end": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    }
    backend.handler = breaks(handlers[what])
    async with bystander(lane):
        response = await outcome(lane)
        assert response is None or response.status == 502


async def test_a_body_that_goes_on_too_long_is_cut_off_where_it_should_end(lane: Lane, backend: Backend):
    backend.handler = breaks(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more"))
    async with bystander(lane):
        response = await outcome(lane)
        assert response is not None
        assert (response.status, response.body) == (200, b"hello")


@pytest.mark.parametrize("framing", WHOLE)
async def test_one_byte_at_a_time_is_slow_and_nothing_else(lane: Lane, backend: Backend, framing: str):
    async def handle(request: Request, connection: Connection) -> None:
        for byte in WHOLE[framing]:
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.0005)

    backend.handler = breaks(handle)
    async with bystander(lane):
        response = await outcome(lane)
        assert response is not None
        assert (response.status, response.body) == (200, b"hello")


async def test_a_backend_that_speaks_before_it_is_asked_keeps_nobody_waiting(lane: Lane, backend: Backend):
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        await reader.read(65_536)
        writer.close()

    backend.refuse()
    async with await asyncio.start_server(greet, "127.0.0.1", backend.port, reuse_port=True):
        for _ in range(20):
            assert (await fetch(lane.port)).status == 502


async def test_a_backend_that_closes_what_it_accepts_is_502(start_lane: StartLane, backend: Backend):
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    backend.refuse()
    server = await asyncio.start_server(slam, "127.0.0.1", backend.port, reuse_port=True)
    lane = await start_lane(backend.url)
    async with server:
        for method in ("GET", "POST"):
            for _ in range(10):
                response = await fetch(lane.port, method=method)
                assert response.status == 502
                assert response.header("x-sidebeat-error") in (b"reset_before_head", b"connect_failed")


async def test_a_reset_in_the_middle_of_an_upload_is_502(lane: Lane, backend: Backend):
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        got = bytearray()
        await connection.reader.exactly(1000, got)
        connection.reset()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "100000")]) + b"x" * 2000)
        response = await client.read_response()
        assert (response.status, response.header("x-sidebeat-error")) == (502, b"reset_before_head")
    backend.reads_bodies = True
    backend.handler = answers()
    assert (await fetch(lane.port)).status == 200
