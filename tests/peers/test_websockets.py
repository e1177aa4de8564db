"""WebSocket libraries that people have, on both sides of us."""

import aiohttp
import pytest
import websockets

from lanes import Lane
from peers import BIG, Server


@pytest.fixture(autouse=True)
def both_can(lane: Lane, server: Server) -> None:
    lane.needs("upgrade")
    server.needs("websocket")


async def test_websockets_talks_with_the_server(lane: Lane, server: Server):
    async with websockets.connect(
        f"ws://127.0.0.1:{lane.port}/ws", subprotocols=[websockets.Subprotocol("echo")], proxy=None
    ) as socket:
        assert socket.subprotocol == "echo"
        for message in ("snow \u2603", BIG[:900_000], ""):
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
        await socket.send("bye")
        await socket.wait_closed()
    assert (socket.close_code, socket.close_reason) == (4000, "bye")


async def test_aiohttp_talks_with_the_server(lane: Lane, server: Server):
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{lane.port}/ws", protocols=["echo"]) as socket,
    ):
        assert socket.protocol == "echo"
        await socket.send_str("snow \u2603")
        assert await socket.receive_str() == "snow \u2603"
        await socket.send_bytes(BIG[:900_000])
        assert await socket.receive_bytes() == BIG[:900_000]
        await socket.send_str("bye")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4000
