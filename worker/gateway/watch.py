"""When a client's leaving is looked out for: only while its request takes longer than most."""

import asyncio
from typing import Protocol

PATIENCE_S = 0.02
"""How long a request runs, or up to twice that, before its client's leaving is watched for: a task for each would cost
more than it does."""


class Watched(Protocol):
    """A request under way."""

    loop: asyncio.AbstractEventLoop

    def watch(self) -> None:
        """Look out for the client's leaving from now on."""


class Watch:
    """The requests that are not watched yet; one timer serves all of them."""

    __slots__ = ("_older", "_timer", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[Watched] = set()
        self._older: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def later(self, side: Watched) -> None:
        """Have a request watched if it is still under way in a moment."""
        self._waiting.add(side)
        if self._timer is None:
            self._timer = side.loop.call_later(PATIENCE_S, self._pass, side.loop)

    def over(self, side: Watched) -> None:
        """It is no longer under way."""
        self._waiting.discard(side)
        self._older.discard(side)

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch those that were there the last time, too: what has just come will mostly be over at once."""
        ripe, self._older, self._waiting = self._older, self._waiting, set()
        self._timer = loop.call_later(PATIENCE_S, self._pass, loop) if self._older else None
        for side in ripe:
            side.watch()
