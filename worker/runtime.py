"""The composition root of one worker: config, board and slot in; everything that serves out."""

import asyncio
import hashlib
import logging
import os
import random
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import partial

from sidecar.contract.config import Config
from sidecar.contract.connect import store_url
from sidecar.contract.events import Event, line
from sidecar.contract.keys import PoolKeys
from worker.board import Board, Places
from worker.copy import Copies
from worker.follow import Follower
from worker.lane import Client, Ongoing
from worker.limits import Leaser, LimitedPool, has_limits
from worker.outbox import Outbox
from worker.pool import Pool
from worker.protocol import ClientConnection
from worker.report import Reporter, identity
from worker.route import Router
from worker.secret import with_secrets
from worker.upstream import CoarseClock
from worker.view import Knowledge, Selection

logger = logging.getLogger(__name__)

TICK_S = 0.1
"""How precisely deadlines of exchanges are kept: one timer for all of them."""
SLOW_TICKS = 10
"""Every so many ticks: idle clients, idle upstream connections, ageing knowledge, the Date field."""


class Runtime:
    """One worker at work: made inside its process, on its loop."""

    def __init__(
        self, config: Config, board: Board, slot: int | None, instance: str, environ: Mapping[str, str]
    ) -> None:
        """Set up; opens no connection yet.

        Args:
            config: as loaded by the master.
            board: made by the master before the fork.
            slot: this worker's place on it; None past the last.
            instance: names the master, in reports and in Via.
            environ: for the run directory.
        """
        self.config = config = with_secrets(config, environ)
        self.listen = config.listen
        self.board = board
        self._slot = slot
        self.places = Places(board, slot)
        self.writer = self.places.writer
        self.coarse = CoarseClock(time.monotonic())
        self.clock = time.monotonic  # uvloop's own has a resolution of a millisecond
        self.via = _pseudonym(config.store.host, instance)
        self.date = b""
        self.outbox = Outbox(asyncio.get_running_loop())
        self.draining = False
        self.active: set[Ongoing] = set()
        self.clients: set[Client] = set()
        self.router = Router(config.effective_routes)
        self.pools = self._make_pools()
        self.knowledge: dict[str, Knowledge] = {name: pool.knowledge for name, pool in self.pools.items()}
        self.seats = {name: pool.seats for name, pool in self.pools.items()}
        keys = {name: PoolKeys(config.store.namespace, config.key_name(name)) for name in config.pools}
        copies = Copies(
            keys,
            self.knowledge,
            namespace=config.store.namespace,
            environ=environ,
            is_scribe=self._is_scribe,
        )
        self.follower = Follower(keys, self.knowledge, self._changed, lambda: store_url(config, environ), copies=copies)
        self.reporter = Reporter(
            identity(config.store.host, instance, slot),
            keys,
            self.knowledge,
            lambda: store_url(config, environ),
            writer=self.writer,
            seats=self.seats,
        )
        self.leaser = self._make_leaser(keys, instance, environ)
        self._stamp_date()

    def _is_scribe(self) -> bool:
        """Whether it is for this worker to do what one of a master does for all."""
        return self._slot is not None and self._slot == self.board.scribe(self.clock())

    def _make_leaser(self, keys: Mapping[str, PoolKeys], instance: str, environ: Mapping[str, str]) -> Leaser | None:
        """Who leases what the backends with limits may be asked; None where there are none."""
        limited = {name: pool for name, pool in self.pools.items() if isinstance(pool, LimitedPool)}
        if not limited:
            return None
        member = f"{self.config.store.host}:{instance}"
        return Leaser(
            limited,
            keys,
            lambda: store_url(self.config, environ),
            member=member,
            alone=f"{member}:{os.getpid()}",
            is_scribe=self._is_scribe,
        )

    def _make_pools(self) -> dict[str, Pool]:
        loop = asyncio.get_running_loop()
        return {
            name: (LimitedPool if has_limits(pool) else Pool)(
                name,
                pool,
                seats=self.places.seats(name, pool),
                draw=_draw,
                loop=loop,
                coarse=self.coarse,
                suspect=partial(self._suspect, name),
                tell=partial(self._tell, name),
                salt=f"{self.config.store.namespace}:{self.config.key_name(name)}",
                trusted=self.listen.trusted_proxies,
                zone=self.config.store.zone,
            )
            for name, pool in self.config.pools.items()
        }

    def client_protocol(
        self, config: object, server_state: object, app_state: object, _loop: object = None  # noqa: ARG002
    ) -> ClientConnection:  # fmt: skip
        """A protocol for one client's connection; what uvicorn calls to make one."""
        return ClientConnection(self)

    @property
    def busy(self) -> int:
        """Exchanges under way, and answers that their clients have not taken yet."""
        return len(self.active) + sum(client.is_flushing for client in self.clients)

    def selection(self, pool: str) -> Selection:
        """Who is eligible in a pool just now."""
        self.pools[pool].refresh(self.clock())
        return self.pools[pool].selection

    def drain(self) -> None:
        """From now on the next response on each connection is its last."""
        self.draining = True

    async def run(self) -> None:
        """Follow the view, report, keep deadlines; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run(), name="follow")
            tasks.create_task(self.reporter.run(), name="report")
            if self.leaser is not None:
                tasks.create_task(self.leaser.run(), name="limits")
            tasks.create_task(self._tick(), name="tick")

    async def aclose(self) -> None:
        """End what is left: clients see their connections end, backends too."""
        self.outbox.flush()
        for client in list(self.clients):
            client.end()
        for pool in self.pools.values():
            pool.close()

    def _suspect(self, pool: str, backend: str) -> None:
        self.reporter.suspect(pool, backend)

    def _tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        self.reporter.tell(pool, backend, event, reason)

    def _changed(self, pool: str) -> None:
        self.pools[pool].reselect(self.clock())
        self.reporter.hurry()

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            self.coarse.now = now = self.clock()
            for exchange in list(self.active):
                self._check(exchange, now)
            ticks += 1
            if ticks % SLOW_TICKS == 0:
                self._tick_slowly(now)

    def _check(self, one: Client | Ongoing, now: float) -> None:
        """Have one of them keep its deadline; what goes wrong with it must not end the worker and all the others."""
        try:
            one.check_deadline(now)
        except Exception:
            logger.exception(line(Event.DEADLINE_FAILED, of=type(one).__name__))
            self.active.discard(one)
            self.clients.discard(one)

    def _tick_slowly(self, now: float) -> None:
        self._stamp_date()
        self.writer.beat(now)
        for client in list(self.clients):
            self._check(client, now)
        for pool in self.pools.values():
            pool.tick(now)

    def _stamp_date(self) -> None:
        self.date = formatdate(usegmt=True).encode()


def _pseudonym(host: str, instance: str) -> bytes:
    """Our name in Via: the same in all workers of a master, and never part of another one's."""
    return b"sidebeat-" + hashlib.sha256(f"{host} {instance}".encode()).hexdigest()[:8].encode()


def _draw(count: int) -> int:
    """A number below ``count``; ``random.randrange`` takes three times as long to be fair to the last bit."""
    return int(random.random() * count)  # noqa: S311 - spreads load, guards nothing
