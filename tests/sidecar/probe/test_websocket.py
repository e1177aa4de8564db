"""Probes by a WebSocket, against the real thing and against what only looks like it."""

from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve, unix_serve
from websockets.utils import accept_key

import sidecar.probe.websocket as websocket_module
from backend import Backend, Connection, Handler, Request, answers, resets, sends, stalls
from probing import probe
from sidecar.contract.model import Health
from waiting import eventually

OPENED = "WebSocket opened"


class Listener:
    """A WebSocket server's handler, which greets and remembers."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.hosts: list[str] = []
        self.close_codes: list[int | None] = []

    async def __call__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.hosts.append(connection.request.headers["Host"])
        await connection.send("welcome")
        await connection.wait_closed()
        self.close_codes.append(connection.close_code)


def switches(accept: str | None = None, *headers: tuple[str, str]) -> Handler:
    """The answer to a handshake, by default the right one; then silence."""

    async def handle(request: Request, connection: Connection) -> None:
        key = (request.header("sec-websocket-key") or b"").decode()
        said = accept_key(key) if accept is None else accept
        fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", said), *headers]
        await connection.respond(101, fields)
        await connection.stall()

    return handle


async def test_a_websocket_is_opened_and_closed_politely(tmp_path: Path):
    listener = Listener()
    async with serve(listener, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await probe(url, type="websocket", path="/live//x?a=%7E", host="ws.test")
        await eventually(lambda: listener.close_codes)
    assert (result.passed, result.reason, result.status, result.answered) == (True, OPENED, 101, True)
    assert result.connect_ms is not None
    assert result.ttfb_ms is not None
    assert 0 < result.connect_ms <= result.ttfb_ms <= result.total_ms
    assert (listener.paths, listener.hosts, listener.close_codes) == (["/live//x?a=%7E"], ["ws.test"], [1000])


async def test_a_unix_socket_is_probed_as_well(tmp_path: Path):
    listener = Listener()
    path = str(tmp_path / "ws.sock")
    async with unix_serve(listener, path):
        assert (await probe(f"unix:{path}", type="websocket")).reason == OPENED
        await eventually(lambda: listener.close_codes == [1000])
    assert (await probe(f"unix:{tmp_path}/none.sock", type="websocket")).refused


async def test_a_backend_that_does_not_say_goodbye_has_passed_all_the_same(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    """Also at the deadline."""
    monkeypatch.setattr(websocket_module, "CLOSING_S", 60.0)
    backend.handler = switches()
    result = await probe(backend.url, type="websocket", timeout_s=0.5)
    assert (result.passed, result.reason) == (True, OPENED)
    assert result.total_ms < 500


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answers(403), "HTTP 403, not 101"),
        (answers(200), "HTTP 200, not 101"),
        (switches("bm90IGl0"), "HTTP 101, but invalid Sec-WebSocket-Accept header: bm90IGl0"),
    ],
)
async def test_an_answer_that_opens_none_fails_with_what_it_was(backend: Backend, handler: Handler, reason: str):
    backend.handler = handler
    result = await probe(backend.url, type="websocket")
    assert (result.passed, result.reason, result.answered) == (False, reason, True)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (stalls(), "no answer within 0.5 s"),
        (resets(), "connection reset"),
        (sends(b""), "connection closed without an answer"),
        (sends(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), "not an HTTP answer"),
        (sends(b"HTTP/1.1 101 " + b"x" * 100_000), "not an HTTP answer"),
    ],
    ids=["silent", "reset", "closed", "other", "endless"],
)
async def test_no_answer_is_a_failure_of_the_transport(backend: Backend, handler: Handler, reason: str):
    backend.handler = handler
    result = await probe(backend.url, type="websocket", timeout_s=0.5)
    assert (result.passed, result.failed_in_transport) == (False, True)
    assert result.reason.startswith(reason)


async def test_the_answer_may_say_how_its_backend_is(backend: Backend):
    backend.handler = switches(None, ("X-Health-State", "degraded"), ("X-Health-Weight", "25%"))
    result = await probe(backend.url, type="websocket")
    assert (result.passed, result.advertised, result.advertised_weight) == (True, Health.DEGRADED, 0.25)
