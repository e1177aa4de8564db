"""The requests of one worker that wait for a place in a pool: first come, first served, and never for long."""

import asyncio
from collections.abc import Callable

from worker.board.limits import LimitArea
from worker.pick import Draw
from worker.pool import Waiter
from worker.upstream.queue import Queue

NOTICEABLE_S = 0.025
"""A sibling whose first has waited so much longer than ours is let go first: some services of a busy backend."""
PATIENT_LOOKS = 2
"""So many looks at a free place it is left to that sibling, which looks as often; then it may be for another one."""
STOPPED_S = 0.1
"""Whose first should have been sent away so long ago looks no more, and nobody yields to it."""
SHORTEST_LOOK_S = 0.001
SPREAD_LOOK_S = 0.004
"""Between looks whether a sibling has made room, while anybody waits; uvloop's timers count in milliseconds."""


class Line:
    """The line, and what the siblings may know of it. ``turn`` is whose try it is just now."""

    __slots__ = (
        "_area", "_draw", "_limit_s", "_looks", "_loop", "_queue", "_row", "_slot", "_timer", "turn", "waiting",
    )  # fmt: skip

    def __init__(
        self, area: LimitArea, row: int, slot: int, *, limit_s: float, loop: asyncio.AbstractEventLoop, draw: Draw
    ) -> None:
        """Open it.

        Args:
            area: where the siblings see it.
            row, slot: at which place.
            limit_s: how long anybody waits; with 0 only for what comes free in this turn of the loop.
            loop: whose time it is.
            draw: chance.
        """
        self._area = area
        self._row = row
        self._slot = slot
        self._limit_s = limit_s
        self._loop = loop
        self._draw = draw
        self._queue: Queue[Waiter] = Queue(limit_s, loop)
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self.turn: Waiter | None = None
        self.waiting = self._queue.waiting

    def join(self, waiter: Waiter) -> None:
        """Stand at the end of it."""
        self._queue.join(waiter)
        if self._timer is None:
            self._tell()
            self._look_later()

    def leave(self, waiter: Waiter) -> None:
        """Wait no more."""
        self._queue.leave(waiter)

    def serve(self) -> None:
        """Have one after the other try, as long as they succeed."""
        waiting = self.waiting
        while waiting:
            self.turn = first = next(iter(waiting))
            try:
                first.start()
            except Exception:
                self.leave(first)  # it would go wrong again at each look
                raise
            finally:
                self.turn = None
            if next(iter(waiting), None) is first:
                return

    def must_yield(self, has_room: Callable[[], bool]) -> bool:
        """Whether a free place is rather for a sibling's first, which has waited noticeably longer than ours."""
        if self._timer is not None:
            self._tell()  # or we would yield to one of our own who is gone
        now = self._loop.time()
        since = next(iter(self.waiting.values())) - self._limit_s if self.waiting else now
        first = self._area.first_since(self._row, now - self._limit_s - STOPPED_S)
        if first >= since - NOTICEABLE_S or not has_room():
            self._looks = 0
            return False
        self._looks += 1
        if self._looks <= PATIENT_LOOKS:
            return True
        self._looks = 0
        return False

    def close(self) -> None:
        """Forget them all."""
        self._queue.close()
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        delay_s = SHORTEST_LOOK_S + SPREAD_LOOK_S * self._draw(1001) / 1000
        self._timer = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            self.serve()
        finally:
            self._tell()
            if self.waiting and self._timer is None:
                self._look_later()

    def _tell(self) -> None:
        """Let the siblings know; who leaves or is sent away meanwhile is known to be gone at the next look."""
        since = next(iter(self.waiting.values())) - self._limit_s if self.waiting else 0.0
        self._area.wait(self._row, self._slot, len(self.waiting), since)
