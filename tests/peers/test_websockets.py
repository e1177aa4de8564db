"""WebSocket libraries that people have, on both sides of us."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import websockets
from websockets.extensions.permessage_deflate import PerMessageDeflate

from clients import output_of
from lanes import Lane, LaneKind, config_of, in_one_lane, serving, settled
from peers import BIG, FOLDER, WEBSOCKET_SERVERS, Server, ServerKind, program, started
from raw_client import fetch
from waiting import PATIENCE, eventually

FREE_CODES = range(3000, 5000)
CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
AT_ONCE = 50
HUGE = BIG * 16
REASON = "why \u2603"


@pytest.fixture(scope="session", params=[*WEBSOCKET_SERVERS, "ws"])
def server(request: pytest.FixtureRequest, node_peer: Callable[[str], ServerKind]) -> Iterator[Server]:
    kinds = {**WEBSOCKET_SERVERS, "ws": node_peer("ws_server.mjs")}
    with started(kinds[request.param]) as server:
        yield server


def connect(port: int, path: str = "/ws", **options: Any) -> websockets.connect:
    echo = websockets.Subprotocol("echo")
    return websockets.connect(f"ws://127.0.0.1:{port}{path}", subprotocols=[echo], proxy=None, max_size=None, **options)


async def told_to_close(socket: websockets.ClientConnection, code: int, reason: str) -> None:
    await socket.send(f"close {code} {reason}")
    await socket.wait_closed()


async def closed_by_us(socket: websockets.ClientConnection, code: int, reason: str) -> None:
    await socket.close(code, reason)


Close = Callable[[websockets.ClientConnection, int, str], Awaitable[None]]


async def ends(port: int, codes: Sequence[int], close: Close, reason: str = REASON) -> dict[int, tuple[int, str]]:
    """With which code and reason the server's side ended the connection that was closed with each of these."""
    seen: dict[int, tuple[int, str]] = {}

    async def end(code: int) -> None:
        async with connect(port, compression=None) as socket:
            await close(socket, code, reason)
        received = socket.protocol.close_rcvd
        assert received, f"no close frame after {code}"
        seen[code] = received.code, received.reason

    for start in range(0, len(codes), AT_ONCE):
        async with asyncio.TaskGroup() as tasks:
            for code in codes[start : start + AT_ONCE]:
                tasks.create_task(end(code))
    return seen


def new_reason() -> str:
    """One that no other test has told the server, which remembers."""
    return f"{REASON} {uuid4().hex}"


async def server_knows(port: int, *endings: str) -> None:
    """Wait until it has told of each of these."""
    missing = {ending.encode() for ending in endings}

    async def told() -> bool:
        while missing and (body := (await fetch(port, "/closed")).body):
            missing.discard(body)
        return not missing

    await eventually(told, what=lambda: f"the server to know of {missing}")


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


async def test_ws_of_node_talks_with_the_server(lane: Lane, server: Server, node_packages: Path):
    url, reason = f"ws://127.0.0.1:{lane.port}/ws", new_reason()
    said = await output_of(program("node"), FOLDER / "ws_client.mjs", url, reason, node_packages)
    assert json.loads(said) == {
        "protocol": "echo",
        "extensions": "permessage-deflate",
        "same": [True, True, True, True],
        "parts": "in three parts",
        "pong": "are you there",
        "goodbye": f"4000 {reason}",
        "refusal": "403 not you",
    }
    await server_knows(lane.port, f"4999 {reason}")


async def test_what_is_not_compressed_stays_so(lane: Lane, server: Server):
    async with connect(lane.port, compression=None) as socket:
        assert not socket.protocol.extensions
        await socket.send(BIG)
        assert await socket.recv() == BIG


async def test_the_servers_goodbye_reaches_the_client(lane: Lane, server: Server):
    assert await ends(lane.port, CODES, told_to_close) == {code: (code, REASON) for code in CODES}


async def test_the_clients_goodbye_reaches_the_server(lane: Lane, server: Server):
    reason = new_reason()
    await ends(lane.port, CODES, closed_by_us, reason)
    await server_knows(lane.port, *(f"{code} {reason}" for code in CODES))


@in_one_lane
@pytest.mark.parametrize("server", ["websockets"], indirect=True)
@pytest.mark.parametrize("close", [told_to_close, closed_by_us])
async def test_every_code_that_is_free_passes_and_so_does_the_answer_to_it(lane: Lane, server: Server, close: Close):
    """Whoever is closed answers with what it was told."""
    assert await ends(lane.port, FREE_CODES, close) == {code: (code, REASON) for code in FREE_CODES}


async def test_a_refusal_arrives_with_its_body(lane: Lane, server: Server):
    for status in (401, 403, 404):
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


@in_one_lane
async def test_a_killed_server_is_no_clean_end_for_any_of_a_hundred(doomed: tuple[Lane, Server]):
    lane, server = doomed
    tasks = await settled(lambda: len(asyncio.all_tasks()))  # the lane's own have all begun
    descriptors = len(os.listdir("/proc/self/fd"))
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(lane.port)) for _ in range(100)]
        assert lane.in_flight == 100
        server.program.kill()
        for socket in sockets:
            await asyncio.wait_for(socket.wait_closed(), 20.0 * PATIENCE)
        assert {socket.close_code for socket in sockets} == {1014}
        await lane.quiet()
    assert lane.upstream_connections == 0
    await eventually(lambda: not lane.runtime.clients)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
