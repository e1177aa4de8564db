"""Leases from a real store: over several masters, over the end of the store, and over that of the one who leases."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from limited import LimitedWorker
from redis_server import RedisServer
from sidecar.contract.config import ConfigError
from sidecar.contract.keys import PoolKeys
from waiting import eventually
from worker.board import Board
from worker.limits import Leaser

LATER_S = 60.0
"""After so long every lease has run out."""


class Master:
    """A master of one worker that leases."""

    def __init__(self, name: str, worker: LimitedWorker) -> None:
        self.name = name
        self.worker = worker
        self.is_scribe = True
        self.is_last = False
        self.running: asyncio.Task[None]

    @property
    def places(self) -> float:
        return self.worker.pool.area.places(self.worker.limit, time.monotonic())

    @property
    def places_later(self) -> float:
        """When the leases have run out."""
        return self.worker.pool.area.places(self.worker.limit, time.monotonic() + LATER_S)


Start = Callable[..., Awaitable[Master]]


@pytest.fixture
async def start(redis_server: RedisServer, namespace: str) -> AsyncIterator[Start]:
    """Starts a master that leases from the store."""
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())

        async def start(
            name: str, *, find_url: Callable[[], str] | None = None, is_scribe: bool = True, **limits: object
        ) -> Master:
            board = Board.create(8, 4)
            master = Master(name, LimitedWorker(board, board.claim(), **limits))  # type: ignore[arg-type]
            master.is_scribe = is_scribe
            leaser = Leaser(
                {"api": master.worker.pool},
                {"api": PoolKeys(namespace, "api")},
                find_url or (lambda: redis_server.url),
                member=f"host:{name}", alone=f"host:{name}:1", is_scribe=lambda: master.is_scribe,
                is_last=lambda: master.is_last,
            )  # fmt: skip
            master.running = tasks.create_task(leaser.run())
            stack.callback(master.running.cancel)
            return master

        yield start


async def test_masters_come_to_share_what_there_is(start: Start):
    first = await start("a", max_inflight=6)
    await eventually(lambda: first.places == 6)
    second = await start("b", max_inflight=6)
    await eventually(lambda: (first.places, second.places) == (3, 3))


async def test_a_master_that_ends_in_order_leaves_its_places_to_who_follows(
    start: Start, redis_server: RedisServer, namespace: str
):
    """The next one waited for five seconds, and meanwhile sent everybody away."""
    first = await start("a", max_inflight=6)
    await eventually(lambda: first.places == 6)
    async with Redis.from_url(redis_server.url) as store:
        await store.hset(PoolKeys(namespace, "api").share("b"), "born", 1)  # no news: a store that lost all is young
    first.is_last = True
    first.running.cancel()
    second = await start("b", max_inflight=6)
    await eventually(lambda: second.places == 6)


async def test_places_that_are_in_use_to_the_end_are_not_given_back(start: Start):
    first = await start("a", max_inflight=6)
    await eventually(lambda: first.places == 6)
    assert first.worker.begin(time.monotonic())
    first.is_last = True
    first.running.cancel()
    second = await start("b", max_inflight=6)
    await eventually(lambda: second.running.get_coro() is not None and second.places_later == 0)
    assert second.places == 0


async def test_who_does_not_write_for_the_others_leases_nothing(start: Start):
    idle = await start("a", is_scribe=False, max_inflight=6)
    other = await start("b", max_inflight=6)
    await eventually(lambda: other.places == 6)
    assert idle.places == 0
    idle.is_scribe = True  # whoever did it before is gone
    await eventually(lambda: (idle.places, other.places) == (3, 3))


async def test_who_has_a_request_now_and_then_wants_a_place(start: Start, redis_server: RedisServer, namespace: str):
    """Only those were told of that were under way at the moment of the question, nearly never one of a quiet master."""
    master = await start("a", max_inflight=6)
    await eventually(lambda: master.places == 6)
    assert master.worker.begin(time.monotonic())
    master.worker.end()
    async with Redis.from_url(redis_server.url, decode_responses=True) as store:

        async def wants_one() -> bool:
            told = await store.hget(PoolKeys(namespace, "api").share("b"), "host:a")
            return '"wanted":1' in str(told)

        await eventually(wants_one)


async def test_without_the_store_each_master_has_its_part(start: Start, redis_server: RedisServer):
    masters = [await start(name, max_inflight=5) for name in "ab"]
    await eventually(lambda: [master.places for master in masters] == [3, 2])
    redis_server.kill()
    await eventually(lambda: [master.places_later for master in masters] == [3, 2])
    redis_server.start()
    await eventually(lambda: [master.places_later for master in masters] == [0, 0])
    assert sum(master.places for master in masters) <= 5


async def test_a_store_that_nobody_has_heard_of_is_one_that_is_gone(start: Start):
    asked: list[float] = []

    def nowhere() -> str:
        asked.append(time.monotonic())
        raise ConfigError(["store.url: there is none"])

    master = await start("a", max_inflight=5, find_url=nowhere)
    await eventually(lambda: master.places == 5)
    await eventually(lambda: len(asked) == 3)
    assert asked[2] - asked[0] > 0.3  # it is not asked for all the time


async def test_a_store_that_hangs_grants_nothing_until_it_is_known_to(start: Start, redis_server: RedisServer):
    redis_server.pause()
    master = await start("a", max_inflight=5, sections={"limits": {"without_store": "open"}})
    assert master.places == 0
    await eventually(lambda: master.places == 5)
    redis_server.resume()


async def test_masters_together_use_a_window_up_and_never_more(start: Start):
    limit, window_s = 100, 0.5
    masters = [
        await start(name, max_requests=limit, sections={"max_requests_window_s": window_s}) for name in ("a", "b", "c")
    ]
    admitted: Counter[int] = Counter()

    def now() -> int:
        return int(time.clock_gettime(time.CLOCK_REALTIME) / window_s)

    async def spend(master: Master) -> None:
        while True:
            for _ in range(5):
                window = now()
                if master.worker.begin(time.monotonic()):
                    admitted[window] += window == now()
                    master.worker.end()
            await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as tasks:
        spending = [tasks.create_task(spend(master)) for master in masters]
        await eventually(
            lambda: sum(count >= 0.95 * limit for count in admitted.values()) == 3, what=lambda: str(admitted)
        )
        for task in spending:
            task.cancel()
    assert max(admitted.values()) <= limit, admitted
