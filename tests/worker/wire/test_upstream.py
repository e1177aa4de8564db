"""The connections to one backend, without a lane around them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from backend import Backend, Connection, Request, answers, answers_chunked, sends
from caller import Caller, upstream_of
from waiting import eventually
from wire import encode_chunk, encode_head, encode_last_chunk
from worker.failure import Failure
from worker.upstream import CoarseClock, Upstream, UpstreamConnection


@pytest.fixture
async def upstream(backend: Backend) -> AsyncIterator[Upstream]:
    upstream = upstream_of(backend.url)
    yield upstream
    upstream.close()


async def test_a_connection_rests_after_its_answer_and_is_taken_again(upstream: Upstream, backend: Backend):
    for _ in range(3):
        caller = await Caller(upstream).start().finished()
        assert (caller.statuses, caller.got, len(upstream.open)) == ([200], b"ok", 1)
    assert backend.connections_total == 1


async def test_the_one_that_rested_least_is_taken(upstream: Upstream, backend: Backend):
    callers = [Caller(upstream).start() for _ in range(3)]
    for caller in callers:
        await caller.finished()
    order = [upstream.take() for _ in range(3)]
    assert len(set(order)) == 3
    for connection in reversed(order):
        assert connection is not None
        upstream.give(connection)
    assert upstream.take() is order[0]
    upstream.close()


async def test_what_has_rested_for_long_is_closed(backend: Backend):
    clock = CoarseClock(100.0)
    upstream = upstream_of(backend.url, clock=clock)
    first, second = Caller(upstream).start(), Caller(upstream).start()
    await first.finished()
    await second.finished()
    upstream.close_idle(99.0)
    assert len(upstream.open) == 2
    young = upstream.take()
    assert young is not None
    clock.now = 105.0
    upstream.give(young)
    upstream.close_idle(104.0)
    assert upstream.open == {young}
    await eventually(lambda: backend.connections_open == 1)
    upstream.close()


def resting(upstream: Upstream) -> bool:
    """Whether one may be taken; it is given back."""
    connection = upstream.take()
    if connection is not None:
        upstream.give(connection)
    return connection is not None


@pytest.mark.parametrize(("fields", "limit_s"), [((), 4.0), ((("Keep-Alive", "timeout=3, max=9"),), 2.0)])
async def test_none_is_taken_that_has_rested_for_as_long_as_it_may(backend: Backend, fields: Any, limit_s: float):
    """Not even before the tick that would close it."""
    clock = CoarseClock(100.0)
    upstream = upstream_of(backend.url, clock=clock)
    backend.handler = answers(headers=fields)
    await Caller(upstream).start().finished()
    clock.now += limit_s - 0.1
    assert resting(upstream)
    clock.now += limit_s
    assert not resting(upstream)
    await eventually(lambda: backend.connections_open == 0)
    assert not upstream.open


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_tick_closes_what_has_rested_for_as_long_as_its_backend_says(backend: Backend, chunked: bool):
    clock = CoarseClock(100.0)
    upstream = upstream_of(backend.url, clock=clock)
    fields = [("Keep-Alive", "timeout=30")]
    backend.handler = answers_chunked(b"ok", headers=fields) if chunked else answers(headers=fields)
    await Caller(upstream).start().finished()
    clock.now += 28.9
    upstream.tick(clock.now)
    assert len(upstream.open) == 1
    clock.now += 0.1
    upstream.tick(clock.now)
    assert not upstream.open
    await eventually(lambda: backend.connections_open == 0)


async def test_a_backend_that_keeps_nothing_is_asked_over_a_new_one_each_time(backend: Backend):
    upstream = upstream_of(backend.url)
    backend.handler = answers(headers=[("Keep-Alive", "timeout=0")])
    for number in range(1, 4):
        assert (await Caller(upstream).start().finished()).statuses == [200]
        assert not upstream.open
        assert backend.connections_total == number
    backend.handler = answers(headers=[("Keep-Alive", "timeout=9")])
    for _ in range(3):
        await Caller(upstream).start().finished()
    assert backend.connections_total == 4
    upstream.close()


async def test_a_close_by_the_backend_teaches_to_rest_for_less(backend: Backend):
    clock = CoarseClock(100.0)
    upstream = upstream_of(backend.url, clock=clock)
    await Caller(upstream).start().finished()
    clock.now += 2.0
    backend.drop_connections()
    await eventually(lambda: not upstream.open)
    await Caller(upstream).start().finished()
    clock.now += 0.9
    assert resting(upstream)
    clock.now += 1.0
    assert not resting(upstream)


async def test_stray_bytes_teach_nothing_about_rest(backend: Backend):
    clock = CoarseClock(100.0)
    upstream = upstream_of(backend.url, clock=clock)
    release = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond()
        if len(backend.requests) == 1:
            await release.wait()
            await connection.send(b"stray")

    backend.handler = handle
    await Caller(upstream).start().finished()
    clock.now += 2.0
    release.set()
    await eventually(lambda: not upstream.open)
    await Caller(upstream).start().finished()
    clock.now += 3.9
    assert resting(upstream)
    upstream.close()


async def test_one_that_has_served_its_number_of_requests_is_closed(backend: Backend):
    upstream = upstream_of(backend.url, keepalive_requests=3)
    for number in range(7):
        assert (await Caller(upstream).start().finished()).statuses == [200]
        assert backend.connections_total == number // 3 + 1
    await eventually(lambda: backend.connections_open == 1)
    upstream.close()


async def test_one_that_the_backend_has_closed_is_not_taken(upstream: Upstream, backend: Backend):
    backend.handler = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await Caller(upstream).start().finished()
    await eventually(lambda: not upstream.open)
    assert upstream.take() is None


async def test_one_that_was_told_not_to_read_at_the_end_of_its_answer_does_not_rest(
    upstream: Upstream, backend: Backend
):
    """Head, body and trailers come in one read, and the head alone is enough for the client: it would never wake."""
    whole = encode_head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])
    whole += encode_chunk(b"x" * 1000) + encode_last_chunk([("X-T", "1")])

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(whole)

    backend.handler = handle
    caller = Caller(upstream)
    caller.on_head = lambda connection: connection.transport.pause_reading()
    await caller.start().finished()
    assert (caller.got, caller.trailers) == (b"x" * 1000, b"\r\nX-T: 1")
    assert upstream.take() is None
    await eventually(lambda: backend.connections_open == 0)


async def test_one_that_has_not_sent_all_of_its_request_does_not_rest(upstream: Upstream, backend: Backend):
    """The answer came early; what the backend has not taken yet would be in the next request's way."""
    backend.reads_bodies = False
    size = 30_000_000

    async def handle(request: Request, connection: Connection) -> None:
        await connection.respond(413)
        await connection.stall()

    backend.handler = handle
    head = encode_head("POST / HTTP/1.1", [("Host", "a"), ("Content-Length", str(size))])
    caller = await Caller(upstream, head + b"x" * size).start().finished()
    assert caller.statuses == [413]
    assert caller.fulls == [True]
    assert upstream.take() is None


async def test_interim_answers_come_in_order_however_they_are_cut(upstream: Upstream, backend: Backend):
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def handle(request: Request, connection: Connection) -> None:
        data = interim * 3 + final
        cut = int(request.target[1:])
        await connection.send(data[:cut])
        await asyncio.sleep(0.002)
        await connection.send(data[cut:])

    backend.handler = handle
    for cut in range(len(interim * 3 + final)):
        caller = await Caller(upstream, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % cut).start().finished()
        assert (caller.statuses, caller.got) == ([103, 103, 103, 200], b"ok")
    assert backend.connections_total == 1


async def test_giving_up_while_connecting_leaves_nothing(upstream: Upstream):
    before = len(asyncio.all_tasks())
    for turns in range(30):
        caller = Caller(upstream).start()
        for _ in range(turns % 10):
            await asyncio.sleep(0)
        if caller.connection is None:
            upstream.stop_connecting(caller)
        else:
            caller.connection.abort()
        await eventually(lambda: not upstream.open, every=0)
        assert not caller.failures
    await eventually(lambda: len(asyncio.all_tasks()) <= before)


async def test_giving_up_an_exchange_tells_nobody_anything_more(upstream: Upstream, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.gone()

    backend.handler = handle
    caller = Caller(upstream).start()
    await eventually(lambda: backend.requests)
    assert caller.connection is not None
    caller.connection.abort()
    await eventually(lambda: backend.connections_open == 0)
    assert (caller.statuses, caller.failures, caller.is_done) == ([], [], False)
    assert not upstream.open


async def test_close_ends_all_of_them(upstream: Upstream, backend: Backend):
    async def handle(request: Request, connection: Connection) -> None:
        await connection.gone()

    await Caller(upstream).start().finished()
    backend.handler = handle
    busy = [Caller(upstream).start() for _ in range(2)]
    await eventually(lambda: len(backend.requests) == 3)
    waiting = Caller(upstream).start()
    upstream.close()
    await eventually(lambda: backend.connections_open == 0)
    assert not upstream.open
    assert not [caller.statuses for caller in (*busy, waiting) if caller.statuses]


async def test_why_a_connection_cannot_be_had(backend: Backend, tmp_path: Path):
    backend.refuse()
    refused = await Caller(upstream_of(backend.url)).start().finished()
    missing = await Caller(upstream_of(f"unix:{tmp_path}/none")).start().finished()
    unknown = await Caller(upstream_of("http://no-such-host.invalid:80")).start().finished()
    impossible = await Caller(upstream_of("http://no..such..host:80")).start().finished()
    assert refused.failures == [Failure.REFUSED]
    assert missing.failures == [Failure.UNREACHABLE]
    assert unknown.failures == [Failure.UNREACHABLE]
    assert impossible.failures == [Failure.UNREACHABLE]


async def test_one_that_is_over_before_it_was_asked_anything_cannot_be_had(backend: Backend):
    """It was sent nothing, so that any request may go elsewhere."""

    class Slammed(UpstreamConnection):
        @override
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.abort()

    class Slamming(Upstream):
        @override
        def _protocol(self) -> UpstreamConnection:
            return Slammed(self)

    upstream = upstream_of(backend.url, kind=Slamming)
    caller = await Caller(upstream).start().finished()
    assert caller.failures == [Failure.UNREACHABLE]
    assert caller.connection is None
    assert not upstream.open


async def test_a_name_with_several_addresses_is_tried_at_each(backend: Backend):
    """``localhost`` may be ::1 first, where nobody listens."""
    caller = await Caller(upstream_of(f"http://localhost:{backend.port}")).start().finished()
    assert caller.statuses == [200]
    caller.upstream.close()


async def test_answers_of_every_length_end_where_they_say(upstream: Upstream, backend: Backend):
    for size in (0, 1, 65_535, 65_536, 300_000):
        backend.handler = answers(body=b"x" * size)
        assert (await Caller(upstream).start().finished()).got == b"x" * size
    assert backend.connections_total == 1
