"""The pools of one worker: those of the config in force, and those it replaced while anything is under way in them.

A pool whose terms are the same stays as it is. Of one that changes, the new one takes over what is known, and each
backend that is still the same backend keeps its row and its connections. What has begun in the old one ends there.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.keys import PoolKeys
from worker.affinity import Networks
from worker.board import Seats
from worker.pool import Pool
from worker.upstream import Upstream
from worker.view import Knowledge

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All that a pool is made of, but for its worker. ``trusted`` and ``zone`` are as ``Pool`` takes them."""

    config: PoolConfig
    keys: PoolKeys
    trusted: Networks
    zone: str | None


Make = Callable[[str, Terms, Pool | None], Pool]
"""A pool by its name and terms, and the one that it takes over from."""


class Pools:
    """All of them. The mappings have the pools in force by their names, and change in place."""

    def __init__(self, make: Make) -> None:
        """``make`` makes one."""
        self.in_force: dict[str, Pool] = {}
        self.keys: dict[str, PoolKeys] = {}
        self.knowledge: dict[str, Knowledge] = {}
        self.seats: dict[str, Seats] = {}
        self._make = make
        self._terms: dict[str, Terms] = {}
        self._leaving: list[Pool] = []

    @property
    def all(self) -> list[Pool]:
        """Those in force, and those that were."""
        return [*self.in_force.values(), *self._leaving]

    def use(self, terms: Mapping[str, Terms]) -> None:
        """Have these pools, and no others, take new requests; where one cannot be made, nothing changes."""
        made: dict[str, Pool] = {}
        try:
            for name, each in terms.items():
                if self._terms.get(name) != each:
                    made[name] = self._make(name, each, self._predecessor(name, each))
        except BaseException:
            for pool in made.values():
                pool.close(keep=self._upstreams())
            raise
        for name in self._terms.keys() - terms.keys():
            self._retire(name)
        for name, pool in made.items():
            self._retire(name)
            self.in_force[name], self.keys[name] = pool, terms[name].keys
            self.knowledge[name], self.seats[name] = pool.knowledge, pool.seats
        self._terms = dict(terms)

    def _predecessor(self, name: str, terms: Terms) -> Pool | None:
        """Whom a new pool takes over from: nobody where it has other keys, and so is followed elsewhere."""
        return self.in_force[name] if name in self._terms and self._terms[name].keys == terms.keys else None

    def _retire(self, name: str) -> None:
        if name in self.in_force:
            self._leaving.append(self.in_force.pop(name))
            del self.keys[name], self.knowledge[name], self.seats[name]

    def changed(self, name: str, now: float) -> None:
        """There is news of a pool: what is still under way in those before it may be tried again, too."""
        knowledge = self.knowledge[name]
        for pool in self.all:
            if pool.knowledge is knowledge:
                pool.reselect(now)

    def tick(self, now: float, in_use: Callable[[], Collection[Pool]]) -> None:
        """What time does, once a second; ``in_use`` says which pools anything is under way in."""
        for pool in self.all:
            pool.tick(now)
        if self._leaving:
            self.sweep(now, in_use())

    def sweep(self, now: float, in_use: Collection[Pool]) -> None:
        """Let go of the replaced ones in which nothing is under way, and of what rests in the others."""
        done = [pool for pool in self._leaving if pool not in in_use]
        self._leaving = [pool for pool in self._leaving if pool in in_use]
        kept = self._upstreams()
        for pool in done:
            pool.close(keep=kept)
        in_force = {id(upstream) for pool in self.in_force.values() for upstream in pool.upstreams.values()}
        for pool in self._leaving:
            for upstream in pool.upstreams.values():
                if id(upstream) not in in_force:
                    upstream.close_idle(now)

    def close(self) -> None:
        """Close all connections of all of them."""
        for pool in self.all:
            pool.close()

    def _upstreams(self) -> set[Upstream]:
        """Those of pools that live."""
        return {upstream for pool in self.all for upstream in pool.upstreams.values()}
