"""A worker goes on under another config: nothing ends that is under way, and what did not change is left alone."""

import asyncio
import gc
import os
from dataclasses import replace
from typing import Any

import pytest

from lanes import PATIENT
from redis_server import RedisServer
from sidecar.contract.codec import encode_view
from sidecar.contract.config import Config, parse
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin, Health, Verdict, View
from waiting import eventually
from worker.board import board_for
from worker.runtime import Runtime
from worker.view import Tier

Content = dict[str, Any]
Store = Any  # a client whose replies are str, which redis-py's types cannot say


def config(pools: Content, **sections: Any) -> Config:
    """With patient pools, none of which needs a store."""
    patient = {
        name: {"timeouts": PATIENT, "balancing": {"policy": "round_robin"}} | pool for name, pool in pools.items()
    }
    return parse({"store": {"url": "unix:///nowhere/store.sock"}, "pools": patient, **sections}, {})


def api(*backends: str | Content, **pool: Any) -> Config:
    return config({"api": {"backends": list(backends), **pool}})


def a_runtime(before: Config) -> Runtime:
    board = board_for(before)
    return Runtime(before, board, board.claim(), "test", {})


def view_of(**backends: tuple[str, Health]) -> View:
    verdicts = {name: Verdict(id=name, url=url, state=state) for name, (url, state) in backends.items()}
    return View(epoch=5, token=1, store_id="store", backends=verdicts)


A, B, C = ({"url": f"http://127.0.0.1:{port}", "id": name} for port, name in enumerate("abc", 1))


async def test_a_pool_that_is_the_same_stays_the_same():
    runtime = a_runtime(config({"api": {"backends": [A]}, "web": {"backends": [B]}}, routes=[{"pool": "api"}]))
    api_before, web_before = runtime.pools["api"], runtime.pools["web"]
    runtime.apply(config({"api": {"backends": [A]}, "web": {"backends": [B, C]}}, routes=[{"pool": "web"}]))
    assert runtime.pools["api"] is api_before
    assert runtime.pools["web"] is not web_before
    assert runtime.router.only is not None
    assert runtime.router.only.pool == "web"


async def test_a_backend_that_is_the_same_keeps_its_row_its_counts_and_its_verdict():
    runtime = a_runtime(api(A, B))
    pool = runtime.pools["api"]
    pool.knowledge.offer(view_of(a=(A["url"], Health.UNHEALTHY), b=(B["url"], Health.HEALTHY)), 0.0, 0.0)
    row = pool.seats.rows["a"]
    pool.writer.begin(row)
    runtime.apply(api(A, C))
    after = runtime.pools["api"]
    assert after.seats.rows["a"] == row
    assert runtime.board.tally(row).inflight == 1
    assert after.knowledge is pool.knowledge is runtime.knowledge["api"]
    assert runtime.seats["api"] is after.seats


async def test_a_backend_that_moved_is_not_taken_for_its_namesake():
    runtime = a_runtime(api(A, B))
    knowledge, now = runtime.knowledge["api"], runtime.clock()
    healthy = view_of(a=(A["url"], Health.HEALTHY), b=(B["url"], Health.HEALTHY))
    knowledge.offer(healthy, now, 0.0)
    runtime.apply(api({**A, "url": C["url"]}, B))
    assert [each.backend.id for each in runtime.selection("api").candidates] == ["b"]
    knowledge.offer(View(epoch=6, token=1, store_id="store", backends={
        "a": Verdict(id="a", url=C["url"], state=Health.HEALTHY), "b": healthy.backends["b"],
    }), now, 0.0)  # fmt: skip
    runtime.pools["api"].reselect(now)
    assert [each.backend.url for each in runtime.selection("api").candidates] == [C["url"], B["url"]]


async def test_what_the_operator_wants_of_an_id_holds_for_whoever_has_it():
    runtime = a_runtime(api(A, B))
    drained = Verdict(id="a", url=A["url"], state=Health.HEALTHY, admin=Admin.DRAIN)
    runtime.knowledge["api"].offer(View(epoch=5, token=1, store_id="s", backends={"a": drained}), runtime.clock(), 0.0)
    runtime.apply(api({**A, "url": C["url"]}, B))
    assert [each.backend.id for each in runtime.selection("api").candidates] == ["b"]


async def test_what_cannot_be_made_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    runtime = a_runtime(config({"api": {"backends": [A]}, "web": {"backends": [B]}}, routes=[{"pool": "api"}]))
    before, pools = runtime.config, dict(runtime.pools)
    held = runtime.places.seats

    def refuses(name: str, pool: Any) -> Any:
        if name == "web":
            raise MemoryError
        return held(name, pool)

    monkeypatch.setattr(type(runtime.places), "seats", lambda _, name, pool: refuses(name, pool))
    with pytest.raises(MemoryError):
        runtime.apply(config({"api": {"backends": [B]}, "web": {"backends": [C]}}, routes=[{"pool": "web"}]))
    assert runtime.config is before
    assert runtime.pools == pools


async def publish(store: Store, keys: PoolKeys, view: View) -> None:
    beat = {"seq": 1, "epoch": view.epoch, "store_id": view.store_id, "redis_ms": view.epoch}
    await store.set(keys.view, encode_view(view))
    await store.hset(keys.beat, mapping=beat)
    await store.publish(keys.push, str(view.epoch))


async def test_a_pool_that_comes_is_followed_and_reported_and_one_that_goes_is_not(
    shared_redis: RedisServer, namespace: str
):
    def config_of(pool: str, member: Content) -> Config:
        store = {"url": shared_redis.url, "namespace": namespace, "host": "web-1"}
        return parse({"store": store, "pools": {pool: {"backends": [member]}}}, {})

    keys = {pool: PoolKeys(namespace, f"{pool}@web-1") for pool in ("api", "web")}
    runtime = a_runtime(config_of("api", A))
    async with asyncio.TaskGroup() as tasks, connect(shared_redis.url) as client:
        store: Store = client
        running = tasks.create_task(runtime.run())
        await eventually(lambda: exists(store, keys["api"].workers))
        runtime.apply(config_of("web", B))
        await eventually(lambda: exists(store, keys["web"].workers))
        await eventually(lambda: is_subscribed(store, keys["web"]))
        seconds, _ = await store.time()
        view = replace(view_of(b=(B["url"], Health.DEGRADED)), epoch=int(seconds) * 1000)
        await publish(store, keys["web"], view)
        await eventually(lambda: runtime.selection("web").tier is Tier.DEGRADED)
        [member] = await store.zrange(keys["api"].workers, 0, -1)
        await store.delete(keys["api"].worker(member))
        reports = await store.hget(keys["web"].worker(member), "heartbeat")
        await eventually(lambda: has_another(store, keys["web"].worker(member), reports))
        assert not await store.exists(keys["api"].worker(member))
        running.cancel()
    await runtime.aclose()


async def exists(store: Store, key: str) -> bool:
    return bool(await store.exists(key))


async def is_subscribed(store: Store, keys: PoolKeys) -> bool:
    ((_, subscribers),) = await store.pubsub_numsub(keys.push)
    return int(subscribers) > 0


async def has_another(store: Store, key: str, than: str | None) -> bool:
    return await store.hget(key, "heartbeat") not in (None, than)


async def test_fifty_changes_need_no_more_rows_descriptors_or_memory_than_one():
    def place(turn: int) -> Config:
        backends = [{"url": f"http://127.0.0.1:{turn + 1}", "id": "a"}, {**B, "max_inflight": turn + 1}]
        return config({"api": {"backends": backends}}, listen={"max_backends": 3})

    runtime = a_runtime(place(0))
    for turn in range(1, 5):
        runtime.apply(place(turn))
    gc.collect()
    descriptors, objects = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    for turn in range(5, 55):
        runtime.apply(place(turn))
        assert runtime.seats["api"].board is runtime.board, f"no row was left at change {turn}"
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert len(gc.get_objects()) < objects + 500
