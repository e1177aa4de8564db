"""Servers that people run, behind us: what they say arrives as they said it, and what they are told arrives, too."""

import gzip
from dataclasses import dataclass, field

import pytest

from backend import Fields
from cases import case
from lanes import Lane, LaneKind, config_of, serving
from peers import BIG, SERVERS, Server, ServerKind, started
from raw_client import RawClient, Response, fetch
from wire import Headers, TruncatedError, encode_chunk, encode_head, encode_last_chunk, is_chunked

OF_THIS_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"via"}
HOST = ("Host", "test")
SUM = [(b"X-Sum", b"abc")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request, and what every server answers to it."""

    path: str
    method: str = "GET"
    headers: Fields = ()
    status: int = 200
    body: bytes = b""
    is_chunked: bool = False
    trailers: Headers = field(default_factory=list)


CASES = {
    "small": Case(path="/small", body=b"hello"),
    "a length": Case(path="/big", body=BIG),
    "chunks": Case(path="/chunked", body=BIG, is_chunked=True),
    "HEAD": Case(path="/big", method="HEAD"),
    "HEAD of chunks": Case(path="/chunked", method="HEAD"),
    "204": Case(path="/none", status=204),
    "304": Case(path="/same", status=304, headers=[("If-None-Match", "*")]),
    "two cookies": Case(path="/cookies", body=b"hello"),
    "trailers": Case(path="/trailers", body=BIG, is_chunked=True, trailers=SUM),
}


async def ask(port: int, it: Case) -> Response:
    return await fetch(port, it.path, method=it.method, headers=[HOST, *it.headers])


def end_to_end(headers: Headers) -> Headers:
    """What a proxy has to hand on, names in lower case; the time of an answer may be another one."""
    lower = [(name.lower(), value) for name, value in headers]
    return [(name, b"" if name == b"date" else value) for name, value in lower if name not in OF_THIS_HOP]


async def test_an_answer_arrives_as_the_server_gives_it(lane: Lane, server: Server):
    for what, it in CASES.items():
        if not it.trailers or "trailers" not in server.kind.lacks | lane.lacks:
            with case(what):
                await arrives_as_given(lane, server, it)


async def arrives_as_given(lane: Lane, server: Server, it: Case) -> None:
    """The same straight and through us, but for what is of one hop."""
    directly, through = await ask(server.port, it), await ask(lane.port, it)
    assert (directly.status, directly.body, directly.trailers) == (it.status, it.body, it.trailers)
    assert (through.status, through.body, through.trailers) == (it.status, it.body, it.trailers)
    assert end_to_end(through.headers) == end_to_end(directly.headers)
    if it.body:
        assert is_chunked(through.headers) == is_chunked(directly.headers) == it.is_chunked


async def test_two_cookies_are_two(lane: Lane, server: Server):
    cookies = (await fetch(lane.port, "/cookies")).all("set-cookie")
    assert [cookie.partition(b";")[0] for cookie in cookies] == [b"a=1", b"b=2"]


async def test_a_compressed_body_is_left_alone(lane: Lane, server: Server):
    it = Case(path="/gzip", headers=[("Accept-Encoding", "gzip")])
    directly, through = await ask(server.port, it), await ask(lane.port, it)
    assert through.body == directly.body
    assert through.header("content-encoding") == b"gzip"
    assert gzip.decompress(through.body) == BIG


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_upload_arrives(lane: Lane, server: Server, chunked: bool):
    async with RawClient(lane.port) as client:
        method, path = upload_to(server, f"{lane.port}-{chunked}")
        if chunked:
            await client.send(encode_head(f"{method} {path} HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked")]))
            for start in range(0, len(BIG), 50_000):
                await client.send(encode_chunk(BIG[start : start + 50_000]))
            await client.send(encode_last_chunk())
        else:
            await client.request(method, path, [HOST], BIG)
        assert await uploaded(client, path) == BIG


async def test_the_servers_go_ahead_reaches_a_client_that_waits_for_it(lane: Lane, server: Server):
    async with RawClient(lane.port) as client:
        method, path = upload_to(server, f"{lane.port}-expect")
        length = ("Content-Length", str(len(BIG)))
        await client.send(encode_head(f"{method} {path} HTTP/1.1", [HOST, length, ("Expect", "100-continue")]))
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.send(BIG)
        assert await uploaded(client, path) == BIG


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_refusal_arrives_though_nobody_takes_the_upload(lane: Lane, server: Server, chunked: bool):
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(BIG)))
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST /refuse HTTP/1.1", [HOST, framing]))
        await client.send(encode_chunk(BIG) + encode_last_chunk() if chunked else BIG)
        assert (await client.read_response()).status == 413
    assert (await fetch(lane.port, "/small")).status == 200


def upload_to(server: Server, name: str) -> tuple[str, str]:
    """Method and target; a name keeps what servers store apart."""
    return ("PUT", f"/upload/{name}") if "echo" in server.kind.lacks else ("POST", "/echo")


async def uploaded(client: RawClient, path: str) -> bytes:
    """What the server has got: it says so at once, or when it is asked."""
    response = await client.read_response()
    if path == "/echo":
        return response.body
    assert response.status == 201
    await client.request("GET", path)
    return (await client.read_response()).body


async def test_trailers_of_a_request_arrive(lane: Lane, server: Server):
    lane.needs("trailers")
    server.needs("trailers", "echo")
    async with RawClient(lane.port) as client:
        head = encode_head("POST /echo HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        await client.send(head + encode_chunk(b"body") + encode_last_chunk(SUM))
        response = await client.read_response()
    assert (response.body, response.header("x-sum-seen")) == (b"body", b"abc")


async def test_early_hints_arrive(lane: Lane, server: Server):
    lane.needs("interim")
    server.needs("hints")
    response = await fetch(lane.port, "/hints")
    assert response.body == b"hello"
    assert [(each.status, each.header("link")) for each in response.informational] == [(103, b"</a.css>; rel=preload")]


async def test_one_connection_serves_many_requests_of_many_clients(lane: Lane, server: Server):
    ports = set()
    for _ in range(3):
        async with RawClient(lane.port) as client:
            for path, method in (("/big", "HEAD"), ("/none", "GET"), ("/chunked", "GET")):
                await client.request(method, path)
                await client.read_response(method=method)
            await client.request("GET", "/port")
            ports.add((await client.read_response()).body)
    assert len(ports) == 1


async def test_a_server_that_closes_after_its_answer_is_asked_again_on_another_connection(lane: Lane, server: Server):
    async with RawClient(lane.port) as client:
        for path in ("/close", "/small") * 3:
            await client.request("GET", path)
            assert (await client.read_response()).body == b"hello"


async def test_a_server_that_was_started_again_is_found_at_once(lane_kind: LaneKind):
    with started(SERVERS["uvicorn"]) as first:
        async with serving(lane_kind, config_of(first.url)) as lane, RawClient(lane.port) as client:
            await client.request("GET", "/small")
            assert (await client.read_response()).status == 200
            first.program.kill()
            with started(first.kind, first.port):
                await client.request("POST", "/echo", [HOST], BIG)
                assert await uploaded(client, "/echo") == BIG


@pytest.mark.parametrize("kind", SERVERS.values(), ids=SERVERS)
async def test_when_the_server_dies_in_mid_body_the_client_sees_a_cut(lane_kind: LaneKind, kind: ServerKind):
    with started(kind) as server:
        async with (
            serving(lane_kind, config_of(server.url)) as lane,
            RawClient(lane.port) as length,
            RawClient(lane.port) as chunks,
        ):
            for client, path in ((length, "/stall/big"), (chunks, "/stall/chunked")):
                await client.request("GET", path)
                assert (await client.read_head()).status == 200
                await client.read_exactly(100_000)
            server.program.kill()
            for client in (length, chunks):
                with pytest.raises((TruncatedError, ConnectionError)):
                    await client.read_exactly(len(BIG))
            assert (await fetch(lane.port, "/small")).status == 502
