"""The checker that follows a view, against a real store: it probes nothing, and tells what the app's traffic meets."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from fastapi import FastAPI, Request
from httpx import ASGITransport, AsyncClient
from redis.asyncio import Redis

from backend import Backend
from published import now_ms
from redis_server import RedisServer
from sidecar.contract.codec import backend_hash, encode_view, report_from_hash
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin, Health, Reading, Verdict, View
from waiting import eventually
from worker.library import HealthChecker, LoadBalancer, Proxy
from worker.rounds import ask

AWAY = "unix:///nowhere/store.sock"


@pytest.fixture
async def store(shared_redis: RedisServer) -> AsyncIterator[Redis]:
    async with connect(shared_redis.url) as client:
        yield client


async def publish(store: Redis, keys: PoolKeys, probe_ms: Mapping[str, float], *verdicts: Verdict) -> None:
    """As the monitor would; each time another epoch."""
    now = await now_ms(store)
    view = View(epoch=now, store_id="s", backends={each.id: each for each in verdicts})
    beat: dict[str, str | int] = {"seq": now, "epoch": now, "store_id": "s", "redis_ms": now}
    hashes = [
        ("HSET", keys.backend(each.id), *(part for field in told.items() for part in field))
        for each in verdicts
        if (told := backend_hash(each, Reading(probe_ms=probe_ms.get(each.id), fail_streak=each.id not in probe_ms)))
    ]
    fields = [part for field in beat.items() for part in field]
    await ask(
        store, ("SET", keys.view, encode_view(view).decode()), *hashes, ("HSET", keys.beat, *fields), at_once=True
    )
    await store.publish(keys.push, now)


async def test_what_the_monitor_says_counts_and_nobody_is_probed(
    store: Redis, shared_redis: RedisServer, namespace: str, backend: Backend
):
    keys = PoolKeys(namespace, "api@web-1")
    async with Backend() as other:
        one = Verdict(id="alpha", url=backend.url, state=Health.HEALTHY)
        two = Verdict(id="bravo", url=other.url, state=Health.UNHEALTHY)
        await publish(store, keys, {"alpha": 12.5}, one, two)
        followed = {"redis_url": shared_redis.url, "namespace": namespace, "pool": "api", "host": "web-1"}
        async with HealthChecker([backend.url, other.url], **followed) as checker:  # type: ignore[arg-type]
            assert checker.status == {backend.url: 12.5, other.url: False}
            await publish(
                store, keys, {"alpha": 9.0, "bravo": 3.0},
                Verdict(id="alpha", url=backend.url, state=Health.HEALTHY, admin=Admin.DRAIN),
                Verdict(id="bravo", url=other.url, state=Health.HEALTHY),
            )  # fmt: skip
            await eventually(lambda: checker.status == {backend.url: False, other.url: 3.0})
            assert checker.get_fastest() == other.url
        assert not backend.requests + other.requests


@pytest.mark.parametrize(("url", "name"), [("http://127.0.0.1:1", "web@web-1"), ("http://10.0.0.1:1", "web")])
async def test_a_pool_of_loopback_addresses_is_the_hosts_own(
    monkeypatch: pytest.MonkeyPatch, store: Redis, shared_redis: RedisServer, namespace: str, url: str, name: str
):
    monkeypatch.setattr("socket.gethostname", lambda: "web-1")
    await publish(store, PoolKeys(namespace, name), {}, Verdict(id="x", url=url, state=Health.UNHEALTHY))
    async with HealthChecker([url], redis_url=shared_redis.url, namespace=namespace, pool="web") as checker:
        assert checker.status == {url: False}


async def test_without_a_store_an_app_starts_and_nobody_is_taken_for_down(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.library.checker.following.LOOK_S", 0.05)
    checker = HealthChecker(["http://127.0.0.1:1"], redis_url=AWAY)
    await checker.start()
    assert checker.get_healthy_targets() == checker.targets
    await checker.check_all()
    await checker.stop()


@pytest.mark.parametrize("turns", range(1, 5))
async def test_who_comes_first_while_a_checker_stops_is_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch, turns: int
):
    """It was an error: no task may begin in a group that ends."""
    monkeypatch.setattr("worker.library.checker.following.LOOK_S", 0.01)
    checker = HealthChecker(["http://127.0.0.1:1"], redis_url=AWAY)
    await checker.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(checker.stop())
        for _ in range(turns):
            await asyncio.sleep(0)
        assert LoadBalancer(checker, policy="random").get() == checker.targets[0]


def app_over(balancer: LoadBalancer) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def forward(request: Request):
        return await balancer.proxy_pass(request)

    return app


async def test_the_monitor_hears_what_the_apps_traffic_meets(
    store: Redis, shared_redis: RedisServer, namespace: str, backend: Backend
):
    keys = PoolKeys(namespace, "default@web-1")
    async with Backend() as other, store.pubsub() as hints:
        verdicts = [
            Verdict(id=name, url=each.url, state=Health.HEALTHY) for name, each in (("a", backend), ("b", other))
        ]
        await publish(store, keys, {"a": 1.0, "b": 2.0}, *verdicts)
        await hints.subscribe(keys.suspect)
        other.refuse()
        checker = HealthChecker([backend.url, other.url], redis_url=shared_redis.url, namespace=namespace, host="web-1")
        app = app_over(LoadBalancer(checker, policy="round_robin"))
        async with checker, Proxy(app), AsyncClient(transport=ASGITransport(app), base_url="http://app") as client:
            for _ in range(4):
                assert (await client.get("/")).status_code == 200

            async def suspect() -> object:
                message = await hints.get_message(ignore_subscribe_messages=True)
                return message and message["data"] == "b"

            await eventually(suspect)
            [member] = await store.zrange(keys.workers, 0, -1)
            worker = keys.worker(str(member))

            async def has_told() -> bool:
                fields = await store.hgetall(worker)
                report = report_from_hash({str(name): str(value) for name, value in fields.items()})
                return report.tallies["a"].requests == 4

            await eventually(has_told)
        assert not await store.exists(worker)


async def test_a_limit_is_one_for_all_who_follow(
    store: Redis, shared_redis: RedisServer, namespace: str, backend: Backend
):
    """Each checker leases for itself, as the one of another machine would."""
    keys = PoolKeys(namespace, "default@web-1")
    await publish(store, keys, {"a": 1.0}, Verdict(id="a", url=backend.url, state=Health.HEALTHY))
    target = {"host": backend.url, "maxrequests": 10}
    followed = {"redis_url": shared_redis.url, "namespace": namespace, "host": "web-1"}
    checkers = [HealthChecker([target], 86_400, **followed) for _ in range(2)]  # type: ignore[arg-type]
    balancers = [LoadBalancer(checkers[0]), LoadBalancer(checkers[1], policy="least_request")]
    async with checkers[0], checkers[1], asyncio.TaskGroup() as tasks:
        for balancer in balancers:
            app = app_over(balancer)
            client = AsyncClient(transport=ASGITransport(app), base_url="http://app")
            tasks.create_task(ask_often(client, 12))
    assert 8 <= len(backend.requests) <= 10


async def ask_often(client: AsyncClient, count: int) -> None:
    async with client:
        for _ in range(count):
            await client.get("/")
