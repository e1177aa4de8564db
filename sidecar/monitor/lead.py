"""What one pool's leader does: follow the operator and the workers, publish on change, beat each second.

Forever, whatever the store does. A standby only claims, and follows the operator. What a leader could not write it
writes when the store is back; a new leader first adopts what the last one published.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from redis.exceptions import OutOfMemoryError, RedisError

from sidecar.collect import Collector, Rates
from sidecar.contract.events import Event, line
from sidecar.contract.model import Report
from sidecar.lease import Grant
from sidecar.monitor.cancel import end_if_cancelled
from sidecar.monitor.contact import Contact
from sidecar.monitor.counted import Account
from sidecar.monitor.orders import Orders
from sidecar.monitor.tenure import Role, Tenure
from sidecar.monitor.told import Told
from sidecar.monitor.watch import Watch, draw
from sidecar.publish import Change, Edition, Outcome, Publisher

log = logging.getLogger(__name__)

COALESCE_S = 0.005
"""Verdicts that come together go out together."""
AGAIN_S = 0.02
"""After a refused write: soon, but not in a tight loop with whoever keeps deleting our keys."""
BACKOFF_S, BACKOFF_CAP_S = 0.1, 1.0
FOLLOW_S = 1.0
"""How often the operator's wishes are read where no hint came."""


class Leader:
    """The publishing side of one pool. ``account`` says what came of it."""

    def __init__(
        self, *, watch: Watch, told: Told, tenure: Tenure, orders: Orders, publisher: Publisher, collector: Collector,
        contact: Contact,
    ) -> None:  # fmt: skip
        self._watch = watch
        self._told = told
        self._tenure = tenure
        self._orders = orders
        self._publisher = publisher
        self._collector = collector
        self._contact = contact
        self.account = Account()
        self._rates = Rates()
        self._follow_at = 0.0
        self._repaired: tuple[str, ...] = ()
        self._acts: deque[Callable[[], None]] = deque()

    @property
    def is_leading(self) -> bool:
        """Whether we lead, by our own clock; may be asked in another thread."""
        return self._tenure.is_ours

    @property
    def role(self) -> Role:
        """What we are to the pool."""
        return self._tenure.role

    def hint(self, _backend_id: str) -> None:
        """The operator has asked for something: look at once."""
        self._follow_at = 0.0
        self._watch.news.set()

    def between_turns(self, act: Callable[[], None]) -> None:
        """Do something to what this leader works with, when it is not at work: as soon as it can be."""
        self._acts.append(act)
        self._watch.news.set()

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
            await self._tenure.resign()

    def _failed(self, error: Exception, *, is_first: bool) -> None:
        """Nobody knows what was written: next time claim anew, and write everything."""
        self._told.doubt()
        self._tenure.due = self._follow_at = 0.0
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
        while self._acts:
            self._acts.popleft()()
        started = time.monotonic()
        if is_beat := started >= self._tenure.due:
            await self._claim()
        self._watch.news.clear()
        if started >= self._follow_at:
            self._follow_at = started + FOLLOW_S
            await self._orders.follow()
        grant = self._tenure.held()
        if grant is not None and is_beat:
            grant = await self._hear()
        if grant is None:
            return self._tenure.due - time.monotonic()
        edition = self._next_edition(grant, is_beat=is_beat)
        if edition is not None and not await self._write(edition, grant):
            return AGAIN_S
        now = time.monotonic()
        due_s = self._told.due_s(now)
        return min(self._tenure.due - now, self._tenure.due - now if due_s is None else due_s)

    async def _hear(self) -> Grant | None:
        """Take in what the workers say; the lease, or None if it was lost meanwhile."""
        reports, now = await self._collected(), time.monotonic()
        traffic = self._rates.observe(reports, now)
        self.account.hear(reports, traffic)
        self._told.hear(reports, traffic, now)
        return self._tenure.held()

    async def _collected(self) -> list[Report]:
        """The reports. The lease is renewed meanwhile: on a busy machine those of 64 workers outlasted it (2026-11)."""
        try:
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(self._keep())
                reports = await self._collector.collect()
                renewing.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # the second is of the same store
        return reports

    async def _keep(self) -> None:
        """Renew the lease whenever that is due, until cancelled."""
        while True:
            await asyncio.sleep(max(0.0, self._tenure.due - time.monotonic()))
            await self._claim()
            end_if_cancelled()

    def _next_edition(self, grant: Grant, *, is_beat: bool) -> Edition | None:
        now = time.monotonic()
        self._told.heed(self._orders.intents)
        edition = self._told.edition(token=grant.token, store_id=grant.store_id, now=now)
        return self._told.heartbeat(now) if edition is None and is_beat else edition

    async def _claim(self) -> None:
        """Claim or renew the lease; a new leader adopts what was published, unless that was its own doing."""
        grant = await self._tenure.claim()
        if grant is None:
            return
        last = await self._publisher.last()
        if last.garbage is not None:
            log.warning(line(Event.STORE_GARBAGE, pool=self._watch.pool, key="view", error=last.garbage))
        if last.view is not None and not self._tenure.is_own(last.view.token):
            self._told.adopt(last, grant.redis_ms, time.monotonic())
        self._told.doubt()
        await self._publisher.announce()
        self._tenure.begin(grant)
        self._follow_at = 0.0

    async def _write(self, edition: Edition, grant: Grant) -> bool:
        """Whether the store took it; what was wrong is noted, for the next turn to mend."""
        receipt = await self._publisher.write(edition, token=grant.token, store_id=grant.store_id)
        self.account.wrote(receipt.outcome, edition.changes)
        match receipt.outcome:
            case Outcome.DONE:
                self._told.accepted(edition)
                self._tell_repaired(receipt.repaired)
                self._tell(edition.changes)
                return True
            case Outcome.LOST:
                self._tell_repaired(("view",))
                self._told.doubt()
            case Outcome.ABSENT:
                self._tenure.gone()
            case Outcome.FENCED:
                self._tenure.fenced()
        return False

    def _tell(self, changes: Sequence[Change]) -> None:
        """Log what no probe and no operator has brought about: they log for themselves."""
        for change in changes:
            if Event.MONITOR_SUSPECT in (change.before, change.after):
                over = change.before == Event.MONITOR_SUSPECT
                log.warning(line(Event.MONITOR_SUSPECT, pool=self._watch.pool, over=over or None, reason=change.reason))
            elif change.after in (Event.EJECTED, Event.READMITTED):
                event, fields = Event(change.after), {"backend": change.backend, "reason": change.reason}
                log.info(line(event, pool=self._watch.pool, **fields))

    def _tell_repaired(self, keys: tuple[str, ...]) -> None:
        if keys and keys != self._repaired:
            log.warning(line(Event.STORE_GARBAGE, pool=self._watch.pool, keys=",".join(keys), done="written over"))
        self._repaired = keys

    async def _pause(self, wait_s: float, *, wakes: bool) -> None:
        """Wait for what is due next, or as one whose words arrive for news."""
        if not wakes or not self._tenure.is_ours:
            await asyncio.sleep(max(0.0, wait_s))
            return
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                await self._watch.news.wait()
        except TimeoutError:
            return
        await asyncio.sleep(COALESCE_S)


def _backoff_s(failures: int) -> float:
    """From 0.1 s doubling to a second, half of it by chance."""
    return min(BACKOFF_S * 2.0 ** min(failures, 10), BACKOFF_CAP_S) * (0.5 + draw() / 2)
