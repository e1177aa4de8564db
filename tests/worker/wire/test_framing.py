"""Where bodies end, both ways and for both versions (RFC 9112 §6, §7)."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend import Backend, Connection, Request, answers, answers_chunked, sends
from lanes import Lane
from raw_client import RawClient, Response, fetch
from wire import Headers, encode_chunk, encode_head, encode_last_chunk

BIG = bytes(range(256)) * 4096  # 1 MiB

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"
OLD_UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello"
BODIES = {"length": LENGTH, "chunked": CHUNKED, "until close": UNTIL_CLOSE, "1.0 until close": OLD_UNTIL_CLOSE}


async def ask_in_1_0(lane: Lane, *fields: tuple[str, str], method: str = "GET") -> tuple[Response, bool]:
    """The response to an HTTP/1.0 client, and whether the connection ended with it."""
    lane.needs("1.0")
    async with RawClient(lane.port) as client:
        await client.send(encode_head(f"{method} / HTTP/1.0", [("Host", "a"), *fields]))
        response = await client.read_response(method=method)
        if response.header("connection") == b"keep-alive":
            await client.send(encode_head("GET /again HTTP/1.0", [("Host", "a")]))
            return response, (await client.read_response()).status == 0
        return response, await client.read_until_close() == b""


@pytest.mark.parametrize("framing", BODIES)
async def test_a_body_arrives_whole_and_the_connection_lives_rfc9112_6_3(lane: Lane, backend: Backend, framing: str):
    backend.handler = sends(BODIES[framing])
    async with RawClient(lane.port) as client:
        for _ in range(3):
            await client.request()
            response = await client.read_response()
            assert response.body == b"hello"
            assert (response.header("content-length") is None) is (framing != "length")
            assert response.all("transfer-encoding") == ([] if framing == "length" else [b"chunked"])


@pytest.mark.parametrize("framing", BODIES)
async def test_http_1_0_gets_no_chunks_rfc9112_6_1(lane: Lane, backend: Backend, framing: str):
    backend.handler = sends(BODIES[framing])
    response, ended = await ask_in_1_0(lane)
    assert (response.body, ended) == (b"hello", True)
    assert response.header("transfer-encoding") is None
    assert response.header("connection") == b"close"


async def test_http_1_0_with_keep_alive_keeps_a_length_delimited_connection_rfc9112_c_2_2(lane: Lane, backend: Backend):
    response, ended = await ask_in_1_0(lane, ("Connection", "Keep-Alive"))
    assert (response.body, response.header("connection"), ended) == (b"ok", b"keep-alive", False)


async def test_http_1_0_with_keep_alive_ends_where_only_the_end_delimits(lane: Lane, backend: Backend):
    backend.handler = answers_chunked(b"he", b"llo", trailers=[("X-Trailer", "dropped")])
    response, ended = await ask_in_1_0(lane, ("Connection", "keep-alive"))
    assert (response.body, response.header("connection"), ended) == (b"hello", b"close", True)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    "field", [("Content-Length", "12345"), ("Transfer-Encoding", "chunked"), ("ETag", '"x"')], ids=lambda f: f[0]
)
async def test_a_head_response_has_fields_and_no_body_rfc9110_9_3_2(
    lane: Lane, backend: Backend, field: tuple[str, str], version: str
):
    if version == "1.0":
        lane.needs("1.0")
    backend.handler = sends(encode_head("HTTP/1.1 200 OK", [field]))
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.send(encode_head(f"HEAD / HTTP/{version}", [("Host", "a"), ("Connection", "keep-alive")]))
            response = await client.read_response(method="HEAD")
            # RFC 9112 §6.1: it may be left out here, and is unknown to HTTP/1.0.
            is_dropped = field[0] == "Transfer-Encoding"
            assert response.header(field[0]) == (None if is_dropped else field[1].encode())


@pytest.mark.parametrize("status", [204, 304])
async def test_204_and_304_have_no_body_rfc9112_6_3(lane: Lane, backend: Backend, status: int):
    backend.handler = sends(encode_head(f"HTTP/1.1 {status} X", [("ETag", '"x"'), ("Content-Length", "77")]))
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request()
            response = await client.read_response()
            assert (response.status, response.header("etag")) == (status, b'"x"')


async def test_a_304_without_a_length_does_not_wait_for_the_end_rfc9112_6_3(lane: Lane, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")

    backend.handler = handle
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request()
            assert (await client.read_response()).status == 304
    assert backend.connections_total == 1


async def test_a_205_or_200_of_length_zero_is_over_at_once(lane: Lane, backend: Backend):
    for status in (200, 205):
        backend.handler = answers(status, body=b"")
        response = await fetch(lane.port)
        assert (response.status, response.body, response.header("content-length")) == (status, b"", b"0")


async def test_trailers_arrive_rfc9112_7_1_2(lane: Lane, backend: Backend):
    lane.needs("trailers")
    trailers: Headers = [(b"X-Sum", b"abc"), (b"x-sum", b""), (b"X-Raw", b"caf\xe9")]
    backend.handler = answers_chunked(b"hello", headers=[("Trailer", "X-Sum, X-Raw")], trailers=trailers)
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request(headers=[("Host", "a"), ("TE", "trailers")])
            response = await client.read_response()
            assert (response.body, response.header("trailer")) == (b"hello", b"X-Sum, X-Raw")
            assert response.trailers == trailers
    assert backend.connections_total == 1


async def test_trailers_of_a_request_arrive_rfc9112_7_1_2(lane: Lane, backend: Backend):
    lane.needs("trailers")
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
            await client.send(encode_chunk(b"hello") + encode_last_chunk([("X-Sum", "abc"), ("x-Two", "2")]))
            assert (await client.read_response()).status == 200
            assert backend.requests[-1].trailers == lane.told([(b"X-Sum", b"abc"), (b"x-Two", b"2")])
            assert backend.requests[-1].body == b"hello"


FORBIDDEN = ["Content-Length", "Transfer-Encoding", "Host", "Connection", "X-Forwarded-For", "Authorization", "Cookie"]


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_a_request_cannot_say_in_trailers_what_it_may_not_say_there_rfc9110_6_5_1(
    lane: Lane, backend: Backend, name: str
):
    lane.needs("trailers")
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
        await client.send(encode_chunk(b"hello") + encode_last_chunk([("X-Ok", "1"), (name, "5"), ("X-Too", "2")]))
        await client.read_response()
    assert [trailer.lower() for trailer, _ in backend.requests[-1].trailers] == [b"x-ok", b"x-too"]


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Set-Cookie", "X-Sidebeat-Error"])
async def test_a_response_cannot_say_in_trailers_what_it_may_not_say_there_rfc9110_6_5_1(
    lane: Lane, backend: Backend, name: str
):
    lane.needs("trailers")
    backend.handler = answers_chunked(b"hello", trailers=[("X-Ok", "1"), (name, "5")])
    response = await fetch(lane.port)
    assert [trailer.lower() for trailer, _ in response.trailers] == [b"x-ok"]


@pytest.mark.parametrize("body", [b"", b"x", b"hello", BIG], ids=["empty", "one", "small", "big"])
async def test_a_request_body_with_a_length_keeps_it_rfc9112_6_2(lane: Lane, backend: Backend, body: bytes):
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.send(
                encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", str(len(body)))]) + body
            )
            assert (await client.read_response()).status == 200
            request = backend.requests[-1]
            assert request.body == body
            assert request.all("content-length") == [str(len(body)).encode()]
            assert request.header("transfer-encoding") is None


@pytest.mark.parametrize("parts", [[], [b"x"], [b"he", b"llo"], [BIG]], ids=["empty", "one", "two", "big"])
async def test_a_chunked_request_body_stays_chunked_rfc9112_7_1(lane: Lane, backend: Backend, parts: list[bytes]):
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
            for part in parts:
                await client.send(encode_chunk(part))
            await client.send(encode_last_chunk())
            assert (await client.read_response()).status == 200
            request = backend.requests[-1]
            assert request.body == b"".join(parts)
            assert request.all("transfer-encoding") == [b"chunked"]
            assert request.header("content-length") is None


async def test_a_request_without_framing_has_no_body_rfc9112_6_3(lane: Lane, backend: Backend):
    async with RawClient(lane.port) as client:
        await client.send(b"POST /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(2):
            assert (await client.read_response()).status == 200
    assert [(request.method, request.target, request.body) for request in backend.requests] == [
        (b"POST", b"/1", b""),
        (b"GET", b"/2", b""),
    ]


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
async def test_any_method_may_have_a_body_rfc9110_9_3_1(lane: Lane, backend: Backend, method: str):
    async with RawClient(lane.port) as client:
        for _ in range(2):
            await client.request(method, body=b"hello")
            assert (await client.read_response(method=method)).status == 200
    assert [request.body for request in backend.requests] == [b"hello", b"hello"]


async def test_a_big_response_arrives_unchanged_in_every_framing(lane: Lane, backend: Backend):
    framings = [
        encode_head("HTTP/1.1 200 OK", [("Content-Length", str(len(BIG)))]) + BIG,
        encode_head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])
        + b"".join(encode_chunk(BIG[at : at + 70_001]) for at in range(0, len(BIG), 70_001))
        + encode_last_chunk(),
        encode_head("HTTP/1.1 200 OK", []) + BIG,
    ]
    for framed in framings:
        backend.handler = sends(framed)
        assert (await fetch(lane.port)).body == BIG
        if "1.0" not in lane.lacks:
            assert (await ask_in_1_0(lane))[0].body == BIG


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    cuts=st.lists(st.integers(0, 300), max_size=5),
    extension=st.sampled_from([b"", b";a", b';a="b c";d=e']),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_chunks_survive_any_cutting_both_ways(
    lane: Lane, backend: Backend, parts: list[bytes], cuts: list[int], extension: bytes
):
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\nX-T: 1\r\n\r\n"
    response = encode_head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + body
    request = encode_head("PUT / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]) + body

    async def handle(_request: Request, connection: Connection) -> None:
        for piece in pieces(response, cuts):
            await connection.send(piece)

    backend.handler = handle
    async with RawClient(lane.port) as client:
        for piece in pieces(request, cuts):
            await client.send(piece)
        answer = await client.read_response()
    assert answer.body == backend.requests[-1].body == b"".join(parts)
    if "trailers" not in lane.lacks:
        assert answer.trailers == backend.requests[-1].trailers == [(b"X-T", b"1")]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data, cut at these places."""
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    return [data[start:end] for start, end in pairwise(places)]
