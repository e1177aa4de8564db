"""One leader per pool, whatever happens to the key; on fakeredis and on a real server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import LEASE_MS, PoolKeys
from sidecar.lease import MARGIN_S, Grant, Held, Lease

DAY_MS = 86_400_000
Store = Any  # a client whose replies are str, which redis-py's types cannot say


class Clock:
    """Monotonic time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["fakeredis", "server"])
async def redis(request: pytest.FixtureRequest, shared_redis: RedisServer) -> AsyncIterator[Store]:
    client = FakeAsyncRedis(decode_responses=True) if request.param == "fakeredis" else connect(shared_redis.url)
    async with client:
        yield client


@pytest.fixture
def keys(namespace: str) -> PoolKeys:
    return PoolKeys(namespace, "api")


async def won(lease: Lease) -> Grant:
    answer = await lease.claim()
    assert isinstance(answer, Grant)
    return answer


async def lost(lease: Lease) -> Held:
    answer = await lease.claim()
    assert isinstance(answer, Held)
    return answer


async def server_ms(redis: Store) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def test_the_first_to_claim_leads_and_the_key_says_so(redis: Store, keys: PoolKeys):
    before = await server_ms(redis)
    grant = await won(Lease(redis, keys, "a"))
    assert before <= grant.token <= await server_ms(redis)
    fields = await redis.hgetall(keys.leader)
    assert fields == {"owner": "a", "token": str(grant.token), "until_ms": str(grant.redis_ms + LEASE_MS)}
    assert 0 < await redis.pttl(keys.leader) <= LEASE_MS


async def test_a_standby_learns_who_leads(redis: Store, keys: PoolKeys):
    grant = await won(Lease(redis, keys, "a"))
    held = await lost(Lease(redis, keys, "b"))
    assert (held.owner, held.token, held.fenced) == ("a", grant.token, False)
    assert not await redis.exists(keys.events)


async def test_a_renewal_keeps_the_token_and_moves_the_end(redis: Store, keys: PoolKeys):
    lease = Lease(redis, keys, "a")
    grant = await won(lease)
    await redis.pexpire(keys.leader, LEASE_MS // 2)
    again = await won(lease)
    assert (again.token, again.store_id) == (grant.token, grant.store_id)
    assert await redis.pttl(keys.leader) > LEASE_MS // 2


async def test_a_released_lease_is_free_at_once(redis: Store, keys: PoolKeys):
    first, second = Lease(redis, keys, "a"), Lease(redis, keys, "b")
    grant = await won(first)
    await first.release()
    assert first.token is None
    assert (await won(second)).token >= grant.token


async def test_only_the_holder_can_release(redis: Store, keys: PoolKeys):
    first, second = Lease(redis, keys, "a"), Lease(redis, keys, "b")
    await won(first)
    await lost(second)
    await second.release()
    assert await redis.hget(keys.leader, "owner") == "a"


async def test_a_lease_whose_grant_never_arrived_is_released_too(redis: Store, keys: PoolKeys):
    """The monitor was told to stop between its claim and the answer."""
    lease = Lease(redis, keys, "a")
    await won(lease)
    lease.lose()
    await lease.release()
    assert not await redis.exists(keys.leader)


async def test_a_token_is_greater_than_what_view_and_beat_know(redis: Store, keys: PoolKeys):
    future = await server_ms(redis) + 50_000
    await redis.set(keys.view, f'{{"epoch":1,"schema":1,"token":{future},"store_id":"s"}}')
    assert (await won(Lease(redis, keys, "a"))).token == future + 1
    await redis.delete(keys.leader)
    await redis.hset(keys.beat, "token", str(future + 7))
    assert (await won(Lease(redis, keys, "a"))).token == future + 8


async def test_a_token_from_next_year_is_rubbish(redis: Store, keys: PoolKeys):
    future = await server_ms(redis) + 365 * DAY_MS
    await redis.set(keys.view, f'{{"epoch":1,"schema":1,"token":{future},"store_id":"s"}}')
    assert (await won(Lease(redis, keys, "a"))).token < future


async def test_the_store_id_is_the_published_one_and_a_new_one_when_the_store_comes_back_empty(
    redis: Store, keys: PoolKeys
):
    lease = Lease(redis, keys, "a")
    first = await won(lease)
    assert first.store_id
    assert (await won(lease)).store_id == first.store_id, "not yet published, but known"
    assert not await redis.exists(keys.beat), "half a heartbeat would be taken for garbage"
    await redis.hset(keys.beat, "store_id", first.store_id)
    await redis.delete(keys.leader)
    assert (await won(Lease(redis, keys, "b"))).store_id == first.store_id
    await redis.delete(keys.leader, keys.beat)
    assert (await won(lease)).store_id not in ("", first.store_id)


async def test_a_leader_that_was_replaced_is_told_and_the_events_too(redis: Store, keys: PoolKeys):
    old, new = Lease(redis, keys, "old"), Lease(redis, keys, "new")
    stale = await won(old)
    await redis.delete(keys.leader)
    fresh = await won(new)
    held = await lost(old)
    assert (held.owner, held.fenced) == ("new", True)
    assert old.token is None
    [(_, event)] = await redis.xrange(keys.events)
    assert (event["to"], event["by"]) == ("FENCED", "old")
    assert event["reason"] == f"refused under token {stale.token}; new leads under {fresh.token}"
    assert not (await lost(old)).fenced, "it is told once"


async def test_a_holder_stops_before_its_lease_can_end(redis: Store, keys: PoolKeys):
    clock = Clock()
    lease = Lease(redis, keys, "a", clock=clock)
    token = (await won(lease)).token
    clock.now += LEASE_MS / 1000 - MARGIN_S - 0.01
    assert lease.token == token
    clock.now += 0.02
    assert lease.token is None


@pytest.mark.parametrize("garbage", ["string", "list", "other fields", "without end", "for an hour"])
async def test_garbage_in_the_leader_key_is_nobodys_lease(redis: Store, keys: PoolKeys, garbage: str):
    match garbage:
        case "string":
            await redis.set(keys.leader, "x")
        case "list":
            await redis.rpush(keys.leader, "x")
        case "other fields":
            await redis.hset(keys.leader, "x", "y")
        case _:
            await redis.hset(keys.leader, mapping={"owner": "ghost", "token": "1"})
            if garbage == "for an hour":
                await redis.pexpire(keys.leader, 3_600_000)
    await won(Lease(redis, keys, "a"))
    assert set(await redis.hgetall(keys.leader)) == {"owner", "token", "until_ms"}


async def test_garbage_in_view_and_beat_does_not_keep_anybody_from_leading(redis: Store, keys: PoolKeys):
    await redis.rpush(keys.view, "x")
    await redis.set(keys.beat, "x")
    assert (await won(Lease(redis, keys, "a"))).store_id
