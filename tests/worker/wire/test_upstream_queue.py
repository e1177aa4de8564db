"""Where a backend may have only so many connections: who waits, in which order, and for how long."""

import asyncio
import random

import pytest
from typing_extensions import override

from backend import Backend, Connection, Handler, Request, sends, stalls
from caller import Caller, upstream_of
from rude import unresponsive
from waiting import eventually
from worker.failure import Failure
from worker.http1 import ResponseHead
from worker.upstream import Upstream, UpstreamConnection


def numbered(upstream: Upstream, count: int) -> list[Caller]:
    return [Caller(upstream, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number) for number in range(count)]


class Gate:
    """A backend that answers when it is let; ``order`` is what it was asked for."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.opened = asyncio.Event()
        self.close_after = False
        backend.handler = self.handle

    async def handle(self, request: Request, connection: Connection) -> None:
        await self.opened.wait()
        await connection.respond(headers=[("Connection", "close")] if self.close_after else ())
        if self.close_after:
            connection.close()

    @property
    def order(self) -> list[int]:
        return [int(request.target[1:]) for request in self.backend.requests]


@pytest.fixture
def gate(backend: Backend) -> Gate:
    return Gate(backend)


async def all_over(callers: list[Caller]) -> None:
    await eventually(lambda: all(caller.is_over for caller in callers))


async def test_there_is_no_limit_unless_somebody_sets_one(gate: Gate, backend: Backend):
    upstream = upstream_of(backend.url)
    callers = [caller.start() for caller in numbered(upstream, 40)]
    await eventually(lambda: len(backend.requests) == 40)
    gate.opened.set()
    await all_over(callers)
    upstream.close()


@pytest.mark.parametrize("close_after", [False, True], ids=["reused", "new ones"])
@pytest.mark.parametrize("most", [1, 3])
async def test_first_come_is_first_served(gate: Gate, backend: Backend, most: int, close_after: bool):
    gate.close_after = close_after
    upstream = upstream_of(backend.url, max_connections=most)
    callers = [caller.start() for caller in numbered(upstream, 12)]
    await eventually(lambda: len(backend.requests) == most)
    assert backend.connections_open == most
    gate.opened.set()
    await all_over(callers)
    assert [caller.statuses for caller in callers] == [[200]] * 12
    assert backend.connections_total == (12 if close_after else most)
    if most == 1:
        assert gate.order == list(range(12))
    else:
        assert set(gate.order[:most]) == set(range(most))
        assert all(abs(number - place) < most for place, number in enumerate(gate.order))
    upstream.close()


async def test_a_newcomer_does_not_get_ahead_of_the_line(gate: Gate, backend: Backend):
    """Each asks again as soon as it is answered, as clients do that keep a connection busy."""
    upstream = upstream_of(backend.url, max_connections=1)
    late = Caller(upstream, b"GET /99 HTTP/1.1\r\nHost: a\r\n\r\n")

    class Greedy(Caller):
        @override
        def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
            super().body(data, trailers, done=done)
            late.start()

    greedy = Greedy(upstream, b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n").start()
    callers = numbered(upstream, 3)[1:]
    for caller in callers:
        caller.start()
    gate.opened.set()
    await all_over([greedy, *callers, late])
    assert gate.order == [0, 1, 2, 99]
    upstream.close()


async def test_only_so_many_may_wait_and_the_next_is_told_at_once(gate: Gate, backend: Backend):
    upstream = upstream_of(backend.url, max_connections=1, max_pending=2)
    callers = [caller.start() for caller in numbered(upstream, 4)]
    assert [caller.failures for caller in callers] == [[], [], [], [Failure.QUEUE_FULL]]
    gate.opened.set()
    await all_over(callers[:3])
    assert [caller.statuses for caller in callers] == [[200], [200], [200], []]
    upstream.close()


async def test_who_leaves_the_line_is_not_waited_for(gate: Gate, backend: Backend):
    upstream = upstream_of(backend.url, max_connections=1)
    callers = [caller.start() for caller in numbered(upstream, 5)]
    await eventually(lambda: len(backend.requests) == 1)
    for index in (1, 3, 4):
        upstream.stop_connecting(callers[index])
    gate.opened.set()
    await all_over([callers[0], callers[2]])
    assert gate.order == [0, 2]
    assert len(upstream.open) == 1
    assert upstream.take() is not None
    upstream.close()


async def test_who_leaves_while_its_connection_is_made_makes_room(gate: Gate, backend: Backend):
    gate.opened.set()
    upstream = upstream_of(backend.url, max_connections=1)
    first, second = (caller.start() for caller in numbered(upstream, 2))
    upstream.stop_connecting(first)
    await second.finished()
    assert (first.is_over, second.statuses) == (False, [200])
    upstream.close()


async def test_giving_up_a_request_makes_room(gate: Gate, backend: Backend):
    upstream = upstream_of(backend.url, max_connections=1)
    first, second = (caller.start() for caller in numbered(upstream, 2))
    await eventually(lambda: backend.requests)
    assert first.connection is not None
    first.connection.abort()
    gate.opened.set()
    await second.finished()
    assert (first.is_over, second.statuses, backend.connections_total) == (False, [200], 2)
    upstream.close()


async def test_a_backend_that_dies_keeps_nobody_waiting(backend: Backend):
    backend.handler = stalls()
    upstream = upstream_of(backend.url, max_connections=2)
    callers = [caller.start() for caller in numbered(upstream, 8)]
    await eventually(lambda: len(backend.requests) == 2)
    backend.refuse()
    backend.drop_connections()
    await all_over(callers)
    assert [caller.failures for caller in callers] == [[Failure.RESET]] * 2 + [[Failure.REFUSED]] * 6
    assert not upstream.open


async def test_a_backend_that_answers_once_and_dies_is_replaced_for_those_who_wait(backend: Backend):
    backend.handler = sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    upstream = upstream_of(backend.url, max_connections=2)
    callers = [caller.start() for caller in numbered(upstream, 8)]
    await all_over(callers)
    assert [caller.statuses for caller in callers] == [[200]] * 8
    assert backend.connections_total == 8
    await eventually(lambda: not upstream.open)


async def test_one_that_served_its_number_of_requests_makes_room(gate: Gate, backend: Backend):
    gate.opened.set()
    upstream = upstream_of(backend.url, max_connections=1, keepalive_requests=2)
    callers = [caller.start() for caller in numbered(upstream, 6)]
    await all_over(callers)
    assert gate.order == list(range(6))
    assert backend.connections_total == 3
    upstream.close()


@pytest.mark.parametrize("queue_s", [0.0, 0.05])
async def test_nobody_waits_for_longer_than_configured(gate: Gate, backend: Backend, queue_s: float):
    upstream = upstream_of(backend.url, max_connections=1, queue_s=queue_s)
    first, *callers = (caller.start() for caller in numbered(upstream, 4))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await all_over(callers)
    assert loop.time() - began >= queue_s - 0.002  # the loop counts in milliseconds
    assert [caller.failures for caller in callers] == [[Failure.QUEUE_TIMEOUT]] * 3
    gate.opened.set()
    await first.finished()
    assert (first.statuses, first.failures) == ([200], [])
    assert (await Caller(upstream, callers[0].request).start().finished()).statuses == [200]
    upstream.close()


async def test_who_is_dismissed_may_stand_in_line_again(gate: Gate, backend: Backend):
    upstream = upstream_of(backend.url, max_connections=1, queue_s=0.02)

    class Patient(Caller):
        @override
        def failed(self, failure: Failure) -> None:
            super().failed(failure)
            if len(self.failures) < 4:
                self.start()

    first = Caller(upstream, b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n").start()
    patient = Patient(upstream, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").start()
    await eventually(lambda: len(patient.failures) == 4)
    gate.opened.set()
    await first.finished()
    assert gate.order == [0]
    upstream.close()


async def test_waiting_has_a_deadline_of_its_own_and_connecting_begins_anew():
    with unresponsive() as url:
        upstream = upstream_of(url, max_connections=1, connect_s=0.2, queue_s=5.0)
        callers = [caller.start() for caller in numbered(upstream, 2)]
        await all_over(callers)
        assert [caller.failures for caller in callers] == [[Failure.CONNECT_TIMEOUT]] * 2


async def test_a_tunnel_counts(backend: Backend):
    class Tunnel(Caller):
        @override
        def switched(self, head: ResponseHead, data: bytes) -> None:
            self.statuses.append(head.status)

    async def handle(request: Request, connection: Connection) -> None:
        if request.header("upgrade") is None:
            return await connection.respond()
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        return await connection.gone()

    backend.handler = handle
    upstream = upstream_of(backend.url, max_connections=1)
    tunnel = Tunnel(upstream, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").start()
    await eventually(lambda: tunnel.statuses == [101])
    [caller] = numbered(upstream, 1)
    caller.start()
    assert len(upstream.open) == 1
    assert tunnel.connection is not None
    tunnel.connection.abort()
    await caller.finished()
    assert (caller.statuses, backend.connections_total) == ([200], 2)
    upstream.close()


async def test_the_end_of_the_worker_ends_the_line(gate: Gate, backend: Backend):
    upstream = upstream_of(backend.url, max_connections=1, queue_s=0.5)
    callers = [caller.start() for caller in numbered(upstream, 3)]
    await eventually(lambda: backend.requests)
    upstream.close()
    gate.opened.set()
    await eventually(lambda: backend.connections_open == 0)
    await asyncio.sleep(0.6)  # nothing is to happen, not even when their time in the line is over
    assert not any(caller.is_over for caller in callers)
    assert not upstream.open


def moody(dice: random.Random) -> Handler:
    """Answers, most of the time."""

    async def handle(request: Request, connection: Connection) -> None:
        mood = dice.random()
        if mood < 0.1:
            return connection.reset()
        await connection.respond(headers=[("Connection", "close")] if mood < 0.2 else ())
        return connection.close() if mood < 0.2 else None

    return handle


def leave(caller: Caller) -> None:
    """As an exchange does whose client has gone."""
    if caller.connection is None:
        caller.upstream.stop_connecting(caller)
    elif not caller.is_over:
        caller.connection.abort()


async def test_a_storm_of_comers_and_leavers_ends_as_it_began(backend: Backend):
    """Whatever happens to whom, the limit holds, everybody gets an end, and all the room is there afterwards."""
    dice = random.Random(7)
    most = 3
    backend.handler = moody(dice)
    upstream = upstream_of(backend.url, max_connections=most, keepalive_requests=5)
    callers = numbered(upstream, 300)
    leavers = [caller for caller in callers if dice.random() < 0.5]
    peaks = []
    for caller in callers:
        caller.start()
        while leavers and dice.random() < 0.5:
            leave(leavers.pop(dice.randrange(len(leavers))))
        if dice.random() < 0.3:
            await asyncio.sleep(0)
        peaks.append(len(upstream.open))
    await eventually(lambda: not upstream.waiting)
    for caller in leavers:
        leave(caller)
    await eventually(lambda: backend.connections_open == len(upstream.open))
    assert max(peaks) == most
    assert {status for caller in callers for status in caller.statuses} == {200}
    assert {failure for caller in callers for failure in caller.failures} <= {Failure.RESET}
    await has_all_its_room(upstream, backend, most)


async def has_all_its_room(upstream: Upstream, backend: Backend, most: int) -> None:
    """So many are served at a time, and no more."""
    backend.handler = stalls()
    backend.requests.clear()
    callers = [caller.start() for caller in numbered(upstream, most + 1)]
    await eventually(lambda: len(backend.requests) == most)
    assert upstream.waiting == 1
    assert not any(caller.is_over for caller in callers)
    upstream.close()


async def test_a_connection_is_handed_on_before_its_last_answer_is_told(gate: Gate, backend: Backend):
    """And so never to two at a time."""
    upstream = upstream_of(backend.url, max_connections=1)
    first, second = numbered(upstream, 2)
    seen: list[UpstreamConnection | None] = []
    first.on_head = lambda connection: seen.extend((connection, second.connection, upstream.take()))
    first.start()
    second.start()
    gate.opened.set()
    await all_over([first, second])
    assert first.connection is not None
    assert seen == [first.connection, first.connection, None]
    upstream.close()
