"""WebSockets in the direct lane: frames pass as they came, and where we end one we say so between two frames."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from websockets.frames import BINARY, CLOSE, CONT, TEXT, Close, Frame

from backend import Backend, Connection, Handler, Request, answers, resets
from lanes import Lane, StartLane, in_one_lane
from raw_client import RawClient
from sidecar.contract.model import Admin, Health, Verdict, View
from waiting import eventually
from wire import encode_head
from worker.frames import FrameTracker
from worker.leaving import Leaving
from worker.tunnel import WebSocketTunnel

pytestmark = in_one_lane

AT_ONCE = 1.0
REQUEST = encode_head(
    "GET /ws HTTP/1.1",
    [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
)
SWITCH = encode_head("HTTP/1.1 101 Switching Protocols", [("Upgrade", "websocket"), ("Connection", "Upgrade")])
HELLO = Frame(TEXT, b"hello")
BIG = Frame(BINARY, bytes(70_000))


def of_client(frame: Frame) -> bytes:
    return bytes(frame.serialize(mask=True))


def of_backend(frame: Frame) -> bytes:
    return bytes(frame.serialize(mask=False))


def goodbye(code: int, reason: str = "") -> Frame:
    return Frame(CLOSE, Close(code, reason).serialize())


class Peer:
    """The backend's end of one tunnel: what it got, and its connection."""

    def __init__(self) -> None:
        self.got = FrameTracker()
        self.raw = b""
        self.connection: Connection
        self.is_over = False

    async def handle(self, request: Request, connection: Connection) -> None:
        """Switches, and listens; answers no goodbye by itself."""
        await connection.send(SWITCH)
        self.connection = connection
        try:
            while data := await connection.reader.some():
                self.raw += data
                self.got.feed(data)
        finally:
            self.is_over = True
        connection.close()


@pytest.fixture
def peer(backend: Backend) -> Peer:
    peer = Peer()
    backend.handler = peer.handle
    return peer


@pytest.fixture
async def client(lane: Lane, peer: Peer) -> AsyncIterator[RawClient]:
    """A client whose WebSocket is open."""
    async with RawClient(lane.port) as client:
        await open_on(client)
        yield client


async def open_on(client: RawClient) -> None:
    await client.send(REQUEST)
    assert (await client.read_head()).status == 101


async def passes(client: RawClient, peer: Peer) -> None:
    """A message each way."""
    await client.send(of_client(HELLO))
    await peer.connection.send(of_backend(HELLO))
    assert await client.read_exactly(len(of_backend(HELLO))) == of_backend(HELLO)
    await eventually(lambda: peer.got.messages)


def drain(lane: Lane) -> None:
    for exchange in list(lane.runtime.active):
        exchange.drain(lane.runtime.clock())


def look(lane: Lane, later_s: float = 0.0) -> None:
    """What the ticker does once a second."""
    for each in list(lane.runtime.clients):
        each.check_deadline(lane.runtime.clock() + later_s)


async def read_close(client: RawClient) -> int | None:
    """The code of the frame that comes next, which has to be a close frame, whole and not masked."""
    head = await client.read_exactly(2)
    assert head[0] == 0x88
    assert head[1] < 126
    return int.from_bytes((await client.read_exactly(head[1]))[:2], "big")


async def nothing_is_left(lane: Lane) -> None:
    await lane.quiet()
    await eventually(lambda: not lane.runtime.clients)
    row = next(iter(lane.runtime.seats["api"].rows.values()))
    assert lane.runtime.board.figures(row).tunnels == 0
    assert lane.upstream_connections == 0


async def test_a_drain_tells_both_ends_to_come_again(lane: Lane, client: RawClient, peer: Peer, backend: Backend):
    await passes(client, peer)
    drain(lane)
    assert await read_close(client) == 1012
    await eventually(lambda: peer.got.closed, within=AT_ONCE)
    assert peer.got.close_code == 1012
    assert not peer.got.broken
    await peer.connection.send(of_backend(goodbye(1012)))
    await client.send(of_client(goodbye(1012)))
    assert await client.read_until_close(within=AT_ONCE) == b""
    await eventually(lambda: peer.is_over, within=AT_ONCE)
    await nothing_is_left(lane)
    assert lane.counted(backend).failures == 0


async def test_a_drain_waits_for_the_end_of_the_frame_that_passes_to_the_backend(
    lane: Lane, client: RawClient, peer: Peer
):
    wire = of_client(BIG)
    await client.send(wire[:40_000])
    await eventually(lambda: len(peer.raw) == 40_000)
    drain(lane)
    assert await read_close(client) == 1012
    await client.send(wire[40_000:] + of_client(HELLO) + of_client(goodbye(1012)))
    await eventually(lambda: peer.got.closed, within=AT_ONCE)
    assert peer.raw.startswith(wire)
    assert (peer.got.messages, peer.got.close_code) == (1, 1012)


async def test_a_drain_waits_for_the_end_of_the_frame_that_passes_to_the_client(
    lane: Lane, client: RawClient, peer: Peer
):
    wire = of_backend(BIG)
    await peer.connection.send(wire[:40_000])
    assert await client.read_exactly(40_000) == wire[:40_000]
    drain(lane)
    await eventually(lambda: peer.got.close_code == 1012, within=AT_ONCE)
    for piece in (wire[40_000:40_001], wire[40_001:] + of_backend(HELLO)[:1], of_backend(HELLO)[1:]):
        await peer.connection.send(piece)
    assert await client.read_exactly(len(wire) - 40_000) == wire[40_000:]
    assert await read_close(client) == 1012
    await client.send(of_client(goodbye(1012)))
    assert await client.read_until_close(within=AT_ONCE) == b""


FRAGMENT = of_backend(Frame(TEXT, b"once", fin=False))


async def test_a_drain_waits_for_the_last_fragment_of_a_message(lane: Lane, client: RawClient, peer: Peer):
    await peer.connection.send(FRAGMENT)
    await client.read_exactly(len(FRAGMENT))
    drain(lane)
    rest = of_backend(Frame(CONT, b" upon", fin=False)) + of_backend(Frame(CONT, b" a time", fin=True))
    await peer.connection.send(rest + of_backend(HELLO))
    assert await client.read_exactly(len(rest)) == rest
    assert await read_close(client) == 1012
    await client.send(of_client(goodbye(1012)))
    assert await client.read_until_close(within=AT_ONCE) == b""


async def test_where_the_last_fragment_will_not_come_we_speak_before_it(lane: Lane, client: RawClient, peer: Peer):
    await peer.connection.send(FRAGMENT)
    await client.read_exactly(len(FRAGMENT))
    peer.connection.reset()
    assert await read_close(client) == 1014


async def test_the_worker_does_not_wait_for_the_last_fragment_for_ever(lane: Lane, client: RawClient, peer: Peer):
    await peer.connection.send(FRAGMENT)
    await client.read_exactly(len(FRAGMENT))
    drain(lane)
    await lane.runtime.aclose()
    assert await read_close(client) == 1012


async def test_a_backend_that_the_operator_takes_out_is_left(lane: Lane, client: RawClient, peer: Peer):
    """As with a worker that drains; the others, and requests, stay where they are."""
    runtime = lane.runtime
    [backend] = runtime.config.pools["api"].members
    taken_out = Verdict(id=backend.id, url=backend.url, state=Health.HEALTHY, admin=Admin.DRAIN)
    Leaving().tick(runtime.active, runtime.clock(), 0.0)
    await passes(client, peer)
    runtime.knowledge["api"].offer(View(epoch=1, backends={backend.id: taken_out}), runtime.clock(), 0.0)
    Leaving().tick(runtime.active, runtime.clock(), 0.0)
    assert await read_close(client) == 1012
    await eventually(lambda: peer.got.close_code == 1012)


async def test_a_drain_leaves_a_goodbye_of_their_own_alone(lane: Lane, client: RawClient, peer: Peer):
    await client.send(of_client(goodbye(4001, "enough")))
    await eventually(lambda: peer.got.closed)
    drain(lane)
    await peer.connection.send(of_backend(goodbye(4001, "enough")))
    assert await read_close(client) == 4001
    peer.connection.close()
    assert await client.read_until_close(within=AT_ONCE) == b""
    assert peer.got.close_code == 4001


async def test_a_frame_that_never_ends_is_cut_with_its_worker_and_no_clean_end(
    lane: Lane, client: RawClient, peer: Peer
):
    await peer.connection.send(of_backend(BIG)[:100])
    await client.read_exactly(100)
    drain(lane)
    await lane.runtime.aclose()
    with pytest.raises(ConnectionResetError):
        await client.read_until_close(within=AT_ONCE)


async def test_the_end_of_the_worker_is_told_to_a_client_between_two_frames(lane: Lane, client: RawClient, peer: Peer):
    await passes(client, peer)
    await lane.runtime.aclose()
    assert await read_close(client) == 1012


LEAVE: dict[str, Callable[[Connection], None]] = {"close": Connection.close, "reset": Connection.reset}


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
async def test_a_backend_that_is_lost_is_no_clean_end(
    lane: Lane, client: RawClient, peer: Peer, backend: Backend, leave: Callable[[Connection], None]
):
    await passes(client, peer)
    leave(peer.connection)
    assert await read_close(client) == 1014
    await eventually(lambda: not lane.in_flight, within=AT_ONCE)
    await client.send(of_client(goodbye(1014)))
    assert await client.read_until_close(within=AT_ONCE) == b""
    await nothing_is_left(lane)
    assert lane.counted(backend).failures == 0


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
async def test_a_backend_that_is_lost_within_a_frame_resets_its_client(
    lane: Lane, client: RawClient, peer: Peer, leave: Callable[[Connection], None]
):
    await peer.connection.send(of_backend(BIG)[:100])
    await client.read_exactly(100)
    leave(peer.connection)
    with pytest.raises(ConnectionResetError):
        await client.read_until_close(within=AT_ONCE)
    await nothing_is_left(lane)


async def test_a_backend_that_is_lost_after_its_client_said_goodbye_has_not_answered(
    lane: Lane, client: RawClient, peer: Peer
):
    await client.send(of_client(goodbye(1000)))
    await eventually(lambda: peer.got.closed)
    peer.connection.reset()
    assert await read_close(client) == 1014
    assert await client.read_until_close(within=AT_ONCE) == b""
    await nothing_is_left(lane)


async def test_a_backend_that_is_lost_during_a_drain_is_told_of_as_a_drain(lane: Lane, client: RawClient, peer: Peer):
    await peer.connection.send(FRAGMENT)
    await client.read_exactly(len(FRAGMENT))
    drain(lane)
    peer.connection.reset()
    assert await read_close(client) == 1012


@pytest.mark.parametrize("code", [1000, 1001, 1009, 3000, 4999])
async def test_a_goodbye_of_the_backend_passes_with_its_reason(lane: Lane, client: RawClient, peer: Peer, code: int):
    frame = of_backend(goodbye(code, "because \u2603"))
    await peer.connection.send(frame)
    assert await client.read_exactly(len(frame)) == frame
    await client.send(of_client(goodbye(code)))
    await eventually(lambda: peer.got.closed)
    assert peer.got.close_code == code
    peer.connection.close()
    assert await client.read_until_close(within=AT_ONCE) == b""
    client.close()
    await nothing_is_left(lane)


async def test_a_client_that_leaves_without_a_goodbye_is_not_given_one(lane: Lane, client: RawClient, peer: Peer):
    await passes(client, peer)
    client.abort()
    await eventually(lambda: peer.is_over, within=AT_ONCE)
    assert peer.raw == peer.raw[: len(of_client(HELLO))]
    await nothing_is_left(lane)


async def test_a_silent_websocket_ends_where_the_pool_says_so(start_lane: StartLane, peer: Peer, backend: Backend):
    lane = await start_lane(backend.url, timeouts={"websocket_idle_timeout_s": 30.0})
    async with RawClient(lane.port) as client:
        await open_on(client)
        look(lane, 20)
        await passes(client, peer)
        look(lane, 40)  # 20 s of silence at most, as far as one can tell
        look(lane, 69)
        assert not peer.got.closed
        look(lane, 70)
        assert await read_close(client) == 1001
        await eventually(lambda: peer.got.close_code == 1001)
        await client.send(of_client(goodbye(1001)))
        await peer.connection.send(of_backend(goodbye(1001)))
        assert await client.read_until_close(within=AT_ONCE) == b""


async def test_a_websocket_may_be_silent_for_ever(lane: Lane, client: RawClient, peer: Peer):
    look(lane)
    look(lane, 1e9)
    await passes(client, peer)


async def test_those_who_do_not_answer_our_goodbye_have_a_moment_for_it(lane: Lane, client: RawClient, peer: Peer):
    drain(lane)
    assert await read_close(client) == 1012
    look(lane, 1.0)
    assert lane.in_flight == 1
    look(lane, 3.0)
    assert await client.read_until_close(within=AT_ONCE) == b""
    await eventually(lambda: peer.is_over, within=AT_ONCE)
    await nothing_is_left(lane)


async def test_a_backend_that_does_not_see_its_client_leave_has_a_moment_for_it(
    lane: Lane, backend: Backend, client: RawClient, peer: Peer
):
    async def stall(request: Request, connection: Connection) -> None:
        await connection.send(SWITCH)
        await connection.stall()

    backend.handler = stall
    async with RawClient(lane.port) as other:
        await open_on(other)
        client.abort()
        await eventually(lambda: lane.in_flight == 1)
        other.half_close()
        [tunnel] = lane.runtime.clients
        assert isinstance(tunnel, WebSocketTunnel)
        await eventually(lambda: tunnel.deadline < float("inf"))
        look(lane, 9.0)
        assert lane.in_flight == 1
        look(lane, 11.0)
        await nothing_is_left(lane)


async def test_both_connections_are_probed_while_nothing_passes(start_lane: StartLane, backend: Backend, peer: Peer):
    lane = await start_lane(backend.url, timeouts={"tcp_keepalive_s": 30.0})
    async with RawClient(lane.port) as client:
        await open_on(client)
        [tunnel] = lane.runtime.clients
        assert isinstance(tunnel, WebSocketTunnel)
        for transport in (lane.backend_transport, tunnel.client):
            probed = transport.get_extra_info("socket")
            assert probed.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert probed.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert probed.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


class BrokenError(Exception):
    """A mistake of ours, as a transport tells it."""


async def test_whoever_is_left_hears_it_when_we_break(lane: Lane, client: RawClient, peer: Peer):
    await passes(client, peer)
    [tunnel] = lane.runtime.clients
    assert isinstance(tunnel, WebSocketTunnel)
    client.abort()
    tunnel.connection_lost(BrokenError())
    await eventually(lambda: peer.got.close_code == 1011)


async def test_what_is_no_websocket_passes_all_the_same(lane: Lane, client: RawClient, peer: Peer):
    await client.send(b"\xff" * 40)
    await peer.connection.send(b"\xff" * 40)
    assert await client.read_exactly(40) == b"\xff" * 40
    drain(lane)
    await client.send(b"more")
    await eventually(lambda: peer.raw.endswith(b"\xffmore"))


async def test_tunnels_and_their_messages_are_counted(lane: Lane, client: RawClient, peer: Peer):
    row = next(iter(lane.runtime.seats["api"].rows.values()))
    assert lane.runtime.board.figures(row).tunnels == 1
    await passes(client, peer)
    assert lane.in_flight == 1
    client.abort()
    await nothing_is_left(lane)
    assert lane.runtime.board.figures(row).messages == 2


SPOILED: dict[str, Handler | None] = {
    "refuses connections": None,
    "resets": resets(),
    "answers 503": answers(503),
    "closes": resets(b"HTTP/1.1 101 Swit"),
}


@pytest.mark.parametrize("how", SPOILED)
async def test_a_handshake_that_fails_is_made_elsewhere(
    start_lane: StartLane, bad: Backend, backend: Backend, peer: Peer, how: str
):
    handler = SPOILED[how]
    if handler is None:
        bad.refuse()
    else:
        bad.handler = handler
    lane = await start_lane(bad.url, backend.url)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await open_on(await stack.enter_async_context(RawClient(lane.port)))
    assert len(backend.requests) == 2


async def test_a_refusal_is_the_backends_to_make(start_lane: StartLane, bad: Backend, backend: Backend):
    bad.handler = backend.handler = answers(403, [("X-Why", "no")], b"not you")
    lane = await start_lane(bad.url, backend.url)
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        response = await client.read_response()
    assert (response.status, response.header("x-why"), response.body) == (403, b"no", b"not you")
    assert len(backend.requests) + len(bad.requests) == 1


@pytest.mark.parametrize(
    ("allowed", "is_asked"),
    [("any", True), (["WebSocket"], True), (["chat", "websocket"], True), (["chat"], False), ([], False)],
)
async def test_a_route_says_what_may_be_switched_to(
    start_lane: StartLane, backend: Backend, allowed: list[str], is_asked: bool
):
    lane = await start_lane(backend.url, routes=[{"pool": "api", "upgrade": allowed}])
    async with RawClient(lane.port) as client:
        await client.send(REQUEST)
        assert (await client.read_response()).status == 200
    assert (backend.requests[0].header("upgrade") is not None) == is_asked
    assert (backend.requests[0].header("connection") is not None) == is_asked


async def test_a_slow_client_hears_the_end_behind_what_it_has_not_read(lane: Lane, client: RawClient, peer: Peer):
    """Its backend had to wait for it, and is heard again: its own goodbye is what we wait for."""

    async def pour() -> None:
        while not peer.got.closed:
            await peer.connection.send(of_backend(BIG))
        await peer.connection.send(of_backend(goodbye(1012)))

    client.pause_reading()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pour())
        await eventually(lambda: not lane.backend_transport.is_reading())
        drain(lane)
        client.resume_reading()
        got, read = FrameTracker(), 0
        while not got.closed:
            data = await client.read_some()
            assert data, f"ended after {read} bytes without a goodbye"
            read += len(data)
            got.feed(data)
    assert got.close_code == 1012
    await client.send(of_client(goodbye(1012)))
    assert await client.read_until_close(within=AT_ONCE) == b""
    await nothing_is_left(lane)
