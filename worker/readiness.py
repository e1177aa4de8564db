"""Whether traffic may come: computed from the board and from memory, whichever worker is asked. Asks no store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sidecar.contract.config import Config
from worker.board import Board
from worker.view import Selection


class Served(Protocol):
    """What readiness follows from; ``worker.runtime`` has the real one."""

    config: Config
    board: Board

    def selection(self, pool: str) -> Selection:
        """The backends of a pool that would be picked from now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The live workers of a master, by how far they are."""

    serving: int
    starting: int
    draining: int


def crew(board: Board) -> Crew:
    """Those that have a slot on the board. Of a master that stops, all drain."""
    states = board.states()
    draining = sum(state.draining for state in states)
    serving = sum(state.booted and not state.draining for state in states)
    return Crew(serving=serving, starting=len(states) - serving - draining, draining=draining)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReadiness:
    """Whether a pool could take a request: how many candidates, and from which tier they come."""

    candidates: int
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness(Crew):
    """Whether traffic may come. ``failing`` says why not, in words; empty means ready."""

    failing: tuple[str, ...]
    pools: Mapping[str, PoolReadiness]


def readiness(runtime: Served) -> Readiness:
    """Ready: a worker of this master serves and does not drain, and every routed pool has a candidate."""
    workers = crew(runtime.board)
    pools = {}
    for pool in dict.fromkeys(route.pool for route in runtime.config.effective_routes):
        selection = runtime.selection(pool)
        pools[pool] = PoolReadiness(candidates=len(selection.candidates), tier=selection.tier)
    failing = [f"pool {name} has no backend that may be used" for name, pool in pools.items() if not pool.candidates]
    if not workers.serving:
        failing.insert(0, "all workers are draining" if workers.draining else "no worker has started")
    return Readiness(
        serving=workers.serving,
        starting=workers.starting,
        draining=workers.draining,
        failing=tuple(failing),
        pools=pools,
    )
