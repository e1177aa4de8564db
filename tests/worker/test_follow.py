"""Following: the newest view is known soon, and nothing that a store does is worse than no news."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from backend import Backend
from redis_server import RedisServer
from sidecar.contract.codec import encode_view
from sidecar.contract.config import ConfigError
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Health, Verdict, View
from waiting import eventually
from worker import follow, rounds
from worker.follow import Follower
from worker.rounds import Command, ask
from worker.view import Freshness, Knowledge

API, WEB = PoolKeys("test", "api"), PoolKeys("test", "web")


def a_view(epoch: int = 5, *, token: int = 1, store_id: str = "store", ramp_ms: int = 0) -> View:
    known = Verdict(id="a", url="http://a.test:80", state=Health.HEALTHY, ramp_ms=ramp_ms)
    return View(epoch=epoch, token=token, store_id=store_id, backends={"a": known})


async def redis_ms(store: Redis) -> int:
    seconds, microseconds = await store.time()
    return int(seconds * 1000 + microseconds // 1000)


async def beat(store: Redis, keys: PoolKeys, view: View, *, seq: int = 1, age_ms: int = 0) -> None:
    await ask(store, beat_command(keys, view, seq, await redis_ms(store) - age_ms))


async def publish(store: Redis, view: View, *, keys: PoolKeys = API, seq: int = 1, age_ms: int = 0) -> None:
    at_ms = await redis_ms(store) - age_ms
    await ask(store, ("SET", keys.view, encode_view(view).decode()), beat_command(keys, view, seq, at_ms), at_once=True)


def beat_command(keys: PoolKeys, view: View, seq: int, at_ms: int) -> Command:
    return ("HSET", keys.beat, "seq", seq, "epoch", view.epoch, "store_id", view.store_id, "redis_ms", at_ms)


def next_year_ms() -> int:
    return round((time.time() + 365 * 86_400) * 1000)  # noqa: TID251 - epochs are unix time


def open_fake(store: Redis) -> Callable[[str], Redis]:
    """Another client of the same store for whoever asks."""
    server = store.connection_pool.connection_kwargs["server"]
    return lambda url: FakeAsyncRedis(server=server, decode_responses=True)


async def is_subscribed(store: Redis) -> bool:
    ((_, subscribers),) = await store.pubsub_numsub(API.push)
    return int(subscribers) > 0


class Following:
    """A follower at work, what it knows, and what it told of."""

    def __init__(
        self,
        open_store: Callable[[str], Redis],
        find_url: Callable[[], str] = lambda: "redis://fake",
        pools: tuple[PoolKeys, ...] = (API,),
    ) -> None:
        self.all = {keys.pool: Knowledge() for keys in pools}
        self.knowledge = self.all["api"]
        self.changes: list[str] = []
        self.follower = Follower(
            {keys.pool: keys for keys in pools}, self.all, self.changes.append, find_url, open_store=open_store
        )

    @property
    def epoch(self) -> int:
        return self.knowledge.view.epoch if self.knowledge.view else 0

    @property
    def freshness(self) -> Freshness:
        return self.knowledge.freshness(time.monotonic())

    async def until_epoch(self, epoch: int) -> None:
        await eventually(lambda: self.epoch == epoch, what=lambda: f"epoch {epoch}, not {self.epoch}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Following"]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.follower.run())
            try:
                yield self
            finally:
                task.cancel()


async def push(store: Redis, following: Following, *views: View) -> None:
    """Publish one after the other, each as soon as the last is known."""
    for view in views:
        await publish(store, view)
        await store.publish(API.push, str(view.epoch))
        await following.until_epoch(view.epoch)


@pytest.fixture
async def fake() -> AsyncIterator[Redis]:
    async with FakeAsyncRedis(server=FakeServer(), decode_responses=True) as store:
        yield store


@pytest.fixture
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the test is not about how soon something is known."""
    monkeypatch.setattr(rounds, "EVERY_S", 0.1)


@pytest.fixture
def end_polls(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on there is one more poll, which may be due already; whatever is learned after it was pushed."""
    return lambda: monkeypatch.setattr(rounds, "EVERY_S", 3_600.0)


@pytest.fixture
async def following(fake: Redis) -> AsyncIterator[Following]:
    async with Following(open_fake(fake), pools=(API, WEB)).running() as following:
        yield following


# Learning


async def test_a_published_view_is_known_and_told_of(fake: Redis, following: Following):
    await publish(fake, a_view(5))

    await following.until_epoch(5)

    assert following.knowledge.view == a_view(5)
    assert "api" in following.changes
    assert following.follower.store_up
    assert following.all["web"].view is None


async def test_a_view_without_a_heartbeat_is_better_than_none(fake: Redis, following: Following):
    await fake.set(API.view, encode_view(a_view(5)))

    await following.until_epoch(5)


@pytest.mark.usefixtures("quick_polls")
async def test_what_probes_took_is_known_with_the_next_beat_and_garbage_there_spoils_none(
    fake: Redis, following: Following
):
    await publish(fake, a_view(5))
    await fake.hset(API.beat, "probe_ms", '{"a":1.5}')
    await eventually(lambda: following.knowledge.probe_s("a") == 0.0015)
    await fake.hset(API.beat, "probe_ms", "fast")
    await eventually(lambda: following.knowledge.probe_s("a") is None)
    await publish(fake, a_view(6), seq=2)
    await following.until_epoch(6)
    assert following.freshness is Freshness.FRESH


async def test_a_push_brings_the_next_view_at_once(fake: Redis, following: Following, end_polls: Callable[[], None]):
    await publish(fake, a_view(5))
    await following.until_epoch(5)
    await eventually(lambda: is_subscribed(fake))
    end_polls()

    await push(fake, following, a_view(6), a_view(7), a_view(8))


async def test_lost_pushes_cost_nobody_more_than_a_poll(fake: Redis, following: Following):
    async with AsyncExitStack() as stack:
        others = [Following(open_fake(fake)) for _ in range(3)]
        everybody = [following, *[await stack.enter_async_context(each.running()) for each in others]]
        await publish(fake, a_view(5))
        await eventually(lambda: {each.epoch for each in everybody} == {5})

        await publish(fake, a_view(6), seq=2)

        await eventually(lambda: {each.epoch for each in everybody} == {6})


async def test_what_a_newer_monitor_adds_is_passed_over(fake: Redis, following: Following):
    content = json.loads(encode_view(a_view(5)))
    content["mood"] = content["backends"]["a"]["mood"] = {"is": "good"}
    await ask(fake, ("SET", API.view, json.dumps(content)), ("HSET", API.beat, "mood", "good"))
    await beat(fake, API, a_view(5))

    await eventually(lambda: following.freshness is Freshness.FRESH)
    assert following.knowledge.view == a_view(5)


async def test_at_the_start_the_age_is_what_the_stores_clock_says(fake: Redis, following: Following):
    began = time.monotonic()
    await publish(fake, a_view(5), age_ms=10_000)

    await eventually(lambda: following.freshness is Freshness.STALE)

    now = time.monotonic()
    assert 9.9 < (following.knowledge.age_s(now) or 0) < 10.1 + now - began


async def test_remaining_times_count_from_the_publication_not_from_the_reading(fake: Redis, following: Following):
    began = time.monotonic()
    await publish(fake, a_view(await redis_ms(fake) - 4_000, ramp_ms=10_000))

    await eventually(lambda: following.knowledge.view)

    assert began + 5.9 < following.knowledge.until(10_000) < time.monotonic() + 6.1


async def test_a_silent_monitor_lets_the_view_age_and_a_beat_makes_it_fresh_again(
    fake: Redis, following: Following, caplog: pytest.LogCaptureFixture
):
    await publish(fake, a_view(await redis_ms(fake)))
    await eventually(lambda: following.freshness is Freshness.FRESH)
    following.changes.clear()

    await eventually(lambda: "view-stale" in caplog.text)
    assert following.knowledge.view is not None
    await beat(fake, API, following.knowledge.view, seq=2)
    await eventually(lambda: "view-fresh" in caplog.text)

    assert following.changes == ["api"], "news that came, not time that passed"
    logged = [record.message.split(" age_s")[0] for record in caplog.records if "view-" in record.message]
    assert logged == ["view-stale pool=api freshness=stale", "view-fresh pool=api"]


# Garbage


GARBAGE: dict[str, Callable[[Redis], object]] = {
    "view is a list": lambda store: store.rpush(API.view, "x"),
    "view is half of its JSON": lambda store: store.set(API.view, encode_view(a_view(9))[:50]),
    "view is another product's": lambda store: store.set(API.view, '{"users": 5}'),
    "view is of a schema to come": lambda store: store.set(API.view, '{"schema": 99, "epoch": 9, "backends": {}}'),
    "view has a list of backends": lambda store: store.set(API.view, encode_view(View(epoch=9)).replace(b"{}", b"[]")),
    "view has a word for a weight": lambda store: store.set(
        API.view, encode_view(a_view(9)).replace(b'"weight":1.0', b'"weight":"heavy"')
    ),
    "view is from next year": lambda store: store.set(API.view, encode_view(a_view(next_year_ms()))),
    "beat is from next year": lambda store: beat(store, API, a_view(next_year_ms())),
    "beat is a string": lambda store: store.set(API.beat, "x"),
    "beat has words for numbers": lambda store: store.hset(API.beat, mapping={"seq": "one", "epoch": "two"}),
    "beat has numbers beyond all bounds": lambda store: store.hset(
        API.beat, mapping={"seq": "1", "epoch": "9", "store_id": "store", "redis_ms": "9" * 400}
    ),
    "beat has half of its fields": lambda store: store.hset(API.beat, mapping={"seq": "1", "epoch": "9"}),
}


@pytest.mark.usefixtures("quick_polls")
@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_is_no_news_and_is_logged_once(
    fake: Redis, following: Following, caplog: pytest.LogCaptureFixture, what: str
):
    await publish(fake, a_view(5))
    await publish(fake, a_view(5), keys=WEB)
    await following.until_epoch(5)

    await fake.delete(API.view, API.beat)
    if not what.startswith("beat"):
        await beat(fake, API, a_view(9))
    await GARBAGE[what](fake)  # type: ignore[misc]
    await eventually(lambda: "store-garbage pool=api problem=" in caplog.text)
    await publish(fake, a_view(6), keys=WEB)
    await eventually(lambda: following.all["web"].view == a_view(6), what="news of the other pool")
    assert following.knowledge.view == a_view(5)

    await fake.delete(API.view, API.beat)
    await publish(fake, a_view(10))
    await following.until_epoch(10)
    messages = [record.message for record in caplog.records if record.message.startswith("store-")]
    assert len(messages) == 2
    assert messages[1] == "store-garbage pool=api over=yes"
    assert following.follower.store_up


async def test_a_pushed_message_that_is_not_ours_is_ignored(fake: Redis, following: Following):
    await publish(fake, a_view(5))
    await following.until_epoch(5)
    await eventually(lambda: is_subscribed(fake))

    for text in ("", "{}", "-1", "six", "9" * 5000):
        await fake.publish(API.push, text)
    await publish(fake, a_view(6))
    await fake.publish(API.push, "6")

    await following.until_epoch(6)
    assert following.follower.store_up


# A real server


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(redis_server.url, retries=3) as store:
        yield store


@asynccontextmanager
async def following_of(redis_server: RedisServer) -> AsyncIterator[Following]:
    async with Following(connect, lambda: redis_server.url).running() as following:
        yield following


@pytest.mark.usefixtures("quick_polls")
async def test_the_view_is_read_only_when_it_has_moved(redis_server: RedisServer, store: Redis):
    async def reads(command: str) -> int:
        stats = await store.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    await publish(store, a_view(5))
    async with following_of(redis_server) as following:
        await following.until_epoch(5)
        polls = await reads("hmget")

        async def is_polled_thrice() -> bool:
            return await reads("hmget") >= polls + 3

        await eventually(is_polled_thrice)
        assert await reads("getrange") == 1


async def test_a_store_that_was_killed_and_comes_back_empty_is_followed_again(
    redis_server: RedisServer, store: Redis, caplog: pytest.LogCaptureFixture, end_polls: Callable[[], None]
):
    caplog.set_level(logging.INFO)
    await publish(store, a_view(5))
    async with following_of(redis_server) as following:
        await following.until_epoch(5)

        redis_server.kill()
        await eventually(lambda: not following.follower.store_up)
        redis_server.start()
        await eventually(lambda: following.follower.store_up)
        assert following.knowledge.view == a_view(5), "an empty store is no news"

        await publish(store, a_view(4, store_id="reborn"))
        await following.until_epoch(4)
        await eventually(lambda: is_subscribed(store))
        end_polls()
        await push(store, following, *(a_view(epoch, store_id="reborn") for epoch in (6, 7, 8)))

    messages = [record.message for record in caplog.records if record.message.startswith("store-")]
    assert [message.split(" reason")[0].split(" attempts")[0] for message in messages] == [
        "store-down part=poll",
        "store-up part=poll",
    ]


async def test_a_store_that_hangs_is_down_until_it_answers_again(redis_server: RedisServer, store: Redis):
    await publish(store, a_view(5))
    async with following_of(redis_server) as following:
        await following.until_epoch(5)

        redis_server.pause()
        await eventually(lambda: not following.follower.store_up)
        redis_server.resume()
        await publish(store, a_view(6))

        await following.until_epoch(6)


async def test_text_in_no_encoding_is_garbage_like_any_other(
    redis_server: RedisServer, store: Redis, caplog: pytest.LogCaptureFixture
):
    await store.set(API.view, b"\xff\xfe\x00")
    async with following_of(redis_server) as following:
        await eventually(lambda: "store-garbage pool=api" in caplog.text)
        assert following.follower.store_up

        await publish(store, a_view(5))
        await following.until_epoch(5)


async def test_a_subscription_that_hangs_does_not_hold_up_the_polls(redis_server: RedisServer, store: Redis):
    def connect_and_wait_for_ever(url: str) -> Redis:
        return Redis.from_url(url, decode_responses=True, socket_timeout=None)

    async with Backend() as black_hole:  # which waits for the end of a head
        urls = iter([redis_server.url])  # for the polls, which open theirs first
        following = Following(connect_and_wait_for_ever, lambda: next(urls, f"redis://127.0.0.1:{black_hole.port}"))
        async with following.running():
            await eventually(lambda: black_hole.connections_open)
            for epoch in (5, 6):
                await publish(store, a_view(epoch))
                await following.until_epoch(epoch)


async def test_a_subscription_without_a_sign_of_life_is_replaced(
    redis_server: RedisServer,
    store: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    end_polls: Callable[[], None],
):
    caplog.set_level(logging.DEBUG, "worker.rounds")
    monkeypatch.setattr(follow, "QUIET_S", 0.1)
    await publish(store, a_view(5, store_id="reborn"))
    async with following_of(redis_server) as following:
        await following.until_epoch(5)
        await eventually(lambda: is_subscribed(store))

        redis_server.pause()
        await eventually(lambda: 'part=push reason="TimeoutError: the subscription gives no sign' in caplog.text)
        redis_server.resume()

        await eventually(lambda: "store-up part=push" in caplog.text)
        end_polls()
        await push(store, following, *(a_view(epoch, store_id="reborn") for epoch in (6, 7, 8)))


async def test_a_quiet_subscription_that_lives_is_kept(
    redis_server: RedisServer, store: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "worker.rounds")
    monkeypatch.setattr(follow, "QUIET_S", 0.1)

    async def pings() -> int:
        stats = await store.info("commandstats")
        return int(stats.get("cmdstat_ping", {"calls": 0})["calls"])

    async def is_kept() -> bool:
        """Over three pings; on a busy machine the answer to one may come too late."""
        caplog.clear()
        before = await pings()

        async def is_pinged() -> bool:
            return await pings() >= before + 3

        await eventually(is_pinged)
        return "part=push" not in caplog.text

    async with following_of(redis_server):
        await eventually(is_kept)


async def test_where_no_store_runs_yet_there_is_no_news_until_one_does(redis_server: RedisServer, store: Redis):
    places: list[str] = []

    def find_url() -> str:
        if not places:
            raise ConfigError(["store.url: not set, and no store runs"])
        return places[0]

    await publish(store, a_view(5))
    async with Following(connect, find_url).running() as following:
        await eventually(lambda: not following.follower.store_up)
        places.append(redis_server.url)

        await following.until_epoch(5)
