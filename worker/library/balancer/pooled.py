"""A balancer's backends as a pool of the engine's: picked, counted, ejected and limited as in a worker of ours."""

import hashlib
import time
from collections.abc import Mapping

from sidecar.contract.config import Pool as PoolConfig
from worker.library.checker.sight import Sight
from worker.library.engine import Engine, engine_here
from worker.library.target import target_of
from worker.limits import LimitedPool
from worker.pool import Pool


class Pooled:
    """One config of it, on each engine that requests come to.

    Args:
        config: of the pool; its name is made of it, so that siblings with the same backends share their rows.
        hosts: what users call the backends, by id.
        sight: whose verdicts count, and who keeps the limits of a fleet; None: nobody.
    """

    def __init__(self, config: PoolConfig, hosts: Mapping[str, str], sight: Sight | None) -> None:
        self.hosts = hosts
        self.target = target_of(config.backends[0].url)  # what hooks are told before anybody is picked
        digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:8]
        self._name = f"balancer-{digest}"
        self._config = config
        self._sight = sight
        self._pools: dict[Engine, Pool] = {}

    def on(self, engine: Engine) -> Pool:
        """The pool on this engine, made where there is none."""
        pool = self._pools.get(engine)
        if pool is None or engine.pools.get(self._name) is not pool:
            self._pools = {each: kept for each, kept in self._pools.items() if not each.loop.is_closed()}
            pool = self._pools[engine] = self._made_on(engine)
        return pool

    def _made_on(self, engine: Engine) -> Pool:
        pool = engine.use(self._name, self._config.model_copy(update={"tls": engine.tls}), self._sight)
        if (self._sight is None or not self._sight.serve(pool, engine)) and isinstance(pool, LimitedPool):
            for row in pool.limits:
                pool.area.lose_store(row)  # there is none to lease from: the limits are those of this board
        return pool

    def _here(self) -> Pool:
        """That of whichever engine of this loop has one; where none has, that of the loop's own."""
        return self.on(next((engine for engine in self._pools if engine.is_here), None) or engine_here())

    def heard(self) -> None:
        """There is news of the backends."""
        for engine, pool in list(self._pools.items()):
            if engine.is_here:
                if self._sight is not None:
                    self._sight.serve(pool, engine)
                pool.reselect(time.monotonic())

    def take(self) -> str | None:
        """Whom to send one request; it counts against the backend's limit, and not as under way."""
        pool = self._here()
        candidate = pool.take((), time.monotonic(), safe=False)
        if candidate is None:
            return None
        pool.leave(candidate.row)
        return self.hosts[candidate.backend.id]

    def first(self) -> str | None:
        """One that may be next; by ``fastest`` the one that is."""
        pool = self._here()
        now = time.monotonic()
        pool.refresh(now)
        free = [each for each in pool.selection.candidates if _has_requests_left(pool, each.row, now)]
        if self._config.balancing.policy == "fastest":
            free.sort(key=lambda each: pool.knowledge.probe_s(each.backend.id) or 0.0)
        return self.hosts[free[0].backend.id] if free else None

    def drop(self) -> None:
        """Another one takes its place; what is under way here ends here."""
        for engine, pool in self._pools.items():
            engine.drop(self._name)
            if self._sight is not None:
                self._sight.release(pool)
        self._pools.clear()


def _has_requests_left(pool: Pool, row: int, now: float) -> bool:
    if not isinstance(pool, LimitedPool) or row not in pool.limits:
        return True
    return pool.area.requests_left(pool.limits[row], now) > 0
