"""What `status` says of backends that have limits."""

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_server import RedisServer
from sidecar.contract.codec import encode_view
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Verdict, View
from sidecar.status import LimitStatus, read_keys, read_status, show_keys
from sidecar.status.table import show_status

NEVER_MS = 10**14


@pytest.fixture
async def store(shared_redis: RedisServer):
    async with connect(shared_redis.url) as client:
        yield client


@pytest.fixture
async def keys(store: Redis, namespace: str) -> PoolKeys:
    """Of a pool that is published with one backend, ``b``."""
    keys = PoolKeys(namespace, "api")
    await store.set(keys.view, encode_view(View(epoch=7, backends={"b": Verdict(id="b", url="http://10.0.0.1:80")})))
    return keys


def share(granted: int, *, until_ms: int = NEVER_MS) -> str:
    return json.dumps({"granted": granted, "wanted": 9, "until_ms": until_ms}, separators=(",", ":"))


async def limits_of(server: RedisServer, keys: PoolKeys) -> LimitStatus | None:
    status = await read_status(server.url, keys.namespace, ["api"])
    return status.pools["api"].backends["b"].limits


async def test_places_are_shown_by_instance_and_requests_of_this_window(
    shared_redis: RedisServer, store: Redis, keys: PoolKeys, capsys: pytest.CaptureFixture[str]
):
    fields: dict[Any, Any] = {"max_inflight": 5, "max_requests": 1000, "window_ms": 10**9, "born": 1}
    await store.hset(keys.share("b"), mapping=fields | {"web-2:x": share(2), "web-1:y": share(3)})
    window = (await store.time())[0] * 1000 // 10**9
    await store.set(keys.quota("b", window), 120)
    await store.set(keys.quota("b", window - 1), 999)
    assert await limits_of(shared_redis, keys) == LimitStatus(
        max_inflight=5, places={"web-1:y": 3, "web-2:x": 2}, max_requests=1000, requests=120, window_ms=10**9
    )
    show_status(await read_status(shared_redis.url, keys.namespace, ["api"]))
    shown = " ".join(capsys.readouterr().out.split())
    assert "b 0 of 5 web-1:y 3, web-2:x 2 120 of 1000 leased in this window of 12 days" in shown


async def test_a_backend_without_limits_has_none(shared_redis: RedisServer, keys: PoolKeys):
    assert await limits_of(shared_redis, keys) is None


async def test_one_limit_says_nothing_of_the_other(shared_redis: RedisServer, store: Redis, keys: PoolKeys):
    await store.hset(
        keys.share("b"), mapping={"max_inflight": 0, "max_requests": 9, "window_ms": 10**9, "h:i": share(0)}
    )
    assert await limits_of(shared_redis, keys) == LimitStatus(
        max_inflight=None, places={}, max_requests=9, requests=0, window_ms=10**9
    )


@pytest.mark.parametrize("value", ["", "{}", "[1]", share(3, until_ms=5), '{"granted":-1}'])
async def test_a_share_that_is_over_or_cannot_be_read_is_not_shown(
    shared_redis: RedisServer, store: Redis, keys: PoolKeys, value: str
):
    await store.hset(keys.share("b"), mapping={"max_inflight": 5, "h:i": value, "window_ms": "x", "max_requests": "y"})
    limits = await limits_of(shared_redis, keys)
    assert limits is not None
    assert (limits.places, limits.max_requests) == ({}, None)


async def test_a_key_of_another_type_is_no_limit(shared_redis: RedisServer, store: Redis, keys: PoolKeys):
    await store.set(keys.share("b"), "mine")
    assert await limits_of(shared_redis, keys) is None


async def test_the_keys_of_limits_say_what_they_are(shared_redis: RedisServer, store: Redis, keys: PoolKeys):
    await store.hset(keys.share("b"), "max_inflight", "5")
    await store.set(keys.quota("b", 3), 7)
    shown = show_keys(await read_keys(shared_redis.url, keys.namespace))
    assert "how many requests each instance may have under way" in shown
    assert "how many requests to a backend are leased of a window" in shown
