"""Clients that people have, in front of us: what they send arrives, and they understand what they get."""

import gzip
from collections.abc import AsyncIterator

import pytest

from backend import Backend, Connection, Handler, Request, answers, sends
from clients import CLIENTS, Ask, Client, Outcome, output_of
from lanes import Lane, LaneKind, config_of, serving
from peers import BIG, program
from wire import encode_chunk, encode_head

COOKIES = ("a=1; Path=/", "b=2, 3; Path=/")
HALF = len(BIG) // 2


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A backend that has an answer for each path."""
    async with Backend(by_path) as backend:
        yield backend


@pytest.fixture
async def lane(lane_kind: LaneKind, backend: Backend) -> AsyncIterator[Lane]:
    """A lane over ``backend``."""
    async with serving(lane_kind, config_of(backend.url)) as lane:
        yield lane


async def by_path(request: Request, connection: Connection) -> None:
    await PATHS[request.target](request, connection)


async def echo(request: Request, connection: Connection) -> None:
    await connection.respond(body=request.body)


async def chunked(request: Request, connection: Connection) -> None:
    await connection.start_chunked()
    if request.method != b"HEAD":
        await connection.chunk(BIG[:HALF])
        await connection.chunk(BIG[HALF:])
        await connection.end_chunked([("X-Sum", "abc")])


OK = "HTTP/1.1 200 OK"
LENGTH = ("Content-Length", str(len(BIG)))
CHUNKED = ("Transfer-Encoding", "chunked")

PATHS: dict[bytes, Handler] = {
    b"/small": answers(body=b"hello"),
    b"/big": answers(body=BIG),
    b"/chunked": chunked,
    b"/until-close": sends(encode_head(OK, []) + BIG),
    b"/none": answers(204),
    b"/same": answers(304),
    b"/cookies": answers(headers=[("Set-Cookie", cookie) for cookie in COOKIES], body=b"hello"),
    b"/gzip": answers(headers=[("Content-Encoding", "gzip")], body=gzip.compress(BIG)),
    b"/echo": echo,
    b"/cut/length": sends(encode_head(OK, [LENGTH]) + BIG[:HALF]),
    b"/cut/chunks": sends(encode_head(OK, [CHUNKED]) + encode_chunk(BIG[:HALF])),
}
ANSWERS: dict[str, tuple[Ask, Outcome]] = {
    "small": (Ask(path="/small"), Outcome(status=200, body=b"hello")),
    "a length": (Ask(path="/big"), Outcome(status=200, body=BIG)),
    "chunks and trailers": (Ask(path="/chunked"), Outcome(status=200, body=BIG)),
    "until the close": (Ask(path="/until-close"), Outcome(status=200, body=BIG)),
    "HEAD": (Ask(path="/big", method="HEAD"), Outcome(status=200)),
    "HEAD of chunks": (Ask(path="/chunked", method="HEAD"), Outcome(status=200)),
    "204": (Ask(path="/none"), Outcome(status=204)),
    "304": (Ask(path="/same", headers={"If-None-Match": "*"}), Outcome(status=304)),
    "two cookies": (Ask(path="/cookies"), Outcome(status=200, body=b"hello", cookies=COOKIES)),
    "gzip": (Ask(path="/gzip", headers={"Accept-Encoding": "gzip"}), Outcome(status=200, body=BIG)),
    "an upload": (Ask(path="/echo", method="POST", body=BIG), Outcome(status=200, body=BIG)),
    "chunks up": (Ask(path="/echo", method="POST", body=BIG, chunked=True), Outcome(status=200, body=BIG)),
    "the end": (Ask(path="/small"), Outcome(status=200, body=b"hello")),
}


async def test_a_session_of_every_kind_of_answer_is_understood(lane: Lane, backend: Backend, client: Client):
    outcomes = await client(f"http://127.0.0.1:{lane.port}", [ask for ask, _ in ANSWERS.values()])
    assert dict(zip(ANSWERS, outcomes, strict=True)) == {name: outcome for name, (_, outcome) in ANSWERS.items()}
    framing = [
        b"content-length" if request.header("content-length") else b"chunked" for request in backend.requests[-3:-1]
    ]
    assert framing == [b"content-length", b"chunked"]


@pytest.mark.parametrize("path", ["/cut/length", "/cut/chunks"])
async def test_an_answer_cut_short_is_an_error_and_the_next_is_not(
    lane: Lane, backend: Backend, client: Client, path: str
):
    cut, good = await client(f"http://127.0.0.1:{lane.port}", [Ask(path=path), Ask(path="/small")])
    assert cut.error
    assert good == Outcome(status=200, body=b"hello")


async def test_a_refusal_arrives_though_nobody_takes_the_upload(lane: Lane, backend: Backend, client: Client):
    async def refuse(request: Request, connection: Connection) -> None:
        await connection.respond(413, [("Connection", "close")], b"no")
        connection.half_close()
        await connection.gone()

    backend.handler, backend.reads_bodies = refuse, False
    uploads = [Ask(path="/", method="POST", body=BIG, chunked=chunked) for chunked in (False, True)]
    assert await client(f"http://127.0.0.1:{lane.port}", uploads) == [Outcome(status=413, body=b"no")] * 2


@pytest.mark.parametrize("option", ["--http1.0", "--http2"])
async def test_curl_gets_its_answer_whatever_version_it_offers(lane: Lane, backend: Backend, option: str):
    """``--http2`` asks for an upgrade to h2c, which is for this hop to answer, and not to be taken."""
    if option == "--http1.0":
        lane.needs("1.0")
    elif b"HTTP2" not in await output_of(program("curl"), "--version"):
        pytest.skip("this curl knows no HTTP/2")
    url = f"http://127.0.0.1:{lane.port}/chunked"
    assert (
        await output_of(program("curl"), "--disable", "--silent", "--noproxy", "*", option, "--max-time", "10", url)
        == BIG
    )
    assert backend.requests[0].header("http2-settings") is None


@pytest.mark.parametrize("name", ["curl", "aiohttp"])
async def test_a_client_that_waits_for_the_go_ahead_gets_it(lane: Lane, backend: Backend, name: str):
    ask = Ask(path="/echo", method="POST", body=BIG, headers={"Expect": "100-continue"})
    assert await CLIENTS[name](f"http://127.0.0.1:{lane.port}", [ask]) == [Outcome(status=200, body=BIG)]
    assert backend.requests[0].header("expect") == b"100-continue"
