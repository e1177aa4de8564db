"""Reporting: a worker's heartbeat says who it is, what it routes on and what it has seen, and ends with it."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf
from typing import cast

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as NoConnection

from redis_server import RedisServer
from sidecar.contract.codec import report_from_hash
from sidecar.contract.config import ConfigError
from sidecar.contract.connect import connect
from sidecar.contract.events import Event
from sidecar.contract.keys import WORKER_MS, PoolKeys
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Report, Tally, View
from waiting import eventually
from worker import rounds
from worker.board import Board, Seats, Writer
from worker.failure import Failure
from worker.report import FORGET_MS, Reporter, identity
from worker.view import Knowledge

KEYS = {"api": PoolKeys("test", "api"), "web": PoolKeys("test", "web@host")}
API, WEB = KEYS["api"], KEYS["web"]
ROWS = {"api": {"a": 0, "b": 1}, "web": {"a": 2}}
ME = Report(host="host", instance="master", slot=3, pid=77, incarnation="life")
MEMBER = "host:master:3"
QUARTER_SECOND = tuple(int(bound == 0.25) for bound in (*BUCKETS, inf))


class Reporting:
    """A reporter with a board and knowledge of its own."""

    def __init__(
        self,
        open_store: Callable[[str], Redis],
        find_url: Callable[[], str] = lambda: "redis://fake",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = Board.create(3, 1)
        self.writer: Writer = self.board.writer(0)
        self.knowledge = {name: Knowledge() for name in KEYS}
        self.reporter = Reporter(
            ME,
            KEYS,
            self.knowledge,
            find_url,
            writer=self.writer,
            seats={pool: Seats(self.board, self.writer, rows) for pool, rows in ROWS.items()},
            open_store=open_store,
            clock=clock,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Reporting"]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.reporter.run())
            try:
                yield self
            finally:
                task.cancel()


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "EVERY_S", 0.1)


@pytest.fixture
async def fake() -> AsyncIterator[Redis]:
    async with FakeAsyncRedis(server=FakeServer(), decode_responses=True) as store:
        yield store


@pytest.fixture
async def reporting(fake: Redis) -> AsyncIterator[Reporting]:
    server = fake.connection_pool.connection_kwargs["server"]
    async with Reporting(lambda url: FakeAsyncRedis(server=server, decode_responses=True)).running() as reporting:
        yield reporting


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(redis_server.url, retries=3) as store:
        yield store


async def reported(store: Redis, keys: PoolKeys = API) -> Report:
    """What stands there now; LookupError while nothing does."""
    if not (fields := await store.hgetall(keys.worker(MEMBER))):
        raise LookupError(keys.worker(MEMBER))
    return report_from_hash({str(name): str(value) for name, value in fields.items()})


async def test_a_report_says_what_the_worker_saw_of_each_pool(fake: Redis, reporting: Reporting):
    reporting.writer.begin(0)
    reporting.writer.answer(0, 200, 0.25, now=1.0)
    reporting.writer.begin(2)
    reporting.writer.fail(2, 1.0, now=1.0)
    reporting.writer.retry(2, Failure.RESET)

    async def is_current() -> bool:
        api, web = await reported(fake), await reported(fake, WEB)
        assert api.tallies["a"].ok_age_ms is not None
        assert web.tallies["a"].ok_age_ms is None
        api = replace(api, tallies={name: replace(tally, ok_age_ms=None) for name, tally in api.tallies.items()})
        assert api.tallies == {
            "a": Tally(inflight=1, requests=1, responses=1, latency_s=0.25, first_bytes=QUARTER_SECOND),
            "b": Tally(),
        }
        assert web.tallies == {"a": Tally(inflight=1, requests=1, failures=1, retries=1)}
        return replace(api, heartbeat_ms=0, tallies={}) == ME

    await eventually(is_current)


async def test_a_report_is_stamped_by_the_stores_clock_and_goes_on(fake: Redis, reporting: Reporting):
    first = (await eventually(lambda: reported(fake))).heartbeat_ms
    seconds, _ = await fake.time()
    assert abs(first - seconds * 1000) < 3000

    async def is_later() -> bool:
        return (await reported(fake)).heartbeat_ms > first

    await eventually(is_later)
    assert (await fake.zscore(API.workers, MEMBER) or 0) >= first


async def test_a_report_says_which_epoch_is_applied_and_how_old_it_is(fake: Redis, reporting: Reporting):
    assert (await eventually(lambda: reported(fake))).view_age_ms is None
    reporting.knowledge["api"].offer(View(epoch=7, token=1, store_id="store"), time.monotonic(), age_s=2.0)

    async def is_applied() -> bool:
        report = await reported(fake)
        return report.applied_epoch == 7 and 2000 <= (report.view_age_ms or 0) < 5000

    await eventually(is_applied)
    assert (await reported(fake, WEB)).applied_epoch == 0


async def test_a_draining_worker_says_so(fake: Redis, reporting: Reporting):
    assert not (await eventually(lambda: reported(fake))).draining

    reporting.writer.mark(draining=True)

    async def is_draining() -> bool:
        return (await reported(fake)).draining

    await eventually(is_draining)


async def test_what_a_dead_worker_leaves_vanishes_by_itself(fake: Redis, reporting: Reporting):
    await eventually(lambda: reported(fake))

    assert 0 < await fake.pttl(API.worker(MEMBER)) <= WORKER_MS
    assert await fake.pttl(API.workers) > 0


async def test_the_long_dead_are_forgotten_and_the_missing_are_not(fake: Redis, reporting: Reporting):
    now_ms = (await eventually(lambda: reported(fake))).heartbeat_ms
    await fake.zadd(API.workers, {"long:dead:1": now_ms - FORGET_MS - 1, "just:missing:1": now_ms - 10_000})

    async def is_trimmed() -> bool:
        return set(await fake.zrange(API.workers, 0, -1)) == {MEMBER, "just:missing:1"}

    await eventually(is_trimmed)


async def test_fields_of_a_departed_backend_and_foreign_values_are_replaced(fake: Redis, reporting: Reporting):
    await eventually(lambda: reported(fake))
    await fake.hset(API.worker(MEMBER), "backend:gone", "{}")
    await fake.set(WEB.worker(MEMBER), "another product's")

    async def is_replaced() -> bool:
        assert await fake.type(WEB.worker(MEMBER)) == "hash"
        return "gone" not in (await reported(fake)).tallies and "a" in (await reported(fake, WEB)).tallies

    await eventually(is_replaced)


async def test_a_pool_full_of_garbage_does_not_silence_the_others_and_is_logged_once(
    fake: Redis, reporting: Reporting, caplog: pytest.LogCaptureFixture
):
    await eventually(lambda: reported(fake))
    await fake.delete(API.workers)
    await fake.set(API.workers, "another product's")
    await eventually(lambda: "store-garbage part=report pool=api problem=" in caplog.text)
    garbage_ms = (await reported(fake, WEB)).heartbeat_ms

    async def is_heard() -> bool:
        return (await reported(fake, WEB)).heartbeat_ms > garbage_ms + 300

    await eventually(is_heard)
    await fake.delete(API.workers)
    await eventually(lambda: "store-garbage part=report pool=api over=yes" in caplog.text)
    assert len(caplog.records) == 2


async def test_a_worker_that_stops_cleanly_signs_off(fake: Redis):
    server = fake.connection_pool.connection_kwargs["server"]
    async with Reporting(lambda url: FakeAsyncRedis(server=server, decode_responses=True)).running():
        await eventually(lambda: reported(fake))
        await fake.zadd(API.workers, {"other:worker:1": 9e15})

    assert await fake.exists(API.worker(MEMBER), WEB.worker(MEMBER), WEB.workers) == 0
    assert await fake.zrange(API.workers, 0, -1) == ["other:worker:1"]


async def test_a_store_that_dies_is_reported_to_again_when_it_is_back(
    redis_server: RedisServer, store: Redis, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "worker.rounds")
    async with Reporting(connect, lambda: redis_server.url).running():
        await eventually(lambda: reported(store))
        redis_server.kill()
        await eventually(lambda: "store-down part=report" in caplog.text)
        redis_server.start()
        await eventually(lambda: "store-up part=report" in caplog.text)
        await reported(store)

    assert [record.message.split(" reason")[0].split(" attempts")[0] for record in caplog.records] == [
        "store-down part=report",
        "store-up part=report",
    ]


async def test_a_store_that_hangs_does_not_hold_up_the_end(redis_server: RedisServer, store: Redis):
    async with asyncio.timeout(20), Reporting(connect, lambda: redis_server.url).running():
        await eventually(lambda: reported(store))
        redis_server.pause()


async def test_where_no_store_runs_the_end_is_no_error_either(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "worker.rounds")

    def find_url() -> str:
        raise ConfigError(["store.url: not set, and no store runs"])

    async with Reporting(connect, find_url).running():
        await eventually(lambda: "no store runs" in caplog.text)


def test_two_lives_of_a_slot_and_two_workers_without_one_can_be_told_apart():
    first, second = (identity("host", "master", 3) for _ in range(2))

    assert (first.slot, first.pid, first.host, first.instance) == (3, os.getpid(), "host", "master")
    assert first.incarnation != second.incarnation
    assert identity("host", "master", None).slot == -os.getpid()


async def test_a_report_says_how_long_a_backend_is_out_and_how_long_ago_one_answered(fake: Redis, reporting: Reporting):
    now = time.monotonic()
    reporting.writer.answer(0, 200, 2.0, now - 1.0)
    reporting.board.host.eject(0, now, now + 3_600.0, 1)
    reporting.board.host.eject(1, now - 9.0, now - 1.0, 1)

    async def is_current() -> bool:
        tallies = (await reported(fake)).tallies
        assert 3_500_000 < tallies["a"].ejected_ms <= 3_600_000
        assert 3_000 <= (tallies["a"].ok_age_ms or 0) < 100_000
        return (tallies["b"].ejected_ms, tallies["b"].ok_age_ms) == (1, None)  # on probation

    await eventually(is_current)


async def test_a_suspect_is_told_at_once_and_not_all_the_time(
    fake: Redis, reporting: Reporting, monkeypatch: pytest.MonkeyPatch
):
    await eventually(lambda: reported(fake))
    monkeypatch.setattr(rounds, "EVERY_S", 60.0)
    async with fake.pubsub() as ears:
        await ears.subscribe(API.suspect, WEB.suspect)
        await eventually(lambda: ears.get_message(timeout=0))
        before = (await reported(fake)).heartbeat_ms
        for _ in range(100):
            reporting.reporter.suspect("api", "b")
        reporting.reporter.suspect("web", "a")
        heard = [await next_message(ears) for _ in range(2)]
        assert heard == [(API.suspect, "b"), (WEB.suspect, "a")]
        await eventually(lambda: is_after(fake, before))
        assert await ears.get_message(ignore_subscribe_messages=True, timeout=0.05) is None


async def is_after(store: Redis, heartbeat_ms: int) -> bool:
    return (await reported(store)).heartbeat_ms > heartbeat_ms


async def next_message(ears: PubSub) -> tuple[str, str]:
    message = await eventually(lambda: ears.get_message(ignore_subscribe_messages=True, timeout=0.01))
    return message["channel"], message["data"]


async def test_a_suspicion_older_than_a_heartbeat_is_not_told():
    """The store was away: its news is no news any more."""
    server, now = FakeServer(), [100.0]
    reporting = Reporting(lambda url: FakeAsyncRedis(server=server, decode_responses=True), clock=lambda: now[0])
    reporting.reporter.suspect("api", "a")
    now[0] += 5
    reporting.reporter.suspect("api", "b")
    async with FakeAsyncRedis(server=server, decode_responses=True) as store, store.pubsub() as ears:
        await ears.subscribe(API.suspect)
        async with reporting.running():
            assert await next_message(ears) == (API.suspect, "b")


async def test_whom_this_host_ejects_is_told_in_the_events_once_the_store_is_there():
    server, is_there = FakeServer(), [False]

    def open_store(_: str) -> Redis:
        if not is_there[0]:
            raise NoConnection("away")
        return FakeAsyncRedis(server=server, decode_responses=True)

    reporting = Reporting(open_store)
    reporting.reporter.tell("api", "a", Event.EJECTED, "5 failures in a row")
    async with FakeAsyncRedis(server=server, decode_responses=True) as store, reporting.running():
        await asyncio.sleep(0)
        is_there[0] = True
        reporting.reporter.tell("api", "a", Event.READMITTED, "its canary was answered")
        events = await eventually(lambda: all_events(store, 2))
    assert [(event["backend"], event["from"], event["to"]) for event in events] == [
        ("a", "", "ejected"),
        ("a", "ejected", "readmitted"),
    ]
    assert events[0]["reason"].endswith("5 failures in a row")
    assert events[0]["by"]


async def all_events(store: Redis, count: int) -> list[dict[str, str]]:
    found = cast("list[tuple[str, dict[str, str]]]", await store.xrange(API.events))
    return [fields for _, fields in found] if len(found) >= count else []
