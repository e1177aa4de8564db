"""WebSocket libraries that people have, on both sides of us."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.extensions.permessage_deflate import PerMessageDeflate

from lanes import LANES, Lane, LaneKind, config_of, serving
from peers import BIG, WEBSOCKET_SERVERS, Server, started
from raw_client import fetch
from waiting import PATIENCE, eventually

CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
HUGE = BIG * 16
REASON = "why \u2603"


@pytest.fixture(scope="session", params=WEBSOCKET_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with started(WEBSOCKET_SERVERS[request.param]) as server:
        yield server


def connect(port: int, path: str = "/ws", **options: Any) -> websockets.connect:
    echo = websockets.Subprotocol("echo")
    return websockets.connect(f"ws://127.0.0.1:{port}{path}", subprotocols=[echo], proxy=None, max_size=None, **options)


async def test_websockets_talks_with_the_server(lane: Lane, server: Server):
    async with connect(lane.port) as socket:
        assert socket.subprotocol == "echo"
        assert any(isinstance(each, PerMessageDeflate) for each in socket.protocol.extensions)
        for message in ("snow \u2603", "", b"", BIG, HUGE):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["in ", "three ", "parts"])
        assert await socket.recv() == "in three parts"
        await (await socket.ping())


async def test_aiohttp_talks_with_the_server(lane: Lane, server: Server):
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{lane.port}/ws", protocols=["echo"], compress=15, max_msg_size=0
        ) as socket,
    ):
        assert (socket.protocol, bool(socket.compress)) == ("echo", True)
        await socket.send_str("snow \u2603")
        assert await socket.receive_str() == "snow \u2603"
        for message in (b"", BIG):
            await socket.send_bytes(message)
            assert await socket.receive_bytes() == message
        await socket.send_str(f"close 4000 {REASON}")
        last = await socket.receive()
        assert (last.type, last.data, last.extra) == (aiohttp.WSMsgType.CLOSE, 4000, REASON)


async def test_what_is_not_compressed_stays_so(lane: Lane, server: Server):
    async with connect(lane.port, compression=None) as socket:
        assert not socket.protocol.extensions
        await socket.send(BIG)
        assert await socket.recv() == BIG


@pytest.mark.parametrize("code", CODES)
async def test_the_servers_goodbye_reaches_the_client(lane: Lane, server: Server, code: int):
    async with connect(lane.port) as socket:
        await socket.send(f"close {code} {REASON}")
        await socket.wait_closed()
    assert (socket.close_code, socket.close_reason) == (code, REASON)


@pytest.mark.parametrize("code", CODES)
async def test_the_clients_goodbye_reaches_the_server(lane: Lane, server: Server, code: int):
    async with connect(lane.port) as socket:
        await socket.close(code, REASON)
    told: set[bytes] = set()
    async with asyncio.timeout(5 * PATIENCE):
        while f"{code} {REASON}".encode() not in told:
            told.add((await fetch(lane.port, "/closed")).body)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_arrives_with_its_body(lane: Lane, server: Server, status: int):
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(lane.port, f"/ws/{status}"):
            pass
    response = refused.value.response
    assert (response.status_code, response.body) == (status, b"not you")


@pytest.fixture
async def doomed(lane_kind: LaneKind, server: Server) -> AsyncIterator[tuple[Lane, Server]]:
    """A server of one's own to kill, and a lane over it."""
    with started(server.kind) as doomed:
        async with serving(lane_kind, config_of(doomed.url)) as lane:
            yield lane, doomed


@pytest.mark.parametrize("lane_kind", [LANES["direct"]], ids=["direct"])
async def test_a_killed_server_is_no_clean_end_for_any_of_a_hundred(doomed: tuple[Lane, Server]):
    lane, server = doomed
    before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(lane.port)) for _ in range(100)]
        assert lane.in_flight == 100
        server.program.kill()
        began = time.monotonic()
        for socket in sockets:
            await asyncio.wait_for(socket.wait_closed(), PATIENCE)
        assert time.monotonic() - began < PATIENCE
        assert {socket.close_code for socket in sockets} == {1014}
        await lane.quiet()
    assert lane.upstream_connections == 0
    await eventually(lambda: not lane.runtime.clients)
    await eventually(lambda: (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) <= before)
