"""What exchanges live in, in every composition: one clock, one ticker for all deadlines, and who is there."""

import asyncio
import logging
import time
from collections.abc import Iterable
from email.utils import formatdate

from sidecar.contract.config import Listen
from sidecar.contract.events import Event, line
from sidecar.contract.model import UnderWay
from worker.ending import under_way
from worker.failure import Failure
from worker.lane import Client, Observer, Ongoing
from worker.outbox import Outbox
from worker.upstream import CoarseClock

logger = logging.getLogger(__name__)

TICK_S = 0.1
"""How precisely deadlines of exchanges are kept: one timer for all of them."""
SLOW_TICKS = 10
"""Every so many ticks: idle clients, idle upstream connections, ageing knowledge, the Date field."""


class House:
    """The part of a ``lane.Home`` that is the same for a worker of ours and for the library in an app."""

    observer: Observer | None = None

    def __init__(self, listen: Listen, via: bytes) -> None:
        """Set up on the running loop; ``via`` is our pseudonym."""
        self.listen = listen
        self.via = via
        self.clock = time.monotonic  # uvloop's own has a resolution of a millisecond
        self.coarse = CoarseClock(time.monotonic())
        self.date = b""
        self.outbox = Outbox(asyncio.get_running_loop())
        self.draining = False
        self.active: set[Ongoing] = set()
        self.clients: set[Client] = set()
        self._stamp_date()

    def may_see(self, token: bytes) -> bool:  # noqa: ARG002
        """See ``lane.Service``; nobody may, where no config says whose tokens are good."""
        return False

    def refused(self, failure: Failure) -> None:
        """See ``lane.Service``; counted where there is somebody to tell."""

    @property
    def busy(self) -> int:
        """Exchanges under way, and answers that their clients have not taken yet."""
        return len(self.active) + sum(client.is_flushing for client in self.clients)

    @property
    def connections(self) -> int:
        """Of clients, whether they wait for anything or not."""
        return len(self.clients)

    @property
    def under_way(self) -> UnderWay:
        """What is to be seen to its end, by kind."""
        return under_way(self.active, self.clients)

    async def tick(self) -> None:
        """Keep deadlines, until cancelled."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            self.coarse.now = now = self.clock()
            self._check_all(self.active, now)
            ticks += 1
            if ticks % SLOW_TICKS == 0:
                self.tick_slowly(now)

    def tick_slowly(self, now: float) -> None:
        """What time does once a second."""
        self._stamp_date()
        self._check_all(self.clients, now)

    def end_clients(self) -> None:
        """The process stops now: write what is to be written, then clients see their connections end."""
        self.outbox.flush()
        for client in list(self.clients):
            client.end()

    def _check_all(self, those: Iterable[Client | Ongoing], now: float) -> None:
        """A function of its own: what the last one looked at would live on in a frame that never ends."""
        for one in list(those):
            self._check(one, now)

    def _check(self, one: Client | Ongoing, now: float) -> None:
        """Have one of them keep its deadline; what goes wrong with it must not end the worker and all the others."""
        try:
            one.check_deadline(now)
        except Exception:
            logger.exception(line(Event.DEADLINE_FAILED, of=type(one).__name__))
            self.active.discard(one)
            self.clients.discard(one)

    def _stamp_date(self) -> None:
        self.date = formatdate(usegmt=True).encode()
