"""A GET that takes long is asked of a second backend; one of the two is passed on, and nothing of the other."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from backend import Backend, Connection, Handler, Request, answers, resets
from lanes import Lane, StartLane, in_one_lane
from raw_client import RawClient, fetch
from rude import begins, never_answers
from waiting import eventually
from worker.exchange import Exchange

AFTER_S = 0.03


@dataclass(slots=True)
class Lavish:
    """An allowance that a test has set."""

    after_s: float = AFTER_S
    is_affordable: bool = True
    asked: int = 0

    def tick(self, now: float) -> None:
        """Nothing fades."""

    def may_retry(self, now: float) -> bool:
        return True

    def may_hedge(self, now: float) -> bool:
        self.asked += 1
        return self.is_affordable

    def hedge_after_s(self, now: float) -> float:
        return self.after_s


@pytest.fixture
async def third() -> AsyncIterator[Backend]:
    async with Backend() as third:
        yield third


StartHedging = Callable[..., Awaitable[Lane]]


@pytest.fixture
def start_hedging(start_lane: StartLane) -> StartHedging:
    """A lane that hedges; its backends are asked in the order given."""

    async def start(*backends: Backend | dict[str, Any], allowance: Lavish | None = None, **sections: Any) -> Lane:
        lane = await start_lane(
            *(backend.url if isinstance(backend, Backend) else backend for backend in backends),
            balancing={"policy": "first"},
            routes=[{"pool": "api", "hedge": True}],
            outlier_detection={"max_ejected_ratio": 0.0},
            **sections,
        )
        lane.runtime.pools["api"].allowance = allowance or Lavish()  # type: ignore[assignment]  # a fake
        return lane

    return start


def hedges(lane: Lane, backend: Backend) -> int:
    seats = lane.runtime.seats["api"]
    return seats.board.figures(seats.rows[f"127.0.0.1:{backend.port}"]).hedges


def mean_s(lane: Lane, backend: Backend) -> float:
    """What the board takes for its time to headers."""
    seats = lane.runtime.seats["api"]
    total, weight = seats.board.latency(seats.rows[f"127.0.0.1:{backend.port}"], lane.runtime.clock())
    return total / weight


def begun(lane: Lane) -> bool:
    """Whether the first attempt of the only exchange has met the beginning of an answer."""
    [exchange] = lane.runtime.active
    assert isinstance(exchange, Exchange)
    assert exchange.connection is not None
    return not exchange.connection.silent


def answers_after(event: asyncio.Event, body: bytes) -> Handler:
    async def handle(_request: Request, connection: Connection) -> None:
        await event.wait()
        await connection.respond(200, body=body)

    return handle


async def test_a_slow_get_is_answered_by_a_second_backend(start_hedging: StartHedging, backend: Backend, bad: Backend):
    bad.handler = never_answers()
    lane = await start_hedging(bad, backend)
    seats = lane.runtime.seats["api"]
    seats.writer.answer(seats.rows[f"127.0.0.1:{bad.port}"], 200, AFTER_S / 10, lane.runtime.clock())
    response = await fetch(lane.port, "/x?y")
    assert (response.status, response.body) == (200, b"ok")
    assert backend.requests[-1].target == b"/x?y"
    assert (hedges(lane, backend), hedges(lane, bad)) == (1, 0)
    assert lane.counted(bad).failures == lane.counted(bad).retries == 0
    assert mean_s(lane, bad) > AFTER_S / 4  # it was slow, though nobody knows how slow
    await lane.quiet()
    await eventually(lambda: bad.connections_open == 0)


async def test_the_access_log_names_who_was_outlasted(
    start_hedging: StartHedging, backend: Backend, bad: Backend, tmp_path: Path
):
    log = tmp_path / "log"
    bad.handler = never_answers()
    lane = await start_hedging(bad, backend, log={"access": "json", "file": str(log)})
    await fetch(lane.port)
    await eventually(log.read_text)
    line = json.loads(log.read_text())
    assert (line["attempts"], line["backend"]) == (2, f"127.0.0.1:{backend.port}")
    assert line["tried"] == [{"backend": f"127.0.0.1:{bad.port}", "failure": "outlasted"}]


async def test_the_first_may_still_win(start_hedging: StartHedging, backend: Backend, bad: Backend):
    answer = asyncio.Event()
    bad.handler, backend.handler = answers_after(answer, b"first"), never_answers()
    lane = await start_hedging(bad, backend)
    async with asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(fetch(lane.port))
        await eventually(lambda: backend.requests)
        answer.set()
    assert fetching.result().body == b"first"
    assert lane.counted(backend).failures == 0
    await lane.quiet()
    await eventually(lambda: backend.connections_open == 0)


@in_one_lane
async def test_a_fast_get_is_asked_once(start_hedging: StartHedging, backend: Backend, bad: Backend):
    lane = await start_hedging(bad, backend, allowance=Lavish(after_s=5.0))
    for _ in range(3):
        await fetch(lane.port)
    assert not backend.requests


@in_one_lane
@pytest.mark.parametrize("what", ["method", "head", "body", "route", "budget", "samples", "others", "begun"])
async def test_what_is_not_hedged(start_hedging: StartHedging, backend: Backend, bad: Backend, what: str):
    """Anything but a GET, or one with a body; where the route does not say so; without means, or anybody else to ask;
    and where the answer has begun."""
    answer = asyncio.Event()
    bad.handler = answers_after(answer, b"")
    if what == "begun":

        async def handle(request: Request, connection: Connection) -> None:
            await connection.send(b"HTTP/1.1 200 ")
            await answer.wait()
            await connection.send(b"OK\r\nContent-Length: 0\r\n\r\n")

        bad.handler = handle
    allowance = Lavish(
        is_affordable=what != "budget", after_s=float("inf") if what == "samples" else AFTER_S
    )  # fmt: skip
    lane = await start_hedging(bad, *[backend] * (what != "others"), allowance=allowance)
    if what == "route":
        object.__setattr__(lane.runtime.router.only, "hedge", False)
    method = {"method": "PUT", "head": "HEAD"}.get(what, "GET")
    async with asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(fetch(lane.port, method=method, body=b"x" * (what == "body")))
        await eventually(lambda: bad.requests)
        await asyncio.sleep(2 * AFTER_S)
        answer.set()
    assert fetching.result().status == 200
    assert len(bad.requests) == 1
    assert not backend.requests


@in_one_lane
async def test_a_visitor_stays_with_a_slow_backend(start_hedging: StartHedging, backend: Backend, bad: Backend):
    sticky = {"cookie": "seat", "secret": "a secret of some length"}
    allowance = Lavish(after_s=float("inf"))
    lane = await start_hedging(bad, backend, sticky=sticky, allowance=allowance)
    cookie = ((await fetch(lane.port)).header("set-cookie") or b"").split(b";")[0]
    assert cookie
    allowance.after_s = AFTER_S
    answer = asyncio.Event()
    bad.handler = answers_after(answer, b"first")
    async with asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(fetch(lane.port, headers=[("Host", "a"), ("Cookie", cookie)]))
        await eventually(lambda: len(bad.requests) == 2)
        await asyncio.sleep(3 * AFTER_S)
        answer.set()
    assert fetching.result().body == b"first"
    assert not backend.requests


async def test_where_the_first_fails_the_hedge_is_the_next_attempt(
    start_hedging: StartHedging, backend: Backend, bad: Backend
):
    answer, fail = asyncio.Event(), asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await fail.wait()
        connection.reset()

    bad.handler, backend.handler = handle, answers_after(answer, b"second")
    lane = await start_hedging(bad, backend, retry={"num_retries": 0})
    async with asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(fetch(lane.port))
        await eventually(lambda: backend.requests)
        fail.set()
        await eventually(lambda: lane.in_flight == 1)
        answer.set()
    assert fetching.result().body == b"second"
    assert (lane.counted(bad).failures, lane.counted(bad).retries) == (1, 0)
    assert len(backend.requests) == 1


@in_one_lane
@pytest.mark.parametrize("how", ["reset", "refused", "unavailable", "nonsense"])
async def test_where_the_hedge_fails_the_first_goes_on(
    start_hedging: StartHedging, backend: Backend, bad: Backend, how: str
):
    answer = asyncio.Event()
    bad.handler = answers_after(answer, b"first")
    spoiled = {"reset": resets(), "unavailable": answers(503), "nonsense": begins(b"SMTP\r\n\r\n")}
    backend.handler = spoiled.get(how, backend.handler)
    if how == "refused":
        backend.refuse()
    lane = await start_hedging(bad, backend)
    async with asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(fetch(lane.port))
        await eventually(lambda: lane.counted(backend).failures == 1)
        assert lane.in_flight == 1
        answer.set()
    assert fetching.result().body == b"first"
    assert lane.counted(bad).failures == 0
    assert len(bad.requests) == 1


async def test_where_both_fail_a_third_is_tried(
    start_hedging: StartHedging, backend: Backend, bad: Backend, third: Backend
):
    fail = asyncio.Event()

    async def handle(request: Request, connection: Connection) -> None:
        await fail.wait()
        connection.reset()

    bad.handler, backend.handler = handle, resets()
    lane = await start_hedging(bad, backend, third)
    async with asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(fetch(lane.port))
        await eventually(lambda: lane.counted(backend).failures == 1)
        fail.set()
    assert fetching.result().body == b"ok"
    assert [len(each.requests) for each in (bad, backend, third)] == [1, 1, 1]


@in_one_lane
async def test_a_hedge_whose_idle_connection_was_closed_takes_a_new_one(
    start_hedging: StartHedging, backend: Backend, bad: Backend
):
    lane = await start_hedging(bad, backend)
    bad.handler = answers(503)
    assert (await fetch(lane.port)).body == b"ok"  # now a connection to the second one rests

    async def handle(request: Request, connection: Connection) -> None:
        backend.handler = answers(body=b"new")
        connection.reset()

    bad.handler, backend.handler = never_answers(), handle
    assert (await fetch(lane.port)).body == b"new"
    assert lane.counted(backend).failures == 0
    assert backend.connections_total == 2


async def test_a_client_that_leaves_takes_both_attempts_along(
    start_hedging: StartHedging, backend: Backend, bad: Backend
):
    bad.handler = backend.handler = never_answers()
    lane = await start_hedging(bad, backend)
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: backend.requests)
        assert lane.in_flight == 2
        client.close()
        await lane.quiet()
    assert lane.counted(bad).failures == lane.counted(backend).failures == 0
    await eventually(lambda: bad.connections_open == backend.connections_open == 0)


async def test_all_of_the_answer_is_of_one_backend(start_hedging: StartHedging, backend: Backend, bad: Backend):
    """The first had sent all but the end of its head when the second answered, in parts and with trailers."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def begin(request: Request, connection: Connection) -> None:
        await asked.wait()
        await connection.send(b"HTTP/1.1 200 OK\r\nX-First: 1\r\nContent-Length: 5\r\n")
        await connection.gone()

    async def answer(request: Request, connection: Connection) -> None:
        asked.set()
        await eventually(lambda: begun(lane))
        await connection.start_chunked(200, [("X-Second", "1"), ("Trailer", "X-End")])
        await connection.chunk(b"one ")
        await go_on.wait()
        await connection.chunk(b"two")
        await connection.end_chunked([("X-End", "yes")])

    bad.handler, backend.handler = begin, answer
    lane = await start_hedging(bad, backend)
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: backend.requests and lane.in_flight == 1)
        go_on.set()
        response = await client.read_response()
        assert (response.body, response.header("x-second"), response.header("x-first")) == (b"one two", b"1", None)
        bad.handler = answers(body=b"next")
        await client.request()
        assert (await client.read_response()).body == b"next"


async def test_whose_interim_response_is_passed_on_has_won(start_hedging: StartHedging, backend: Backend, bad: Backend):
    bad.handler = never_answers()
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(hint)
        await eventually(lambda: bad.connections_open == 0)
        await connection.respond(200, body=b"second")

    backend.handler = handle
    lane = await start_hedging(bad, backend)
    assert (await fetch(lane.port)).body == b"second"


async def test_neither_attempt_outlasts_the_time_there_is_in_all(
    start_hedging: StartHedging, backend: Backend, bad: Backend
):
    bad.handler = backend.handler = never_answers()
    lane = await start_hedging(bad, backend, timeouts={"overall_s": 3.0})
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == (504, b"overall_timeout")
    assert len(backend.requests) == 1
    await lane.quiet()
    await eventually(lambda: bad.connections_open == backend.connections_open == 0)


@in_one_lane
async def test_each_attempt_has_its_own_time(start_hedging: StartHedging, backend: Backend, bad: Backend):
    bad.handler = backend.handler = never_answers()
    lane = await start_hedging(bad, backend, retry={"per_try_timeout_s": 0.15, "num_retries": 0})
    response = await fetch(lane.port)
    assert (response.status, response.header("x-sidebeat-error")) == (504, b"response_timeout")
    assert lane.counted(bad).failures == lane.counted(backend).failures == 1
    await lane.quiet()


FATES = {
    "answers": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%c",
    "answers in parts": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n%c\r\n0\r\n\r\n",
    "has no time": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    "talks nonsense": b"SMTP\r\n\r\n",
}
MARKS = (b"1", b"2")


@in_one_lane
async def test_in_whatever_order_attempts_end_the_client_has_one_answer_and_nothing_is_left(
    start_hedging: StartHedging, backend: Backend, bad: Backend
):
    lane = await start_hedging(bad, backend, allowance=Lavish(after_s=0.01))
    for fates in product(FATES, repeat=2):
        for order in ((0, 1), (1, 0)):
            turns = [asyncio.Event(), asyncio.Event()]
            for index, each in enumerate((bad, backend)):
                each.requests.clear()
                each.handler = _meets(fates[index], turns[index], MARKS[index])
            async with asyncio.TaskGroup() as tasks:
                fetching = tasks.create_task(fetch(lane.port))
                await eventually(lambda: bad.requests and backend.requests)
                for index in order:
                    turns[index].set()
                    await eventually(lambda: lane.in_flight < 2)
            winners = [MARKS[index] for index in order if fates[index].startswith("answers")]
            response = fetching.result()
            if winners:
                assert (response.status, response.body) == (200, winners[0])
            else:
                assert response.status in (502, 503)
            await lane.quiet()


def _meets(fate: str, turn: asyncio.Event, mark: bytes) -> Handler:
    async def handle(_request: Request, connection: Connection) -> None:
        await turn.wait()
        await connection.send(FATES[fate].replace(b"%c", mark))

    return handle


@in_one_lane
async def test_nobody_is_hedged_with_itself_where_the_others_have_no_place(
    start_hedging: StartHedging, backend: Backend, bad: Backend
):
    """A pool with limits gives a retry what was tried where all others are full; a hedge took it, too."""
    answer = asyncio.Event()
    bad.handler = backend.handler = answers_after(answer, b"late")
    allowance = Lavish()
    lane = await start_hedging(bad, {"url": backend.url, "max_inflight": 1}, allowance=allowance)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fetch(lane.port))
        await eventually(lambda: backend.requests)
        tasks.create_task(fetch(lane.port))
        await eventually(lambda: allowance.asked == len(bad.requests) == 2)
        await asyncio.sleep(AFTER_S)
        assert (len(bad.requests), len(backend.requests), lane.in_flight) == (2, 1, 3)
        answer.set()
    await lane.quiet()


@in_one_lane
async def test_when_to_hedge_and_how_often_follows_from_the_pools_own_traffic(
    start_lane: StartLane, backend: Backend, bad: Backend, monkeypatch: pytest.MonkeyPatch
):
    """After sixty quick answers one request in fifty may be asked twice: the first slow one, not the second.

    The quick ones come by another route: on a busy machine one of them is the slowest, and would be asked twice itself.
    """
    monkeypatch.setattr("worker.allowance.SAMPLE_S", 0.0)
    routes = [{"pool": "api", "hedge": True}, {"pool": "api", "path_prefix": "/quick"}]
    lane = await start_lane(bad.url, backend.url, balancing={"policy": "first"}, routes=routes)
    await fetch(lane.port)
    for _ in range(60):
        await fetch(lane.port, "/quick")
    answer = asyncio.Event()
    bad.handler = answers_after(answer, b"first")
    backend.handler = answers(body=b"second")
    assert (await fetch(lane.port)).body == b"second"
    async with asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(fetch(lane.port))
        await asyncio.sleep(0.1)
        answer.set()
    assert fetching.result().body == b"first"
    assert hedges(lane, backend) == 1
