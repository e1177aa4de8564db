"""Backends that take only so much at a time: who is passed over, who waits, in which order, and for how long."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from backend import Backend, Connection, Request, resets
from lanes import Lane, StartLane
from raw_client import RawClient, Response, fetch
from waiting import eventually
from worker.exchange import Exchange
from worker.limits import LimitedPool


class Gate:
    """A backend that answers when it is let; ``most`` is how many it ever had at a time."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.permits = asyncio.Semaphore(0)
        self.most = self.under_way = 0
        backend.handler = self.handle

    async def handle(self, request: Request, connection: Connection) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.permits.acquire()
        finally:
            self.under_way -= 1
        await connection.respond(body=request.target)

    def let(self, count: int = 1) -> None:
        for _ in range(count):
            self.permits.release()

    @property
    def order(self) -> list[bytes]:
        return [request.target for request in self.backend.requests]


@pytest.fixture
def gate(backend: Backend) -> Gate:
    return Gate(backend)


@pytest.fixture
async def other() -> AsyncIterator[Gate]:
    async with Backend() as backend:
        yield Gate(backend)


def pool_of(lane: Lane) -> LimitedPool:
    pool = lane.runtime.pools["api"]
    assert isinstance(pool, LimitedPool)
    return pool


async def waiting(lane: Lane, count: int) -> None:
    """So many wait, as the siblings see it, too."""
    await eventually(lambda: pool_of(lane).waiting == count)


def limited(backend: Backend, **limits: int) -> dict[str, object]:
    return {"url": backend.url, **limits}


async def asked(lane: Lane, tasks: asyncio.TaskGroup, *targets: str) -> list[asyncio.Task[Response]]:
    """Requests, one after the other, as soon as each has got to its place."""
    started = []
    for target in targets:
        before = len(lane.runtime.active)
        started.append(tasks.create_task(fetch(lane.port, target)))
        await eventually(lambda: len(lane.runtime.active) > before)  # noqa: B023
    return started


async def test_those_who_find_no_place_are_served_in_the_order_they_came(start_lane: StartLane, gate: Gate):
    lane = await start_lane(limited(gate.backend, max_inflight=1), timeouts={"queue_s": 20.0})
    async with asyncio.TaskGroup() as tasks:
        requests = await asked(lane, tasks, "/0", "/1", "/2", "/3")
        await waiting(lane, 3)
        gate.let(4)
    assert [request.result().body for request in requests] == [b"/0", b"/1", b"/2", b"/3"]
    assert gate.order == [b"/0", b"/1", b"/2", b"/3"]
    assert gate.most == 1
    await waiting(lane, 0)


async def test_who_is_full_is_passed_over_and_who_has_no_limit_never_is(start_lane: StartLane, gate: Gate, other: Gate):
    lane = await start_lane(limited(gate.backend, max_inflight=2), other.backend.url)
    async with asyncio.TaskGroup() as tasks:
        await asked(lane, tasks, *(f"/{number}" for number in range(7)))
        await eventually(lambda: gate.under_way + other.under_way == 7)
        assert (gate.most, other.most) == (2, 5)
        gate.let(2)
        other.let(5)


async def test_a_request_that_waits_too_long_is_sent_away_for_a_second(start_lane: StartLane, gate: Gate):
    lane = await start_lane(limited(gate.backend, max_inflight=1), timeouts={"queue_s": 0.05})
    async with asyncio.TaskGroup() as tasks:
        await asked(lane, tasks, "/held")
        response = await fetch(lane.port)
        assert response.status == 503
        assert response.header("x-sidebeat-error") == b"queue_timeout"
        assert response.header("retry-after") == b"1"
        gate.let()


async def test_only_so_many_may_wait(start_lane: StartLane, gate: Gate):
    lane = await start_lane(
        limited(gate.backend, max_inflight=1), timeouts={"queue_s": 20.0}, connections={"max_pending": 1}
    )
    async with asyncio.TaskGroup() as tasks:
        await asked(lane, tasks, "/held", "/waits")
        await waiting(lane, 1)
        response = await fetch(lane.port)
        assert (response.status, response.header("x-sidebeat-error")) == (503, b"queue_full")
        assert response.header("retry-after") == b"1"
        gate.let(2)


async def test_who_leaves_is_not_waited_for(start_lane: StartLane, gate: Gate):
    lane = await start_lane(limited(gate.backend, max_inflight=1), timeouts={"queue_s": 20.0})
    async with asyncio.TaskGroup() as tasks:
        await asked(lane, tasks, "/held")
        async with RawClient(lane.port) as client:
            await client.request()
            await waiting(lane, 1)
        await waiting(lane, 0)
        assert len(lane.runtime.active) == 1
        gate.let()
    assert gate.order == [b"/held"]


async def test_an_aborted_request_holds_its_place_until_its_connection_is_closed(start_lane: StartLane, gate: Gate):
    lane = await start_lane(limited(gate.backend, max_inflight=1))
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: gate.under_way == 1)
        [exchange] = lane.runtime.active
        assert isinstance(exchange, Exchange)
        connection = exchange.connection
        assert connection is not None
        exchange.abort()
        assert (connection.is_lost, lane.in_flight) == (False, 1)
        await eventually(lambda: not lane.in_flight)
        assert connection.is_lost
    gate.let(2)
    assert (await fetch(lane.port)).status == 200


async def test_a_body_is_not_read_while_its_request_waits(start_lane: StartLane, gate: Gate):
    lane = await start_lane(limited(gate.backend, max_inflight=1), timeouts={"queue_s": 20.0})
    gate.backend.reads_bodies = True
    body = bytes(4_000_000)
    async with asyncio.TaskGroup() as tasks:
        await asked(lane, tasks, "/held")
        upload = tasks.create_task(fetch(lane.port, "/upload", method="POST", body=body))
        await waiting(lane, 1)
        assert len(gate.backend.requests) == 1
        gate.let(2)
    assert upload.result().status == 200
    assert gate.backend.requests[-1].body == body


async def test_a_retry_waits_for_its_turn_like_everybody(start_lane: StartLane, gate: Gate, other: Gate):
    lane = await start_lane(
        limited(gate.backend, max_inflight=1), limited(other.backend, max_inflight=1), timeouts={"queue_s": 20.0}
    )
    other.backend.handler = resets()
    async with asyncio.TaskGroup() as tasks:
        gate.let(0)
        requests = await asked(lane, tasks, "/0", "/1", "/2")
        await eventually(lambda: gate.under_way == 1)
        gate.let(3)
    assert {request.result().status for request in requests} == {200}
    assert gate.most == 1


async def test_no_place_at_all_is_granted_before_the_store_was_asked(start_lane: StartLane, gate: Gate):
    """And as soon as it is known not to answer, what the config says of that."""
    lane = await start_lane(
        limited(gate.backend, max_inflight=1), limits={"without_store": "closed"}, timeouts={"queue_s": 0.05}
    )
    gate.let(1)
    assert (await fetch(lane.port)).header("x-sidebeat-error") == b"queue_timeout"


async def test_a_window_that_is_used_up_says_when_the_next_begins(start_lane: StartLane, gate: Gate):
    lane = await start_lane(
        limited(gate.backend, max_requests=3), max_requests_window_s=1000.0, timeouts={"queue_s": 0.05}
    )
    gate.let(10)
    statuses = [(await fetch(lane.port)).status for _ in range(5)]
    assert statuses == [200, 200, 200, 503, 503]


async def test_who_waits_has_no_more_time_than_the_request_has_in_all(start_lane: StartLane, gate: Gate):
    lane = await start_lane(limited(gate.backend, max_inflight=1), timeouts={"queue_s": 20.0, "overall_s": 0.3})
    async with asyncio.TaskGroup() as tasks:
        await asked(lane, tasks, "/held")
        response = await fetch(lane.port)
        assert (response.status, response.header("x-sidebeat-error")) == (504, b"overall_timeout")
    await waiting(lane, 0)
    gate.let(1)


async def test_a_tunnel_holds_its_place_to_the_end(start_lane: StartLane, backend: Backend):
    lane = await start_lane(limited(backend, max_inflight=1), timeouts={"queue_s": 0.02})
    lane.needs("upgrade")

    async def switch(request: Request, connection: Connection) -> None:
        if request.header("upgrade"):
            await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            await connection.stall()
        else:
            await connection.respond()

    backend.handler = switch
    async with RawClient(lane.port) as client:
        await client.request(headers=[("Host", "test"), ("Connection", "upgrade"), ("Upgrade", "echo")])
        assert (await client.read_head()).status == 101
        assert (await fetch(lane.port)).status == 503
        client.abort()
    await eventually(lambda: not lane.in_flight)
    assert (await fetch(lane.port)).status == 200
