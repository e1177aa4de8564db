"""A pool with backends that take only so much: whoever finds no place waits for one.

An attempt begins where its backend is picked, and a place is taken there and then, under the backend's lock: the count
over all workers and the step beyond it are one. A backend that is full is passed over for the policy's next choice.
"""

from collections.abc import Collection
from hashlib import blake2b
from math import ceil, inf
from typing import Final

from typing_extensions import override

from sidecar.contract.config import Pool as PoolConfig
from worker.affinity import Wish
from worker.board import Seats
from worker.board.limits import Limit
from worker.failure import Failure
from worker.limits.line import Line
from worker.pick import Draw
from worker.pool import Pool, Waiter
from worker.upstream import Upstream, UpstreamConnection
from worker.view import Candidate

TRIES: Final = 3
"""At a lock that a sibling holds for two microseconds; whoever still misses it looks again in a few milliseconds."""
MAX_RETRY_S: Final = 60
"""Nobody is sent away for longer, however long a window is."""


def has_limits(config: PoolConfig) -> bool:
    """Whether any backend of a pool has a limit."""
    return any(backend.max_inflight or backend.max_requests for backend in config.members)


class LimitedPool(Pool):
    """A pool of which some backends have limits. ``limits`` are these, by row."""

    __slots__ = ("_line", "_max_pending", "_missed", "_now", "area", "is_alone", "limits")

    @override
    def _prepare(self, config: PoolConfig, draw: Draw, salt: str) -> None:
        seats = self.seats
        self.is_alone = seats.is_alone
        self.area = self.writer.cells.limits
        self.limits = _limits(config, seats)
        for limit in self.limits.values():
            self.area.adopt(limit.row, _tag(salt, limit))
        self._max_pending = config.connections.max_pending
        self._line = Line(
            self.area, min(self.limits), self.writer.slot, limit_s=config.timeouts.queue_s, loop=self.loop, draw=draw
        )
        self._missed, self._now = False, 0.0
        self._begin = self._admit
        self.leave = self._leave

    @override
    def take(self, tried: Collection[int], now: float, safe: bool, wish: Wish | None = None) -> Candidate | None:
        """The same, of those with a place; None, too, where all are full: then ``refusal`` says whether to wait."""
        turn, self._line.turn = self._line.turn, None
        if (turn is None and self._line.waiting) or self._line.must_yield(lambda: self._has_room(now)):
            return None
        passed, self._now = tuple(tried), now
        while True:
            self._missed = False
            candidate = super().take(passed, now, safe, wish)
            if candidate is None or not self._missed:
                break
            if candidate.is_canary:
                self.passive.canary_left(candidate.row)
            if candidate.row in passed:
                return None
            passed = (*passed, candidate.row)
        if turn is not None and candidate is not None:
            self._line.leave(turn)
        return candidate

    def _admit(self, row: int) -> None:
        """Begin an attempt if the backend has a place and requests left; ``_missed`` says that it has not."""
        limit = self.limits.get(row)
        if limit is None:
            self.writer.begin(row)
            return
        now = self._now
        for _ in range(TRIES):
            with self.area.lock(row) as had:
                if had:
                    self._missed = not self._has_place(limit, now)
                    if not self._missed:
                        self.area.spend(limit, now)
                        self.writer.begin(row)
                    return
        self._missed = True

    @override
    def may_begin(self, row: int, now: float) -> bool:
        """See ``Pool``; a place that is claimed in vain at each look has all workers look anew who is eligible."""
        return row not in self.limits or self._has_place(self.limits[row], now)

    def _has_place(self, limit: Limit, now: float) -> bool:
        return (
            self.writer.cells.in_flight(limit.row) < self.area.places(limit, now)
            and self.area.requests_left(limit, now) > 0
        )

    def _has_room(self, now: float) -> bool:
        return any(self.may_begin(candidate.row, now) for candidate in self.selection.candidates)

    @override
    def refusal(self, waiter: Waiter) -> Failure | None:
        """Why there is no backend for a request; None: it waits now, and is started or failed."""
        is_waiting = waiter in self._line.waiting
        if not self.selection.candidates:
            self._line.leave(waiter)
            return Failure.NO_BACKEND
        if not is_waiting and len(self._line.waiting) >= self._max_pending:
            return Failure.QUEUE_FULL
        if not is_waiting:
            self._line.join(waiter)
        return None

    @override
    def stop_waiting(self, waiter: Waiter) -> None:
        """The waiter is gone."""
        self._line.leave(waiter)

    @override
    def retry_after_s(self, now: float) -> int:
        """When a request that was sent away may come again: with the next window, where that is what it lacked."""
        lacking = [limit for limit in self.limits.values() if self.area.requests_left(limit, now) <= 0]
        if len(lacking) < len(self.selection.candidates):
            return 1
        next_s = min((self.area.window_until(limit.row, now) - now for limit in lacking), default=inf)
        return min(max(ceil(next_s), 1), MAX_RETRY_S) if next_s < inf else 1

    def _leave(self, row: int) -> None:
        """An attempt is over: its place is for the first who waits, in a turn of its own."""
        self.writer.end(row)
        if self._line.waiting:
            self.loop.call_soon(self._line.serve)

    @override
    def part(self, row: int, connection: UpstreamConnection) -> None:
        """An attempt was given up; its place is free once the backend can know of it."""
        if connection.is_lost or row not in self.limits:
            self._leave(row)
        else:
            connection.on_lost = lambda: self._leave(row)

    def in_flight(self, row: int) -> int:
        """Attempts under way to a backend, over all workers of this master."""
        return self.writer.cells.in_flight(row)

    @property
    def waiting(self) -> int:
        """How many requests wait for a place, over all workers of this master."""
        return self.area.waiting(min(self.limits))

    @override
    def close(self, keep: Collection[Upstream] = ()) -> None:
        """Close all connections; nobody waits any more."""
        self._line.close()
        super().close(keep)


def _limits(config: PoolConfig, seats: Seats) -> dict[int, Limit]:
    """Those of the backends that have any, by row."""
    rule = config.limits.without_store
    return {
        seats.rows[backend.id]: Limit(
            row=seats.rows[backend.id],
            backend=backend.id,
            places=backend.max_inflight,
            requests=backend.max_requests,
            window_s=config.max_requests_window_s,
            rule="closed" if seats.is_alone and rule == "share" else rule,
        )
        for backend in config.members
        if backend.max_inflight or backend.max_requests
    }


def _tag(salt: str, limit: Limit) -> int:
    """What tells these limits from others that had the row before, of which nothing may be left.

    Where only a number of theirs is another one, what was leased holds: nobody has to wait for the store.
    """
    told = f"{salt} {limit.backend} {limit.places is None} {limit.requests is None} {limit.window_s}"
    return int.from_bytes(blake2b(told.encode(), digest_size=8).digest()) | 1
