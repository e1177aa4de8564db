"""Requests that two readers could read in two ways never reach a backend (RFC 9112 §11.2)."""

import asyncio
import contextlib

import pytest

from backend import Backend, Connection, Request
from cases import case
from lanes import Lane, StartLane
from raw_client import RawClient
from wire import encode_head

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

AMBIGUOUS = {
    "length and coding": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 38\r\n\r\n",
    "two lengths in one": POST + b"Content-Length: 0, 38\r\n\r\n",
    "signed length": POST + b"Content-Length: +0\r\n\r\n",
    "hexadecimal length": POST + b"Content-Length: 0x0\r\n\r\n",
    "length with a space in it": POST + b"Content-Length: 3 8\r\n\r\n",
    "length with an underscore": POST + b"Content-Length: 3_8\r\n\r\n",
    "empty length": POST + b"Content-Length:\r\n\r\n",
    "length that is a word": POST + b"Content-Length: none\r\n\r\n",
    "endless length": POST + b"Content-Length: 18446744073709551617\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "misspelled coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding after chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "empty coding": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "coding with a tab and more": POST + b"Transfer-Encoding: chunked\tx\r\n\r\n0\r\n\r\n",
    "space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "tab before the colon": POST + b"Content-Length\t: 3\r\n\r\n",
    "obs-fold": POST + b"X: 1\r\n Content-Length: 38\r\n\r\n",
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "space before the first field": b"POST / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n",
    "bare LF": b"POST / HTTP/1.1\nHost: a\n\n",
    "bare LF between fields": POST + b"X: 1\nContent-Length: 38\r\n\r\n",
    "bare CR between fields": POST + b"X: 1\rContent-Length: 38\r\n\r\n",
    "bare LF at the end": POST + b"X: 1\r\n\n",
    "CR CR LF": POST + b"X: 1\r\r\n\r\n",
    "NUL in a value": POST + b"X: a\x00b\r\n\r\n",
    "NUL in a name": POST + b"X\x00: b\r\n\r\n",
    "control character in a value": POST + b"X: a\x08b\r\n\r\n",
    "vertical tab after the coding": POST + b"Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
    "no colon": POST + b"Content-Length 38\r\n\r\n",
    "empty name": POST + b": 38\r\n\r\n",
    "name with a space": POST + b"X Y: 38\r\n\r\n",
    "name with bytes beyond ASCII": POST + b"X\xe9: 38\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "the same host twice": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "control character in the target": b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes beyond ASCII in the target": b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "http 0.9": b"GET /\r\n\r\n",
    "http 1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "http 2": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "http 2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "two digits": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "space at the end": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with a user": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "two hosts in one": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
}

# Heads that are clear about where they end, and only not about where they go: the connection can go on.
MISDIRECTED = {
    "target that is a word": b"GET index.html HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority for GET": b"GET example.test:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "scheme that is not http": b"GET ftp://example.test/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk for GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "user in the target": b"GET http://user@example.test/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host in the target": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
}

BROKEN_BODIES = {
    "no size": b"\r\nabc\r\n",
    "bad size": b"zz\r\n",
    "negative size": b"-3\r\nabc\r\n",
    "prefixed size": b"0x3\r\nabc\r\n",
    "size with an underscore": b"1_0\r\n" + b"x" * 16 + b"\r\n",
    "size that overflows": b"10000000000000003\r\nabc\r\n",
    "space after the size": b"3 \r\nabc\r\n0\r\n\r\n",
    "size ended by LF": b"3\nabc\r\n0\r\n\r\n",
    "size ended by CR": b"3\rabc\r\n0\r\n\r\n",
    "data ended by LF": b"3\r\nabc\n0\r\n\r\n",
    "data too long": b"3\r\nabcd\r\n0\r\n\r\n",
    "data too short": b"5\r\nabc\r\n0\r\n\r\n",
    "LF in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "CR in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "NUL in an extension": b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
    "endless extension": b"3;" + b"x" * 100_000,
    "trailer without a colon": b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "bare LF in trailers": b"0\r\nX: 1\nY: 2\r\n\r\n",
    "last chunk ended by LF": b"0\n\n",
    "1 MiB of trailers": b"0\r\n" + b"X: 12345678901\r\n" * 65_536 + b"\r\n",
}


async def refused(lane: Lane, backend: Backend, data: bytes, *, step: int | None = None) -> None:
    """The request is answered by 400, the connection ends, and what followed it is not read as a request."""
    async with RawClient(lane.port) as client:
        data += SMUGGLED
        for at in range(0, len(data), step or len(data)):
            await client.send(data[at : at + (step or len(data))])
            await asyncio.sleep(0)
        response = await client.read_response()
        assert response.status == 400
        assert response.header("connection") == b"close"
        if "client" not in lane.lacks:
            assert response.header("x-sidebeat-error") == b"bad_request"
        assert await client.read_until_close() == b""
    assert not [request.raw for request in backend.requests if request.complete]


@pytest.mark.parametrize("step", [None, 3], ids=["at once", "in pieces"])
async def test_an_ambiguous_head_is_400_and_the_end(lane: Lane, backend: Backend, step: int | None):
    lane.needs("client")
    for what, data in AMBIGUOUS.items():
        with case(what):
            await refused(lane, backend, data, step=step)
            assert not backend.requests


@pytest.mark.parametrize("what", MISDIRECTED)
async def test_a_target_that_is_none_is_400_rfc9112_3_2(lane: Lane, backend: Backend, what: str):
    if b"://" in MISDIRECTED[what]:
        lane.needs("absolute-form")
    async with RawClient(lane.port) as client:
        await client.send(MISDIRECTED[what])
        assert (await client.read_response()).status == 400
        if "client" not in lane.lacks:
            await client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.read_response()).status == 200
    assert backend.requests[-1].target == b"/next" if backend.requests else True


async def test_what_another_server_lets_through_is_not_forwarded_either(lane: Lane, backend: Backend):
    """Whoever parses: a backend sees at most one request, well-formed and with one framing."""
    for what, data in AMBIGUOUS.items():
        with case(what):
            backend.requests.clear()
            async with RawClient(lane.port) as client:
                await client.send(data)
                response = await client.read_response()
            for request in backend.requests:
                assert response.status == 200
                assert request.version == b"HTTP/1.1"
                assert len(request.all("host")) == 1
                assert len(request.all("content-length") + request.all("transfer-encoding")) <= 1
                assert b"\n" not in request.raw.replace(b"\r\n", b"")


async def test_a_broken_body_is_400_and_the_end(lane: Lane, backend: Backend):
    lane.needs("client")
    for what, data in BROKEN_BODIES.items():
        with case(what):
            await refused(lane, backend, CHUNKED + data)
            assert not [request for request in backend.requests if request.complete]


async def test_a_body_that_breaks_later_is_400_and_the_backend_sees_it_end(lane: Lane, backend: Backend):
    lane.needs("client")
    for what, data in BROKEN_BODIES.items():
        with case(what):
            await refused(lane, backend, CHUNKED + b"5\r\nhello\r\n" + data, step=1021)
            assert not [request for request in backend.requests if request.complete]


async def test_a_body_that_breaks_while_the_answer_is_under_way_cuts_it_visibly(lane: Lane, backend: Backend):
    lane.needs("client")
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        await connection.chunk(b"begun")
        await connection.gone()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        await client.send(CHUNKED)
        await client.read_until(b"begun")
        await client.send(b"zz\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"0\r\n" not in await client.read_until_close()


@pytest.mark.parametrize(
    "path",
    [
        b"/api/../admin",
        b"/api/..",
        b"/./api",
        b"/api/%2e%2e/admin",
        b"/api%2fadmin",
        b"/api%2Fx",
        b"/api/%00",
        b"/api\\x",
    ],
)
async def test_a_path_that_servers_read_differently_is_not_matched(
    start_lane: StartLane, backend: Backend, path: bytes
):
    lane = await start_lane(backend.url, routes=[{"pool": "api", "path_prefix": "/api"}])
    async with RawClient(lane.port) as client:
        await client.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.read_response()
    assert (response.status, response.header("x-sidebeat-error")) == (400, b"bad_request")
    assert not backend.requests


async def test_an_upgrade_that_is_not_made_leaves_an_ordinary_connection(lane: Lane, backend: Backend):
    """A backend that answers an upgrade with an ordinary response reads what follows as requests, and so do we."""
    lane.needs("upgrade")
    upgrade = [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
    async with RawClient(lane.port) as client:
        await client.send(encode_head("GET /ws HTTP/1.1", upgrade) + b"GET /next HTTP/1.1\r\nHost: a\r\nVia: x\r\n\r\n")
        for _ in range(2):
            assert (await client.read_response()).status == 200
    assert [request.target for request in backend.requests] == [b"/ws", b"/next"]
    assert all(request.header("x-forwarded-for") for request in backend.requests)


async def test_one_line_end_before_a_request_is_forgiven_rfc9112_2_2(lane: Lane, backend: Backend):
    lane.needs("client")
    async with RawClient(lane.port) as client:
        for _ in range(3):
            await client.send(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.read_response()).status == 200
