"""WebSockets through an app: what both ends see of each other where the client's leg ends at the ASGI server."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.frames import CLOSE, CONT, TEXT, Close, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from backend import Backend, Connection
from backend import Request as RawRequest
from lanes import LANES, Lane, LaneKind, StartLane, settled
from waiting import eventually, free_port
from wire import encode_head

MIB = 1 << 20
MESSAGES: list[str | bytes] = ["snow \u2603", b"\x00\xff", "", b"", "x" * MIB, bytes(MIB), bytes(16 * MIB)]
MAY_BE_SENT = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
REASON = "\u2603" * 41
"""As long as a close frame has room for: 123 bytes."""

Handler = Callable[[ServerConnection], Awaitable[None]]
StartServer = Callable[..., Awaitable[str]]


@pytest.fixture(params=["front", "asgi"])
def lane_kind(request: pytest.FixtureRequest) -> LaneKind:
    return LANES[request.param]


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The server in front has nothing to say of our app."""
    yield
    records = caplog.get_records("call")
    assert not [each for each in records if each.name == "uvicorn.error" and each.levelno >= logging.ERROR]


@pytest.fixture
async def serve_websockets() -> AsyncIterator[StartServer]:
    """Starts a backend with this handler; gives its address."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler, **options: Any) -> str:
            server: Server = await stack.enter_async_context(
                serve(handler, "127.0.0.1", 0, max_size=None, max_queue=1, close_timeout=1, **options)
            )
            return f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

        yield start


def client(lane: Lane, target: str = "/", **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{lane.port}{target}", proxy=None, max_size=None, max_queue=1, **options)


async def echo(socket: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        async for message in socket:
            await socket.send(message)


async def closed(socket: ClientConnection | ServerConnection) -> tuple[int | None, str | None]:
    """How it was closed, in the end."""
    await asyncio.wait_for(socket.wait_closed(), 5)
    return socket.close_code, socket.close_reason


async def test_the_handshake_is_between_the_two_ends(start_lane: StartLane, serve_websockets: StartServer):
    seen: list[Request] = []

    def answer(connection: ServerConnection, request: Request, response: Response) -> None:
        seen.append(request)
        response.headers["Set-Cookie"] = "b=2"
        response.headers["Set-Cookie"] = "c=3"
        response.headers["X-Room"] = "7"

    url = await serve_websockets(echo, subprotocols=["v2"], process_response=answer)
    lane = await start_lane(url)
    offered = [Subprotocol(each) for each in ("v9", "v2", "v1")]
    headers = {"Cookie": "a=1", "X-Own": "caf\xe9", "X-Forwarded-For": "192.0.2.1", "X-Sidebeat-Y": "1"}
    async with client(lane, "/a%2Fb?c=%20&d", subprotocols=offered, additional_headers=headers) as socket:
        assert socket.subprotocol == "v2"
        assert socket.response is not None
        assert socket.response.headers.get_all("Set-Cookie") == ["b=2", "c=3"]
        assert socket.response.headers["X-Room"] == "7"
        assert socket.response.headers["Via"].startswith("1.1 sidebeat-")
        for name in ("Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"):
            assert len(socket.response.headers.get_all(name)) == 1
    [request] = seen
    assert request.path == "/a%2Fb?c=%20&d"
    assert request.headers["Sec-WebSocket-Protocol"] == "v9, v2, v1"
    assert request.headers["Host"] == f"127.0.0.1:{lane.port}"
    assert [request.headers[name] for name in ("Cookie", "X-Own")] == ["a=1", "caf\xe9"]
    assert [request.headers[f"X-Forwarded-{name}"] for name in ("For", "Proto")] == ["127.0.0.1", "http"]
    assert request.headers["Via"].startswith("1.1 sidebeat-")
    assert "X-Sidebeat-Y" not in request.headers
    assert "Sec-WebSocket-Extensions" not in request.headers


async def test_messages_pass_both_ways_whole_and_in_order(start_lane: StartLane, serve_websockets: StartServer):
    lane = await start_lane(await serve_websockets(echo))
    async with client(lane) as socket:
        for message in MESSAGES:
            await socket.send(message)
            assert await socket.recv() == message
        assert lane.in_flight == 1
        [row] = lane.runtime.seats["api"].rows.values()
        assert lane.runtime.board.figures(row).tunnels == 1
        await socket.send(iter(["in ", "three ", "parts"]))
        assert await socket.recv() == "in three parts"
    await lane.quiet()
    assert lane.runtime.board.figures(row).tunnels == 0
    assert lane.runtime.board.figures(row).messages == 2 * (len(MESSAGES) + 1)


async def test_fragments_of_a_backend_are_one_message(start_lane: StartLane, serve_websockets: StartServer):
    async def handle(socket: ServerConnection) -> None:
        await socket.send(iter(["\u2603"[:1], "", "b"]))
        await socket.send(iter([b"c", b"d"]))
        await socket.wait_closed()

    async with client(await start_lane(await serve_websockets(handle))) as socket:
        assert [await socket.recv(), await socket.recv()] == ["\u2603b", b"cd"]


async def test_pings_of_either_end_are_answered(start_lane: StartLane, serve_websockets: StartServer):
    async def handle(socket: ServerConnection) -> None:
        await (await socket.ping())
        await socket.send("alive")
        await socket.wait_closed()

    async with client(await start_lane(await serve_websockets(handle))) as socket:
        await (await socket.ping())
        assert await socket.recv() == "alive"


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_refusal_comes_with_all_it_says(start_lane: StartLane, backend: Backend, status: int):
    async def handle(request: RawRequest, connection: Connection) -> None:
        fields = [("WWW-Authenticate", "Bearer"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        await connection.respond(status, fields, b"not you")

    backend.handler = handle
    lane = await start_lane(backend.url)
    with pytest.raises(InvalidStatus) as refused:
        await client(lane)
    response = refused.value.response
    assert (response.status_code, response.body) == (status, b"not you")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert "x-sidebeat-error" not in response.headers


async def test_a_refusal_in_chunks_is_one_too(start_lane: StartLane, backend: Backend):
    async def handle(request: RawRequest, connection: Connection) -> None:
        await connection.start_chunked(HTTPStatus.FORBIDDEN)
        for part in (b"not ", b"you"):
            await connection.chunk(part)
        await connection.end_chunked()

    backend.handler = handle
    with pytest.raises(InvalidStatus) as refused:
        await client(await start_lane(backend.url))
    assert (refused.value.response.status_code, refused.value.response.body) == (403, b"not you")


async def test_without_a_backend_the_refusal_is_ours(start_lane: StartLane):
    lane = await start_lane(f"http://127.0.0.1:{free_port()}", retry={"connect_retries": 0})
    with pytest.raises(InvalidStatus) as refused:
        await client(lane)
    assert refused.value.response.status_code == 502
    assert refused.value.response.headers["x-sidebeat-error"] == "connect_refused"


async def test_a_handshake_that_fails_is_tried_elsewhere(start_lane: StartLane, bad: Backend, serve_websockets):
    async def handle(request: RawRequest, connection: Connection) -> None:
        connection.reset()

    bad.handler = handle
    lane = await start_lane(bad.url, await serve_websockets(echo), f"http://127.0.0.1:{free_port()}")
    for _ in range(3):
        async with client(lane) as socket:
            await socket.send("here")
            assert await socket.recv() == "here"


def switch(request: RawRequest, **changes: str) -> bytes:
    key = (request.header("sec-websocket-key") or b"").decode()
    fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": accept_key(key), **changes}
    return encode_head("HTTP/1.1 101 Switching Protocols", fields.items())


@pytest.mark.parametrize(
    "wrong",
    [{"Sec-WebSocket-Accept": "x"}, {"Sec-WebSocket-Protocol": "never-offered"}, {"Sec-WebSocket-Extensions": "zip"}],
    ids=["accept", "subprotocol", "extension"],
)
async def test_a_101_that_answers_no_such_question_is_502(start_lane: StartLane, backend: Backend, wrong):
    async def handle(request: RawRequest, connection: Connection) -> None:
        await connection.send(switch(request, **wrong))
        await connection.gone()

    backend.handler = handle
    with pytest.raises(InvalidStatus) as refused:
        await client(await start_lane(backend.url))
    assert refused.value.response.status_code == 502
    assert refused.value.response.headers["x-sidebeat-error"] == "bad_response"


async def test_the_backend_hears_how_the_client_closed(start_lane: StartLane, serve_websockets: StartServer):
    heard: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        heard.append(await closed(socket))

    lane = await start_lane(await serve_websockets(handle))
    for code in MAY_BE_SENT:
        async with client(lane) as socket:
            await socket.close(code, REASON)
            assert (socket.close_code, socket.close_reason) == (code, REASON)
    await eventually(lambda: heard == [(code, REASON) for code in MAY_BE_SENT])


async def test_the_client_hears_how_the_backend_closed(start_lane: StartLane, serve_websockets: StartServer):
    codes = iter(MAY_BE_SENT)

    async def handle(socket: ServerConnection) -> None:
        await socket.send("last words")
        await socket.close(next(codes), REASON)

    lane = await start_lane(await serve_websockets(handle))
    for code in MAY_BE_SENT:
        async with client(lane) as socket:
            assert await socket.recv() == "last words"
            assert await closed(socket) == (code, REASON)
    await lane.quiet()


async def test_a_goodbye_without_a_word_is_1005_to_the_backend(start_lane: StartLane, serve_websockets: StartServer):
    heard: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        heard.append(await closed(socket))

    lane = await start_lane(await serve_websockets(handle))
    async with client(lane) as socket:
        socket.protocol.send_close()
        socket.transport.writelines(socket.protocol.data_to_send())
        await socket.wait_closed()
    await eventually(lambda: heard == [(1005, "")])


async def test_a_client_that_is_gone_takes_the_backends_leg_with_it(
    start_lane: StartLane, serve_websockets: StartServer
):
    heard: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        heard.append(await closed(socket))

    lane = await start_lane(await serve_websockets(handle))
    async with client(lane) as socket:
        socket.transport.abort()
        await eventually(lambda: not lane.in_flight)
    await eventually(lambda: heard == [(1011, "")])
    [tally] = [seats.board.tally(row) for seats in lane.runtime.seats.values() for row in seats.rows.values()]
    assert tally.failures == 0


async def test_a_client_that_leaves_before_the_answer_takes_the_question_with_it(
    start_lane: StartLane, backend: Backend
):
    gone = asyncio.Event()

    async def handle(request: RawRequest, connection: Connection) -> None:
        await connection.gone()
        gone.set()

    backend.handler = handle
    lane = await start_lane(backend.url)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(client(lane).__aenter__())
        await eventually(lambda: backend.requests)
        asking.cancel()
        await eventually(gone.is_set)
    await lane.quiet()


@pytest.mark.parametrize("how", ["close", "half_close", "reset"])
@pytest.mark.parametrize("rest", [b"", Frame(TEXT, b"hello").serialize(mask=False)[:4]], ids=["boundary", "mid-frame"])
async def test_a_backend_that_is_gone_without_a_word_is_1014(
    start_lane: StartLane, backend: Backend, how: str, rest: bytes
):
    async def handle(request: RawRequest, connection: Connection) -> None:
        await connection.send(switch(request) + rest)
        await connection.reader.some()
        getattr(connection, how)()

    backend.handler = handle
    lane = await start_lane(backend.url)
    async with client(lane) as socket:
        await socket.send("hello?")
        assert await closed(socket) == (1014, "the backend is lost")
    await lane.quiet()


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xe2", fin=False) + frame(CONT, b"x"), 1007),
        (frame(CONT, b"x"), 1002),
        (b"\x83\x00", 1002),
        (frame(CLOSE, struct.pack("!H", 1005)), 1002),
    ],
    ids=["not utf-8", "not utf-8 in fragments", "no beginning", "no such opcode", "no such code"],
)
async def test_a_backend_that_breaks_the_rules_is_1014(
    start_lane: StartLane, backend: Backend, broken: bytes, code: int
):
    said = bytearray()

    async def handle(request: RawRequest, connection: Connection) -> None:
        await connection.send(switch(request) + frame(TEXT, b"fine") + broken)
        said.extend(await connection.reader.some())
        connection.close()

    backend.handler = handle
    async with client(await start_lane(backend.url)) as socket:
        assert await socket.recv() == "fine"
        assert await closed(socket) == (1014, "the backend broke the protocol")
    key = said[2:6]
    assert said[0] == 0x88
    assert Close.parse(bytes(byte ^ key[at % 4] for at, byte in enumerate(said[6:]))).code == code


@pytest.mark.parametrize("message", ["x" * 1001, b"x" * 1001])
async def test_a_message_over_the_limit_ends_both_legs_with_1009(
    start_lane: StartLane, serve_websockets: StartServer, message: str | bytes
):
    heard: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            if await socket.recv() == "go on":
                await socket.send(message)
        heard.append((await closed(socket))[0])

    lane = await start_lane(await serve_websockets(handle), listen={"max_message_bytes": 1000})
    async with client(lane) as socket:
        await socket.send("go on")
        assert (await closed(socket))[0] == 1009
    await eventually(lambda: heard == [1009])
    async with client(lane) as socket:
        await socket.send("x" * 1000)
        await socket.send(message)
        assert (await closed(socket))[0] == 1009
    await eventually(lambda: heard == [1009, 1009])


async def test_a_client_that_is_slow_makes_the_backend_wait(start_lane: StartLane, serve_websockets: StartServer):
    sent = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal sent
        for _ in range(64):
            await socket.send(bytes(MIB))
            sent += 1
        await socket.wait_closed()

    lane = await start_lane(await serve_websockets(handle))
    async with client(lane, compression=None) as socket:
        assert 0 < await settled(lambda: sent) < 32
        for _ in range(64):
            assert len(await socket.recv()) == MIB


async def test_a_backend_that_is_slow_makes_the_client_wait(start_lane: StartLane, serve_websockets: StartServer):
    release = asyncio.Event()
    got = sent = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal got
        await release.wait()
        with suppress(ConnectionClosed):
            async for message in socket:
                got += len(message)

    async def pour(socket: ClientConnection) -> None:
        nonlocal sent
        for _ in range(64):
            await socket.send(bytes(MIB))
            sent += 1

    lane = await start_lane(await serve_websockets(handle))
    async with client(lane, compression=None) as socket, asyncio.TaskGroup() as tasks:
        pouring = tasks.create_task(pour(socket))
        assert 0 < await settled(lambda: sent) < 32
        release.set()
        await pouring
        await eventually(lambda: got == 64 * MIB)


async def test_a_drain_is_1012_on_both_legs(start_lane: StartLane, serve_websockets: StartServer):
    heard: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        heard.append(await closed(socket))

    lane = await start_lane(await serve_websockets(handle))
    async with client(lane) as socket:
        for exchange in list(lane.runtime.active):
            exchange.drain(lane.runtime.clock())
        assert await closed(socket) == (1012, "draining, come again")
    await eventually(lambda: heard == [(1012, "draining, come again")])


async def test_one_that_is_silent_for_too_long_is_1001_on_both_legs(
    start_lane: StartLane, serve_websockets: StartServer
):
    heard: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        await socket.send("hello")
        heard.append(await socket.recv())
        heard.append(await closed(socket))

    lane = await start_lane(await serve_websockets(handle), timeouts={"websocket_idle_timeout_s": 100})
    async with client(lane) as socket:
        assert await socket.recv() == "hello"
        [side] = lane.runtime.clients
        now = lane.runtime.clock()
        for passed in (0, 99):
            side.check_deadline(now + passed)
        await socket.send("still here")
        await eventually(lambda: heard == ["still here"])
        for passed in (100, 199, 200):
            assert socket.close_code is None
            side.check_deadline(now + passed)
        assert await closed(socket) == (1001, "idle for too long")
    await eventually(lambda: heard == ["still here", (1001, "idle for too long")])


async def test_the_end_of_the_worker_is_1012_on_both_legs(start_lane: StartLane, serve_websockets: StartServer):
    heard: list[object] = []

    async def handle(socket: ServerConnection) -> None:
        heard.append(await closed(socket))

    lane = await start_lane(await serve_websockets(handle))
    async with client(lane) as socket:
        await lane.runtime.aclose()
        assert (await closed(socket))[0] == 1012
    await eventually(lambda: heard == [(1012, "draining, come again")])


async def test_a_backend_that_does_not_answer_a_goodbye_is_not_waited_for_for_ever(
    start_lane: StartLane, backend: Backend
):
    async def handle(request: RawRequest, connection: Connection) -> None:
        await connection.send(switch(request))
        await connection.reader.some()
        await connection.send(frame(TEXT, b"go on"))
        await connection.gone()

    backend.handler = handle
    lane = await start_lane(backend.url)
    async with client(lane) as socket:
        await socket.close(1000)
    [exchange] = lane.runtime.active
    exchange.check_deadline(lane.runtime.clock() + 5)
    assert lane.in_flight == 1
    exchange.check_deadline(lane.runtime.clock() + 11)
    await lane.quiet()


@pytest.mark.parametrize("begun", [False, True])
async def test_the_end_of_the_worker_is_the_end_of_a_handshake(
    start_lane: StartLane, backend: Backend, caplog: pytest.LogCaptureFixture, begun: bool
):
    async def handle(request: RawRequest, connection: Connection) -> None:
        if begun:
            await connection.start_chunked(HTTPStatus.FORBIDDEN)
        await connection.gone()

    backend.handler = handle
    lane = await start_lane(backend.url)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(outcome(lane))
        await eventually(lambda: lane.runtime.active and all(each.responded == begun for each in lane.runtime.active))
        await lane.runtime.aclose()
        assert await asking == (None if begun else 503)
    caplog.clear()  # uvicorn has a word to say of half a refusal


async def outcome(lane: Lane) -> int | None:
    """The status of a refusal; None where there is no whole answer."""
    try:
        await client(lane)
    except InvalidStatus as refused:
        return refused.response.status_code
    except (InvalidMessage, OSError):
        return None
    raise AssertionError("it was accepted")
