"""How long a request may take in all, and each attempt of it: to the head of a response."""

import asyncio

from backend import Backend, Connection, Request, answers, resets
from lanes import StartLane, in_one_lane
from raw_client import RawClient, fetch
from rude import begins, never_answers, unresponsive
from waiting import eventually
from wire import encode_head

OVERALL = {"timeouts": {"overall_s": 0.5}}
TOO_LATE = (504, b"overall_timeout")


async def test_a_request_ends_when_its_time_is_over(start_lane: StartLane, backend: Backend):
    """The backend had all of that time, and is to blame."""
    backend.handler = never_answers()
    lane = await start_lane(backend.url, **OVERALL)
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == TOO_LATE
    assert lane.counted(backend).failures == 1
    await eventually(lambda: backend.connections_open == 0)
    backend.handler = answers()
    assert (await fetch(lane.port)).status == 200


@in_one_lane
async def test_all_attempts_share_the_time(start_lane: StartLane, backend: Backend, bad: Backend):
    """Whoever was asked last had only the rest of it, and is not to blame."""
    backend.handler, bad.handler = never_answers(), resets()
    timeouts = {"overall_s": 3.0}  # enough to have the first one fail on any machine
    lane = await start_lane(bad.url, backend.url, balancing={"policy": "first"}, timeouts=timeouts)
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == TOO_LATE
    assert (lane.counted(bad).failures, lane.counted(backend).failures) == (1, 0)
    assert lane.counted(backend).requests == 1


@in_one_lane
async def test_connecting_is_part_of_the_time(start_lane: StartLane):
    with unresponsive() as url:
        lane = await start_lane(url, **OVERALL)
        response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == TOO_LATE


@in_one_lane
async def test_waiting_for_a_connection_is_part_of_the_time(start_lane: StartLane, backend: Backend):
    held = asyncio.Event()

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        await held.wait()
        await connection.end_chunked()

    backend.handler = handle
    lane = await start_lane(
        backend.url, connections={"max_connections": 1}, timeouts={"overall_s": 2.0, "queue_s": 20.0}
    )
    async with RawClient(lane.port) as client:
        await client.request()
        await client.read_head()
        response = await fetch(lane.port)
        assert (response.status, response.header("x-sidebeat-error")) == TOO_LATE
        assert lane.counted(backend).failures == 0
        held.set()


async def test_a_body_that_is_slow_to_come_is_part_of_the_time_and_blames_nobody(
    start_lane: StartLane, backend: Backend
):
    lane = await start_lane(backend.url, **OVERALL)
    async with RawClient(lane.port) as client:
        await client.send(encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", "9")]) + b"half")
        response = await client.read_response()
    assert (response.status, response.header("x-sidebeat-error")) == TOO_LATE
    assert lane.counted(backend).failures == 0


async def test_an_answer_that_has_begun_may_take_its_time(start_lane: StartLane, backend: Backend):
    go_on = asyncio.Event()

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        await connection.chunk(b"begun ")
        await go_on.wait()
        await connection.chunk(b"done")
        await connection.end_chunked()

    backend.handler = handle
    lane = await start_lane(backend.url, timeouts={"overall_s": 2.0})
    async with RawClient(lane.port) as client:
        await client.request()
        await client.read_head()
        await asyncio.sleep(2.1)
        go_on.set()
        assert await client.read_until(b"0\r\n\r\n")


@in_one_lane
async def test_one_attempt_may_have_less_time_than_a_request_to_a_single_backend(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    bad.handler = never_answers()
    lane = await start_lane(
        bad.url,
        backend.url,
        balancing={"policy": "first"},
        retry={"per_try_timeout_s": 0.5},
        timeouts={"response_headers_s": 20.0},
    )
    assert (await fetch(lane.port)).body == b"ok"
    assert (lane.counted(bad).failures, lane.counted(bad).retries) == (1, 1)


@in_one_lane
async def test_one_attempt_of_a_post_that_takes_too_long_is_the_only_one(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    bad.handler = never_answers()
    lane = await start_lane(bad.url, backend.url, balancing={"policy": "first"}, retry={"per_try_timeout_s": 0.5})
    response = await fetch(lane.port, method="POST", body=b"x")
    assert (response.status, response.header("x-sidebeat-error")) == (504, b"response_timeout")
    assert not backend.requests


@in_one_lane
async def test_a_head_has_to_be_whole_in_time(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = begins(b"HTTP/1.1 200 OK\r\n")
    lane = await start_lane(bad.url, backend.url, balancing={"policy": "first"}, retry={"per_try_timeout_s": 0.5})
    assert (await fetch(lane.port)).body == b"ok"
