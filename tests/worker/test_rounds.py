"""Rounds: trouble is logged once, never raised, and over soon after it is over."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from sidecar.contract.config import ConfigError
from waiting import eventually
from worker.rounds import EVERY_S, Round, Rounds, ask, clock_ms, jittered


@contextlib.asynccontextmanager
async def running(rounds: Rounds, work: Round) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(rounds.run(work))
        try:
            yield
        finally:
            task.cancel()


def store_of(server: FakeServer) -> Callable[[str], Redis]:
    return lambda url: FakeAsyncRedis(server=server, decode_responses=True)


def nowhere() -> str:
    return "redis://nowhere"


class Work:
    """Rounds that fail as told, and remember which client they were given."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.clients: list[Redis] = []

    async def __call__(self, client: Redis) -> None:
        self.clients.append(client)
        if self.error:
            raise self.error


async def until_round(work: Work, count: int, rounds: Rounds) -> None:
    def is_done() -> bool:
        rounds.hurry()
        return len(work.clients) >= count

    await eventually(is_done)


async def test_rounds_go_on_with_the_same_client_while_all_is_well():
    work, rounds = Work(), Rounds("test", nowhere, open_store=store_of(FakeServer()))
    async with running(rounds, work):
        await until_round(work, 3, rounds)

        assert rounds.is_up
        assert len(set(map(id, work.clients))) == 1


async def test_after_a_failure_the_next_round_has_a_new_client():
    work, rounds = Work(), Rounds("test", nowhere, open_store=store_of(FakeServer()))
    async with running(rounds, work):
        await until_round(work, 1, rounds)
        work.error = RedisConnectionError("gone")
        await eventually(lambda: not rounds.is_up)
        work.error = None
        await eventually(lambda: rounds.is_up)

        assert work.clients[0] is not work.clients[-1]


@pytest.mark.parametrize(
    ("error", "level", "has_traceback"),
    [
        (RedisConnectionError("gone"), logging.INFO, False),
        (TimeoutError(), logging.INFO, False),
        (ConfigError(["store.url: not set"]), logging.INFO, False),
        (ResponseError("NOPERM no permission"), logging.WARNING, False),
        (KeyError("a bug of ours"), logging.WARNING, True),
    ],
)
async def test_trouble_is_logged_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture, error: Exception, level: int, has_traceback: bool
):
    caplog.set_level(logging.DEBUG, "worker.rounds")
    work = Work()
    work.error = error
    rounds = Rounds("test", nowhere, open_store=store_of(FakeServer()), level=logging.INFO)
    async with running(rounds, work):
        await until_round(work, 4, rounds)
        work.error = None
        await eventually(lambda: rounds.is_up)
        await until_round(work, len(work.clients) + 2, rounds)

    down, up = caplog.records
    assert down.message.startswith("store-down part=test reason=")
    assert type(error).__name__ in down.message
    assert (down.levelno, bool(down.exc_info)) == (level, has_traceback)
    assert up.message.startswith("store-up part=test attempts=")


async def test_a_store_that_is_not_there_yet_is_asked_for_again(caplog: pytest.LogCaptureFixture):
    there = False

    def find_url() -> str:
        if not there:
            raise ConfigError(["store.url: not set, and no store runs"])
        return "redis://here"

    work, rounds = Work(), Rounds("test", find_url, open_store=store_of(FakeServer()))
    async with running(rounds, work):
        await eventually(lambda: "no store runs" in caplog.text)
        there = True
        await until_round(work, 1, rounds)


async def test_hints_cannot_make_rounds_follow_each_other_without_a_pause():
    loop = asyncio.get_running_loop()
    starts: list[float] = []
    rounds = Rounds("test", nowhere, open_store=store_of(FakeServer()))

    async def work(client: Redis) -> None:
        starts.append(loop.time())
        rounds.hurry()

    async with running(rounds, work):
        await eventually(lambda: len(starts) > 5)

    assert min(later - earlier for earlier, later in pairwise(starts)) >= 0.019


def test_workers_that_start_together_drift_apart_within_bounds():
    pauses = [jittered(EVERY_S) for _ in range(200)]

    assert 0.8 <= min(pauses) < max(pauses) <= 1.2


async def test_one_refused_command_does_not_cost_the_others_their_reply():
    async with FakeAsyncRedis(decode_responses=True) as client:
        await client.set("text", "x")

        error, text = await ask(client, ("HGETALL", "text"), ("GET", "text"))

        assert isinstance(error, ResponseError)
        assert text == "x"
        assert await ask(client) == []


async def test_a_transaction_shows_its_errors_too():
    async with FakeAsyncRedis(decode_responses=True) as client:
        await client.set("text", "x")

        error, done = await ask(client, ("HSET", "text", "a", "b"), ("SET", "other", 1), at_once=True)

        assert isinstance(error, ResponseError)
        assert done


def test_the_stores_clock_is_read_in_milliseconds():
    assert clock_ms((1_700_000_000, 123_456)) == 1_700_000_000_123
    with pytest.raises(ResponseError, match="BUSY"):
        clock_ms(ResponseError("BUSY a script runs"))
    with pytest.raises(ResponseError, match="answered"):
        clock_ms("soon")
