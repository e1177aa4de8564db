"""How often the direct lane writes: each write is a system call, 8 µs of a small request."""

import asyncio

import pytest
from typing_extensions import override

from sidecar.contract.config import parse
from worker.board import board_for
from worker.protocol import ClientConnection
from worker.runtime import Runtime
from worker.upstream import UpstreamConnection

CONFIG = {"store": {"url": "unix:///nowhere"}, "pools": {"api": {"backends": ["http://127.0.0.1:1"]}}}
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class Transport(asyncio.Transport):
    """Remembers what was written, in which pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_aborted = False
        self.reads = True

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    @override
    def is_closing(self) -> bool:
        return self.is_aborted

    @override
    def pause_reading(self) -> None:
        self.reads = False

    @override
    def resume_reading(self) -> None:
        self.reads = True

    @override
    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
async def runtime() -> Runtime:
    """A worker with one backend."""
    config = parse(CONFIG, {})
    return Runtime(config, board_for(config), None, "test", {})


@pytest.fixture
async def ends(runtime: Runtime) -> tuple[ClientConnection, Transport, UpstreamConnection, Transport]:
    """A client's connection and one to a backend, at rest, each with what is written to it."""
    (upstream,) = runtime.pools["api"].upstreams.values()
    client, backend = ClientConnection(runtime), UpstreamConnection(upstream)
    to_client, to_backend = Transport(), Transport()
    client.connection_made(to_client)
    backend.connection_made(to_backend)
    upstream.give(backend)
    return client, to_client, backend, to_backend


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_what_came_together_leaves_together(ends, runtime: Runtime, request_: bytes):
    client, to_client, backend, to_backend = ends
    client.data_received(request_)
    runtime.outbox.flush()
    backend.data_received(RESPONSE + b"ok")
    runtime.outbox.flush()
    assert len(to_backend.writes) == 1
    assert to_backend.writes[0].endswith(request_.partition(b"\r\n\r\n")[2])
    assert len(to_client.writes) == 1
    assert to_client.writes[0].endswith(b"\r\n\r\nok")


async def test_the_rest_of_a_body_follows_as_it_comes(ends):
    client, _, _, to_backend = ends
    client.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
    client.data_received(b"llo")
    assert len(to_backend.writes) == 2
    assert to_backend.writes[0].endswith(b"\r\n\r\nhe")
    assert to_backend.writes[1] == b"llo"


async def test_writes_wait_for_the_end_of_the_turn(ends):
    client, to_client, backend, to_backend = ends
    client.data_received(GET)
    assert not to_backend.writes
    await asyncio.sleep(0)
    assert len(to_backend.writes) == 1
    backend.data_received(RESPONSE + b"ok")
    assert not to_client.writes
    await asyncio.sleep(0)
    assert len(to_client.writes) == 1


async def test_an_answer_to_a_request_not_yet_sent_is_none(ends, runtime: Runtime):
    client, to_client, backend, to_backend = ends
    client.data_received(GET)
    backend.data_received(RESPONSE + b"ok")
    runtime.outbox.flush()
    assert to_backend.is_aborted
    assert not to_backend.writes
    assert b"502 Bad Gateway" in to_client.writes[0]


async def test_what_is_still_to_be_written_is_written_before_the_worker_ends(ends, runtime: Runtime):
    client, to_client, backend, _ = ends
    client.data_received(GET)
    runtime.outbox.flush()
    backend.data_received(RESPONSE + b"ok")
    await runtime.aclose()
    assert to_client.writes[0].endswith(b"ok")


async def test_a_client_that_left_meanwhile_is_written_nothing(ends, runtime: Runtime):
    client, to_client, backend, _ = ends
    client.data_received(GET)
    runtime.outbox.flush()
    backend.data_received(RESPONSE + b"ok")
    to_client.abort()
    runtime.outbox.flush()
    assert not to_client.writes


async def test_an_answer_of_ours_never_overtakes_the_one_before_it(ends, runtime: Runtime):
    client, to_client, backend, _ = ends
    client.data_received(GET)
    runtime.outbox.flush()
    backend.data_received(RESPONSE + b"ok")
    client.data_received(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")
    runtime.outbox.flush()
    assert [data[:12] for data in to_client.writes] == [b"HTTP/1.1 200", b"HTTP/1.1 405"]


async def test_an_early_answer_never_overtakes_the_one_before_it(ends, runtime: Runtime):
    client, to_client, backend, _ = ends
    client.data_received(GET)
    runtime.outbox.flush()
    backend.data_received(RESPONSE + b"ok")
    client.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
    backend.data_received(b"HTTP/1.1 413 Too Much\r\nContent-Length: 9\r\n\r\n")
    runtime.outbox.flush()
    assert [data[:12] for data in to_client.writes] == [b"HTTP/1.1 200", b"HTTP/1.1 413"]


@pytest.mark.parametrize("requests", [[GET + GET], [GET, GET]], ids=["pipelined", "later"])
async def test_the_next_request_waits_until_the_answer_before_it_is_taken(
    ends, runtime: Runtime, requests: list[bytes]
):
    client, to_client, backend, to_backend = ends
    first, *later = requests
    client.data_received(first)
    runtime.outbox.flush()
    backend.data_received(RESPONSE + b"ok")
    runtime.outbox.flush()
    client.pause_writing()  # as the transport does when little of the answer leaves
    for data in later:
        client.data_received(data)
    await asyncio.sleep(0)
    runtime.outbox.flush()
    assert len(to_backend.writes) == 1
    assert not to_client.reads
    client.resume_writing()
    await asyncio.sleep(0)
    runtime.outbox.flush()
    assert len(to_backend.writes) == 2
    assert to_client.reads


async def test_a_client_that_sends_no_more_still_gets_the_answer_that_was_ready(ends, runtime: Runtime):
    client, to_client, backend, _ = ends
    client.data_received(GET)
    runtime.outbox.flush()
    backend.data_received(RESPONSE + b"ok")
    assert not client.eof_received()
    assert to_client.writes[0].endswith(b"ok")
