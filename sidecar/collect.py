"""What the workers saw: their reports, and the rates that follow from two of them.

Counters are absolute, so a lost report loses nothing; a rate is the difference of two reports of one worker by that
worker's own heartbeats, so hosts' clocks are never compared. Whoever has not reported for five seconds is gone.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sidecar.contract.codec import ContractError, report_from_hash
from sidecar.contract.connect import is_wrong_type
from sidecar.contract.events import Event, line
from sidecar.contract.keys import WORKER_MS, PoolKeys, worker_member
from sidecar.contract.model import Report, Tally
from sidecar.times import Times, growth

log = logging.getLogger(__name__)

MAX_WORKERS = 4_096
"""More members than this in ``workers`` are rubbish, or another way to deploy."""
AT_ONCE = 8
"""Reports that are decoded in one go: those of 64 workers with 200 backends would hold the loop, on which probes are
timed, for 0.1 s."""
BASELINE_S = 60.0
"""A worker that comes back within this time is counted on from where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One backend's traffic over all workers. ``error_ratio`` is None where there were no requests.

    ``p50_ms`` and ``p99_ms`` are of the times to headers of the last ten seconds; None: no response came in them.
    """

    inflight: int = 0
    rps: float = 0.0
    error_ratio: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class Collector:
    """Reads the reports of one pool. Of what it finds it only deletes an index that is none."""

    def __init__(self, redis: Redis, keys: PoolKeys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._unreadable: set[str] = set()

    async def collect(self) -> list[Report]:
        """The fresh reports; what cannot be read is skipped, and logged when it begins.

        Raises:
            RedisError, OSError: the store does not answer.
        """
        problems: dict[str, str] = {}
        members = await self._members(problems)
        reports: list[Report] = []
        hashes = list((await self._hashes(members, problems)).items())
        for start in range(0, len(hashes), AT_ONCE):
            reports += self._fresh(hashes[start : start + AT_ONCE], problems)
            await asyncio.sleep(0)
        self._seen = {member: self._seen[member] for member in members if member in self._seen}
        self._tell(problems)
        return reports

    async def _members(self, problems: dict[str, str]) -> list[str]:
        try:
            return cast("list[str]", await self._redis.zrevrange(self._keys.workers, 0, MAX_WORKERS - 1))
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            problems["workers"] = "not a sorted set, deleted"
            await self._redis.delete(self._keys.workers)  # the workers cannot write to it, and write it anew
            return []

    async def _hashes(self, members: Sequence[str], problems: dict[str, str]) -> dict[str, dict[str, str]]:
        """What stands under each worker's key; a key that has expired is left out."""
        pipeline = self._redis.pipeline(transaction=False)
        for member in members:
            _ = pipeline.hgetall(self._keys.worker(member))  # only queued here
        hashes = {}
        for member, reply in zip(members, await pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(reply, Exception):
                problems[member] = str(reply)
            elif reply:
                hashes[member] = reply
        return hashes

    def _fresh(self, hashes: Iterable[tuple[str, Mapping[str, str]]], problems: dict[str, str]) -> Iterator[Report]:
        """The reports of those who are still there."""
        for member, fields in hashes:
            try:
                report = report_from_hash(fields)
            except ContractError as error:
                problems[member] = str(error)
            else:
                if self._is_fresh(member, report):
                    yield report

    def _is_fresh(self, member: str, report: Report) -> bool:
        """Whether its heartbeat moved lately. Its key's expiry says so too, unless somebody took that away."""
        now = self._clock()
        heartbeat, since = self._seen.get(member, (None, now))
        if heartbeat != report.heartbeat_ms:
            since = now
        self._seen[member] = (report.heartbeat_ms, since)
        return now - since <= WORKER_MS / 1000

    def _tell(self, problems: Mapping[str, str]) -> None:
        for member in problems.keys() - self._unreadable:
            log.warning(line(Event.STORE_GARBAGE, pool=self._keys.pool, worker=member, error=problems[member]))
        self._unreadable = set(problems)


@dataclass(slots=True, kw_only=True)
class _Baseline:
    report: Report
    rates: Mapping[str, tuple[float, float]]
    seen: float


class Rates:
    """Requests and failures per second and how long they took, out of counters that only grow. Does no I/O."""

    def __init__(self) -> None:
        self._baselines: dict[str, _Baseline] = {}
        self._times: dict[str, Times] = {}

    def observe(self, reports: Sequence[Report], now: float) -> dict[str, Traffic]:
        """Each backend's traffic, summed over the workers that have just reported."""
        inflight: dict[str, int] = {}
        requests: dict[str, float] = {}
        failures: dict[str, float] = {}
        for times in self._times.values():
            times.tick(now)
        for report in reports:
            for name, tally in report.tallies.items():
                inflight[name] = inflight.get(name, 0) + tally.inflight
            for name, (asked, failed) in self._rates(report, now).items():
                requests[name] = requests.get(name, 0.0) + asked
                failures[name] = failures.get(name, 0.0) + failed
        self._baselines = {k: each for k, each in self._baselines.items() if now - each.seen <= BASELINE_S}
        self._times = {name: each for name, each in self._times.items() if name in inflight}
        return {
            name: Traffic(
                inflight=count,
                rps=(rps := requests.get(name, 0.0)),
                error_ratio=min(failures.get(name, 0.0) / rps, 1.0) if rps else None,
                p50_ms=self._quantile_ms(name, 0.5, now),
                p99_ms=self._quantile_ms(name, 0.99, now),
            )
            for name, count in inflight.items()
        }

    def _quantile_ms(self, name: str, share: float, now: float) -> float | None:
        times = self._times.get(name)
        return None if times is None else times.quantile_ms(share, now)

    def _rates(self, report: Report, now: float) -> Mapping[str, tuple[float, float]]:
        """This worker's requests and failures per second by backend; none after a first report."""
        member = worker_member(report.host, report.instance, report.slot)
        before = self._baselines.get(member)
        if before is not None and now - before.seen > BASELINE_S:
            before = None  # nobody was asked meanwhile: what has come is not of the last seconds
        rates: Mapping[str, tuple[float, float]] = {}
        if before is not None:
            elapsed_s = (report.heartbeat_ms - before.report.heartbeat_ms) / 1000
            rates = before.rates if elapsed_s <= 0 else _difference(before.report, report, elapsed_s)
            self._add_times(before.report, report, now)
        self._baselines[member] = _Baseline(report=report, rates=rates, seen=now)
        return rates

    def _add_times(self, before: Report, after: Report, now: float) -> None:
        is_same = before.incarnation == after.incarnation
        for name, tally in after.tallies.items():
            earlier = before.tallies.get(name) if is_same else None
            fresh = growth(tally.first_bytes, earlier.first_bytes if earlier else ())
            if any(fresh):
                self._times.setdefault(name, Times(now)).add(fresh)


def _difference(before: Report, after: Report, elapsed_s: float) -> dict[str, tuple[float, float]]:
    """What was added per second; a worker that was started anew began at zero."""
    is_same = before.incarnation == after.incarnation
    none = Tally()
    rates = {}
    for name, tally in after.tallies.items():
        earlier = before.tallies.get(name, none) if is_same else none
        rates[name] = (
            max(tally.requests - earlier.requests, 0) / elapsed_s,
            max(tally.failures - earlier.failures, 0) / elapsed_s,
        )
    return rates
