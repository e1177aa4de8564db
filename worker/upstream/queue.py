"""Who waits where a backend has as much as it may: first come, first served, and never for long."""

import asyncio
from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from worker.failure import Failure
from worker.upstream.connection import UpstreamConnection


class Waiting(Protocol):
    """Who waits."""

    def failed(self, failure: Failure) -> None:
        """In vain."""


class Connecting(Waiting, Protocol):
    """Who waits for a connection."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Here it is."""


One = TypeVar("One", bound=Waiting)


class Queue(Generic[One]):
    """The line. Joining, leaving and being the first cost the same however long it is.

    ``waiting`` is for a look whether anybody is there; its values are when each has waited for long enough.
    """

    __slots__ = ("_limit_s", "_loop", "_timer", "waiting")

    def __init__(self, limit_s: float, loop: asyncio.AbstractEventLoop) -> None:
        """``limit_s``: how long anybody waits; with 0 only what comes free in this turn of the loop is worth it."""
        self._limit_s = limit_s
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.waiting: OrderedDict[One, float] = OrderedDict()

    def join(self, waiter: One) -> None:
        """Stand at the end of it; one who has waited for too long is told so."""
        self.waiting[waiter] = self._loop.time() + self._limit_s
        self._arm()

    def leave(self, waiter: One) -> bool:
        """Wait no more; whether the waiter did."""
        return self.waiting.pop(waiter, None) is not None

    def pop(self) -> One:
        """Who has waited longest."""
        waiter, _ = self.waiting.popitem(last=False)
        return waiter

    def close(self) -> None:
        """Forget them all."""
        self.waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        """Have one timer run, for the first; all wait equally long."""
        if self.waiting and self._timer is None:
            self._timer = self._loop.call_at(next(iter(self.waiting.values())), self._dismiss)

    def _dismiss(self) -> None:
        """Send those away whose time is over."""
        self._timer = None
        now = self._loop.time()
        while self.waiting and next(iter(self.waiting.values())) <= now:
            self.pop().failed(Failure.QUEUE_TIMEOUT)
        self._arm()
