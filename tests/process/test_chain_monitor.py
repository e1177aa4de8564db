"""Two monitors on one store: one of them leads, there is one set of verdicts, and the other takes over."""

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from backend import Backend
from chain import POOL, sidebeat, write_config
from processes import Program
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from waiting import eventually

KEYS = PoolKeys("default", POOL)
Verdicts = list[tuple[str, str, str]]


async def is_leader(store: Redis, *owners: str) -> str:
    """Which of them leads: a condition to wait for."""
    owner = await store.hget(KEYS.leader, "owner")
    assert owner in owners
    return str(owner)


async def is_told(store: Redis, **expected: Verdicts) -> bool:
    """Whether every verdict on these backends that was ever published is as expected: from, to, by whom."""
    entries: Any = await store.xrange(KEYS.events)
    found: dict[str, Verdicts] = {name: [] for name in expected}
    for _, event in entries:
        found[event["backend"]].append((event["from"], event["to"], event["by"]))
    assert found == expected
    return True


async def since(store: Redis) -> list[Any]:
    """When the two backends came to their states."""
    return [await store.hget(KEYS.backend(name), "since") for name in ("steady", "shaky")]


def by_owner(monitors: Iterable[Program]) -> dict[str, Program]:
    """The monitors by the names that they go by in the store, as soon as they have told them."""
    names = {monitor: monitor.said(r"started monitor=(\S+)") for monitor in monitors}
    assert all(names.values())
    return {met[1]: monitor for monitor, met in names.items() if met}


async def test_one_of_two_monitors_publishes_and_when_it_is_killed_the_other_goes_on(
    redis_server: RedisServer, tmp_path: Path
):
    async with Backend() as steady, Backend() as shaky, connect(redis_server.url) as store:
        config = write_config(tmp_path, {"steady": steady, "shaky": shaky}, store={"url": redis_server.url})
        command = ("monitor", "-c", config)
        with sidebeat(*command, cwd=tmp_path) as one, sidebeat(*command, cwd=tmp_path) as other:
            monitors = await eventually(lambda: by_owner([one, other]))
            first = await eventually(lambda: is_leader(store, *monitors))
            (heir,) = monitors.keys() - {first}
            up = ("unknown", "healthy", first)
            await eventually(lambda: is_told(store, steady=[up], shaky=[up]))

            shaky.refuse()
            down = ("healthy", "unhealthy", first)
            await eventually(lambda: is_told(store, steady=[up], shaky=[up, down]))
            assert await is_leader(store, first)
            stamps = await since(store)

            monitors[first].send(signal.SIGKILL)
            await eventually(lambda: is_leader(store, heir))
            await shaky.accept()
            up_again = ("unhealthy", "healthy", heir)
            await eventually(lambda: is_told(store, steady=[up], shaky=[up, down, up_again]))
            assert (await since(store))[0] == stamps[0]
            assert not monitors[heir].said("fenced")
