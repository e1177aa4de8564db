"""The composition root of one worker: config, board and slot in; everything that serves out."""

import asyncio
import hashlib
import os
import random
from collections.abc import Mapping
from functools import partial

from typing_extensions import override

from sidecar.contract.config import Config
from sidecar.contract.events import Event
from sidecar.contract.keys import PoolKeys
from sidecar.contract.tracing import provider_for
from sidecar.contract.whereabouts import store_url
from worker.board import Board, Places
from worker.copy import Copies
from worker.ending import drain_streams
from worker.failure import Failure
from worker.follow import Follower
from worker.house import House
from worker.leaving import Leaving
from worker.limits import Leaser, LimitedPool, has_limits
from worker.observe import Observer
from worker.permits import Permits
from worker.pool import Pool
from worker.pools import Pools, Terms
from worker.protocol import ClientConnection
from worker.report import Reporter, identity
from worker.route import Router
from worker.secret import with_secrets
from worker.view import Selection

LEAVING = 0.8
"""The part of ``drain_timeout_s`` in which streams and tunnels leave a backend that is taken out; as with a worker."""


class Runtime(House):
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
        self._environ = environ
        self.config = config = with_secrets(config, environ)
        super().__init__(config.listen, _pseudonym(config.store.host, instance))
        self._permits = Permits(config, environ, self.clock)
        self.board = board
        self._slot = slot
        self.places = Places(board, slot)
        self.writer = self.places.writer
        self._observer = Observer(provider_for(config.tracing, environ))
        self._look_on(config)
        self.router = Router(config.effective_routes)
        self._pools = Pools(self._make_pool)
        self._pools.use(_terms(config))
        self.pools, self.knowledge, self.seats = self._pools.in_force, self._pools.knowledge, self._pools.seats
        keys = self._pools.keys
        copies = Copies(
            keys,
            self.knowledge,
            namespace=config.store.namespace,
            environ=environ,
            is_scribe=self._is_scribe,
        )
        self.follower = Follower(keys, self.knowledge, self._changed, lambda: store_url(config, environ), copies=copies)
        self.reporter = self._make_reporter(instance)
        self._leaving = Leaving()
        self._leaser = self._make_leaser(instance)
        self._is_leasing = False
        self._tasks: asyncio.TaskGroup | None = None

    def _look_on(self, config: Config) -> None:
        """Have requests written down as a config says."""
        self._observer.use(config.log, config.listen.trusted_proxies)
        self.observer = self._observer if self._observer.is_needed else None

    def _make_reporter(self, instance: str) -> Reporter:
        """Who tells the store of this worker."""
        return Reporter(
            identity(self.config.store.host, instance, self._slot),
            self._pools.keys,
            self.knowledge,
            lambda: store_url(self.config, self._environ),
            writer=self.writer,
            seats=self.seats,
            under_way=lambda: self.under_way,
        )

    def apply(self, config: Config) -> None:
        """Go on under another config; nothing is closed that anybody uses, and an error changes nothing.

        Of ``[store]`` and ``[listen]`` only that can be another which ``change.pinned`` of the contract lets pass.
        A connection keeps what it was told of ``trusted_proxies``.

        Raises:
            ConfigError: a secret is missing and cannot be kept, or a log file cannot be opened.
        """
        config = with_secrets(config, self._environ)
        router = Router(config.effective_routes)
        self._look_on(config)
        self.coarse.now = self.clock()  # or a new pool judges a view by a time before that came
        self._pools.use(_terms(config))
        self.config, self.listen, self.router = config, config.listen, router
        self._permits.use(config)
        self.follower.repoint()
        self._leaser.use(self._limited)
        self._lease()
        self._tell_views(self.clock())
        self.reporter.hurry()
        self._pools.sweep(self.clock(), self._in_use())

    def _is_scribe(self) -> bool:
        """Whether it is for this worker to do what one of a master does for all."""
        return self._slot is not None and self._slot == self.board.scribe(self.clock())

    @property
    def _limited(self) -> dict[str, LimitedPool]:
        return {name: pool for name, pool in self.pools.items() if isinstance(pool, LimitedPool)}

    def _make_leaser(self, instance: str) -> Leaser:
        """Who leases what the backends with limits may be asked."""
        member = f"{self.config.store.host}:{instance}"
        return Leaser(
            self._limited,
            self._pools.keys,
            lambda: store_url(self.config, self._environ),
            member=member,
            alone=f"{member}:{os.getpid()}",
            is_scribe=self._is_scribe,
            is_last=self._is_last,
        )

    def _is_last(self) -> bool:
        """Whether no other worker of this master serves any more; said once, by the last one to ask."""
        self.writer.mark(booted=False)
        return not any(state.booted for state in self.board.states())

    def _lease(self) -> None:
        """Have the leaser run from when there are limits for the first time."""
        if self._tasks is not None and self._limited and not self._is_leasing:
            self._is_leasing = True
            self._tasks.create_task(self._leaser.run(), name="limits")

    def _make_pool(self, name: str, terms: Terms, heir_to: Pool | None) -> Pool:
        return (LimitedPool if has_limits(terms.config) else Pool)(
            name,
            terms.config,
            seats=self.places.seats(name, terms.config),
            draw=_draw,
            loop=asyncio.get_running_loop(),
            coarse=self.coarse,
            suspect=partial(self._suspect, name),
            tell=partial(self._tell, name),
            salt=f"{terms.keys.namespace}:{terms.keys.pool}",
            trusted=terms.trusted,
            zone=terms.zone,
            heir_to=heir_to,
        )

    def _in_use(self) -> set[Pool]:
        return {one.pool for one in self.active}

    def client_protocol(
        self, config: object, server_state: object, app_state: object, _loop: object = None  # noqa: ARG002
    ) -> ClientConnection:  # fmt: skip
        """A protocol for one client's connection; what uvicorn calls to make one."""
        return ClientConnection(self)

    def selection(self, pool: str) -> Selection:
        """Who is eligible in a pool just now."""
        self.pools[pool].refresh(self.clock())
        return self.pools[pool].selection

    def drain(self) -> None:
        """From now on the next response on each connection is its last."""
        self.draining = True
        self.reporter.hurry()

    async def drain_streams(self, spread_s: float) -> None:
        """Ask streams and tunnels to end, one by one over so long; until cancelled."""
        await drain_streams(self.active, spread_s, self.clock)

    async def run(self) -> None:
        """Follow the view, report, keep deadlines; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run(), name="follow")
            tasks.create_task(self.reporter.run(), name="report")
            self._tasks = tasks
            self._lease()
            tasks.create_task(self.tick(), name="tick")

    async def aclose(self) -> None:
        """End what is left: clients see their connections end, backends too."""
        self.end_clients()
        self._pools.close()
        self.close_logs()

    def reopen_logs(self) -> None:
        """Their files were moved away: go on in new ones."""
        self._observer.reopen()

    def close_logs(self) -> None:
        """Write what is left of them; it may be said again."""
        self._observer.close()

    def _suspect(self, pool: str, backend: str) -> None:
        self.reporter.suspect(pool, backend)

    def _tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        self.reporter.tell(pool, backend, event, reason)

    def _changed(self, pool: str) -> None:
        self._pools.changed(pool, self.clock())
        self._tell_views(self.clock())
        self.reporter.hurry()

    def _tell_views(self, now: float) -> None:
        """Have the siblings know which views are followed here, so that any of them can say how old the oldest is."""
        for name, knowledge in self.knowledge.items():
            age_s = knowledge.age_s(now)
            at = 0.0 if age_s is None else now - age_s
            self.seats[name].routes_on(knowledge.view.epoch if knowledge.view else 0, at)

    @override
    def may_see(self, token: bytes) -> bool:
        """See ``lane.Service``."""
        return self._permits.allow(token)

    @override
    def refused(self, failure: Failure) -> None:
        """See ``lane.Service``."""
        self.writer.refuse(failure)

    @override
    def tick_slowly(self, now: float) -> None:
        """See ``House``."""
        super().tick_slowly(now)
        self.writer.beat(now)
        self.writer.hears(store_up=self.follower.store_up)
        self._tell_views(now)
        self._leaving.tick(self.active, now, LEAVING * self.listen.drain_timeout_s)
        self._pools.tick(now, self._in_use)


def _terms(config: Config) -> dict[str, Terms]:
    """What each pool of a config is made of."""
    return {
        name: Terms(
            config=pool,
            keys=PoolKeys(config.store.namespace, config.key_name(name)),
            trusted=config.listen.trusted_proxies,
            zone=config.store.zone,
        )
        for name, pool in config.pools.items()
    }


def _pseudonym(host: str, instance: str) -> bytes:
    """Our name in Via: the same in all workers of a master, and never part of another one's."""
    return b"sidebeat-" + hashlib.sha256(f"{host} {instance}".encode()).hexdigest()[:8].encode()


def _draw(count: int) -> int:
    """A number below ``count``; ``random.randrange`` takes three times as long to be fair to the last bit."""
    return int(random.random() * count)  # noqa: S311 - spreads load, guards nothing
