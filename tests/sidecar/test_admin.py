"""What the operator asks for, as it is written down; on fakeredis and on a real server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redis_server import RedisServer
from sidecar.admin import Asked, ask, in_words, intents_of, read, restore
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin, Intent
from waiting import eventually

Store = Any  # a client whose replies are str, which redis-py's types cannot say
WHO = 'ada "the operator"@host\n'


@pytest.fixture(params=["fakeredis", "server"])
async def redis(request: pytest.FixtureRequest, shared_redis: RedisServer) -> AsyncIterator[Store]:
    client = FakeAsyncRedis(decode_responses=True) if request.param == "fakeredis" else connect(shared_redis.url)
    async with client:
        yield client


@pytest.fixture
def keys(namespace: str) -> PoolKeys:
    return PoolKeys(namespace, "api")


async def wish(redis: Store, keys: PoolKeys, wanted: Admin | float | None, backend: str = "a:1") -> Asked:
    return await ask(redis, keys, backend, wanted, by=WHO)


async def intent(redis: Store, keys: PoolKeys, backend: str = "a:1") -> tuple[Admin, float | None]:
    found = (await read(redis, keys)).intents[backend]
    return found.admin, found.weight


async def changes(redis: Store, keys: PoolKeys) -> list[tuple[str, str]]:
    return [(event["from"], event["to"]) for _, event in await redis.xrange(keys.events)]


async def test_an_intent_its_event_and_its_hint_go_out_together(redis: Store, keys: PoolKeys):
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(keys.intents)
        asked = await wish(redis, keys, Admin.DRAIN)
        message = await eventually(lambda: subscription.get_message(timeout=0.1))
    assert message["data"] == "a:1"
    assert (asked.before, asked.after) == ("ready", "drain")
    [found] = (await read(redis, keys)).intents.items()
    assert found == ("a:1", Intent(admin=Admin.DRAIN, since_ms=asked.since_ms, by=WHO))
    seconds, _ = await redis.time()
    assert abs(asked.since_ms - seconds * 1000) < 60_000
    [(_, event)] = await redis.xrange(keys.events)
    reason = "the operator asked for it"
    assert event == {"epoch": "0", "backend": "a:1", "from": "ready", "to": "drain", "reason": reason, "by": WHO}
    assert await redis.pttl(keys.admin) == -1, "durable"


async def test_state_and_weight_are_asked_for_apart(redis: Store, keys: PoolKeys):
    await wish(redis, keys, Admin.MAINT)
    await wish(redis, keys, 2.5)
    assert await intent(redis, keys) == (Admin.MAINT, 2.5)
    await wish(redis, keys, Admin.READY)
    assert await intent(redis, keys) == (Admin.READY, 2.5)
    await wish(redis, keys, None)
    assert await intent(redis, keys) == (Admin.READY, None)
    assert await changes(redis, keys) == [
        ("ready", "maint"), ("weight default", "weight 2.5"), ("maint", "ready"), ("weight 2.5", "weight default"),
    ]  # fmt: skip


async def test_what_is_so_already_is_no_event_and_stays_of_its_time(redis: Store, keys: PoolKeys):
    first = await wish(redis, keys, 0.1)
    again = await wish(redis, keys, 0.1)
    assert (again.before, again.after, again.since_ms) == ("weight 0.1", "weight 0.1", first.since_ms)
    assert len(await changes(redis, keys)) == 1


async def test_ready_is_written_down_so_that_no_copy_can_contradict_it(redis: Store, keys: PoolKeys):
    asked = await wish(redis, keys, Admin.READY)
    assert asked.before == asked.after == "ready"
    drained = Intent(admin=Admin.DRAIN, since_ms=5, by="ada")
    assert await restore(redis, keys, {"a:1": drained, "b:2": drained}, by="m1") == ["b:2"]
    assert await intent(redis, keys, "a:1") == (Admin.READY, None)
    assert await intent(redis, keys, "b:2") == (Admin.DRAIN, None)
    [(_, event)] = await redis.xrange(keys.events)
    assert (event["backend"], event["to"], event["by"]) == ("b:2", "drain", "m1")


GARBAGE = [
    "", "null", "[]", "7", "{", '{"admin":["drain"],"weight":"x"}', '{"admin":"dance","since_ms":5}',
    '{"admin":"ready","since_ms":"x"}', '{"admin":"ready","weight":-5,"since_ms":5}',
    '{"admin":"ready","weight":257,"since_ms":5}', '{"weight":1e999,"since_ms":1e999}', '{"weight":NaN}',
    f'{{"admin":"drain","weight":{10**400}}}',
]  # fmt: skip


@pytest.mark.parametrize("wanted", [Admin.DRAIN, Admin.READY])
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_in_a_field_is_written_over(redis: Store, keys: PoolKeys, garbage: str, wanted: Admin):
    await redis.hset(keys.admin, "a:1", garbage)
    assert (await wish(redis, keys, wanted)).after == wanted
    assert await intent(redis, keys) == (wanted, None)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_in_a_field_is_replaced_by_the_copy(redis: Store, keys: PoolKeys, garbage: str):
    kept = Intent(admin=Admin.MAINT, weight=3.0, since_ms=5, by="ada")
    await redis.hset(keys.admin, "a:1", garbage)
    assert await restore(redis, keys, {"a:1": kept}, by="m1") == ["a:1"]
    assert (await read(redis, keys)).intents == {"a:1": kept}
    assert await restore(redis, keys, {"a:1": Intent()}, by="m1") == []


async def test_a_key_of_another_type_is_a_problem_and_no_error_and_is_written_over(redis: Store, keys: PoolKeys):
    for key in (keys.admin, keys.beat, keys.events, keys.view):
        await redis.rpush(key, "x")
    desk = await read(redis, keys)
    assert (desk.is_readable, desk.store_id, desk.problems) == (False, "", {"": "not a hash"})
    kept = Intent(admin=Admin.MAINT, weight=3.0, since_ms=5, by="ada")
    assert await restore(redis, keys, {"a:1": kept}, by="m1") == ["a:1"]
    assert (await read(redis, keys)).intents == {"a:1": kept}
    await redis.delete(keys.admin)
    await redis.set(keys.admin, "x")
    await wish(redis, keys, Admin.DRAIN)
    assert await intent(redis, keys) == (Admin.DRAIN, None)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_no_garbage_in_a_field_is_an_error(redis: Store, keys: PoolKeys, garbage: str):
    await redis.hset(keys.admin, "a:1", garbage)
    desk = await read(redis, keys)
    assert desk.intents.keys() | desk.problems.keys() == {"a:1"}


async def test_a_field_that_cannot_be_read_does_not_hide_the_others(redis: Store, keys: PoolKeys):
    await wish(redis, keys, Admin.DRAIN)
    await redis.hset(keys.admin, "b:2", '{"weight":-5}')
    desk = await read(redis, keys)
    assert desk.is_readable
    assert desk.intents.keys() == {"a:1"}
    assert desk.problems.keys() == {"b:2"}


@given(st.dictionaries(st.text(), st.text()))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_stands_in_the_hash_is_read_or_named(fields: dict[str, str]):
    intents, problems = intents_of(fields)
    assert intents.keys() | problems.keys() == fields.keys()
    assert not intents.keys() & problems.keys()


def test_an_intent_is_told_in_words():
    assert in_words(Intent(admin=Admin.DRAIN)) == "drain"
    assert in_words(Intent(weight=2.5)) == "ready, weight 2.5"
