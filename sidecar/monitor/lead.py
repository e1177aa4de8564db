"""One pool's claim to its lease, and what a leader does with it: publish on change, beat each second.

Forever, whatever the store does. A standby only claims. What a leader could not write it writes when the store is
back; a new leader first adopts what the last one published.
"""

import asyncio
import logging
import time

from redis.exceptions import OutOfMemoryError, RedisError

from sidecar.collect import Collector, Rates
from sidecar.contract.events import Event, line
from sidecar.lease import RENEW_S, RETRY_S, Grant, Held, Lease
from sidecar.monitor.cancel import end_if_cancelled
from sidecar.monitor.clock import WireClock
from sidecar.monitor.contact import Contact
from sidecar.monitor.told import Told
from sidecar.monitor.watch import Watch, draw
from sidecar.publish import Edition, Outcome, Publisher

log = logging.getLogger(__name__)

COALESCE_S = 0.005
"""Verdicts that come together go out together."""
AGAIN_S = 0.02
"""After a refused write: soon, but not in a tight loop with whoever keeps deleting our keys."""
BACKOFF_S, BACKOFF_CAP_S = 0.1, 1.0
GOODBYE_S = 1.0
"""What a clean stop may spend on giving the lease back; else it expires."""


class Leader:
    """The publishing side of one pool."""

    def __init__(
        self, *, watch: Watch, told: Told, clock: WireClock, lease: Lease, publisher: Publisher, collector: Collector,
        contact: Contact,
    ) -> None:  # fmt: skip
        self._watch = watch
        self._told = told
        self._clock = clock
        self._lease = lease
        self._publisher = publisher
        self._collector = collector
        self._contact = contact
        self._rates = Rates()
        self._tokens: set[int] = set()
        self._grant: Grant | None = None
        self._claim_at = 0.0
        self._repaired: tuple[str, ...] = ()

    async def run(self) -> None:
        """Lead or stand by until cancelled, then give the lease back."""
        failures = 0
        try:
            while True:
                started = time.monotonic()
                try:
                    wait_s = await self._turn_with_room()
                except Exception as error:  # noqa: BLE001  # the root of this task: one pool's trouble is not all pools'
                    self._failed(error, is_first=failures == 0)
                    wait_s = _backoff_s(failures)
                    failures += 1
                else:
                    self._contact.worked(started)
                    failures = 0
                end_if_cancelled()
                await self._pause(wait_s, wakes=failures == 0)
        finally:
            await self._resign()

    def _failed(self, error: Exception, *, is_first: bool) -> None:
        """Nobody knows what was written: next time claim anew, and write everything."""
        self._told.doubt()
        self._claim_at = 0.0
        if isinstance(error, RedisError | OSError):
            self._contact.failed(error, time.monotonic())
        elif is_first:
            log.error(line(Event.RESTARTING, pool=self._watch.pool, part="publishing"), exc_info=error)

    async def _turn_with_room(self) -> float:
        """A turn; once more, with room made for it, if the store is out of memory."""
        try:
            return await self._turn()
        except OutOfMemoryError:
            await self._publisher.make_room(self._watch.members)
            self._told.doubt()
            return await self._turn()

    async def _turn(self) -> float:
        """Do what is due; returns how long until something will be."""
        if is_beat := time.monotonic() >= self._claim_at:
            await self._claim()
        grant = self._held()
        if grant is None:
            return self._claim_at - time.monotonic()
        if is_beat:
            self._told.traffic = self._rates.observe(await self._collector.collect(), time.monotonic())
        self._watch.news.clear()
        now = time.monotonic()
        edition = self._told.edition(token=grant.token, store_id=grant.store_id, now=now)
        if edition is None and is_beat:
            edition = self._told.heartbeat(now)
        if edition is not None and not await self._write(edition, grant):
            return AGAIN_S
        now = time.monotonic()
        ramp_s = self._told.ramp_s(now)
        return min(self._claim_at - now, self._claim_at - now if ramp_s is None else ramp_s)

    async def _claim(self) -> None:
        sent = time.monotonic()
        answer = await self._lease.claim()
        self._clock.learn(answer.redis_ms, sent=sent, received=time.monotonic())
        if isinstance(answer, Held):
            self._yield(answer)
            self._claim_at = sent + RETRY_S * (0.9 + 0.2 * draw())
            return
        if self._grant is None or answer.token != self._grant.token:
            await self._take_over(answer)
        self._grant = answer
        self._claim_at = sent + RENEW_S

    def _held(self) -> Grant | None:
        """Our lease while it holds by our own clock."""
        if self._grant is not None and self._lease.token is None:
            self._lost("not renewed in time")
        return self._grant

    async def _take_over(self, grant: Grant) -> None:
        """Begin to lead: adopt what was published, unless we did that ourselves and have probed on since."""
        last = await self._publisher.last()
        if last.garbage is not None:
            log.warning(line(Event.STORE_GARBAGE, pool=self._watch.pool, key="view", error=last.garbage))
        if last.view is not None and last.view.token not in self._tokens:
            self._told.adopt(last, grant.redis_ms, time.monotonic())
        self._told.doubt()
        await self._publisher.announce()
        self._tokens.add(grant.token)
        log.info(line(Event.LEASE_WON, pool=self._watch.pool, owner=self._lease.owner, token=grant.token))

    async def _write(self, edition: Edition, grant: Grant) -> bool:
        """Whether the store took it; what was wrong is noted, for the next turn to mend."""
        receipt = await self._publisher.write(edition, token=grant.token, store_id=grant.store_id)
        match receipt.outcome:
            case Outcome.DONE:
                self._told.accepted(edition)
                self._tell_repaired(receipt.repaired)
                return True
            case Outcome.LOST:
                self._tell_repaired(("view",))
                self._told.doubt()
            case Outcome.ABSENT:
                self._lease.lose()
                self._lost("gone from the store")
            case Outcome.FENCED:
                self._lease.lose()
                log.warning(line(Event.FENCED, pool=self._watch.pool, owner=self._lease.owner, token=grant.token))
                self._lost("another leads")
        return False

    def _yield(self, held: Held) -> None:
        """Another leads; say so where we thought that we did."""
        if held.fenced:
            token = self._grant.token if self._grant else None
            log.warning(line(Event.FENCED, pool=self._watch.pool, owner=self._lease.owner, token=token))
        if self._grant is not None:
            self._lost(f"{held.owner} leads")

    def _lost(self, reason: str) -> None:
        self._grant, self._claim_at = None, 0.0
        log.warning(line(Event.LEASE_LOST, pool=self._watch.pool, owner=self._lease.owner, reason=reason))

    def _tell_repaired(self, keys: tuple[str, ...]) -> None:
        if keys and keys != self._repaired:
            log.warning(line(Event.STORE_GARBAGE, pool=self._watch.pool, keys=",".join(keys), done="written over"))
        self._repaired = keys

    async def _pause(self, wait_s: float, *, wakes: bool) -> None:
        """Wait for what is due next, or as a leader whose words arrive for news."""
        if self._grant is None or not wakes:
            await asyncio.sleep(max(0.0, wait_s))
            return
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                await self._watch.news.wait()
        except TimeoutError:
            return
        await asyncio.sleep(COALESCE_S)

    async def _resign(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._lease.release()
        except (RedisError, OSError) as error:
            log.debug(line(Event.LEASE_LOST, pool=self._watch.pool, reason=f"not given back: {error}"))


def _backoff_s(failures: int) -> float:
    """From 0.1 s doubling to a second, half of it by chance."""
    return min(BACKOFF_S * 2.0 ** min(failures, 10), BACKOFF_CAP_S) * (0.5 + draw() / 2)
