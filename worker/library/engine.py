"""What forwards for an app in its own process, without a master of ours: the same exchange on the same board.

An engine belongs to one running loop. ``Proxy`` makes one for an app; without it the first request on a loop does, and
it ends with that loop. Backends are named by whoever calls, so pools come as they are asked for: one per origin, the
least recently used given up.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from threading import get_ident
from typing import Protocol

from typing_extensions import override

from sidecar.contract.config import Listen, UpstreamTLS
from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.events import Event, line
from worker.attempts import Attempts
from worker.board import Board
from worker.failure import Failure
from worker.gateway.peers import Peers
from worker.gateway.watch import Watch
from worker.house import House
from worker.library.shared import shared_places
from worker.library.target import Target
from worker.limits import LimitedPool, has_limits
from worker.pool import Pool
from worker.route import Router
from worker.view import Knowledge

logger = logging.getLogger(__name__)

MAX_ORIGINS = 512
"""How many backends that were named in calls are kept at a time, with their connections."""
SWEPT_TOGETHER = 64
"""So many of those that were given up wait for the next second at most: each has a row of the board, and sockets."""
UNBOUNDED_S = 3_600.0
"""What a pool's own deadlines are here: those of each call come first."""

_of_loops: dict[asyncio.AbstractEventLoop, "Engine"] = {}


class Authority(Protocol):
    """Whose verdicts a pool goes by, and who hears what its traffic says of them."""

    @property
    def knowledge(self) -> Knowledge:
        """The verdicts."""

    def suspect(self, pool: str, backend: str) -> None:
        """Nobody was met at a backend."""

    def tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        """This host EJECTED or READMITTED a backend."""


class Engine(House):
    """One process's forwarding.

    Args:
        trusted_proxies: networks whose ``X-Forwarded-*`` and ``Forwarded`` are believed; None: everybody's, as in
            fastapi-reverse-proxy, where a server in front is taken for granted.
        tls: how https backends are trusted.
    """

    router: Router  # of a lane's service; calls name their backends, so that there are no routes

    def __init__(self, *, trusted_proxies: tuple[str, ...] | None = None, tls: UpstreamTLS | None = None) -> None:
        super().__init__(_listen(trusted_proxies), b"sidebeat-" + secrets.token_hex(4).encode())
        self.loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self.peers = Peers(self, trusts_all=trusted_proxies is None, real_ip=True)
        self.watch = Watch()
        self.pools: dict[str, Pool] = {}
        self.tls = tls or UpstreamTLS()
        self._origins: dict[str, Pool] = {}
        self._leaving: list[Pool] = []
        self._sweep_at = SWEPT_TOGETHER
        self._places = shared_places()
        self.board: Board = self._places.board
        self.writer = self._places.writer
        # In no request's context: the first one's would live for as long as we do.
        self._ticker = self.loop.create_task(self._run(), name="sidebeat", context=Context())

    def origin(self, target: Target) -> Pool:
        """The pool that has this one backend."""
        pool = self._origins.pop(target.url, None)
        if pool is None:
            if len(self._origins) >= MAX_ORIGINS:
                self._leaving.append(self._origins.pop(next(iter(self._origins))))
                if len(self._leaving) >= self._sweep_at:
                    self._sweep()
            pool = self._make(f"={target.address.name}", _alone(target.url, self.tls))
        self._origins[target.url] = pool  # the last one used stands last
        return pool

    def use(self, name: str, config: PoolConfig, authority: Authority | None = None) -> Pool:
        """The pool of this name, made if there is none; another config needs another name."""
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = self._make(name, config, authority)
        return pool

    def drop(self, name: str) -> None:
        """Let go of a pool; what is under way in it ends as it would have."""
        pool = self.pools.pop(name, None)
        if pool is not None:
            self._leaving.append(pool)

    def _make(self, name: str, config: PoolConfig, authority: Authority | None = None) -> Pool:
        return (LimitedPool if has_limits(config) else Pool)(
            name,
            config,
            seats=self._places.seats(name, config),
            draw=_draw,
            loop=self.loop,
            coarse=self.coarse,
            suspect=_ignore if authority is None else partial(authority.suspect, name),
            tell=partial(_log, name) if authority is None else partial(authority.tell, name),
            knowledge=None if authority is None else authority.knowledge,
        )

    @property
    def is_here(self) -> bool:
        """Whether it works, on the running loop."""
        return not self._ticker.done() and self.is_at_home

    @property
    def is_at_home(self) -> bool:
        """Whether it is the engine's loop that runs here."""
        # Without asking for the running one: in Python 3.11 that is a system call each time.
        return self._thread == get_ident() and self.loop.is_running()

    async def aclose(self) -> None:
        """End what is under way and close all connections; the engine is of no use afterwards.

        Called on another loop than its own, it does not wait for that.
        """
        if self.loop is asyncio.get_running_loop():
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
        else:
            self.soon(self._ticker.cancel)

    def soon(self, call: Callable[[], object]) -> None:
        """Have something done on the engine's own loop, from any thread, unless that is closed."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(call)

    async def _run(self) -> None:
        """Keep deadlines; at the end of the loop as by ``aclose``, leave nothing open."""
        try:
            await self.tick()
        finally:
            self.draining = True
            self.end_clients()
            for one in list(self.active):
                one.pool.close()
                if isinstance(one, Attempts):
                    one.failed(Failure.SHUTTING_DOWN)  # whoever waits for it would wait for ever
            for pool in [*self._origins.values(), *self.pools.values(), *self._leaving]:
                pool.close()
            if _of_loops.get(self.loop) is self:
                del _of_loops[self.loop]

    @override
    def tick_slowly(self, now: float) -> None:
        """See ``House``."""
        super().tick_slowly(now)
        self.writer.beat(now)
        for pool in [*self._origins.values(), *self.pools.values()]:
            pool.tick(now)
        if self._leaving:
            self._sweep()

    def _sweep(self) -> None:
        """Close the pools that nobody asks for any more, and nothing is under way in."""
        in_use = {one.pool for one in self.active}
        for pool in self._leaving:
            if pool not in in_use:
                pool.close()
        self._leaving = [pool for pool in self._leaving if pool in in_use]
        self._sweep_at = 2 * len(self._leaving) + SWEPT_TOGETHER


def _listen(trusted_proxies: tuple[str, ...] | None) -> Listen:
    """What the server in front has let pass is for it to limit."""
    return Listen.model_validate(
        {"trusted_proxies": trusted_proxies or (), "max_headers": 10_000, "max_header_bytes": 1 << 20}
    )


def _alone(url: str, tls: UpstreamTLS) -> PoolConfig:
    """A pool of one backend, which nobody but its callers judges."""
    unbounded = {"connect_s": UNBOUNDED_S, "response_headers_s": UNBOUNDED_S}
    return PoolConfig.model_validate({"backends": [url], "timeouts": unbounded, "tls": tls})


def _draw(count: int) -> int:
    """A number below ``count``."""
    return int(random.random() * count)  # noqa: S311 - spreads load, guards nothing


def _ignore(backend: str) -> None:
    """There is no monitor to have a look at a suspect."""


def _log(pool: str, backend: str, event: Event, reason: str) -> None:
    logger.warning(line(event, pool=pool, backend=backend, reason=reason))


def engine_here() -> Engine:
    """The engine of the running loop that belongs to no app, made if there is none."""
    loop = asyncio.get_running_loop()
    engine = _of_loops.get(loop)
    if engine is None:
        for each in [each for each in _of_loops if each.is_closed()]:  # closed under a task of ours
            del _of_loops[each]
        engine = _of_loops[loop] = Engine()
    return engine
