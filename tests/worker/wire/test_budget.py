"""Where everything fails, retries come to an end: they would be load that helps nobody."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from backend import Backend, Connection, Request, answers, resets
from lanes import StartLane, in_one_lane
from raw_client import RawClient, fetch
from waiting import eventually
from wire import encode_chunk, encode_head, encode_last_chunk

NEVER_OUT = {"max_ejected_ratio": 0.0}
NOTHING = {"budget_ratio": 0.0, "min_retries_per_s": 0.0}


@in_one_lane
async def test_a_total_outage_adds_no_more_load_than_the_budget(start_lane: StartLane):
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(Backend(answers(503))) for _ in range(3)]
        lane = await start_lane(
            *(backend.url for backend in backends),
            retry={"budget_ratio": 0.2, "min_retries_per_s": 0.5},
            outlier_detection=NEVER_OUT,
        )
        for _ in range(100):
            assert (await fetch(lane.port)).status == 503
        assert sum(len(backend.requests) for backend in backends) == 100 + 20 + 5


async def test_without_budget_the_failure_is_the_clients_as_it_is(
    start_lane: StartLane, backend: Backend, bad: Backend, caplog: pytest.LogCaptureFixture
):
    lane = await start_lane(
        bad.url, backend.url, balancing={"policy": "first"}, retry=NOTHING, outlier_detection=NEVER_OUT
    )  # fmt: skip
    bad.handler = answers(503, [("X-Why", "busy"), ("Connection", "close")], b"later")
    response = await fetch(lane.port)
    assert (response.status, response.body, response.header("x-why")) == (503, b"later", b"busy")
    bad.handler = resets()
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == (502, b"reset_before_head")
    assert lane.counted(bad).retries == len(backend.requests) == 0
    assert sum(record.getMessage().startswith("retry-budget-exhausted") for record in caplog.records) == 1


@in_one_lane
async def test_a_request_that_met_a_closed_connection_is_sent_again_for_free(start_lane: StartLane, backend: Backend):
    lane = await start_lane(backend.url, retry=NOTHING)
    assert (await fetch(lane.port)).status == 200

    async def handle(request: Request, connection: Connection) -> None:
        backend.handler = answers(body=b"again")
        connection.reset()

    backend.handler = handle
    assert (await fetch(lane.port)).body == b"again"
    assert lane.counted(backend).retries == 0


# What is kept to be sent again

KEPT = 65_536


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(KEPT, 200), (KEPT + 1, 502)])
async def test_a_body_is_kept_up_to_the_last_byte_of_the_buffer(
    start_lane: StartLane, backend: Backend, bad: Backend, size: int, status: int, framing: str
):
    """What counts is the body, not what its chunks add to it."""
    bad.handler = resets()
    lane = await start_lane(bad.url, backend.url, balancing={"policy": "first"})
    is_chunked = framing == "chunked"
    field = ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(size))
    body = b"".join(encode_chunk(b"x") for _ in range(size - 60_000)) + encode_chunk(b"x" * 60_000)
    async with RawClient(lane.port) as client:
        await client.send(encode_head("PUT / HTTP/1.1", [("Host", "a"), field]))
        await client.send(body + encode_last_chunk() if is_chunked else b"x" * size)
        assert (await client.read_response()).status == status
    assert [request.body for request in backend.requests] == [b"x" * size] * (status == 200)


@in_one_lane
async def test_nothing_is_kept_where_the_buffer_has_no_room(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = resets()
    lane = await start_lane(
        bad.url, backend.url, balancing={"policy": "first"}, retry={"replay_buffer_bytes": 0}
    )  # fmt: skip
    assert (await fetch(lane.port, method="PUT", body=b"x")).status == 502
    assert (await fetch(lane.port, method="PUT")).status == 200


@pytest.mark.parametrize("told", [False, True], ids=["before it said so", "after"])
async def test_who_waits_to_be_told_to_continue_is_told_by_the_next_backend(
    start_lane: StartLane, backend: Backend, bad: Backend, told: bool
):
    """The first goes before or after it said 100; the body is read once, and reaches the second."""
    came = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        if told:
            await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await connection.reader.exactly(2, bytearray())
        came.set()
        connection.reset()

    bad.handler, bad.reads_bodies = handle, False
    lane = await start_lane(bad.url, backend.url, balancing={"policy": "first"})
    lane.needs("interim")
    fields = [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")]
    async with RawClient(lane.port) as client:
        await client.send(encode_head("PUT / HTTP/1.1", fields))
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.send(b"he")
        await eventually(came.is_set)
        await client.send(b"llo")
        assert (await client.read_response()).status == 200
    assert [request.body for request in backend.requests] == [b"hello"]
