"""What is written to a pool's keys, when, and by whom not; on fakeredis and on a real server."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from redis_server import RedisServer
from sidecar.contract.codec import backend_hash, decode_view, encode_view, probe_times_of
from sidecar.contract.connect import connect
from sidecar.contract.keys import DEPARTED_MS, EVENTS_LENGTH, HISTORY_LENGTH, HISTORY_MS, PoolKeys, pools_index
from sidecar.contract.model import Health, Reading, Verdict, View
from sidecar.lease import Grant, Lease
from sidecar.publish import HISTORY_PAUSE_S, Change, Edition, Outcome, Publisher, Receipt
from waiting import eventually

DAY_MS = 86_400_000
Store = Any  # a client whose replies are str, which redis-py's types cannot say
UP = Verdict(id="a:1", url="http://a:1", state=Health.HEALTHY, reason='HTTP 200 "ü"', since_ms=17)
DOWN = Verdict(id="b:2", url="http://b:2", state=Health.UNHEALTHY, reason="connection refused", since_ms=18)
FELL = Change(backend="b:2", before="healthy", after="unhealthy", reason="connection refused", evidence="3 failed")
POINT = {"probe_ms": "1.5", "status": "200"}


@pytest.fixture(params=["fakeredis", "server"])
async def redis(request: pytest.FixtureRequest, shared_redis: RedisServer) -> AsyncIterator[Store]:
    client = FakeAsyncRedis(decode_responses=True) if request.param == "fakeredis" else connect(shared_redis.url)
    async with client:
        yield client


class Leader:
    """A lease that was won, and the publisher that writes under it."""

    def __init__(self, redis: Store, keys: PoolKeys, owner: str = "m1") -> None:
        self.lease = Lease(redis, keys, owner)
        self.publisher = Publisher(redis, keys, owner)
        self.token = 0
        self.store_id = ""

    async def win(self) -> None:
        grant = await self.lease.claim()
        assert isinstance(grant, Grant)
        self.token, self.store_id = grant.token, grant.store_id

    async def write(self, edition: Edition) -> Receipt:
        return await self.publisher.write(edition, token=self.token, store_id=self.store_id)

    def edition(self, *verdicts: Verdict, **more: Any) -> Edition:
        backends = {verdict.id: verdict for verdict in verdicts}
        view = View(token=self.token, store_id=self.store_id, config_hash="c0ffee", backends=backends)
        hashes = {name: backend_hash(verdict, Reading(ok_streak=3)) for name, verdict in backends.items()}
        return replace(Edition(view=view, hashes=hashes), **more)


@pytest.fixture
def keys(namespace: str) -> PoolKeys:
    return PoolKeys(namespace, "api")


@pytest.fixture
async def leader(redis: Store, keys: PoolKeys) -> Leader:
    """One whose lease does not end in the middle of a test, however long that takes."""
    leader = Leader(redis, keys)
    await leader.win()
    await redis.pexpire(keys.leader, 60_000)
    return leader


async def view_of(redis: Store, keys: PoolKeys) -> View:
    return decode_view(await redis.get(keys.view))


async def test_a_published_view_reads_back_as_it_was_meant(redis: Store, keys: PoolKeys, leader: Leader):
    edition = leader.edition(UP, DOWN)
    receipt = await leader.write(edition)
    assert edition.view is not None
    assert await view_of(redis, keys) == replace(edition.view, epoch=receipt.epoch)
    assert receipt.outcome is Outcome.DONE
    assert receipt.repaired == ()
    assert await redis.pttl(keys.view) == -1, "a dead monitor must not look like no backends"


async def test_epochs_are_close_to_redis_time_and_only_grow(redis: Store, keys: PoolKeys, leader: Leader):
    epochs = [(await leader.write(leader.edition(UP))).epoch for _ in range(20)]
    assert epochs == sorted(set(epochs))
    seconds, _ = await redis.time()
    assert abs(epochs[-1] - int(seconds) * 1000) < 60_000


async def test_an_epoch_follows_the_last_one_when_the_clock_is_behind(redis: Store, keys: PoolKeys, leader: Leader):
    ahead = (await leader.write(leader.edition(UP))).epoch + 3_600_000
    await redis.set(keys.view, encode_view(View(epoch=ahead)))
    assert (await leader.write(leader.edition(UP))).epoch == ahead + 1


async def test_an_epoch_from_next_year_is_rubbish(redis: Store, keys: PoolKeys, leader: Leader):
    """Followers refuse what is more than a day ahead: going on from there would silence the monitor for a year."""
    ahead = (await leader.write(leader.edition(UP))).epoch + 365 * DAY_MS
    await redis.set(keys.view, encode_view(View(epoch=ahead)))
    receipt = await leader.write(leader.edition(UP))
    assert receipt.epoch < ahead
    assert receipt.repaired == (keys.view,)


async def test_the_beat_says_what_probes_took_where_somebody_picks_by_it(redis: Store, keys: PoolKeys, leader: Leader):
    await leader.write(leader.edition(UP, probe_ms={"a:1": 1.54}))
    assert await redis.hget(keys.beat, "probe_ms") == '{"a:1":1.5}'
    await leader.write(Edition(probe_ms={"a:1": 2.0, "b:2": 30.0}))
    assert probe_times_of(await redis.hget(keys.beat, "probe_ms")) == {"a:1": 2.0, "b:2": 30.0}
    await leader.write(Edition(probe_ms={}))
    assert await redis.hget(keys.beat, "probe_ms") == "{}"
    await leader.write(Edition())
    assert not await redis.hexists(keys.beat, "probe_ms"), "the next leader's config has another policy"


async def test_beat_hashes_events_and_push_go_out_with_the_view(redis: Store, keys: PoolKeys, leader: Leader):
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(keys.push)
        receipt = await leader.write(leader.edition(UP, DOWN, changes=(FELL,)))
        message = await eventually(lambda: subscription.get_message(timeout=0.1))
    assert message["data"] == str(receipt.epoch)
    assert await redis.hgetall(keys.beat) == {
        "seq": "1",
        "epoch": str(receipt.epoch),
        "store_id": leader.store_id,
        "redis_ms": str(receipt.redis_ms),
        "leader": "m1",
        "token": str(leader.token),
    }
    assert await redis.hgetall(keys.backend("a:1")) == backend_hash(UP, Reading(ok_streak=3))
    [(_, event)] = await redis.xrange(keys.events)
    assert event == {
        "epoch": str(receipt.epoch),
        "backend": "b:2",
        "from": "healthy",
        "to": "unhealthy",
        "reason": "connection refused",
        "evidence": "3 failed",
        "by": "m1",
    }


async def test_a_heartbeat_moves_the_beat_and_the_figures_and_not_the_epoch(
    redis: Store, keys: PoolKeys, leader: Leader
):
    published = await leader.write(leader.edition(UP))
    before = await redis.get(keys.view)
    receipt = await leader.write(Edition(hashes={"a:1": {"probe_ms": "7.0"}}, histories={"a:1": POINT}))
    assert (receipt.outcome, receipt.epoch) == (Outcome.DONE, published.epoch)
    assert await redis.get(keys.view) == before
    assert await redis.hget(keys.beat, "seq") == "2"
    assert await redis.hmget(keys.backend("a:1"), "probe_ms", "state") == ["7.0", "healthy"]
    [(_, point)] = await redis.xrange(keys.history("a:1"))
    assert point == POINT
    assert 0 < await redis.pttl(keys.history("a:1")) <= HISTORY_MS


async def test_streams_are_bounded(redis: Store, keys: PoolKeys, leader: Leader):
    for stream, length in ((keys.events, EVENTS_LENGTH), (keys.history("a:1"), HISTORY_LENGTH)):
        filler = redis.pipeline(transaction=False)
        for _ in range(length + 500):
            filler.xadd(stream, {"old": "1"})
        await filler.execute()
    await leader.write(leader.edition(UP, changes=[FELL] * 10, histories={"a:1": POINT}))
    assert EVENTS_LENGTH <= await redis.xlen(keys.events) < EVENTS_LENGTH + 200
    assert HISTORY_LENGTH <= await redis.xlen(keys.history("a:1")) < HISTORY_LENGTH + 150


async def test_a_stale_leader_writes_nothing_but_that_it_was_refused(redis: Store, keys: PoolKeys, leader: Leader):
    await leader.write(leader.edition(UP))
    await redis.delete(keys.leader)
    other = Leader(redis, keys, "m2")
    await other.win()
    published = await other.write(other.edition(UP))
    assert (await leader.write(leader.edition(DOWN))).outcome is Outcome.FENCED
    assert (await leader.write(Edition(hashes={"a:1": {"state": "late"}}))).outcome is Outcome.FENCED
    assert (await view_of(redis, keys)).epoch == published.epoch
    assert await redis.hget(keys.backend("a:1"), "state") == "healthy"
    assert not await redis.exists(keys.backend("b:2"))
    refusals = [event for _, event in await redis.xrange(keys.events)]
    assert [(event["to"], event["by"]) for event in refusals] == [("FENCED", "m1")] * 2
    assert refusals[0]["epoch"] == str(published.epoch)


async def test_an_older_token_of_the_same_monitor_is_refused_too(redis: Store, keys: PoolKeys, leader: Leader):
    await leader.write(leader.edition(UP))  # from what was published the next token is told apart, within a millisecond
    await redis.delete(keys.leader)
    await leader.lease.claim()
    assert (await leader.write(leader.edition(UP))).outcome is Outcome.FENCED


async def test_without_a_lease_the_caller_is_told_to_claim_again(redis: Store, keys: PoolKeys, leader: Leader):
    await redis.delete(keys.leader)
    assert (await leader.write(leader.edition(UP))).outcome is Outcome.ABSENT
    assert not await redis.exists(keys.view, keys.events)


@pytest.mark.parametrize("vandal", ["gone", "list", "half", "text", "older", "next year"])
async def test_a_heartbeat_notices_that_the_view_is_not_ours(redis: Store, keys: PoolKeys, leader: Leader, vandal: str):
    epoch = (await leader.write(leader.edition(UP))).epoch
    raw = await redis.get(keys.view)
    await redis.delete(keys.view)
    match vandal:
        case "gone":
            pass
        case "list":
            await redis.rpush(keys.view, "x")
        case "half":
            await redis.set(keys.view, raw[: len(raw) // 2])
        case "text":
            await redis.set(keys.view, "hello")
        case "older":
            await redis.set(keys.view, raw.replace(str(epoch), str(epoch - 1)))
        case _:
            await redis.set(keys.view, raw.replace(str(epoch), str(epoch + 365 * DAY_MS)))
    assert (await leader.write(Edition(hashes={"a:1": {"state": "x"}}))).outcome is Outcome.LOST
    assert await redis.hget(keys.backend("a:1"), "state") == "healthy"
    assert (await leader.write(leader.edition(UP))).outcome is Outcome.DONE
    assert (await view_of(redis, keys)).backends == {"a:1": UP}


async def test_our_keys_are_written_over_whatever_stands_there(redis: Store, keys: PoolKeys, leader: Leader):
    broken = [keys.view, keys.beat, keys.events, keys.backend("a:1"), keys.history("a:1")]
    for key in broken:
        await redis.delete(key)
        await redis.sadd(key, "garbage")
    receipt = await leader.write(leader.edition(UP, changes=(FELL,), histories={"a:1": POINT}))
    assert receipt.outcome is Outcome.DONE
    assert set(receipt.repaired) == set(broken)
    assert [await redis.type(key) for key in broken] == ["string", "hash", "stream", "hash", "stream"]
    assert (await leader.write(leader.edition(UP))).repaired == ()


async def test_keys_of_a_departed_backend_expire_and_those_of_one_that_returns_do_not(
    redis: Store, keys: PoolKeys, leader: Leader
):
    await leader.write(leader.edition(UP, DOWN, histories={"b:2": POINT}))
    await leader.write(leader.edition(UP, departed=("b:2", "never:1")))
    assert DEPARTED_MS - 5000 < await redis.pttl(keys.backend("b:2")) <= DEPARTED_MS
    assert await redis.pttl(keys.history("b:2")) > 0
    await redis.pexpire(keys.backend("b:2"), 1_000_000)
    await leader.write(leader.edition(UP, departed=("b:2",)))
    assert await redis.pttl(keys.backend("b:2")) <= 1_000_000, "an expiry that runs is not put off"
    await leader.write(leader.edition(UP, DOWN))
    assert await redis.pttl(keys.backend("b:2")) == -1


async def test_the_pool_enters_the_index_of_its_namespace(redis: Store, keys: PoolKeys, leader: Leader):
    await leader.publisher.announce()
    assert await redis.smembers(pools_index(keys.namespace)) == {"api"}
    await redis.delete(pools_index(keys.namespace))
    await redis.set(pools_index(keys.namespace), "garbage")
    await leader.publisher.announce()
    assert await redis.smembers(pools_index(keys.namespace)) == {"api"}


async def test_a_new_leader_finds_what_the_last_one_left(redis: Store, keys: PoolKeys, leader: Leader):
    receipt = await leader.write(leader.edition(UP, DOWN))
    await redis.delete(keys.backend("b:2"))
    await redis.rpush(keys.backend("b:2"), "garbage")
    last = await Publisher(redis, keys, "m2").last()
    assert last.view is not None
    assert (last.view.epoch, last.view.backends, last.garbage) == (receipt.epoch, {"a:1": UP, "b:2": DOWN}, None)
    assert last.readings == {"a:1": Reading(ok_streak=3)}


async def test_a_new_leader_of_an_empty_store_finds_nothing(redis: Store, keys: PoolKeys):
    last = await Publisher(redis, keys, "m2").last()
    assert (last.view, last.readings, last.garbage) == (None, {}, None)


@pytest.mark.parametrize("garbage", ["", "[]", "{", '{"epoch":1}', '{"schema":2}', json.dumps({"schema": 99})])
async def test_a_new_leader_is_told_of_a_view_that_nobody_can_read(redis: Store, keys: PoolKeys, garbage: str):
    await redis.set(keys.view, garbage)
    last = await Publisher(redis, keys, "m2").last()
    assert last.view is None
    assert last.garbage


async def test_a_new_leader_is_told_of_a_view_of_another_type(redis: Store, keys: PoolKeys):
    await redis.rpush(keys.view, "x")
    assert (await Publisher(redis, keys, "m2").last()).garbage == "the view is not a string"


async def test_room_is_made_by_giving_up_histories_for_a_while(redis: Store, keys: PoolKeys):
    now = 100.0
    leader = Leader(redis, keys)
    leader.publisher = Publisher(redis, keys, "m1", clock=lambda: now)
    await leader.win()
    await leader.write(leader.edition(UP, DOWN, histories={"a:1": POINT, "b:2": POINT}))
    await leader.publisher.make_room(["a:1", "b:2"])
    assert (await leader.write(Edition(histories={"a:1": POINT}))).outcome is Outcome.DONE
    assert not await redis.exists(keys.history("a:1"), keys.history("b:2"))
    now += HISTORY_PAUSE_S
    await leader.write(Edition(histories={"a:1": POINT}))
    assert await redis.exists(keys.history("a:1"))
