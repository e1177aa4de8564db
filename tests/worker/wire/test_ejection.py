"""A backend that fails real requests while its probes may well pass: how many it still gets, and how it comes back."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest

from backend import Backend, Connection, Handler, Request, answers, resets
from lanes import Lane, StartLane
from raw_client import RawClient, Response, fetch
from rude import never_answers
from waiting import eventually
from wire import TruncatedError
from worker.outlier import Phase

HASTY = {"response_headers_s": 1.0}
SHORT = {"base_ejection_s": 0.4}
NO_RETRIES = {"num_retries": 0, "connect_retries": 0}


def phase(lane: Lane, backend: Backend) -> Phase:
    row = lane.runtime.seats["api"].rows[f"127.0.0.1:{backend.port}"]
    return lane.runtime.board.host.standing(row).phase(time.monotonic())


async def many(lane: Lane, count: int, **request: Any) -> list[int]:
    """The statuses of so many requests, one after the other."""
    return [(await fetch(lane.port, **request)).status for _ in range(count)]


async def at_once(lane: Lane, count: int) -> list[int]:
    """The statuses of so many requests side by side."""
    async with asyncio.TaskGroup() as tasks:
        fetches: list[asyncio.Task[Response]] = [tasks.create_task(fetch(lane.port)) for _ in range(count)]
    return [each.result().status for each in fetches]


async def many_broken_off(lane: Lane, count: int) -> None:
    """So many requests, one after the other, whose answers need not come to their ends."""
    for _ in range(count):
        async with RawClient(lane.port) as client:
            await client.request()
            with suppress(TruncatedError, ConnectionError):
                await client.read_response()


async def put_out(lane: Lane, bad: Backend) -> None:
    """Eject it by five server errors, and forget about them."""
    bad.handler = answers(500)
    await many(lane, 10)
    assert phase(lane, bad) is not Phase.IN
    bad.requests.clear()


@pytest.mark.parametrize("status", [500, 503])
async def test_a_black_hole_gets_five_requests_and_then_none(
    start_lane: StartLane, backend: Backend, bad: Backend, status: int
):
    bad.handler = answers(status)
    lane = await start_lane(bad.url, backend.url, retry=NO_RETRIES)
    assert sorted(await many(lane, 20)) == [200] * 15 + [status] * 5
    assert len(bad.requests) == 5


async def test_with_retries_nobody_sees_a_black_hole(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = answers(503)
    lane = await start_lane(bad.url, backend.url)
    assert await many(lane, 20) == [200] * 20
    assert len(bad.requests) == 5


async def test_a_backend_that_hangs_is_known_by_five_timeouts(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = never_answers()
    lane = await start_lane(bad.url, backend.url, timeouts=HASTY)
    assert await at_once(lane, 12) == [200] * 12
    assert phase(lane, bad) is Phase.OUT
    assert len(bad.requests) == 6
    assert await many(lane, 6) == [200] * 6
    assert len(bad.requests) == 6


@pytest.mark.parametrize("status", [b"200 OK", b"500 Broken"])
async def test_answers_that_break_off_count_once_whether_or_not_their_heads_were_good(
    start_lane: StartLane, backend: Backend, bad: Backend, status: bytes
):
    bad.handler = resets(b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\n\r\nhalf")
    lane = await start_lane(bad.url, backend.url)
    await many_broken_off(lane, 12)
    await eventually(lambda: phase(lane, bad) is Phase.OUT)
    assert len(bad.requests) == 5


async def test_an_answer_that_breaks_off_counts_where_another_backend_had_failed_before(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    backend.handler = answers(503)
    bad.handler = resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    lane = await start_lane(bad.url, backend.url)
    await many_broken_off(lane, 12)
    assert len(bad.requests) == 5


@pytest.mark.parametrize("status", [404, 429, 501])
async def test_what_is_about_the_request_ejects_nobody(
    start_lane: StartLane, backend: Backend, bad: Backend, status: int
):
    bad.handler = answers(status)
    lane = await start_lane(bad.url, backend.url)
    await many(lane, 30)
    assert len(bad.requests) == 15


async def test_clients_that_leave_eject_nobody(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = backend.handler = never_answers()
    lane = await start_lane(bad.url, backend.url)
    for count in range(1, 15):
        async with RawClient(lane.port) as client:
            await client.request()
            await eventually(lambda: len(bad.requests) + len(backend.requests) == count)  # noqa: B023
            client.abort()
        await lane.quiet()
    assert phase(lane, bad) is phase(lane, backend) is Phase.IN


async def test_one_refused_connection_is_enough_for_a_moment(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.refuse()
    lane = await start_lane(bad.url, backend.url)
    assert await many(lane, 6, method="POST", body=b"x") == [200] * 6
    assert lane.counted(bad).requests == 1


async def test_who_waited_for_a_backend_that_died_does_not_call_there_again(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    """All of its connections end at once: those who were on them go elsewhere, and the next to call is refused."""
    lane = await start_lane(bad.url, backend.url)
    bad.handler = backend.handler = together(16)
    assert await at_once(lane, 16) == [200] * 16
    backend.handler = answers()
    died = asyncio.Event()

    async def die(request: Request, connection: Connection) -> None:
        await died.wait()
        connection.reset()

    bad.handler = die
    bad.requests.clear()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(at_once(lane, 16))
        await eventually(lambda: len(bad.requests) == 8)
        bad.refuse()
        died.set()
    assert waiting.result() == [200] * 16
    assert lane.counted(bad).failures == 0
    assert await many(lane, 4) == [200] * 4
    assert lane.counted(bad).failures == 1


async def test_a_backend_that_had_only_closed_an_idle_connection_may_still_be_the_one_that_answers(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    lane = await start_lane(bad.url, backend.url)
    assert await many(lane, 2) == [200, 200]
    bad.handler = answers(503)
    for _ in range(2):  # round robin: each of them is the first to be asked once
        stale = True

        async def handle(request: Request, connection: Connection) -> None:
            nonlocal stale
            if stale:
                stale = False
                connection.reset()
            else:
                await connection.respond()

        backend.handler = handle
        assert (await fetch(lane.port)).status == 200
    assert lane.counted(backend).failures == 0


def together(count: int) -> Handler:
    """Answers when so many have come, each on a connection of its own."""
    barrier = asyncio.Barrier(count)

    async def handle(request: Request, connection: Connection) -> None:
        await barrier.wait()
        await connection.respond()

    return handle


async def test_a_pause_is_given_to_who_asks_for_it(start_lane: StartLane, backend: Backend, bad: Backend):
    bad.handler = answers(503, [("Retry-After", "20")])
    lane = await start_lane(bad.url, backend.url)
    assert await many(lane, 10) == [200] * 10
    assert len(bad.requests) == 1


async def test_after_the_ejection_one_request_tries_it_and_a_failure_costs_nobody_anything(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    lane = await start_lane(bad.url, backend.url, timeouts=HASTY, outlier_detection=SHORT)
    await put_out(lane, bad)
    bad.handler = never_answers()
    await eventually(lambda: phase(lane, bad) is Phase.PROBATION)
    assert await at_once(lane, 12) == [200] * 12
    assert len(bad.requests) == 1
    assert phase(lane, bad) is Phase.OUT


@pytest.mark.parametrize("status", [200, 404])
async def test_its_success_brings_the_backend_back(start_lane: StartLane, backend: Backend, bad: Backend, status: int):
    balancing = {"policy": "round_robin", "slow_start_s": 0.0}
    lane = await start_lane(bad.url, backend.url, outlier_detection=SHORT, balancing=balancing)
    await put_out(lane, bad)
    bad.handler = answers(status)
    await eventually(lambda: phase(lane, bad) is Phase.PROBATION)
    await fetch(lane.port)
    assert (phase(lane, bad), len(bad.requests)) == (Phase.IN, 1)
    await many(lane, 4)
    assert len(bad.requests) == 3


async def test_a_canary_that_its_client_abandons_frees_the_place(start_lane: StartLane, backend: Backend, bad: Backend):
    lane = await start_lane(bad.url, backend.url, outlier_detection=SHORT)
    await put_out(lane, bad)
    bad.handler = never_answers()
    await eventually(lambda: phase(lane, bad) is Phase.PROBATION)
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: len(bad.requests) == 1)
        assert phase(lane, bad) is Phase.TRIAL
        client.abort()
    await eventually(lambda: phase(lane, bad) is Phase.PROBATION)


async def test_a_canary_on_a_connection_that_was_closed_meanwhile_gets_a_fresh_one(
    start_lane: StartLane, backend: Backend, bad: Backend
):
    lane = await start_lane(bad.url, backend.url, outlier_detection=SHORT)
    await put_out(lane, bad)
    stale = True

    async def handle(request: Request, connection: Connection) -> None:
        nonlocal stale
        if stale:
            stale = False
            connection.reset()
        else:
            await connection.respond()

    bad.handler = handle
    await eventually(lambda: phase(lane, bad) is Phase.PROBATION)
    assert (await fetch(lane.port)).status == 200
    assert (phase(lane, bad), len(bad.requests)) == (Phase.IN, 2)


async def test_the_only_backend_is_never_ejected(lane: Lane, backend: Backend):
    backend.handler = answers(500)
    await many(lane, 10)
    backend.handler = answers()
    assert await many(lane, 2) == [200, 200]
