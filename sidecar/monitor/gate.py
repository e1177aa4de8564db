"""How many probes may be at work at once, so that a monitor with too many backends gets slower and not deaf.

A probe costs about a millisecond of CPU. Without a bound hundreds would crowd the event loop together: all of them
late, and the leader's heartbeat too. Waiting costs nothing, so a backend that hangs gives its place up after a moment.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PLACES = 64
HOLD_S = 0.5
"""Longer than a crowded loop takes over so many probes, or the crowd would grow; and some 250 backends may hang at once
before one that answers has to wait."""


class Gate:
    """Places for probes, shared by all pools of a monitor."""

    def __init__(self, places: int = PLACES, hold_s: float = HOLD_S) -> None:
        self._free = asyncio.Semaphore(places)
        self._hold_s = hold_s

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place; it is given up at the end of the block, or when it was held for long enough."""
        await self._free.acquire()
        is_held = True

        def give_up() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._hold_s, give_up)
        try:
            yield
        finally:
            timer.cancel()
            give_up()
