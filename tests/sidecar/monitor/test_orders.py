"""What the operator wants, through everything that may happen to the store."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from sidecar.admin import ask
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin, Health
from sidecar.monitor.orders import Orders
from sidecar.monitor.saved import SavedIntents
from sidecar.verdict import Condition
from watched import Watched

Store = Any
KEYS = PoolKeys("default", "api")


@pytest.fixture
async def redis() -> AsyncIterator[Store]:
    async with FakeAsyncRedis(decode_responses=True) as client:
        await client.hset(KEYS.beat, "store_id", "first")
        yield client


@pytest.fixture
def pool() -> Watched:
    return Watched("a", "b")


@pytest.fixture
def orders(redis: Store, pool: Watched, tmp_path: Path) -> Orders:
    return orders_of(redis, pool, tmp_path)


def orders_of(redis: Store, pool: Watched, folder: Path) -> Orders:
    return Orders(redis, KEYS, watch=pool.watch, copy=SavedIntents(folder, "api", "redis://h"), owner="m1")


def admins(orders: Orders) -> dict[str, str]:
    return {name: str(intent.admin) for name, intent in orders.intents.items()}


async def another_life(redis: Store, store_id: str = "second") -> None:
    await redis.flushall()
    if store_id:
        await redis.hset(KEYS.beat, "store_id", store_id)


async def test_what_is_asked_for_is_followed_and_is_news(redis: Store, orders: Orders, pool: Watched):
    await orders.follow()
    assert not pool.watch.news.is_set()
    await ask(redis, KEYS, "a", Admin.DRAIN, by="ada")
    await ask(redis, KEYS, "stranger", Admin.DRAIN, by="ada")
    await orders.follow()
    assert admins(orders) == {"a": "drain", "stranger": "drain"}
    assert pool.watch.news.is_set()
    await redis.hdel(KEYS.admin, "a")
    await orders.follow()
    assert admins(orders) == {"stranger": "drain"}, "within one life of the store, the hash is the truth"


async def test_who_is_in_maintenance_is_not_probed_and_not_known(redis: Store, orders: Orders, pool: Watched):
    pool.probed("a", "b")
    await ask(redis, KEYS, "a", Admin.MAINT, by="ada")
    await orders.follow()
    assert (pool.schedule.is_paused("a"), pool.schedule.is_paused("b")) == (True, False)
    assert pool.watch.conditions["a"].state is Health.UNKNOWN
    assert pool.watch.conditions["a"].reason == "in maintenance: not probed"
    since = pool.watch.conditions["a"].since
    pool.watch.adopt("a", Condition(state=Health.HEALTHY, since=1.0))  # as published before, when it was probed
    await ask(redis, KEYS, "a", 5.0, by="ada")
    await orders.follow()
    assert (pool.watch.conditions["a"].state, pool.watch.conditions["a"].since) == (Health.UNKNOWN, since)
    await ask(redis, KEYS, "a", Admin.READY, by="ada")
    await orders.follow()
    assert not pool.schedule.is_paused("a")


@pytest.mark.parametrize("store_id", ["second", ""])
async def test_a_store_that_lost_them_gets_them_back_but_for_what_was_asked_since(
    redis: Store, orders: Orders, store_id: str
):
    for name in ("a", "b"):
        await ask(redis, KEYS, name, Admin.DRAIN, by="ada")
    await orders.follow()
    await another_life(redis, store_id)
    await ask(redis, KEYS, "a", Admin.READY, by="ada")
    await orders.follow()
    assert admins(orders) == {"a": "ready", "b": "drain"}
    assert (await redis.hkeys(KEYS.admin)) == ["a", "b"]
    await another_life(redis, "third")
    await orders.follow()
    assert admins(orders) == {"a": "ready", "b": "drain"}, "what was taken back does not return"


async def test_the_copy_on_disk_is_for_the_next_monitor(redis: Store, orders: Orders, pool: Watched, tmp_path: Path):
    await ask(redis, KEYS, "a", Admin.MAINT, by="ada")
    await orders.follow()
    fresh = Watched("a", "b")
    next_one = orders_of(redis, fresh, tmp_path)
    assert fresh.schedule.is_paused("a"), "before the store was asked"
    await another_life(redis)
    await next_one.follow()
    assert admins(next_one) == {"a": "maint"}
    assert await redis.hexists(KEYS.admin, "a")


async def test_garbage_is_no_news_and_told_once_and_written_over(
    redis: Store, orders: Orders, caplog: pytest.LogCaptureFixture
):
    for name in ("a", "b"):
        await ask(redis, KEYS, name, Admin.DRAIN, by="ada")
    await orders.follow()
    caplog.clear()
    await redis.hset(KEYS.admin, mapping={"a": '{"admin":"dance"}', "b": "\ufffd"})
    for _ in range(3):
        await orders.follow()
        assert admins(orders) == {"a": "drain", "b": "drain"}
    told = [record.getMessage() for record in caplog.records if "store-garbage" in record.getMessage()]
    assert len(told) == 2
    assert [json.loads(text)["admin"] for text in await redis.hvals(KEYS.admin)] == ["drain", "drain"]
    await redis.delete(KEYS.admin)
    await redis.set(KEYS.admin, "x")
    await orders.follow()
    assert admins(orders) == {"a": "drain", "b": "drain"}
    assert await redis.type(KEYS.admin) == "hash"
