"""One attempt that fails, and the answer that names its failure (RFC 9110 §15.6)."""

import asyncio
from pathlib import Path

import pytest

from backend import Backend, Connection, Request
from lanes import Lane, StartLane
from raw_client import RawClient, fetch
from rude import begins, never_answers, unresponsive
from waiting import eventually
from wire import TruncatedError, encode_chunk, encode_head
from worker.failure import REFUSALS, Failure

HASTY = {"connect_s": 0.3, "response_headers_s": 0.3}


async def test_a_connection_that_nobody_accepts_is_504(start_lane: StartLane):
    with unresponsive() as url:
        lane = await start_lane(url, timeouts=HASTY, retry={"connect_retries": 0})
        response = await fetch(lane.port)
        assert (response.status, response.header("x-sidebeat-error")) == (504, b"connect_timeout")


async def test_a_refused_connection_is_502(lane: Lane, backend: Backend):
    backend.refuse()
    response = await fetch(lane.port, method="POST", body=b"x" * 100_000)
    assert (response.status, response.header("x-sidebeat-error")) == (502, b"connect_refused")


async def test_a_missing_socket_is_502(start_lane: StartLane, tmp_path: Path):
    lane = await start_lane(f"unix:{tmp_path}/none.sock")
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == (502, b"connect_failed")


async def test_a_backend_on_a_unix_socket_is_reached(start_lane: StartLane, tmp_path: Path):
    async with Backend(path=tmp_path / "b.sock") as backend:
        lane = await start_lane(backend.url)
        assert (await fetch(lane.port, method="POST", body=b"hello")).status == 200
        assert backend.requests[0].all("host") == [b"test"]


async def test_a_late_head_is_504(start_lane: StartLane, backend: Backend):
    backend.handler = never_answers()
    lane = await start_lane(backend.url, timeouts=HASTY, retry={"num_retries": 0})
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == (504, b"response_timeout")
    await eventually(lambda: backend.connections_open == 0)


async def test_early_hints_do_not_put_the_deadline_off(start_lane: StartLane, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        while True:
            await connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await asyncio.sleep(0.1)

    backend.handler = handle
    lane = await start_lane(backend.url, timeouts=HASTY, retry={"num_retries": 0})
    assert (await fetch(lane.port)).status == 504


async def test_a_body_that_stops_is_cut_after_the_idle_time(start_lane: StartLane, backend: Backend):
    backend.handler = begins(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    lane = await start_lane(backend.url, timeouts={"idle_s": 0.4})
    async with RawClient(lane.port) as client:
        await client.request()
        with pytest.raises((TruncatedError, ConnectionError)):
            await client.read_response()
    assert lane.counted(backend).failures == 1
    await eventually(lambda: backend.connections_open == 0)


async def test_a_body_that_trickles_is_not_idle(start_lane: StartLane, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.25)
            await connection.send(b"x")

    backend.handler = handle
    lane = await start_lane(backend.url, timeouts={"idle_s": 1.2})
    assert (await fetch(lane.port)).body == b"xxxxxx"


async def test_a_backend_is_not_idle_while_it_is_the_client_that_does_not_read(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, timeouts={"idle_s": 1.5})
    paused = asyncio.Event()
    resumed = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while lane.backend_transport.is_reading():
            await connection.send(b"x" * 20_000)
            await asyncio.sleep(0)
        paused.set()
        await resumed.wait()
        await asyncio.sleep(0.8)
        await connection.send(b"the end")
        connection.close()

    backend.handler = handle
    async with RawClient(lane.port) as client:
        client.pause_reading()
        await client.request()
        await paused.wait()
        await asyncio.sleep(0.8)
        client.resume_reading()
        resumed.set()
        assert (await client.read_response()).body.endswith(b"the end")
    assert lane.counted(backend).failures == 0


async def test_a_stream_both_ways_has_the_idle_time_of_a_stream(start_lane: StartLane, backend: Backend):
    """Once the answer has begun, how long it may pause does not depend on what the client has sent meanwhile."""
    backend.reads_bodies = False

    async def handle(request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        await connection.chunk(b"begun")
        await connection.reader.until(b"ping")
        await asyncio.sleep(0.8)
        await connection.chunk(b"pong")
        await connection.gone()

    backend.handler = handle
    lane = await start_lane(backend.url, timeouts={"response_headers_s": 0.6, "idle_s": 20.0})
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Transfer-Encoding", "chunked")]))
        await client.read_until(b"begun")
        await client.send(encode_chunk(b"ping"))
        await client.read_until(b"pong")


async def test_what_we_answer_ourselves_is_counted_by_its_word(start_lane: StartLane, backend: Backend):
    lane = await start_lane({"url": backend.url, "weight": 0})
    for _ in range(2):
        await fetch(lane.port)
    counted = dict(zip(REFUSALS, lane.runtime.board.refusals(), strict=True))
    assert {failure: count for failure, count in counted.items() if count} == {Failure.NO_BACKEND: 2}


async def test_nobody_left_is_503(start_lane: StartLane, backend: Backend):
    lane = await start_lane({"url": backend.url, "weight": 0})
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == (503, b"no_backend")
    assert response.header("retry-after")
