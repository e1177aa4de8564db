"""Workers that are none: their reports in the store, second by second, as real ones would write them."""

import asyncio
import random
import time
from collections.abc import Sequence

from redis.asyncio import Redis

from sidecar.contract.codec import report_hash
from sidecar.contract.keys import WORKER_MS, PoolKeys, worker_member
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Report, Tally, UnderWay

SLOTS = 8
"""Workers of one host."""
REQUESTS_A_TICK = 4
"""Of each worker to each backend: 64 workers and 200 backends make fifty thousand a second."""


class Crew:
    """So many workers, who send traffic to all of these backends; every thirteenth backend is ten times slower."""

    def __init__(self, store: Redis, keys: PoolKeys, workers: int, backends: Sequence[str]) -> None:
        self._store = store
        self._keys = keys
        self._workers = workers
        self._speeds = {name: 0.3 if number % 13 == 5 else 0.03 for number, name in enumerate(backends)}
        self._seen: dict[tuple[int, str], Tally] = {}
        self._dice = random.Random(1)  # noqa: S311  # figures for the eye

    async def run(self) -> None:
        """Report each second until cancelled."""
        while True:
            await self._report()
            await asyncio.sleep(1)

    async def _report(self) -> None:
        epoch = int(await self._store.hget(self._keys.beat, "epoch") or 0)
        pipeline = self._store.pipeline(transaction=False)
        now_ms = time.time_ns() // 1_000_000
        for number in range(self._workers):
            report = self._one(number, epoch, now_ms)
            member = worker_member(report.host, report.instance, report.slot)
            key = self._keys.worker(member)
            fields = [part for field in report_hash(report).items() for part in field]
            pipeline.execute_command("HSET", key, *fields)
            pipeline.execute_command("PEXPIRE", key, WORKER_MS)
            pipeline.execute_command("ZADD", self._keys.workers, now_ms, member)
        await pipeline.execute()

    def _one(self, number: int, epoch: int, now_ms: int) -> Report:
        return Report(
            host=f"web-{number // SLOTS + 1}",
            instance=f"{4_000 + number // SLOTS}-c0de",
            slot=number % SLOTS,
            pid=5_000 + number,
            incarnation=f"{number:032x}",
            heartbeat_ms=now_ms,
            applied_epoch=epoch,
            view_age_ms=self._dice.randrange(1_000),
            under_way=UnderWay(requests=self._dice.randrange(8), idle=self._dice.randrange(32)),
            tallies={name: self._tally(number, name, speed_s) for name, speed_s in self._speeds.items()},
        )

    def _tally(self, number: int, name: str, speed_s: float) -> Tally:
        """What it has seen so far and a second more."""
        before = self._seen.get((number, name), Tally(first_bytes=(0,) * (len(BUCKETS) + 1)))
        times_s = [self._dice.expovariate(1 / speed_s) for _ in range(self._dice.randrange(2 * REQUESTS_A_TICK))]
        counts = list(before.first_bytes)
        for time_s in times_s:
            counts[next((place for place, bound in enumerate(BUCKETS) if time_s <= bound), len(BUCKETS))] += 1
        self._seen[number, name] = tally = Tally(
            inflight=self._dice.randrange(3),
            requests=before.requests + len(times_s),
            responses=before.responses + len(times_s),
            failures=before.failures + (self._dice.random() < 0.01),
            latency_s=before.latency_s + sum(times_s),
            first_bytes=tuple(counts),
            ok_age_ms=self._dice.randrange(1_000),
        )
        return tally
