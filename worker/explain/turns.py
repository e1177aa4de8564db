"""One explanation at a time, and after each a pause: a worker has requests to serve.

With 200 backends one takes 50 ms of its time, and 32 at once kept it from everything else (tried 2026-11).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

MOST_WAITING = 8
PAUSE = 3.0
"""How much longer than an explanation the pause is: they get a quarter of the time at most."""


class CrowdedError(RuntimeError):
    """As many wait as may."""


class Turns:
    """Whose turn it is, on one loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic."""
        self._clock = clock
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._next_at = 0.0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the end of the block.

        Raises:
            CrowdedError: too many wait already.
        """
        if self._waiting >= MOST_WAITING:
            raise CrowdedError
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        try:
            await asyncio.sleep(self._next_at - self._clock())
            began = self._clock()
            yield
            self._next_at = self._clock() + PAUSE * (self._clock() - began)
        finally:
            self._lock.release()
