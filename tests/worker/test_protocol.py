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
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class Transport(asyncio.Transport):
    """Remembers what was written, in which pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    @override
    def is_closing(self) -> bool:
        return False


@pytest.fixture
async def ends() -> tuple[ClientConnection, Transport, UpstreamConnection, Transport]:
    """A client's connection and one to a backend, at rest, each with what is written to it."""
    config = parse(CONFIG, {})
    runtime = Runtime(config, board_for(config), None, "test", {})
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
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_what_came_together_leaves_together(ends, request_: bytes):
    client, to_client, backend, to_backend = ends
    client.data_received(request_)
    backend.data_received(RESPONSE + b"ok")
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
