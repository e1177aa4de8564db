"""The access log: one line for each request that was to be forwarded, saying what became of it."""

import json
import re
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from backend import Backend, Connection, Request, resets, sends
from lanes import Lane, StartLane, in_one_lane
from raw_client import RawClient, fetch
from rude import never_answers
from talker import talking
from waiting import eventually
from wire import encode_chunk, encode_head

CHUNKED = encode_head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])


class Log:
    """A log file, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def section(self) -> dict[str, Any]:
        return {"access": "json", "file": str(self.path)}

    def lines(self) -> list[dict[str, Any]]:
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(each) for each in text.splitlines()]

    async def only_line(self) -> dict[str, Any]:
        await eventually(lambda: len(self.lines()) == 1, what=lambda: str(self.lines()))
        return self.lines()[0]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "access.log")


@pytest.fixture
async def lane(start_lane: StartLane, backend: Backend, log: Log) -> Lane:
    return await start_lane(backend.url, log=log.section)


async def test_a_line_says_what_became_of_a_request(lane: Lane, backend: Backend, log: Log):
    await fetch(lane.port, method="POST", target="/a%20b?token=secret", body=b"hello")
    line = await log.only_line()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("duration_ms") >= line.pop("ttfb_ms") > 0
    assert line.pop("pid") > 0
    body = backend.requests[0].body
    assert line == {
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/a%20b",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes_up": len(body),
        "bytes_down": 2,
        "pool": "api",
        "backend": f"127.0.0.1:{backend.port}",
        "attempts": 1,
        "ended": "complete",
    }


async def test_secrets_are_in_no_line(lane: Lane, log: Log):
    secrets = [("Authorization", "Bearer secret"), ("Cookie", "secret=1"), ("Referer", "/?secret"), ("Host", "a")]
    await fetch(lane.port, target="/?secret=1#secret", headers=secrets)
    await fetch(lane.port, target="http://user:secret@a/secret", headers=secrets)
    await eventually(lambda: len(log.lines()) == 2)
    assert "secret" not in log.path.read_text()


async def test_attempts_that_failed_are_named(start_lane: StartLane, backend: Backend, bad: Backend, log: Log):
    bad.refuse()
    lane = await start_lane(bad.url, backend.url, log=log.section)
    for _ in range(2):
        await fetch(lane.port)
    await eventually(lambda: len(log.lines()) == 2)
    [line] = [each for each in log.lines() if each["attempts"] > 1]
    assert (line["attempts"], line["status"], line["backend"]) == (2, 200, f"127.0.0.1:{backend.port}")
    assert line["tried"] == [{"backend": f"127.0.0.1:{bad.port}", "failure": "connect_refused"}]


async def test_an_error_of_ours_is_named(start_lane: StartLane, backend: Backend, log: Log):
    backend.handler = resets()
    lane = await start_lane(backend.url, log=log.section)
    response = await fetch(lane.port)
    line = await log.only_line()
    assert (line["status"], line["failure"]) == (response.status, "reset_before_head")
    assert (line["attempts"], line["ended"], line["bytes_down"]) == (1, "complete", 0)


@pytest.mark.parametrize(
    ("request_", "status", "failure", "path"),
    [
        (b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no_route", "/elsewhere"),
        (b"TRACE /here HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_refused", "/here"),
        (b"GET /here\r\n\r\n", 400, "bad_request", ""),
        (b'GET /here"} HTTP/1.1\r\nHost: a\r\nBad Field: 1\r\n\r\n', 400, "bad_request", ""),
    ],
)
async def test_who_is_turned_away_gets_a_line(
    start_lane: StartLane, backend: Backend, log: Log, request_: bytes, status: int, failure: str, path: str
):
    routes = [{"pool": "api", "path_prefix": "/here"}]
    lane = await start_lane(backend.url, log=log.section, routes=routes)
    async with RawClient(lane.port) as client:
        await client.send(request_)
        assert (await client.read_response()).status == status
    line = await log.only_line()
    assert (line["status"], line["failure"], line["path"], line["backend"]) == (status, failure, path, None)
    assert line["attempts"] == 0


async def test_a_client_that_leaves_before_the_answer_is_logged_as_499(lane: Lane, backend: Backend, log: Log):
    backend.handler = never_answers()
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: len(backend.requests) == 1)
    line = await log.only_line()
    assert (line["status"], line["ended"], line["ttfb_ms"]) == (499, "client_gone", None)
    assert line["backend"] == f"127.0.0.1:{backend.port}"


async def test_an_answer_that_breaks_off_is_logged_as_cut(lane: Lane, backend: Backend, log: Log):
    backend.handler = sends(CHUNKED + encode_chunk(b"some"))
    async with RawClient(lane.port) as client:
        await client.request()
        await client.read_head()
        line = await log.only_line()
    assert (line["status"], line["ended"], line["failure"]) == (200, "cut", "response_cut_short")
    assert line["bytes_down"] == 4


async def test_a_body_that_is_refused_on_its_way_is_logged_once(start_lane: StartLane, backend: Backend, log: Log):
    lane = await start_lane(backend.url, log=log.section, listen={"max_body_bytes": 10})
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
        await client.send(encode_chunk(b"x" * 11))
        assert (await client.read_response()).status == 413
    line = await log.only_line()
    assert (line["status"], line["failure"], line["ended"]) == (413, "body_too_large", "complete")


async def test_a_body_that_is_refused_along_with_its_head_took_no_longer_than_it_did(
    start_lane: StartLane, backend: Backend, log: Log
):
    lane = await start_lane(backend.url, log=log.section, listen={"max_body_bytes": 10})
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")])
    began = monotonic()
    async with RawClient(lane.port) as client:
        await client.send(head + encode_chunk(b"x" * 11))
        assert (await client.read_response()).status == 413
    line = await log.only_line()
    assert line["failure"] == "body_too_large"
    assert 0 <= line["duration_ms"] <= (monotonic() - began) * 1000


async def test_a_tunnel_is_logged_at_its_end(start_lane: StartLane, backend: Backend, log: Log):
    async def echo(request: Request, connection: Connection) -> None:
        fields = [("Upgrade", "chat"), ("Connection", "Upgrade")]
        await connection.send(encode_head("HTTP/1.1 101 Switching Protocols", fields))
        while data := await connection.reader.some():
            await connection.send(data)
        connection.close()

    backend.handler = echo
    lane = await start_lane(backend.url, log=log.section)
    lane.needs("upgrade")
    async with RawClient(lane.port) as client:
        await client.request("GET", "/", [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "chat")])
        assert (await client.read_head()).status == 101
        assert not log.lines()
    line = await log.only_line()
    assert (line["status"], line["ended"], line["messages"]) == (101, "complete", 0)
    assert "failure" not in line


@in_one_lane
async def test_the_trace_of_a_request_is_in_its_line(lane: Lane, log: Log):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await fetch(lane.port, target="/", headers=[("Host", "a"), ("traceparent", f"00-{trace}-00f067aa0ba902b7-01")])
    assert (await log.only_line())["trace_id"] == trace


@in_one_lane
async def test_who_is_behind_a_trusted_proxy_is_the_client(start_lane: StartLane, backend: Backend, log: Log):
    lane = await start_lane(backend.url, log=log.section, listen={"trusted_proxies": ["127.0.0.0/8"]})
    await fetch(lane.port, target="/", headers=[("Host", "a"), ("X-Forwarded-For", 'evil", 192.0.2.7, 127.0.0.9')])
    assert (await log.only_line())["client"] == "192.0.2.7"


@in_one_lane
async def test_a_sample_leaves_out_no_trouble(start_lane: StartLane, backend: Backend, log: Log):
    lane = await start_lane(backend.url, log={**log.section, "sample": 0.0})
    await fetch(lane.port)
    backend.handler = resets()
    await fetch(lane.port)
    assert (await log.only_line())["status"] == 502


@in_one_lane
async def test_without_a_log_nobody_looks_on(start_lane: StartLane, backend: Backend):
    assert (await start_lane(backend.url)).runtime.observer is None


@in_one_lane
async def test_a_reload_changes_the_log_without_losing_a_line(start_lane: StartLane, backend: Backend, log: Log):
    lane = await start_lane(backend.url, log=log.section)
    await fetch(lane.port)
    config = lane.runtime.config
    lane.runtime.apply(config.model_copy(update={"log": config.log.model_copy(update={"access": "common"})}))
    await fetch(lane.port)
    await eventually(lambda: len(log.path.read_text().splitlines()) == 2)
    first, second = log.path.read_text().splitlines()
    assert json.loads(first)["status"] == 200
    assert second.endswith('"GET / HTTP/1.1" 200 2')


async def test_a_websocket_is_logged_with_what_has_passed(start_lane: StartLane, log: Log):
    async with talking() as talker:
        lane = await start_lane(talker.url, log=log.section)
        async with connect(f"ws://127.0.0.1:{lane.port}/chat?secret") as client:
            for _ in range(3):
                await client.send("hello")
                await client.recv()
        line = await log.only_line()
    assert (line["status"], line["ended"], line["messages"], line["path"]) == (101, "complete", 6, "/chat")


@in_one_lane
async def test_a_websocket_whose_backend_is_lost_is_logged_as_cut(start_lane: StartLane, log: Log):
    async def vanish(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with serve(vanish, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        lane = await start_lane(f"http://127.0.0.1:{port}", log=log.section)
        async with connect(f"ws://127.0.0.1:{lane.port}") as client:
            await client.send("hello")
            with pytest.raises(ConnectionClosed):
                await client.recv()
        line = await log.only_line()
    assert (line["status"], line["ended"], line["failure"]) == (101, "cut", "response_cut_short")
