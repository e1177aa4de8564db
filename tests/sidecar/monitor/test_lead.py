"""One pool's leader, in the midst of a turn."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from typing_extensions import override

from sidecar.collect import Collector
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Report
from sidecar.lease import Grant, Lease
from sidecar.monitor.clock import WireClock
from sidecar.monitor.contact import Contact
from sidecar.monitor.lead import Leader
from sidecar.monitor.orders import Orders
from sidecar.monitor.saved import SavedIntents
from sidecar.monitor.tenure import Tenure
from sidecar.monitor.told import Told
from sidecar.publish import Edition, Publisher, Receipt
from waiting import eventually
from watched import Watched

Store = Any
KEYS = PoolKeys("default", "api")


@pytest.fixture
async def redis() -> AsyncIterator[Store]:
    async with FakeAsyncRedis(decode_responses=True) as client:
        yield client


async def test_a_lease_is_renewed_while_collecting_lasts(redis: Store, tmp_path: Path):
    done: list[str] = []

    class Noted(Tenure):
        @override
        async def claim(self) -> Grant | None:
            done.append("claim")
            return await super().claim()

    class Long(Collector):
        @override
        async def collect(self) -> list[Report]:
            done.append("collect")
            await eventually(lambda: done.count("claim") == 2)
            return await super().collect()

    class Open(Publisher):
        @override
        async def write(self, edition: Edition, *, token: int, store_id: str) -> Receipt:
            done.append("write")
            return await super().write(edition, token=token, store_id=store_id)

    pool, clock = Watched("a"), WireClock()
    pool.probed("a")
    tenure = Noted(Lease(redis, KEYS, "m1"), clock, "api")
    leader = Leader(
        watch=pool.watch, told=Told(pool.watch, clock, "c0ffee"), tenure=tenure,
        orders=Orders(redis, KEYS, watch=pool.watch, copy=SavedIntents(tmp_path, "api", "redis://h"), owner="m1"),
        publisher=Open(redis, KEYS, "m1"), collector=Long(redis, KEYS), contact=Contact("redis://h"),
    )  # fmt: skip
    async with asyncio.TaskGroup() as tasks:
        leading = tasks.create_task(leader.run())
        await eventually(lambda: "write" in done)
        leading.cancel()
    assert done[: done.index("write")] == ["claim", "collect", "claim"]
