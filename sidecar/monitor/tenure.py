"""One monitor's hold on one pool's lease: claimed, renewed, lost and given back, with a line in the log for each.

Every answer of the store brings its time, which is where the pool's clock is set.
"""

import asyncio
import logging
import time
from enum import Enum

from redis.exceptions import RedisError

from sidecar.contract.events import Event, line
from sidecar.lease import RENEW_S, RETRY_S, Grant, Held, Lease
from sidecar.monitor.clock import WireClock
from sidecar.monitor.watch import draw

log = logging.getLogger(__name__)

GOODBYE_S = 1.0
"""What a clean stop may spend on giving the lease back; else it expires."""


class Role(Enum):
    """What a monitor is to a pool; UNKNOWN as long as the store does not tell."""

    LEADS = "leads"
    STANDS_BY = "stands by"
    UNKNOWN = "unknown"


class Tenure:
    """The lease as this monitor holds it, or tries to. ``due`` is when to claim or renew it next (monotonic)."""

    def __init__(self, lease: Lease, clock: WireClock, pool: str) -> None:
        self.due = 0.0
        self._lease = lease
        self._clock = clock
        self._pool = pool
        self._grant: Grant | None = None
        self._tokens: set[int] = set()
        self._is_anothers = False

    @property
    def is_ours(self) -> bool:
        """Whether we lead, by our own clock."""
        return self._grant is not None and self._lease.token is not None

    @property
    def role(self) -> Role:
        """By the store's latest answer."""
        if self._grant is not None:
            return Role.LEADS
        return Role.STANDS_BY if self._is_anothers else Role.UNKNOWN

    def is_own(self, token: int) -> bool:
        """Whether we have led under this token."""
        return token in self._tokens

    async def claim(self) -> Grant | None:
        """Claim or renew; the grant if it is another than the one we had.

        Raises:
            RedisError, OSError: the store does not answer.
        """
        sent = time.monotonic()
        answer = await self._lease.claim()
        self._clock.learn(answer.redis_ms, sent=sent, received=time.monotonic())
        self._is_anothers = isinstance(answer, Held)
        if isinstance(answer, Held):
            self._yield(answer)
            self.due = sent + RETRY_S * (0.9 + 0.2 * draw())
            return None
        self.due = sent + RENEW_S
        if self._grant is None or answer.token != self._grant.token:
            return answer
        self._grant = answer
        return None

    def begin(self, grant: Grant) -> None:
        """We lead, and have adopted what was published before."""
        self._grant = grant
        self._tokens.add(grant.token)
        log.info(line(Event.LEASE_WON, pool=self._pool, owner=self._lease.owner, token=grant.token))

    def held(self) -> Grant | None:
        """Our lease while it holds by our own clock."""
        if self._grant is not None and self._lease.token is None:
            self._lost("not renewed in time")
        return self._grant

    def gone(self) -> None:
        """A script found no lease at all."""
        self._lease.lose()
        self._lost("gone from the store")

    def fenced(self) -> None:
        """A script refused us."""
        self._lease.lose()
        self._tell_fenced()
        self._lost("another leads")

    async def resign(self) -> None:
        """Give the lease back, within a second."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._lease.release()
        except (RedisError, OSError) as error:
            log.debug(line(Event.LEASE_LOST, pool=self._pool, reason=f"not given back: {error}"))

    def _yield(self, held: Held) -> None:
        """Another leads; say so where we thought that we did."""
        if held.fenced:
            self._tell_fenced()
        if self._grant is not None:
            self._lost(f"{held.owner} leads")

    def _tell_fenced(self) -> None:
        token = self._grant.token if self._grant else None
        log.warning(line(Event.FENCED, pool=self._pool, owner=self._lease.owner, token=token))

    def _lost(self, reason: str) -> None:
        self._grant, self.due = None, 0.0
        log.warning(line(Event.LEASE_LOST, pool=self._pool, owner=self._lease.owner, reason=reason))
