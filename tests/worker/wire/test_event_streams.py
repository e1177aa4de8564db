"""Event streams and other endless answers: how a drain ends them, and how their clients and backends leave."""

import pytest

from backend import Backend, Connection, Fields, Handler, Request
from lanes import Lane, StartLane, in_one_lane
from raw_client import RawClient, Response
from waiting import eventually
from wire import TruncatedError, encode_head, is_chunked
from worker.bodies import ChunkedDecoder

EVENTS = ("Content-Type", "text/event-stream")
ONE, TWO = b"data: one\n\n", b"data: two\r\n\r\n"


class Source:
    """A backend that begins a stream and leaves it to the test to go on."""

    def __init__(self, *headers: tuple[str, str], chunked: bool = True) -> None:
        self.connection: Connection | None = None
        self.is_over = False
        self._headers: Fields = headers
        self._chunked = chunked

    async def handle(self, request: Request, connection: Connection) -> None:
        """Until the other side leaves."""
        if self._chunked:
            await connection.start_chunked(200, self._headers)
        else:
            await connection.send(encode_head("HTTP/1.1 200 OK", self._headers))
        self.connection = connection
        await connection.gone()
        self.is_over = True

    async def send(self, data: bytes) -> None:
        """More of the body."""
        assert self.connection is not None
        await (self.connection.chunk(data) if self._chunked else self.connection.send(data))


FRAMINGS = pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until close"])


@pytest.fixture
def source(backend: Backend, chunked: bool) -> Source:
    source = Source(EVENTS, chunked=chunked)
    backend.handler = source.handle
    return source


async def begun(client: RawClient, source: Source, data: bytes, version: str = "1.1") -> Response:
    """The head of a stream of which so much has arrived."""
    source.connection = None
    await client.send(f"GET /events HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    await eventually(lambda: source.connection)
    if data:
        await source.send(data)
    head = await client.read_head()
    if data:
        size = b"%x\r\n" % len(data) if is_chunked(head.headers) else b""
        assert await client.read_exactly(len(size + data)) == size + data
        if size:
            await client.read_exactly(2)
    return head


def drain(lane: Lane) -> None:
    for exchange in list(lane.runtime.active):
        exchange.drain(lane.runtime.clock())


@FRAMINGS
@pytest.mark.parametrize("data", [b"", ONE, ONE + TWO + b": a comment\n"], ids=["nothing", "an event", "a comment"])
async def test_a_drain_ends_a_stream_after_a_whole_event(lane: Lane, backend: Backend, source: Source, data: bytes):
    async with RawClient(lane.port) as client:
        await begun(client, source, data)
        drain(lane)
        assert await client.read_exactly(5) == b"0\r\n\r\n"
        await eventually(lambda: source.is_over)
    await lane.quiet()
    assert lane.counted(backend).failures == 0
    assert lane.upstream_connections == 0


@FRAMINGS
async def test_a_drain_waits_for_the_end_of_an_event_and_not_for_the_next(lane: Lane, source: Source):
    async with RawClient(lane.port) as client:
        await begun(client, source, ONE + b"data: t")
        drain(lane)
        await source.send(b"wo\n")
        await source.send(b"\ndata: three\n\ndata: fo")
        rest = await client.read_until(b"0\r\n\r\n")
        assert ChunkedDecoder().feed(rest) == b"wo\n\ndata: three\n\n"
        await eventually(lambda: source.is_over)


@FRAMINGS
async def test_a_client_that_knows_no_chunks_sees_an_ordinary_end(lane: Lane, source: Source):
    async with RawClient(lane.port) as client:
        await begun(client, source, ONE, version="1.0")
        drain(lane)
        assert await client.read_until_close() == b""


@FRAMINGS
async def test_a_stream_that_begins_after_the_drain_ends_as_well(lane: Lane, backend: Backend, source: Source):
    async def late(request: Request, connection: Connection) -> None:
        drain(lane)
        await source.handle(request, connection)

    backend.handler = late
    async with RawClient(lane.port) as client:
        await client.request()
        assert (await client.read_response()).body == b""
        await eventually(lambda: source.is_over)


@in_one_lane
@pytest.mark.parametrize("chunked", [True])
async def test_the_connection_of_a_drained_stream_is_not_used_again_where_the_worker_ends(lane: Lane, source: Source):
    async with RawClient(lane.port) as client:
        await begun(client, source, ONE)
        lane.runtime.draining = True
        drain(lane)
        assert await client.read_until_close() == b"0\r\n\r\n"


@pytest.mark.parametrize("chunked", [True])
async def test_the_connection_of_a_drained_stream_serves_on_where_only_the_backend_drains(
    lane: Lane, backend: Backend, source: Source
):
    async with RawClient(lane.port) as client:
        await begun(client, source, ONE)
        drain(lane)
        assert await client.read_exactly(5) == b"0\r\n\r\n"
        await begun(client, source, ONE)


OTHERS = {
    "downloads": ("Content-Type", "application/octet-stream"),
    "encoded": ("Content-Encoding", "gzip"),
    "of known length": ("Content-Length", "1000"),
}


@pytest.mark.parametrize("kind", OTHERS)
async def test_other_bodies_are_left_alone_and_cut_with_the_worker(lane: Lane, backend: Backend, kind: str):
    headers = [OTHERS[kind]] if kind == "downloads" else [EVENTS, OTHERS[kind]]
    source = Source(*headers, chunked="length" not in kind)
    backend.handler = source.handle
    async with RawClient(lane.port) as client:
        await begun(client, source, ONE)
        drain(lane)
        await source.send(TWO)
        assert TWO in await client.read_until(TWO)
        for each in list(lane.runtime.clients):
            each.end()
        if lane.runtime.clients:
            with pytest.raises((TruncatedError, ConnectionResetError)):
                await client.read_until(b"0\r\n\r\n")


@in_one_lane
async def test_a_stream_may_pause_for_ever_where_the_pool_says_so(start_lane: StartLane, backend: Backend):
    source = Source(EVENTS)
    backend.handler = source.handle
    lane = await start_lane(backend.url, timeouts={"idle_s": 0.0})
    async with RawClient(lane.port) as client:
        await begun(client, source, ONE)
        for each in list(lane.runtime.active):
            each.check_deadline(lane.runtime.clock() + 1e9)
        await source.send(TWO)
        assert TWO in await client.read_until(TWO)


def silent() -> Handler:
    """Never answers, and waits for the other side to leave."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.gone()

    return handle


@pytest.mark.parametrize("begins", [False, True], ids=["before the first byte", "after it"])
async def test_a_client_that_leaves_has_left_the_backend(lane: Lane, backend: Backend, begins: bool):
    source = Source(EVENTS)
    backend.handler = source.handle if begins else silent()
    async with RawClient(lane.port) as client:
        if begins:
            await begun(client, source, ONE)
        else:
            await client.request()
            await eventually(lambda: backend.requests)
        client.close()
        await eventually(lambda: not backend.connections_open)
    await lane.quiet()
    assert lane.counted(backend).failures == 0
